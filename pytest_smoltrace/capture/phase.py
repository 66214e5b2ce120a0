"""The phases of an attempt, and what is noted while they run."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.capture.tracing import SCOPE
from pytest_smoltrace.facts import PhaseFact
from pytest_smoltrace.raw_span import RawSpan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span

    from pytest_smoltrace.facts import AgentRun, ErrorFact


@dataclass(slots=True)
class Phase:
    """One phase while it runs and after."""

    when: str
    span: Span
    token: Any
    start_unix_ns: int
    start_mono_ns: int
    end_mono_ns: int | None = None
    outcome: str = "passed"
    error: ErrorFact | None = None


@dataclass(slots=True, kw_only=True)
class Notes:
    """What the test and the plugin said about the case; the fixture writes here."""

    runs: list[AgentRun] = field(default_factory=list)
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    answer_checks: list[bool] = field(default_factory=list)
    model_errors: list[BaseException] = field(default_factory=list)
    judge_errors: list[BaseException] = field(default_factory=list)
    outcome: str | None = None
    """Outcome of the attempt once a report decided it."""
    error: ErrorFact | None = None


def trace_ids(root: Span) -> tuple[int, str]:
    """Return trace id and root span id; made up where tracing is switched off."""
    context = root.get_span_context()
    if context.is_valid:
        return context.trace_id, f"{context.span_id:016x}"
    made_up = uuid.uuid4()
    return made_up.int, made_up.hex[:16]


def phase_fact(phase: Phase) -> PhaseFact:
    """Return a phase as a plain value."""
    return PhaseFact(
        when=phase.when,
        start_unix_ns=phase.start_unix_ns,
        start_mono_ns=phase.start_mono_ns,
        end_mono_ns=phase.end_mono_ns or time.monotonic_ns(),
        outcome=phase.outcome,
    )


def open_span(  # noqa: PLR0917 - one argument for each fact of a span
    span_id: str,
    parent_id: str | None,
    name: str,
    start: int,
    end: int,
    attributes: Mapping[str, Any],
) -> RawSpan:
    """Return a span of our own as a plain value, whether it has ended or not."""
    return RawSpan(
        span_id=span_id,
        parent_id=parent_id,
        name=name,
        kind="INTERNAL",
        start_unix_ns=start,
        end_unix_ns=max(start, end),
        status="UNSET",
        description=None,
        scope=SCOPE,
        attributes=attributes,
    )
