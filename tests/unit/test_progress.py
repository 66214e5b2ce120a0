"""What the progress line says of cases that run and of cases that wait."""

import pytest

from pytest_smoltrace import progress
from pytest_smoltrace.coordination import Wait
from pytest_smoltrace.progress import Progress, progress_lines

NOW = 1_000.0
RATE_LIMIT = Wait(why="rate limit", since_unix_s=NOW - 12, until_unix_s=NOW + 8)


def lines(cases, waits):
    return list(progress_lines(cases, waits, NOW))


def test_a_running_case():
    assert lines([("t.py::a", 45.4)], {}) == ["smoltrace: t.py::a has been running for 45 s"]


def test_a_waiting_case():
    assert lines([("t.py::a", 45.0), ("t.py::b", 30.0)], {"t.py::a": RATE_LIMIT}) == [
        (
            "smoltrace: t.py::a has been waiting for 12 s (rate limit, next request in 8 s), "
            "running for 45 s in all"
        ),
        "smoltrace: t.py::b has been running for 30 s",
    ]


@pytest.mark.parametrize("until", [None, NOW, NOW - 3])
def test_a_wait_whose_end_nobody_knows(until):
    wait = Wait(why="for one of 4 places at http://h/v1", since_unix_s=NOW - 2, until_unix_s=until)
    assert lines([("a", 20.0)], {"a": wait}) == [
        (
            "smoltrace: a has been waiting for 2 s (for one of 4 places at http://h/v1), "
            "running for 20 s in all"
        )
    ]


def test_a_clock_that_was_set_back_gives_no_negative_time():
    (line,) = lines([("a", 20.0)], {"a": Wait(why="rate limit", since_unix_s=NOW + 5)})
    assert "waiting for 0 s (rate limit)" in line


def test_many_cases_are_counted():
    cases = [(f"t.py::{n}", 50.0) for n in range(17)]
    waits = {f"t.py::{n}": RATE_LIMIT for n in range(3, 14)} | {"t.py::gone": RATE_LIMIT}
    said = lines(cases, waits)
    assert [line.split()[1] for line in said[:-1]] == [f"t.py::{n}" for n in range(5)]
    assert said[-1] == "smoltrace: and 12 more, 9 of them waiting"
    assert lines(cases, {})[-1] == "smoltrace: and 12 more, none of them waiting"
    assert len(lines(cases[:5], waits)) == 5


class Config:
    """A pytest configuration without a terminal."""

    class pluginmanager:  # noqa: N801
        get_plugin = staticmethod(lambda name: None)


@pytest.fixture
def clock(monkeypatch):
    now = {"s": 0.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: now["s"])
    return now


def test_a_case_is_named_after_a_while_and_then_now_and_again(clock):
    watch = Progress(Config())
    watch.started("a")
    said = {}
    for second in range(100):
        clock["s"] = float(second)
        if due := watch._due(clock["s"]):
            said[second] = due
    assert list(said) == [15, 45, 75]
    assert said[45] == ["smoltrace: a has been running for 45 s"]
    watch.finished("a")
    assert watch._due(200.0) == []


def test_waits_are_asked_for_only_when_something_is_to_be_said(clock):
    asked = []
    watch = Progress(Config(), lambda: asked.append(1) or {})
    watch.started("a")
    assert (watch._due(14.0), asked) == ([], [])
    assert len(watch._due(15.0)) == len(asked) == 1
