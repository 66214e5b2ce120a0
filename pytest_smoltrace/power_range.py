"""How much the power of a device changes about an instant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.energy_part import AVERAGE_SHIFT_NS

if TYPE_CHECKING:
    import numpy.typing as npt

    from pytest_smoltrace.series import Floats, Ints, Series

_NEAR = 3
"""Samples on each side of an instant."""
_SMOOTH_NS = 1_000_000_000
"""Power is told from a counter over no less, as it moves in steps."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PowerRange:
    """Power at the valid samples of a device."""

    mono_ns: Ints
    power_w: Floats
    smooth_w: Floats
    """Power without the steps of the sensor, for the idle power."""
    ranges: Floats
    """Range of the power about the border before each sample, and after the last one."""
    period_s: float
    update_s: float
    """Estimated time between two updates of the sensor."""

    @classmethod
    def of(cls, series: Series, *, by_power: bool) -> PowerRange:
        """Return the power of a device, from its counter where no power was read."""
        period_s = series.period_ns / 1e9
        energy = ~series.failed & np.isfinite(series.energy_mj)
        power = ~series.failed & np.isfinite(series.power_w)
        update_s = period_s
        if by_power or not energy.sum() > 1:
            update_s = _update_s(series.mono_ns[power], series.power_w[power], period_s)
        else:
            update_s = _update_s(series.mono_ns[energy], series.energy_mj[energy], period_s)
        if power.any():
            shift = 0 if series.device.power == "instant" else AVERAGE_SHIFT_NS
            times, watts = series.mono_ns[power] - shift, series.power_w[power]
            smooth = watts
        else:
            times, joules = series.mono_ns[energy], series.energy_mj[energy] / 1000
            watts, smooth = _slopes(times, joules, 1), _slopes(times, joules, _steps(period_s))
        return cls(
            mono_ns=times,
            power_w=watts,
            smooth_w=smooth,
            ranges=_ranges(watts),
            period_s=period_s,
            update_s=update_s,
        )

    def uncertainty_j(self, start: npt.ArrayLike, end: npt.ArrayLike) -> Floats:
        """Return (0.5 h + t_upd) * hypot(ranges at both ends), h the distance of samples there."""
        edges = [np.searchsorted(self.mono_ns, np.asarray(at, np.int64)) for at in (start, end)]
        if len(self.mono_ns) <= 1:
            return np.full(np.shape(start), np.nan)
        spacing = np.maximum(np.r_[0.0, np.diff(self.mono_ns) / 1e9, 0.0], self.period_s)
        h = np.maximum(spacing[edges[0]], spacing[edges[1]])
        both = np.hypot(self.ranges[edges[0]], self.ranges[edges[1]])
        found: Floats = (0.5 * h + self.update_s) * both
        return found

    def within(self, starts: Ints, ends: Ints) -> Floats:
        """Return the power at the samples in intervals that follow one another."""
        begun = np.searchsorted(starts, self.mono_ns, side="right")
        ended = np.searchsorted(ends, self.mono_ns, side="right")
        chosen: Floats = self.smooth_w[(begun > ended) & np.isfinite(self.smooth_w)]
        return chosen


def _steps(period_s: float) -> int:
    return max(1, round(_SMOOTH_NS / 1e9 / period_s))


def _slopes(times: Ints, joules: Floats, steps: int) -> Floats:
    """Return the mean power of so many segments up to each sample; NaN where it went back."""
    watts = np.full(len(times), np.nan)
    if len(times) > steps:
        change = joules[steps:] - joules[:-steps]
        watts[steps:] = change / ((times[steps:] - times[:-steps]) / 1e9)
        watts[watts < 0] = np.nan
    return watts


def _ranges(watts: Floats) -> Floats:
    """Return highest less lowest of the samples on both sides of each border."""
    padded = np.r_[np.full(_NEAR, np.nan), watts, np.full(_NEAR, np.nan)]
    borders = len(watts) + 1
    shifted = [padded[shift : shift + borders] for shift in range(2 * _NEAR)]
    highest, lowest = shifted[0], shifted[0]
    for one in shifted[1:]:
        highest, lowest = np.fmax(highest, one), np.fmin(lowest, one)
    found: Floats = highest - lowest
    return found


def _update_s(times: Ints, values: Floats, period_s: float) -> float:
    """Return the median time between changes of a reading, the period when it hardly changed."""
    changed = times[1:][np.diff(values) != 0]
    return float(np.median(np.diff(changed))) / 1e9 if len(changed) > 1 else period_s
