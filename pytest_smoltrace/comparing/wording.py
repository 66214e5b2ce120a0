"""How steps, and what differs between them, are told in one line."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.comparing.steps import STEP_LIMIT, Step
from pytest_smoltrace.encoding import dumps

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST = 80
"""Characters of a value; what is longer is cut."""
_BEFORE = 20
"""Characters that are shown before the first difference of long values."""
_CUT = "…"


def where(number: int, agent: str | None) -> str:
    """Return the place of a step as the start of a line."""
    return f"step {number} of {agent}: " if agent else f"step {number}: "


def parting(what: str, one: Step | None, other: Step | None, keys: Sequence[str]) -> str:
    """Return how a candidate's step differs from that of the baseline at the same place."""
    if one is None or other is None:
        return _stopped(one, other)
    if (one.kind, one.name, one.agent) != (other.kind, other.name, other.agent):
        return f"{_did(other)} instead of {_doing(one)}"
    if what == "arguments":
        return _arguments(one, other, keys)
    return _error(one, other) if what == "error" else _outcome(what, one, other)


def _outcome(what: str, one: Step, other: Step) -> str:
    """Return how the results of the same act differ."""
    subject = {"answer": "answered", "llm": "said", "code": "the same code gave"}.get(other.kind)
    if other.kind == "tool":
        subject = f"the same call {call(other)} returned"
    elif what == "code":
        subject = "other code gave"
    return f"{subject} {pair(one.result, other.result)}"


def call(step: Step) -> str:
    """Return a call as it is written in code."""
    if not isinstance(step.arguments, dict):
        inner = "" if step.arguments is None else value(step.arguments)
        return f"{step.name}({inner})"
    return f"{step.name}({cut(_named(step.arguments, list(step.arguments)))})"


def value(given: Any) -> str:
    """Return any value as JSON in one line, cut where it is long."""
    return cut(dumps(given).decode())


def quoted(text: str | None) -> str:
    """Return a text in quotes and in one line, cut where it is long."""
    return "nothing known" if text is None else f'"{cut(text)}"'


def pair(before: str | None, now: str | None) -> str:
    """Return two texts that differ, such that the difference shows although they are cut."""
    old, new = _flat(before or ""), _flat(now or "")
    if max(len(old), len(new)) > LONGEST:
        same = next(
            (place for place, (a, b) in enumerate(zip(old, new, strict=False)) if a != b),
            min(len(old), len(new)),
        )
        if same > LONGEST - _BEFORE:
            start = same - _BEFORE
            old, new = _CUT + old[start:], _CUT + new[start:]
    return f"{quoted(new)} instead of {quoted(old)}"


def cut(text: str) -> str:
    """Return a text in one line of at most LONGEST characters, without control characters."""
    flat = _flat(text)
    return flat if len(flat) <= LONGEST else flat[: LONGEST - 1].rstrip() + _CUT


def plain_code(step: Step) -> str:
    """Return the code of a step without comments and layout."""
    text = step.arguments if isinstance(step.arguments, str) else ""
    try:
        return ast.unparse(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):
        return text


def _stopped(one: Step | None, other: Step | None) -> str:
    if other is None:
        return f"stopped instead of {_doing(one)}" if one else "stopped"
    return f"{_did(other)} where the baseline had stopped"


def _arguments(one: Step, other: Step, keys: Sequence[str]) -> str:
    if not keys:
        return f"called {call(other)} instead of {call(one)}"
    now, before = (_named(step.arguments, keys) for step in (other, one))
    return f"called {other.name} with {now} instead of {before}"


def _error(one: Step, other: Step) -> str:
    act = call(other) if other.kind == "tool" else "the code" if other.kind == "code" else "it"
    if other.error is None:
        return f"{act} did not fail, it did before with {cut(one.error or '')}"
    if one.error is None:
        return f"{act} failed with {cut(other.error)}, it did not before"
    return f"{act} failed with {pair(one.error, other.error)}"


def _named(arguments: dict[str, Any], keys: Sequence[str]) -> str:
    """Return arguments as in a call; one that is not given is said."""
    return ", ".join(
        f"{key}={value(arguments[key])}" if key in arguments else f"no {key}" for key in keys
    )


def _did(step: Step) -> str:
    verb = _VERBS[step.kind][0]
    return "reached the step limit" if step.name == STEP_LIMIT else f"{verb} {_object(step)}"


def _doing(step: Step) -> str:
    verb = _VERBS[step.kind][1]
    return "reaching the step limit" if step.name == STEP_LIMIT else f"{verb} {_object(step)}"


_VERBS = {
    "tool": ("called", "calling"),
    "answer": ("answered", "answering"),
    "code": ("ran code that", "running code that"),
    "error": ("failed with", "failing with"),
    "llm": ("said", "saying"),
}


def _object(step: Step) -> str:
    if step.kind == "tool":
        return call(step)
    if step.kind == "error":
        return cut(f"{step.name}: {step.error}")
    if step.kind == "code":
        failed = f"failed with {cut(step.error)}" if step.error else None
        return failed or f"gave {quoted(step.result)}"
    return quoted(step.result)


def _flat(text: str) -> str:
    """Return a text in one line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
