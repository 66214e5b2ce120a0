"""Readings of all GPUs of a run, whichever hosts and sessions they were in."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.combined import Figures, Ticks, Track, known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_smoltrace.series import Flags, Floats, Ints, Part, Series

    Key = tuple[str, str]

_COLUMNS = (
    ("power_w", "power_{}_w"),
    ("utilization", "utilization_{}"),
    ("memory_mib", "memory_{}_mib"),
    ("temperature", "temperature_{}"),
)


def figures_of(
    chosen: Sequence[Series], every: Mapping[Key, Series], window: tuple[int, int]
) -> Figures:
    """Return the figures of devices in a window of the wall clock."""
    tracks = [
        (len(_boards(same, every)), ticks)
        for same in _by_file(chosen).values()
        for ticks in [_ticks(same, every)]
        if ticks is not None and len(ticks.mono_ns)
    ]
    values: dict[str, float | None] = {}
    for name, field in _COLUMNS:
        average, highest = _over([(n, t, getattr(t, name)) for n, t in tracks], name, window)
        values[field.format("avg")], values[field.format("max")] = average, highest
    return Figures(**values)


def _by_file(chosen: Sequence[Series]) -> dict[tuple[str, int], list[Series]]:
    """Return the devices of each file: those that were read together."""
    found: dict[tuple[str, int], list[Series]] = {}
    for one in chosen:
        for file in dict.fromkeys(part.file for part in one.pieces):
            found.setdefault((one.device.clock, file), []).append(_only(one, file))
    return found


def _only(series: Series, file: int) -> Series:
    """Return the samples of one file with the wall clock as time."""
    parts = [part for part in series.pieces if part.file == file]
    rows = np.concatenate([np.arange(part.start, part.stop) for part in parts])
    return replace(
        series,
        seq=series.seq[rows],
        mono_ns=series.mono_ns[rows] + parts[0].wall_offset_ns,
        failed=series.failed[rows],
        reopened=series.reopened[rows],
        power_w=series.power_w[rows],
        energy_mj=series.energy_mj[rows],
        utilization=series.utilization[rows],
        temperature=series.temperature[rows],
        memory_mib=series.memory_mib[rows],
        parts=(_whole(parts[0], len(rows)),),
    )


def _whole(part: Part, size: int) -> Part:
    return replace(part, start=0, stop=size)


def _boards(same: Sequence[Series], every: Mapping[Key, Series]) -> list[Key]:
    return [key for key in dict.fromkeys(one.device.board for one in same) if key in every]


def _ticks(same: Sequence[Series], every: Mapping[Key, Series]) -> Ticks | None:
    boards = _boards(same, every)
    if not boards:
        return None
    file = same[0].pieces[0].file
    own = {one.device.key: one for one in same}
    return Ticks.of(same, [own.get(key) or _only(every[key], file) for key in boards])


_Track = tuple[int, Ticks, "Floats"]


def _over(
    tracks: Sequence[_Track], name: str, window: tuple[int, int]
) -> tuple[float | None, float | None]:
    """Return average and maximum of a column; hosts that ran side by side are put together."""
    usable = []
    for weight, ticks, values in tracks:
        good = np.isfinite(values)
        if good.any():
            usable.append((weight, ticks.mono_ns[good], values[good], ticks.period_ns))
    if not usable:
        return None, None
    times, values, period_ns = _merged(usable, name)
    start, end = (np.array([at]) for at in window)
    average, highest = Track(times, values, period_ns).over(start, end)
    return known(average[0]), known(highest[0])


def _merged(usable: Sequence[tuple[int, Ints, Floats, int]], name: str) -> tuple[Ints, Floats, int]:
    """Return the values of all GPUs at the ticks of all files."""
    period_ns = max(period for *_, period in usable)
    usable = sorted(usable, key=lambda one: int(one[1][0]))
    apart = all(a[1][-1] < b[1][0] for a, b in pairwise(usable))
    if apart:
        times = np.concatenate([one[1] for one in usable])
        return times, np.concatenate([one[2] for one in usable]), period_ns
    grid = np.unique(np.concatenate([one[1] for one in usable]))
    present = [_present(grid, one[1]) for one in usable]
    at = [np.interp(grid - grid[0], times - grid[0], values) for _, times, values, _ in usable]
    rows = [np.where(here, values, np.nan) for here, values in zip(present, at, strict=True)]
    if name == "temperature":
        return grid, np.fmax.reduce(rows), period_ns
    if name == "utilization":
        weights = [here * one[0] for here, one in zip(present, usable, strict=True)]
        total = np.nansum([row * weight for row, weight in zip(rows, weights, strict=True)], axis=0)
        return grid, total / np.sum(weights, axis=0), period_ns
    return grid, np.nansum(rows, axis=0), period_ns


def _present(grid: Ints, times: Ints) -> Flags:
    """Return the times between the first and the last sample of a file."""
    found: Flags = (grid >= times[0]) & (grid <= times[-1])
    return found
