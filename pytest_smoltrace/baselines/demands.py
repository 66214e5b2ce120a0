"""What the cases of a stored session ask for, to tell a changed case from one that is the same."""

from __future__ import annotations

from collections import defaultdict
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import orjson

from pytest_smoltrace.codec import decode_plan
from pytest_smoltrace.errors import JournalError
from pytest_smoltrace.journal import JOURNAL_NAME, read_journal
from pytest_smoltrace.rows.suite import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from pytest_smoltrace.facts import Declared
    from pytest_smoltrace.measured.session import MeasuredRun, MeasuredSession

DEMANDS_NAME = "demands.json"
"""File of a saved baseline that keeps what its journal said of the cases."""

_BEFORE_CASES = frozenset({"header", "plan"})
_STORED = ("prompt", "expected_tool", "expected_tool_calls")
"""Columns of the results table that tell what a case asks for."""

Demands = dict[str, frozenset[str]]
"""Case id -> digests of what the case asks for, one for each of its declarations."""


def changed_cases(
    run: MeasuredRun, session: MeasuredSession, other: MeasuredRun, baseline: MeasuredSession
) -> frozenset[str]:
    """Return the cases of both runs that ask for something else now, as far as that is known."""
    ours, theirs = demands_of(session), demands_of(baseline)
    if ours is None or theirs is None:
        ours, theirs = _stored(run.attempts, other.attempts), _stored(other.attempts, run.attempts)
    return frozenset(
        case_id for case_id in ours.keys() & theirs.keys() if not ours[case_id] & theirs[case_id]
    )


def demands_of(session: MeasuredSession) -> Demands | None:
    """Return the demands of a session that has its plan or what was kept of it, None of another."""
    if session.directory is None:
        kept = _sets((session.summary.get("baseline") or {}).get("demands"))
        return kept or _told(session.summary.get("cases") or ())
    return planned_demands(session.directory) or _kept(session.directory)


def planned_demands(directory: Path) -> Demands | None:
    """Return the demands of the plan in a journal, None without a journal."""
    found = defaultdict(set)
    try:
        for case in _planned(directory / JOURNAL_NAME):
            found[case.case_id].add(digest(case))
    except JournalError:
        return None
    return {case_id: frozenset(digests) for case_id, digests in found.items()}


def _planned(journal: Path) -> Iterator[Declared]:
    lines = takewhile(lambda line: line.kind in _BEFORE_CASES, read_journal(journal))
    for line in lines:
        if line.kind == "plan":
            yield from decode_plan(line.data).cases


def _told(lines: Iterable[Mapping[str, Any]]) -> Demands | None:
    """Return the demands that the case lines of a summary tell, None where none does."""
    found: Mapping[str, set[str]] = defaultdict(set)
    for line in lines:
        if line.get("demands"):
            found[line["case_id"]].add(line["demands"])
    return {case_id: frozenset(digests) for case_id, digests in found.items()} or None


def _kept(directory: Path) -> Demands | None:
    try:
        value = orjson.loads((directory / DEMANDS_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    return _sets(value)


def _sets(value: Any) -> Demands | None:
    """Return stored demands as they are compared, None where there are none."""
    if not value or not isinstance(value, dict):
        return None
    return {case_id: frozenset(digests) for case_id, digests in value.items()}


def _stored(table: pa.Table, other: pa.Table) -> Demands:
    """Return the demands that the columns of both tables tell; an unknown prompt says nothing."""
    both = [name for name in _STORED if {name} <= {*table.column_names} & {*other.column_names}]
    found: Mapping[str, set[str]] = defaultdict(set)
    if both and "case_id" in table.column_names:
        for row in table.select(["case_id", *both]).to_pylist():
            if row.get("prompt", "") is not None:
                found[row["case_id"]].add(_text(row))
    return {case_id: frozenset(texts) for case_id, texts in found.items()}


def _text(row: Mapping[str, Any]) -> str:
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode()
