"""The result rows of a session that the leaderboard still needs, and which rows a rate is over."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pytest_smoltrace.schema.leaderboard import LEADERBOARD
from pytest_smoltrace.schema.reductions import Known, Mean, Quantile, Sum, Unknown
from pytest_smoltrace.schema.results import RESULTS
from pytest_smoltrace.taxonomy import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_STATES = (
    *("run_id", "case_id", "start_time", "end_time", "outcome", "counted", "scored", "success"),
    *("timed_out", "stop_reason", "error_type", "pass_at_1_passed"),
)
_REDUCED = dict.fromkeys(
    column.source.column
    for column in LEADERBOARD.columns
    if isinstance(column.source, (Known, Mean, Quantile, Sum, Unknown))
)
KEPT = tuple(dict.fromkeys((*_STATES, *_REDUCED)))
"""Columns of results that the leaderboard reduces."""

_JOINED = 64
"""Batches that are joined into one."""

_REPEATING = frozenset({"run_id", "outcome", "stop_reason", "error_type"})


def kept(results: pa.RecordBatch) -> pa.RecordBatch:
    """Return the columns to keep of a batch of results, repeating texts stored once."""
    narrow = results.select(KEPT)
    arrays = [
        array.dictionary_encode() if name in _REPEATING else array
        for name, array in zip(KEPT, narrow.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=KEPT)


class ResultRows:
    """The kept result rows of one run."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def size(self, population: str) -> int:
        """Return the number of rows of a population."""
        return int(pc.sum(self._mask(population)).as_py() or 0)

    def known(self, column: str, population: str) -> list[Any]:
        """Return the non-null values of a column over a population."""
        values = self._table[column]
        if population != "all":
            values = values.filter(self._mask(population))
        return list(values.drop_null().to_pylist())

    def values(self, column: str, population: str) -> list[Any]:
        """Return the values of a column over a population, None where unknown."""
        return list(self._table[column].filter(self._mask(population)).to_pylist())

    def _mask(self, population: str) -> Any:
        return self._masks[population]()

    def _is(self, column: str, *values: str) -> Any:
        return pc.fill_null(pc.is_in(self._table[column], pa.array(values)), False)

    @cached_property
    def _counted(self) -> Any:
        return self._table["counted"]

    @cached_property
    def _scored(self) -> Any:
        return self._table["scored"]

    @cached_property
    def _completed(self) -> Any:
        ended = pc.invert(self._is("outcome", "skipped", "interrupted"))
        return pc.and_(self._counted, ended)

    @cached_property
    def _masks(self) -> dict[str, Callable[[], Any]]:
        rows, both, either, no = self._table, pc.and_, pc.or_, pc.invert
        return {
            "all": lambda: pa.repeat(True, rows.num_rows),
            # What a worker did before it died is unknown, and must not look like nothing.
            "executed": lambda: either(
                rows["start_time"].is_valid(), self._is("outcome", "crashed")
            ),
            "counted": lambda: rows["counted"],
            "scored": lambda: rows["scored"],
            "completed": lambda: self._completed,
            "skipped": lambda: both(self._counted, self._is("outcome", "skipped")),
            "interrupted": lambda: both(self._counted, self._is("outcome", "interrupted")),
            "errored": lambda: both(self._completed, no(self._scored)),
            "successful": lambda: both(self._scored, rows["success"]),
            "failed": lambda: both(self._scored, no(rows["success"])),
            "timed_out": lambda: both(self._scored, rows["timed_out"]),
            "max_steps": lambda: both(self._scored, self._is("stop_reason", "max_steps")),
            "timed": lambda: both(self._scored, rows["end_time"].is_valid()),
            "errors": lambda: both(
                both(self._completed, rows["error_type"].is_valid()),
                no(self._is("error_type", *sorted(VERDICTS))),
            ),
        }


class KeptRows:
    """The kept rows of a session, in few large batches: small ones pin memory around them."""

    def __init__(self) -> None:
        self._large: list[pa.RecordBatch] = []
        self._small: list[pa.RecordBatch] = [kept(RESULTS.to_arrow([]))]

    def add(self, results: pa.RecordBatch) -> None:
        """Keep what the leaderboard needs of a batch of results."""
        self._small.append(kept(results))
        if len(self._small) == _JOINED:
            self._large += pa.Table.from_batches(self._small).combine_chunks().to_batches()
            self._small = []
            pa.default_memory_pool().release_unused()

    def by_run(self, run_ids: Collection[str]) -> dict[str, ResultRows]:
        """Return the kept rows of each run."""
        table = pa.Table.from_batches([*self._large, *self._small]).unify_dictionaries()
        if len(run_ids) == 1:
            return dict.fromkeys(run_ids, ResultRows(table))
        mine = {run_id: pc.equal(table["run_id"], run_id) for run_id in run_ids}
        return {run_id: ResultRows(table.filter(mask)) for run_id, mask in mine.items()}
