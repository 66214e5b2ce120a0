"""Figures of two runs, paired by case over the cases that both scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.comparing.pairing import cases_of

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How many scored cases two runs have in common."""

    both: int
    baseline: int
    candidate: int


def overlap(now: MeasuredRun, before: MeasuredRun) -> Overlap:
    """Return how many scored cases two runs have, and how many both have."""
    ours, theirs = cases_of(now).keys(), cases_of(before).keys()
    return Overlap(both=len(ours & theirs), baseline=len(theirs), candidate=len(ours))


def compared_rate(
    now: MeasuredRun, before: MeasuredRun, *, margin: float, alpha: float, power: float
) -> Comparison:
    """Return what a comparison of success rates finds."""
    from pytest_smoltrace.inference.rates import compare_rates

    ours, theirs = cases_of(now), cases_of(before)
    pairs = [
        (
            (theirs[case].passed, len(theirs[case].trials)),
            (ours[case].passed, len(ours[case].trials)),
        )
        for case in sorted(ours.keys() & theirs.keys())
    ]
    return compare_rates(pairs, alpha=alpha, power=power, margin=margin)


def compared_figure(
    now: MeasuredRun, before: MeasuredRun, name: str, *, alpha: float, power: float
) -> Comparison | None:
    """Return what a comparison of the means of a figure finds, None where a side lacks it."""
    from pytest_smoltrace.inference.ratios import compare_values

    ours, theirs = (_values(run, FIGURES[name]) for run in (now, before))
    pairs = [(theirs[case], ours[case]) for case in sorted(ours.keys() & theirs.keys())]
    if not pairs:
        return None
    return compare_values(
        pairs, aggregate="mean", worse="higher", alpha=alpha, power=power, factor=1.0
    )


def _values(run: MeasuredRun, column: str) -> dict[str, list[float]]:
    """Return the known values of a column by scored case."""
    table, found = run.attempts, dict[str, list[float]]()
    needed = ("case_id", "scored", column)
    if not set(needed) <= set(table.column_names):
        return found
    columns: list[Any] = [table.column(name).to_pylist() for name in needed]
    for case, scored, value in zip(*columns, strict=True):
        if scored and value is not None:
            found.setdefault(str(case), []).append(float(value))
    return found
