"""The first step where two attempts at a case part."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal

from pytest_smoltrace.comparing import wording
from pytest_smoltrace.comparing.steps import STEP_LIMIT, Step
from pytest_smoltrace.encoding import dumps

if TYPE_CHECKING:
    from collections.abc import Sequence

What = Literal["tool", "arguments", "result", "answer", "code", "error", "stopped", "message"]
"""What differs: another tool; other arguments of the same tool; another result of the same call,
so that the environment moved and not the agent; another answer; other code with another result; an
error; one went on where the other stopped; another text of an LLM."""

_BY_KIND: dict[str, What] = {
    "tool": "tool",
    "answer": "answer",
    "code": "code",
    "error": "error",
    "llm": "message",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Where a candidate's attempt left the path of the baseline's."""

    what: What
    text: str
    """One line for people."""
    step: int
    """Step of the agent, from 1, in which they part."""
    same_steps: int
    """Entries of both lists of steps before it."""
    keys: tuple[str, ...] = ()
    """Arguments that differ, by name."""
    baseline: Step | None = None
    """None where the baseline had stopped."""
    candidate: Step | None = None
    """None where the candidate had stopped."""
    tokens_delta: int | None = None
    """Candidate minus baseline over all steps; None where a call reported none."""
    cost_usd_delta: float | None = None
    duration_ms_delta: float = 0.0
    """Of the steps, without what the test itself did."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it, the two steps included, their long values cut."""
        sides = {"baseline": self.baseline, "candidate": self.candidate}
        return asdict(self) | {name: step and _stored(step) for name, step in sides.items()}


STORED_CHARACTERS = 2_000
"""Longest text of a step that is stored; all of it is in the trace."""


def _stored(step: Step) -> dict[str, Any]:
    """Return a step with what is long as a cut text."""
    value = asdict(step)
    for name in ("arguments", "result", "error"):
        text = value[name] if isinstance(value[name], str) else dumps(value[name]).decode()
        if len(text) > STORED_CHARACTERS:
            value[name] = f"{text[:STORED_CHARACTERS]}…"
    return value


def divergence(baseline: Sequence[Step], candidate: Sequence[Step]) -> Divergence | None:
    """Return where two lists of steps part, None where they are the same throughout.

    What is unknown on a side (hidden, or not recorded) parts nothing, and neither does code that
    calls the same tools and gives the same.
    """
    for place, (one, other) in enumerate(zip_longest(baseline, candidate)):
        what, keys = _difference(one, other)
        if what is not None:
            step = other or one
            number = step.number or place + 1
            return Divergence(
                what=what,
                text=wording.where(number, step.agent) + wording.parting(what, one, other, keys),
                step=number,
                same_steps=place,
                keys=keys,
                baseline=one,
                candidate=other,
                tokens_delta=_delta([s.tokens for s in baseline], [s.tokens for s in candidate]),
                cost_usd_delta=_delta(
                    [s.cost_usd for s in baseline], [s.cost_usd for s in candidate]
                ),
                duration_ms_delta=sum(s.duration_ms for s in candidate)
                - sum(s.duration_ms for s in baseline),
            )
    return None


def _difference(one: Step | None, other: Step | None) -> tuple[What | None, tuple[str, ...]]:
    """Return how two steps at the same place differ, and in which arguments."""
    if one is None or other is None:
        return "stopped", ()
    if (one.kind, one.name, one.agent) != (other.kind, other.name, other.agent):
        return "stopped" if other.name == STEP_LIMIT else _BY_KIND[other.kind], ()
    keys = _differing(one.arguments, other.arguments) if one.kind == "tool" else None
    return (_outcome(one, other), ()) if keys is None else ("arguments", keys)


def _outcome(one: Step, other: Step) -> What | None:
    """Return how the outcomes of the same act differ, None where they do not."""
    if _cause(one.error) != _cause(other.error):
        return "error"
    if None in (one.result, other.result) or one.result == other.result:
        return None
    if one.kind == "code" and wording.plain_code(one) != wording.plain_code(other):
        return "code"
    return "result" if one.kind in ("tool", "code") else _BY_KIND[one.kind]


def _differing(one: Any, other: Any) -> tuple[str, ...] | None:
    """Return the arguments that differ, none by name where they are no objects; None if equal."""
    if one is None or other is None or one == other:
        return None
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return ()
    names = dict.fromkeys((*other, *one))
    absent = object()
    return tuple(key for key in names if one.get(key, absent) != other.get(key, absent))


def _cause(error: str | None) -> str | None:
    """Return what an error is about without the line of code that it happened in."""
    return None if error is None else error.rpartition(" due to: ")[2]


def _delta(baseline: Sequence[Any], candidate: Sequence[Any]) -> Any:
    """Return the difference of two sums, None where a part is unknown."""
    if None in baseline or None in candidate:
        return None
    return sum(candidate) - sum(baseline)
