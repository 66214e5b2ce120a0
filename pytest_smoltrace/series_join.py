"""Series of one device from several files, put one after another."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_smoltrace.series import Part, Processes, Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_smoltrace.series import Flags, Ints

_COLUMNS = (
    "seq",
    "mono_ns",
    "failed",
    "reopened",
    "power_w",
    "energy_mj",
    "utilization",
    "temperature",
    "memory_mib",
)
_ROWS = ("mono_ns", "tick", "pid", "owner", "utilization")


def joined(series: Iterable[Series]) -> tuple[Series, ...]:
    """Return one series for each device, from one for each file and device."""
    found: dict[tuple[str, str], list[Series]] = {}
    for one in series:
        found.setdefault(one.device.key, []).append(one)
    return tuple(_join(same) for _, same in sorted(found.items()))


def _join(series: Sequence[Series]) -> Series:
    if len(series) == 1:
        return series[0]
    keep, kept_rows = _kept(series)
    order = sorted(range(len(series)), key=lambda number: int(series[number].mono_ns[0]))
    times = np.concatenate([series[number].mono_ns[keep[number]] for number in order])
    sort = np.argsort(times, kind="stable")
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(series[number], name)[keep[number]] for number in order])[
            sort
        ]
        for name in _COLUMNS
    }
    files = np.concatenate([np.full(int(keep[number].sum()), number) for number in order])[sort]
    parts = _parts(series, files)
    return replace(
        series[order[-1]],
        period_ns=parts[0].period_ns,
        started_mono_ns=parts[0].started_mono_ns,
        wall_offset_ns=parts[0].wall_offset_ns,
        parts=parts,
        processes=_processes(series, kept_rows),
        **columns,
    )


def _kept(series: Sequence[Series]) -> tuple[list[Flags], list[Flags]]:
    """Return which samples and which rows of processes stay: of two files at one time, one."""
    keep = [np.ones(len(one.seq), np.bool_) for one in series]
    rows = [np.ones(len(one.processes.pid), np.bool_) for one in series]
    for first, second in combinations(range(len(series)), 2):
        pair = (series[first], series[second])
        start = max(int(one.mono_ns[0]) for one in pair)
        end = min(int(one.mono_ns[-1]) for one in pair)
        if start > end:
            continue
        valid = [int((_within(one.mono_ns, start, end) & ~one.failed).sum()) for one in pair]
        loser = first if valid[0] < valid[1] else second
        keep[loser] &= ~_within(series[loser].mono_ns, start, end)
        rows[loser] &= ~_within(series[loser].processes.mono_ns, start, end)
    return keep, rows


def _within(times: Ints, start: int, end: int) -> Flags:
    return (times >= start) & (times <= end)


def _parts(series: Sequence[Series], files: Ints) -> tuple[Part, ...]:
    """Return the stretches of samples of one file."""
    borders = np.flatnonzero(np.diff(files)) + 1
    starts = [0, *borders.tolist()]
    stops = [*borders.tolist(), len(files)]
    return tuple(
        replace(series[int(files[start])].pieces[0], start=start, stop=stop)
        for start, stop in zip(starts, stops, strict=True)
    )


def _processes(series: Sequence[Series], keep: Sequence[Flags]) -> Processes:
    columns = {
        name: np.concatenate(
            [getattr(one.processes, name)[kept] for one, kept in zip(series, keep, strict=True)]
        )
        for name in _ROWS
    }
    order = np.argsort(columns["mono_ns"], kind="stable")
    return Processes(**{name: column[order] for name, column in columns.items()})
