"""Whether an answer is right: keyword, pattern, number, schema or a function of the user's."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?")
_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The verdict of one check of an answer."""

    name: str
    passed: bool
    reason: str


def keywords(answer: str, wanted: Sequence[str]) -> Check:
    """Hold when every keyword stands in the answer, whatever its case."""
    text = answer.casefold()
    missing = [word for word in wanted if word.casefold() not in text]
    reason = f"missing {', '.join(map(repr, missing))}" if missing else "all keywords found"
    return Check(name="keywords", passed=not missing, reason=reason)


def regex(answer: str, pattern: str) -> Check:
    """Hold when the pattern is found anywhere in the answer."""
    found = re.search(pattern, answer) is not None
    reason = f"{pattern!r} {'found' if found else 'not found'}"
    return Check(name="regex", passed=found, reason=reason)


def number(answer: str, wanted: float, tolerance: float = 0.0) -> Check:
    """Hold when a number in the answer is within an absolute tolerance of the wanted one."""
    found = numbers(answer)
    passed = any(math.isclose(value, wanted, rel_tol=1e-9, abs_tol=tolerance) for value in found)
    within = f" ± {tolerance:g}" if tolerance else ""
    listed = ", ".join(f"{value:g}" for value in found[:5]) or "no number"
    return Check(name="number", passed=passed, reason=f"wanted {wanted:g}{within}, got {listed}")


def numbers(text: str) -> list[float]:
    """Return the numbers that stand in a text, thousands separators understood."""
    return [
        float(match.replace(",", ""))
        for match in _NUMBER.findall(text)
        if any(letter.isdigit() for letter in match)
    ]


def json_schema(answer: str, schema: Mapping[str, Any]) -> Check:
    """Hold when the answer is JSON that the schema accepts."""
    import jsonschema

    try:
        value = json.loads(answer)
    except ValueError as error:
        return Check(name="json_schema", passed=False, reason=f"not JSON: {error}")
    problems = [e.message for e in jsonschema.Draft202012Validator(schema).iter_errors(value)]
    return Check(name="json_schema", passed=not problems, reason="; ".join(problems) or "accepted")


def custom(answer: str, function: Callable[[str], Any]) -> Check:
    """Hold when the function returns a true value for the answer."""
    name = getattr(function, "__name__", type(function).__name__)
    verdict = None if isinstance(function, type) else function(answer)
    if isinstance(function, type) or isinstance(verdict, str):
        what = "a class" if isinstance(function, type) else f"the text {shown(str(verdict))}"
        raise TypeError(f"check() needs a function that says True or False, not {name}: {what}")
    passed = bool(verdict)
    reason = f"{name} {'holds' if passed else 'does not hold'}"
    return Check(name="custom" if name == "<lambda>" else name, passed=passed, reason=reason)


def shown(answer: str) -> str:
    """Return the beginning of an answer, on one line, for a message."""
    text = " ".join(answer.split())
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
