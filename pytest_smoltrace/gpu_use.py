"""What the GPUs did during an attempt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """GPU figures of one attempt; the defaults are those of a machine without samples."""

    energy_wh: float | None = None
    energy_setup_wh: float | None = None
    energy_active_wh: float | None = None
    energy_uncertainty_wh: float | None = None
    energy_source: str = "none"
    attribution: str = "none"
    coverage: float | None = None
    sample_count: int | None = None
    missed_ticks: int | None = None
    uuids: list[str] | None = None
    power_avg_w: float | None = None
    power_max_w: float | None = None
    utilization_avg: float | None = None
    utilization_max: float | None = None
    memory_avg_mib: float | None = None
    memory_max_mib: float | None = None
    temperature_avg: float | None = None
    temperature_max: float | None = None
    co2_emissions_g: float | None = None
    co2_intensity_g_per_kwh: float | None = None
    co2_source: str | None = None
    electricity_cost_usd: float | None = None
    events: str | None = None
    """JSON array; None when nothing happened."""
