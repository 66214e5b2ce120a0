"""Trials: each an item of its own, one case together, and rates that a count by hand confirms."""

import json
from collections import Counter
from itertools import combinations
from statistics import fmean

import pytest

from tests.plugin.test_shards import differing, joined, shard

# What each trial of a case does: pass, fail the assertion, meet a server that is down, be skipped.
PLAN = {"a": "ppp", "b": "pfp", "c": "fff", "d": "fpx", "e": "xxx", "g": "spp"}
SOURCE = f"""
import os
import pytest

PLAN = {PLAN}

@pytest.mark.parametrize("name", PLAN)
def test_case(ask, smoltrace_case, name):
    fate = PLAN[name][smoltrace_case.trial]
    if fate == "s":
        pytest.skip("not in this trial")
    if fate == "x":
        ask("fail 500")
    assert ask("call look city=Bern; answer yes") == ("yes" if fate == "p" else "no")
"""
RETRY = "--smoltrace-max-retries=0"


def into(suite, name, *args, source=SOURCE):
    """Run the suite with a folder of its own for the run."""
    run = suite(f"--smoltrace-dir={name}", *args, source=source)
    run.directory = run.directory.parent / name
    return run


def ids(run):
    """Return (case id, trial) of the counted rows, with their node ids."""
    rows = [row for row in run.rows("results") if row["counted"]]
    found = {(row["case_id"].rpartition("::")[2], row["trial"]): row for row in rows}
    assert len(found) == len(rows)
    return {key: row["nodeid"].rpartition("::")[2] for key, row in found.items()}


def collected(suite, source, *args):
    """Return the names of the collected items."""
    out = suite("--collect-only", "-q", *args, source=source).out
    return [line.partition("::")[2] for line in out.splitlines() if "::" in line]


def brute_force(outcomes, k):
    """Return pass@k and pass^k from all ways to draw k of the scored trials of each case."""
    drawn = [list(combinations(one, k)) for one in outcomes if len(one) >= k]
    if not drawn:
        return None, None
    return (
        fmean(fmean(any(draw) for draw in each) for each in drawn),
        fmean(fmean(all(draw) for draw in each) for each in drawn),
    )


ONE = "def test_it(ask):\n    ask('answer Bern')\n"
TASKS = """
import pytest

@pytest.mark.smoltrace_tasks("tasks.jsonl")
def test_task(smoltrace_task, smoltrace_agent):
    smoltrace_agent().run("answer Bern")
"""
BOTH = ("--smoltrace-agent-type=both",)


def test_each_trial_is_an_item(suite):
    run = suite("--smoltrace-trials=3", source=ONE)
    assert ids(run) == {("test_it", n): f"test_it[t{n}]" for n in range(3)}
    rows = run.rows("results")
    assert {row["trials"] for row in rows} == {3}
    assert {row["case_id"] for row in rows} == {"test_it.py::test_it"}
    assert {row["attempt"] for row in rows} == {0}
    (board,) = run.rows("leaderboard")
    assert (board["num_tests"], board["evaluated_prompts"], board["pass_attempts"]) == (3, 1, 3)


@pytest.mark.parametrize("args", [(), ("--smoltrace-trials=1",)])
def test_one_trial_leaves_the_ids_as_they_are(suite, args):
    assert collected(suite, ONE, *args) == ["test_it"]
    assert collected(suite, ONE, *BOTH, *args) == ["test_it[tool]", "test_it[code]"]


def test_ids_of_models_tasks_and_parameters(suite, pytester):
    (pytester.path / "tasks.jsonl").write_text('{"id": "one", "prompt": "x"}\n')
    three = (*BOTH, "--smoltrace-trials=2")
    assert collected(suite, ONE, *three) == [
        f"test_it[{kind}-t{n}]" for n in range(2) for kind in ("tool", "code")
    ]
    assert collected(suite, TASKS, *three) == [
        f"test_task[one-{kind}-t{n}]" for n in range(2) for kind in ("tool", "code")
    ]


def test_the_marker_comes_before_the_option(suite):
    source = """
    import pytest
    pytestmark = pytest.mark.smoltrace(trials=2)

    def test_module(smoltrace_case): pass

    @pytest.mark.smoltrace(trials=4)
    class TestClass:
        def test_class(self, smoltrace_case): pass

        @pytest.mark.smoltrace(trials=1)
        def test_once(self, smoltrace_case): pass
    """
    names = collected(suite, source, "--smoltrace-trials=3")
    found = Counter(name.partition("[")[0].rpartition("::")[2] for name in names)
    assert found == {"test_module": 2, "test_class": 4, "test_once": 1}


