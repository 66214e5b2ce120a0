"""Whether two sessions measured the same: their suites and their settings, compared."""

from __future__ import annotations

from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.option_table import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pytest_smoltrace.facts import Declared

MAY_DIFFER = frozenset({
    "base_url", "budget_tokens", "budget_usd", "dir", "fsync", "gpu", "gpu_interval",
    "gpus_per_worker", "hardware", "hosts", "hw_metrics", "max_concurrency", "notes", "resume",
    "run_id", "shard", "shard_durations", "submitted_by",
    "allow_mismatch", "baseline", "baseline_missing", "ci", "gate", "gate_only", "gates",
    "inconclusive", "margin", "pass_k", "power",
    "trials",  # the plan tells the trials of each case
    "prices",  # a path; the version in the header tells what it held
})  # fmt: skip
"""Options that say where and how a session ran, not what it measured."""

_VERSIONS = {"git_sha": "git", "python_version": "Python"}
"""Key of an environment -> what it is called."""

_NOT_COMPARED = frozenset({"nodeid", "dataset", "dataset_revision", "trials"})
"""What a declaration says of its place, not of the case."""
_SHOWN = 3
"""Differences that are named; the others are counted."""

Key = tuple[str, int, str | None, str | None]


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the figures of a run depend on; what is not set is None."""
    # A version that did not know an option behaved as its default says.
    effective = {option.name: option.default for option in OPTIONS} | dict(config)
    return {
        name: None if value in ("", (), [], {}) else value
        for name, value in effective.items()
        if name not in MAY_DIFFER
    }


def setting_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return what differs between two configurations, as in `--smoltrace-seed (5 and unset)`."""
    first, second = settings_of(one), settings_of(other)
    flags = {option.name: option.flag for option in OPTIONS}
    return [
        f"{flags.get(name, name)} ({_text(first.get(name))} and {_text(second.get(name))})"
        for name in (*first, *(name for name in second if name not in first))
        if first.get(name) != second.get(name)
    ]


def environment_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return what differs in code and versions, as in `smolagents (1.26.0 and 1.27.0)`."""
    pairs = [(name, one.get(key), other.get(key)) for key, name in _VERSIONS.items()]
    first, second = one.get("package_versions") or {}, other.get("package_versions") or {}
    pairs += [(name, first.get(name), second.get(name)) for name in sorted({*first, *second})]
    return [
        f"{name} ({old or 'none'} and {new or 'none'})" for name, old, new in pairs if old != new
    ]


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "unset" if value is None else str(value)


def suite_differences(
    one: Iterable[Declared],
    other: Iterable[Declared],
    names: tuple[str, str] = ("the first", "the second"),
) -> list[str]:
    """Return how two suites differ, at most a few cases by name; nothing when they are equal."""
    first, second = _by_key(one), _by_key(other)
    found = _differences(first, second, names)
    shown = list(islice(found, _SHOWN))
    rest = sum(1 for _ in found)
    return [*shown, f"{rest} more"] if rest else shown


def _by_key(cases: Iterable[Declared]) -> dict[Key, Declared]:
    return {(case.case_id, case.trial, case.model, case.agent_type): case for case in cases}


def _differences(
    first: Mapping[Key, Declared], second: Mapping[Key, Declared], names: tuple[str, str]
) -> Iterator[str]:
    for key, case in first.items():
        if key not in second:
            yield f"{_name(key)} is only in {names[0]}"
        elif changed := _changed(case, second[key]):
            yield f"{_name(key)} has another {' and '.join(changed)}"
        elif case.nodeid != second[key].nodeid:
            yield f"{_name(key)} is {case.nodeid} and {second[key].nodeid}"
    yield from (f"{_name(key)} is only in {names[1]}" for key in second if key not in first)


def _changed(one: Declared, other: Declared) -> list[str]:
    """Return what two declarations of a case say differently, all that a row would show."""
    names = (field.name for field in fields(one) if field.name not in _NOT_COMPARED)
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def _name(key: Key) -> str:
    case_id, trial, model, agent_type = key
    where = ", ".join(part for part in (model, agent_type) if part)
    number = f" trial {trial}" if trial else ""
    return f"case {case_id!r}{number}" + (f" ({where})" if where else "")
