"""Ticks of a run: about one a second for each host that it used, and one at its end."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from pytest_smoltrace.schema.metrics import GpuTickRow, TickRow
from pytest_smoltrace.schema.version import CONTRACT_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_smoltrace.attempt import Session
    from pytest_smoltrace.electricity import Electricity
    from pytest_smoltrace.rows.points import Labels
    from pytest_smoltrace.rows.processes import Processes, Spot

TICK_NS = 10**9
BLOCK = 512
"""Ticks of a host whose rows are made at once."""

Column = list[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTicks:
    """One GPU over the ticks of a stretch; each list has one value a tick."""

    labels: Labels
    utilization: Column
    memory_mib: Column
    memory_total_mib: Column
    temperature: Column
    power_w: Column
    energy_wh: Column
    """Of the device since the run began, attributed or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuTicks:
    """All GPUs of a host over the ticks of a stretch; each list has one value a tick."""

    name: str
    count: list[int]
    utilization: Column
    memory_mib: Column
    memory_total_mib: Column
    temperature: Column
    power_w: Column
    energy_wh: Column
    """Attributed to the tests of the run since it began, on all hosts."""
    devices: tuple[DeviceTicks, ...]


class Gpus(Protocol):
    """What the GPUs of a session did."""

    @property
    def electricity(self) -> Electricity:
        """What their energy emits and costs."""

    def spacing_ns(self, spot: Spot) -> int | None:
        """Return the least distance of ticks with a sample; None for a host without samples."""

    def ticks(
        self, run_id: str, spot: Spot, times: Sequence[int], offset_ns: int, *, last: bool
    ) -> GpuTicks:
        """Return what the GPUs of a host did until each tick since the one before it.

        Args:
            run_id: Run whose energy is counted; its stretches are asked for in their order.
            spot: The host.
            times: Ticks on its wall clock, the first being the start of a stretch.
            offset_ns: Wall clock minus monotonic clock.
            last: Whether the run ends with them.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A time in which a run used a host, and what was going on at each tick of it."""

    run_id: str
    session: Session
    host: str | None
    times: Sequence[int]
    """Wall clock, ns."""
    cpu_percent: Sequence[float | None]
    rss_mib: Sequence[float | None]
    active: Sequence[int]
    gpu: GpuTicks | None = None
    electricity: Electricity | None = None
    """None without GPU."""

    def blocks(self) -> Iterator[tuple[list[TickRow], list[GpuTickRow]]]:
        """Yield the rows of some ticks at once, of the host and of its GPUs."""
        # Without GPU there is nothing to say of the start.
        for start in range(0 if self.gpu else 1, len(self.times), BLOCK):
            places = range(start, min(start + BLOCK, len(self.times)))
            yield list(map(self._row, places)), list(self._of_gpus(places))

    def _row(self, k: int) -> TickRow:
        gpu = self.gpu
        energy_wh = gpu.energy_wh[k] if gpu else None
        known = self.electricity if energy_wh is not None else None
        return TickRow(
            schema_version=CONTRACT_VERSION,
            run_id=self.run_id,
            session_id=self.session.session_id,
            service_name=self.session.service_name,
            timestamp=naive_text(self.times[k] // 1000),
            timestamp_unix_nano=str(self.times[k]),
            gpu_id="all" if gpu else None,
            gpu_name=gpu.name if gpu else None,
            gpu_count=gpu.count[k] if gpu else 0,
            gpu_utilization_percent=gpu.utilization[k] if gpu else None,
            gpu_memory_used_mib=gpu.memory_mib[k] if gpu else None,
            gpu_memory_total_mib=gpu.memory_total_mib[k] if gpu else None,
            gpu_temperature_celsius=gpu.temperature[k] if gpu else None,
            gpu_power_watts=gpu.power_w[k] if gpu else None,
            gpu_energy_wh=energy_wh,
            co2_emissions_gco2e=known.co2_g(energy_wh or 0.0) if known else None,
            power_cost_usd=known.cost_usd(energy_wh or 0.0) if known else None,
            process_cpu_percent=self.cpu_percent[k],
            process_rss_mib=self.rss_mib[k],
            active_tests=self.active[k],
            host=self.host,
        )

    def _of_gpus(self, places: Sequence[int]) -> Iterator[GpuTickRow]:
        for k in places if self.gpu else ():
            time, text = self.times[k], naive_text(self.times[k] // 1000)
            for device in self.gpu.devices if self.gpu else ():
                yield GpuTickRow(
                    schema_version=CONTRACT_VERSION,
                    run_id=self.run_id,
                    session_id=self.session.session_id,
                    timestamp=text,
                    timestamp_unix_nano=str(time),
                    gpu_id=device.labels.gpu_id or "",
                    gpu_uuid=device.labels.gpu_uuid or "",
                    gpu_name=device.labels.gpu_name or "",
                    gpu_utilization_percent=device.utilization[k],
                    gpu_memory_used_mib=device.memory_mib[k],
                    gpu_memory_total_mib=device.memory_total_mib[k],
                    gpu_temperature_celsius=device.temperature[k],
                    gpu_power_watts=device.power_w[k],
                    gpu_energy_wh=device.energy_wh[k],
                    host=self.host,
                )


def stretches(
    run_id: str, session: Session, end_ns: int, processes: Processes, gpus: Gpus | None
) -> Iterator[Stretch]:
    """Yield when a run used each of its hosts; where no case says where it ran, its end."""
    spots = processes.spots(run_id)
    if not spots:
        nothing = [None, None]
        yield Stretch(
            run_id=run_id, session=session, host=None, times=[end_ns, end_ns],
            cpu_percent=nothing, rss_mib=nothing, active=[0, 0],
        )  # fmt: skip
    for spot in spots:
        yield from _of_host(run_id, session, spot, processes, gpus)


def _of_host(
    run_id: str, session: Session, spot: Spot, processes: Processes, gpus: Gpus | None
) -> Iterator[Stretch]:
    use, run = processes.hosts[spot], processes.runs[run_id]
    run_end = max(end for _, end in run.windows.values())
    spacing = gpus.spacing_ns(spot) if gpus else None
    for start, end, part in run.stretches(spot):
        times = tick_times(start, end, spacing or TICK_NS)
        sampled = gpus if spacing else None
        offset, last = use.offsets[part], end == run_end
        yield Stretch(
            run_id=run_id,
            session=session,
            host=spot.host,
            times=times,
            cpu_percent=use.cpu.percent(times),
            rss_mib=processes.resident_mib(spot, times),
            active=run.active(spot, times),
            gpu=sampled.ticks(run_id, spot, times, offset, last=last) if sampled else None,
            electricity=sampled.electricity if sampled else None,
        )


def tick_times(start: int, end: int, spacing: int = TICK_NS) -> array[int]:
    """Return the start, the multiples of the spacing of the wall clock after it, and the end.

    None of them is within half a spacing of the start or the end.
    """
    first = -(-(start + spacing // 2) // spacing) * spacing
    return array("q", [start, *range(first, end - spacing // 2 + 1, spacing), end])


def naive_text(unix_us: int) -> str:
    """Return an instant as UTC text with 6 decimals and no offset."""
    seconds, micros = divmod(unix_us, 1_000_000)
    at = datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=micros, tzinfo=None)
    return at.isoformat(timespec="microseconds")
