"""`pytest-smoltrace compare` on runs of real sessions, whose agents part at known steps."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import scipy.stats

from pytest_smoltrace import cli
from pytest_smoltrace.commands import comparison_report
from pytest_smoltrace.comparing.stored_steps import stored_steps

LOADED = (scipy.stats, comparison_report)
"""Modules of which pytester would drop those that it saw imported; numpy loads only once."""
SUITE = """
import pytest

DID = {did!r}

@pytest.mark.parametrize("name", DID)
def test_it(ask, name):
    answer = ask(DID[name], **({{"max_steps": 2}} if name == "limit" else {{}}))
    assert answer == "Paris"
"""
GOOD = "call look city=Paris; answer Paris"
BEFORE = {
    **dict.fromkeys(("same", "tool", "arguments", "answer", "stopped", "longer", "error"), GOOD),
    "limit": GOOD,
    "fixed": "call look city=Paris; answer Oslo",
}
AFTER = {
    "same": GOOD,
    "tool": "call broken city=Paris; answer Rome",
    "arguments": "call look city=Rome; answer Rome",
    "answer": "call look city=Paris; answer Rome",
    "stopped": "answer Rome",
    "longer": "call look city=Paris; call look city=Rome; answer Rome",
    "error": "call nothing city=Paris; answer Rome",
    "limit": "call look city=Paris; call look city=Paris; answer Paris",
    "fixed": GOOD,
}
PARTED = {
    "tool": 'step 1: called broken(city="Paris") instead of calling look(city="Paris")',
    "arguments": 'step 1: called look with city="Rome" instead of city="Paris"',
    "answer": 'step 2: answered "Rome" instead of "Paris"',
    "stopped": 'step 1: answered "Rome" instead of calling look(city="Paris")',
    "longer": 'step 2: called look(city="Rome") instead of answering "Paris"',
    "limit": 'step 2: called look(city="Paris") instead of answering "Paris"',
    "fixed": 'step 2: answered "Paris" instead of "Oslo"',
}


@pytest.fixture
def compare(capsys):
    """Return a function that runs the command and gives exit code and both outputs."""

    def run(*args):
        capsys.readouterr()  # of the sessions before
        try:
            code = cli.main(["compare", *map(str, args)])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return run


def recorded(suite, did, name, *args, **changes):
    """Run a session and give it a name of its own."""
    suite(f"--smoltrace-run-id={name}", *args, source=SUITE.format(did=did), **changes)


@pytest.fixture
def two(suite):
    recorded(suite, BEFORE, "before")
    recorded(suite, AFTER, "after")


def flips_of(out):
    return {flip["nodeid"].partition("[")[2].rstrip("]"): flip for flip in json.loads(out)["flips"]}


def test_where_the_traces_part(two, compare):
    done = compare("before", "after", "--json")
    assert (done.code, done.err) == (0, "")
    changed = flips_of(done.out)
    told = {name: flip["divergence"]["text"] for name, flip in changed.items()}
    error = told.pop("error")
    assert told == PARTED
    assert error.startswith("step 1: failed with AgentToolExecutionError: Unknown tool nothing")
    assert "same" not in changed
    kinds = {name: flip["kind"] for name, flip in changed.items()}
    assert kinds.pop("fixed") == "newly passing"
    assert set(kinds.values()) == {"newly failing"}
    # 110 tokens a call of the scripted model.
    assert changed["stopped"]["tokens_delta"] == -110
    assert changed["longer"]["tokens_delta"] == 110
    assert changed["longer"]["divergence"]["tokens_delta"] == 110
    assert changed["arguments"]["divergence"]["keys"] == ["city"]


def test_what_a_person_reads(two, compare):
    done = compare("before", "after")
    lines = done.out.splitlines()
    assert lines[0].startswith("A, baseline    before, ")
    assert lines[1].startswith("B, candidate   after, ")
    assert "m, tool agent: 9 shared cases" in lines
    (rate,) = [line for line in lines if line.startswith("success rate")]
    # 8 of 9 and 2 of 9; 7 cases fell and 1 rose.
    p = scipy.stats.binomtest(1, 8, alternative="less").pvalue
    for figure in ("88.9 %", "22.2 %", "-66.7 pp", f"{p:.2g}", "REGRESSION"):
        assert figure in rate
    assert any(line.startswith("latency") for line in lines)
    tokens = next(line for line in lines if line.startswith("tokens"))
    assert "220" in tokens
    assert sum(line.startswith("newly failing") for line in lines) == 7
    assert f"{'':<14} {PARTED['tool']}" in lines


def test_exit_codes(two, compare):
    done = compare("before", "before", "--margin", "50pp", "--fail-on-regression")
    assert done.code == 0
    assert "no case changed its rate of success" in done.out
    assert "PASS" in done.out
    assert compare("before", "after", "--fail-on-regression").code == 1
    assert compare("after", "before", "--fail-on-regression").code == 0


def test_a_summary_alone_has_no_traces(two, compare, pytester):
    shutil.copy(".smoltrace/runs/before/summary.json", "baseline.json")
    done = compare("baseline.json", "after", "--json")
    changed = flips_of(done.out)
    assert {flip["reason"] for flip in changed.values()} == {"the baseline has no traces"}
    assert changed["stopped"]["tokens_delta"] == -110
    whole = compare("before", "after", "--json")
    rate = json.loads(done.out)["pairs"][0]["success_rate"]
    assert rate == json.loads(whole.out)["pairs"][0]["success_rate"]


def test_another_model(suite, compare):
    recorded(suite, BEFORE, "before", model="scripted:old")
    recorded(suite, AFTER, "after", model="scripted:new")
    refused = compare("before", "after")
    assert "INCOMPARABLE" in refused.out
    assert "model (old and new); allow it with --allow-mismatch=model" in refused.out
    allowed = compare("before", "after", "--allow-mismatch=model", "--fail-on-regression")
    assert (allowed.code, "INCOMPARABLE" in allowed.out) == (1, False)
    assert "allowed        model (old and new)" in allowed.out


def test_code_agents(suite, compare):
    recorded(suite, {"a": GOOD, "b": GOOD}, "before", "--smoltrace-agent-type=code")
    other = {"a": "call look city=Rome; answer Rome", "b": "call broken city=Paris; answer Rome"}
    recorded(suite, other, "after", "--smoltrace-agent-type=code")
    changed = flips_of(compare("before", "after", "--json").out)
    assert {name: flip["divergence"]["text"] for name, flip in changed.items()} == {
        "a": PARTED["arguments"],
        "b": PARTED["tool"],
    }


def test_trials(suite, compare):
    flaky = """
    import pytest
    @pytest.mark.parametrize("n", range(2))
    def test_it(ask, smoltrace_case, request, n):
        bad = {bad} and n == 0 and "t2" not in request.node.name
        assert ask("answer Rome" if bad else "answer Paris") == "Paris"
    """
    for name in ("before", "after"):
        bad = name == "after"
        args = (f"--smoltrace-run-id={name}", "--smoltrace-trials=3")
        suite(*args, source=flaky.replace("{bad}", str(bad)))
    done = compare("before", "after", "--json")
    (flip,) = json.loads(done.out)["flips"]
    assert (flip["baseline"]["passed"], flip["baseline"]["trials"]) == (3, 3)
    assert (flip["candidate"]["passed"], flip["candidate"]["trials"]) == (1, 3)
    assert flip["divergence"]["text"] == 'step 1: answered "Rome" instead of "Paris"'


def test_secrets_stay_redacted(suite, compare):
    secret = "sk-abcdefghijklmnopqrstuvwxyz0123456789ABCD"
    recorded(suite, {"a": GOOD}, "before")
    recorded(suite, {"a": f"call look city={secret}; answer {secret}"}, "after")
    for flags in ((), ("--json",), ("-v",)):
        done = compare("before", "after", *flags)
        assert "called look with city=" in done.out
        assert secret not in done.out


MISTAKES = [
    (["before"], ("required", "B")),
    (["before", "nothing"], ("nothing",)),
    (["before", "last", "--margin=5"], ("--margin", "5pp")),
    (["before", "last", "--allow-mismatch=modle"], ("--allow-mismatch", "'model'")),
    (["missing.json", "last"], ("missing.json",)),
]


def test_a_mistake_is_one_line(suite, compare):
    recorded(suite, {"a": GOOD}, "before")
    for args, words in MISTAKES:
        done = compare(*args)
        assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), args
        assert [word for word in words if word not in done.err] == []


def test_disjoint_suites(suite, compare):
    recorded(suite, {"a": GOOD}, "before")
    recorded(suite, {"b": GOOD}, "after")
    done = compare("before", "after")
    assert done.code == 0
    assert "0 shared cases (1 only in A, 1 only in B)" in done.out


def test_scipy_is_imported_by_the_command_alone():
    script = "import sys; from pytest_smoltrace.commands import compare; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert not {"scipy", "numpy", "pyarrow"} & set(done.stdout.split())


def test_the_steps_take_what_the_attempt_took(suite):
    source = SUITE.format(did=AFTER)
    done = suite("--smoltrace-agent-type=both", source=source)
    (directory,) = done.runs
    rows = done.rows("results")
    steps = stored_steps(directory, [row["trace_id"] for row in rows])
    took = {name: sum(step.tokens for step in found) for name, found in steps.items()}
    assert took == {row["trace_id"]: row["gen_ai.usage.total_tokens"] for row in rows}
    tools = {name: [s.name for s in found if s.kind == "tool"] for name, found in steps.items()}
    assert tools == {row["trace_id"]: row["tools_used"] for row in rows}
    assert len(rows) == 2 * len(AFTER)
