"""What a kilowatt-hour emits and costs: arithmetic, and the table of countries."""

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pycountry
import pytest

import pytest_smoltrace
from pytest_smoltrace import carbon
from pytest_smoltrace.electricity import Electricity
from pytest_smoltrace.errors import ConfigError

TABLE = Path(pytest_smoltrace.__file__).parent / "carbon_intensity.csv"
TOOL = Path(pytest_smoltrace.__file__).parents[1] / "tools" / "carbon_table.py"
ROWS = sorted(set(carbon.table().values()), key=lambda row: row.iso3)
TWO_GPUS_WH = 2 * 300 * 10 / 3600
"""2 GPUs at 300 W for 10 s."""


def test_the_example_of_the_contract():
    default = Electricity()
    assert round(TWO_GPUS_WH, 4) == 1.6667
    assert default.co2_g(TWO_GPUS_WH) == pytest.approx(0.79167, abs=5e-6)
    assert default.cost_usd(TWO_GPUS_WH) == pytest.approx(0.0002, rel=1e-12)
    assert default.co2_g(TWO_GPUS_WH / 2) == pytest.approx(0.39583, abs=5e-6)
    assert default.cost_usd(TWO_GPUS_WH / 2) == pytest.approx(0.0001, rel=1e-12)
    assert (default.source, default.country) == ("default", None)


@pytest.mark.parametrize(
    ("changed", "co2_g", "cost_usd"),
    [
        ({"carbon_g_per_kwh": 50.0}, 0.05, 0.12),
        ({"carbon_g_per_kwh": 0.0}, 0.0, 0.12),
        ({"price_usd_per_kwh": 0.3}, 0.475, 0.3),
        ({"price_usd_per_kwh": 0.0}, 0.475, 0.0),
        ({"pue": 1.5}, 0.7125, 0.18),
        ({"carbon_g_per_kwh": 50.0, "price_usd_per_kwh": 0.3, "pue": 2.0}, 0.1, 0.6),
    ],
)
def test_each_factor_alone(changed, co2_g, cost_usd):
    electricity = replace(Electricity(), **changed)
    assert electricity.co2_g(1.0) * 1000 == pytest.approx(co2_g * 1000, rel=1e-12)
    assert electricity.cost_usd(1000.0) == pytest.approx(cost_usd, rel=1e-12)


def test_the_table_covers_the_world():
    assert len(ROWS) > 200
    assert len({row.iso2 for row in ROWS}) == len({row.iso3 for row in ROWS}) == len(ROWS)
    assert len(carbon.table()) == 2 * len(ROWS)
    assert TABLE.stat().st_size < 8192


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.iso3)
def test_every_row_is_of_one_country_and_plausible(row):
    country = pycountry.countries.get(alpha_3=row.iso3)
    assert country.alpha_2 == row.iso2
    assert 5 < row.g_per_kwh < 1500
    assert 2022 <= row.year <= 2030
    assert row.name
    assert carbon.of_country(row.iso2) is carbon.of_country(row.iso3.lower()) is row


@pytest.mark.parametrize(
    ("code", "g_per_kwh", "year"),
    [
        ("USA", 383.5492, 2024),
        ("FRA", 44.179085, 2024),
        ("DEU", 344.13992, 2024),
        ("GBR", 210.89114, 2024),
        ("IND", 708.3216, 2024),
        ("CHN", 559.5517, 2024),
        ("SWE", 35.823833, 2024),
        ("NLD", 253.31152, 2024),
        ("NAM", 47.61905, 2023),
        ("TKM", 1306.3036, 2023),
    ],
)
def test_figures_are_those_of_the_source(code, g_per_kwh, year):
    row = carbon.of_country(code)
    assert row.g_per_kwh == pytest.approx(g_per_kwh, abs=0.0501)
    assert (row.year, row.source) == (year, f"{code} {year} Ember")


def test_the_head_of_the_table_names_source_and_licence():
    head = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line[0] == "#"]
    for words in ("Ember (2025)", "Our World in Data", "CC BY 4.0", "tools/carbon_table.py"):
        assert words in "\n".join(head)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("UK", "'GBR' (United Kingdom)"),
        ("EL", "'GRC' (Greece)"),
        ("GER", "'DEU' (Germany)"),
        ("germny", "'DEU' (Germany)"),
        ("DEUU", "'DEU' (Germany)"),
        ("U.S.", "'USA' (United States)"),
    ],
)
def test_an_unknown_code_is_refused_with_the_country_that_was_meant(typed, meant):
    with pytest.raises(ConfigError) as caught:
        carbon.of_country(typed)
    message = str(caught.value)
    assert message.startswith(repr(typed))
    assert f"did you mean {meant}?" in message
    assert "--smoltrace-carbon-intensity" in message
    assert "\n" not in message


@pytest.mark.parametrize("typed", ["XX", "ZZZ", "XKX", "475", "ß"])
def test_without_a_likely_country_nothing_is_suggested(typed):
    with pytest.raises(ConfigError) as caught:
        carbon.of_country(typed)
    assert "did you mean" not in str(caught.value)
    assert "; give --smoltrace-carbon-intensity" in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        "Entity,Code,Year,Lifecycle carbon intensity of electricity",
        "country,iso_code,year,carbon_intensity_elec",
    ],
)
def test_the_table_can_be_made_again_from_the_source(header, tmp_path):
    package = tmp_path / "pytest_smoltrace"
    (tmp_path / "tools").mkdir()
    package.mkdir()
    (tmp_path / "tools" / TOOL.name).write_bytes(TOOL.read_bytes())
    (package / TABLE.name).write_bytes(TABLE.read_bytes())
    source = tmp_path / "source.csv"
    source.write_text(
        f"{header}\nWorld,,2025,460\nGermany,DEU,2025,333.33\nGermany,DEU,2024,344.1\n"
        "France,FRA,2021,60\nLesotho,LSO,2025,0\nNamibia,NAM,2025,\nNamibia,NAM,2024,47.66\n"
    )
    tool = [sys.executable, tmp_path / "tools" / TOOL.name, "Ember (2026)", source]
    made = subprocess.run(tool, check=True, capture_output=True, text=True)
    lines = (package / TABLE.name).read_text(encoding="utf-8").splitlines()
    assert "# Source: Ember (2026)," in "\n".join(lines)
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [(row["iso2"], row["g_per_kwh"], row["year"]) for row in rows] == [
        ("DE", "333.3", "2025"),
        ("NA", "47.7", "2024"),
    ]
    assert made.stderr.count("left out") == 2


def test_the_table_is_read_only_when_a_country_is_asked_for():
    program = (
        "import sys, pytest_smoltrace.options;sys.exit('pytest_smoltrace.carbon' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
