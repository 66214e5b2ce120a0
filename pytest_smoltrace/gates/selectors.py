"""Reads the parts of a gate that say which cases it is about and how many they have to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_smoltrace.gates.scanner import cut, plain
from pytest_smoltrace.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_smoltrace.gates.expression import Metric
    from pytest_smoltrace.gates.scanner import Scanner

RUN_KEYS = ("model", "agent_type")
"""Selectors of whole runs."""
KEYS = (*RUN_KEYS, "difficulty", "category", "tag", "suite", "case")
_AGENT_TYPES = ("tool", "code")
_SHOWN = 20
_MOST_CASES = 10**9
_EXAMPLE = "for difficulty=hard"


def selectors(scanner: Scanner, metric: Metric) -> tuple[tuple[str, str], ...]:
    """Return the selectors that follow, none when there is no `for`."""
    if not scanner.accept("for"):
        return ()
    found = [_selector(scanner, metric, ())]
    while scanner.accept(","):
        found.append(_selector(scanner, metric, found))
    return tuple(found)


def _selector(
    scanner: Scanner, metric: Metric, before: Iterable[tuple[str, str]]
) -> tuple[str, str]:
    token = scanner.next()
    key = token.text
    if token.kind != "name":
        raise scanner.error(f"there is no selector; write it as {_EXAMPLE}", token)
    if key not in KEYS:
        what = f"there is no selector {key!r}{did_you_mean(key, KEYS) or ';'}"
        raise scanner.error(f"{what} there is {', '.join(KEYS)}", token)
    if metric.table == "leaderboard" and key not in RUN_KEYS:
        what = f"{metric.shown} is known of whole runs only, not of single cases"
        raise scanner.error(f"{what}; leave {key} out, or select by model or agent_type", token)
    if key != "tag" and any(key == earlier for earlier, _ in before):
        what = f"{key} is selected twice and all selectors have to hold"
        raise scanner.error(f"{what}; write a gate for each {key}", token)
    return key, _value(scanner, key)


def _value(scanner: Scanner, key: str) -> str:
    equal = scanner.next()
    if equal.text != "=":
        problem = f"a selector takes one = and a value; write {key}=VALUE"
        raise scanner.error(problem, equal)
    start, value = scanner.value()
    if not value:
        raise scanner.error(f"{key} has no value; write {key}=VALUE", start)
    if not value.isprintable():
        raise scanner.error(f"the value of {key} cannot be printed; write it as text", start)
    if key == "agent_type" and value not in _AGENT_TYPES:
        hint = did_you_mean(value, _AGENT_TYPES)
        raise scanner.error(
            f"there is no agent type {cut(value, _SHOWN)}{hint or ';'} write tool or code", start
        )
    return value


def selectors_shown(where: Iterable[tuple[str, str]]) -> str:
    """Return selectors as they are typed."""
    return ", ".join(f"{key}={_quoted(value)}" for key, value in where)


def _quoted(value: str) -> str:
    if any(character.isspace() or character in ",'\"" for character in value):
        return "'" + value.replace("'", "''") + "'"
    return value


def cases_needed(scanner: Scanner) -> int:
    """Return the number of cases that an `if n >= 20` asks for, 1 without one."""
    if not scanner.accept("if"):
        return 1
    name, operator, count = scanner.next(), scanner.next(), scanner.next()
    for token, fits in (
        (name, name.text == "n"),
        (operator, operator.text == ">="),
        (count, count.kind == "number"),
    ):
        if not fits:
            what = "a gate depends on its number of cases alone; write if n >= 20"
            raise scanner.error(what, token)
    number = plain(scanner, count)
    if number != int(number) or not 1 <= number <= _MOST_CASES:
        what = f"{count.text} is no number of cases; write a whole number from 1"
        raise scanner.error(what, count)
    return int(number)
