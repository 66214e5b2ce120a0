"""What JUnit XML and other reports of pytest say of an attempt: names and plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_smoltrace.attempt.agent import agent_totals
from pytest_smoltrace.attempt.ending import times_of, verdict_of
from pytest_smoltrace.attempt.llm import llm_totals
from pytest_smoltrace.error_types import UNSCORED

if TYPE_CHECKING:
    from pytest_smoltrace.facts import CaseRecord

Plain = str | int | float
_DECIDED = ("passed", "failed", "error", "xpassed", "xfailed")
"""Outcomes of attempts that came to a verdict."""


def properties_of(record: CaseRecord) -> list[tuple[str, Plain]]:
    """Return the properties of an attempt; what is unknown has none."""
    declared, verdict = record.declared, verdict_of(record)
    agent, llm, times = agent_totals(record), llm_totals(record), times_of(record.phases)
    scored = record.outcome in _DECIDED and verdict.error_category not in UNSCORED
    known: dict[str, Plain | None] = {
        "case_id": declared.case_id,
        "trial": declared.trial,
        "model": agent.model,
        "agent_type": agent.agent_type,
        "trace_id": record.trace_id,
        "success": str(verdict.success).lower() if scored else None,
        "tokens": llm.usage.total_tokens,
        "cost_usd": llm.cost.total_usd,
        "latency_s": times.call_ms / 1000 if times.end_us is not None else None,
        "error_type": verdict.error_type,
    }
    return [(f"smoltrace.{name}", value) for name, value in known.items() if value is not None]
