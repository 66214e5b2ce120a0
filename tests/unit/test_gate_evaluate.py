"""What gates come to, against figures worked out by hand, by SciPy and by DuckDB."""

from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from pytest_smoltrace.baselines.reference import Found
from pytest_smoltrace.gates.evaluate import evaluate
from pytest_smoltrace.gates.grammar import parse
from pytest_smoltrace.gates.policy import Policy
from pytest_smoltrace.gates.verdicts import Status
from tests.unit.measured_factory import attempt, cases, run, session, stored


def policy(*texts, **facts):
    known = {
        "baseline": None,
        "missing_blocks": True,
        "inconclusive_blocks": False,
        "margin": 0.05,
        "power": 0.8,
        "alpha": 0.05,
        "allow_mismatch": frozenset(),
        "gate_only": False,
    }
    return Policy(gates=tuple(parse(text) for text in texts), **(known | facts))


def found(rows, **facts):
    return Found(reference="last", session=stored(rows, session_id="base", **facts))


def judged(text, rows, baseline=None, *, partial=None, **facts):
    """Return the only result of one gate."""
    (result,) = evaluate(policy(text, **facts), stored(rows), baseline, partial=partial).results
    return result


class TestAbsolute:
    def test_a_rate_has_the_interval_of_the_leaderboard(self):
        result = judged("success_rate >= 80%", cases(52, 60))
        wilson = binomtest(52, 60).proportion_ci(method="wilson")
        assert (result.status, result.blocks, result.reason) == (Status.PASS, False, None)
        assert result.value == pytest.approx(100 * 52 / 60)
        assert (result.low, result.high) == pytest.approx((100 * wilson.low, 100 * wilson.high))
        assert (result.limit, result.cases, result.attempts) == (80, 60, 60)

    def test_a_failed_rate_says_what_failed(self):
        rows = [*cases(3, 4), attempt("x", success=False, error_type="timeout")]
        result = judged("success_rate >= 80%", rows)
        assert (result.status, result.blocks) == (Status.FAIL, True)
        assert result.value == 60
        assert result.reason == "2 of 5 attempts failed (timeout 1, wrong_answer 1)"

    @pytest.mark.parametrize(
        ("text", "status"),
        [
            ("success_rate >= 70%", Status.PASS),
            ("success_rate > 70%", Status.FAIL),
            ("success_rate <= 70%", Status.PASS),
            ("success_rate < 70%", Status.FAIL),
            ("success_rate == 70%", Status.PASS),
            ("success_rate == 71%", Status.FAIL),
            ("success_rate > 69.99%", Status.PASS),
        ],
    )
    def test_a_limit_is_met_as_its_operator_says(self, text, status):
        assert judged(text, cases(7, 10)).status is status

    def test_sums_round_and_are_equal_all_the_same(self):
        rows = [attempt(str(n), **{"gen_ai.usage.cost.total": 0.1}) for n in range(3)]
        assert judged("sum(cost) <= 0.3usd", rows).status is Status.PASS

    def test_only_scored_attempts_are_in_a_figure(self):
        rows = [
            attempt("a", execution_time_ms=100.0),
            attempt("b", execution_time_ms=300.0),
            attempt("c", success=False, scored=False, error_type="llm_timeout",
                    execution_time_ms=99_000.0),
        ]  # fmt: skip
        result = judged("latency <= 1s", rows)
        assert (result.value, result.cases, result.attempts) == (200, 2, 2)

    @pytest.mark.parametrize("aggregate", ["p95", "median", "mean", "max", "min"])
    def test_aggregates_are_those_of_duckdb(self, aggregate):
        times = [37.0, 81.5, 12.25, 450.0, 99.0, 640.5, 3.0]
        rows = [attempt(f"c{n % 4}", trial=n, execution_time_ms=t) for n, t in enumerate(times)]
        table = stored(rows).runs[0].attempts  # noqa: F841 - read by DuckDB
        sql = {"p95": "quantile_cont(v, 0.95)", "mean": "avg(v)"}.get(aggregate, f"{aggregate}(v)")
        query = f"select {sql} from (select execution_time_ms as v from table)"
        (expected,) = duckdb.sql(query.replace("from table", 'from "table"')).fetchall()[0]
        result = judged(f"{aggregate}(latency) <= 1min", rows)
        assert result.value == pytest.approx(expected)
        assert (result.cases, result.attempts) == (4, 7)

    def test_an_interval_is_over_cases(self):
        rows = [
            attempt(f"c{n}", trial=t, execution_time_ms=100.0 * n) for n in range(9) for t in (0, 1)
        ]
        result = judged("latency <= 1s", rows)
        # Mean of nine numbers of standard deviation 258.2: standard error 86.1, times 1.96.
        assert (result.low, result.high) == pytest.approx((400 - 169, 400 + 169), abs=25)
        assert judged("max(latency) <= 1s", rows).high is None

    def test_a_sum_is_of_all_that_was_spent(self):
        cost = "gen_ai.usage.cost.total"
        counted = [attempt("a", **{cost: 1.0}), attempt("b", **{cost: 2.0})]
        rerun = attempt("b", success=False, scored=False, counted=False, **{cost: 4.0})
        candidate = session(run(counted, total=[*counted, rerun]))
        (result,) = evaluate(policy("sum(cost) <= 6usd"), candidate, None).results
        assert (result.status, result.value, result.attempts) == (Status.FAIL, 7, 3)

    def test_a_duration_without_an_end_is_unknown(self):
        rows = [attempt("a", execution_time_ms=0.0), attempt("b", execution_time_ms=500.0)]
        at = datetime(2026, 1, 1, tzinfo=UTC)
        one = run(rows)
        ends = pa.array([None, at], pa.timestamp("us", "UTC"))
        one = replace(one, attempts=one.attempts.append_column("end_time", ends))
        (result,) = evaluate(policy("latency <= 1s"), session(one), None).results
        assert (result.value, result.attempts) == (500, 1)
        assert result.reason == "1 of 2 cases do not know it"

    def test_what_was_selected_and_did_not_run_is_not_valid(self):
        row = {"planned_tests": 120, "skipped_tests": 20}
        part = evaluate(policy("valid >= 95%"), stored(cases(40, 60), row=row), None).results[0]
        assert (part.status, part.value) == (Status.FAIL, 60.0)
        assert (part.cases, part.attempts) == (60, 100)
        assert part.reason == "40 of 100 selected attempts did not run"
        most = evaluate(policy("valid >= 95%"), stored(cases(40, 97), row=row), None).results[0]
        assert most.status is Status.PASS

    def test_valid_counts_what_infrastructure_kept_from_being_scored(self):
        lost = attempt("x", success=False, scored=False, error_type="llm_rate_limit")
        skipped = attempt("y", scored=False, outcome="skipped", success=False)
        result = judged("valid >= 95%", [*cases(9, 9), lost, skipped])
        assert (result.status, result.value, result.attempts) == (Status.FAIL, 90, 10)
        assert result.reason == "1 of 10 attempts could not be scored (llm_rate_limit 1)"
        assert judged("valid >= 95%", [*cases(1, 19), lost]).status is Status.PASS

    def test_a_stored_figure_of_the_whole_run_is_taken_as_it_is(self):
        candidate = stored(cases(2, 2), row={"wall_time_s": 61.0})
        (result,) = evaluate(policy("wall_time_s <= 1min"), candidate, None).results
        assert (result.status, result.value) == (Status.FAIL, 61)
        (result,) = evaluate(policy("wall_time_s <= 1min"), stored(cases(2, 2)), None).results
        assert result.status is Status.NOT_MEASURED

    def test_the_baseline_is_told_where_it_is_over_the_same_cases(self):
        base = found(cases(9, 12))
        assert judged("success_rate >= 50%", cases(8, 10), base).baseline == 90
        assert judged("success_rate >= 50%", cases(8, 13), base).baseline is None
        other = found(cases(9, 12), model="m-2")
        assert judged("success_rate >= 50%", cases(8, 10), other).baseline is None