def test_tests_that_are_no_cases_run_once(suite):
    source = ONE + "\ndef test_plain():\n    pass\n"
    assert collected(suite, source, "--smoltrace-trials=2") == [
        "test_it[t0]", "test_it[t1]", "test_plain",
    ]  # fmt: skip


STABLE = """
import pytest

pytestmark = pytest.mark.smoltrace(difficulty="easy")

def pytest_generate_tests(metafunc):
    if "late" in metafunc.fixturenames:
        metafunc.parametrize("late", ["t0", "t3"])

@pytest.mark.parametrize("x", ["t1", "1-3"])
@pytest.mark.parametrize("y", [pytest.param(1, id="-t0"), pytest.param(2, id="tool")])
def test_stacked(smoltrace_case, x, y): pass

@pytest.mark.parametrize("z", ["t0"])
class TestClass:
    @pytest.mark.parametrize("n", [7])
    def test_method(self, smoltrace_case, n, z): pass

def test_generated(smoltrace_case, late): pass

@pytest.mark.smoltrace(id="named")
def test_named(smoltrace_case): pass

@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.smoltrace(id="own"))])
def test_own(smoltrace_case, n): pass

@pytest.fixture(params=["t1", "t2"], scope="module")
def given(request):
    return request.param

def test_fixture(smoltrace_case, given): pass
"""


def cases(run):
    return {row["case_id"] for row in run.rows("results")}


def test_case_ids_are_those_of_a_run_without_trials(suite, pytester):
    one = cases(into(suite, "one", source=STABLE))
    assert len(one) == 11
    ways = {
        "trials": ("--smoltrace-trials=3",),
        "matrix": ("--smoltrace-trials=2", "--smoltrace-model=scripted:other", *BOTH),
    }
    for name, args in ways.items():
        run = into(suite, name, *args, source=STABLE)
        assert cases(run) == one
        number = Counter((row["case_id"], row["trial"]) for row in run.rows("results"))
        assert set(number.values()) == {1 if name == "trials" else 4}
        assert {row["nodeid"].endswith(f"t{row['trial']}]") for row in run.rows("results")} == {
            True
        }


def test_all_cases_run_once_before_any_runs_twice(suite, pytester):
    twice = (
        "\nimport pytest\n@pytest.mark.smoltrace(trials=2)\ndef test_twice(smoltrace_case): pass\n"
    )
    pytester.makepyfile(test_other=ONE + twice)
    trials = [name[-2] for name in collected(suite, ONE, "--smoltrace-trials=3")]
    assert "".join(trials) == "00011122"


def test_a_stopped_session_has_whole_trials(suite):
    source = """
    import pytest

    @pytest.mark.parametrize("n", range(3))
    def test_it(ask, smoltrace_case, n):
        assert (n, smoltrace_case.trial) != (1, 1)
        ask("answer Bern")
    """
    run = suite("-x", "--smoltrace-trials=4", source=source)
    done = Counter(row["trial"] for row in run.rows("results"))
    assert done == {0: 3, 1: 2}
    (board,) = run.rows("leaderboard")
    assert (board["planned_tests"], board["run_status"]) == (12, "partial")


def test_rates_are_those_of_a_count_by_hand(suite):
    run = suite("--smoltrace-trials=3", "--smoltrace-pass-k=2", RETRY, source=SOURCE)
    outcomes = [[fate == "p" for fate in fates if fate in "pf"] for fates in PLAN.values()]
    scored = [one for one in outcomes if one]
    (board,) = run.rows("leaderboard")
    assert board["num_tests"] == sum(map(len, scored)) == 13
    assert board["successful_tests"] == sum(map(sum, scored)) == 8
    assert board["success_rate"] == pytest.approx(100 * 8 / 13)
    assert (board["evaluated_prompts"], board["pass_attempts"], board["pass_k"]) == (5, 3, 2)
    assert (board["pass_at_k"], board["pass_hat_k"]) == pytest.approx(brute_force(scored, 2))
    assert board["pass_at_1"] == pytest.approx(brute_force(scored, 1)[0])
    assert board["passed_prompts"] == sum(one[0] for one in scored)
    curve = json.loads(board["pass_curve"])
    for k in (1, 2, 3):
        found = curve[str(k)]
        assert (found["pass_at"], found["pass_hat"]) == pytest.approx(brute_force(scored, k))
        assert found["cases"] == sum(len(one) >= k for one in scored)
    assert board["run_status"] == "completed"


