"""A GPU of AMD.

The two dies of an MI250 or MI250X are two GPUs, and the first reports the power and the energy of
both. The second reports 0 of either, which is left unknown. So is what the partitions of an MI300
say that they do not know, all but the first.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from .device import BLANK, ENERGY, MEMORY, POWER, TEMPERATURE, UTILIZATION, FailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_NEVER = frozenset({2, 3, 5, 10})
"""Not supported, not yet implemented, no such function, no permission."""
_UNKNOWN_FOR_EVER = _NEVER | {0, 40, 52}
"""Also no data and no such file, and a mark of what is not known, of a GPU that answers at all."""
_UNKNOWN = "N/A"
_UNKNOWN_W = 0xFFFF
"""Least of the marks of what is not known: the client passes the longer ones on as numbers."""
_UNKNOWN_COUNT = 2**64 - 1
_MIB = 2**20
_FAST = (POWER, ENERGY)
_SLOW = (UTILIZATION, TEMPERATURE, MEMORY)
_NAMES = ("power", "energy", "utilization", "temperature", "memory")
_POWER_KEYS = {"instant": "current_socket_power", "average": "average_socket_power"}


def code_of(error: Exception) -> int:
    """Return the code of an error of the client."""
    return int(getattr(error, "err_code", None) or 0)


def name_of(error: Exception) -> str:
    """Return the name of its code as AMD's documents have it."""
    said = str(getattr(error, "err_info", None) or error).split(" - ", maxsplit=1)[0]
    return said.removeprefix("AMDSMI_STATUS_")


def known(text: str | None) -> str | None:
    """Return what the client says, unless that is that it does not know."""
    return None if text == _UNKNOWN else text


class AmdDevice:
    """Reads one GPU; what it does not know, or does not tell us, is not asked again."""

    def __init__(self, client: Any, handle: Any, *, has_two_dies: bool) -> None:
        self.power: str | None = None
        self.troubles: dict[str, str] = {}
        self._client = client
        self._handle = handle
        self._has_two_dies = has_two_dies
        self._is_planned = False
        kinds = client.AmdSmiTemperatureType
        self._sensors = [kinds.EDGE, kinds.HOTSPOT]  # accelerators have no sensor at the edge
        self._readers: dict[int, Callable[[], float]] = {
            POWER: self._power,
            ENERGY: self._energy,
            UTILIZATION: self._activity,
            TEMPERATURE: self._temperature,
            MEMORY: self._memory,
        }

    def open(self) -> None:
        """Find out whether the GPU answers, and the first time what it knows.

        Raises:
            FailedError: It does not answer.
        """
        if self._handle is None:
            raise FailedError(0, "not listed")
        values = [*BLANK]
        codes = self._ask((*_FAST, *_SLOW), values)
        self._check(codes)
        if not self._is_planned:
            self._plan(values, codes)
            self._is_planned = True

    def _plan(self, values: Sequence[float], codes: Mapping[int, int]) -> None:
        """Leave out what the GPU does not know."""
        for place, code in codes.items():
            if math.isnan(values[place]):
                self.troubles[_NAMES[place]] = self._name(code) if code else _UNKNOWN
                if code in _UNKNOWN_FOR_EVER:
                    self._readers.pop(place, None)
        if self._has_two_dies and values[POWER] == values[ENERGY] == 0:
            for place in _FAST:
                self.troubles[_NAMES[place]] = "the first die of the card has that of both"
                del self._readers[place]
            self.power = None

    def read(self, values: list[float], *, every: bool) -> int:
        """Set what the GPU says, NaN what it does not, and return when, in monotonic ns.

        Raises:
            FailedError: It does not answer.
        """
        values[:] = BLANK
        before = time.monotonic_ns()
        codes = self._ask(_FAST, values)
        middle = (before + time.monotonic_ns()) // 2
        self._check(codes)
        if every:
            slow = self._ask(_SLOW, values)
            if not codes:
                self._check(slow)
        return middle

    def processes(self) -> Sequence[tuple[int, float]]:
        """Return none: what the driver counts for processes leaves out those that compute."""
        return ()

    def _ask(self, places: Sequence[int], values: list[float]) -> dict[int, int]:
        """Set values and return the code of each that was asked for."""
        codes = {}
        for place in filter(self._readers.__contains__, places):
            try:
                values[place] = self._readers[place]()
                codes[place] = 0
            except self._client.AmdSmiException as error:
                codes[place] = code_of(error)
                if codes[place] in _NEVER:
                    self.troubles[_NAMES[place]] = name_of(error)
                    del self._readers[place]
        return codes

    def _name(self, code: int) -> str:
        return name_of(self._client.AmdSmiLibraryException(code))

    def _check(self, codes: Mapping[int, int]) -> None:
        """Raise FailedError where nothing was answered, and not because it is not known."""
        found = [code for code in codes.values() if code not in _NEVER]
        if found and 0 not in found:
            raise FailedError(found[0], self._name(found[0]))

    def _power(self) -> float:
        info = self._client.amdsmi_get_power_info(self._handle)
        for kind, key in _POWER_KEYS.items():
            value = _number(info.get(key), _UNKNOWN_W)
            if self.power in {None, kind} and not math.isnan(value):
                self.power = kind
                return value
        return math.nan

    def _energy(self) -> float:
        """Return the counter in mJ; the client names it power before ROCm 6.4."""
        info = self._client.amdsmi_get_energy_count(self._handle)
        count = _number(info.get("energy_accumulator", info.get("power")), _UNKNOWN_COUNT)
        return count * float(info["counter_resolution"]) / 1e3

    def _activity(self) -> float:
        info = self._client.amdsmi_get_gpu_activity(self._handle)
        return _number(info["gfx_activity"], 101)

    def _temperature(self) -> float:
        ask, metric = self._client.amdsmi_get_temp_metric, self._client.AmdSmiTemperatureMetric
        try:
            return float(ask(self._handle, self._sensors[0], metric.CURRENT))
        except self._client.AmdSmiException as error:
            if len(self._sensors) == 1 or code_of(error) not in _UNKNOWN_FOR_EVER:
                raise
            del self._sensors[0]
            return self._temperature()

    def _memory(self) -> float:
        kind = self._client.AmdSmiMemoryType.VRAM
        return float(self._client.amdsmi_get_gpu_memory_usage(self._handle, kind)) / _MIB


def _number(value: Any, unknown: int) -> float:
    """Return a number; NaN for the mark of what is not known, or more than can be."""
    return float(value) if isinstance(value, int | float) and value < unknown else math.nan
