"""What GitHub Actions is given, read back as its runner reads it."""

import re

import pytest

from pytest_smoltrace.gates.verdicts import Status
from pytest_smoltrace.report import github
from pytest_smoltrace.report.markdown import COMMENT_LIMIT, SUMMARY_LIMIT
from pytest_smoltrace.report.write import write_reports
from tests.unit import summary_factory as make
from tests.unit.summary_factory import NASTY

COMMAND = re.compile(r"::(?P<kind>\w+) (?P<properties>[^\r\n]*?)::(?P<message>[^\r\n]*)")


def read_outputs(text):
    """Return the outputs of a file as the runner reads them: name<<delimiter, lines, delimiter."""
    found, lines = {}, iter(text.split("\n"))
    for line in lines:
        if not line:
            continue
        name, arrows, delimiter = line.partition("<<")
        assert arrows
        value = []
        for one in lines:
            if one == delimiter:
                break
            value.append(one)
        else:
            raise AssertionError("no end")
        assert name not in found
        found[name] = "\n".join(value)
    return found


def unescape(text):
    for code, character in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, character)
    return text


def read_command(line):
    found = COMMAND.fullmatch(line)
    assert found, line
    properties = dict(pair.split("=", 1) for pair in found["properties"].split(","))
    shown = {key: unescape(value) for key, value in properties.items()}
    return found["kind"], shown, unescape(found["message"])


def test_outputs(tmp_path):
    values = read_outputs(github.heredocs(github.outputs(make.regression(), tmp_path)))
    assert values == {
        "gate_status": "failed",
        "success_rate": "75.00",
        "run_id": "nightly-7",
        "run_dir": str(tmp_path),
        "regression": "REGRESSION",
        "newly_failing": "2",
    }


@pytest.mark.parametrize(
    ("summary", "status", "rate", "verdict"),
    [
        (make.summary(), "none", "86.67", ""),
        (make.inconclusive(), "warned", "86.67", "INCONCLUSIVE"),
        (make.green(), "passed", "86.67", ""),
        (make.summary(runs=[]), "none", "", ""),
        (make.summary(runs=[make.run(passed=1, scored=10), make.run("b", 8, 30)]), "none", "22.50",
         ""),
    ],
)  # fmt: skip
def test_outputs_of_other_sessions(tmp_path, summary, status, rate, verdict):
    values = github.outputs(summary, tmp_path)
    assert (values["gate_status"], values["success_rate"]) == (status, rate)
    assert values["regression"] == verdict
    assert values["newly_failing"] == "0"


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ([Status.PASS, Status.REGRESSION, Status.INCONCLUSIVE], "REGRESSION"),
        ([Status.PASS, Status.INCONCLUSIVE], "INCONCLUSIVE"),
        ([Status.PASS, Status.NO_BASELINE], "NO_BASELINE"),
        ([Status.PASS, Status.PASS], "PASS"),
    ],
)
def test_the_worst_verdict_of_all_runs_is_the_output(tmp_path, statuses, verdict):
    gates = [make.gate(**make.NO_REGRESSIONS, status=status) for status in statuses]
    summary = make.summary(gates=make.judgement(*gates))
    assert github.outputs(summary, tmp_path)["regression"] == verdict


def test_no_value_ends_its_own_or_names_another():
    nasty = {"a": f"x\ngate_status<<EOF\npassed\nEOF\n{NASTY}", "b": "", "c": "smoltrace_\n\n"}
    text = github.heredocs(nasty)
    read = read_outputs(text)
    assert read == {name: value.replace("\r", " ") for name, value in nasty.items()}
    delimiters = re.findall(r"^\w+<<(smoltrace_\w{32})$", text, re.MULTILINE)
    assert len(set(delimiters)) == 3
    assert github.heredocs(nasty) != text


def test_annotations_name_gates_and_newly_failing_cases():
    name = "evals/test_geo.py::test_capital[Bern]"
    lines = github.annotation_lines(make.regression(), {name: ("evals/test_geo.py", 12)})
    found = [read_command(line) for line in lines]
    assert [kind for kind, *_ in found] == ["error"] * 4
    assert [properties["title"] for _, properties, _ in found] == [
        "Gate quality", "Gate no_regressions", "Newly failing", "Newly failing",
    ]  # fmt: skip
    assert found[0][2] == (
        "FAIL of openai:gpt-5-mini: success_rate >= 80%, is 75.0 % (62.8 to 84.2 %), was 86.7 %"
    )
    _, place, message = found[2]
    assert (place["file"], place["line"]) == ("evals/test_geo.py", "12")
    assert message.startswith(f"{name} passed 0 of 3 trials, passed 3 of 3 trials in the")
    assert "called search with query=" in message
    assert "file" not in found[3][1]
    assert "line" not in found[3][1]


