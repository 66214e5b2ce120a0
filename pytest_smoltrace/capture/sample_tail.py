"""The newest values of each GPU, from the end of a file of samples that is being written."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pytest_smoltrace.sample_rules import BRIDGED_NS, FLAT_NS, GAP_PERIODS
from pytest_smoltrace.sampler.record import DEVICE, FAILED, FIELDS, RECORD

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_S: Final = 1_000_000_000
_STALE_S: Final = 2.0
_MJ_PER_J: Final = 1000.0


class Energy:
    """Energy of one GPU since its first sample: its counter's, else the integral of its power.

    A counter that stands still while power is drawn is believed no longer.
    """

    def __init__(self) -> None:
        self._counted_j = self._integral_j = self._told_j = 0.0
        self._power: tuple[int, float] | None = None
        """Time and watts of the last sample that had any."""
        self._counter: tuple[float, float] | None = None
        """Millijoules of the counter, and the integral at that time."""
        self._moved_ns: int | None = None
        self._is_flat = False

    def add(self, mono_ns: int, power_w: float, counter_mj: float) -> None:
        """Take in a sample; NaN is not known."""
        if not math.isnan(power_w):
            self._integrate(mono_ns, power_w)
        if not math.isnan(counter_mj):
            self._count(mono_ns, power_w, counter_mj)

    def _integrate(self, mono_ns: int, power_w: float) -> None:
        before, self._power = self._power, (mono_ns, power_w)
        if before is not None and 0 < mono_ns - before[0] <= BRIDGED_NS:
            self._integral_j += (before[1] + power_w) / 2 * (mono_ns - before[0]) / _S

    def _count(self, mono_ns: int, power_w: float, counter_mj: float) -> None:
        before, self._counter = self._counter, (counter_mj, self._integral_j)
        if before is None:
            self._moved_ns = mono_ns
            return
        went_back = counter_mj < before[0]
        self._counted_j += (
            self._integral_j - before[1] if went_back else (counter_mj - before[0]) / _MJ_PER_J
        )
        if counter_mj != before[0] or not power_w > 0 or self._moved_ns is None:
            self._moved_ns = mono_ns
        self._is_flat = self._is_flat or mono_ns - self._moved_ns > FLAT_NS

    @property
    def joules(self) -> float | None:
        """Energy, which never falls; None without a value to start from."""
        if self._counter is None and self._power is None:
            return None
        counts = self._counter is not None and not self._is_flat
        self._told_j = max(self._told_j, self._counted_j if counts else self._integral_j)
        return self._told_j


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What the head of the file says of one GPU, or of an instance of one."""

    uuid: str
    index: int | None
    name: str
    memory_mib: float | None
    parent: int | None
    """Slot of the partitioned GPU that it is an instance of."""


class GpuTail:
    """What one GPU was last seen to do."""

    def __init__(self, gpu: Gpu, stale_ns: float) -> None:
        self.gpu = gpu
        self._stale_ns = stale_ns
        self._energy = Energy()
        self._newest: dict[str, tuple[int, float]] = {}

    def add(self, mono_ns: int, values: Mapping[str, float], *, failed: bool) -> None:
        """Take in a record; one that failed blanks what was known."""
        if failed:
            self._newest.clear()
            return
        known = {name: value for name, value in values.items() if not math.isnan(value)}
        self._newest.update({name: (mono_ns, value) for name, value in known.items()})
        self._energy.add(mono_ns, values["power_w"], values["energy_mj"])

    def value(self, field: str, now_ns: int) -> float | None:
        """Return the newest value of a field of the record; None when it is old or unknown."""
        mono_ns, value = self._newest.get(field, (0, 0.0))
        return value if field in self._newest and now_ns - mono_ns <= self._stale_ns else None

    @property
    def energy_j(self) -> float | None:
        """Energy since the first sample; None where nothing tells it."""
        return self._energy.joules


class SampleTail:
    """A file of samples, of which each read takes in what is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._head: Mapping[str, Any] | None = None
        self.gpus: tuple[GpuTail, ...] = ()
        """In the order of the slots; none before the head of the file was read."""

    @property
    def vendor(self) -> str | None:
        """The maker of the GPUs: nvidia or amd."""
        return None if self._head is None else self._head["vendor"]

    @property
    def driver(self) -> str | None:
        """Version of the driver."""
        return None if self._head is None else self._head["driver"]

    def read(self) -> None:
        """Take in what was written since the last time; a file that cannot be read has nothing."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                new = file.read()
        except OSError:
            return
        if self._head is None:
            line, newline, new = new.partition(b"\n")
            if not newline:
                return
            self._offset += len(line) + 1
            self._begin(json.loads(line))
        whole = len(new) - len(new) % RECORD.size
        self._offset += whole
        for record in RECORD.iter_unpack(new[:whole]):
            self._take(*record)

    def _begin(self, head: Mapping[str, Any]) -> None:
        self._head = head
        stale_ns = max(_STALE_S * _S, GAP_PERIODS * head["period_ns"])
        fields = Gpu.__slots__
        self.gpus = tuple(
            GpuTail(Gpu(**{name: device[name] for name in fields}), stale_ns)
            for device in head["devices"]
        )

    def _take(self, kind: int, slot: int, flags: int, _tick: int, mono_ns: int, *rest: Any) -> None:
        if kind == DEVICE and slot < len(self.gpus):
            values = dict(zip(FIELDS, rest[1:], strict=True))
            self.gpus[slot].add(mono_ns, values, failed=bool(flags & FAILED))
