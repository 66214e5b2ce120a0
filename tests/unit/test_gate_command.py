"""The command that judges a stored run, on run directories."""

import argparse
import json

import pytest

from pytest_smoltrace.cli import main
from pytest_smoltrace.commands.gate import GATE
from pytest_smoltrace.errors import ConfigError, JournalError
from tests.unit.stored_run import store

TEN = {f"c{n}": "PPP" for n in range(10)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("CI", "SMOLTRACE_BASELINE", "SMOLTRACE_GATE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".smoltrace"


@pytest.fixture
def gate(folder, capsys):
    """Run the command; return its exit code and what it printed."""

    def run(*argv):
        parser = argparse.ArgumentParser()
        GATE.arguments(parser)
        code = GATE.run(parser.parse_args([*argv, "--dir", str(folder)]))
        return code, capsys.readouterr().out.splitlines()

    return run


def test_a_run_passes_and_fails_by_its_gates(folder, gate):
    store(folder, cases=TEN | {"c0": "PFF"})
    code, lines = gate("s-1", "--gate", "quality=success_rate >= 90%")
    assert code == 0
    assert lines[0].startswith("PASS quality  success_rate 93.3 % >= 90.0 %  (28/30, 95 % CI ")
    assert lines[-1] == "gates: 2 passed"
    code, lines = gate("last", "--gate", "success_rate >= 95%", "--gate", "warn: latency <= 1ms")
    assert code == 1
    assert lines[1] == "     2 of 30 attempts failed (wrong_answer 2)"
    assert lines[-1] == "gates: 1 of 3 failed (exit code 1)"


def test_a_run_is_judged_by_what_its_session_was_given(folder, gate):
    store(folder, "old", cases=TEN)
    own = {"gate": ["quality=success_rate >= 95%"], "baseline": "old"}
    store(folder, "new", cases=TEN | {"c0": "PFF"}, started_s=60, config=own)
    code, lines = gate("new")
    assert code == 1
    assert lines[0] == "baseline old: run old, 10 cases"
    assert lines[1].startswith("FAIL quality  success_rate 93.3 % >= 95.0 %")
    # What is given here comes instead, under either name.
    code, lines = gate("new", "--smoltrace-gate", "success_rate >= 90%")
    assert (code, lines[-1]) == (0, "gates: 2 passed")


def test_a_baseline_alone_asks_for_no_regressions(folder, gate):
    store(folder, "old", cases=TEN)
    broken = {name: "FFF" if int(name[1:]) < 7 else "PPP" for name in TEN}
    store(folder, "new", cases=broken, started_s=60)
    code, lines = gate("new", "--baseline", "last")
    assert code == 1
    assert lines[0] == "baseline last: run old, 10 cases"
    assert lines[1].startswith("REGRESSION no_regressions  success_rate 30.0 %")
    # Seven of ten cases fell and none rose: half to the seventh power.
    assert "p = 0.0078" in lines[2]
    assert "newly failing: c0, c1, c2, c3, c4 and 2 more" in lines
    code, lines = gate("new", "--baseline", "old", "-q")
    assert (code, len(lines)) == (1, 1)
    assert lines[0].endswith("no_regressions REGRESSION")
    _, lines = gate("new", "--baseline", "old", "-v")
    assert "newly failing: 7 cases" in lines


def test_a_run_against_itself_is_not_a_regression(folder, gate):
    store(folder, "old", cases=TEN)
    store(folder, "new", cases=TEN, started_s=60)
    code, lines = gate("new", "--baseline", "old")
    assert code == 0
    assert lines[1].startswith("INCONCLUSIVE no_regressions")
    assert "needs " in lines[2]
    code, _ = gate("new", "--baseline", "old", "--inconclusive", "fail")
    assert code == 1
    code, lines = gate("new", "--baseline", "old", "--margin", "40pp")
    assert (code, lines[1].split()[0]) == (0, "PASS")


def test_what_is_not_given_is_read_from_pyproject(folder, gate, tmp_path):
    store(folder, "old", cases=TEN)
    store(folder, "new", cases=TEN, started_s=60)
    (tmp_path / "pyproject.toml").write_text(
        '[tool.smoltrace]\nbaseline = "old"\nmargin = "40pp"\n'
        '[tool.smoltrace.gates]\nquality = "success_rate >= 100%"\n'
        'speed = { expr = "latency <= 1ms", level = "warn" }\n'
    )
    code, lines = gate("new")
    assert code == 0
    assert [line.split("  ")[0] for line in lines if not line.startswith(" ")][1:4] == [
        "PASS quality",
        "FAIL speed (warn)",
        "PASS no_regressions",
    ]
    code, lines = gate("new", "--gate", "quality=success_rate <= 50%", "--margin", "5pp")
    assert code == 1
    assert lines[1].startswith("FAIL quality")
    assert any(line.startswith("INCONCLUSIVE no_regressions") for line in lines)


def test_gates_of_all_places_are_added_up(folder, gate, monkeypatch):
    store(folder, cases=TEN)
    monkeypatch.setenv("SMOLTRACE_GATE", "quality=success_rate >= 10%\nfew=steps <= 90steps")
    _, lines = gate("s-1", "--gate", "quality=success_rate >= 90%")
    assert lines[0].startswith("PASS quality  success_rate 100.0 % >= 90.0 %")
    assert sum(line.startswith("PASS quality") for line in lines) == 1
    assert any(" few " in f"{line} " for line in lines)


def test_another_model_is_incomparable_unless_allowed(folder, gate):
    store(folder, "old", cases=TEN, models=("m-1",))
    store(folder, "new", cases=TEN, models=("m-2",), started_s=60)
    code, lines = gate("new", "--baseline", "old")
    assert code == 1
    assert lines[1] == "INCOMPARABLE no_regressions"
    assert lines[2].endswith(
        "differ in model (m-1 and m-2); allow it with --smoltrace-allow-mismatch=model"
    )
    code, lines = gate("new", "--baseline", "old", "--allow-mismatch", "model", "--margin", "40pp")
    assert code == 0
    assert lines[1].startswith("allowed to differ: model (m-1 and m-2)")


def test_cases_that_are_gone_fail_unless_the_run_was_cut_short(folder, gate):
    store(folder, "old", cases=TEN)
    fewer = {name: ends for name, ends in TEN.items() if name not in ("c3", "c8")}
    store(folder, "new", cases=fewer, started_s=60)
    code, lines = gate("new", "--baseline", "old", "--margin", "50pp")
    assert code == 1
    assert "SHRUNKEN coverage 80.0 % >= 100.0 %  (8/10 cases)" in lines
    assert any("2 of 10 cases of the baseline are gone: c3, c8" in line for line in lines)
    store(folder, "cut", cases=fewer, started_s=90, stop_reason="maxfail")
    code, lines = gate("cut", "--baseline", "old", "--margin", "50pp")
    assert code == 0
    assert "PARTIAL coverage 80.0 % >= 100.0 %  (8/10 cases)" in lines
    assert "only part of the suite: the session ended early: maxfail" in lines


@pytest.mark.parametrize(
    ("chosen", "before", "status"),
    [
        ("-k hard", None, "PARTIAL"),
        ("evals -k hard", "", "PARTIAL"),
        ("evals", None, "PARTIAL"),
        ("evals", "evals", "SHRUNKEN"),
        # A summary of another version does not tell what of the suite was chosen.
        ("evals", "unknown", "SHRUNKEN"),
        ("evals/test_a.py", "unknown", "PARTIAL"),
        ("evals -m slow", "unknown", "PARTIAL"),
        (None, "unknown", "SHRUNKEN"),
        (None, "evals", "SHRUNKEN"),
    ],
)
def test_only_a_selection_explains_cases_that_are_gone(folder, gate, chosen, before, status):
    for name, cases, selection in (("old", TEN, before), ("new", {"c1": "PPP"}, chosen)):
        path = store(folder, name, cases=cases, started_s=len(TEN) - len(cases)) / "summary.json"
        value = json.loads(path.read_bytes()) | {"selection": selection}
        if selection == "unknown":
            del value["selection"]
        path.write_text(json.dumps(value))
    code, lines = gate("new", "--baseline", "old", "--margin", "99pp")
    assert any(line.startswith(f"{status} coverage 10.0 %") for line in lines)
    assert code == (status == "SHRUNKEN")


def test_a_missing_baseline_fails_when_told_to(folder, gate):
    store(folder, "only", cases=TEN)
    code, lines = gate("only", "--baseline", "last")
    assert (code, lines[1].split()[0]) == (0, "NO_BASELINE")
    code, _ = gate("only", "--baseline", "last", "--baseline-missing", "fail")
    assert code == 1


def test_the_verdict_is_kept_when_asked(folder, gate):
    run = store(folder, cases=TEN)
    before = (run / "summary.json").read_bytes()
    gate("s-1", "--gate", "success_rate >= 80%")
    assert (run / "summary.json").read_bytes() == before
    gate("s-1", "--gate", "success_rate <= 50%", "--keep")
    kept = json.loads((run / "gates.json").read_bytes())
    assert (kept["status"], kept["results"][0]["status"]) == ("failed", "FAIL")
    assert json.loads((run / "summary.json").read_bytes())["gates"] == kept


def test_a_verdict_that_is_kept_is_shown(folder, gate, capsys):
    store(folder, cases=TEN)
    assert main(["show", "s-1", "--dir", str(folder)]) == 0
    assert "gates:" not in capsys.readouterr().out
    gate("s-1", "--gate", "success_rate <= 50%", "--keep")
    assert main(["show", "s-1", "--dir", str(folder)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert any(line.startswith("FAIL success_rate 100.0 % <= 50.0 %") for line in shown)
    assert shown[-1].startswith("gates: 1 of 2 failed")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "there is nothing to judge by"),
        (("--gate", "succes_rate >= 80%"), "did you mean 'success_rate'"),
        (("--gate", "success_rate >= baseline"), "needs a baseline"),
        (("--margin", "5", "--baseline", "last"), "--margin: '5' is no number of percentage"),
        (("--baseline", "nothing-there"), "^--baseline: nothing-there: no run or saved"),
    ],
)
def test_wrong_requests_are_refused(folder, gate, argv, message):
    store(folder, cases=TEN)
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        gate("s-1", *argv)


def test_a_run_without_datasets_says_how_to_make_them(folder, gate):
    store(folder, cases=TEN, built=False)
    with pytest.raises(JournalError, match="build"):
        gate("s-1", "--gate", "success_rate >= 80%")