class TestRates:
    """Rates beside the success rate, as they are over the cases of a gate."""

    ROWS = (
        *(attempt("a", success, t) for t, success in enumerate((True, True, False))),
        *(attempt("b", success, t) for t, success in enumerate((True, True, True))),
        attempt("c", success=False, scored=False, error_type="llm_timeout"),
    )

    def figure(self, column, unit, text="success_rate >= 1%", baseline=None):
        gates = policy(text)
        gate = gates.gates[0]
        better = "lower" if column == "error_rate" else "higher"
        metric = replace(gate.metric, column=column, unit=unit, better=better)
        candidate = stored(list(self.ROWS), row={"pass_k": 2})
        gates = replace(gates, gates=(replace(gate, metric=metric),))
        (result,) = evaluate(gates, candidate, baseline).results
        return result

    @pytest.mark.parametrize(
        ("column", "unit", "value"),
        [
            ("pass_at_1", "1", (2 / 3 + 1) / 2),
            # One of two drawn from two passes and a fail always passes; both do in 1 of 3.
            ("pass_at_k", "1", 1),
            ("pass_hat_k", "1", (1 / 3 + 1) / 2),
            # A wrong answer is a verdict, not an error; 7 trials were completed.
            ("error_rate", "%", 100 / 7),
        ],
    )
    def test_rates_are_recomputed(self, column, unit, value):
        assert self.figure(column, unit).value == pytest.approx(value)

    def test_pass_k_of_as_many_trials_is_compared_by_mcnemar(self):
        before = found([attempt(case, True, t) for case in "ab" for t in (0, 1)])
        result = self.figure("pass_at_k", "1", "success_rate >= baseline", before)
        assert (result.comparison.method, result.p_adjusted) == ("exact McNemar", 1)
        uneven = self.figure("pass_hat_k", "1", "success_rate >= baseline", before)
        assert (uneven.comparison, uneven.status) == (None, Status.FAIL)
        assert uneven.reason == "1 of 6 attempts failed (wrong_answer 1); compared without a test"


