"""The samples of GPUs, taken together for each tick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.rows.points import Labels
from pytest_smoltrace.rows.ticks import DeviceTicks, GpuTicks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_smoltrace.rows.ticks import Column
    from pytest_smoltrace.series import Device, Floats, Ints, Series


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceMeans:
    """Means over the samples of one device since the tick before, NaN where there is none."""

    device: Device
    count: Ints
    """Valid samples."""
    utilization: Floats
    memory_mib: Floats
    temperature: Floats
    power_w: Floats

    @classmethod
    def of(cls, series: Series, ticks: Ints, spacing_ns: int) -> DeviceMeans:
        """Return the means until each tick; the first one is a spacing long."""
        bounds = np.concatenate([[ticks[0] - spacing_ns], ticks])
        times, good = series.mono_ns, ~series.failed
        count, _ = _means(times[good], np.zeros(int(good.sum())), bounds)
        columns = {
            "utilization": series.utilization,
            "memory_mib": series.memory_mib,
            "temperature": series.temperature,
            "power_w": series.power_w,
        }
        means = {}
        for name, values in columns.items():
            known = good & np.isfinite(values)
            means[name] = _means(times[known], values[known], bounds)[1]
        return cls(device=series.device, count=count, **means)

    @property
    def memory_total_mib(self) -> Floats:
        """Total memory wherever there is a valid sample."""
        mib = self.device.memory_mib
        return np.where(self.count > 0, np.nan if mib is None else mib, np.nan)

    def told(self, energy_wh: Floats | None) -> DeviceTicks:
        """Return the rows of the device."""
        return DeviceTicks(
            labels=labels_of(self.device),
            utilization=_column(self.utilization),
            memory_mib=_column(self.memory_mib),
            memory_total_mib=_column(self.memory_total_mib),
            temperature=_column(self.temperature),
            power_w=_column(self.power_w),
            energy_wh=[None] * len(self.count) if energy_wh is None else _column(energy_wh),
        )


def labels_of(device: Device) -> Labels:
    """Return the attributes of the points of a device."""
    uuid, index = device.uuid, device.index
    return Labels(
        gpu_id=uuid if index is None else str(index), gpu_uuid=uuid, gpu_name=device.name or uuid
    )


def _means(times: Ints, values: Floats, bounds: Ints) -> tuple[Ints, Floats]:
    """Return number and mean of the values between two bounds each, the later one included.

    Sums of a few values each: differences of running sums could leave 0 to 100 percent.
    """
    at = np.searchsorted(times, bounds, side="right")
    count = np.diff(at)
    sums = np.add.reduceat(np.append(values, 0.0), at)[:-1]
    mean = np.divide(sums, count, out=np.full(len(count), np.nan), where=count > 0)
    return count, mean


def combined(
    devices: Sequence[tuple[DeviceMeans, Floats | None]], attributed_wh: Column
) -> GpuTicks:
    """Return the ticks of all GPUs of a host.

    Instances of partitioned GPUs have rows of their own, but what their GPU tells includes them.
    """
    boards = [means for means, _ in devices if means.device.parent is None]
    boards = boards or [means for means, _ in devices]
    names = {means.device.name or means.device.uuid for means in boards}
    return GpuTicks(
        name=" + ".join(sorted(names)),
        count=[int(n) for n in np.sum([means.count > 0 for means in boards], axis=0)],
        utilization=_column(_mean([means.utilization for means in boards])),
        memory_mib=_column(np.sum([means.memory_mib for means in boards], axis=0)),
        memory_total_mib=_column(np.sum([means.memory_total_mib for means in boards], axis=0)),
        temperature=_column(np.fmax.reduce([means.temperature for means in boards])),
        power_w=_column(np.sum([means.power_w for means in boards], axis=0)),
        energy_wh=attributed_wh,
        devices=tuple(means.told(energy) for means, energy in devices),
    )


def _mean(columns: Sequence[Floats]) -> Floats:
    """Return the mean of the known values of each tick."""
    known = np.isfinite(columns)
    count, sums = known.sum(axis=0), np.where(known, columns, 0.0).sum(axis=0)
    found: Floats = np.divide(sums, count, out=np.full(len(count), np.nan), where=count > 0)
    return found


def _column(values: Floats) -> Column:
    """Return the values as a column, NaN as None."""
    return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124
