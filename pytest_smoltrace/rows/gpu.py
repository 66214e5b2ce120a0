"""What the sampled GPUs of a session did: by attempt, by tick and by run."""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.attribution import Account
from pytest_smoltrace.electricity import Electricity
from pytest_smoltrace.rows.device_ticks import DeviceMeans, combined, labels_of
from pytest_smoltrace.rows.leaderboard import GpuFigures
from pytest_smoltrace.rows.ticks import TICK_NS
from pytest_smoltrace.rows.windows import windows
from pytest_smoltrace.samples import load
from pytest_smoltrace.schema.reductions import total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_smoltrace.attempt import GpuUse
    from pytest_smoltrace.facts import CaseRecord
    from pytest_smoltrace.rows.groups import Grouping
    from pytest_smoltrace.rows.points import Labels
    from pytest_smoltrace.rows.processes import Spot
    from pytest_smoltrace.rows.tally import Tally
    from pytest_smoltrace.rows.ticks import Column, GpuTicks
    from pytest_smoltrace.run import Run
    from pytest_smoltrace.series import Floats, Ints, Series

_CREDITS = """## Carbon intensity

The figure of {source} is from Ember (2025), Yearly Electricity Data, with major processing by
[Our World in Data](https://ourworldindata.org/grapher/carbon-intensity-electricity), licence
[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/), rounded to 0.1 g.
"""


@dataclass(slots=True)
class _RunGpus:
    """What is gathered of one run while its attempts are read."""

    energy_wh: array[float]
    """Of each attempt that has any, setup and teardown included."""
    devices: defaultdict[str, set[str]]
    """Clock -> UUIDs that its workers could use."""
    told_wh: dict[str, tuple[Labels, float]]
    """UUID -> the device and its energy in the stretches that are told already."""


