"""The readings of several GPUs, combined for each tick."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_smoltrace.sample_rules import GAP_PERIODS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_smoltrace.series import Floats, Ints, Part, Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Averages over time, and maxima over ticks; None without a valid tick."""

    power_avg_w: float | None = None
    power_max_w: float | None = None
    utilization_avg: float | None = None
    utilization_max: float | None = None
    memory_avg_mib: float | None = None
    memory_max_mib: float | None = None
    temperature_avg: float | None = None
    temperature_max: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ticks:
    """Ticks in which every one of some GPUs has a valid sample."""

    mono_ns: Ints
    due_ns: Ints
    period_ns: int
    power_w: Floats
    """Sum over the GPUs; NaN where one of them did not tell it, as in the others."""
    utilization: Floats
    """Mean over the GPUs."""
    memory_mib: Floats
    """Sum over the GPUs or their instances."""
    temperature: Floats
    """Of the hottest GPU."""

    @classmethod
    def of(cls, series: Sequence[Series], boards: Sequence[Series]) -> Ticks:
        """Combine devices and the GPUs that these are or are instances of."""
        every = [*series, *boards]
        ticks = [one.tick for one in every]
        valid = [tick[~one.failed] for tick, one in zip(ticks, every, strict=True)]
        common = reduce(_common, valid)
        rows = [
            np.flatnonzero(~one.failed)[_places(tick, common)]
            for tick, one in zip(valid, every, strict=True)
        ]
        if len(boards[0].pieces) > 1:  # of two files at one time, one begins and ends
            order = np.argsort(boards[0].mono_ns[rows[len(series)]], kind="stable")
            rows = [at[order] for at in rows]
        own, of_boards = rows[: len(series)], rows[len(series) :]
        on = list(zip(boards, of_boards, strict=True))
        return cls(
            mono_ns=boards[0].mono_ns[of_boards[0]],
            due_ns=_due(boards[0], of_boards[0]),
            period_ns=boards[0].period_ns,
            power_w=np.sum([one.power_w[at] for one, at in on], axis=0),
            utilization=np.mean([one.utilization[at] for one, at in on], axis=0),
            memory_mib=np.sum(
                [one.memory_mib[at] for one, at in zip(series, own, strict=True)], axis=0
            ),
            temperature=np.max([one.temperature[at] for one, at in on], axis=0),
        )

    def figures(self, start: Ints, end: Ints) -> dict[str, Floats]:
        """Return the fields of Figures for windows, NaN for none."""
        found = {}
        for name, values in (
            ("power_{}_w", self.power_w),
            ("utilization_{}", self.utilization),
            ("memory_{}_mib", self.memory_mib),
            ("temperature_{}", self.temperature),
        ):
            known = np.isfinite(values)
            track = Track(self.mono_ns[known], values[known], self.period_ns)
            found[name.format("avg")], found[name.format("max")] = track.over(start, end)
        return found


def known(value: float) -> float | None:
    """Return a number, None for NaN."""
    return None if np.isnan(value) else float(value)


def _common(first: Ints, second: Ints) -> Ints:
    if np.array_equal(first, second):
        return first
    return np.intersect1d(first, second, assume_unique=True)


def _places(ticks: Ints, wanted: Ints) -> Ints:
    """Return where the wanted ticks are."""
    if np.array_equal(ticks, wanted):
        return np.arange(len(ticks))
    order = np.argsort(ticks, kind="stable")
    return order[np.searchsorted(ticks, wanted, sorter=order)]


def _due(series: Series, rows: Ints) -> Ints:
    """Return when the ticks of samples were due."""
    due = [
        part.started_mono_ns + part.period_ns * series.seq[part.start : part.stop]
        for part in series.pieces
    ]
    found: Ints = np.sort(np.concatenate(due)[rows])
    return found


def scheduled(series: Series, times: Ints) -> Ints:
    """Return how many ticks were due before each time; a file's go on until the next one's."""
    parts = series.pieces
    begins = [part.started_mono_ns + part.period_ns * _tick_at(series, part) for part in parts]
    begins[0] = parts[0].started_mono_ns
    counts = np.zeros(times.shape, np.int64)
    for part, begin, end in zip(parts, begins, [*begins[1:], None], strict=True):
        upto = times if end is None else np.minimum(times, end)
        counts += np.maximum(0, _ticks_before(part, upto) - _ticks_before(part, begin))
    return counts


def _tick_at(series: Series, part: Part) -> int:
    return int(series.seq[part.start])


def _ticks_before(part: Part, times: Any) -> Any:
    return -((part.started_mono_ns - times) // part.period_ns)


def longest_ns(mono_ns: Ints, period_ns: int) -> float:
    """Return the longest distance of ticks that is no gap; some values are read less often."""
    usual = float(np.median(np.diff(mono_ns))) if len(mono_ns) > 1 else 0.0
    return GAP_PERIODS * max(usual, period_ns)


class Track:
    """Values over time, known at ticks."""

    def __init__(self, mono_ns: Ints, values: Floats, period_ns: int) -> None:
        """Take the ticks in which a value is known; one is rarely asked for in each tick."""
        lengths = np.diff(mono_ns)
        covered = np.where(lengths <= longest_ns(mono_ns, period_ns), lengths / 1e9, 0.0)
        self._mono_ns = mono_ns
        self._values = np.r_[values, -np.inf]
        self._covered = np.r_[0.0, np.cumsum(covered)]
        self._areas = np.r_[0.0, np.cumsum((values[1:] + values[:-1]) / 2 * covered)]
        self._sums = np.r_[0.0, np.cumsum(values)]

    def over(self, start: Ints, end: Ints) -> tuple[Floats, Floats]:
        """Return averages and maxima of windows."""
        first = np.searchsorted(self._mono_ns, start, side="left")
        stop = np.searchsorted(self._mono_ns, end, side="right")
        some = stop > first
        average, highest = np.full(len(start), np.nan), np.full(len(start), np.nan)
        if some.any():
            average[some] = self._averages(first[some], stop[some])
            pairs = np.column_stack([first[some], stop[some]]).ravel()
            highest[some] = np.maximum.reduceat(self._values, pairs)[::2]
        return np.minimum(average, highest), highest

    def _averages(self, first: Ints, stop: Ints) -> Floats:
        covered = self._covered[stop - 1] - self._covered[first]
        plain = (self._sums[stop] - self._sums[first]) / (stop - first)
        areas = self._areas[stop - 1] - self._areas[first]
        found: Floats = np.divide(areas, covered, out=plain, where=covered > 0)
        return found