@pytest.mark.parametrize(("gates", "cases"), [(30, 30), (30, 0), (0, 30), (3, 30), (30, 3)])
def test_at_most_ten_annotations_of_both_kinds(gates, cases):
    flips = tuple(make.flip(f"t.py::test_{n}") for n in range(cases))
    results = [make.gate(f"g{n}", status=Status.FAIL) for n in range(gates)]
    summary = make.summary(gates=make.judgement(*results, flips=flips))
    titles = [read_command(line)[1]["title"] for line in github.annotation_lines(summary, {})]
    assert len(titles) == min(10, gates + cases)
    assert titles.count("Newly failing") >= min(cases, 5 if gates >= 5 else 10 - gates)
    assert len(titles) - titles.count("Newly failing") >= min(gates, 5)


def test_annotations_are_single_lines_whatever_they_hold():
    name = f"evals/a,b:c%0A.py::test[{NASTY}]"
    gate = make.gate(NASTY, NASTY, status=Status.FAIL, model=NASTY, reason=NASTY)
    flips = (make.flip(name),)
    summary = make.summary(gates=make.judgement(gate, flips=flips))
    lines = github.annotation_lines(summary, {name: ("evals/a,b:c%0A.py", 3)})
    assert len(lines) == 2
    for line in lines:
        assert line.splitlines() == [line]
        read_command(line)
    assert read_command(lines[1])[1]["file"] == "evals/a,b:c%0A.py"


def test_green_sessions_have_no_annotation():
    assert github.annotation_lines(make.green(), {}) == []
    assert github.annotation_lines(make.summary(), {}) == []


class Job:
    """A folder with a run directory and the files of a GitHub job."""

    def __init__(self, folder):
        self.directory = folder / "run"
        self.directory.mkdir()
        self.summary, self.output = folder / "summary.md", folder / "output"
        self.environ = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_JOB": "evals",
        }
        self.lines = []

    def write(self, summary=None, ci="auto", **environ):
        return write_reports(
            self.directory,
            summary or make.regression(),
            ci=ci,
            environ={k: v for k, v in (self.environ | environ).items() if v is not None},
            annotate=self.lines.append,
            locations={},
        )


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


def test_a_job_gets_everything(job):
    job.summary.write_text("before\n")
    assert job.write() == []
    assert job.summary.read_text().startswith("before\n### ✗ smoltrace: 2 of 4 gates failed\n")
    assert read_outputs(job.output.read_text())["run_dir"] == str(job.directory)
    assert len(job.lines) == 4
    comment = (job.directory / "pr-comment.md").read_text()
    assert comment.startswith("<!-- pytest-smoltrace: evals -->\n")
    assert (job.directory / "metrics.txt").read_text().endswith("# EOF\n")
    assert job.write() == []
    assert job.summary.read_text().count("### ✗") == 2
    assert (job.directory / "pr-comment.md").read_text() == comment


def test_what_the_step_has_written_before_counts(job):
    job.summary.write_text("x" * (SUMMARY_LIMIT - 10_000))
    assert job.write(make.huge(200)) == []
    assert SUMMARY_LIMIT - 10_000 < job.summary.stat().st_size <= SUMMARY_LIMIT
    job.summary.write_text("x" * (SUMMARY_LIMIT + 1))
    assert job.write(make.huge(200)) == []
    assert job.summary.stat().st_size <= SUMMARY_LIMIT + 2


@pytest.mark.parametrize(
    ("ci", "environ"),
    [
        ("off", {}),
        ("gitlab", {}),
        ("auto", {"GITHUB_ACTIONS": None}),
        ("auto", {"GITHUB_ACTIONS": "1"}),
    ],
)
def test_only_a_github_job_gets_files_and_annotations(job, ci, environ):
    assert job.write(ci=ci, **environ) == []
    assert not job.summary.exists()
    assert not job.output.exists()
    assert job.lines == []
    assert (job.directory / "pr-comment.md").exists()
    assert (job.directory / "metrics.txt").exists()


def test_github_can_be_asked_for(job):
    assert job.write(ci="github", GITHUB_ACTIONS=None, GITHUB_OUTPUT=None) == []
    assert job.summary.exists()
    assert not job.output.exists()


def test_what_cannot_be_written_is_a_line_each(job, tmp_path):
    (job.directory / "metrics.txt").mkdir()
    gone = tmp_path / "gone" / "summary.md"
    problems = job.write(GITHUB_STEP_SUMMARY=str(gone))
    assert problems == [
        f"cannot write {job.directory / 'metrics.txt'}: Is a directory",
        f"cannot write {gone}: No such file or directory",
    ]
    assert job.output.exists()


def test_5000_hostile_cases_are_written_below_the_limits(job):
    assert job.write(make.huge()) == []
    assert job.summary.stat().st_size <= SUMMARY_LIMIT
    assert (job.directory / "pr-comment.md").stat().st_size <= COMMENT_LIMIT
    assert len(job.lines) == 10
    assert all("\n" not in line for line in job.lines)
    read_outputs(job.output.read_text())