def test_duckdb_finds_the_same_rates(suite):
    duckdb = pytest.importorskip("duckdb")
    run = suite("--smoltrace-trials=3", RETRY, source=SOURCE)
    (board,) = run.rows("leaderboard")
    (path,) = (run.runs[0] / "results").rglob("*.parquet")
    query = f"""
        with cases as (
            select case_id, count(*) as n, count(*) filter (success) as c
            from '{path}' where counted and scored group by case_id
        )
        select sum(c) * 100.0 / sum(n), avg(c / n), avg((c = n)::int) filter (n = 3),
               avg((c > 0)::int) filter (n = 3), sum(n)
        from cases
    """
    with duckdb.connect() as db:
        rate, at_1, hat_3, at_3, number = db.execute(query).fetchone()
    assert board["pass_k"] == 3
    assert (board["success_rate"], board["pass_at_1"]) == pytest.approx((rate, at_1))
    assert (board["pass_hat_k"], board["pass_at_k"]) == pytest.approx((hat_3, at_3))
    assert board["num_tests"] == number


def test_the_interval_is_clustered_by_case(suite):
    """The 95 % interval equals that of statsmodels with standard errors clustered by case."""
    pytest.importorskip("statsmodels")
    import numpy as np
    import statsmodels.api as sm

    run = suite("--smoltrace-trials=3", RETRY, source=SOURCE)
    rows = [row for row in run.rows("results") if row["counted"] and row["scored"]]
    names = sorted({row["case_id"] for row in rows})
    groups = np.array([names.index(row["case_id"]) for row in rows])
    values = np.array([float(row["success"]) for row in rows])
    fit = sm.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster",
        cov_kwds={"groups": groups, "use_correction": False, "df_correction": True},
        use_t=True,
    )
    (board,) = run.rows("leaderboard")
    # statsmodels leaves out G / (G - 1) without its correction, which also has (n - 1) / (n - k).
    factor = (len(names) / (len(names) - 1)) ** 0.5
    low, high = fit.conf_int()[0]
    middle = (low + high) / 2
    expected = [100 * (middle + sign * (high - low) / 2 * factor) for sign in (-1, 1)]
    assert board["success_rate_ci_method"] == "cluster_t"
    clipped = [min(100, max(0, one)) for one in expected]
    assert [board["success_rate_ci_low"], board["success_rate_ci_high"]] == pytest.approx(clipped)


@pytest.mark.parametrize(
    "args", [("-n", "2"), ("-n", "2", "--dist=worksteal"), ("-n", "2", "--dist=loadscope")]
)
def test_workers_make_the_same_run(suite, args):
    one = into(suite, "alone", "--smoltrace-trials=3", RETRY)
    two = into(suite, "both", "--smoltrace-trials=3", RETRY, *args)
    assert not differing(one, two)
    assert rates(one) == rates(two)


def rates(run):
    """Return what every trial came to."""
    return {
        (row["case_id"], row["trial"]): (row["outcome"], row["success"], row["error_type"])
        for row in run.rows("results")
        if row["counted"]
    }


def test_shards_make_the_run_of_one_session(suite, tmp_path):
    args = ("--smoltrace-trials=3", RETRY)
    shards = [shard(suite, n, *args, count=3, source=SOURCE) for n in (1, 2, 3)]
    _, merged = joined(shards, tmp_path / "merged")
    whole = into(suite, "whole", *args)
    assert rates(merged) == rates(whole)
    assert not differing(merged, whole)
    assert sum(len(run.rows("results")) for run in shards) == 18


STOPS = """
import os, signal
import pytest

@pytest.mark.parametrize("n", range(3))
def test_it(ask, smoltrace_case, n):
    with open("ran.txt", "a") as stream:
        stream.write(f"{n}/{smoltrace_case.trial}\\n")
    if os.environ.get("TROUBLE") and (n, smoltrace_case.trial) == (1, 1):
        if os.environ["TROUBLE"] == "infra":
            ask("fail 500")
        os.kill(os.getpid(), getattr(signal, os.environ["TROUBLE"]))
    assert ask("answer Bern") == "Bern"
"""


@pytest.mark.parametrize("trouble", ["SIGKILL", "SIGINT", "infra"])
def test_resume_runs_the_trials_that_are_not_finished(suite, pytester, monkeypatch, trouble):
    monkeypatch.setenv("TROUBLE", trouble)
    suite("--smoltrace-trials=2", RETRY, source=STOPS)
    monkeypatch.setenv("TROUBLE", "")
    before = (pytester.path / "ran.txt").read_text().split()
    (pytester.path / "ran.txt").write_text("")
    run = suite("--smoltrace-trials=2", RETRY, "--smoltrace-resume=last", source=STOPS)
    again = (pytester.path / "ran.txt").read_text().split()
    assert run.ret == 0
    left = ["1/1"] if trouble == "infra" else ["1/1", "2/1"]
    assert again == left
    assert set(before) | set(again) == {f"{n}/{trial}" for n in range(3) for trial in range(2)}
    found = ids(run)
    assert len(found) == 6
    (board,) = run.rows("leaderboard")
    assert (board["num_tests"], board["successful_tests"], board["pass_hat_k"]) == (6, 6, 1.0)
    attempts = {(r["nodeid"].rpartition("[")[2], r["attempt"]) for r in run.rows("results")}
    assert ("1-t1]", 1) in attempts or trouble != "infra"


