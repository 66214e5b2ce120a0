"""Units that limits are typed in, and figures written with their unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_smoltrace.formats import UNKNOWN, amount, duration, usd

if TYPE_CHECKING:
    from collections.abc import Mapping

SHARES: Mapping[str, int] = {"%": 100, "1": 1}
"""Unit of a share -> what all of it is written as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """What units of one kind measure."""

    name: str
    """With its article: a time."""
    units: Mapping[str, Fraction]
    """Unit as it is written -> its size."""
    own: str
    """Unit of the column among them."""
    spellings: Mapping[str, str]
    """Other ways to type a unit -> the way it is written."""
    example: str
    """A limit."""

    def written(self, typed: str) -> str | None:
        """Return the unit as it is written, None for one of another quantity."""
        known = self.spellings.get(typed, typed)
        return known if known in self.units else None

    def converted(self, number: Fraction, unit: str) -> float:
        """Return a number of a unit in the unit of the column, rounded once."""
        return float(number * self.units[unit] / self.units[self.own])


_TIME = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "min": Fraction(60),
    "h": Fraction(3600),
}
_TIME_SPELLINGS = (
    dict.fromkeys(("\u00b5s", "\u03bcs"), "us")
    | dict.fromkeys(("msec", "millis", "milliseconds"), "ms")
    | dict.fromkeys(("sec", "secs", "second", "seconds"), "s")
    | dict.fromkeys(("m", "mins", "minute", "minutes"), "min")
    | dict.fromkeys(("hr", "hour", "hours"), "h")
)
_MONEY = {"usd": Fraction(1)}
_MONEY_SPELLINGS = {"USD": "usd", "$": "usd", "dollars": "usd"}
_ENERGY = {"mWh": Fraction(36, 10), "Wh": Fraction(3600), "kWh": Fraction(3_600_000)} | {
    unit: Fraction(size) for unit, size in (("J", 1), ("kJ", 10**3), ("MJ", 10**6))
}
_POWER = {"mW": Fraction(1, 1000), "W": Fraction(1), "kW": Fraction(1000)}
_MEMORY = {"B": Fraction(1)} | {
    f"{prefix}{kind}": Fraction(size ** (power + 1))
    for kind, size in (("iB", 1024), ("B", 1000))
    for power, prefix in enumerate("KMGT" if kind == "iB" else "kMGT")
}
_MASS = {"mg": Fraction(1, 1000), "g": Fraction(1), "kg": Fraction(1000), "t": Fraction(10**6)}
_MASS_SPELLINGS = {f"{unit}CO2{e}": unit for unit in _MASS for e in ("", "e")}
_CARBON = {"g/kWh": Fraction(1), "kg/kWh": Fraction(1000)}
_CARBON_SPELLINGS = {f"{m}CO2{e}/kWh": f"{m}/kWh" for m in ("g", "kg") for e in ("", "e")}
_TARIFF = {"usd/kWh": Fraction(1)}
_TARIFF_SPELLINGS = {"USD/kWh": "usd/kWh", "$/kWh": "usd/kWh"}
_DEGREES = {"C": Fraction(1)}
_DEGREES_SPELLINGS = {"\u00b0C": "C", "Cel": "C", "degC": "C", "\u00b0": "C"}
_TOKENS = {"tok": Fraction(1), "ktok": Fraction(1000), "Mtok": Fraction(10**6)}
_TOKENS_SPELLINGS = {"token": "tok", "tokens": "tok", "toks": "tok"}
_KNOWN = {
    "ms": ("a time", _TIME, "ms", _TIME_SPELLINGS, "2s"),
    "s": ("a time", _TIME, "s", _TIME_SPELLINGS, "1.5s"),
    "USD": ("an amount of money", _MONEY, "usd", _MONEY_SPELLINGS, "0.02usd"),
    "W.h": ("an energy", _ENERGY, "Wh", {}, "0.5Wh"),
    "W": ("a power", _POWER, "W", {}, "250W"),
    "MiBy": ("a size of memory", _MEMORY, "MiB", {"KB": "kB"}, "16GiB"),
    "g{CO2e}": ("a mass", _MASS, "g", _MASS_SPELLINGS, "5g"),
    "g{CO2e}/kW.h": ("a carbon intensity", _CARBON, "g/kWh", _CARBON_SPELLINGS, "400g/kWh"),
    "USD/kW.h": ("a price of energy", _TARIFF, "usd/kWh", _TARIFF_SPELLINGS, "0.12usd/kWh"),
    "Cel": ("a temperature", _DEGREES, "C", _DEGREES_SPELLINGS, "80C"),
    "{token}": ("a number of tokens", _TOKENS, "tok", _TOKENS_SPELLINGS, "5000tok"),
}
_PLURALS = {"process": "processes"}