class SampledGpus:
    """The GPUs of a session with samples."""

    def __init__(self, run: Run, grouping: Grouping) -> None:
        """Read all samples and which case ran when."""
        loaded = load(run.directory)
        self.warnings = loaded.warnings
        self.electricity = Electricity(**run.header.electricity)
        self._account = Account.of(loaded.series, windows(run, grouping))
        self._clocks: defaultdict[str, list[Series]] = defaultdict(list)
        for series in loaded.series:
            self._clocks[series.device.clock].append(series)
        self._runs: defaultdict[str, _RunGpus] = defaultdict(
            lambda: _RunGpus(array("d"), defaultdict(set), {})
        )

    @property
    def credits(self) -> str:
        """The source of the carbon intensity where it is from the table of countries."""
        source = self.electricity.source
        return "" if source in ("option", "default") else _CREDITS.format(source=source)

    def use_of(self, place: int, run_id: str, record: CaseRecord) -> GpuUse:
        """Return what the GPUs did during an attempt, and count it for its run."""
        use = self._account.use_of(place, self.electricity)
        run = self._runs[run_id]
        parts = [part for part in (use.energy_wh, use.energy_setup_wh) if part is not None]
        if parts:
            run.energy_wh.append(sum(parts))
        if record.gpu_uuids and record.clock is not None:
            run.devices[record.clock].update(record.gpu_uuids)
        if use.uuids or not record.gpu_uuids:
            return use
        return replace(use, uuids=list(record.gpu_uuids))

    def spacing_ns(self, spot: Spot) -> int | None:
        """Return the least distance of ticks with a sample; None for a host without samples."""
        found = self._clocks.get(spot.clock or "")
        if not found:
            return None
        return max(-(-part.period_ns // TICK_NS) for s in found for part in s.pieces) * TICK_NS

    def ticks(
        self, run_id: str, spot: Spot, times: Sequence[int], offset_ns: int, *, last: bool
    ) -> GpuTicks:
        """Return what the GPUs of a host did until each tick since the one before it."""
        unix = np.array(times, np.int64)
        mono = unix - offset_ns
        devices = []
        for series in self._clocks[spot.clock or ""]:
            means = DeviceMeans.of(series, mono, self.spacing_ns(spot) or TICK_NS)
            devices.append((means, self._device_wh(run_id, series, mono)))
        return combined(devices, self._attributed(run_id, spot, unix, offset_ns, last=last))

    def device_energy_wh(self, run_id: str) -> list[tuple[Labels, float]]:
        """Return the energy of the devices in the stretches of a run that were asked for."""
        return [energy for _, energy in sorted(self._runs[run_id].told_wh.items())]

    def _device_wh(self, run_id: str, series: Series, mono: Ints) -> Floats | None:
        curve = self._account.curve(*series.device.key)
        if curve is None or series.device.parent is not None or curve.source == "none":
            return None
        told = self._runs[run_id].told_wh
        labels, before_wh = told.get(series.device.uuid, (labels_of(series.device), 0.0))
        energy = curve.energy_wh(mono)
        found: Floats = np.maximum.accumulate(before_wh + np.maximum(energy - energy[0], 0.0))
        told[series.device.uuid] = labels, float(found[-1])
        return found

    def _attributed(
        self, run_id: str, spot: Spot, unix: Ints, offset_ns: int, *, last: bool
    ) -> Column:
        """Return the energy that the run had got on all hosts; at its end, exactly its total."""
        whole = self._total_wh(run_id)
        if whole is None:
            return [None] * len(unix)
        times = {clock: _mono(found, unix) for clock, found in self._clocks.items()}
        times[spot.clock or ""] = unix - offset_ns
        got = sum(self._account.attributed_wh(run_id, times).values())
        found: list[float | None] = list(
            map(float, np.maximum.accumulate(np.clip(got, 0.0, whole)))
        )
        if last:
            found[-1] = whole
        return found

    def _total_wh(self, run_id: str) -> float | None:
        energy = self._runs[run_id].energy_wh
        return float(total(energy)) if energy else None

    def figures(self, run_id: str, tally: Tally, window_ns: tuple[int, int]) -> GpuFigures:
        """Return the figures of a run for the leaderboard."""
        devices = self._runs[run_id].devices
        found = self._account.figures(devices, *window_ns)
        whole = self._total_wh(run_id)
        made = GpuFigures(
            count=len(tally.gpu_uuids),
            sampled=any(self._clocks.get(clock) for clock in devices),
            energy_unattributed_wh=self._account.unattributed_wh,
            memory_total_mib=self._memory_total_mib(run_id),
            **{name: getattr(found, name) for name in type(found).__slots__},
        )
        if whole is None:
            return made
        electricity = self.electricity
        return replace(
            made,
            total_energy_wh=whole,
            co2_emissions_g=electricity.co2_g(whole),
            co2_method="measured",
            co2_intensity_g_per_kwh=electricity.carbon_g_per_kwh,
            co2_source=electricity.source,
            pue=electricity.pue,
            electricity_price_usd_per_kwh=electricity.price_usd_per_kwh,
            electricity_cost_usd=electricity.cost_usd(whole),
        )

    def _memory_total_mib(self, run_id: str) -> float | None:
        """Return the memory of the visible GPUs, each once; None when one does not tell it."""
        visible = {uuid for uuids in self._runs[run_id].devices.values() for uuid in uuids}
        memory = {
            series.device.uuid: series.device.memory_mib
            for found in self._clocks.values()
            for series in found
            if series.device.uuid in visible
        }
        known = [mib for mib in memory.values() if mib is not None]
        return sum(known) if known and len(known) == len(memory) else None


def _mono(series: Sequence[Series], unix: Ints) -> Ints:
    """Return times of the wall clock as those of a clock, by the files of its samples."""
    parts = sorted(
        {
            (part.started_mono_ns + part.wall_offset_ns, part.wall_offset_ns)
            for one in series
            for part in one.pieces
        }
    )
    begun = np.array([start for start, _ in parts], np.int64)
    offsets = np.array([offset for _, offset in parts], np.int64)
    at = np.maximum(np.searchsorted(begun, unix, side="right") - 1, 0)
    found: Ints = unix - offsets[at]
    return found
