"""Figures of two runs, paired by case over the cases that both scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_smoltrace.measured.population import Population

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_smoltrace.comparison import Comparison
    from pytest_smoltrace.measured.session import MeasuredRun

FIGURES: Mapping[str, str] = {
    "latency": "execution_time_ms",
    "tokens": "gen_ai.usage.total_tokens",
    "cost": "gen_ai.usage.cost.total",
    "ttft": "gen_ai.server.ttft",
    "energy": "gpu_energy_wh",
}
"""Name -> column of the figures that are compared as ratios; more is worse."""
TIMING = frozenset({"latency", "ttft", "energy"})
"""Figures that depend on the hardware."""
_LIVE = TIMING | {"cost"}
"""Figures of which a replayed attempt says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How many scored cases two runs have in common."""

    both: int
    baseline: int
    candidate: int


def overlap(now: MeasuredRun, before: MeasuredRun) -> Overlap:
    """Return how many scored cases two runs have, and how many both have."""
    ours, theirs = (_scored(run).counts.keys() for run in (now, before))
    return Overlap(both=len(ours & theirs), baseline=len(theirs), candidate=len(ours))


def compared_rate(
    now: MeasuredRun, before: MeasuredRun, *, margin: float, alpha: float, power: float
) -> Comparison:
    """Return what a comparison of success rates finds."""
    from pytest_smoltrace.inference.rates import compare_rates

    ours, theirs = (_scored(run).counts for run in (now, before))
    pairs = [(theirs[case], ours[case]) for case in sorted(ours.keys() & theirs.keys())]
    return compare_rates(pairs, alpha=alpha, power=power, margin=margin)


def compared_figure(
    now: MeasuredRun, before: MeasuredRun, name: str, *, alpha: float, power: float
) -> Comparison | None:
    """Return what a comparison of the means of a figure finds, None where a side lacks it."""
    from pytest_smoltrace.inference.ratios import compare_values

    sides = [_scored(run) for run in (now, before)]
    if name in _LIVE:
        sides = [rows.live for rows in sides]
    ours, theirs = (rows.values(FIGURES[name]) for rows in sides)
    pairs = [(theirs[case], ours[case]) for case in sorted(ours.keys() & theirs.keys())]
    if not pairs:
        return None
    return compare_values(
        pairs, aggregate="mean", worse="higher", alpha=alpha, power=power, factor=1.0
    )


def _scored(run: MeasuredRun) -> Population:
    """Return the attempts that rates and figures are of, as gates take them."""
    return Population(run.attempts).scored