def quantity(unit: str) -> Quantity | None:
    """Return the quantity that a column of this unit is of; None for shares and plain numbers."""
    if unit in _KNOWN:
        name, units, own, spellings, example = _KNOWN[unit]
        return Quantity(name=name, units=units, own=own, spellings=spellings, example=example)
    if not unit.startswith("{"):
        return None
    one = unit.strip("{}")
    many = _PLURALS.get(one, f"{one}s")
    return Quantity(
        name=f"a number of {many}",
        units={many: Fraction(1)},
        own=many,
        spellings={one: many},
        example=f"3{many}",
    )


def quantity_of_unit(typed: str) -> str | None:
    """Return what a unit measures, None for one that there is not."""
    if typed in ("%", "pp"):
        return "a share" if typed == "%" else "a difference of shares"
    counts = ("{call}", "{step}", "{test}", "{case}", "{request}", "{sample}", "{gpu}", "{tool}")
    for unit in (*_KNOWN, *counts, "{process}"):
        found = quantity(unit)
        if found is not None and found.written(typed) is not None:
            return found.name
    return None


def unit_shown(unit: str) -> str:
    """Return the unit of a column as a person writes it."""
    if unit in SHARES:
        return "%"
    found = quantity(unit)
    return "" if found is None else found.own


def format_value(value: float | None, unit: str) -> str:
    """Return a figure for a person: 86.7 %, 1.85 s, $0.0123, 1,234 tokens.

    Args:
        value: In the unit of its column; None and NaN are unknown.
        unit: UCUM unit of the column; "1" is a share of 0 to 1, "" a plain number.
    """
    if value is None or math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    if value < 0:
        return f"-{format_value(-value, unit)}"
    if unit in SHARES:
        return f"{100 * value / SHARES[unit]:.1f} %"
    return _of_quantity(value, unit)


def _of_quantity(value: float, unit: str) -> str:
    if unit in ("ms", "s"):
        return duration(value if unit == "ms" else 1000 * value)
    if unit == "USD":
        return usd(value)
    for limit, larger, size in _LARGER.get(unit, ()):
        if value >= limit:
            return amount(value / size, larger)
    return _counted(value, unit)


_LARGER = {
    "W.h": ((1000, "kWh", 1000), (0, "Wh", 1)),
    "W": ((0, "W", 1),),
    "MiBy": ((1024, "GiB", 1024), (0, "MiB", 1)),
    "g{CO2e}": ((1000, "kg CO2e", 1000), (0, "g CO2e", 1)),
    "g{CO2e}/kW.h": ((0, "g CO2e/kWh", 1),),
    "USD/kW.h": ((0, "USD/kWh", 1),),
    "Cel": ((0, "\u00b0C", 1),),
}
"""Unit -> (from this figure on, unit to write, its size), the largest first."""


def _counted(value: float, unit: str) -> str:
    """Return a number of things, or a plain number."""
    one = unit.strip("{}")
    word = "" if not one else one if value == 1 else _PLURALS.get(one, f"{one}s")
    if value == round(value):
        return f"{value:,.0f} {word}".rstrip()
    return amount(value, word).rstrip()
