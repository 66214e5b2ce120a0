"""Single questions to the NVIDIA driver, each with its function and its buffers at hand."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .device import ENERGY, MEMORY, POWER, TEMPERATURE, UTILIZATION
from .nvml_codes import DEVICE, FUNCTION_NOT_FOUND, NEVER, OK

if TYPE_CHECKING:
    from collections.abc import Iterable

Read = Callable[[Any, list[float]], int]
"""Asks about a handle, sets values of a reading and returns the code of the driver."""
Maker = Callable[[Any], Read]
"""Makes a read with the client library.

Raises:
    NVMLError: The driver lacks the function.
"""
_MIB = 2**20
POWER_FIELD = 186
ENERGY_FIELD = 83
_FIELDS = {POWER_FIELD: ("power", POWER, 1e3), ENERGY_FIELD: ("energy", ENERGY, 1)}


def power_usage(nvml: Any) -> Read:
    """Return a read of power in W; the architecture says what it means."""
    return _read(nvml, "nvmlDeviceGetPowerUsage", ctypes.c_uint(), place=POWER, unit=1e3)


def total_energy(nvml: Any) -> Read:
    """Return a read of the energy counter in mJ."""
    return _read(nvml, "nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong(), place=ENERGY)


def utilization(nvml: Any) -> Read:
    """Return a read of the share of time with a kernel on the GPU, in percent."""
    cell = nvml.c_nvmlUtilization_t()
    return _read(nvml, "nvmlDeviceGetUtilizationRates", cell, place=UTILIZATION, member="gpu")


def temperature_v(nvml: Any) -> Read:
    """Return a read of the temperature in degrees Celsius."""
    cell = nvml.c_nvmlTemperature_v1_t()
    cell.version = nvml.nvmlTemperature_v1
    cell.sensorType = nvml.NVML_TEMPERATURE_GPU
    name = "nvmlDeviceGetTemperatureV"
    return _read(nvml, name, cell, place=TEMPERATURE, member="temperature")


def temperature(nvml: Any) -> Read:
    """Return the same by the function that older drivers have."""
    sensor = (ctypes.c_uint(nvml.NVML_TEMPERATURE_GPU),)
    cell = ctypes.c_uint()
    return _read(nvml, "nvmlDeviceGetTemperature", cell, place=TEMPERATURE, before=sensor)


def memory_v2(nvml: Any) -> Read:
    """Return a read of the memory in use in MiB, without what the driver reserves."""
    cell = nvml.c_nvmlMemory_v2_t()
    cell.version = nvml.nvmlMemory_v2
    name = "nvmlDeviceGetMemoryInfo_v2"
    return _read(nvml, name, cell, place=MEMORY, member="used", unit=_MIB)


def memory(nvml: Any) -> Read:
    """Return the same by the function that older drivers have."""
    cell = nvml.c_nvmlMemory_t()
    return _read(nvml, "nvmlDeviceGetMemoryInfo", cell, place=MEMORY, member="used", unit=_MIB)


def _read(
    nvml: Any,
    function: str,
    cell: Any,
    *,
    place: int,
    member: str = "value",
    unit: float = 1,
    before: tuple[Any, ...] = (),
) -> Read:
    """Return a read of one function, whose last argument is the cell that it fills."""
    ask = nvml._nvmlGetFunctionPointer(function)  # noqa: SLF001 - no public way without a wrapper
    arguments = (*before, ctypes.byref(cell))

    def read(handle: Any, values: list[float]) -> int:
        code: int = ask(handle, *arguments)
        if code == OK:
            values[place] = getattr(cell, member) / unit
        return code

    return read


class Fields:
    """Power and energy by one call to the driver."""

    def __init__(self, nvml: Any, ids: Iterable[int]) -> None:
        """Prepare the call.

        Raises:
            NVMLError: The driver lacks the function.
        """
        self._ask = nvml._nvmlGetFunctionPointer("nvmlDeviceGetFieldValues")  # noqa: SLF001 - as above
        self.ids = tuple(ids)
        self._cells = (nvml.c_nvmlFieldValue_t * len(self.ids))()
        for cell, number in zip(self._cells, self.ids, strict=True):
            cell.fieldId = number
        self._at = ctypes.byref(self._cells)
        self._count = ctypes.c_int(len(self.ids))
        # The values are views of the buffer that the driver fills.
        self._places = [(cell, cell.value, *_FIELDS[cell.fieldId]) for cell in self._cells]
        self._kinds = {
            nvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
            nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
            nvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
        }

    def read(self, handle: Any, values: list[float]) -> dict[str, int]:
        """Set the values that are known, and return the code of each by its name."""
        code: int = self._ask(handle, self._count, self._at)
        if code != OK:
            return {name: code for _, _, name, _, _ in self._places}
        codes = {}
        for cell, value, name, place, unit in self._places:
            codes[name] = code = cell.nvmlReturn
            kind = self._kinds.get(cell.valueType)
            if code == OK and kind is not None:
                values[place] = getattr(value, kind) / unit
        return codes


class Quantity:
    """A value that the driver may give by several functions, the best first."""

    def __init__(self, name: str, *makers: Maker) -> None:
        self.name = name
        self._makers = list(makers)
        self._read: Read | None = None

    @property
    def is_off(self) -> bool:
        """Return whether this device does not give it."""
        return self._read is None and not self._makers

    def read(self, nvml: Any, handle: Any, values: list[float]) -> int | None:
        """Set the value, or leave it; return the driver's code, None when it was not asked."""
        code = None
        while self._read is not None or self._makers:
            code = self._attempt(nvml, handle, values)
            if code not in NEVER:
                break
            self._read = None
        return code

    def _attempt(self, nvml: Any, handle: Any, values: list[float]) -> int:
        if self._read is None:
            try:
                self._read = self._makers.pop(0)(nvml)
            except (nvml.NVMLError, AttributeError):  # a driver, or its client, that is too old
                return FUNCTION_NOT_FOUND
        return self._read(handle, values)


def out_of_reach(codes: Iterable[int | None]) -> int:
    """Return the code that says that the device itself cannot be read; 0 when it can."""
    strange = [code for code in codes if code is not None and code not in NEVER]
    for code in strange:
        if code in DEVICE:
            return code
    # A card that gives none of the values is not out of reach, one that answers nothing is.
    return 0 if OK in strange or not strange else strange[0]
