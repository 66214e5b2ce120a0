"""Rows of results made from the case lines of a summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pytest_smoltrace.schema.results import RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_RENAMED = {
    "duration_ms": "execution_time_ms",
    "cost_usd": "gen_ai.usage.cost.total",
    "tokens": "gen_ai.usage.total_tokens",
    "ttft_s": "gen_ai.server.ttft",
    "tbt_s": "gen_ai.server.tbt",
    "tool_calls": "tool_call_count",
}
"""Key of a case line -> column of results; other keys have the name of their column."""
_SUCCESSFUL = frozenset({"passed", "xpassed"})
_TYPES = {column.name: column.arrow for column in RESULTS.columns}


def table_of(lines: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return case lines as rows of results; a figure that no line has is no column.

    Raises:
        KeyError, TypeError, ValueError, ArrowException: A line is not what a summary holds.
    """
    if any(line["case_id"] is None for line in lines):
        raise ValueError("it has no case_id")
    rows = [{_RENAMED.get(key, key): value for key, value in line.items()} for line in lines]
    for row in rows:
        row.setdefault("success", row["outcome"] in _SUCCESSFUL)
    if any("counted" not in row for row in rows):
        _mark_counted(rows)
    names = dict.fromkeys(name for row in rows for name in row if name in _TYPES)
    names |= dict.fromkeys(("run_id", "case_id", "trial", "success", "counted", "scored"))
    fields = [pa.field(name, _TYPES[name]) for name in names]
    return pa.Table.from_pylist(rows, pa.schema(fields))


def _mark_counted(rows: Iterable[dict[str, Any]]) -> None:
    """Mark one row of each trial: the scored one, else the last, as the contract has it."""
    chosen: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        row["counted"] = False
        key = (row["run_id"], row["case_id"], row.get("trial", 0))
        if key not in chosen or not chosen[key].get("scored"):
            chosen[key] = row
    for row in chosen.values():
        row["counted"] = True
