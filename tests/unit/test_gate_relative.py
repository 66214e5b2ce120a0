"""Gates on a baseline: pairing, statuses and reasons, against SciPy and by hand."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from pytest_smoltrace.baselines.reference import Found
from pytest_smoltrace.comparison import Comparison
from pytest_smoltrace.gates import reasons
from pytest_smoltrace.gates.evaluate import evaluate
from pytest_smoltrace.gates.verdicts import Status
from tests.unit.measured_factory import attempt, cases, run, session, stored
from tests.unit.test_gate_evaluate import found, judged, policy

COST = "gen_ai.usage.cost.total"


def rates(ends):
    """Return attempts of cases that end as given: {"a": "PPF"}."""
    return [
        attempt(case, end == "P", trial)
        for case, trials in ends.items()
        for trial, end in enumerate(trials)
    ]


class TestNoRegressions:
    def test_one_trial_is_mcnemar(self):
        before = rates({f"c{n}": "P" for n in range(40)})
        now = rates({f"c{n}": "F" if n < 9 else "P" for n in range(40)})
        result = judged("no_regressions", now, Found(reference="b", session=stored(before)))
        assert (result.status, result.blocks) == (Status.REGRESSION, True)
        assert result.p_adjusted == pytest.approx(stats.binomtest(9, 9).pvalue / 2)
        assert (result.value, result.baseline) == (pytest.approx(77.5), 100)
        assert (result.cases, result.attempts, result.margin) == (40, 40, 0.05)
        assert result.reason.startswith("-22.5 pp (95 % CI ")
        assert result.reason.endswith("over 40 cases, p = 0.002 by exact McNemar (margin 5 pp)")

    def test_trials_are_a_permutation_over_cases(self):
        rng = np.random.default_rng(7)
        shape = (12, 3)
        old, new = rng.random(shape) < 0.9, rng.random(shape) < 0.4
        texts = [
            {f"c{n}": "".join("FP"[int(end)] for end in row) for n, row in enumerate(side)}
            for side in (old, new)
        ]
        result = judged("no_regressions", rates(texts[1]), found(rates(texts[0])))
        expected = stats.permutation_test(
            (new.mean(axis=1) - old.mean(axis=1), np.zeros(12)),
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples",
            vectorized=True,
            alternative="less",
            n_resamples=np.inf,
        )
        assert result.p_adjusted == pytest.approx(expected.pvalue)
        assert result.comparison.estimate == pytest.approx(new.mean() - old.mean())

    def test_an_equal_run_of_enough_cases_passes(self):
        rows = cases(300, 400, trials=3)
        result = judged("no_regressions", rows, found(rows))
        assert (result.status, result.reason) == (Status.PASS, None)
        assert result.comparison.detectable <= 0.05

    def test_a_small_suite_says_what_it_would_need(self):
        rows = cases(8, 10, trials=2)
        result = judged("no_regressions", rows, found(rows))
        assert result.status is Status.INCONCLUSIVE
        compared = result.comparison
        # No difference at all: se² = (1/k)/G² with k = 2 trials and G = 10 cases.
        reach = stats.t.ppf(0.95, 9) + stats.t.ppf(0.8, 9)
        assert compared.detectable == pytest.approx(max(reach * (0.5**0.5) / 10, 5 / 20))
        assert result.reason == (
            f"a drop of up to {-100 * compared.worst:.3g} pp cannot be excluded and "
            "25 pp is the smallest that 10 cases x 2 trials show (margin 5 pp): "
            f"needs {compared.needs_cases} cases, or {compared.needs_trials} trials each"
        )

    def test_the_intersection_is_compared_and_both_counts_are_told(self):
        before = rates({f"c{n}": "P" for n in range(20)})
        now = rates({f"c{n}": "P" for n in range(15, 27)})
        result = judged("no_regressions", now, found(before), partial="-k new")
        assert (result.cases, result.attempts, result.comparison.cases) == (5, 5, 5)
        assert "; 5 cases in both, of 12 in this run and 20 in the baseline; " in result.reason
        assert result.reason.endswith("judged on what ran: -k new")

    def test_only_scored_cases_are_paired(self):
        lost = attempt("b", success=False, scored=False, error_type="llm_timeout")
        result = judged("no_regressions", [attempt("a"), lost], found(rates({"a": "P", "b": "P"})))
        assert (result.cases, result.value, result.baseline) == (1, 100, 100)

    def test_nothing_in_common_cannot_be_compared(self):
        result = judged("no_regressions", rates({"a": "P"}), found(rates({"b": "P"})))
        assert (result.status, result.blocks) == (Status.INCOMPARABLE, True)
        assert result.reason == "no case of this run is in the baseline"

    def test_min_n_counts_paired_cases(self):
        both = rates({"a": "PPP", "b": "PPP"})
        result = judged("no_regressions if n >= 3", both, found(both))
        assert (result.status, result.cases) == (Status.TOO_FEW, 2)


class TestRateLimits:
    BEFORE = rates({f"c{n}": "P" * 5 for n in range(200)})

    def dropped(self, count):
        """Return 200 cases x 5 trials of which `count` cases lose every trial."""
        return rates({f"c{n}": ("F" if n < count else "P") * 5 for n in range(200)})

    @pytest.mark.parametrize(
        ("text", "drop", "status", "margin"),
        [
            ("success_rate >= baseline", 0, Status.PASS, 0.05),
            ("success_rate >= baseline", 40, Status.REGRESSION, 0.05),
            ("success_rate >= baseline-2pp", 0, Status.PASS, 0.02),
            ("success_rate >= baseline-2pp", 30, Status.REGRESSION, 0.02),
            # 2.5 pp is less than 10 pp for sure.
            ("success_rate >= baseline-10pp", 5, Status.PASS, 0.10),
            ("success_rate >= baseline*0.9", 5, Status.PASS, 0.10),
            ("success_rate >= baseline-10%", 5, Status.PASS, 0.10),
        ],
    )
    def test_a_margin_is_what_the_limit_allows(self, text, drop, status, margin):
        result = judged(text, self.dropped(drop), found(self.BEFORE))
        assert (result.status, result.margin) == (status, pytest.approx(margin))
        assert result.limit == pytest.approx(
            100 - (100 * margin if "-" in text or "*" in text else 0)
        )

    def test_a_drop_within_the_limit_is_no_regression_though_significant(self):
        # 5 of 200 cases fall: p = 1/32, a real drop, but 2.5 pp where 3 pp are allowed.
        result = judged("success_rate >= baseline-3pp", self.dropped(5), found(self.BEFORE))
        assert result.comparison.p_value == pytest.approx(1 / 32)
        assert result.status is Status.INCONCLUSIVE
        assert judged("no_regressions", self.dropped(5), found(self.BEFORE)).status is Status.PASS
        result = judged("no_regressions", self.dropped(5), found(self.BEFORE), margin=0.03)
        assert result.status is Status.REGRESSION

    def test_a_gain_that_is_asked_for_has_to_be_sure(self):
        before = rates({f"c{n}": "F" if n < 100 else "P" for n in range(200)})
        gained = rates({f"c{n}": "P" for n in range(200)})
        result = judged("success_rate >= baseline+2pp", gained, found(before))
        assert (result.status, result.limit) == (Status.PASS, 52)
        result = judged("success_rate >= baseline+2pp", before, found(before))
        assert result.status is Status.REGRESSION
        assert result.reason.startswith("+0.0 pp (95 % CI ")
        assert result.reason.endswith("(asked +2.0 pp)")

    def test_cases_that_only_failed_outside_the_agent_are_errors_too(self):
        broken = [
            attempt(f"case-{n:03}", success=False, scored=False, error_type="llm_timeout")
            if n < 60
            else attempt(f"case-{n:03}")
            for n in range(400)
        ]
        result = judged("error_rate <= baseline+5pp", broken, found(cases(400, 400)))
        assert (result.status, result.value, result.cases) == (Status.REGRESSION, 15, 400)
        every = [row | {"scored": False, "error_type": "llm_auth"} for row in cases(0, 60)]
        result = judged("error_rate <= baseline+5pp", every, found(cases(60, 60)))
        assert (result.status, result.value) == (Status.REGRESSION, 100)
        result = judged("error_rate <= 5%", broken, found(cases(400, 400)))
        assert (result.status, result.baseline) == (Status.FAIL, 0)
        assert result.reason == "60 of 400 attempts ended in an error (llm_timeout 60)"

    def test_more_errors_are_worse(self):
        gates = policy("error_rate <= baseline+5pp")
        broken = [
            row | {"error_type": "tool_error" if n < 60 else None, "success": n >= 60}
            for n, row in enumerate(cases(400, 400))
        ]
        sound = cases(400, 400)
        (worse,) = evaluate(gates, stored(broken), found(sound)).results
        (better,) = evaluate(gates, stored(sound), found(broken)).results
        assert (worse.status, worse.value, worse.baseline) == (Status.REGRESSION, 15, 0)
        assert (better.status, better.value, better.baseline) == (Status.PASS, 0, 15)
        assert worse.margin == pytest.approx(0.05)

    def test_figures_of_whole_runs_are_compared_as_they_stand(self):
        sides = [
            stored(cases(2, 2), session_id=name, row={"wall_time_s": wall})
            for name, wall in (("b", 100.0), ("c", 121.0))
        ]
        base = Found(reference="b", session=sides[0])
        (result,) = evaluate(policy("wall_time_s <= baseline*1.2"), sides[1], base).results
        assert (result.status, result.limit, result.comparison) == (Status.FAIL, 120, None)
        assert result.reason == "figures of whole runs are compared without a test"
        (result,) = evaluate(policy("wall_time_s <= baseline*1.3"), sides[1], base).results
        assert result.status is Status.PASS

    def test_figures_of_whole_runs_of_other_attempts_are_not_compared(self):
        whole = stored(cases(2, 4), session_id="b", row={"wall_time_s": 100.0})
        base = Found(reference="b", session=whole)
        gate = policy("wall_time_s <= baseline*1.2")
        for rows, size in ((cases(2, 2), "2 of 2"), (cases(2, 4, trials=2), "8 of 4")):
            part = stored(rows, row={"wall_time_s": 50.0})
            (result,) = evaluate(gate, part, base).results
            assert (result.status, result.blocks) == (Status.INCOMPARABLE, True)
            assert result.reason == (
                "wall_time_s is a figure of whole runs, and these are not of the same attempts: "
                f"{size} cases here, 4 of 4 in the baseline"
            )
            (result,) = evaluate(gate, part, base, partial="selected by -k a").results
            assert (result.status, result.blocks) == (Status.PARTIAL, False)


def spent(factor=1.0, of=30, trials=2, **facts):
    """Return 30 cases x 2 trials that cost from 0.01 to 0.31 USD."""
    return [
        attempt(f"c{n}", trial=t, **{COST: factor * (0.01 + 0.01 * n)}, **facts)
        for n in range(of)
        for t in range(trials)
    ]


class TestValues:
    def test_a_cost_within_its_factor_passes(self):
        result = judged("cost <= baseline*1.2", spent(1.1), found(spent()))
        assert (result.status, result.margin) == (Status.PASS, pytest.approx(1.2))
        assert result.comparison.estimate == pytest.approx(1.1)
        assert result.value == pytest.approx(1.1 * result.baseline)
        assert result.limit == pytest.approx(1.2 * result.baseline)
        assert (result.cases, result.attempts) == (30, 60)

    def test_a_cost_above_its_factor_is_a_regression(self):
        result = judged("cost <= baseline+10%", spent(1.3), found(spent()))
        assert (result.status, result.blocks) == (Status.REGRESSION, True)
        assert result.reason.startswith("x1.3 (95 % CI x1.3 to x1.3) over 30 cases x 2 trials, p")
        assert result.reason.endswith("(limit x1.1)")

    def test_an_offset_is_a_factor_of_the_baselines_figure(self):
        rows = spent()
        mean = np.mean([row[COST] for row in rows])
        result = judged("cost <= baseline+0.1usd", rows, found(rows))
        assert result.margin == pytest.approx((mean + 0.1) / mean)

    def test_sums_of_other_numbers_of_trials_are_of_one_trial(self):
        once = [row for row in spent() if not row["trial"]]
        result = judged("sum(cost) <= baseline*1.2", spent(1.1), found(once))
        assert (result.status, result.attempts) == (Status.PASS, 60)
        total = sum(row[COST] for row in once)
        assert result.baseline == pytest.approx(total)
        assert result.value == pytest.approx(1.1 * total)
        assert result.limit == pytest.approx(1.2 * total)
        result = judged("sum(cost) <= baseline*1.2", spent(1.3), found(once))
        assert (result.status, result.value) == (Status.REGRESSION, pytest.approx(1.3 * total))
        free = judged("sum(cost) <= baseline*1.2", spent(), found(spent(0.0, trials=1)))
        assert (free.status, free.value) == (Status.FAIL, pytest.approx(total))

    def test_noise_that_hides_the_limit_is_inconclusive(self):
        rng = np.random.default_rng(3)
        noisy = [attempt(f"c{n}", **{COST: float(rng.lognormal(0, 1))}) for n in range(8)]
        other = [attempt(f"c{n}", **{COST: float(rng.lognormal(0, 1))}) for n in range(8)]
        result = judged("cost <= baseline*1.05", noisy, found(other))
        assert result.status is Status.INCONCLUSIVE
        assert result.reason.startswith("a rise to x")
        assert "(limit x1.05): needs " in result.reason

    def test_a_metric_that_the_baseline_does_not_know_is_not_measured(self):
        result = judged("cost <= baseline*1.2", spent(), found(cases(3, 3)))
        assert (result.status, result.blocks) == (Status.NOT_MEASURED, True)
        assert result.reason.startswith("no attempt of the baseline knows " + COST)

    def test_nothing_spent_on_both_sides_is_within_any_factor(self):
        free = spent(0.0)
        result = judged("cost <= baseline*1.2", free, found(free))
        assert (result.status, result.value, result.comparison) == (Status.PASS, 0, None)
        assert judged("cost <= baseline*1.2", spent(), found(free)).status is Status.FAIL

    def test_timings_of_other_hardware_are_incomparable_and_costs_are_not(self):
        rows = spent(execution_time_ms=100.0)
        sides = [
            stored(rows, session_id=name, row={"hardware": gpu})
            for name, gpu in (("b", "A"), ("c", "B"))
        ]
        base, candidate = sides
        both = policy("latency <= baseline*1.2", "cost <= baseline*1.2")
        first, second = evaluate(both, candidate, Found(reference="b", session=base)).results
        assert first.status is Status.INCOMPARABLE
        assert first.reason == (
            "baseline and run differ in hardware (A and B); "
            "allow it with --smoltrace-allow-mismatch=hardware"
        )
        assert second.status is Status.PASS
        absolute = policy("latency <= 1s", "cost <= 1usd")
        first, second = evaluate(absolute, candidate, Found(reference="b", session=base)).results
        assert (first.status, first.baseline) == (Status.PASS, None)
        assert second.baseline is not None
        allowed = replace(both, allow_mismatch=frozenset({"hardware"}))
        judgement = evaluate(allowed, candidate, Found(reference="b", session=base))
        assert judgement.results[0].status is Status.PASS
        assert judgement.baseline.allowed == ("hardware (A and B)",)

    def test_emissions_by_another_grid_are_incomparable_and_energy_is_not(self):
        def judge(text, here, there):
            rows = [row | {"gpu_energy_wh": 2.0} for row in spent()]
            sides = []
            for name, country in (("c", here), ("b", there)):
                one = stored(rows, session_id=name, row={"config": {"country": country}})
                emitted = pa.array([0.8] * len(rows))
                table = one.runs[0].attempts.append_column("co2_emissions_g", emitted)
                sides.append(replace(one, runs=(replace(one.runs[0], attempts=table),)))
            base = Found(reference="b", session=sides[1])
            return evaluate(policy(text), sides[0], base).results[0]

        result = judge("co2 <= baseline*1.2", "SE", "PL")
        assert result.status is Status.INCOMPARABLE
        assert result.reason == (
            "baseline and run differ in --smoltrace-country (PL and SE); "
            "allow it with --smoltrace-allow-mismatch=settings"
        )
        assert judge("co2 <= baseline*1.2", "SE", "SE").status is Status.PASS
        assert judge("energy <= baseline*1.2", "SE", "PL").status is Status.PASS
        assert judge("co2 <= 1g", "SE", "PL").baseline is None

    def test_costs_by_other_prices_are_incomparable_and_tokens_are_not(self):
        rows = [row | {"gen_ai.usage.total_tokens": 100} for row in spent()]
        sides = [
            stored(rows, session_id=name, row={"price_table_version": prices})
            for name, prices in (("b", "2026-06"), ("c", "2026-11"))
        ]
        both = policy("cost <= baseline*1.2", "tokens <= baseline*1.2")
        judgement = evaluate(both, sides[1], Found(reference="b", session=sides[0]))
        assert [r.status for r in judgement.results] == [Status.INCOMPARABLE, Status.PASS]
        assert judgement.results[0].reason.startswith("baseline and run differ in prices (2026-06 ")
        assert judgement.baseline.mismatches == ("prices (2026-06 and 2026-11)",)


class TestPairing:
    def test_flips_are_of_the_runs_that_the_gates_compare(self):
        base = session(
            run(cases(4, 4), model="m-0", agent_type="code", run_id="b"), session_id="base"
        )
        candidate = session(run(cases(2, 4), model="m-1", run_id="c"))
        judgement = evaluate(
            policy("no_regressions", allow_mismatch=frozenset({"model", "agent_type"})),
            candidate,
            Found(reference="b", session=base),
        )
        assert judgement.results[0].baseline == 100
        assert [flip["case_id"] for flip in judgement.flips] == ["case-002", "case-003"]

    def test_a_run_is_compared_with_the_run_of_its_model(self):
        base = session(
            run(cases(10, 10), model="m-2", run_id="b-2"),
            run(cases(4, 10), model="m-1", run_id="b-1"),
        )
        candidate = session(
            run(cases(5, 10), model="m-1", run_id="c-1"),
            run(cases(9, 10), model="m-2", run_id="c-2"),
        )
        results = evaluate(
            policy("no_regressions"), candidate, Found(reference="b", session=base)
        ).results
        assert [(r.model, r.value, r.baseline) for r in results] == [
            ("m-1", 50, 40),
            ("m-2", 90, 100),
        ]

    def test_another_model_is_incomparable_unless_allowed(self):
        base = found(cases(9, 10), model="m-0")
        result = judged("no_regressions", cases(9, 10), base)
        assert (result.status, result.blocks, result.comparison) == (
            Status.INCOMPARABLE,
            True,
            None,
        )
        assert result.reason == (
            "baseline and run differ in model (m-0 and m-1); "
            "allow it with --smoltrace-allow-mismatch=model"
        )
        allowed = judged("no_regressions", cases(9, 10), base, allow_mismatch=frozenset({"model"}))
        assert (allowed.status, allowed.baseline) == (Status.INCONCLUSIVE, 90)


class TestSuite:
    def test_a_case_that_asks_for_something_else_is_named(self):
        def asked(prompt):
            one = stored(cases(3, 3)).runs[0]
            texts = pa.array([prompt, "same", "same"])
            return replace(one, attempts=one.attempts.append_column("prompt", texts))

        base = Found(reference="b", session=session(asked("before"), session_id="b"))
        (result,) = evaluate(policy("no_regressions"), session(asked("now")), base).results
        assert (result.status, result.blocks) == (Status.INCOMPARABLE, True)
        assert result.reason == (
            "baseline and run differ in suite (another prompt or expectation in case-000); "
            "allow it with --smoltrace-allow-mismatch=suite"
        )
        allowed = policy("no_regressions", allow_mismatch=frozenset({"suite"}))
        judgement = evaluate(allowed, session(asked("now")), base)
        assert judgement.results[0].status is Status.INCONCLUSIVE
        assert judgement.baseline.allowed == ("suite (another prompt or expectation in case-000)",)


class TestHolm:
    def test_p_values_of_gates_that_can_fail_are_corrected_together(self):
        before = rates({f"c{n}": "P" for n in range(40)})
        now = rates({f"c{n}": "F" if n < 5 else "P" for n in range(40)})
        one = policy("no_regressions")
        three = policy(
            "no_regressions",
            "success_rate >= baseline-1pp",
            "warn: success_rate >= baseline-3pp",
            "success_rate >= 50%",
        )
        alone = evaluate(one, stored(now), found(before)).results[0]
        assert (alone.p_adjusted, alone.status) == (pytest.approx(1 / 32), Status.REGRESSION)
        first, second, warning, absolute = evaluate(three, stored(now), found(before)).results
        # The same comparison with two margins is one test.
        assert (first.p_adjusted, second.p_adjusted) == (pytest.approx(1 / 32),) * 2
        assert first.status is Status.REGRESSION
        assert (warning.p_adjusted, absolute.p_adjusted) == (pytest.approx(1 / 32), None)
        same = policy("no_regressions", "success_rate >= baseline for model=m-1")
        assert [r.p_adjusted for r in evaluate(same, stored(now), found(before)).results[:2]] == [
            pytest.approx(1 / 32)
        ] * 2

    def test_comparisons_of_other_cases_are_other_tests(self):
        def rows(passed):
            return [attempt(f"c{n}", passed or n > 4, difficulty="hard") for n in range(40)]

        asked = policy("no_regressions", "success_rate >= baseline for difficulty=hard")
        first, second = evaluate(asked, stored(rows(False)), found(rows(True))).results[:2]
        # Neither is too small to reject: each counts twice, which is above 5 %.
        assert (first.p_adjusted, second.p_adjusted) == (pytest.approx(1 / 16),) * 2
        assert first.status is Status.INCONCLUSIVE

    def test_times_and_costs_do_not_hide_what_the_agent_gets_wrong(self):
        before = rates({f"c{n}": "P" for n in range(40)})
        now = rates({f"c{n}": "F" if n < 5 else "P" for n in range(40)})
        spent = policy("no_regressions", "tokens <= baseline*1.5", "latency <= baseline*2")
        rate, *others = evaluate(spent, stored(now), found(before)).results
        assert (rate.p_adjusted, rate.status) == (pytest.approx(1 / 32), Status.REGRESSION)
        assert {other.comparison.kind for other in others if other.comparison} <= {"ratio"}


class TestCoverage:
    def test_cases_that_are_gone_are_named(self):
        before = rates({f"c{n}": "P" for n in range(10)})
        now = [attempt("c0"), attempt("c1"), attempt("c2"), attempt("new")]
        result = judged("coverage >= 100%", now, found(before))
        assert (result.status, result.blocks) == (Status.SHRUNKEN, True)
        assert (result.value, result.cases, result.attempts) == (30, 10, 3)
        assert result.reason.startswith(
            "7 of 10 cases of the baseline are gone: c3, c4, c5, c6, c7 and 2 more; "
        )

    @pytest.mark.parametrize(
        ("scored", "status"), [(5, Status.NOT_MEASURED), (None, Status.NOT_MEASURED), (4, "PASS")]
    )
    def test_cases_that_a_summary_leaves_out_are_not_taken_for_covered(self, scored, status):
        cut = stored(cases(4, 4), session_id="b", row={"evaluated_prompts": scored})
        base = Found(reference="b", session=replace(cut, left_out=6_000))
        result = judged("coverage >= 100%", cases(4, 4), base)
        assert (result.status, result.blocks) == (status, status != "PASS")
        gone = judged("coverage >= 100%", cases(3, 3), base)
        assert gone.status is Status.SHRUNKEN
        rate = judged("no_regressions", cases(4, 4), base)
        assert rate.reason.endswith("the baseline's summary leaves out 6,000 attempts")

    def test_a_model_of_the_baseline_that_is_not_run_now_is_said(self):
        both = session(run(cases(4, 4), run_id="b-1"), run(cases(4, 4), model="m-2", run_id="b-2"))
        base = Found(reference="b", session=both)
        result = judged("coverage >= 100%", cases(4, 4), base)
        assert (result.status, result.reason) == (Status.PASS, "not run here: m-2, tool agent")
        results = evaluate(policy("coverage >= 100%"), both, base).results
        assert [each.reason for each in results] == [None, None]

    def test_a_case_that_is_skipped_now_is_gone(self):
        now = [attempt("a"), attempt("b", success=False, scored=False, outcome="skipped")]
        result = judged("coverage >= 100%", now, found(rates({"a": "P", "b": "P"})))
        assert (result.status, result.value) == (Status.SHRUNKEN, 50)
        result = judged("coverage >= 100%", [attempt("a")], found(now))
        assert (result.status, result.value) == (Status.PASS, 100)

    def test_a_case_that_infrastructure_failed_is_there(self):
        lost = attempt("b", success=False, scored=False, error_type="llm_timeout")
        result = judged(
            "coverage >= 100%", [attempt("a"), lost], found(rates({"a": "P", "b": "P"}))
        )
        assert result.status is Status.PASS

    def test_a_partial_session_is_not_shrunken(self):
        before = found(rates({"a": "P", "b": "P"}))
        result = judged("coverage >= 100%", [attempt("a")], before, partial="selected by -k a")
        assert (result.status, result.blocks) == (Status.PARTIAL, False)
        assert result.reason == "1 of 2 cases of the baseline: selected by -k a"

    def test_a_lower_limit_may_be_met(self):
        before = found(rates({"a": "P", "b": "P"}))
        result = judged("coverage >= 50%", [attempt("a")], before)
        assert (result.status, result.reason) == (Status.PASS, "without b")

    def test_without_a_baseline_it_says_so(self):
        missing = Found(reference="last", session=None, missing="no run yet")
        assert judged("coverage >= 100%", cases(1, 1), missing).status is Status.NO_BASELINE


class TestJudgement:
    def test_an_absolute_gate_of_a_partial_session_is_judged_on_what_ran(self):
        result = judged("success_rate >= 80%", cases(2, 2), partial="-x")
        assert (result.status, result.reason) == (Status.PASS, "judged on what ran: -x")

    def test_it_tells_what_was_compared_and_what_changed(self):
        judgement = evaluate(
            policy("no_regressions"),
            stored(rates({"a": "F", "b": "P", "c": "P"})),
            Found(reference="last", session=stored(rates({"a": "P", "b": "F"}), session_id="base")),
            partial="-k",
        )
        assert judgement.compared == {"candidate": 3, "baseline": 2, "both": 2}
        assert [(f["case_id"], f["kind"]) for f in judgement.flips] == [
            ("a", "newly failing"),
            ("b", "newly passing"),
        ]
        assert (judgement.baseline.session_id, judgement.baseline.missing) == ("base", None)
        assert judgement.partial == "-k"

    def test_traces_that_cannot_be_read_do_not_keep_it_from_judging(self, tmp_path):
        (tmp_path / "traces").mkdir()
        (tmp_path / "traces" / "x.parquet").write_text("no parquet")
        sides = [
            replace(
                stored([attempt("a", success, trace_id="1" * 32)], session_id=name),
                directory=tmp_path,
            )
            for name, success in (("base", True), ("now", False))
        ]
        judgement = evaluate(
            policy("no_regressions"), sides[1], Found(reference="b", session=sides[0])
        )
        assert [f["kind"] for f in judgement.flips] == ["newly failing"]

    def test_a_session_without_a_run_is_not_measured(self):
        (result,) = evaluate(policy("success_rate >= 80%"), session(), None).results
        assert (result.status, result.blocks, result.reason) == (
            Status.NOT_MEASURED,
            True,
            "no case was run",
        )


def compared(**facts):
    known = {
        "kind": "difference", "estimate": -0.02, "low": -0.06, "high": 0.01,
        "interval_method": "x", "worst": -0.073, "p_value": 0.2, "method": "exact McNemar",
        "detectable": 0.061, "cases": 50, "baseline_trials": 150, "candidate_trials": 150,
        "needs_cases": 75, "needs_trials": 5,
    }  # fmt: skip
    return Comparison(**(known | facts))


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, "needs 75 cases, or 5 trials each"),
        ({"needs_trials": None}, "needs 75 cases; more trials alone are not enough"),
        ({"needs_cases": None}, "needs 5 trials each"),
        ({"needs_cases": None, "needs_trials": None}, "needs more cases, or a larger margin"),
    ],
)
def test_an_inconclusive_comparison_says_what_would_be_enough(facts, text):
    assert reasons.inconclusive(compared(**facts), 0.05) == (
        "a drop of up to 7.3 pp cannot be excluded and 6.1 pp is the smallest that "
        f"50 cases x 3 trials show (margin 5 pp): {text}"
    )
