"""Sessions with gates: each status, the exit code, and what is printed and written of it."""

import pytest

from tests.plugin import gated_session
from tests.plugin.gated_session import PLAIN, SOURCE, result, statuses

judged, outside = gated_session.judged, gated_session.outside


def test_gates_pass_and_the_session_with_them(judged):
    run = judged("--smoltrace-gate=quality=success_rate >= 80%")
    assert run.ret == 0
    assert statuses(run) == {"quality": "PASS", "valid": "PASS"}
    assert run.gates["status"] == "passed"
    assert "smoltrace gates" in run.out
    assert "PASS quality  success_rate 100.0 % >= 80.0 %  (10/10" in run.out
    assert run.out.splitlines()[-2] == "gates: 2 passed"


def test_a_failed_gate_fails_a_session_in_which_all_tests_passed(judged):
    run = judged("--smoltrace-gate=tokens <= 109")
    assert run.ret == 1
    assert result(run, "tokens")["value"] == 110  # the model tells 100 + 10
    assert "gates: 1 of 2 failed (exit code 1)" in run.out
    assert "10 passed" in run.out


def test_a_warning_fails_nothing(judged):
    run = judged("--smoltrace-gate=warn: tokens <= 109")
    assert run.ret == 0
    assert statuses(run)["tokens"] == "FAIL"
    assert run.gates["status"] == "warned"
    assert "FAIL tokens (warn)" in run.out


def test_no_gates_looks_at_nothing(judged):
    run = judged("--smoltrace-gate=tokens <= 109", "--smoltrace-no-gates")
    assert run.ret == 0
    assert run.gates is None
    assert run.summary["gates"] is None
    assert "smoltrace gates" not in run.out


LAST = "--smoltrace-baseline=old"
NEWLY = "newly failing: test_it.py::test_case[{}]"


def test_a_fall_that_is_no_chance_is_a_regression(judged):
    run = judged(LAST, bad=range(8), base=True)
    assert run.ret == 1
    assert statuses(run) == {"no_regressions": "REGRESSION", "valid": "PASS", "coverage": "PASS"}
    found = result(run, "no_regressions")
    # Eight cases fell and none rose: half to the eighth power.
    assert found["comparison"]["p_value"] == pytest.approx(0.5**8)
    assert (found["value"], found["baseline"]) == (20.0, 100.0)
    assert len(run.gates["flips"]) == 8
    assert "REGRESSION no_regressions" in run.out


@pytest.mark.parametrize("blocks", [False, True])
def test_a_suite_too_small_to_tell_is_inconclusive(judged, blocks):
    flags = ["--smoltrace-inconclusive=fail"] if blocks else []
    run = judged(LAST, *flags, base=True)
    assert run.ret == blocks
    assert statuses(run)["no_regressions"] == "INCONCLUSIVE"
    assert run.gates["status"] == ("failed" if blocks else "warned")
    assert "needs " in result(run, "no_regressions")["reason"]
    assert "INCONCLUSIVE no_regressions" in run.out


def test_a_wide_margin_passes(judged):
    run = judged(LAST, "--smoltrace-margin=60pp", base=True)
    assert run.ret == 0
    assert statuses(run)["no_regressions"] == "PASS"


def test_what_no_case_knows_is_not_measured(judged):
    run = judged("--smoltrace-gate=gpu_energy_wh <= 1Wh")
    assert run.ret == 1
    assert statuses(run)["gpu_energy_wh"] == "NOT_MEASURED"
    assert "NOT_MEASURED gpu_energy_wh" in run.out


def test_too_few_cases(judged):
    run = judged("--smoltrace-gate=tokens <= 200 if n >= 11")
    assert run.ret == 1
    assert statuses(run)["tokens"] == "TOO_FEW"
    assert "10 cases of the 11" in run.out


@pytest.mark.parametrize(
    ("ci", "flags", "ret"),
    [
        ("", [], 0),
        ("true", [], 1),
        ("", ["--smoltrace-baseline-missing=fail"], 1),
        ("true", ["--smoltrace-baseline-missing=warn"], 0),
    ],
)
def test_a_missing_baseline_fails_in_ci(judged, monkeypatch, ci, flags, ret):
    monkeypatch.setenv("CI", ci)
    run = judged("--smoltrace-baseline=last-green", *flags)
    assert run.ret == ret
    assert statuses(run)["no_regressions"] == "NO_BASELINE"
    assert "no other green run is stored" in run.out


MISMATCHES = {
    "model": ("model (m and other)", {"model": "scripted:other"}),
    "agent_type": ("agent type (tool and code)", {"flag": "--smoltrace-agent-type=code"}),
    "settings": ("--smoltrace-max-steps", {"flag": "--smoltrace-max-steps=5"}),
    "suite": (
        "suite (another prompt or expectation in test_it.py::test_case[0]",
        {"source": SOURCE.replace('="Bern"', '="Ber"')},
    ),
}


