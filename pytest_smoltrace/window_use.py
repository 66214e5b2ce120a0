"""What each window got of the devices that it could use."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_smoltrace.combined import Figures, Ticks, known, scheduled
from pytest_smoltrace.encoding import dumps
from pytest_smoltrace.energy_part import NONE, SOURCES
from pytest_smoltrace.gpu_use import GpuUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_smoltrace.board import Board
    from pytest_smoltrace.electricity import Electricity
    from pytest_smoltrace.energy import GpuEvent
    from pytest_smoltrace.series import Flags, Floats, Ints
    from pytest_smoltrace.window_table import DeviceSet, WindowTable

    Key = tuple[str, str]

_FIGURES = tuple(one.name for one in fields(Figures))


@dataclass(frozen=True, slots=True, eq=False)
class _Totals:
    """Sums over the devices of each window."""

    wh: Floats
    told: Flags
    """Windows of which at least one device tells energy."""
    above_idle_wh: Floats
    """NaN where the idle power of a device is not known."""
    variance: Floats
    """Square of the uncertainty in Wh."""
    source: Ints
    covered_s: Floats
    silent_s: Floats
    """Covered s of devices that have samples but do not tell energy."""
    shared_ns: Ints
    by_process_ns: Ints

    @classmethod
    def zero(cls, size: int) -> _Totals:
        """Return the totals of windows before any device was added."""
        wh, above, variance, covered, silent = (np.zeros(size) for _ in range(5))
        source, shared, by_process = (np.zeros(size, np.int64) for _ in range(3))
        told = np.zeros(size, np.bool_)
        return cls(wh, told, above, variance, source, covered, silent, shared, by_process)

    def add(self, board: Board, start: Ints, end: Ints) -> None:
        """Add what the windows got of a device."""
        rows, curve, sweep = board.rows, board.curve, board.sweep
        if sweep is None:
            return
        if curve.source == NONE:
            self.silent_s[rows] += curve.covered_s(start, end)
            return
        wh = sweep.shares(curve.energy_wh(sweep.edges))
        self.wh[rows] += wh
        self.told[rows] |= (curve.counted_s(start, end) > 0) | (start == end)
        self.above_idle_wh[rows] += wh - board.idle_wh()
        self.variance[rows] += curve.uncertainty_wh(start, end) ** 2
        self.source[rows] = np.maximum(self.source[rows], curve.source_rank(start, end))
        self.covered_s[rows] += curve.covered_s(start, end)
        shared, by_process = sweep.shared_ns()
        self.shared_ns[rows] += shared
        self.by_process_ns[rows] += by_process


@dataclass(frozen=True, slots=True, eq=False)
class _Readings:
    """What the ticks of each call window say."""

    figures: Mapping[str, Floats]
    samples: Ints
    missed: Ints

    @classmethod
    def of(cls, table: WindowTable, boards: Mapping[Key, Board]) -> _Readings:
        """Read the ticks of all call windows, together for those of the same devices."""
        size = len(table.place)
        figures = {name: np.full(size, np.nan) for name in _FIGURES}
        found = cls(figures, np.zeros(size, np.int64), np.zeros(size, np.int64))
        for number, devices in enumerate(table.sets):
            rows = np.flatnonzero(table.call & (table.device_set == number))
            if devices.series and len(rows):
                found.add(devices, boards, rows, (table.start[rows], table.end[rows]))
        return found

    def add(
        self, devices: DeviceSet, boards: Mapping[Key, Board], rows: Ints, edges: tuple[Ints, Ints]
    ) -> None:
        """Add the windows of the same devices; without samples of one no tick is valid."""
        own = devices.series
        due = [scheduled(own[0], at) for at in edges]
        self.missed[rows] = due[1] - due[0]
        of_boards = [boards[key].series for key in devices.boards if key in boards]
        if len(own) < len(devices.uuids) or not of_boards:
            return
        ticks = Ticks.of(own, of_boards)
        for name, column in ticks.figures(*edges).items():
            self.figures[name][rows] = column
        read = [np.searchsorted(ticks.mono_ns, at) for at in edges]
        valid = [np.searchsorted(ticks.due_ns, at) for at in edges]
        self.samples[rows] = read[1] - read[0]
        self.missed[rows] -= valid[1] - valid[0]


@dataclass(frozen=True, slots=True, eq=False)
class WindowUses:
    """The uses of all windows, told attempt by attempt."""

    _table: WindowTable
    _boards: Mapping[Key, Board]
    _totals: _Totals
    _readings: _Readings

    @classmethod
    def of(cls, table: WindowTable, boards: Mapping[Key, Board]) -> WindowUses:
        """Tell what each window got."""
        totals = _Totals.zero(len(table.place))
        for board in boards.values():
            totals.add(board, table.start[board.rows], table.end[board.rows])
        return cls(table, boards, totals, _Readings.of(table, boards))

    def use_of(self, place: int, electricity: Electricity) -> GpuUse:
        """Return the use of an attempt, the default without a device that has samples."""
        rows = self._table.rows(place)
        if not rows or not self._devices(rows[0]).series:
            return GpuUse()
        calls = [row for row in rows if self._table.call[row]]
        others = [row for row in rows if not self._table.call[row]]
        energy, setup = self._wh(calls, others), self._wh(others, calls)
        parts = [part for part in (energy, setup) if part is not None]
        whole = sum(parts) if parts else None
        asked = calls or list(rows)
        return GpuUse(
            energy_wh=energy,
            energy_setup_wh=setup,
            energy_active_wh=None if energy is None else self._active(calls),
            energy_uncertainty_wh=None if energy is None else self._uncertainty(calls),
            energy_source=NONE if whole is None else self._source(asked),
            attribution=NONE if whole is None else self._attribution(asked),
            coverage=self._coverage(calls),
            sample_count=sum(int(self._readings.samples[row]) for row in calls),
            missed_ticks=sum(int(self._readings.missed[row]) for row in calls),
            uuids=sorted(self._devices(rows[0]).uuids),
            **self._figures(calls),
            co2_emissions_g=None if whole is None else electricity.co2_g(whole),
            co2_intensity_g_per_kwh=None if whole is None else electricity.carbon_g_per_kwh,
            co2_source=None if whole is None else electricity.source,
            electricity_cost_usd=None if whole is None else electricity.cost_usd(whole),
            events=self._events(calls),
        )

    def _devices(self, row: int) -> DeviceSet:
        return self._table.sets[int(self._table.device_set[row])]

    def _wh(self, rows: list[int], others: list[int]) -> float | None:
        """Return the energy of some windows, 0 without any; None when it is not known."""
        if not rows:
            return 0.0 if any(self._totals.told[row] for row in others) else None
        told = [float(self._totals.wh[row]) for row in rows if self._totals.told[row]]
        return sum(told) if told else None

    def _active(self, calls: list[int]) -> float | None:
        above = sum(float(self._totals.above_idle_wh[row]) for row in calls)
        return None if math.isnan(above) else max(0.0, above)

    def _uncertainty(self, calls: list[int]) -> float | None:
        variance = sum(float(self._totals.variance[row]) for row in calls)
        return None if math.isnan(variance) else math.sqrt(variance)

    def _source(self, rows: list[int]) -> str:
        return SOURCES[max(int(self._totals.source[row]) for row in rows)]

    def _attribution(self, rows: list[int]) -> str:
        if self._devices(rows[0]).partitioned:
            return "mig_parent"
        shared = sum(int(self._totals.shared_ns[row]) for row in rows)
        if not shared:
            return "exclusive"
        by_process = sum(int(self._totals.by_process_ns[row]) for row in rows)
        return "process" if shared == by_process else "time_share"

    def _coverage(self, calls: list[int]) -> float | None:
        """Return the covered part of the GPU-seconds.

        A device without samples has none, nor one without energy next to others with it.
        """
        lengths = (int(self._table.end[row] - self._table.start[row]) for row in calls)
        whole_s = sum(lengths) / 1e9 * (self._devices(calls[0]).gpus if calls else 0)
        if whole_s <= 0:
            return None
        totals = self._totals
        told = any(totals.told[row] for row in calls)
        columns = (totals.covered_s,) if told else (totals.covered_s, totals.silent_s)
        covered_s = sum(float(column[row]) for column in columns for row in calls)
        return min(1.0, covered_s / whole_s)

    def _figures(self, calls: list[int]) -> dict[str, float | None]:
        if not calls:
            return {}
        return {name: known(column[calls[0]]) for name, column in self._readings.figures.items()}

    def _events(self, calls: list[int]) -> str | None:
        found: list[GpuEvent] = []
        for row in calls:
            edges = int(self._table.start[row]), int(self._table.end[row])
            for key in self._devices(row).boards:
                if key in self._boards:
                    found += self._boards[key].curve.events_within(*edges)
        return dumps([_event(one) for one in found]).decode() if found else None


def _event(event: GpuEvent) -> dict[str, Any]:
    return {
        "type": event.type,
        "gpu_uuid": event.gpu_uuid,
        "start_unix_nano": event.start_unix_ns,
        "end_unix_nano": event.end_unix_ns,
    }
