"""What each window got of the devices that it could use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_smoltrace.combined import Figures, Ticks, figures_at, scheduled
from pytest_smoltrace.encoding import dumps
from pytest_smoltrace.energy_part import NONE, SOURCES
from pytest_smoltrace.gpu_use import GpuUse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_smoltrace.attribution import Board, Window
    from pytest_smoltrace.electricity import Electricity
    from pytest_smoltrace.energy import GpuEvent
    from pytest_smoltrace.series import Flags, Floats, Ints, Series

    Key = tuple[str, str]

_CALL = "call"


@dataclass(slots=True, eq=False)
class _Totals:
    """Sums over the devices of each window."""

    wh: Floats
    known: Flags
    """Windows of which at least one device tells energy."""
    above_idle_wh: Floats
    """NaN where the idle power of a device is not known."""
    variance: Floats
    """Square of the uncertainty in Wh."""
    source: Ints
    covered_s: Floats
    shared_ns: Ints
    by_process_ns: Ints
    instance: Flags

    @classmethod
    def zero(cls, size: int) -> _Totals:
        """Return the totals of windows before any device was added."""
        return cls(
            wh=np.zeros(size),
            known=np.zeros(size, np.bool_),
            above_idle_wh=np.zeros(size),
            variance=np.zeros(size),
            source=np.zeros(size, np.int64),
            covered_s=np.zeros(size),
            shared_ns=np.zeros(size, np.int64),
            by_process_ns=np.zeros(size, np.int64),
            instance=np.zeros(size, np.bool_),
        )

    def add(self, board: Board, rows: Ints, start: Ints, end: Ints) -> None:
        """Add what the windows in some rows got of a device."""
        curve, sweep = board.curve, board.sweep
        if sweep is None or curve.source == NONE:
            return
        counted = curve.counted_s(start, end)
        told = (counted > 0) | (start == end)
        wh = sweep.shares(curve.energy_wh(sweep.edges))
        self.wh[rows] += wh
        self.known[rows] |= told
        self.source[rows] = np.maximum(self.source[rows], curve.source_rank(start, end))
        self.variance[rows] += curve.uncertainty_wh(start, end) ** 2
        self.covered_s[rows] += curve.covered_s(start, end)
        shared, by_process = sweep.shared_ns()
        self.shared_ns[rows] += shared
        self.by_process_ns[rows] += by_process
        self.above_idle_wh[rows] += wh - _idle_wh(board, sweep.edges)


def _idle_wh(board: Board, edges: Ints) -> Any:
    """Return the idle energy of each window's share of the counted time."""
    sweep, curve = board.sweep, board.curve
    if sweep is None or not len(curve.mono_ns):
        return np.nan
    idle_w = curve.idle_w(*sweep.idle(int(curve.mono_ns[0]), int(curve.mono_ns[-1])))
    if idle_w is None:
        return np.nan
    return idle_w * sweep.shares(curve.counted_s(edges[:1], edges)) / 3600


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowUses:
    """The uses of all windows, told attempt by attempt."""

    windows: Sequence[Window]
    series: Mapping[Key, Series]
    boards: Mapping[Key, Board]
    rows: Mapping[int, list[int]]
    """Place of an attempt -> its windows."""
    totals: _Totals
    ticks: Mapping[int, tuple[Figures, int, int]]
    """Row of a call window -> its figures, its valid ticks and its missed ticks."""

    @classmethod
    def of(
        cls,
        windows: Sequence[Window],
        series: Mapping[Key, Series],
        boards: Mapping[Key, Board],
        members: Mapping[Key, Ints],
    ) -> WindowUses:
        """Tell what each window got."""
        totals = _Totals.zero(len(windows))
        for key, rows in members.items():
            if (board := boards.get(key)) and board.sweep:
                totals.add(board, rows, board.sweep.windows.start, board.sweep.windows.end)
        found: dict[int, list[int]] = {}
        for row, one in enumerate(windows):
            found.setdefault(one.place, []).append(row)
        return cls(
            windows=windows,
            series=series,
            boards=boards,
            rows=found,
            totals=totals,
            ticks=_ticks(windows, series),
        )

    def use_of(self, place: int, electricity: Electricity) -> GpuUse:
        """Return the use of an attempt."""
        rows = self.rows.get(place, [])
        if not any(self._devices(self.windows[row]) for row in rows):
            return GpuUse()
        calls = [row for row in rows if self.windows[row].phase == _CALL]
        others = [row for row in rows if self.windows[row].phase != _CALL]
        energy, setup = self._wh(calls, others), self._wh(others, calls)
        figures, samples, missed = self.ticks[calls[0]] if calls else (Figures(), 0, 0)
        parts = [part for part in (energy, setup) if part is not None]
        whole = sum(parts) if parts else None
        return GpuUse(
            energy_wh=energy,
            energy_setup_wh=setup,
            energy_active_wh=self._active(calls, energy),
            energy_uncertainty_wh=self._uncertainty(calls, energy),
            energy_source=self._source(calls or rows, whole),
            attribution=self._attribution(calls or rows, whole),
            coverage=self._coverage(calls),
            sample_count=samples,
            missed_ticks=missed,
            uuids=sorted({uuid for row in rows for uuid in self.windows[row].devices}),
            **{name: getattr(figures, name) for name in Figures.__slots__},
            co2_emissions_g=None if whole is None else electricity.co2_g(whole),
            co2_intensity_g_per_kwh=None if whole is None else electricity.carbon_g_per_kwh,
            co2_source=None if whole is None else electricity.source,
            electricity_cost_usd=None if whole is None else electricity.cost_usd(whole),
            events=self._events(calls),
        )

    def _devices(self, window: Window) -> list[Series]:
        keys = ((window.clock, uuid) for uuid in window.devices)
        return [self.series[key] for key in keys if key in self.series]

    def _wh(self, rows: list[int], others: list[int]) -> float | None:
        """Return the energy of some windows, none without windows; None when none is told."""
        if not rows:
            return 0.0 if self.totals.known[others].any() else None
        told = self.totals.known[rows]
        return float(self.totals.wh[rows][told].sum()) if told.any() else None

    def _active(self, calls: list[int], energy: float | None) -> float | None:
        above = self.totals.above_idle_wh[calls].sum()
        return None if energy is None or np.isnan(above) else max(0.0, float(above))

    def _uncertainty(self, calls: list[int], energy: float | None) -> float | None:
        root = np.sqrt(self.totals.variance[calls].sum())
        return None if energy is None or np.isnan(root) else float(root)

    def _source(self, rows: list[int], whole: float | None) -> str:
        return NONE if whole is None else SOURCES[int(self.totals.source[rows].max())]

    def _attribution(self, rows: list[int], whole: float | None) -> str:
        if whole is None:
            return NONE
        if any(one.device.parent for row in rows for one in self._devices(self.windows[row])):
            return "mig_parent"
        shared, by_process = (
            self.totals.shared_ns[rows].sum(),
            self.totals.by_process_ns[rows].sum(),
        )
        if not shared:
            return "exclusive"
        return "process" if shared == by_process else "time_share"

    def _coverage(self, calls: list[int]) -> float | None:
        """Return the covered part of the GPU-seconds; a device without samples has none."""
        if not calls:
            return None
        window = self.windows[calls[0]]
        whole_s = (window.end_mono_ns - window.start_mono_ns) / 1e9 * self.gpus(window)
        if whole_s <= 0:
            return None
        return min(1.0, float(self.totals.covered_s[calls[0]]) / whole_s)

    def gpus(self, window: Window) -> int:
        """Return of how many GPUs a window could use at least an instance."""
        sampled = self._devices(window)
        unknown = len(window.devices) - len(sampled)
        return len({one.device.board for one in sampled}) + unknown

    def _events(self, calls: list[int]) -> str | None:
        found: list[GpuEvent] = []
        for row in calls:
            window = self.windows[row]
            for key in dict.fromkeys(one.device.board for one in self._devices(window)):
                if board := self.boards.get(key):
                    found += [one for one in board.curve.events if _overlap(one, window)]
        return dumps([_event(one) for one in found]).decode() if found else None


