"""What a kilowatt-hour emits and costs: precedence, refusals and what the journal keeps of it."""

import json

import pytest

SOURCE = """
def test_one(ask):
    print("MODEL CALLED")
    ask("answer 4")
"""


@pytest.fixture
def kept(suite):
    """Return a function that runs a session and returns the journal's electricity."""

    def kept(*args):
        run = suite(*args, source=SOURCE)
        assert run.ret == 0, run.out
        (folder,) = run.runs
        journal = (folder / "journal.jsonl").read_text(encoding="utf-8")
        return json.loads(journal.splitlines()[0])["electricity"]

    return kept


def test_default(kept):
    assert kept() == {
        "carbon_g_per_kwh": 475.0,
        "source": "default",
        "country": None,
        "price_usd_per_kwh": 0.12,
        "pue": 1.0,
    }


def test_country_price_and_pue(kept, monkeypatch):
    monkeypatch.setenv("SMOLTRACE_COUNTRY", "fr")
    assert kept("--smoltrace-power-price=0.3", "--smoltrace-pue=1.2") == {
        "carbon_g_per_kwh": 44.2,
        "source": "FRA 2024 Ember",
        "country": "FRA",
        "price_usd_per_kwh": 0.3,
        "pue": 1.2,
    }


def test_an_intensity_comes_before_a_country_and_the_default(kept):
    found = kept("--smoltrace-country=USA", "--smoltrace-carbon-intensity=0")
    assert (found["carbon_g_per_kwh"], found["source"]) == (0.0, "option")
    assert found["country"] == "USA"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--smoltrace-country=UK", ["did you mean 'GBR' (United Kingdom)?", "'UK'"]),
        ("--smoltrace-country=XX", ["--smoltrace-country:", "--smoltrace-carbon-intensity"]),
        ("--smoltrace-country=Germany", ["did you mean 'DEU' (Germany)?"]),
        ("--smoltrace-country=", ["--smoltrace-country is empty"]),
        ("--smoltrace-carbon-intensity=-1", ["'-1' is not a number from 0"]),
        ("--smoltrace-carbon-intensity=low", ["'low' is not a number from 0"]),
        ("--smoltrace-carbon-intensity=inf", ["'inf' is not a number from 0"]),
        ("--smoltrace-power-price=-0.1", ["'-0.1' is not a number from 0"]),
        ("--smoltrace-pue=0.9", ["'0.9' is not a number from 1"]),
        ("--smoltrace-pue=nan", ["'nan' is not a number from 1"]),
    ],
)
def test_refused_before_any_model_is_called(suite, option, words):
    run = suite(option, source=SOURCE)
    run.refused(option.partition("=")[0], *words)
    assert run.runs == []


def test_a_country_of_the_ini_file_is_named_as_such(suite, pytester):
    pytester.makeini("[pytest]\nsmoltrace_country = Atlantis")
    suite(source=SOURCE).refused("smoltrace_country (ini)", "'Atlantis'")


def test_a_wrong_country_disturbs_no_session_without_a_model(suite, pytester):
    pytester.makeini("[pytest]\nsmoltrace_country = Atlantis")
    run = suite(source="def test_plain(): pass", model=None)
    run.result.assert_outcomes(passed=1)
