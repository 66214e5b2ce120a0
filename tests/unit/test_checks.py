"""Checks of answers: what holds, what does not, and what is said."""

import pytest

from pytest_smoltrace import checks


@pytest.mark.parametrize(
    ("answer", "wanted", "passed"),
    [
        ("Paris is the capital", ["paris"], True),
        ("Paris is the capital", ["CAPITAL", "Paris"], True),
        ("Paris is the capital", ["paris", "rome"], False),
        ("Straße", ["STRASSE"], True),
        ("anything", [], True),
        ("", ["a"], False),
    ],
)
def test_keywords(answer, wanted, passed):
    assert checks.keywords(answer, wanted).passed is passed


def test_missing_keywords_are_named():
    check = checks.keywords("Paris", ["Paris", "Rome", "Bern"])
    assert check.reason == "missing 'Rome', 'Bern'"
    assert checks.keywords("Paris", ["paris"]).reason == "all keywords found"


def test_regex():
    assert checks.regex("order 4711 is open", r"\b\d{4}\b").passed
    check = checks.regex("no order", r"\d")
    assert not check.passed
    assert check.reason == r"'\\d' not found"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("42", [42.0]),
        ("It is -3.5 degrees", [-3.5]),
        ("about 1,234,567.25 people", [1234567.25]),
        ("1.5e3 and 2E-2", [1500.0, 0.02]),
        (".5", [0.5]),
        ("$12.50!", [12.5]),
        ("1, 2 and 3", [1.0, 2.0, 3.0]),
        ("1,2,3", [1.0, 2.0, 3.0]),
        ("12,50", [12.0, 50.0]),
        ("2024-05-01", [2024.0, -5.0, -1.0]),
        ("none here", []),
        ("- , . e", []),
        ("7.", [7.0]),
        ("1234", [1234.0]),
        ("version 10,000", [10000.0]),
    ],
)
def test_numbers_in_a_text(text, found):
    assert checks.numbers(text) == found


@pytest.mark.parametrize(
    ("answer", "wanted", "tolerance", "passed"),
    [
        ("The total is 1,050.00 EUR", 1050, 0, True),
        ("42.4", 42, 0.5, True),
        ("42.6", 42, 0.5, False),
        ("42.5", 42, 0.5, True),
        ("0.30000000000000004", 0.3, 0, True),
        ("43", 42, 0, False),
        ("", 42, 0, False),
        ("between 1 and 42", 42, 0, True),
        ("0", 0, 0, True),
        ("-42", 42, 0, False),
    ],
)
def test_number(answer, wanted, tolerance, passed):
    assert checks.number(answer, wanted, tolerance).passed is passed


def test_what_a_number_check_says():
    assert checks.number("5 or 7", 6, 0.5).reason == "wanted 6 ± 0.5, got 5, 7"
    assert checks.number("none", 6).reason == "wanted 6, got no number"


SCHEMA = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}


@pytest.mark.parametrize(
    ("answer", "passed", "word"),
    [
        ('{"city": "Bern"}', True, "accepted"),
        ('{"city": 5}', False, "5 is not of type 'string'"),
        ("{}", False, "'city' is a required property"),
        ("Bern", False, "not JSON"),
    ],
)
def test_json_schema(answer, passed, word):
    check = checks.json_schema(answer, SCHEMA)
    assert check.passed is passed
    assert word in check.reason


def test_custom():
    def is_short(answer):
        return len(answer) < 5

    assert checks.custom("abc", is_short).passed is True
    assert checks.custom("abc", is_short).name == "is_short"
    check = checks.custom("abcdef", is_short)
    assert (check.passed, check.reason) == (False, "is_short does not hold")
    assert checks.custom("abc", lambda answer: []).passed is False
    assert checks.custom("abc", lambda answer: 1).name == "custom"


def test_the_answer_is_shown_on_one_line_and_cut():
    assert checks.shown("a\n b\t c") == "'a b c'"
    shown = checks.shown("x" * 500)
    assert len(shown) == 203
    assert shown.endswith("…'")


@pytest.mark.parametrize("function", [lambda _: "no: wrong", str])
def test_a_text_or_a_class_is_no_verdict(function):
    with pytest.raises(TypeError, match="needs a function that says True or False"):
        checks.custom("answer", function)
