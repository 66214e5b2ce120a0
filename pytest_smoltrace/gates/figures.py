"""The figure of a metric over some attempts of a run, with its interval."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pytest_smoltrace.error_types import VERDICTS
from pytest_smoltrace.inference.intervals import interval_of
from pytest_smoltrace.inference.resampling import quantile_of
from pytest_smoltrace.stats import cluster_interval, pass_at_k, pass_hat_k, percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_smoltrace.gates.expression import Metric
    from pytest_smoltrace.measured.population import Population

Counts = dict[str, tuple[int, int]]
"""Case -> how many of its trials have something, and how many trials it has."""
_PERCENT = 100
_ERROR_RATE, _VALID = "error_rate", "valid"
OVER_COMPLETED = frozenset({_ERROR_RATE, _VALID})
"""Rates of all completed attempts; the others are of those that were scored."""
_PASSES: Mapping[str, Callable[[int, int, int], float | None]] = {
    "pass_at_1": pass_at_k,
    "pass_at_k": pass_at_k,
    "pass_hat_k": pass_hat_k,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure in the unit of its metric."""

    value: float
    low: float | None = None
    """Lower end of its 95 % interval, where there is one."""
    high: float | None = None
    cases: int
    attempts: int

    def with_interval(self, metric: Metric, values: Mapping[str, Sequence[float]]) -> Figure:
        """Return an aggregate of these values with its interval, where there is one."""
        if metric.aggregate in ("min", "max"):  # no resample goes beyond what was seen
            return self
        ends = interval_of(values.values(), metric.aggregate or "mean")
        return self if ends is None else replace(self, low=ends[0], high=ends[1])


def scale_of(metric: Metric) -> int:
    """Return what a share of 1 is in the unit of a rate."""
    return _PERCENT if metric.unit == "%" else 1


def rate_figure(metric: Metric, rows: Population, k: int, *, not_run: int = 0) -> Figure | None:
    """Return a rate over some attempts, None without any.

    Args:
        metric: The rate.
        rows: Attempts that it is over.
        k: That of pass@k.
        not_run: Trials that were selected and have no attempt; none of them is valid.
    """
    if metric.column in _PASSES:
        return _passes(metric, rows.counts, 1 if metric.column == "pass_at_1" else k)
    counts = shares(metric, rows)
    if not counts:
        return None
    trials_of = [*counts.values()]
    if not_run and metric.column == _VALID:
        trials_of.append((0, not_run))
    interval, scale = cluster_interval(trials_of), scale_of(metric)
    had, trials = (sum(column) for column in zip(*trials_of, strict=True))
    return Figure(
        value=scale * had / trials,
        low=scale * interval.low,
        high=scale * interval.high,
        cases=len(counts),
        attempts=trials,
    )


def shares(metric: Metric, rows: Population) -> Counts:
    """Return of each case how many trials a rate counts, and of how many."""
    if metric.column == _VALID:
        return _valid(rows)
    return _errors(rows) if metric.column == _ERROR_RATE else rows.counts


def tested_shares(metric: Metric, rows: Population, k: int) -> Counts | None:
    """Return the counts whose mean a rate is, None of one that is no mean of counts."""
    if metric.column in ("pass_at_k", "pass_hat_k"):
        rate = _PASSES[metric.column]
        known = {case: rate(n, c, k) for case, (c, n) in rows.counts.items()}
        alone = {case: (int(p), 1) for case, p in known.items() if p in (0, 1)}
        return alone if len(alone) == sum(p is not None for p in known.values()) else None
    return shares(metric, rows)


def _valid(rows: Population) -> Counts:
    """Return scored and completed trials."""
    scored, completed = (
        Counter(each.table["case_id"].to_pylist()) for each in (rows.scored, rows.completed)
    )
    return {case: (min(scored[case], n), n) for case, n in sorted(completed.items())}


def _errors(rows: Population) -> Counts:
    """Return errors and completed trials; a verdict on an answer is no error."""
    table = rows.completed.table
    if "error_type" not in table.column_names:
        return {}
    kinds = table["error_type"]
    verdict = pc.is_in(kinds, pa.array(sorted(VERDICTS)))
    failed = pc.and_(kinds.is_valid(), pc.invert(verdict)).to_pylist()
    found: Counts = {}
    for case, error in sorted(zip(table["case_id"].to_pylist(), failed, strict=True)):
        had, trials = found.get(case, (0, 0))
        found[case] = had + error, trials + 1
    return found


def _passes(metric: Metric, counts: Counts, k: int) -> Figure | None:
    rate = _PASSES[metric.column]
    known = {case: p for case, (c, n) in counts.items() if (p := rate(n, c, k)) is not None}
    if not known:
        return None
    scale, clusters = scale_of(metric), _clusters(known, counts, k)
    interval = cluster_interval(clusters) if clusters else None
    return Figure(
        value=scale * fmean(known.values()),
        low=scale * interval.low if interval else None,
        high=scale * interval.high if interval else None,
        cases=len(known),
        attempts=sum(counts[case][1] for case in known),
    )


def _clusters(known: Mapping[str, float], counts: Counts, k: int) -> list[tuple[int, int]] | None:
    """Return the counts whose rate pass@k is, None where it is that of no counts."""
    if all(p in (0, 1) for p in known.values()):
        return [(int(p), 1) for p in known.values()]
    alike = len({counts[case][1] for case in known}) == 1
    return [counts[case] for case in known] if k == 1 and alike else None


def aggregate_figure(metric: Metric, values: Mapping[str, Sequence[float]]) -> Figure | None:
    """Return an aggregate of the attempts of some cases, None without any."""
    if not values:
        return None
    flat = [value for case in values.values() for value in case]
    return Figure(value=aggregate(metric, flat), cases=len(values), attempts=len(flat))


def aggregate(metric: Metric, values: Sequence[float]) -> float:
    """Return the aggregate of a metric over some values."""
    name = metric.aggregate or "mean"
    if name == "sum":
        return math.fsum(values)
    q = quantile_of(name)
    if q is None:
        return math.fsum(values) / len(values)
    found = percentile(values, q)
    assert found is not None
    return found


def of_one_trial(values: Mapping[str, Sequence[float]]) -> float:
    """Return the sum over cases of what one trial takes, the mean of those that there are."""
    return math.fsum(fmean(each) for each in values.values())