def test_resume_with_other_trials_is_refused(suite, monkeypatch):
    monkeypatch.setenv("TROUBLE", "SIGINT")
    suite("--smoltrace-trials=2", source=STOPS)
    run = suite("--smoltrace-trials=3", "--smoltrace-resume=last", source=STOPS)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    assert "had another suite: " in run.err
    assert "trial 2" in run.err


def test_a_worker_that_dies_in_one_trial(suite, monkeypatch):
    monkeypatch.setenv("TROUBLE", "SIGKILL")
    run = suite("--smoltrace-trials=2", "-n", "1", source=STOPS)
    rows = {(row["case_id"][-2], row["trial"]): row for row in run.rows("results")}
    assert len(rows) == 6
    assert rows["1", 1]["error_type"] == "worker_crash"
    assert [key for key, row in rows.items() if row["outcome"] != "passed"] == [("1", 1)]
    (board,) = run.rows("leaderboard")
    assert (board["num_tests"], board["evaluated_prompts"]) == (5, 3)


def test_selection_by_trial(suite, pytester):
    three = ("--smoltrace-trials=3",)
    source = STOPS
    assert collected(suite, source, *three, "-k", "t1") == [f"test_it[{n}-t1]" for n in range(3)]
    left = collected(suite, source, *three, "--deselect=test_it.py::test_it[1-t2]")
    assert "test_it[1-t2]" not in left
    assert len(left) == 8
    run = suite(*three, "test_it.py::test_it[2-t1]", source=source)
    assert ids(run) == {("test_it[2]", 1): "test_it[2-t1]"}
    assert {row["trials"] for row in run.rows("results")} == {3}


def test_last_failed_runs_the_trial_that_failed(suite, pytester):
    flags = ("-p", "cacheprovider", "--smoltrace-trials=3", RETRY)
    into(suite, "first", *flags)
    run = into(suite, "second", *flags, "--lf")
    failed = {
        (f"test_case[{name}]", number)
        for name, fates in PLAN.items()
        for number, fate in enumerate(fates)
        if fate in "fx"
    }
    assert set(ids(run)) == failed


def test_a_budget_stops_between_trials(suite):
    run = suite("--smoltrace-trials=3", "--smoltrace-budget-tokens=440", source=STOPS)
    done = Counter(row["trial"] for row in run.rows("results"))
    assert done == {0: 3, 1: 1}
    assert run.stop_reason == "budget"


UNITTEST = """
import unittest
import pytest

{mark}
class TestIt(unittest.TestCase):
    def test_method(self):
        pass
"""


def test_a_method_of_a_testcase_cannot_be_repeated(suite):
    source = UNITTEST.format(mark="@pytest.mark.smoltrace(trials=3)")
    suite(source=source).refused("TestIt::test_method", "trials=3", "unittest.TestCase")
    source = UNITTEST.format(mark="@pytest.mark.smoltrace")
    run = suite("--smoltrace-trials=3", source=source)
    run.result.assert_outcomes(passed=1, warnings=1)
    assert "TestIt::test_method runs once, not 3 times: it cannot be parametrized" in run.out
    assert {(row["trial"], row["trials"]) for row in run.rows("results")} == {(0, 1)}
    suite("--smoltrace-trials=3", "-Werror", source=source).refused("runs once, not 3 times")


def test_trials_on_a_parameter_set_are_refused(suite):
    source = """
    import pytest

    @pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.smoltrace(trials=2))])
    def test_it(smoltrace_case, n): pass
    """
    suite(source=source).refused("test_it[2]", "trials=2", "parameter set")


@pytest.mark.parametrize("value", ["0", "-1", "True", "'3'", "2.5", "None"])
def test_trials_that_are_no_number_are_refused(suite, value):
    source = f"""
    import pytest

    @pytest.mark.smoltrace(trials={value})
    def test_it(smoltrace_case): pass
    """
    suite(source=source).refused("test_it", "trials=", "a whole number of at least 1")


def test_a_session_without_a_model_has_no_trials(suite):
    run = suite(model=None, source="import pytest\n@pytest.mark.smoltrace(trials=3)\n" + ONE)
    run.result.assert_outcomes(skipped=1)
