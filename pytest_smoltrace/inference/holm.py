"""Holm's step-down correction for several tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def holm(
    p_values: Sequence[float], least: Sequence[float] | None = None, *, alpha: float = 0.05
) -> list[float]:
    """Return the p-values adjusted so that any false alarm among them has the level of one.

    S. Holm, A simple sequentially rejective multiple test procedure, 1979. Where the least values
    that discrete tests can reach are known, those that can never be significant take no part of
    the level from the others: R. E. Tarone, A modified Bonferroni method for discrete data, 1990,
    step by step as by G. Hommel and F. Krummenauer, 1998.

    Args:
        p_values: Of the single tests.
        least: The smallest p-value that each could have had, given all but the directions of its
            differences; none is plain Holm.
        alpha: Level of the family, on which Tarone's correction depends.
    """
    bounds = [0.0] * len(p_values) if least is None else list(least)
    adjusted = [0.0] * len(p_values)
    reached = 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, place in enumerate(order):
        factor = _tarone([bounds[other] for other in order[rank:]], alpha)
        reached = max(reached, min(1.0, factor * p_values[place]))
        adjusted[place] = reached
    return adjusted


def _tarone(bounds: Iterable[float], alpha: float) -> int:
    """Return the smallest k so that at most k tests can reach alpha / k."""
    ordered = sorted(bounds)
    for k in range(1, len(ordered) + 1):
        if sum(bound <= alpha / k for bound in ordered) <= k:
            return k
    return len(ordered)
