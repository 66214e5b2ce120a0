"""What a kilowatt-hour emits in each country, from a table that comes with the package.

The figures are Ember's, by way of Our World in Data (CC BY 4.0); the head of the table says which.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

PUBLISHER = "Ember"
_RESERVED = {"UK": "GB", "EL": "GR"}
"""Codes that many use and ISO 3166 does not assign -> the assigned one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountryIntensity:
    """Carbon intensity of the electricity that a country generates in a year."""

    iso2: str
    iso3: str
    name: str
    g_per_kwh: float
    year: int

    @property
    def source(self) -> str:
        """Country, year and publisher of the figure."""
        return f"{self.iso3} {self.year} {PUBLISHER}"


@cache
def table() -> Mapping[str, CountryIntensity]:
    """Return ISO 3166-1 alpha-2 and alpha-3 code -> figure, read when first asked for."""
    text = (files(__package__) / "carbon_intensity.csv").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    rows = [_row(**line) for line in csv.DictReader(lines)]
    return {code: row for row in rows for code in (row.iso2, row.iso3)}


def _row(*, g_per_kwh: str, year: str, **texts: str) -> CountryIntensity:
    return CountryIntensity(g_per_kwh=float(g_per_kwh), year=int(year), **texts)


def of_country(code: str) -> CountryIntensity:
    """Return the figure of a country by its ISO 3166-1 code, in any case.

    Raises:
        ConfigError: The table has no such country.
    """
    found = table().get(code.upper()) if code.isascii() else None
    if found is None:
        meant = _meant(code)
        raise ConfigError(
            f"{code!r} is no ISO 3166 code of the {len(set(table().values()))} countries whose"
            f" carbon intensity is known{f'{meant} Otherwise' if meant else ';'} give"
            " --smoltrace-carbon-intensity instead"
        )
    return found


def _meant(typed: str) -> str:
    """Return a question after the country that was probably meant, by a code or a name."""
    known = table()
    if typed.upper() in _RESERVED:
        return _question(known[_RESERVED[typed.upper()]])
    by_name = {row.name: row for row in known.values()}
    begun = [row for name, row in by_name.items() if name.lower().startswith(typed.lower())]
    if len(begun) == 1:
        return _question(begun[0])
    nearest = did_you_mean(typed, [*known, *by_name])
    named = {**known, **by_name}
    return next((_question(row) for name, row in named.items() if repr(name) in nearest), "")


def _question(row: CountryIntensity) -> str:
    return f", did you mean {row.iso3!r} ({row.name})?"
