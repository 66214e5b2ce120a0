"""Holm's correction, and that tests which can never be significant take no part of the level."""

from itertools import product

import numpy as np
import pytest

from pytest_smoltrace.gates import reasons
from pytest_smoltrace.inference.holm import holm
from pytest_smoltrace.inference.rates import compare_rates


def test_a_test_that_cannot_reject_costs_the_others_nothing():
    # Three cases can give 1/8 at best: the fourteen beside them keep the whole level.
    assert holm([0.035, 0.25], [2**-8, 2**-3]) == [0.035, 0.25]
    assert holm([0.035, 0.25]) == [0.07, 0.25]
    # Of two tests that both could, neither does.
    assert holm([0.035, 0.25], [2**-8, 2**-6]) == [0.07, 0.25]
    # What may reach 0.05 counts, though it cannot reach 0.05 / 2.
    assert holm([0.03, 0.5], [0.001, 0.03]) == [0.06, 0.5]
    assert holm([0.03, 0.5, 0.5, 0.5], [0.001, 0.03, 0.03, 0.03]) == [0.06, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("sizes", [(5, 6), (5, 6, 3), (8, 4, 4, 4), (6, 6, 6)])
def test_the_family_keeps_its_level_exactly(sizes):
    """All directions of the differences are equally likely: count the families with an alarm."""
    values = [np.arange(size + 1) for size in sizes]  # numbers of drops among the changes
    alarms = 0.0
    for drops in product(*values):
        chance, p_values = 1.0, []
        for size, fallen in zip(sizes, drops, strict=True):
            weights = np.array([_choose(size, k) for k in range(size + 1)]) / 2**size
            chance *= weights[fallen]
            p_values.append(float(weights[fallen:].sum()))
        adjusted = holm(p_values, [2.0**-size for size in sizes])
        alarms += chance * any(p <= 0.05 for p in adjusted)
    assert 0 < alarms <= 0.05


def _choose(n, k):
    from math import comb

    return comb(n, k)


def test_the_least_p_of_rates_is_that_of_all_changes_being_drops():
    fallen = [((1, 1), (0, 1))] * 6 + [((1, 1), (1, 1))] * 4
    found = compare_rates(fallen, alpha=0.05, power=0.8, margin=0.05, interval=False)
    assert found.least_p == 2**-6 == pytest.approx(found.p_value, rel=1e-12)
    mixed = [((3, 3), (1, 3))] * 4 + [((1, 3), (3, 3))] + [((2, 3), (2, 3))]
    found = compare_rates(mixed, alpha=0.05, power=0.8, margin=0.05, interval=False)
    assert found.least_p == 2**-5
    assert found.p_value == pytest.approx(6 * 2**-5, rel=1e-12)


def test_what_the_correction_does_is_said():
    fallen = [((1, 1), (0, 1))] * 5
    found = compare_rates(fallen, alpha=0.05, power=0.8, margin=0.05, interval=False)
    told = reasons.corrected(found, 0.0625)
    assert told == "p = 0.031 alone, but p = 0.062 beside the other comparisons (Holm)"