@pytest.mark.parametrize("word", MISMATCHES)
def test_another_thing_is_incomparable_unless_allowed(judged, word):
    said, how = MISMATCHES[word]
    how = dict(how)
    flags = [LAST, "--smoltrace-margin=60pp", *filter(None, [how.pop("flag", None)])]
    run = judged(*flags, base=True, **how)
    assert run.ret == 1
    assert statuses(run)["no_regressions"] == "INCOMPARABLE"
    assert said in result(run, "no_regressions")["reason"]
    assert f"--smoltrace-allow-mismatch={word}" in run.out
    run = judged(*flags, f"--smoltrace-allow-mismatch={word}", run_id="allowed", **how)
    assert run.ret == 0
    assert statuses(run)["no_regressions"] == "PASS"
    assert any(said in text for text in run.gates["baseline"]["allowed"])
    assert "allowed to differ: " in run.out


def test_other_hardware_is_incomparable_for_figures_of_time_alone(judged):
    flags = (LAST, "--smoltrace-gate=speed=latency <= baseline*1000",
             "--smoltrace-gate=no_regressions", "--smoltrace-margin=60pp",
             "--smoltrace-hardware=H100")  # fmt: skip
    run = judged(*flags, base=True)
    assert run.ret == 1
    assert statuses(run)["speed"] == "INCOMPARABLE"
    assert statuses(run)["no_regressions"] == "PASS"
    run = judged(*flags, "--smoltrace-allow-mismatch=hardware", run_id="allowed")
    assert run.ret == 0
    assert statuses(run)["speed"] == "PASS"


def test_deleted_cases_shrink_the_suite(judged):
    judged.base(10, 1)
    run = judged(LAST, "--smoltrace-margin=60pp", cases=8)
    assert run.ret == 1
    assert statuses(run)["coverage"] == "SHRUNKEN"
    assert "2 of 10 cases of the baseline are gone" in run.out
    assert run.gates["compared"] == {"candidate": 8, "baseline": 10, "both": 8}


PARTS = {
    "-k": (["-k", "0 or 1 or 2"], (), 0),
    "-x": (["-x"], [4], 1),
    "--maxfail": (["--maxfail=2"], [4, 5], 1),
    "node ids": (["test_it.py::test_case[1]", "test_it.py::test_case[2]"], (), 0),
    "--deselect": (["--deselect", "test_it.py::test_case[1]"], (), 0),
}


@pytest.mark.parametrize("how", PARTS)
def test_a_part_of_the_suite_is_told_and_is_not_shrunken(judged, how):
    flags, bad, ret = PARTS[how]
    run = judged(LAST, "--smoltrace-margin=60pp", *flags, bad=bad, base=True)
    assert run.ret == ret
    assert statuses(run)["coverage"] == "PARTIAL"
    assert run.gates["partial"]
    assert f"only part of the suite: {run.gates['partial']}" in run.out
    if how.startswith("-") and not bad:
        assert flags[0] in run.gates["partial"]


def test_what_failed_last_is_a_part(judged, pytester):
    cached = ("-p", "cacheprovider")
    judged(*cached, bad=[3, 4], base=True, run_id="before")
    run = judged(*cached, LAST, "--lf", "--smoltrace-margin=100pp")
    assert statuses(run)["coverage"] == "PARTIAL"
    assert "--lf" in run.gates["partial"]
    assert run.gates["compared"]["both"] == 2


def test_an_ignored_file_is_a_part(judged, pytester):
    pytester.makepyfile(test_more="def test_more(ask):\n    ask('answer Bern')\n")
    run = judged(LAST, "--ignore=test_it.py", base=True)
    assert run.gates["partial"] == "selected by . --ignore test_it.py"
    assert statuses(run)["coverage"] == "PARTIAL"
    assert statuses(run)["no_regressions"] == "INCOMPARABLE"
    assert run.ret == 1


def test_another_way_to_name_the_whole_suite_is_no_part(judged, pytester, monkeypatch):
    (pytester.path / "pytest.ini").touch()
    judged.base(10, 1)
    monkeypatch.chdir(pytester.mkdir("below"))
    run = judged(LAST, "--smoltrace-dir=../.smoltrace", "../")
    assert run.gates["partial"] is None


STOPS = (
    SOURCE
    + """
def test_zz_stops(ask):
    ask("answer Bern")
    import signal
    os.kill(os.getpid(), signal.SIGINT)
    import time; time.sleep(30)

def test_zzz_never(ask):
    ask("answer Bern")
"""
)


@pytest.mark.parametrize("bad", [(), range(9)])
def test_an_interrupt_keeps_its_exit_code(judged, bad):
    run = judged(LAST, bad=bad, base=True, source=STOPS)
    assert run.ret == 2
    assert run.gates["partial"] == "the session ended early: interrupted"
    assert statuses(run)["no_regressions"] == ("REGRESSION" if bad else "INCONCLUSIVE")
    assert "smoltrace gates" in run.out


NOT_ANSWERED = """
def pytest_smoltrace_gates(config):
    def breaks(candidate, baseline):
        raise RuntimeError("no such thing\\nsecond line")
    def holds(candidate, baseline):
        return len(candidate.runs) == 1, f"{len(candidate.runs)} runs"
    def fails(candidate, baseline):
        return baseline is not None, "no baseline"
    def odd(candidate, baseline):
        return None
    return {"breaks": breaks, "holds": holds, "fails": fails, "odd": odd, "q": "tokens <= 200"}
"""


