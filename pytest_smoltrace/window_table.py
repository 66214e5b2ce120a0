"""The phases of all attempts that could use a GPU, as arrays."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_smoltrace.series import Flags, Ints, Series

    Key = tuple[str, str]

_CALL = "call"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One phase of an attempt that was not replayed."""

    place: int
    """Number of the attempt in the journal."""
    run_id: str
    phase: str
    """setup, call or teardown."""
    clock: str
    devices: tuple[str, ...]
    """UUIDs that the process could use."""
    pid: int
    start_mono_ns: int
    end_mono_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSet:
    """The devices that a process could use."""

    clock: str
    uuids: tuple[str, ...]
    series: tuple[Series, ...]
    """Of those that have samples."""
    boards: tuple[Key, ...]
    """The GPUs that these are, or are instances of."""

    @property
    def gpus(self) -> int:
        """Number of GPUs; a device without samples is one."""
        return len(self.boards) + len(self.uuids) - len(self.series)

    @property
    def partitioned(self) -> bool:
        """Whether a device is an instance."""
        return any(one.device.parent for one in self.series)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowTable:
    """One row for each window, in the order of their attempts."""

    place: Ints
    run: Ints
    """Number of the run in `runs`."""
    call: Flags
    """Whether it is a call phase."""
    device_set: Ints
    """Number of the devices in `sets`."""
    pid: Ints
    start: Ints
    end: Ints
    runs: Mapping[str, int]
    sets: tuple[DeviceSet, ...]

    @classmethod
    def of(cls, windows: Iterable[Window], series: Mapping[Key, Series]) -> WindowTable:
        """Take up windows one by one; one that ends before it starts has no length."""
        columns = [array("q") for _ in range(7)]
        runs: dict[str, int] = {}
        sets: dict[tuple[str, tuple[str, ...]], int] = {}
        for one in windows:
            values = (
                one.place,
                runs.setdefault(one.run_id, len(runs)),
                one.phase == _CALL,
                sets.setdefault((one.clock, one.devices), len(sets)),
                one.pid,
                one.start_mono_ns,
                max(one.start_mono_ns, one.end_mono_ns),
            )
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        place, run, call, device_set, pid, start, end = _in_order(columns)
        return cls(
            place=place,
            run=run,
            call=call != 0,
            device_set=device_set,
            pid=pid,
            start=start,
            end=end,
            runs=runs,
            sets=tuple(_device_set(clock, uuids, series) for clock, uuids in sets),
        )

    def rows(self, place: int) -> range:
        """Return the windows of an attempt."""
        first, stop = np.searchsorted(self.place, [place, place + 1])
        return range(int(first), int(stop))

    def rows_of(self, board: Key) -> Ints:
        """Return the windows that could use a GPU or an instance of it."""
        chosen = np.array([board in one.boards for one in self.sets], np.bool_)
        if not chosen.any():
            return np.empty(0, np.int64)
        return np.flatnonzero(chosen[self.device_set])


def _in_order(columns: list[array[int]]) -> list[Ints]:
    arrays = [np.frombuffer(column, np.int64) for column in columns]
    place = arrays[0]
    if (place[1:] >= place[:-1]).all():
        return arrays
    order = np.argsort(place, kind="stable")
    return [one[order] for one in arrays]


def _device_set(clock: str, uuids: tuple[str, ...], series: Mapping[Key, Series]) -> DeviceSet:
    found = [series[clock, uuid] for uuid in dict.fromkeys(uuids) if (clock, uuid) in series]
    return DeviceSet(
        clock=clock,
        uuids=tuple(dict.fromkeys(uuids)),
        series=tuple(found),
        boards=tuple(dict.fromkeys(one.device.board for one in found)),
    )
