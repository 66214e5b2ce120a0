"""Which attempts of a run a gate is about, and their figures case by case."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Collection


_ENDED = "end_time"
_DURATION = "execution_time_ms"
_NO_VERDICT = ("skipped", "interrupted")
_NOT_LIVE = ("replayed", "mixed")


@dataclass(frozen=True)
class Population:
    """Counted attempts of a run that selectors leave; columns that are not stored are unknown."""

    table: pa.Table

    @cached_property
    def cases(self) -> frozenset[str]:
        """Cases with an attempt."""
        return frozenset(self.case_ids)

    @cached_property
    def case_ids(self) -> list[str]:
        """Case of each attempt."""
        return list(self.table["case_id"].to_pylist())

    @cached_property
    def completed(self) -> Population:
        """Attempts that were neither skipped nor interrupted."""
        if "outcome" not in self.table.column_names:
            return self
        ended = pc.is_in(self.table["outcome"], pa.array(_NO_VERDICT))
        return Population(self.table.filter(pc.invert(pc.fill_null(ended, False))))

    @cached_property
    def scored(self) -> Population:
        """Attempts that say something about the agent."""
        if "scored" not in self.table.column_names:
            return self.completed
        return Population(self.table.filter(self.table["scored"]))

    @cached_property
    def live(self) -> Population:
        """Attempts whose calls were all made, none of them replayed."""
        if "replay_mode" not in self.table.column_names:
            return self
        replayed = pc.is_in(self.table["replay_mode"], pa.array(_NOT_LIVE))
        return Population(self.table.filter(pc.invert(pc.fill_null(replayed, False))))

    def among(self, cases: Collection[str]) -> Population:
        """Return the attempts of these cases."""
        wanted = pa.array(sorted(cases), pa.string())
        return Population(self.table.filter(pc.is_in(self.table["case_id"], wanted)))

    @cached_property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Successes and scored trials of each case, ordered by case."""
        rows = self.scored
        if "success" not in rows.table.column_names:
            return {}
        success = rows.table["success"].to_pylist()
        pairs = zip(rows.case_ids, success, strict=True)
        known = [(case, value) for case, value in pairs if value is not None]
        trials = Counter(case for case, _ in known)
        passed = Counter(case for case, value in known if value)
        return {case: (passed[case], trials[case]) for case in sorted(trials)}

    def values(self, column: str) -> dict[str, tuple[float, ...]]:
        """Return the known figures of the attempts of each case, ordered by case."""
        if column not in self.table.column_names:
            return {}
        found: dict[str, list[float]] = {}
        figures = self._figures(column)
        for case, value in zip(self.case_ids, figures, strict=True):
            if value is not None and value == value:  # noqa: PLR0124 - NaN is unknown
                found.setdefault(case, []).append(float(value))
        return {case: tuple(found[case]) for case in sorted(found)}

    def _figures(self, column: str) -> list[Any]:
        """Return a column; a duration without an end is unknown though it is written as 0."""
        values = self.table[column]
        if column == _DURATION and _ENDED in self.table.column_names:
            ended = self.table[_ENDED].is_valid()
            values = pc.if_else(ended, values, pa.scalar(None, values.type))
        return list(values.to_pylist())
