"""Whose energy it was: the energy of devices, divided among the windows of tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.energy import EnergyCurve
from pytest_smoltrace.run_figures import figures_of
from pytest_smoltrace.sweep import Sweep, Windows
from pytest_smoltrace.window_use import WindowUses

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from pytest_smoltrace.combined import Figures
    from pytest_smoltrace.electricity import Electricity
    from pytest_smoltrace.gpu_use import GpuUse
    from pytest_smoltrace.series import Floats, Ints, Series

    Key = tuple[str, str]


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Board:
    """One GPU with its energy and the windows that could use it."""

    curve: EnergyCurve
    sweep: Sweep | None
    """None when no window could use it."""

    @property
    def unattributed_wh(self) -> float:
        """Energy that no window gets."""
        whole = float(self.curve.wh[-1]) if len(self.curve.wh) else 0.0
        if self.sweep is None:
            return whole
        return self.sweep.unattributed(self.curve.energy_wh(self.sweep.edges), whole)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Account:
    """The energy of all devices of a run and its division among the windows."""

    series: Mapping[Key, Series]
    boards: Mapping[Key, Board]
    """One for each device that has energy of its own, whether a window could use it or not."""
    uses: WindowUses
    runs: Mapping[str, int]

    @classmethod
    def of(cls, series: Iterable[Series], windows: Iterable[Window]) -> Account:
        """Divide the energy of devices among windows; a window of no length gets none."""
        by_key = {one.device.key: one for one in series}
        table = list(windows)
        runs = {run: at for at, run in enumerate(dict.fromkeys(one.run_id for one in table))}
        columns = _Columns.of(table, runs)
        members = _members(table, by_key)
        sweeps: dict[bytes, Sweep] = {}
        boards = {
            key: _board(by_key[key], columns, members.get(key), sweeps)
            for key in dict.fromkeys(one.device.board for one in by_key.values())
            if key in by_key
        }
        uses = WindowUses.of(table, by_key, boards, members)
        return cls(series=by_key, boards=boards, uses=uses, runs=runs)

    @property
    def unattributed_wh(self) -> float | None:
        """Energy of all devices that no window gets; None when no device tells its energy."""
        told = [one for one in self.boards.values() if one.curve.source != "none"]
        return sum(one.unattributed_wh for one in told) if told else None

    def curve(self, clock: str, uuid: str) -> EnergyCurve | None:
        """Return the energy of a device, of an instance that of the GPU that it is part of."""
        series = self.series.get((clock, uuid))
        board = self.boards.get(series.device.board) if series else None
        return board.curve if board else None

    def use_of(self, place: int, electricity: Electricity) -> GpuUse:
        """Return what the GPUs did during an attempt."""
        return self.uses.use_of(place, electricity)

    def attributed_wh(self, run_id: str, mono_ns: Mapping[str, Ints]) -> dict[str, Floats]:
        """Return for each clock the energy on its devices that a run had got at some times."""
        return {
            clock: self._attributed(run_id, clock, np.asarray(times, np.int64))
            for clock, times in mono_ns.items()
        }

    def _attributed(self, run_id: str, clock: str, times: Ints) -> Floats:
        run = self.runs.get(run_id)
        total = np.zeros(len(times))
        for key, board in self.boards.items():
            if key[0] == clock and board.sweep is not None and run is not None:
                total += board.sweep.up_to(run, times, board.curve.energy_wh)
        return total

    def figures(
        self, devices: Mapping[str, Collection[str]], start_unix_ns: int, end_unix_ns: int
    ) -> Figures:
        """Return the figures of the GPUs of some clocks between two times."""
        chosen = [
            self.series[clock, uuid]
            for clock, uuids in sorted(devices.items())
            for uuid in sorted(set(uuids))
            if (clock, uuid) in self.series
        ]
        return figures_of(chosen, self.series, (start_unix_ns, end_unix_ns))


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """All windows as arrays."""

    start: Ints
    end: Ints
    pid: Ints
    run: Ints

    @classmethod
    def of(cls, windows: Sequence[Window], runs: Mapping[str, int]) -> _Columns:
        size = len(windows)
        start = np.fromiter((one.start_mono_ns for one in windows), np.int64, size)
        end = np.fromiter((one.end_mono_ns for one in windows), np.int64, size)
        return cls(
            start,
            np.maximum(start, end),
            np.fromiter((one.pid for one in windows), np.int64, size),
            np.fromiter((runs[one.run_id] for one in windows), np.int64, size),
        )


def _members(windows: Sequence[Window], series: Mapping[Key, Series]) -> dict[Key, Ints]:
    """Return for each board the windows that could use it, each once."""
    found: dict[Key, list[int]] = {}
    boards: dict[tuple[str, tuple[str, ...]], tuple[Key, ...]] = {}
    for row, one in enumerate(windows):
        devices = (one.clock, one.devices)
        if devices not in boards:
            boards[devices] = tuple(
                dict.fromkeys(
                    series[one.clock, uuid].device.board
                    for uuid in one.devices
                    if (one.clock, uuid) in series
                )
            )
        for key in boards[devices]:
            found.setdefault(key, []).append(row)
    return {key: np.array(rows, np.int64) for key, rows in found.items()}


def _board(
    series: Series, columns: _Columns, rows: Ints | None, sweeps: dict[bytes, Sweep]
) -> Board:
    """Return a device with its windows; devices with the same ones have one sweep."""
    curve = EnergyCurve.of(series)
    if rows is None:
        return Board(curve=curve, sweep=None)
    name = rows.tobytes() if not len(series.processes.pid) else repr(series.device.key).encode()
    if name not in sweeps:
        windows = Windows(
            start=columns.start[rows],
            end=columns.end[rows],
            pid=columns.pid[rows],
            run=columns.run[rows],
        )
        sweeps[name] = Sweep.of(windows, series.processes)
    return Board(curve=curve, sweep=sweeps[name])
