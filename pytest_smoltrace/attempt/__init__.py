"""One attempt of one case with everything that its result row and its trace row say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from pytest_smoltrace.attempt.agent import AgentTotals, ToolTotals, agent_totals, tool_totals
from pytest_smoltrace.attempt.ending import Root, Times, Verdict, root_of, times_of, verdict_of
from pytest_smoltrace.attempt.gpu import GpuUse
from pytest_smoltrace.attempt.llm import (
    LLMTotals,
    NonAgentTotals,
    llm_totals,
    non_agent_totals,
    system_of,
)
from pytest_smoltrace.encoding import dumps

if TYPE_CHECKING:
    from pytest_smoltrace.facts import CaseRecord, Declared, SpanTable
    from pytest_smoltrace.session_facts import Header

__all__ = ["Attempt", "GpuUse", "Session", "Standing", "make_attempt", "system_of", "to_json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What every row of a session repeats."""

    session_id: str
    started_us: int
    service_name: str
    service_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the other attempts of the case make of this one."""

    counted: bool
    scored: bool
    pass_at_1_passed: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of one case."""

    session: Session
    run_id: str
    record: CaseRecord
    declared: Declared
    standing: Standing
    verdict: Verdict
    times: Times
    root: Root
    agent: AgentTotals
    tools: ToolTotals
    llm: LLMTotals
    others: NonAgentTotals
    gpu: GpuUse = field(default_factory=GpuUse)

    @property
    def test_case_uid(self) -> str:
        """Agent type and case."""
        return f"{self.agent.agent_type or 'none'}:{self.declared.case_id}"

    @property
    def test_ids(self) -> list[str]:
        """The case, as a list."""
        return [self.declared.case_id]

    @property
    def test_case_uids(self) -> list[str]:
        """Agent type and case, as a list."""
        return [self.test_case_uid]

    @property
    def tags(self) -> list[str]:
        """Declared tags and those added while the case ran, sorted."""
        return sorted({*self.declared.tags, *self.record.tags})

    @property
    def scores(self) -> str | None:
        """Recorded scores as JSON; None when there is none."""
        return to_json(self.record.scores) if self.record.scores else None

    @property
    def extra(self) -> str | None:
        """Values of the user as JSON; None when there is none."""
        return to_json(self.record.extra) if self.record.extra else None

    @property
    def enhanced_trace_info(self) -> str:
        """The figures of the trace as JSON."""
        return to_json(
            {
                "trace_id": self.record.trace_id,
                "root_span_id": self.record.root_span_id,
                "total_tokens": self.llm.usage.total_tokens,
                "duration_ms": self.times.call_ms if self.times.end_us is not None else None,
                "cost_usd": self.llm.cost.total_usd,
                "span_count": self.root.span_count,
            }
        )


def make_attempt(
    record: CaseRecord, spans: SpanTable, *, session: Session, run_id: str, standing: Standing
) -> Attempt:
    """Return the attempt that a record and its spans stand for; it does not keep the spans."""
    return Attempt(
        session=session,
        run_id=run_id,
        record=record,
        declared=record.declared,
        standing=standing,
        verdict=verdict_of(record),
        times=times_of(record.phases),
        root=root_of(record, spans),
        agent=agent_totals(record),
        tools=tool_totals(record),
        llm=llm_totals(record),
        others=non_agent_totals(record),
        gpu=GpuUse(uuids=list(record.gpu_uuids) if record.gpu_uuids else None),
    )


def session_of(header: Header) -> Session:
    """Return what the rows of a session repeat."""
    return Session(
        session_id=header.session_id,
        started_us=header.started_unix_ns // 1000,
        service_name=header.service_name,
    )


def to_json(value: Any) -> str:
    """Return canonical JSON: sorted keys, no spaces."""
    return dumps(value, orjson.OPT_SORT_KEYS).decode()
