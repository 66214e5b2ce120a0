"""The summary of a session: leaderboard rows and one line a case."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from pytest_smoltrace.rows.suite import digest
from pytest_smoltrace.schema.leaderboard import LEADERBOARD
from pytest_smoltrace.schema.version import CONTRACT_VERSION, SUMMARY_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa

    from pytest_smoltrace.attempt import Attempt
    from pytest_smoltrace.run import Run

CASE_LIMIT = 10_000
"""Case lines of a summary; those beyond are counted."""
EXTREMES = 5
"""Slowest and dearest cases that are named."""

_JSON_COLUMNS = frozenset(column.name for column in LEADERBOARD.columns if column.type == "json")


@dataclass(slots=True, kw_only=True)
class CaseLines:
    """The case lines of a summary, within their limit."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    left_out: int = 0
    slowest: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)
    dearest: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)
    _taken: int = 0

    def take(self, attempt: Attempt) -> None:
        """Add one attempt."""
        line = case_line(attempt)
        self._taken += 1
        if len(self.kept) < CASE_LIMIT:
            self.kept.append(line)
        else:
            self.left_out += 1
        for heap, figure in ((self.slowest, "duration_ms"), (self.dearest, "cost_usd")):
            if line[figure]:
                _keep_largest(heap, (line[figure], -self._taken, line))


def _keep_largest(
    heap: list[tuple[float, int, dict[str, Any]]], entry: tuple[float, int, dict[str, Any]]
) -> None:
    """Keep the largest entries, the earlier one of equals."""
    if len(heap) < EXTREMES:
        heapq.heappush(heap, entry)
    elif entry[:2] > heap[0][:2]:
        heapq.heapreplace(heap, entry)


def case_line(attempt: Attempt) -> dict[str, Any]:
    """Return what the terminal shows of an attempt, and what a baseline needs of it."""
    declared, verdict = attempt.declared, attempt.verdict
    return {
        "run_id": attempt.run_id,
        "nodeid": declared.nodeid,
        "case_id": declared.case_id,
        "trial": declared.trial,
        "attempt": attempt.record.attempt,
        "outcome": attempt.record.outcome,
        "counted": attempt.standing.counted,
        "scored": attempt.standing.scored,
        "duration_ms": attempt.times.call_ms if attempt.times.end_us is not None else None,
        "cost_usd": attempt.llm.cost.total_usd,
        "tokens": attempt.llm.usage.total_tokens,
        "success": verdict.success,
        "demands": digest(declared),
        "difficulty": declared.difficulty,
        "category": declared.category,
        "tags": attempt.tags,
        "steps": attempt.agent.steps,
        "tool_calls": attempt.tools.count,
        "ttft_s": attempt.llm.ttft_s,
        "tbt_s": attempt.llm.tbt_s,
        "gpu_energy_wh": attempt.gpu.energy_wh,
        "trace_id": attempt.record.trace_id,
        "error_type": verdict.error_type,
        "error_category": verdict.error_category,
        "error": verdict.error,
    }


def summary_of(run: Run, leaderboard: pa.RecordBatch, cases: CaseLines) -> dict[str, Any]:
    """Return the value of summary.json."""
    gates = run.gates
    ended = None if run.footer is None else run.footer.exit_status
    return {
        "schema_version": CONTRACT_VERSION,
        "summary_version": SUMMARY_VERSION,
        "session_id": run.header.session_id,
        "directory": run.directory.name,
        "stop_reason": "crash" if run.footer is None else run.footer.stop_reason,
        "exit_status": gates["exit_status"] if gates else ended,
        "runs": [plain(row) for row in leaderboard.to_pylist()],
        "cases": cases.kept,
        "cases_left_out": cases.left_out,
        "slowest": _descending(cases.slowest),
        "dearest": _descending(cases.dearest),
        "selection": run.header.environment.get("selection"),
        "gates": gates,
    }


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a leaderboard row with instants as text and JSON columns as values."""
    return {name: _plain(name, value) for name, value in row.items()}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return orjson.loads(value) if name in _JSON_COLUMNS and value is not None else value


def _descending(heap: Iterable[tuple[float, int, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [line for _, _, line in sorted(heap, key=lambda entry: entry[:2], reverse=True)]
