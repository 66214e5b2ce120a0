"""How often the comparisons of two runs are wrong, by simulation (figures with -rP)."""

import functools
import math
import sys

import numpy as np
import pytest

from pytest_smoltrace.comparison import Verdict
from pytest_smoltrace.inference.decision import decide
from pytest_smoltrace.inference.detectable import Spread, detectable_drop
from pytest_smoltrace.inference.rates import compare_rates
from pytest_smoltrace.inference.ratios import compare_values

pytestmark = pytest.mark.slow

SIZES = [(cases, trials) for cases in (20, 50, 132) for trials in (1, 3, 5)]
ALPHA, POWER = 0.05, 0.8
BAR = 0.06
RUNS = 2_000
MARGINS = (0.03, 0.05, 0.08, 0.12, 0.18, 0.25, 0.4)
MEAN_RATE = 0.75  # of Beta(0.9, 0.3)
TWICE_WITHIN = 2 * 0.27 / (1.2 * 2.2)  # 2 E[p(1-p)] of the same


def told(text):
    """Write a figure where pytest -rP shows it."""
    sys.stdout.write(text + "\n")


def simulated(cases, trials, *, runs=RUNS, changed=0.0, drop=0.0, seed=1):
    """Return comparisons of a baseline with a candidate, (trials, trials) or one number."""
    rng = np.random.default_rng([seed, cases, *np.atleast_1d(trials).tolist()])
    n_b, n_c = trials if isinstance(trials, tuple) else (trials, trials)
    p = rng.beta(0.9, 0.3, (runs, cases))
    # Cases that change draw a new difficulty: the mean over all stays.
    q = np.where(rng.random((runs, cases)) < changed, rng.beta(0.9, 0.3, (runs, cases)), p)
    passed = zip(
        rng.binomial(n_b, p).tolist(),
        rng.binomial(n_c, q * (1 - drop / MEAN_RATE)).tolist(),
        strict=True,
    )
    return [
        compare_rates(
            [((b, n_b), (c, n_c)) for b, c in zip(*run, strict=True)],
            alpha=ALPHA, power=POWER, margin=1.0, interval=False,
        )
        for run in passed
    ]  # fmt: skip


@functools.cache
def unchanged(cases, trials):
    return simulated(cases, trials)


def verdicts(comparisons, margin):
    return [decide(found, alpha=ALPHA, margin=margin) for found in comparisons]


def share(found, wanted):
    return sum(verdict is wanted for verdict in found) / len(found)


def alarms(comparisons):
    """Return the share of regressions; which margin is tolerated has no part in it when small."""
    return share(verdicts(comparisons, 0.0), Verdict.REGRESSION)


def design(cases, trials):
    """Return the drop that a suite of this size is built to see."""
    return detectable_drop(
        Spread(cases=cases, variance=TWICE_WITHIN / trials, trials=trials, pairs=cases * trials,
               per_trial=TWICE_WITHIN),
        alpha=ALPHA, power=POWER,
    )  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_nothing_changed_is_rarely_called_a_regression(size):
    rate = alarms(unchanged(*size))
    told(f"{size}: nothing changed, {RUNS} runs: {rate:.2%} called a regression")
    assert rate <= BAR
    assert rate == np.mean([found.p_value <= ALPHA for found in unchanged(*size)])


def test_a_test_of_single_trials_would_alarm_more():
    """The bar can fail: trials taken for cases, as a pooled McNemar test does, exceed it."""
    rng = np.random.default_rng(4)
    p = rng.beta(0.9, 0.3, (400, 50))
    q = np.where(rng.random(p.shape) < 0.35, rng.beta(0.9, 0.3, p.shape), p)
    pooled = []
    for b, c in zip(rng.random((400, 5, 50)) < p[:, None], rng.random((400, 5, 50)) < q[:, None],
                    strict=True):  # fmt: skip
        pairs = [((x, 1), (y, 1)) for x, y in zip(b.flat, c.flat, strict=True)]
        pooled.append(
            compare_rates(pairs, alpha=ALPHA, power=POWER, margin=1.0, interval=False).p_value
        )
    rate = np.mean(np.array(pooled) <= ALPHA)
    told(f"(50, 5): 35 % of cases changed, trials taken for cases: {rate:.2%}")
    assert rate > BAR


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_changes_that_cancel_out_are_rarely_called_a_regression(size):
    rate = alarms(simulated(*size, runs=1_000, changed=0.35))
    told(f"{size}: 35 % of cases changed, mean change 0, 1000 runs: {rate:.2%}")
    assert rate <= BAR + 0.005


