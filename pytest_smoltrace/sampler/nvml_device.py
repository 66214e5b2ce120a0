"""A GPU of the NVIDIA driver, or a compute instance of one."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from . import nvml_reads as reads
from .device import BLANK, FailedError
from .nvml_codes import FUNCTION_NOT_FOUND, NEVER, name_of
from .nvml_processes import ProcessUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

INSTANT = "instant"
AVERAGE = "average"
_AMPERE = 7
_GA100 = re.compile(r"\b(A100X?|A30X?|A800|CMP 170HX)\b")
"""What is in the names of the Ampere cards whose power readings are not averages."""


class NvmlDevice:
    """Reads one device with as few calls as the driver lets it."""

    def __init__(self, nvml: Any, uuid: str, *, is_instance: bool) -> None:
        self._nvml = nvml
        self._uuid = uuid.encode()
        self._handle: Any = None
        self.power: str | None = None
        self._troubles: dict[str, int] = {}
        self._fields: reads.Fields | None = None
        self._fast: list[reads.Quantity] = []
        self._is_planned = is_instance
        self._processes = None if is_instance else ProcessUse(nvml)
        self._slow = [reads.Quantity("memory", reads.memory_v2, reads.memory)]
        if not is_instance:
            self._slow += [
                reads.Quantity("utilization", reads.utilization),
                reads.Quantity("temperature", reads.temperature_v, reads.temperature),
            ]

    def open(self) -> None:
        """Get hold of the device by its UUID, since its number may change.

        Raises:
            FailedError: The driver does not know it, or cannot reach it.
        """
        try:
            self._handle = self._nvml.nvmlDeviceGetHandleByUUID(self._uuid)
        except self._nvml.NVMLError as error:
            raise self._failed(error.value) from None
        if not self._is_planned:
            self._plan()
            self._is_planned = True

    def _failed(self, code: int) -> FailedError:
        return FailedError(code, name_of(self._nvml, code))

    def _plan(self) -> None:
        """Find out how power and energy can be asked for with the fewest calls."""
        wanted = {"power": reads.POWER_FIELD, "energy": reads.ENERGY_FIELD}
        try:
            codes = reads.Fields(self._nvml, wanted.values()).read(self._handle, [*BLANK])
        except (self._nvml.NVMLError, AttributeError):
            codes = dict.fromkeys(wanted, FUNCTION_NOT_FOUND)
        self._check(codes.values())
        found = [number for name, number in wanted.items() if codes[name] not in NEVER]
        self._fields = reads.Fields(self._nvml, found) if found else None
        energy = reads.Quantity("energy", reads.total_energy)
        self._fast = [] if reads.ENERGY_FIELD in found else [energy]
        if reads.POWER_FIELD in found:
            self.power = INSTANT
        else:
            self._plan_power_usage()

    def _plan_power_usage(self) -> None:
        usage = reads.Quantity("power", reads.power_usage)
        code = usage.read(self._nvml, self._handle, [*BLANK])
        self._check([code])
        if usage.is_off:
            self._note({usage.name: code})
        else:
            self._fast.append(usage)
            self.power = self._meaning()

    def _check(self, codes: Iterable[int | None]) -> None:
        if code := reads.out_of_reach(codes):
            raise self._failed(code)

    def _meaning(self) -> str:
        """Return whether the driver averages its power readings over a second."""
        try:
            architecture = self._nvml.nvmlDeviceGetArchitecture(self._handle)
            name = self._nvml.nvmlDeviceGetName(self._handle)
        except self._nvml.NVMLError:
            return INSTANT  # a driver that cannot say it is older than the cards that average
        if architecture == _AMPERE and _GA100.search(name):
            return INSTANT
        return AVERAGE if architecture >= _AMPERE else INSTANT

    def read(self, values: list[float], *, every: bool) -> int:
        """Set what the device says, NaN what it does not, and return when, in monotonic ns.

        Raises:
            FailedError: The device cannot be read.
        """
        values[:] = BLANK
        before = time.monotonic_ns()
        codes = self._read_fast(values)
        middle = (before + time.monotonic_ns()) // 2
        if every:
            for one in self._slow:
                codes[one.name] = one.read(self._nvml, self._handle, values)
            self._check(codes.values())
        if any(codes.values()):
            self._note(codes)
        return middle

    def _read_fast(self, values: list[float]) -> dict[str, int | None]:
        codes: dict[str, int | None] = {}
        if self._fields is not None:
            codes.update(self._fields.read(self._handle, values))
            if NEVER.issuperset(codes.values()):
                self._give_up(self._fields)
        for one in self._fast:
            codes[one.name] = one.read(self._nvml, self._handle, values)
        if any(codes.values()):
            self._check(codes.values())
        return codes

    def _give_up(self, fields: reads.Fields) -> None:
        """Ask for energy by its own function; power would mean something else then."""
        self._fields = None
        if reads.ENERGY_FIELD in fields.ids:
            self._fast.append(reads.Quantity("energy", reads.total_energy))

    def _note(self, codes: Mapping[str, int | None]) -> None:
        self._troubles.update({name: code for name, code in codes.items() if code})

    def processes(self) -> Sequence[tuple[int, float]]:
        """Return each process that used the device since the last call, and its use in percent.

        Raises:
            FailedError: The device cannot be read.
        """
        if self._processes is None:
            return ()
        found = self._processes.read(self._handle)
        self._check([self._processes.code])
        return found

    @property
    def troubles(self) -> dict[str, str]:
        """Return field -> why it has been blank."""
        return {name: name_of(self._nvml, code) for name, code in self._troubles.items()}