def _overlap(event: GpuEvent, window: Window) -> bool:
    return event.start_mono_ns < window.end_mono_ns and event.end_mono_ns > window.start_mono_ns


def _event(event: GpuEvent) -> dict[str, Any]:
    return {
        "type": event.type,
        "gpu_uuid": event.gpu_uuid,
        "start_unix_nano": event.start_unix_ns,
        "end_unix_nano": event.end_unix_ns,
    }


def _ticks(
    windows: Sequence[Window], series: Mapping[Key, Series]
) -> dict[int, tuple[Figures, int, int]]:
    """Return the figures of all call windows, told together for those of the same devices."""
    sets: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for row, one in enumerate(windows):
        if one.phase == _CALL:
            sets.setdefault((one.clock, one.devices), []).append(row)
    found: dict[int, tuple[Figures, int, int]] = {}
    for (clock, uuids), rows in sets.items():
        own = [series[clock, uuid] for uuid in uuids if (clock, uuid) in series]
        if own:
            start = np.array([windows[row].start_mono_ns for row in rows], np.int64)
            end = np.array([windows[row].end_mono_ns for row in rows], np.int64)
            whole = len(own) == len(uuids)
            found.update(zip(rows, _of_devices(own, series, start, end, whole=whole), strict=True))
    return found


def _of_devices(
    own: Sequence[Series], series: Mapping[Key, Series], start: Ints, end: Ints, *, whole: bool
) -> Iterator[tuple[Figures, int, int]]:
    """Yield the figures of windows of the same devices, of which all or some have samples."""
    boards = [
        series[key] for key in dict.fromkeys(one.device.board for one in own) if key in series
    ]
    due = scheduled(own[0], end) - scheduled(own[0], start)
    if not whole or not boards:
        yield from ((Figures(), 0, int(missed)) for missed in due)
        return
    ticks = Ticks.of(own, boards)
    columns = ticks.figures(start, end)
    first, last = np.searchsorted(ticks.mono_ns, start), np.searchsorted(ticks.mono_ns, end)
    valid = np.searchsorted(ticks.due_ns, end) - np.searchsorted(ticks.due_ns, start)
    for row, (samples, missed) in enumerate(zip(last - first, due - valid, strict=True)):
        yield figures_at(columns, row), int(samples), int(missed)
