"""The scored attempts of a run, case by case."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_smoltrace.measured.session import MeasuredRun

_COLUMNS = {
    "case_id": "case_id",
    "nodeid": "nodeid",
    "trial": "trial",
    "scored": "scored",
    "success": "success",
    "trace_id": "trace_id",
    "error_type": "error_type",
    "error": "error",
    "tokens": "gen_ai.usage.total_tokens",
    "cost_usd": "gen_ai.usage.cost.total",
    "duration_ms": "execution_time_ms",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One scored attempt at a case."""

    number: int
    success: bool
    nodeid: str | None
    trace_id: str | None
    error_type: str | None
    error: str | None
    tokens: int | None
    cost_usd: float | None
    duration_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The scored attempts at a case."""

    case_id: str
    trials: list[Trial] = field(default_factory=list)

    @property
    def passed(self) -> int:
        """Trials that succeeded."""
        return sum(trial.success for trial in self.trials)

    @property
    def rate(self) -> float:
        """Fraction of trials that succeeded."""
        return self.passed / len(self.trials)

    def of(self, *, passed: bool) -> list[Trial]:
        """Return the trials that succeeded, or those that did not."""
        return [trial for trial in self.trials if trial.success is passed]


def cases_of(run: MeasuredRun) -> Mapping[str, Case]:
    """Return the scored cases of a run by id."""
    found: dict[str, Case] = {}
    for row in _rows(run):
        if row["scored"] and row["success"] is not None:
            case_id = str(row["case_id"])
            case = found.setdefault(case_id, Case(case_id=case_id))
            case.trials.append(
                Trial(
                    number=row["trial"] or 0,
                    success=bool(row["success"]),
                    **{name: row[name] for name in Trial.__slots__[2:]},
                )
            )
    return found


def _rows(run: MeasuredRun) -> Iterator[dict[str, Any]]:
    """Yield the attempts with what is needed of them; a column that is absent is None."""
    table = run.attempts
    known = {name: column for name, column in _COLUMNS.items() if column in table.column_names}
    absent = dict.fromkeys(name for name in _COLUMNS if name not in known)
    rows = table.select(list(known.values())).rename_columns(list(known)).to_pylist()
    yield from ({**absent, **row} for row in rows)
