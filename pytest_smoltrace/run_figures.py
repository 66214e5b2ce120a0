"""Readings of all GPUs of a run, whichever hosts and sessions they were in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.combined import Figures, Ticks, Track, known, longest_ns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_smoltrace.series import Floats, Ints, Part, Series

    Key = tuple[str, str]
    Stretch = tuple[str, int, int, int]
    """Clock, file, first and last tick."""

_BEYOND, _READ, _GAP = range(3)
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
        (len(boards), ticks)
        for stretch, same in _by_stretch(chosen).items()
        for boards in [_boards(same, every, stretch)]
        if boards
        for ticks in [Ticks.of(same, list(boards.values()))]
        if len(ticks.mono_ns)
    ]
    values: dict[str, float | None] = {}
    for name, field in _COLUMNS:
        average, highest = _over([(n, t, getattr(t, name)) for n, t in tracks], name, window)
        values[field.format("avg")], values[field.format("max")] = average, highest
    return Figures(**values)


def _by_stretch(chosen: Sequence[Series]) -> dict[Stretch, list[Series]]:
    """Return the devices that were read together, for each stretch of ticks of a file."""
    found: dict[Stretch, list[Series]] = {}
    for one in chosen:
        for stretch, part in _stretches(one).items():
            found.setdefault(stretch, []).append(_only(one, part))
    return found


def _stretches(series: Series) -> dict[Stretch, Part]:
    """Return the parts of a series: of two files at one time, one has only what is left of it."""
    return {
        (
            series.device.clock,
            part.file,
            int(series.seq[part.start]),
            int(series.seq[part.stop - 1]),
        ): part
        for part in series.pieces
        if part.stop > part.start
    }


def _only(series: Series, part: Part) -> Series:
    """Return the samples of one part with the wall clock as time."""
    rows = slice(part.start, part.stop)
    return replace(
        series,
        seq=series.seq[rows],
        mono_ns=series.mono_ns[rows] + part.wall_offset_ns,
        failed=series.failed[rows],
        reopened=series.reopened[rows],
        power_w=series.power_w[rows],
        energy_mj=series.energy_mj[rows],
        utilization=series.utilization[rows],
        temperature=series.temperature[rows],
        memory_mib=series.memory_mib[rows],
        parts=(replace(part, start=0, stop=part.stop - part.start),),
    )


def _boards(
    same: Sequence[Series], every: Mapping[Key, Series], stretch: Stretch
) -> dict[Key, Series]:
    """Return the whole GPUs of devices in the same stretch, those of instances among them."""
    own = {one.device.key: one for one in same}
    found: dict[Key, Series] = {}
    for key in dict.fromkeys(one.device.board for one in same):
        part = _stretches(every[key]).get(stretch) if key in every else None
        if key in own:
            found[key] = own[key]
        elif part is not None:
            found[key] = _only(every[key], part)
    return found


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
    """Return the values of all GPUs at the ticks of all files, without those in a gap of one."""
    period_ns = max(period for *_, period in usable)
    if len(usable) == 1:
        return usable[0][1], usable[0][2], period_ns
    grid = np.unique(np.concatenate([times for _, times, _, _ in usable]))
    states = [_state(grid, times, period) for _, times, _, period in usable]
    sound = np.all([state != _GAP for state in states], axis=0)
    grid = grid[sound]
    here = np.array([state[sound] == _READ for state in states])
    values = np.array(
        [np.interp(grid - grid[0], times - grid[0], found) for _, times, found, _ in usable]
    )
    if name == "temperature":
        return grid, np.where(here, values, -np.inf).max(axis=0), period_ns
    sums = np.where(here, values, 0.0)
    if name == "utilization":
        weights = np.array([weight for weight, *_ in usable])
        return grid, weights @ sums / (weights @ here), period_ns
    return grid, sums.sum(axis=0), period_ns


def _state(grid: Ints, times: Ints, period_ns: int) -> Ints:
    """Return for each time whether it is beyond a file, within it, or in one of its gaps."""
    after = np.searchsorted(times, grid)
    inner = np.clip(after, 1, max(1, len(times) - 1))
    lengths = np.diff(times) if len(times) > 1 else np.zeros(1, np.int64)
    gap = (lengths > longest_ns(times, period_ns))[inner - 1]
    at_tick = times[np.minimum(after, len(times) - 1)] == grid
    within = (grid >= times[0]) & (grid <= times[-1])
    found: Ints = np.where(within, np.where(gap & ~at_tick, _GAP, _READ), _BEYOND)
    return found
