"""Reads all devices at each tick and appends what they say."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from .processes import Owners
from .record import RECORD
from .schedule import Every, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .ending import Ending
    from .sample_file import SampleFile
    from .slot import Slot

_SECOND = 10**9
_SLOW = _SECOND // 2
"""How often what changes slowly is read."""
_LAG = 6 * _SECOND // 10
"""An average of the last second is true of half a second ago."""


class Sampling:
    """A file that is being written."""

    def __init__(
        self, slots: Sequence[Slot], file: SampleFile, schedule: Schedule, *, processes: bool
    ) -> None:
        self._slots = slots
        self._file = file
        self._schedule = schedule
        self._buffer = bytearray(RECORD.size * len(slots))
        self._slow = Every(_SLOW, schedule.period_ns)
        self._process_list = Every(_SECOND, schedule.period_ns) if processes else None
        self._owners = Owners(os.getppid())
        self.ticks = 0

    def run(self, ending: Ending) -> None:
        """Sample until the end has come, and once more."""
        left = 1 + self._lag_ticks()
        while left:
            left -= ending.wait(self._schedule.due_ns)
            self.tick(is_last=not left)

    def _lag_ticks(self) -> int:
        """Return how many ticks more tell of the end where an average of power is all there is."""
        devices = [slot.device for slot in self._slots]
        lags = any(one.power == "average" and "energy" in one.troubles for one in devices)
        return -(-_LAG // self._schedule.period_ns) if lags else 0

    def tick(self, *, is_last: bool = False) -> None:
        """Take the sample that is due."""
        tick = self._schedule.take(time.monotonic_ns())
        every = self._slow.is_due(tick) or is_last
        for place, slot in enumerate(self._slots):
            slot.pack(self._buffer, place * RECORD.size, tick, every=every)
        records = self._buffer
        if self._process_list is not None and (self._process_list.is_due(tick) or is_last):
            records = records + b"".join(self._of_processes(tick))
        self._file.append(records)
        self.ticks += 1

    def _of_processes(self, tick: int) -> Iterable[bytes]:
        """Yield a record of each process that used a device since it was last asked."""
        used = [(slot, *one) for slot in self._slots for one in slot.processes()]
        owners = self._owners.of([pid for _, pid, _ in used])
        for (slot, pid, percent), owner in zip(used, owners, strict=True):
            yield slot.pack_process(tick, pid, owner, percent)

    def summary(self) -> dict[str, object]:
        """Return how many ticks are in the file, how many are not, and what went wrong."""
        lost = self._file.unwritten
        return {
            "ticks": self.ticks - lost,
            "missed": self._schedule.missed + lost,
            "problems": [*self._file.problems(), *self._of_devices(), *self._of_fields()],
        }

    def _of_devices(self) -> Iterable[str]:
        """Yield one line for devices that failed alike."""
        labels: dict[tuple[int, str], list[str]] = defaultdict(list)
        for slot in self._slots:
            if slot.failed_ticks:
                labels[slot.failed_ticks, slot.reason].append(slot.label)
        for (number, reason), names in labels.items():
            ticks = f"{number} of {self.ticks} samples"
            yield f"{', '.join(names)} could not be read in {ticks}: {reason}"

    def _of_fields(self) -> Iterable[str]:
        """Yield one line for each value that devices did not give for the same reason."""
        labels: dict[tuple[str, str], list[str]] = defaultdict(list)
        for slot in self._slots:
            for field, reason in slot.device.troubles.items():
                # No partitioned GPU tells its utilization.
                if not (slot.is_partitioned and field == "utilization"):
                    labels[field, reason].append(slot.label)
        for (field, reason), names in labels.items():
            yield f"no {field} of {', '.join(names)}: {reason}"
