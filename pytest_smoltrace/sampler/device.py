"""What the sampler asks of a vendor's driver; other vendors are built behind the same protocols."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

POWER, ENERGY, UTILIZATION, TEMPERATURE, MEMORY = range(5)
"""Places of the values of a reading, in the order of `record.FIELDS`."""
BLANK = (math.nan,) * 5


class FailedError(Exception):
    """A device could not be read at all."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__(name)
        self.code = code
        """The driver's own code."""


class UnavailableError(Exception):
    """A vendor's library is installed, but its driver cannot be asked; the text says why."""


class Device(Protocol):
    """A GPU, or an instance of one."""

    power: str | None
    """What power readings mean, instant or average; None before it is open, or without any."""

    @property
    def troubles(self) -> dict[str, str]:
        """Return field -> why it has been blank."""
        ...

    def open(self) -> None:
        """Get hold of the device, again after a failure.

        Raises:
            FailedError: The driver does not know it, or cannot reach it.
        """
        ...

    def read(self, values: list[float], *, every: bool) -> int:
        """Set what the device says, NaN what it does not, and return when, in monotonic ns.

        Args:
            values: The five values of a record.
            every: Whether to read also what changes slowly: all but power and energy.

        Raises:
            FailedError: The device cannot be read.
        """
        ...

    def processes(self) -> Sequence[tuple[int, float]]:
        """Return each process that used the device since the last call, and its use in percent.

        Raises:
            FailedError: The device cannot be read.
        """
        ...


class Driver(Protocol):
    """The driver of a vendor's GPUs, open as long as the process lives."""

    vendor: str
    version: str | None

    def listed(self) -> list[dict[str, Any]]:
        """Return the GPUs that answer, each as the fields of `devices.GpuDevice`."""
        ...

    def device(self, uuid: str, *, is_instance: bool) -> Device:
        """Return a GPU or an instance that has not been opened yet."""
        ...

    def close(self) -> None:
        """Let go of the driver."""
        ...
