"""Selectors of a gate: which runs and cases it is about."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pytest_smoltrace.gates.selectors import RUN_KEYS
from pytest_smoltrace.measured.population import Population
from pytest_smoltrace.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_smoltrace.measured.session import MeasuredRun

Where = tuple[tuple[str, str], ...]

COLUMNS = {"tag": "tags", "case": "case_id", "suite": "nodeid"}
"""Selector -> column of results, where their names differ."""
_SHOWN = 5


def of_runs(where: Where, runs: Iterable[MeasuredRun]) -> list[MeasuredRun]:
    """Return the runs that selectors leave."""
    wanted = [(key, value) for key, value in where if key in RUN_KEYS]
    return [run for run in runs if all(getattr(run, key) == value for key, value in wanted)]


def of_cases(where: Where, table: pa.Table) -> Population:
    """Return the attempts that selectors leave."""
    for key, value in where:
        if key not in RUN_KEYS:
            mask = [_holds(key, stored, value) for stored in _stored(key, table)]
            table = table.filter(pa.array(mask, pa.bool_()))
    return Population(table)


def unmatched(where: Where, runs: Sequence[MeasuredRun]) -> str:
    """Say which selector leaves nothing, and which values there are."""
    for key, value in where:
        known = sorted(_values(key, runs))
        if value not in known:
            hint = did_you_mean(value, known) or _listed(key, known)
            return f"no case has {key}={value}{hint}"
    return f"no case has {' and '.join(f'{key}={value}' for key, value in where)}"


def _listed(key: str, known: Sequence[str]) -> str:
    if not known:
        return f"; no case has a {key}"
    rest = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"; there is {', '.join(known[:_SHOWN])}{rest}"


def _values(key: str, runs: Iterable[MeasuredRun]) -> set[str]:
    """Return every value of a selector that exists."""
    if key in RUN_KEYS:
        return {str(value) for run in runs if (value := getattr(run, key)) is not None}
    stored = (one for run in runs for one in _stored(key, run.attempts))
    return {text for one in stored for text in _texts(key, one)}


def _stored(key: str, table: pa.Table) -> list[Any]:
    column = COLUMNS.get(key, key)
    if column not in table.column_names:
        return [None] * int(table.num_rows)
    return list(table[column].to_pylist())


def _holds(key: str, stored: Any, value: str) -> bool:
    found = _texts(key, stored)
    if key == "suite" and found:
        # A file is named by its path, or as far as that is clear.
        path = PurePosixPath(found[0])
        return value in (*found, path.name, path.stem, *map(str, path.parents))
    return value in found


def _texts(key: str, stored: Any) -> list[str]:
    """Return the values that a cell has under a selector."""
    if stored is None:
        return []
    if key == "suite":
        return [str(stored).partition("::")[0]]
    return [str(one) for one in stored] if isinstance(stored, list | tuple) else [str(stored)]
