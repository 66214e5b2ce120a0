"""Make pytest_smoltrace/carbon_intensity.csv from a CSV file of Our World in Data.

    python tools/carbon_table.py "Ember (2025)" SOURCE.csv...

Each SOURCE.csv is one of

* the download of https://ourworldindata.org/grapher/carbon-intensity-electricity
  (Entity, Code, Year, then a column whose name begins with "Carbon intensity", or "Lifecycle"),
* https://github.com/owid/energy-data/blob/master/owid-energy-data.csv
  (country, iso_code, year, carbon_intensity_elec),
* an excerpt of the first with a column alpha-2, such as carbontracker/data/carbon-intensities.csv
  of the distribution carbontracker 2.4.7, from which the table was first made; it lacks Namibia,
  whose code its maker took for "not available", so that this row came from the download.

The newest year of each country is taken. Alpha-2 codes that the source lacks are those of the
table as it stands. Left out are regions, years before OLDEST and figures outside PLAUSIBLE: those
of 0 g belong to grids whose generation is rounded to nothing.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = Path(__file__).parents[1] / "pytest_smoltrace" / "carbon_intensity.csv"
OLDEST = 2022
PLAUSIBLE = (5.0, 1500.0)
HEAD = """\
# Carbon intensity of electricity generation over its life cycle, in g CO2e per kWh; one row per
# country, the newest year that is known for it, rounded to 0.1 g.
# Source: {source}, Yearly Electricity Data, with major processing by Our World in Data:
# https://ourworldindata.org/grapher/carbon-intensity-electricity
# Licence: CC BY 4.0, https://creativecommons.org/licenses/by/4.0/
# Made by tools/carbon_table.py.
"""
COLUMNS = ("iso2", "iso3", "g_per_kwh", "year", "name")
NAMES = {
    "iso2": ("alpha-2",),
    "iso3": ("code", "iso_code"),
    "year": ("year",),
    "name": ("entity", "country"),
    "g_per_kwh": ("carbon_intensity_elec", "carbon intensity", "lifecycle carbon intensity"),
}


def columns(header: list[str]) -> dict[str, str]:
    """Return our column -> the source's."""
    found = {
        ours: next(
            (name for name in header if name.lower().startswith(theirs)),
            "",
        )
        for ours, theirs in NAMES.items()
    }
    missing = [ours for ours, theirs in found.items() if not theirs and ours != "iso2"]
    if missing:
        raise SystemExit(f"no column for {', '.join(missing)} among {', '.join(header)}")
    return found


def rows_of(source: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a source by our names of columns."""
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        named = columns(list(reader.fieldnames or ()))
        for line in reader:
            yield {ours: line.get(theirs, "") or "" for ours, theirs in named.items()}


def newest(sources: list[Path]) -> dict[str, dict[str, str]]:
    """Return ISO 3166-1 alpha-3 code -> the row of its newest year."""
    rows: dict[str, dict[str, str]] = {}
    for row in (row for source in sources for row in rows_of(source)):
        older = rows.get(row["iso3"])
        is_newer = older is None or int(row["year"]) > int(older["year"])
        if len(row["iso3"]) == 3 and row["g_per_kwh"] and is_newer:  # noqa: PLR2004
            rows[row["iso3"]] = row
    return rows


def standing() -> dict[str, str]:
    """Return alpha-3 -> alpha-2 of the table as it stands."""
    if not TABLE.exists():
        return {}
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {row["iso3"]: row["iso2"] for row in rows}


def main() -> None:
    """Write the table and say what was left out."""
    attribution, sources = sys.argv[1], [Path(name) for name in sys.argv[2:]]
    alpha2, kept, left_out = standing(), [], []
    for iso3, row in sorted(newest(sources).items()):
        row["iso2"] = row["iso2"] or alpha2.get(iso3, "")
        grams = float(row["g_per_kwh"])
        sound = int(row["year"]) >= OLDEST and PLAUSIBLE[0] < grams < PLAUSIBLE[1] and row["iso2"]
        (kept if sound else left_out).append(row | {"g_per_kwh": f"{grams:.1f}"})
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        file.write(HEAD.format(source=attribution))
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
    for row in left_out:
        sys.stderr.write(f"left out: {row}\n")


if __name__ == "__main__":
    main()
