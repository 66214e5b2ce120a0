"""The live metrics of a GPU: what each is called, and where its value comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_smoltrace.capture.sample_tail import GpuTail, SampleTail
    from pytest_smoltrace.electricity import Electricity

    Value = Callable[[GpuTail, int], float | None]
    Attributes = dict[str, str]

_J_PER_WH: Final = 3600.0
_BY_PER_MIBY: Final = 1024.0**2


@dataclass(frozen=True, slots=True)
class LiveInstrument:
    """One metric of every GPU."""

    name: str
    kind: str
    """gauge, counter or up_down_counter."""
    unit: str
    description: str
    value: Value
    """Value at a time of the monotonic clock; None when it is not known."""


def seed_instruments(electricity: Electricity) -> tuple[LiveInstrument, ...]:
    """Return the metrics that the datasets have, under the same names."""
    return (
        LiveInstrument(
            "gen_ai.gpu.utilization", "gauge", "%", "Use of the GPU.", _field("utilization")
        ),
        LiveInstrument(
            "gen_ai.gpu.memory.used", "gauge", "MiBy", "Used memory.", _field("memory_mib")
        ),
        LiveInstrument("gen_ai.gpu.memory.total", "gauge", "MiBy", "Memory.", _total_mib),
        LiveInstrument(
            "gen_ai.gpu.temperature", "gauge", "Cel", "Temperature.", _field("temperature")
        ),
        LiveInstrument("gen_ai.gpu.power", "gauge", "W", "Power.", _field("power_w")),
        LiveInstrument(
            "gen_ai.gpu.energy", "counter", "W.h", "Energy since the first sample.", _energy_wh
        ),
        LiveInstrument(
            "gen_ai.co2.emissions",
            "counter",
            "g{CO2e}",
            "CO2 equivalent of the GPU's energy since the first sample.",
            _derived(electricity.co2_g),
        ),
        LiveInstrument(
            "gen_ai.power.cost",
            "counter",
            "USD",
            "Cost of the GPU's energy since the first sample.",
            _derived(electricity.cost_usd),
        ),
    )


def hw_instruments() -> tuple[LiveInstrument, ...]:
    """Return the metrics of OpenTelemetry's conventions for hardware."""
    return (
        LiveInstrument(
            "hw.gpu.utilization", "gauge", "1", "Use of the GPU.", _field("utilization", 0.01)
        ),
        LiveInstrument(
            "hw.gpu.memory.usage",
            "up_down_counter",
            "By",
            "Used memory.",
            _field("memory_mib", _BY_PER_MIBY),
        ),
        LiveInstrument("hw.gpu.memory.limit", "up_down_counter", "By", "Memory.", _total_by),
        LiveInstrument("hw.temperature", "gauge", "Cel", "Temperature.", _field("temperature")),
        LiveInstrument("hw.power", "gauge", "W", "Power.", _field("power_w")),
        LiveInstrument("hw.energy", "counter", "J", "Energy since the first sample.", _energy_j),
    )


def seed_attributes(tail: GpuTail, _file: SampleTail) -> Attributes:
    """Return what tells the GPU apart in the datasets."""
    index = tail.gpu.index
    named = {"gpu_id": None if index is None else str(index), "gpu_name": tail.gpu.name}
    return _known({**named, "gpu_uuid": tail.gpu.uuid})


def hw_attributes(tail: GpuTail, file: SampleTail) -> Attributes:
    """Return what OpenTelemetry's conventions for hardware ask for."""
    parent = tail.gpu.parent
    return _known(
        {
            "hw.id": tail.gpu.uuid,
            "hw.name": tail.gpu.name,
            "hw.type": "gpu",
            "hw.vendor": file.vendor.upper() if file.vendor else None,
            "hw.driver_version": file.driver,
            "hw.parent": None if parent is None else file.gpus[parent].gpu.uuid,
        }
    )


def _known(values: dict[str, str | None]) -> Attributes:
    return {name: value for name, value in values.items() if value is not None}


def _field(name: str, factor: float = 1.0) -> Value:
    def value(tail: GpuTail, now_ns: int) -> float | None:
        found = tail.value(name, now_ns)
        return None if found is None else found * factor

    return value


def _total_mib(tail: GpuTail, _now_ns: int) -> float | None:
    return tail.gpu.memory_mib


def _total_by(tail: GpuTail, _now_ns: int) -> float | None:
    return None if tail.gpu.memory_mib is None else tail.gpu.memory_mib * _BY_PER_MIBY


def _energy_j(tail: GpuTail, _now_ns: int) -> float | None:
    return tail.energy_j


def _energy_wh(tail: GpuTail, _now_ns: int) -> float | None:
    return None if tail.energy_j is None else tail.energy_j / _J_PER_WH


def _derived(of_wh: Callable[[float], float]) -> Value:
    def value(tail: GpuTail, now_ns: int) -> float | None:
        energy_wh = _energy_wh(tail, now_ns)
        return None if energy_wh is None else of_wh(energy_wh)

    return value
