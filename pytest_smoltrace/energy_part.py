"""The energy between the samples of one device in one file, and what went wrong there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.sample_rules import BRIDGED_NS, FLAT_NS, GAP_PERIODS

if TYPE_CHECKING:
    from pytest_smoltrace.series import Flags, Floats, Ints, Part, Series

COUNTER, INSTANT, AVERAGE, NONE = "counter", "power_instant", "power_average", "none"
SOURCES = (COUNTER, INSTANT, AVERAGE, NONE)
"""Ways to know energy, the best first."""

AVERAGE_SHIFT_NS = 550_000_000
"""How much earlier than its reading an average of the last second is true."""
_COMPARED_NS = 10_000_000_000
_RATIO = (0.8, 1.25)
"""Counter over integral, in so many ns and more, outside of which the two disagree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that happened to the samples of a device, on its clock."""

    type: str
    """lost, reset, gap or energy_disagreement."""
    start_mono_ns: int
    end_mono_ns: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartEnergy:
    """Knots of the energy curve of one part; segment k is between knots k and k+1."""

    source: str
    mono_ns: Ints
    joules: Floats
    """Energy of each segment."""
    counted: Flags
    """Segments whose energy is known."""
    weaker: Flags
    """Segments that power stands in for, the counter not having been read."""
    covered: Flags
    """Segments that are no gap."""
    troubles: tuple[Trouble, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Valid:
    """Valid samples of a part."""

    mono_ns: Ints
    power_w: Floats
    energy_mj: Floats
    power_source: str
    limit_ns: float
    """Longest distance of neighbours that is no gap."""

    @property
    def shift_ns(self) -> int:
        return AVERAGE_SHIFT_NS if self.power_source == AVERAGE else 0


def energy_of(series: Series, part: Part) -> PartEnergy:
    """Return the energy between the samples of one part of a series."""
    rows = slice(part.start, part.stop)
    good = ~series.failed[rows]
    valid = _Valid(
        mono_ns=series.mono_ns[rows][good],
        power_w=series.power_w[rows][good],
        energy_mj=series.energy_mj[rows][good],
        power_source=INSTANT if series.device.power == "instant" else AVERAGE,
        limit_ns=GAP_PERIODS * part.period_ns,
    )
    stuck = _stuck(valid)
    found = _by_counter(valid) if _has_counter(valid, stuck) else _by_power(valid)
    interruptions = _interruptions(series.mono_ns[rows], good, valid.limit_ns)
    troubles = (*interruptions, *found.troubles, *(stuck or _disagreement(valid)))
    return PartEnergy(
        source=found.source,
        mono_ns=found.mono_ns,
        joules=found.joules,
        counted=found.counted,
        weaker=found.weaker,
        covered=found.covered,
        troubles=troubles,
    )


def _stuck(valid: _Valid) -> tuple[Trouble, ...]:
    """Return the stretches in which the counter stood still though power flowed."""
    known = np.isfinite(valid.energy_mj)
    times, power = valid.mono_ns[known], valid.power_w[known]
    still = (np.diff(valid.energy_mj[known]) == 0) & (power[1:] > 0) & (power[:-1] > 0)
    turns = np.diff(np.r_[0, still, 0])
    starts, ends = times[np.flatnonzero(turns > 0)], times[np.flatnonzero(turns < 0)]
    return tuple(
        Trouble(type="energy_disagreement", start_mono_ns=int(start), end_mono_ns=int(end))
        for start, end in zip(starts, ends, strict=True)
        if end - start > FLAT_NS
    )


def _has_counter(valid: _Valid, stuck: tuple[Trouble, ...]) -> bool:
    """Return whether the counter can be believed; one that never moved says nothing."""
    known = np.isfinite(valid.energy_mj)
    if known.sum() <= 1 or stuck:
        return False
    values, times = valid.energy_mj[known], valid.mono_ns[known]
    return bool((values != values[0]).any() or times[-1] - times[0] <= FLAT_NS)


def _by_power(valid: _Valid) -> PartEnergy:
    known = np.isfinite(valid.power_w)
    if known.sum() <= 1:
        return _by_nothing(valid)
    times = valid.mono_ns[known] - valid.shift_ns
    lengths = np.diff(times)
    counted = lengths <= BRIDGED_NS
    joules = np.where(counted, _trapezoid(times, valid.power_w[known]), 0.0)
    return PartEnergy(
        source=valid.power_source,
        mono_ns=times,
        joules=joules,
        counted=counted,
        weaker=np.zeros(len(lengths), np.bool_),
        covered=lengths <= valid.limit_ns,
    )


def _by_nothing(valid: _Valid) -> PartEnergy:
    lengths = np.diff(valid.mono_ns)
    none = np.zeros(len(lengths), np.bool_)
    return PartEnergy(
        source=NONE,
        mono_ns=valid.mono_ns,
        joules=np.zeros(len(lengths)),
        counted=none,
        weaker=none,
        covered=lengths <= valid.limit_ns,
    )


def _by_counter(valid: _Valid) -> PartEnergy:
    """Return the differences of the counter; power stands in before it starts and after it ends."""
    has_counter, has_power = np.isfinite(valid.energy_mj), np.isfinite(valid.power_w)
    at = np.flatnonzero(has_counter)
    outside = has_power.copy()
    outside[at[0] : at[-1] + 1] = False
    knots = has_counter | outside
    times, power = valid.mono_ns[knots], valid.power_w[knots]
    lengths = np.diff(times)
    joules = np.diff(valid.energy_mj[knots]) / 1000
    by_power = np.where(lengths <= BRIDGED_NS, _trapezoid(times, power), np.nan)
    back = joules < 0
    joules = np.where(back | np.isnan(joules), by_power, joules)
    counted = np.isfinite(joules)
    inner = has_counter[knots]
    return PartEnergy(
        source=COUNTER,
        mono_ns=times,
        joules=np.where(counted, joules, 0.0),
        counted=counted,
        weaker=~(inner[:-1] & inner[1:]),
        covered=lengths <= valid.limit_ns,
        troubles=tuple(
            Trouble(type="reset", start_mono_ns=int(times[k]), end_mono_ns=int(times[k + 1]))
            for k in np.flatnonzero(back)
        ),
    )


def _trapezoid(times: Ints, power: Floats) -> Floats:
    """Return the joules of each segment."""
    return (power[1:] + power[:-1]) / 2 * np.diff(times) / 1e9


def _interruptions(times: Ints, good: Flags, limit_ns: float) -> tuple[Trouble, ...]:
    """Return the gaps between valid samples; lost are those that failed records fill."""
    at = np.flatnonzero(good)
    if not len(at):
        return (_lost(int(times[0]), int(times[-1])),) if len(times) else ()
    wide = np.flatnonzero(np.diff(times[at]) > limit_ns)
    inner = [
        Trouble(
            type="lost" if at[k + 1] - at[k] > 1 else "gap",
            start_mono_ns=int(times[at[k]]),
            end_mono_ns=int(times[at[k + 1]]),
        )
        for k in wide
    ]
    before = [_lost(int(times[0]), int(times[at[0]]))] if at[0] else []
    after = [_lost(int(times[at[-1]]), int(times[-1]))] if at[-1] < len(times) - 1 else []
    return (*before, *inner, *after)


def _lost(start: int, end: int) -> Trouble:
    return Trouble(type="lost", start_mono_ns=start, end_mono_ns=end)


def _disagreement(valid: _Valid) -> tuple[Trouble, ...]:
    """Return the stretch of a part if counter and integral tell different energies for it."""
    known = np.isfinite(valid.energy_mj) & np.isfinite(valid.power_w)
    times = valid.mono_ns[known]
    if not known.any() or times[-1] - times[0] - valid.shift_ns < _COMPARED_NS:
        return ()
    deltas = np.diff(valid.energy_mj[known]) / 1000
    sound = (np.diff(times) <= valid.limit_ns) & (deltas >= 0)
    integral = np.where(sound, _trapezoid(times, valid.power_w[known]), 0.0)
    ends = times[0], times[-1] - valid.shift_ns
    counter = _between(times, np.where(sound, deltas, 0.0), *ends)
    power = _between(times - valid.shift_ns, integral, *ends)
    if _RATIO[0] * power <= counter <= _RATIO[1] * power:
        return ()
    start, end = int(times[0]), int(times[-1])
    return (Trouble(type="energy_disagreement", start_mono_ns=start, end_mono_ns=end),)


def _between(times: Ints, joules: Floats, start: int, end: int) -> float:
    sums = np.r_[0.0, np.cumsum(joules)]
    at = np.interp(np.array([start, end]) - times[0], times - times[0], sums)
    return float(at[1] - at[0])
