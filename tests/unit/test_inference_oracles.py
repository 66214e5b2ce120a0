"""Intervals and p-values against statsmodels, SciPy and enumeration, on random tables."""

import dataclasses
import itertools
import math
import warnings
from fractions import Fraction

import numpy as np
import orjson
import pytest
import statsmodels.api as sm
from scipy import stats as witness
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from pytest_smoltrace import stats
from pytest_smoltrace.comparison import Verdict
from pytest_smoltrace.inference import signflip
from pytest_smoltrace.inference.bootstrap import RESAMPLES
from pytest_smoltrace.inference.decision import decide, decide_ratio
from pytest_smoltrace.inference.detectable import (
    Spread,
    detectable_drop,
    needed_cases,
    needed_trials,
)
from pytest_smoltrace.inference.holm import holm
from pytest_smoltrace.inference.intervals import interval_of
from pytest_smoltrace.inference.models import compare_models
from pytest_smoltrace.inference.rates import compare_rates
from pytest_smoltrace.inference.ratios import LARGEST, compare_values
from pytest_smoltrace.inference.resampling import SEED, weighted_quantile

TABLES = 200
ASKED = {"alpha": 0.05, "power": 0.8, "margin": 0.05}
RATIO = {"alpha": 0.05, "power": 0.8, "factor": 1.2, "worse": "higher"}


