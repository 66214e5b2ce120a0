"""Two sessions measured the same, or it is said in what they differ."""

from dataclasses import replace

import pytest

from pytest_smoltrace.option_table import OPTIONS
from pytest_smoltrace.sameness import MAY_DIFFER, setting_differences, suite_differences
from tests.unit.run_factory import declared

CONFIG = {option.name: option.default for option in OPTIONS}
SUITE = tuple(declared(f"c{number}") for number in range(6))


def test_equal_settings():
    assert setting_differences(CONFIG, dict(CONFIG)) == []


@pytest.mark.parametrize("name", sorted(MAY_DIFFER))
def test_where_and_how_a_session_ran_may_differ(name):
    assert name in CONFIG
    assert setting_differences(CONFIG, CONFIG | {name: "other"}) == []


@pytest.mark.parametrize("name", sorted(CONFIG.keys() - MAY_DIFFER))
def test_every_other_option_matters(name):
    (found,) = setting_differences(CONFIG | {name: "x"}, CONFIG | {name: "y"})
    assert found == f"--smoltrace-{name.replace('_', '-')} (x and y)"


def test_zero_is_not_unset():
    assert setting_differences({"temperature": 0.0}, {"temperature": None}) == [
        "--smoltrace-temperature (0.0 and unset)"
    ]


def test_an_option_that_an_older_version_did_not_know_has_its_default():
    older = {name: value for name, value in CONFIG.items() if name != "max_retries"}
    assert setting_differences(older, CONFIG) == []
    assert setting_differences(older, CONFIG | {"max_retries": 2}) == [
        "--smoltrace-max-retries (6 and 2)"
    ]


def test_an_option_of_a_later_version():
    assert setting_differences(CONFIG, CONFIG | {"future": [1, 2]}) == ["future (unset and 1, 2)"]


def test_empty_values_are_not_set():
    assert setting_differences({"model_arg": {}}, {"model_arg": ()}) == []
    assert setting_differences({"model": ["a:b"]}, {"model": ("a:b", "a:c")}) == [
        "--smoltrace-model (a:b and a:b, a:c)"
    ]


def test_the_order_of_a_suite_does_not_matter():
    assert suite_differences(SUITE, SUITE[::-1]) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": "other"}, "has another prompt"),
        ({"max_steps": 3, "tags": ("new",)}, "has another tags and max_steps"),
        ({"nodeid": "test_b.py::x"}, "is test_a.py::test[c2] and test_b.py::x"),
    ],
)
def test_a_case_that_changed(change, words):
    other = [replace(case, **change) if case.case_id == "c2" else case for case in SUITE]
    assert suite_differences(SUITE, other) == [f"case 'c2' (m-1, tool) {words}"]


def test_where_a_case_comes_from_may_change():
    other = [replace(case, dataset="b.jsonl", dataset_revision="2") for case in SUITE]
    assert suite_differences(SUITE, other) == []


def test_cases_of_one_suite_alone():
    other = (*SUITE[1:], declared("new"), declared("c1", trial=1))
    assert suite_differences(SUITE, other, ("a", "b")) == [
        "case 'c0' (m-1, tool) is only in a",
        "case 'new' (m-1, tool) is only in b",
        "case 'c1' trial 1 (m-1, tool) is only in b",
    ]


def test_a_case_with_another_model_is_another_one():
    other = (*SUITE[1:], replace(SUITE[0], model="m-2"))
    assert len(suite_differences(SUITE, other)) == 2


def test_many_differences_are_counted():
    found = suite_differences(SUITE, ())
    assert len(found) == 4
    assert found[-1] == "3 more"