@pytest.mark.parametrize("trials", [(1, 5), (5, 1), (3, 5), (1, 3)], ids=str)
@pytest.mark.parametrize("cases", [20, 50])
def test_unequal_trials_are_rarely_called_a_regression(cases, trials):
    rate = alarms(simulated(cases, trials, runs=1_000))
    told(f"{cases} cases, trials of baseline and candidate {trials}: {rate:.2%}")
    assert rate <= BAR + 0.005


def test_a_drop_of_10_points_is_seen():
    found = simulated(50, 5, drop=0.1)
    power = alarms(found)
    told(f"(50, 5): true drop of 10 points, {RUNS} runs: {power:.1%} called a regression")
    assert power >= 0.85
    assert np.mean([x.estimate for x in found]) == pytest.approx(-0.1, abs=0.003)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_inconclusive_is_what_cannot_be_seen(size):
    """Run by run it is there exactly when nothing else is sure and the margin not visible."""
    for margin in MARGINS:
        found = unchanged(*size)
        for comparison, verdict in zip(found, verdicts(found, margin), strict=True):
            sure = comparison.worst > -margin or comparison.p_value <= ALPHA
            expected = not sure and comparison.detectable > margin
            assert (verdict is Verdict.INCONCLUSIVE) is expected


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_inconclusive_is_met_in_suites_too_small_for_the_margin(size):
    reach = design(*size)
    for margin in MARGINS:
        rate = share(verdicts(unchanged(*size), margin), Verdict.INCONCLUSIVE)
        told(f"{size} sees {100 * reach:.1f} points; margin {100 * margin:g}: {rate:.1%}")
        if reach > margin * 1.15:
            assert rate > 0.05
        elif reach < margin / 1.25:
            assert rate <= 0.01


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_drop_as_large_as_the_margin_seldom_passes(size):
    for drop in (0.05, math.ceil(100 * design(*size)) / 100):
        rate = share(verdicts(simulated(*size, runs=400, drop=drop), drop), Verdict.PASS)
        told(f"{size}: true drop and margin of {100 * drop:.0f} points: {rate:.1%} pass")
        assert rate <= 1 - POWER


def latencies(cases, trials, *, runs, factor=1.0, spread=0.3):
    rng = np.random.default_rng([8, cases, trials])
    for _ in range(runs):
        scale = rng.lognormal(0, 0.8, (cases, 1))
        b, c = scale * rng.lognormal(0, spread, (2, cases, trials))
        yield list(zip(b.tolist(), (factor * c).tolist(), strict=True))


def compared(pairs, aggregate):
    return compare_values(
        pairs, aggregate=aggregate, worse="higher", alpha=ALPHA, power=POWER, factor=1.2, draws=499
    )


@pytest.mark.parametrize("aggregate", ["mean", "p95"])
@pytest.mark.parametrize("trials", [1, 3, 5])
def test_times_that_did_not_change_are_rarely_called_worse(trials, aggregate):
    found = [compared(pairs, aggregate) for pairs in latencies(40, trials, runs=500)]
    rate = np.mean([x.p_value <= ALPHA for x in found])
    covered = np.mean([x.low <= 1 <= x.high for x in found])
    told(f"{aggregate} of 40 x {trials} times unchanged: {rate:.1%}; interval {covered:.1%}")
    assert rate <= BAR


@pytest.mark.parametrize(("aggregate", "least"), [("mean", 0.95), ("p95", 0.7)])
def test_times_that_rose_by_30_percent_are_seen(aggregate, least):
    found = [compared(pairs, aggregate) for pairs in latencies(50, 5, runs=200, factor=1.3)]
    power = np.mean([x.p_value <= ALPHA for x in found])
    reach = np.median([x.detectable for x in found])
    told(f"{aggregate} of 50 x 5 times, +30 %: {power:.1%} seen, {reach:.3f} visible")
    assert power >= least
