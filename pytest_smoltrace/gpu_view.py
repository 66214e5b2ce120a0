"""What a test may see of the GPUs: whether they are measured, and what was read last."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.sampler.record import DEVICE, FAILED, RECORD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSample:
    """One reading of one GPU; None is what the card or the driver did not tell."""

    gpu_uuid: str
    gpu_id: int | None
    """Number of the driver, a label only."""
    gpu_name: str
    monotonic_ns: int
    power_w: float | None
    energy_mj: float | None
    """Millijoules since the driver was loaded."""
    utilization_percent: float | None
    temperature_celsius: float | None
    memory_used_mib: float | None


class GpuView:
    """The sampler of this host, read only."""

    def __init__(self, state: str, samples: str | None) -> None:
        self._state = state
        self._file = Path(samples) if samples else None

    @property
    def state(self) -> str:
        """`measuring`, or `off: ` and why."""
        return self._state

    @property
    def is_measuring(self) -> bool:
        """Whether samples are taken."""
        return self._file is not None

    @property
    def gpus(self) -> tuple[str, ...]:
        """UUIDs of the sampled GPUs, MIG instances after their GPU."""
        return tuple(device["uuid"] for device in self._head()[0])

    def samples(self, seconds: float = 10.0) -> tuple[GpuSample, ...]:
        """Return the readings of the last seconds, oldest first; none when nothing is measured."""
        devices, start, period_s = self._head()
        if self._file is None or not devices:
            return ()
        since = time.monotonic_ns() - round(seconds * 1e9)
        return tuple(_samples(self._file, start, devices, since, seconds / period_s))

    def _head(self) -> tuple[Sequence[dict[str, Any]], int, float]:
        """Return the devices, the place of the first record, and the seconds of a period."""
        if self._file is None:
            return (), 0, 1.0
        try:
            with self._file.open("rb") as stream:
                line = stream.readline()
            head = json.loads(line)
        except (OSError, ValueError):
            return (), 0, 1.0
        return head["devices"], len(line), head["period_ns"] / 1e9


def _samples(
    file: Path, start: int, devices: Sequence[dict[str, Any]], since: int, ticks: float
) -> Iterator[GpuSample]:
    """Yield what the end of the file says of the time since then."""
    with file.open("rb") as stream:
        size = stream.seek(0, 2) - start
        # Devices and processes each write at most a few records a tick.
        wanted = RECORD.size * math.ceil(ticks + 2) * (2 * len(devices) + 8)
        whole = size - size % RECORD.size
        stream.seek(start + max(0, whole - wanted // RECORD.size * RECORD.size))
        data = stream.read()
    for kind, slot, flags, _, mono_ns, _, *values in RECORD.iter_unpack(
        data[: len(data) - len(data) % RECORD.size]
    ):
        if kind == DEVICE and not flags & FAILED and mono_ns >= since:
            yield _sample(devices[slot], mono_ns, values)


def _sample(device: dict[str, Any], mono_ns: int, values: Sequence[float]) -> GpuSample:
    power, energy, utilization, temperature, memory = (
        None if math.isnan(value) else value for value in values
    )
    return GpuSample(
        gpu_uuid=device["uuid"],
        gpu_id=device["index"],
        gpu_name=device["name"],
        monotonic_ns=mono_ns,
        power_w=power,
        energy_mj=energy,
        utilization_percent=utilization,
        temperature_celsius=temperature,
        memory_used_mib=memory,
    )
