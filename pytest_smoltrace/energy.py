"""The energy of one device as a curve over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.energy_part import INSTANT, NONE, SOURCES, energy_of
from pytest_smoltrace.power_range import PowerRange

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pytest_smoltrace.energy_part import PartEnergy
    from pytest_smoltrace.series import Floats, Ints, Series

    Times = npt.ArrayLike

_J_PER_WH = 3600.0
_IDLE_PERCENTILE = 5
_IDLE_S = 2.0
"""Without tests for less, the idle power is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuEvent:
    """Something that happened to a device or to its samples."""

    type: str
    """lost, reset, gap or energy_disagreement."""
    gpu_uuid: str
    start_unix_ns: int
    end_unix_ns: int
    start_mono_ns: int
    end_mono_ns: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnergyCurve:
    """Cumulative energy since the first sample, flat before it and after the last one."""

    source: str
    """counter, power_instant, power_average or none; of several files, the worst of those that
    tell energy."""
    events: tuple[GpuEvent, ...]
    event_edges: Ints
    """Starts and ends of the events on the clock of the device."""
    mono_ns: Ints
    """Knots between which everything grows linearly."""
    wh: Floats
    counted: Floats
    """Cumulative ns in which the energy is known."""
    covered: Floats
    """Cumulative ns that are no gap."""
    ranks: dict[int, Floats]
    """Place of a source in SOURCES -> cumulative ns in which it told the energy; empty for one."""
    power: PowerRange

    @classmethod
    def of(cls, series: Series) -> EnergyCurve:
        """Return the curve of a device."""
        parts = [energy_of(series, part) for part in series.pieces]
        told = [part for part in parts if part.source != NONE]
        kept = [part for part in told or parts if len(part.mono_ns)]
        spans = np.concatenate([_lengths(part) for part in kept] or [np.empty(0)])
        counted = _joined(kept, "counted") != 0
        sources = {SOURCES.index(part.source) for part in kept}
        weaker = _joined(kept, "weaker") != 0
        rank = _ranks(kept, series.device.power)
        used = sorted({*sources, *np.unique(rank[weaker]).tolist()})
        events = _events(series, parts)
        return cls(
            source=SOURCES[max(sources)] if sources else NONE,
            events=events,
            event_edges=_edges(events),
            mono_ns=_times(kept),
            wh=_sums(_joined(kept, "joules") / _J_PER_WH),
            counted=_sums(spans * counted),
            covered=_sums(spans * (_joined(kept, "covered") != 0)),
            ranks={one: _sums(spans * (rank == one)) for one in used} if len(used) > 1 else {},
            power=PowerRange.of(series, by_power=not sources or max(sources) > 0),
        )

    def energy_wh(self, mono_ns: Times) -> Floats:
        """Return the energy from the first sample to each of the times."""
        return self._at(self.wh, mono_ns)

    def delta_wh(self, start: Times, end: Times) -> Floats:
        """Return the energy between two times each."""
        return self.energy_wh(end) - self.energy_wh(start)

    def counted_s(self, start: Times, end: Times) -> Floats:
        """Return for how long between two times each the energy is known."""
        return (self._at(self.counted, end) - self._at(self.counted, start)) / 1e9

    def covered_s(self, start: Times, end: Times) -> Floats:
        """Return how much of the time between two times each is covered by valid samples."""
        return (self._at(self.covered, end) - self._at(self.covered, start)) / 1e9

    def source_rank(self, start: Times, end: Times) -> Ints:
        """Return the place in SOURCES of the worst source between two times each."""
        worst = np.full(np.shape(start), SOURCES.index(self.source), np.int64)
        if self.ranks:
            worst[...] = min(self.ranks)
            for rank, sums in sorted(self.ranks.items()):
                worst[self._at(sums, end) > self._at(sums, start)] = rank
        return worst

    def uncertainty_wh(self, start: Times, end: Times) -> Floats:
        """Return how far the energy between two times each may be off; NaN when not known."""
        return self.power.uncertainty_j(start, end) / _J_PER_WH

    def events_within(self, start: int, end: int) -> list[GpuEvent]:
        """Return the events that a window meets."""
        starts, ends = self.event_edges
        return [self.events[row] for row in np.flatnonzero((starts < end) & (ends > start))]

    def idle_w(self, starts: Ints, ends: Ints) -> float | None:
        """Return the power outside of all tests, given as intervals in the order of time."""
        if self.covered_s(starts, ends).sum() < _IDLE_S:
            return None
        power = self.power.within(starts, ends)
        return float(np.percentile(power, _IDLE_PERCENTILE)) if len(power) else None

    def _at(self, sums: Floats, mono_ns: Times) -> Floats:
        times = np.asarray(mono_ns, np.int64)
        if not len(self.mono_ns):
            return np.zeros(times.shape)
        first = self.mono_ns[0]
        found: Floats = np.interp(times - first, self.mono_ns - first, sums)
        return found


def _times(parts: Sequence[PartEnergy]) -> Ints:
    """Return the knots of all parts, which a shifted average may take back a little."""
    times = np.concatenate([part.mono_ns for part in parts] or [np.empty(0, np.int64)])
    found: Ints = np.maximum.accumulate(times)
    return found


def _edges(events: Sequence[GpuEvent]) -> Ints:
    edges = [(one.start_mono_ns, one.end_mono_ns) for one in events]
    return np.array(edges, np.int64).reshape(-1, 2).T


def _lengths(part: PartEnergy) -> Floats:
    """Return the ns of the segments of a part and of the break that follows it."""
    found: Floats = np.r_[np.diff(part.mono_ns), 0.0]
    return found


def _joined(parts: Sequence[PartEnergy], name: str) -> Floats:
    """Return a value of the segments of all parts, 0 for the breaks between them."""
    return np.concatenate([np.r_[getattr(part, name), 0.0] for part in parts] or [np.empty(0)])


def _sums(values: Floats) -> Floats:
    """Return the sums up to each knot."""
    if not len(values):
        return np.empty(0)
    sums: Floats = np.r_[0.0, np.cumsum(values)[:-1]]
    return sums


def _ranks(parts: Sequence[PartEnergy], power: str | None) -> Ints:
    """Return for each segment which source told its energy."""
    fallback = SOURCES.index(INSTANT) + (power != "instant")
    ranks = [
        np.where(np.r_[part.weaker, False], fallback, SOURCES.index(part.source)) for part in parts
    ]
    return np.concatenate(ranks or [np.empty(0, np.int64)])


def _events(series: Series, parts: Sequence[PartEnergy]) -> tuple[GpuEvent, ...]:
    return tuple(
        GpuEvent(
            type=trouble.type,
            gpu_uuid=series.device.uuid,
            start_unix_ns=trouble.start_mono_ns + place.wall_offset_ns,
            end_unix_ns=trouble.end_mono_ns + place.wall_offset_ns,
            start_mono_ns=trouble.start_mono_ns,
            end_mono_ns=trouble.end_mono_ns,
        )
        for place, part in zip(series.pieces, parts, strict=True)
        for trouble in part.troubles
    )