def test_gates_that_are_functions(judged):
    run = judged(conftest=NOT_ANSWERED)
    assert run.ret == 1
    assert statuses(run) == {
        "q": "PASS", "valid": "PASS",
        "breaks": "ERROR", "holds": "PASS", "fails": "FAIL", "odd": "ERROR",
    }  # fmt: skip
    assert result(run, "breaks")["reason"] == "RuntimeError: no such thing"
    assert "ERROR breaks" in run.out
    assert "gates: 3 of 6 failed (exit code 1)" in run.out


def test_own_gates_are_judged_only_when_gates_are(judged):
    run = judged("--smoltrace-no-gates", conftest=NOT_ANSWERED)
    assert run.ret == 0
    assert run.gates is None


# What decides the exit code.

ALL_BAD = range(10)
GATE_ONLY = ("--smoltrace-gate-only", "--smoltrace-gate=success_rate >= 50%")


def test_red_cases_are_data(judged):
    run = judged(*GATE_ONLY, bad=range(5))
    assert run.ret == 0
    assert "5 failed, 5 passed" in run.out
    run = judged(*GATE_ONLY, bad=range(6), run_id="worse")
    assert run.ret == 1
    run = judged(GATE_ONLY[1], bad=range(5), run_id="not-only")
    assert run.ret == 1
    assert run.gates["status"] == "passed"


RED = {
    "test": PLAIN.replace("not os", "os"),
    "fixture": """
import pytest
@pytest.fixture
def breaks():
    raise ValueError("fixture")
def test_plain(breaks):
    pass
""",
    "teardown": """
import pytest
@pytest.fixture
def breaks():
    yield
    raise ValueError("teardown")
def test_plain(breaks):
    pass
""",
    "collection": "import nothing_that_exists",
}


@pytest.mark.parametrize("what", RED)
def test_gate_only_does_not_hide_what_is_no_eval_case(judged, pytester, what):
    pytester.makepyfile(test_other=RED[what])
    flags = ["--continue-on-collection-errors"] * (what == "collection")
    run = judged(*GATE_ONLY, *flags, bad=[1])
    assert run.ret == 1
    assert run.gates["status"] == "passed"


def test_a_spent_budget_is_no_data(judged):
    allowed = "--smoltrace-gate=valid >= 10%"
    run = judged(*GATE_ONLY, allowed, "--smoltrace-budget-tokens=300", bad=[0])
    assert run.ret == 1
    assert run.gates["status"] != "failed"
    assert run.gates["partial"] == "the session ended early: budget"


def test_a_collection_error_ends_the_session_as_ever(judged, pytester):
    pytester.makepyfile(test_other=RED["collection"])
    run = judged(*GATE_ONLY)
    assert run.ret == 2
    assert run.gates is None


def test_no_case_selected_stays_exit_code_5(judged):
    run = judged(*GATE_ONLY, "-k", "nothing")
    assert run.ret == 5
    assert not run.folder.exists()


@pytest.mark.parametrize("gate_only", [False, True])
def test_no_gate_passes_a_session_without_a_case(judged, gate_only):
    run = judged(*GATE_ONLY[not gate_only :], source=PLAIN)
    assert run.ret == 1
    assert "1 passed" in run.out
    assert "no case was run, so no gate could be judged" in run.out


def test_plain_tests_that_were_picked_need_no_gate(judged, pytester):
    pytester.makepyfile(test_other=PLAIN)
    run = judged(*GATE_ONLY, "-k", "plain")
    assert run.ret == 0
    assert "no case was run, so no gate could be judged" in run.out


def test_an_internal_error_stays_exit_code_3(judged):
    run = judged(
        "--smoltrace-gate=tokens <= 1",
        conftest="""
def pytest_runtest_logfinish(nodeid):
    if "[5]" in nodeid:
        raise RuntimeError("broken plugin")
""",
        broken=True,
    )
    assert run.ret == 3


# Several runs in one session.


def test_each_model_and_agent_type_is_judged(judged):
    run = judged(
        "--smoltrace-gate=tokens <= 200", "--smoltrace-model=scripted:n",
        "--smoltrace-agent-type=both", cases=2,
    )  # fmt: skip
    assert run.ret == 0
    assert statuses(run) == {"tokens": ["PASS"] * 4, "valid": ["PASS"] * 4}
    for model in "mn":
        for kind in ("tool", "code"):
            assert f"PASS tokens [{model}, {kind}] " in run.out


def test_a_gate_of_one_model(judged):
    run = judged(
        "--smoltrace-gate=t=tokens <= 1 for model=n", "--smoltrace-model=scripted:n", cases=2
    )
    assert run.ret == 1
    assert [(r["name"], r["model"]) for r in run.gates["results"] if r["blocks"]] == [("t", "n")]
    run = judged("--smoltrace-gate=t=tokens <= 1 for model=x", cases=2, run_id="none")
    assert run.ret == 1
    assert statuses(run)["t"] == "NOT_MEASURED"
    assert "no case has model=x; there is m" in run.out
