"""What the verdict of a judge may be, and how it is read out of a reply."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DECODER = json.JSONDecoder(strict=False)
_NUMBER = re.compile(r"([-+]?\d+(?:\.\d+)?)\s*(?:(?:/|out of)\s*([-+]?\d+(?:\.\d+)?))?")
_OBJECT = re.compile(r"\{\s*(?:[\"'\u201c\u2018]|\w+\s*:)")
_KEYS = ("score", "passed", "pass", "choice", "verdict", "grade", "rating", "result")
_REASONS = ("reason", "reasoning", "rationale", "explanation")
_YES = ("true", "yes", "pass", "passed", "1", "1.0")
_NO = ("false", "no", "fail", "failed", "0", "0.0")


class UnreadableError(ValueError):
    """A reply that holds no verdict; the message says what is wrong and repeats nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a verdict may be."""

    key: str
    schema: Mapping[str, Any]
    wording: str
    read: Callable[[Any], float]
    """Value of the key -> score from 0 to 1; raises UnreadableError."""

    @property
    def reply_schema(self) -> dict[str, Any]:
        """JSON schema of a reply: the reason comes before the score."""
        return {
            "type": "object",
            "properties": {"reason": {"type": "string"}, self.key: dict(self.schema)},
            "required": ["reason", self.key],
            "additionalProperties": False,
        }

    @property
    def reply_form(self) -> str:
        """Form of a reply in words."""
        return f'{{"reason": "why, in one to three sentences", "{self.key}": {self.wording}}}'


def scale_of(given: Any) -> Scale:
    """Return the scale that `bool`, a pair of numbers or a mapping of choices stands for.

    Raises:
        ConfigError: It is none of them.
    """
    if given is bool:
        boolean = {"type": "boolean"}
        return Scale(key="passed", schema=boolean, wording="true or false", read=_pass_or_fail)
    if isinstance(given, Mapping) and len(given) > 1 and all(map(is_share, given.values())):
        return _choices({str(name): float(score) for name, score in given.items()})
    pair = isinstance(given, (tuple, list)) and len(given) == 2  # noqa: PLR2004 - low and high
    if pair and all(map(_is_number, given)) and given[0] < given[1]:
        return _range(given[0], given[1])
    raise ConfigError(
        f"LLMJudge: scale is {given!r}; give bool, (low, high), or choices with scores from 0 to 1 "
        "such as {'right': 1, 'partly': 0.5, 'wrong': 0}"
    )


def read_verdict(text: str, scale: Scale, material: str = "") -> tuple[float, str | None]:
    """Return score and reason of the one verdict in a reply, whatever stands around it.

    Args:
        text: The reply.
        scale: What the verdict may be.
        material: What was judged; an object that stands in it is a quotation.

    Raises:
        UnreadableError: There is no verdict, or there are several that differ.
    """
    found = []
    for value, source in _objects(text.rpartition("</think>")[2]):
        given = {str(key).strip().lower(): one for key, one in value.items()}
        key = next((key for key in (scale.key, *_KEYS) if key in given), None)
        if key is not None and source not in material:
            reason = next((given[name] for name in _REASONS if given.get(name)), None)
            found.append((scale.read(given[key]), None if reason is None else str(reason)))
    if not found:
        raise UnreadableError(f"there is no JSON object with the key {scale.key!r}")
    if len({score for score, _ in found}) > 1:
        raise UnreadableError("there are several verdicts that differ")
    return found[-1]


def is_share(value: Any) -> bool:
    """Return whether a value is a number from 0 to 1."""
    return _is_number(value) and 0 <= value <= 1


def _objects(text: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the JSON objects of a text that stand in no other, each with its own text."""
    at = text.find("{")
    while at >= 0:
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            # A broken object may quote a verdict from the answer: what is inside must not count.
            if _OBJECT.match(text, at):
                raise UnreadableError(f"the JSON is broken ({error})") from None
            end = at + 1
        else:
            yield value, text[at:end]
        at = text.find("{", end)


def _pass_or_fail(value: Any) -> float:
    text = str(value).strip().lower()
    if text not in (*_YES, *_NO):
        raise UnreadableError('"passed" is neither true nor false')
    return float(text in _YES)


def _range(low: float, high: float) -> Scale:
    within = f"a number from {low:g} (worst) to {high:g} (best)"

    def read_number(value: Any) -> float:
        number, top = _number(value)
        if not low <= number <= high or top not in (None, high):
            raise UnreadableError(f'"score" is not {within}')
        return (number - low) / (high - low)

    numeric = {"type": "number", "description": within}
    return Scale(key="score", schema=numeric, wording=within, read=read_number)


def _number(value: Any) -> tuple[float, float | None]:
    """Return a number, also one that is written as text, and what it is said to be out of."""
    if _is_number(value):
        return float(value), None
    match = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return math.nan, None
    number, top = match.groups()
    return float(number), None if top is None else float(top)


def _choices(scores: Mapping[str, float]) -> Scale:
    by_name = {name.strip().casefold(): score for name, score in scores.items()}
    wording = " or ".join(json.dumps(name, ensure_ascii=False) for name in scores)

    def read_choice(value: Any) -> float:
        score = by_name.get(str(value).strip().casefold())
        if score is None:
            raise UnreadableError(f'"choice" is not {wording}')
        return score

    named = {"type": "string", "enum": list(scores)}
    return Scale(key="choice", schema=named, wording=wording, read=read_choice)


def _is_number(value: Any) -> bool:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return real and math.isfinite(value)