def table(seed, *, trials=(1, 2, 3, 5), cases=(2, 60)):
    """Return pairs of counts; every other table has as many trials on both sides."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(*cases))
    n_b = rng.choice(trials, count)
    n_c = n_b if seed % 2 else rng.choice(trials, count)
    p = rng.beta(0.9, 0.3, count)
    q = np.clip(p - rng.choice([0.0, 0.2, -0.1]), 0, 1)
    columns = (rng.binomial(n_b, p), n_b, rng.binomial(n_c, q), n_c)
    return [((b, n), (c, m)) for b, n, c, m in zip(*(x.tolist() for x in columns), strict=True)]


def differences(pairs):
    return np.array([float(Fraction(c, m) - Fraction(b, n)) for (b, n), (c, m) in pairs])


def whole(pairs):
    """Return the differences in thirtieths, which 1, 2, 3 and 5 trials all divide."""
    return np.array([float(30 * (Fraction(c, m) - Fraction(b, n))) for (b, n), (c, m) in pairs])


def compared(pairs, **asked):
    return compare_rates(pairs, **(ASKED | {"interval": False} | asked))


@pytest.mark.parametrize("seed", range(TABLES))
def test_single_trials_are_the_exact_mcnemar_test(seed):
    pairs = table(seed, trials=(1,))
    cells = np.zeros((2, 2))
    for (b, _), (c, _) in pairs:
        cells[b, c] += 1
    won, lost = int(cells[0, 1]), int(cells[1, 0])
    found = compared(pairs)
    assert found.method == "exact McNemar"
    if won + lost == 0:
        assert found.p_value == 1.0
        return
    expected = witness.binomtest(won, won + lost, 0.5, alternative="less").pvalue
    assert found.p_value == pytest.approx(expected, rel=1e-9)
    names = [str(i) for i in range(len(pairs))]
    (row,) = compare_models(
        {
            "b": dict(zip(names, (b for b, _ in pairs), strict=True)),
            "c": dict(zip(names, (c for _, c in pairs), strict=True)),
        },
        reference="b",
    )
    assert row.p_value == pytest.approx(mcnemar(cells, exact=True).pvalue, rel=1e-9)


@pytest.mark.parametrize("seed", range(TABLES))
def test_several_trials_are_the_sign_flip_test_of_scipy(seed):
    pairs = table(seed, cases=(2, 12))
    found = compared(pairs)
    expected = witness.permutation_test(
        (whole(pairs),),
        np.mean,
        permutation_type="samples",
        alternative="less",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.estimate == pytest.approx(expected.statistic / 30, abs=1e-12)


@pytest.mark.parametrize("seed", range(TABLES))
def test_mcnemar_is_the_sign_flip_of_single_trials(seed):
    pairs = table(seed, trials=(1,), cases=(2, 12))
    expected = witness.permutation_test(
        (differences(pairs),), np.mean, permutation_type="samples", alternative="less",
        n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    assert compared(pairs).p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_long_convolutions_give_what_short_ones_give(monkeypatch):
    units = [np.random.default_rng(seed).integers(-60, 61, 80) for seed in range(20)]
    short = [signflip.exact_less(u) for u in units]
    monkeypatch.setattr(signflip, "_DIRECT", 0)
    assert [signflip.exact_less(u) for u in units] == pytest.approx(short, abs=1e-13)


def test_random_signs_come_near_the_exact_p_value():
    for seed in range(30):
        units = np.random.default_rng(seed).integers(-4, 4, 40)
        exact = signflip.exact_less(units)
        assert signflip.drawn_less(units / 5) == pytest.approx(exact, abs=0.02)


def test_a_lattice_that_is_too_fine_is_drawn():
    primes = [101, 103, 107, 109, 113, 127, 131]
    pairs = [((n - 1, n), (m - 3, m)) for n, m in zip(primes, reversed(primes), strict=True)]
    found = compared(pairs)
    assert found.method == "sign-flip permutation"
    assert found.p_value == 2**-7


@pytest.mark.parametrize("seed", range(TABLES))
def test_the_interval_is_the_bca_bootstrap_of_scipy(seed):
    pairs = table(seed, cases=(5, 25))
    d = np.sort(whole(pairs))
    found = compare_rates(pairs, **ASKED)
    if np.ptp(d) == 0:
        assert found.interval_method == "pseudo-discordance t"
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = witness.bootstrap(
            (d,), np.mean, n_resamples=RESAMPLES, rng=np.random.default_rng(SEED)
        ).confidence_interval
    assert found.interval_method == "BCa bootstrap over cases"
    assert (found.low, found.high) == pytest.approx([end / 30 for end in expected], abs=1e-9)
    assert found.low <= found.estimate <= found.high


@pytest.mark.parametrize("seed", range(TABLES))
def test_the_bound_and_the_visible_drop_are_those_of_the_t_distribution(seed):
    pairs = table(seed)
    d, cases = differences(pairs), len(pairs)
    mean_b, mean_c = (np.mean([side[1] for side in sides]) for sides in zip(*pairs, strict=True))
    k = 2 / (1 / mean_b + 1 / mean_c)
    error = math.sqrt((np.sum((d - d.mean()) ** 2) + 1 / k) / cases / cases)
    common = sum(min(b[1], c[1]) for b, c in pairs)
    t = witness.t(cases - 1).ppf
    found = compared(pairs)
    reach = max(t(0.95) * error, -math.log(0.05) / common)
    assert found.worst == pytest.approx(max(-1.0, d.mean() - reach))
    detectable = max((t(0.95) + t(0.8)) * error, 5 / common)
    assert found.detectable == pytest.approx(min(1.0, detectable))


@pytest.mark.parametrize("cases", [10, 20, 50, 132])
def test_the_visible_drop_is_that_of_a_power_analysis(cases):
    spread = Spread(cases=cases, variance=0.16, trials=1e9, pairs=10**9, per_trial=0.16)
    effect = TTestPower().solve_power(nobs=cases, alpha=0.05, power=0.8, alternative="larger")
    expected = effect * math.sqrt(0.16)
    assert detectable_drop(spread, alpha=0.05, power=0.8) == pytest.approx(expected, rel=0.02)


TABLE = {
    # Closed form for difficulties of Beta(0.9, 0.3): cases, trials, points without and with a
    # standard deviation of 0.15 between the cases' changes.
    (20, 1): (25, 27), (20, 5): (11, 14),
    (50, 1): (16, 17), (50, 3): (9.2, 10.6), (50, 5): (7.1, 8.9),
    (132, 1): (9.8, 10.3), (132, 3): (5.7, 6.5), (132, 5): (4.4, 5.5),
    (300, 3): (3.7, 4.3),
}  # fmt: skip
_TWICE_WITHIN = 2 * 0.27 / (1.2 * 2.2)


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("size", TABLE, ids=str)
def test_the_visible_drop_of_a_design_is_the_known_one(size, extra):
    """The table is of known spread; t and the pseudo discordance widen it, most in small suites."""
    cases, trials = size
    variance = _TWICE_WITHIN / trials + (0.15**2 if extra else 0)
    spread = Spread(
        cases=cases, variance=variance, trials=trials, pairs=cases * trials, per_trial=_TWICE_WITHIN
    )
    found = 100 * detectable_drop(spread, alpha=0.05, power=0.8)
    assert TABLE[size][extra] * 0.98 <= found <= TABLE[size][extra] * (1.02 + 4 / cases)


def test_what_is_needed_is_just_enough():
    spread = Spread(cases=50, variance=0.2045, trials=1, pairs=50, per_trial=0.2045)
    asked = {"alpha": 0.05, "power": 0.8}
    cases = needed_cases(spread, margin=0.05, **asked)
    trials = needed_trials(spread, margin=0.05, **asked)
    assert cases == pytest.approx((1.645 + 0.842) ** 2 * 0.2045 / 0.05**2, rel=0.02)
    assert trials == pytest.approx((1.677 + 0.849) ** 2 * (0.2045 + 1 / 50) / 0.05**2 / 50, abs=1)
    for n, k, seen in ((cases, 1, True), (cases - 1, 1, False), (50, trials, True),
                       (50, trials - 1, False)):  # fmt: skip
        other = Spread(
            cases=n, variance=0.2045 / k, trials=k, pairs=n * k, per_trial=spread.per_trial
        )
        assert (detectable_drop(other, **asked) <= 0.05) is seen


def test_trials_do_not_help_where_cases_differ():
    pairs = [((5, 5), (0, 5)), ((0, 5), (5, 5))] * 10
    found = compared(pairs)
    assert found.needs_trials is None
    assert found.needs_cases > 1000


@pytest.mark.parametrize("seed", range(TABLES))
def test_the_interval_of_a_rate_is_cluster_robust_least_squares(seed):
    counts = [b for b, _ in table(seed, trials=(2, 3, 5), cases=(3, 60))]
    found = stats.cluster_interval(counts)
    y = np.concatenate([[1.0] * c + [0.0] * (n - c) for c, n in counts])
    groups = np.repeat(np.arange(len(counts)), [n for _, n in counts])
    fit = sm.OLS(y, np.ones(len(y))).fit(
        cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
    )
    if found.method == "wilson_cases":
        assert fit.bse[0] == pytest.approx(0, abs=1e-9)
        return
    low, high = fit.conf_int()[0]
    assert (found.low, found.high) == pytest.approx((max(0, low), min(1, high)), abs=1e-9)


@pytest.mark.parametrize("seed", range(TABLES))
def test_the_interval_of_single_trials_is_wilsons(seed):
    counts = [b for b, _ in table(seed, trials=(1,))]
    expected = proportion_confint(sum(c for c, _ in counts), len(counts), method="wilson")
    found = stats.cluster_interval(counts)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("seed", range(TABLES))
def test_holm_is_that_of_statsmodels(seed, monkeypatch):
    monkeypatch.setattr("gc.collect", int)  # statsmodels collects garbage at each call
    rng = np.random.default_rng(seed)
    p = np.round(rng.beta(0.4, 2, int(rng.integers(1, 12))), 2)  # rounded: with ties
    assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_of_nothing():
    assert holm([]) == []


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_what_all_choices_of_k_trials_give(n):
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        choices = list(itertools.combinations([1] * c + [0] * (n - c), k))
        assert stats.pass_at_k(n, c, k) == pytest.approx(np.mean([any(x) for x in choices]))
        assert stats.pass_hat_k(n, c, k) == pytest.approx(np.mean([all(x) for x in choices]))


def latencies(seed, cases, trials, factor=1.0):
    rng = np.random.default_rng(seed)
    scale = rng.lognormal(0, 0.8, cases)
    sides = (scale * rng.lognormal(0, 0.3, (trials, cases))).T.tolist()
    return list(zip(sides, (factor * scale * rng.lognormal(0, 0.3, (trials, cases))).T.tolist(),
                    strict=True))  # fmt: skip


@pytest.mark.parametrize("seed", range(TABLES))
@pytest.mark.parametrize("worse", ["higher", "lower"])
def test_the_log_ratios_are_tested_as_by_scipy(seed, worse):
    pairs = latencies(seed, 4 + seed % 8, 1 + seed % 4)
    asked = RATIO | {"worse": worse, "factor": 1.2 if worse == "higher" else 0.8}
    found = compare_values(pairs, aggregate="mean", **asked, draws=99)
    logs = np.array([np.median(np.log(c)) - np.median(np.log(b)) for b, c in pairs])
    expected = witness.permutation_test(
        (logs,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True,
        alternative="greater" if worse == "higher" else "less",
    )  # fmt: skip
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize("aggregate", ["p95", "max", "p10"])
@pytest.mark.parametrize("seed", range(12))
def test_swapped_sides_are_those_of_scipy(seed, aggregate):
    pairs = latencies(seed, 10, 1, factor=1.3)
    q = {"p95": 0.95, "max": 1.0, "p10": 0.1}[aggregate]

    def statistic(b, c, axis):
        return np.log(np.quantile(c, q, axis=axis)) - np.log(np.quantile(b, q, axis=axis))

    sides = [np.array(side)[:, 0] for side in zip(*pairs, strict=True)]
    expected = witness.permutation_test(
        sides, statistic, permutation_type="samples", alternative="greater",
        n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    found = compare_values(pairs, aggregate=aggregate, **RATIO)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.025)
    assert found.estimate == pytest.approx(math.exp(expected.statistic))


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_of_a_ratio_is_the_bootstrap_of_scipy(seed):
    cases = 30 if seed % 2 else 5
    pairs = latencies(seed, cases, 3, factor=1.2)
    b, c = (np.mean(side, axis=1) for side in zip(*pairs, strict=True))

    def statistic(x, y, axis):
        return np.log(np.mean(y, axis=axis) / np.mean(x, axis=axis))

    expected = witness.bootstrap(
        (b, c), statistic, paired=True, method="percentile", rng=np.random.default_rng(7)
    )
    found = compare_values(pairs, aggregate="mean", **RATIO)
    low, high = expected.confidence_interval
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((low, high), abs=0.02)
    error = expected.standard_error * math.sqrt(cases / (cases - 1))
    t = witness.t(cases - 1).ppf
    assert math.log(found.detectable) == pytest.approx((t(0.95) + t(0.8)) * error, rel=0.05)
    worst = math.log(c.mean() / b.mean()) + t(0.95) * error
    assert math.log(found.worst) == pytest.approx(worst, abs=0.02)


@pytest.mark.parametrize("aggregate", ["mean", "sum", "median", "p95"])
def test_the_interval_of_one_figure_is_the_bootstrap_over_cases(aggregate):
    cases = [b for b, _ in latencies(3, 25, 4)]
    sample = np.array(cases)
    rng = np.random.default_rng(11)
    figure = {
        "mean": np.mean, "sum": np.sum, "median": np.median,
        "p95": lambda x: np.quantile(x, 0.95),
    }[aggregate]  # fmt: skip
    drawn = [figure(sample[rng.integers(0, 25, 25)]) for _ in range(5_000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert interval_of(cases, aggregate) == pytest.approx((low, high), rel=0.03)


def test_one_case_has_no_interval():
    assert interval_of([[1.0, 2.0]], "mean") is None
    assert interval_of([[1.0], [math.nan], []], "mean") is None


@pytest.mark.parametrize("q", [0.0, 0.1, 0.5, 0.95, 1.0])
def test_a_weighted_quantile_is_that_of_repeated_values(q):
    rng = np.random.default_rng(5)
    values = np.sort(rng.normal(size=17))
    weights = rng.integers(0, 4, (50, 17)).astype(np.int32)
    expected = [np.quantile(np.repeat(values, row), q) for row in weights]
    assert weighted_quantile(values, weights, q) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_cases_does_not_matter(seed):
    pairs, times = table(seed), latencies(seed, 20, 2)
    order = np.random.default_rng(seed).permutation(len(pairs))
    assert compare_rates([pairs[i] for i in order], **ASKED) == compare_rates(pairs, **ASKED)
    for aggregate in ("mean", "p95"):
        found = compare_values(times, aggregate=aggregate, **RATIO, draws=199)
        assert compare_values(times[::-1], aggregate=aggregate, **RATIO, draws=199) == found


ODD_RATES = {
    "none": [],
    "one case": [((1, 1), (0, 1))],
    "one case of many trials": [((9, 10), (1, 10))],
    "not scored": [((0, 0), (1, 1)), ((1, 1), (0, 0))],
    "all pass": [((1, 1), (1, 1))] * 13,
    "all fall": [((1, 1), (0, 1))] * 13,
    "two alike": [((3, 3), (1, 3))] * 2,
}


@pytest.mark.parametrize("interval", [True, False])
@pytest.mark.parametrize("pairs", ODD_RATES.values(), ids=ODD_RATES)
def test_odd_rates_give_finite_figures(pairs, interval):
    found = compare_rates(pairs, **ASKED, interval=interval)
    figures = [found.estimate, found.worst, found.p_value, found.detectable]
    figures += [x for x in (found.low, found.high) if x is not None]
    assert all(-1 <= x <= 1 for x in figures)
    assert decide(found, alpha=0.05, margin=0.05) in Verdict
    orjson.dumps(found)


def test_odd_rates_are_judged_by_what_they_show():
    verdicts = {
        name: decide(compared(pairs), alpha=0.05, margin=0.05) for name, pairs in ODD_RATES.items()
    }
    assert verdicts.pop("all fall") is Verdict.REGRESSION
    assert set(verdicts.values()) == {Verdict.INCONCLUSIVE}
    assert decide(compared([((1, 1), (1, 1))] * 100), alpha=0.05, margin=0.05) is Verdict.PASS


ODD_VALUES = {
    "none": [],
    "one case": [([1.0], [2.0])],
    "free": [([0.0], [0.0])] * 6,
    "no longer free": [([0.0], [1.0])] * 8,
    "now free": [([1.0], [0.0])] * 8,
    "below 0": [([-1.0], [1.0])] * 3,
    "not known": [([1.0], [math.nan]), ([], [1.0]), ([math.inf], [1.0])],
    "some free": [([0.0], [1.0]), ([1.0], [1.0]), ([2.0], [2.5])] * 4,
    "alike": [([2.0, 3.0], [2.0, 3.0])] * 9,
    "huge": [([1e-300], [1e300]), ([1e300], [1e-300])] * 3,
}


@pytest.mark.parametrize("aggregate", ["mean", "sum", "median", "p95", "min", "max"])
@pytest.mark.parametrize(("worse", "factor"), [("higher", 1.2), ("higher", 0.9), ("lower", 0.8)])
@pytest.mark.parametrize("pairs", ODD_VALUES.values(), ids=ODD_VALUES)
def test_odd_values_give_finite_figures(pairs, worse, factor, aggregate):
    asked = RATIO | {"worse": worse, "factor": factor}
    found = compare_values(pairs, aggregate=aggregate, **asked, draws=199)
    figures = [found.estimate, found.worst]
    figures += [x for x in (found.low, found.high) if x is not None]
    assert all(0.999 / LARGEST <= x <= 1.001 * LARGEST for x in figures)
    assert 0 < found.p_value <= 1
    assert found.detectable >= 1
    assert decide_ratio(found, alpha=0.05, factor=factor) in Verdict
    orjson.dumps(found)


def test_odd_values_are_judged_by_what_they_show():
    verdicts = {
        name: decide_ratio(
            compare_values(pairs, aggregate="mean", **RATIO), alpha=0.05, factor=1.2
        ).name
        for name, pairs in ODD_VALUES.items()
    }
    assert verdicts == {
        "none": "INCONCLUSIVE",
        "one case": "INCONCLUSIVE",
        "free": "PASS",
        "no longer free": "REGRESSION",
        "now free": "PASS",
        "below 0": "INCONCLUSIVE",
        "not known": "INCONCLUSIVE",
        "some free": "REGRESSION",
        "alike": "PASS",
        "huge": "INCONCLUSIVE",
    }


def test_a_correction_makes_no_pass_of_a_drop():
    pairs = [((5, 5), (4, 5))] * 9 + [((5, 5), (5, 5))] * 60 + [((4, 5), (5, 5))]
    found = compared(pairs)
    assert found.p_value == pytest.approx(0.0107, abs=1e-4)
    assert found.worst < -0.03
    assert found.detectable < 0.03
    blind = dataclasses.replace(found, detectable=0.04)
    for comparison in (found, blind):
        asked = {"alpha": 0.05, "margin": 0.03}
        assert decide(comparison, **asked) is Verdict.REGRESSION
        assert decide(comparison, **asked, p_value=0.06) is Verdict.INCONCLUSIVE
        assert decide(comparison, **asked, min_effect=0.1) is Verdict.INCONCLUSIVE
    unclear = dataclasses.replace(found, p_value=0.06)
    assert decide(unclear, alpha=0.05, margin=0.03) is Verdict.PASS
    assert decide(dataclasses.replace(blind, p_value=0.06), **asked) is Verdict.INCONCLUSIVE


def test_a_ratio_is_judged_by_its_bound_its_test_and_what_it_can_see():
    found = compare_values(latencies(1, 40, 3), aggregate="mean", **RATIO, draws=199)

    def verdict(factor=1.2, **changes):
        return decide_ratio(dataclasses.replace(found, **changes), alpha=0.05, factor=factor).name

    assert verdict(worst=1.19) == "PASS"
    assert verdict(worst=1.5, estimate=1.21, p_value=0.05) == "REGRESSION"
    assert verdict(worst=1.5, estimate=1.21, p_value=0.06) == "INCONCLUSIVE"
    assert verdict(worst=1.3, estimate=1.1, p_value=0.01, detectable=1.2) == "PASS"
    assert verdict(worst=1.3, estimate=1.1, p_value=0.01, detectable=1.3) == "INCONCLUSIVE"
    lower = {"worse": "lower", "factor": 0.8}
    assert verdict(**lower, worst=0.81) == "PASS"
    assert verdict(**lower, worst=0.5, estimate=0.79, p_value=0.05) == "REGRESSION"
    assert verdict(**lower, worst=0.5, estimate=0.9, detectable=1.25) == "PASS"
    assert verdict(**lower, worst=0.5, estimate=0.9, detectable=1.26) == "INCONCLUSIVE"


def test_a_degenerate_interval_gives_way_to_percentiles(monkeypatch):
    from scipy.stats import bootstrap

    def degenerate(*args, method, **words):
        found = bootstrap(*args, method=method, **words)
        if method == "BCa":
            found.confidence_interval = type(found.confidence_interval)(math.nan, math.nan)
        return found

    monkeypatch.setattr("scipy.stats.bootstrap", degenerate)
    found = compare_rates(table(7), **ASKED)
    assert found.interval_method == "percentile bootstrap over cases"
    assert found.low < found.estimate < found.high


def test_a_gain_is_asked_of_a_comparison_with_shift():
    gain = {"alpha": 0.05, "margin": -0.02, "min_effect": -0.02}
    better = [((3, 5), (5, 5))] * 10 + [((5, 5), (5, 5))] * 10
    same = [((3, 5), (3, 5)), ((4, 5), (3, 5)), ((3, 5), (4, 5))] * 40
    few = [((1, 1), (1, 1))] * 30
    verdicts = [decide(compared(pairs, shift=0.02), **gain) for pairs in (better, same, few)]
    assert verdicts[0] is Verdict.PASS
    assert verdicts[1] is Verdict.INCONCLUSIVE
    assert verdicts[2] is Verdict.INCONCLUSIVE
    worse = [(c, b) for b, c in better]
    assert decide(compared(worse, shift=0.02), **gain) is Verdict.REGRESSION


def test_models_are_told_against_the_best_and_corrected_for_all_pairs():
    rng = np.random.default_rng(2)
    counts = {
        name: {str(i): (int(c), 3) for i, c in enumerate(rng.binomial(3, p, 40))}
        for name, p in (("low", 0.4), ("high", 0.9), ("middle", 0.8))
    }
    rows = compare_models(counts)
    assert [(row.model, row.reference) for row in rows] == [("low", "high"), ("middle", "high")]
    assert all(row.estimate < 0 and row.low < row.estimate < row.high for row in rows)

    def p_value(one, other):
        pairs = [(counts[one][case], counts[other][case]) for case in counts[one]]
        d = differences(pairs)
        return min(1, 2 * min(signflip.exact_less(np.rint(s * 3 * d).astype(int)) for s in (1, -1)))

    p = [p_value("low", "high"), p_value("middle", "high"), p_value("low", "middle")]
    assert [row.p_value for row in rows] == pytest.approx(p[:2])
    assert [row.p_adjusted for row in rows] == pytest.approx(multipletests(p, method="holm")[1][:2])
    named = compare_models(counts, reference="high")
    assert [row.p_adjusted for row in named] == pytest.approx(
        multipletests(p[:2], method="holm")[1]
    )


def test_models_without_shared_cases():
    rows = compare_models({"a": {"1": (1, 1)}, "b": {"2": (1, 1)}, "c": {}})
    assert [(row.cases, row.p_adjusted, row.low) for row in rows] == [(0, 1.0, None)] * 2
    assert compare_models({}) == []
    assert compare_models({"a": {"1": (1, 1)}}) == []
