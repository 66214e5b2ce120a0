"""One device of a file of samples: when it cannot be read, it is opened again and again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .device import BLANK, FailedError
from .record import DEVICE, FAILED, PROCESS, RECORD, REOPENED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .device import Device

_SECOND = 10**9
_SOON = _SECOND
_LATER = 10 * _SECOND
_PATIENCE = 30 * _SECOND
"""How long a device that failed is tried soon, before it is tried later."""
_LARGEST_CODE = 255


class Slot:
    """The place of a device in the file."""

    def __init__(self, number: int, label: str, device: Device, whole: Slot | None = None) -> None:
        self.number = number
        self.label = label
        self.device = device
        self._whole = whole
        """The partitioned GPU that it is an instance of."""
        self.is_partitioned = False
        if whole is not None:
            whole.is_partitioned = True
        self._failure: FailedError | None = None
        self._failed_ns = self._retry_ns = 0
        self._flags = 0
        self._values = [*BLANK]
        self.failed_ticks = 0
        self.reason = ""
        """What the driver said when the device failed last."""

    @property
    def has_failed(self) -> bool:
        """Return whether the device was out of reach at the latest attempt."""
        return self._failure is not None

    def open(self) -> None:
        """Open the device, or note that it has failed."""
        try:
            self.device.open()
        except FailedError as error:
            self._fail(error, time.monotonic_ns())
        else:
            if self._failure is not None:
                self._failure = None
                self._flags = REOPENED

    def _fail(self, error: FailedError, now_ns: int) -> None:
        if self._failure is None:
            self._failed_ns = now_ns
        self._failure = error
        self._flags = 0
        self.reason = str(error)
        is_recent = now_ns - self._failed_ns < _PATIENCE
        self._retry_ns = now_ns + (_SOON if is_recent else _LATER)

    def pack(self, buffer: bytearray, offset: int, tick: int, *, every: bool) -> None:
        """Read the device and write its record."""
        if self._failure is not None and time.monotonic_ns() >= self._retry_ns:
            self.open()
        now_ns = self._read(every=every or self._flags == REOPENED)
        failure = self._out_of_reach()
        if failure is not None:
            self.failed_ticks += 1
            self._values[:] = BLANK
            flags = FAILED | min(failure.code, _LARGEST_CODE) << 8
        else:
            flags, self._flags = self._flags, 0
        RECORD.pack_into(buffer, offset, DEVICE, self.number, flags, tick, now_ns, 0, *self._values)

    def _read(self, *, every: bool) -> int:
        if self._out_of_reach() is None:
            try:
                return self.device.read(self._values, every=every)
            except FailedError as error:
                self._fail(error, time.monotonic_ns())
        return time.monotonic_ns()

    def _out_of_reach(self) -> FailedError | None:
        """Return why the device cannot be read: an instance fails with its GPU."""
        if self._failure is None and self._whole is not None:
            return self._whole._failure  # noqa: SLF001 - of the same class
        return self._failure

    def processes(self) -> Iterator[tuple[int, float]]:
        """Yield the pid of each process that used the device, and its use in percent."""
        if self._failure is None:
            try:
                yield from self.device.processes()
            except FailedError as error:
                self._fail(error, time.monotonic_ns())

    def pack_process(self, tick: int, pid: int, owner: int, percent: float) -> bytes:
        """Return the record of a process on the device."""
        nan = BLANK[0]
        values = (nan, float(owner), percent, nan, nan)
        return RECORD.pack(PROCESS, self.number, 0, tick, time.monotonic_ns(), pid, *values)
