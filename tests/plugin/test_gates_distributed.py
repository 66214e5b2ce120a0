"""Gates of sessions with workers, of shards, of resumed runs, and of what a killed one left."""

import json
import re
import shlex
import signal
import subprocess
import sys
import types

import pytest

from pytest_smoltrace.gatekeeper import Gatekeeper
from pytest_smoltrace.redaction import Redactor
from tests.plugin import gated_session
from tests.plugin.conftest import CONFTEST
from tests.plugin.gated_session import SOURCE, result, statuses, with_gates

judged, outside = gated_session.judged, gated_session.outside

GATES = ("--smoltrace-baseline=old", "--smoltrace-gate=quality=success_rate >= 50%")
TOLD = ("name", "status", "value", "baseline", "cases", "attempts", "reason", "p_adjusted")


def told(run):
    """Return what of the verdict does not depend on times."""
    return [{name: each[name] for name in TOLD} for each in run.gates["results"]]


@pytest.fixture
def command(pytester):
    """Run `pytest-smoltrace`; return its exit code and what it printed."""

    def run(*words):
        code = "from pytest_smoltrace.cli import main; raise SystemExit(main())"
        found = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=pytester.path, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert "Traceback" not in found.stderr, found.stderr
        return types.SimpleNamespace(ret=found.returncode, out=found.stdout + found.stderr)

    return run


GROUPED = SOURCE.replace("def test_case", '@pytest.mark.xdist_group("together")\ndef test_case')


def test_workers_do_not_change_the_verdict(judged):
    bad = range(6)
    alone = judged(*GATES, bad=bad, base=True, run_id="alone")
    assert alone.ret == 1
    assert statuses(alone)["no_regressions"] == "REGRESSION"
    for how in (("-n", "2"), ("-n", "2", "--dist", "worksteal")):
        run = judged(*GATES, *how, bad=bad, run_id=f"by-{how[-1]}")
        assert run.ret == 1
        assert told(run) == told(alone)
        assert "REGRESSION no_regressions" in run.out


def test_groups_of_workers_and_annotations(judged, monkeypatch, pytester):
    """At most ten, each at the line of its test in the repository, not in rootdir."""
    project = pytester.mkdir("project")
    (project / "pytest.ini").touch()
    (project / "conftest.py").write_text(CONFTEST)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path))
    for name in ("STEP_SUMMARY", "OUTPUT"):
        monkeypatch.setenv(f"GITHUB_{name}", str(pytester.path / name))
    (project / "test_grouped.py").write_text(GROUPED)
    flags = ("--rootdir=project", "project", "-c", "project/pytest.ini")
    flags += ("--smoltrace-dir=.smoltrace",)
    base = judged(*flags, cases=14, source=None, run_id="old")
    assert base.ret == 0
    run = judged(
        *flags, *GATES, "-n", "2", "--dist", "loadgroup", bad=range(12), cases=14, source=None
    )
    assert run.ret == 1
    assert len(run.gates["flips"]) == 12
    lines = [line for line in run.out.splitlines() if line.startswith(("::error", "::warning"))]
    assert len(lines) == 10
    number = GROUPED[: GROUPED.index("@pytest.mark.parametrize")].count("\n") + 1
    place = f"::error file=project/test_grouped.py,line={number},title=Newly failing::"
    assert sum(line.startswith(place) for line in lines) == 10 - 2
    assert sum("title=Gate " in line for line in lines) == 2
    outputs = (pytester.path / "OUTPUT").read_text()
    assert re.search(r"gate_status<<(\S+)\nfailed\n\1\n", outputs)
    assert "REGRESSION" in (pytester.path / "STEP_SUMMARY").read_text()


def test_a_test_of_a_group_is_found_by_its_own_name(tmp_path, monkeypatch):
    """Not every version of pytest lets xdist append the group."""
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    keeper = Gatekeeper.__new__(Gatekeeper)
    option = types.SimpleNamespace(dist="loadgroup")
    keeper._config = types.SimpleNamespace(option=option, rootpath=tmp_path)
    keeper._judge, keeper._redactor = object(), Redactor()
    keeper._failed, keeper._locations = set(), {}
    report = types.SimpleNamespace(
        nodeid="t.py::test_b[1]@together", failed=True, location=("t.py", 4, "test_b[1]")
    )
    keeper.pytest_runtest_logreport(report)
    assert keeper._failed == {"t.py::test_b[1]"}
    assert keeper._places() == {"t.py::test_b[1]": ("t.py", 5)}


def test_no_gate_passes_workers_without_a_case(judged):
    run = judged(*GATES[1:], "-n", "2", source="def test_plain(): pass")
    assert run.ret == 1
    assert "no case was run, so no gate could be judged" in run.out
    assert not run.folder.exists()


DIES = (
    SOURCE
    + """
def test_dies(ask):
    ask("answer Bern")
    os._exit(3)
"""
)


def test_a_crashed_worker_fails_the_gate_on_valid_attempts(judged):
    run = judged(*GATES[1:], "-n", "2", "--smoltrace-gate-only", source=DIES, cases=4)
    assert run.ret == 1
    assert statuses(run) == {"quality": "PASS", "valid": "FAIL"}
    assert result(run, "valid")["value"] == 80.0
    assert "worker_crash 1" in result(run, "valid")["reason"]
    lenient = judged(
        *GATES[1:], "-n", "2", "--smoltrace-gate-only", "--smoltrace-gate=valid >= 50%",
        source=DIES, cases=4, run_id="lenient",
    )  # fmt: skip
    assert lenient.ret == 0
    assert statuses(lenient)["valid"] == "PASS"


# Parts of runs.


