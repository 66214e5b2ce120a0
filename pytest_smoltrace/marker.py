"""Which tests are eval cases, and what the marker `smoltrace` accepts and adds up to.

An inactive session imports this module and no more of what selects cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest

VARIANT = "_smoltrace_variant"
TASK = "smoltrace_task"
TRIAL = "_smoltrace_trial"
FIXTURES = frozenset({"smoltrace_model", "smoltrace_agent", "smoltrace_case", TASK, VARIANT})
AGENT_TYPES = ("tool", "code", "both")


@dataclass(frozen=True, slots=True)
class Rule:
    """What one keyword of the marker accepts."""

    accepts: Callable[[Any], bool]
    wanted: str


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _texts(value: Any) -> bool:
    items = isinstance(value, (list, tuple, set, frozenset))
    return _text(value) or (items and all(_text(item) for item in value))


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


MARKER: Mapping[str, Rule] = {
    "id": Rule(_text, "a non-empty text"),
    "difficulty": Rule(_text, "a non-empty text"),
    "category": Rule(_text, "a non-empty text"),
    "tags": Rule(_texts, "a text or a list of texts"),
    "agent_type": Rule(lambda value: value in AGENT_TYPES, "'tool', 'code' or 'both'"),
    "expected_tool": Rule(_text, "the name of a tool, or 'multiple'"),
    "expected_tool_calls": Rule(_count, "a whole number of at least 1"),
    "expected_keywords": Rule(_texts, "a text or a list of texts"),
    "max_steps": Rule(_count, "a whole number of at least 1"),
    "allow_max_steps": Rule(lambda value: isinstance(value, bool), "True or False"),
    "timeout": Rule(_positive, "a number of seconds above 0"),
    "max_cost": Rule(_positive, "an amount of USD above 0"),
    "max_tokens": Rule(_count, "a whole number of at least 1"),
    "max_total_steps": Rule(_count, "a whole number of at least 1"),
    "role": Rule(
        lambda value: value in ("agent", "judge", "simulator"), "'agent', 'judge' or 'simulator'"
    ),
    "gpus": Rule(_count, "a whole number of at least 1"),
    "trials": Rule(_count, "a whole number of at least 1"),
}


def is_case(node: pytest.Item | pytest.Metafunc) -> bool:
    """Return whether a test uses the plugin's fixtures or markers."""
    names = getattr(node, "fixturenames", ())
    if not FIXTURES.isdisjoint(names):
        return True
    definition: Any = getattr(node, "definition", node)
    return any(definition.get_closest_marker(name) for name in ("smoltrace", "smoltrace_tasks"))


def check_marker(mark: pytest.Mark, where: str) -> None:
    """Refuse what the marker does not know.

    Raises:
        ConfigError: Names the test, the keyword and what it accepts.
    """
    if mark.args:
        raise ConfigError(f"{where}: @pytest.mark.smoltrace takes keywords only, got {mark.args!r}")
    for key, value in mark.kwargs.items():
        rule = MARKER.get(key)
        if rule is None:
            hint = did_you_mean(key, MARKER)
            raise ConfigError(f"{where}: @pytest.mark.smoltrace has no keyword {key!r}{hint}")
        if not rule.accepts(value):
            raise ConfigError(
                f"{where}: @pytest.mark.smoltrace({key}={value!r}) is not {rule.wanted}"
            )


def marked(node: Any) -> dict[str, Any]:
    """Return the marker's keywords, the closest one winning; tags add up."""
    merged: dict[str, Any] = {}
    tags: list[str] = []
    for mark in node.iter_markers("smoltrace"):
        merged = {**mark.kwargs, **merged}
        tags += texts(mark.kwargs.get("tags", ()))
    return {**merged, "tags": tuple(sorted(set(tags)))}


def texts(value: Any) -> tuple[str, ...]:
    """Return one text or several as a tuple, those of a set in a fixed order."""
    values = sorted(value) if isinstance(value, (set, frozenset)) else value
    return (value,) if isinstance(value, str) else tuple(values)