class TestNotMeasured:
    def test_an_unknown_metric_does_not_pass(self):
        result = judged("gpu_energy_wh <= 5Wh", cases(3, 3))
        assert (result.status, result.blocks, result.value) == (Status.NOT_MEASURED, True, None)
        assert result.reason.startswith("no attempt knows gpu_energy_wh (no GPU")

    def test_nan_is_unknown(self):
        rows = cases(3, 3, execution_time_ms=float("nan"))
        assert judged("latency <= 1s", rows).status is Status.NOT_MEASURED

    def test_a_run_without_a_scored_attempt_says_why(self):
        rows = [attempt("a", success=False, scored=False, error_type="llm_auth")]
        result = judged("success_rate >= 80%", rows)
        assert result.status is Status.NOT_MEASURED
        assert result.reason == "no attempt was scored (llm_auth 1)"

    @pytest.mark.parametrize(
        ("where", "reason"),
        [
            ("difficulty=hrad", "no case has difficulty=hrad, did you mean 'hard'?"),
            ("tag=x", "no case has tag=x; there is math, web"),
            ("model=m-9", "no case has model=m-9, did you mean 'm-1'?"),
            ("category=x", "no case has category=x; no case has a category"),
            (
                "difficulty=hard, tag=math",
                "no case has difficulty=hard and tag=math",
            ),
        ],
    )
    def test_selectors_that_match_nothing_say_what_there_is(self, where, reason):
        rows = [attempt("a", difficulty="hard", tags=["web"]), attempt("b", tags=["math"])]
        result = judged(f"success_rate >= 80% for {where}", rows)
        assert (result.status, result.blocks) == (Status.NOT_MEASURED, True)
        assert result.reason == reason

    def test_too_few_cases_fail(self):
        result = judged("success_rate >= 80% if n >= 20", cases(4, 4, trials=5))
        assert (result.status, result.blocks) == (Status.TOO_FEW, True)
        assert (result.cases, result.attempts) == (4, 20)
        assert result.reason == "4 cases of the 20 that the gate asks for"
        assert judged("success_rate >= 80% if n >= 4", cases(4, 4)).status is Status.PASS


