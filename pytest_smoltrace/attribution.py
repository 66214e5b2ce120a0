"""Whose energy it was: the energy of devices, divided among the windows of tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.board import Board
from pytest_smoltrace.energy import EnergyCurve
from pytest_smoltrace.energy_part import NONE
from pytest_smoltrace.run_figures import figures_of
from pytest_smoltrace.sweep import Sweep, Windows
from pytest_smoltrace.window_table import Window, WindowTable
from pytest_smoltrace.window_use import WindowUses

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from pytest_smoltrace.combined import Figures
    from pytest_smoltrace.electricity import Electricity
    from pytest_smoltrace.gpu_use import GpuUse
    from pytest_smoltrace.series import Floats, Ints, Series
    from pytest_smoltrace.sweep import Part

    Key = tuple[str, str]

__all__ = ["Account", "Window"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Account:
    """The energy of all devices of a run and its division among the windows."""

    series: Mapping[Key, Series]
    boards: Mapping[Key, Board]
    """One for each device that has energy of its own, whether a window could use it or not."""
    table: WindowTable
    uses: WindowUses
    _parts: dict[str, dict[Key, Part]] = field(default_factory=dict)
    """What the run that was last asked for gets of each device."""

    @classmethod
    def of(cls, series: Iterable[Series], windows: Iterable[Window]) -> Account:
        """Divide the energy of devices among windows."""
        by_key = {one.device.key: one for one in series}
        table = WindowTable.of(windows, by_key)
        sweeps: dict[bytes, Sweep] = {}
        boards = {
            key: _board(by_key[key], table, sweeps)
            for key in dict.fromkeys(one.device.board for one in by_key.values())
            if key in by_key
        }
        return cls(series=by_key, boards=boards, table=table, uses=WindowUses.of(table, boards))

    @property
    def unattributed_wh(self) -> float | None:
        """Energy of all devices that no window gets; None when no device tells its energy."""
        told = [one for one in self.boards.values() if one.curve.source != NONE]
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
        parts = self._of_run(run_id)
        got = {}
        for clock, at in mono_ns.items():
            times = np.asarray(at, np.int64)
            got[clock] = np.zeros(len(times))
            for key, part in parts.items():
                if key[0] == clock:
                    got[clock] += part.up_to(times, self.boards[key].curve.energy_wh)
        return got

    def _of_run(self, run_id: str) -> dict[Key, Part]:
        number = self.table.runs.get(run_id)
        if number is None:
            return {}
        if run_id not in self._parts:
            self._parts.clear()
            self._parts[run_id] = {
                key: board.sweep.part(number, board.curve.energy_wh(board.sweep.edges))
                for key, board in self.boards.items()
                if board.sweep is not None
            }
        return self._parts[run_id]

    def figures(
        self, devices: Mapping[str, Collection[str]], start_unix_ns: int, end_unix_ns: int
    ) -> Figures:
        """Return the figures of the GPUs of some clocks between two times of the wall clock."""
        chosen = [
            self.series[clock, uuid]
            for clock, uuids in sorted(devices.items())
            for uuid in sorted(set(uuids))
            if (clock, uuid) in self.series
        ]
        return figures_of(chosen, self.series, (start_unix_ns, end_unix_ns))


def _board(series: Series, table: WindowTable, sweeps: dict[bytes, Sweep]) -> Board:
    """Return a device with its windows; devices with the same ones have one sweep."""
    curve, rows = EnergyCurve.of(series), table.rows_of(series.device.key)
    if not len(rows):
        return Board(series=series, curve=curve, rows=rows, sweep=None)
    name = rows.tobytes() if not len(series.processes.pid) else repr(series.device.key).encode()
    if name not in sweeps:
        windows = Windows(
            start=table.start[rows], end=table.end[rows], pid=table.pid[rows], run=table.run[rows]
        )
        sweeps[name] = Sweep.of(windows, series.processes)
    return Board(series=series, curve=curve, rows=rows, sweep=sweeps[name])
