"""What a kilowatt-hour emits and costs, decided once for a session."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_G_PER_KWH = 475.0
"""World average of electricity that the IEA gave for 2018 (Global Energy & CO2 Status Report)."""
DEFAULT_USD_PER_KWH = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Electricity:
    """Carbon intensity, price and overhead of the electricity that GPUs use."""

    carbon_g_per_kwh: float = DEFAULT_G_PER_KWH
    source: str = "default"
    """option, default, or the country with the year and the publisher of its figure."""
    country: str | None = None
    """ISO 3166-1 alpha-3 code."""
    price_usd_per_kwh: float = DEFAULT_USD_PER_KWH
    pue: float = 1.0
    """Power usage effectiveness: energy of the site over energy of its computers."""

    def co2_g(self, energy_wh: float) -> float:
        """Return the grams of CO2 equivalent that an energy stands for."""
        return energy_wh / 1000 * self.carbon_g_per_kwh * self.pue

    def cost_usd(self, energy_wh: float) -> float:
        """Return what an energy costs."""
        return energy_wh / 1000 * self.price_usd_per_kwh * self.pue