class TestSelectors:
    ROWS = (
        attempt("a", difficulty="hard", tags=["math"]),
        attempt("b", success=False, difficulty="hard", tags=["math", "web"]),
        attempt("c", success=False, difficulty="easy", tags=["web"]),
    )

    @pytest.mark.parametrize(
        ("where", "value"),
        [
            ("difficulty=hard", 50),
            ("tag=web", 0),
            ("tag=math, tag=web", 0),
            ("case=a", 100),
            ("suite=test_a", pytest.approx(100 / 3)),
            ("suite=evals/test_a.py", pytest.approx(100 / 3)),
            ("model=m-1, difficulty=hard", 50),
        ],
    )
    def test_selectors_choose_cases(self, where, value):
        assert judged(f"success_rate >= 1% for {where}", list(self.ROWS)).value == value

    def test_a_gate_is_judged_for_every_run(self):
        candidate = session(
            run(cases(9, 10), model="m-1", run_id="r-1"),
            run(cases(5, 10), model="m-2", run_id="r-2"),
        )
        results = evaluate(policy("success_rate >= 80%"), candidate, None).results
        assert [(r.model, r.run_id, r.status) for r in results] == [
            ("m-1", "r-1", Status.PASS),
            ("m-2", "r-2", Status.FAIL),
        ]
        only = evaluate(policy("success_rate >= 80% for model=m-2"), candidate, None).results
        assert [r.model for r in only] == ["m-2"]

    def test_a_run_without_such_a_case_says_what_it_has(self):
        candidate = session(
            run([attempt("a", difficulty="hard")], model="m-1", run_id="r-1"),
            run([attempt("b", difficulty="easy")], model="m-2", run_id="r-2"),
        )
        gate = policy("success_rate >= 80% for difficulty=hard")
        first, second = evaluate(gate, candidate, None).results
        assert (first.status, second.status) == (Status.PASS, Status.NOT_MEASURED)
        assert second.reason == "no case has difficulty=hard; there is easy"


class TestLevels:
    def test_a_warning_never_blocks(self):
        result = judged("warn: success_rate >= 80%", cases(1, 2))
        assert (result.status, result.blocks, result.level) == (Status.FAIL, False, "warn")

    def test_what_a_missing_baseline_does_is_the_policys(self):
        missing = Found(reference="last-green", session=None, missing="no run has passed yet")
        for blocks in (True, False):
            result = judged("no_regressions", cases(2, 2), missing, missing_blocks=blocks)
            assert (result.status, result.blocks) == (Status.NO_BASELINE, blocks)
            assert result.reason == "no run has passed yet"

    def test_what_an_inconclusive_comparison_does_is_the_policys(self):
        for blocks in (True, False):
            result = judged(
                "no_regressions", cases(8, 10), found(cases(8, 10)), inconclusive_blocks=blocks
            )
            assert (result.status, result.blocks) == (Status.INCONCLUSIVE, blocks)

    def test_the_judgement_fails_with_one_blocking_gate(self):
        both = policy("success_rate >= 80%", "warn: success_rate >= 99%")
        good, bad = (evaluate(both, stored(cases(n, 10)), None) for n in (9, 7))
        assert (good.passed, good.status) == (True, "warned")
        assert (bad.passed, bad.status) == (False, "failed")


class TestReplay:
    def test_replayed_times_and_costs_are_skipped(self):
        rows = cases(3, 3, replay_mode="replayed", execution_time_ms=5.0)
        result = judged("latency <= 1ms", rows)
        assert (result.status, result.blocks, result.value) == (Status.SKIPPED, False, None)
        assert result.reason.startswith("all 3 attempts were replayed")
        assert judged("success_rate >= 80%", rows).status is Status.PASS

    def test_a_replayed_baseline_is_skipped_too(self):
        base = found(cases(3, 3, replay_mode="replayed", execution_time_ms=5.0))
        result = judged("latency <= baseline*1.1", cases(3, 3, execution_time_ms=9.0), base)
        assert (result.status, result.blocks) == (Status.SKIPPED, False)

    def test_what_was_live_is_judged(self):
        rows = [
            attempt("a", execution_time_ms=100.0),
            attempt("b", execution_time_ms=1.0, replay_mode="replayed"),
            attempt("c", execution_time_ms=2.0, replay_mode="mixed"),
            attempt("d", execution_time_ms=300.0, replay_mode="recorded"),
        ]
        result = judged("latency <= 1s", rows)
        assert (result.value, result.attempts) == (200, 2)
        assert result.reason == "2 replayed attempts left out"

    def test_rates_of_a_replayed_run_are_not_compared_with_live_ones(self):
        base = found(cases(9, 10))
        rows = cases(9, 10, replay_mode="replayed")
        result = judged("no_regressions", rows, base)
        assert (result.status, result.blocks) == (Status.INCOMPARABLE, True)
        assert result.reason.endswith("allow it with --smoltrace-allow-mismatch=replay")