def test_shards_are_judged_when_they_are_merged(judged, command, pytester):
    bad = range(6)
    whole = judged(*GATES, bad=bad, base=True)
    parts = []
    for index in (1, 2):
        run = judged(*GATES, f"--smoltrace-shard={index}/2", bad=bad, run_id=f"part-{index}")
        assert run.ret == 1  # of the cases
        assert run.gates is None
        assert "gates are not judged for one shard: merge the shards" in run.out
        parts.append(str(run.folder))
    green = judged(*GATES, "--smoltrace-shard=1/2", run_id="green")
    assert (green.ret, green.gates) == (0, None)
    merged = pytester.path / ".smoltrace" / "runs" / "merged"
    assert command("merge", *parts, "-o", str(merged)).ret == 0
    gates = [word.replace("--smoltrace-", "--") for word in GATES]
    found = command("gate", "merged", *gates, "--keep")
    assert found.ret == 1
    union = types.SimpleNamespace(gates=json.loads((merged / "gates.json").read_text()))
    assert told(union) == told(whole)
    assert union.gates["compared"] == whole.gates["compared"]


STOPS = SOURCE.replace(
    "    assert n",
    """
    if n == 5 and os.environ.get("STOP"):
        os.kill(os.getpid(), int(os.environ["STOP"]))
        import time; time.sleep(30)
    assert n""",
)


def test_a_resumed_run_is_judged_as_a_whole(judged, monkeypatch):
    monkeypatch.setenv("STOP", str(int(signal.SIGINT)))
    first = judged(*GATES, bad=[1, 2], base=True, source=STOPS)
    assert first.ret == 2
    assert statuses(first)["coverage"] == "PARTIAL"
    monkeypatch.setenv("STOP", "")
    run = judged(*GATES, "--smoltrace-resume=new", bad=[1, 2], source=STOPS)
    assert run.ret == 1  # of cases that failed before
    assert run.gates["partial"] is None
    assert statuses(run)["coverage"] == "PASS"
    quality = result(run, "quality")
    assert (quality["value"], quality["attempts"]) == (80.0, 10)
    again = judged(
        "--smoltrace-gate=quality=success_rate >= 90%", "--smoltrace-resume=new",
        "--smoltrace-gate-only", bad=[1, 2], source=STOPS,
    )  # fmt: skip
    assert again.ret == 1
    assert statuses(again) == {"quality": "FAIL", "valid": "PASS"}
    pardoned = judged(*GATES, "--smoltrace-resume=new", "--smoltrace-gate-only", source=STOPS)
    assert pardoned.ret == 0
    ungated = judged("--smoltrace-resume=new", source=STOPS)
    assert ungated.ret == 1
    assert ungated.gates is None  # the old verdict was of another session
    assert ungated.summary["gates"] is None


def test_a_killed_session_is_judged_when_it_is_built(judged, command, monkeypatch):
    monkeypatch.setenv("STOP", str(int(signal.SIGKILL)))
    killed = judged(*GATES, base=True, source=STOPS)
    assert killed.ret == -signal.SIGKILL
    assert killed.summary is None
    assert command("build", str(killed.folder)).ret == 0
    found = command("gate", "new", "--gate", "success_rate >= 80%", "--baseline", "old")
    assert found.ret == 1
    assert "the session ended early: crash" in found.out
    assert "PARTIAL coverage 60.0 %" in found.out
    assert "FAIL valid" in found.out


def test_building_again_keeps_the_verdict(judged, command):
    run = judged("--smoltrace-gate=tokens <= 1")
    assert run.ret == 1
    before = json.loads((run.folder / "summary.json").read_text())
    (run.folder / "summary.json").unlink()
    assert command("build", shlex.quote(str(run.folder))).ret == 0
    with_gates(run, "new")
    assert run.summary == before


def test_a_run_whose_gates_failed_is_not_green(judged):
    judged(run_id="good")
    judged("--smoltrace-gate=tokens <= 1", run_id="bad")
    judged("--smoltrace-gate=tokens <= 200", "--smoltrace-gate-only", bad=[0], run_id="only")
    run = judged("--smoltrace-baseline=last-green")
    assert run.gates["baseline"]["session_id"] == "only"


def test_reruns_do_not_raise_a_rate(judged):
    flaky = SOURCE.replace(
        "    assert n",
        """
    flag = f"seen-{n}"
    first = not os.path.exists(flag)
    open(flag, "w").close()
    assert not first
    assert n""",
    )
    run = judged(
        "--reruns=1", "--smoltrace-gate=success_rate >= 50%", "--smoltrace-gate-only",
        source=flaky, cases=4,
    )  # fmt: skip
    assert "4 rerun" in run.out
    assert run.ret == 1
    assert result(run, "success_rate")["value"] == 0.0


def test_a_random_order_changes_nothing(judged):
    alone = judged(*GATES, bad=range(6), base=True, run_id="alone")
    run = judged(*GATES, "-p", "randomly", "--randomly-seed=3", bad=range(6))
    assert "random seed: 3" in run.out or "--randomly-seed=3" in run.out
    assert run.ret == 1
    assert told(run) == told(alone)


FULL = """
from pytest_smoltrace.journal_file import JournalFile

def pytest_configure(config):
    put = JournalFile._put
    def full(self, data):
        if b"test_case[4]" in data and b'"k":"case"' in data:
            raise OSError(28, "No space left on device")
        put(self, data)
    JournalFile._put = full
"""


@pytest.mark.parametrize("bad", [(), (1,)])
def test_a_journal_that_lacks_cases_is_no_success(judged, bad):
    run = judged(*GATES[1:], "--smoltrace-gate-only", bad=bad, conftest=FULL)
    assert run.ret == 1, run.out
    assert statuses(run)["quality"] == "PASS"
    assert run.summary["stop_reason"].endswith("of the cases could not be written")
    assert "No space left on device" in run.out
