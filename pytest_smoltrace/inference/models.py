"""Success rates of the models of one session, compared in pairs over the cases they share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

from pytest_smoltrace.inference.holm import holm
from pytest_smoltrace.inference.rates import compare_rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    Counts = Mapping[str, tuple[int, int]]

# Of which only the interval and the p-value are read, that none of them changes.
_compare = partial(compare_rates, alpha=0.05, power=0.8, margin=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDifference:
    """One model against the reference, over the cases that both have."""

    model: str
    reference: str
    cases: int
    estimate: float
    """Mean over cases of the model's rate minus the reference's, as a fraction."""
    low: float | None
    """Lower end of the 95 % interval; None where there is none."""
    high: float | None
    p_value: float
    """Two-sided, of no difference."""
    p_adjusted: float
    """p-value after Holm's correction over the comparisons that were open."""
    method: str


def compare_models(
    counts_by_model: Mapping[str, Counts], reference: str | None = None
) -> list[ModelDifference]:
    """Return the difference of every other model from the reference, in the order given.

    Where the reference is chosen by its result, every pair could have been the one compared, and
    the correction is for all of them.

    Args:
        counts_by_model: For each model (successes, trials) by case id.
        reference: The model to compare with; by default the one with the highest rate, the
            first of those with the same.
    """
    if not counts_by_model:
        return []
    best = max(counts_by_model, key=lambda model: _rate(counts_by_model[model]))
    chosen = best if reference is None else reference
    rows = [(chosen, model) for model in counts_by_model if model != chosen]
    # A pair is the same in either order: its p-value is two-sided.
    pairs = {frozenset(row): row for row in rows}
    if reference is None:
        pairs = {frozenset(p): p for p in combinations(counts_by_model, 2)} | pairs
    p_values = {key: _two_sided(counts_by_model, *pair) for key, pair in pairs.items()}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [
        _row(counts_by_model, *row, (p_values[frozenset(row)], adjusted[frozenset(row)]))
        for row in rows
    ]


def _row(
    counts: Mapping[str, Counts], reference: str, model: str, p_values: tuple[float, float]
) -> ModelDifference:
    """Return one line of the leaderboard's differences."""
    found = _compare(_paired(counts[reference], counts[model]))
    return ModelDifference(
        model=model,
        reference=reference,
        cases=found.cases,
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        p_value=p_values[0],
        p_adjusted=p_values[1],
        method=found.method,
    )


def _two_sided(counts: Mapping[str, Counts], one: str, other: str) -> float:
    """Return twice the smaller of the two one-sided p-values."""
    ways = (_paired(counts[one], counts[other]), _paired(counts[other], counts[one]))
    return min(1.0, 2 * min(_compare(way, interval=False).p_value for way in ways))


def _paired(one: Counts, other: Counts) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the counts of the cases that both have."""
    return [(one[case], other[case]) for case in one if case in other]


def _rate(counts: Counts) -> float:
    """Return the share of trials that passed, -1 of none."""
    trials = sum(n for _, n in counts.values())
    return sum(c for c, _ in counts.values()) / trials if trials else -1.0
