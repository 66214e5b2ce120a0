"""Statistics against scipy and against figures worked out by hand."""

import math
import random
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats as witness

from pytest_smoltrace import stats


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (52, 60), (0, 30), (7, 9), (500, 1000)]
)
def test_wilson_matches_scipy(successes, n):
    expected = witness.binomtest(successes, n).proportion_ci(method="wilson")
    low, high = stats.wilson(successes, n)
    assert low == pytest.approx(expected.low, abs=1e-7)
    assert high == pytest.approx(expected.high, abs=1e-7)


def test_wilson_of_the_contract():
    low, high = stats.wilson(52, 60)
    assert (round(100 * low, 1), round(100 * high, 1)) == (75.8, 93.1)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (2, 1), (-1, 3)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match="Wilson"):
        stats.wilson(successes, n)


def test_wilson_stays_within_the_unit_interval():
    assert stats.wilson(0, 7)[0] == 0.0
    assert stats.wilson(7, 7)[1] == 1.0


@pytest.mark.parametrize("n", [1, 2, 3, 10, 101])
@pytest.mark.parametrize("q", [0.0, 0.05, 0.5, 0.95, 0.99, 1.0])
def test_percentile_matches_numpy(n, q):
    values = random.Random(n).sample(range(10_000), n)
    assert stats.percentile(values, q) == pytest.approx(np.quantile(values, q, method="linear"))


def test_percentile_by_hand():
    assert stats.percentile([40, 10, 20, 30], 0.95) == pytest.approx(38.5)
    assert stats.percentile([7.25], 0.99) == 7.25
    assert stats.percentile([], 0.5) is None


def test_percentile_takes_a_fraction():
    with pytest.raises(ValueError, match="fraction"):
        stats.percentile([1.0], 95)


def test_pass_at_k_of_the_contract():
    assert stats.pass_at_k(5, 3, 2) == pytest.approx(0.9)
    assert stats.pass_hat_k(5, 3, 2) == pytest.approx(0.3)


def test_pass_at_k_matches_drawing_every_subset():
    from itertools import combinations

    for n, c, k in [(6, 2, 3), (4, 0, 1), (4, 4, 4), (7, 5, 3)]:
        draws = list(combinations([True] * c + [False] * (n - c), k))
        assert stats.pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws))
        assert stats.pass_hat_k(n, c, k) == pytest.approx(sum(map(all, draws)) / len(draws))


def test_pass_at_k_is_unknown_with_fewer_trials_than_k():
    assert stats.pass_at_k(2, 1, 3) is None
    assert stats.pass_hat_k(2, 1, 3) is None


@pytest.mark.parametrize("counts", [(3, 4, 1), (3, -1, 1), (3, 1, 0)])
def test_pass_at_k_refuses_impossible_counts(counts):
    with pytest.raises(ValueError, match="trials"):
        stats.pass_at_k(*counts)


def test_student_t_matches_scipy():
    degrees = [*range(1, 400), 1_000, 12_345, 1_000_000]
    found = [stats.student_t_95(df) for df in degrees]
    assert found == pytest.approx(list(witness.t.ppf(0.975, degrees)), abs=1e-9, rel=0)


def test_student_t_needs_a_degree_of_freedom():
    with pytest.raises(ValueError, match="degrees"):
        stats.student_t_95(0)


def test_one_trial_a_case_is_wilson():
    interval = stats.cluster_interval([(1, 1)] * 52 + [(0, 1)] * 8)
    assert (interval.low, interval.high) == stats.wilson(52, 60)
    assert interval.method == "wilson"


def test_cluster_t_by_an_independent_formula():
    counts = [(3, 3), (0, 3), (2, 3), (1, 2), (4, 5)]
    c, n = np.array(counts).T
    p = c.sum() / n.sum()
    residuals = c - p * n
    g = len(counts)
    se = math.sqrt(g / (g - 1) * (residuals**2).sum()) / n.sum()
    reach = witness.t.ppf(0.975, g - 1) * se
    interval = stats.cluster_interval(counts)
    assert interval.method == "cluster_t"
    assert interval.low == pytest.approx(max(0, p - reach), abs=1e-12)
    assert interval.high == pytest.approx(min(1, p + reach), abs=1e-12)


def test_cluster_t_worked_out_by_hand():
    # p = 4/8; residuals 1, -1, 0, 0; se = sqrt(4/3 * 2) / 8 = 0.2041241;
    # t(0.975, 3) = 3.1824463; reach 0.6496142 clips at both ends.
    assert stats.cluster_interval([(2, 2), (0, 2), (1, 2), (1, 2)]) == stats.Interval(
        low=0.0, high=1.0, method="cluster_t"
    )
    # p = 9/16; residuals -0.25, -0.25, -0.25, 0.75; squares 0.75; se = sqrt(4/3 * 0.75) / 16
    # = 0.0625; reach 0.1989029.
    interval = stats.cluster_interval([(2, 4), (2, 4), (2, 4), (3, 4)])
    assert interval.low == pytest.approx(0.5625 - 0.1989029, abs=1e-7)
    assert interval.high == pytest.approx(0.5625 + 0.1989029, abs=1e-7)


def test_equal_cases_have_no_clustered_error():
    interval = stats.cluster_interval([(1, 2), (1, 2), (1, 2)])
    assert interval.method == "wilson_cases"
    assert (interval.low, interval.high) == stats.wilson(1.5, 3)


def test_thirds_add_up_to_no_error():
    assert stats.cluster_interval([(1, 3)] * 7).method == "wilson_cases"


def test_one_case_with_many_trials():
    interval = stats.cluster_interval([(9, 10)])
    assert (interval.low, interval.high) == stats.wilson(0.9, 1)
    assert interval.method == "wilson_cases"


@pytest.mark.parametrize("counts", [[], [(0, 0)], [(2, 1)], [(1, 1), (-1, 2)]])
def test_cluster_interval_refuses_impossible_counts(counts):
    with pytest.raises(ValueError, match="trial"):
        stats.cluster_interval(counts)


def test_importing_needs_no_scipy():
    code = (
        "import sys, pytest_smoltrace.stats; print('scipy' in sys.modules, 'numpy' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_a_percentile_that_is_a_value_does_not_depend_on_its_neighbours():
    values = [1.0, 5.0, math.inf]
    assert [stats.percentile(values, q) for q in (0, 0.5, 1)] == values
