"""When an attempt ran and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_smoltrace.facts import CaseRecord, PhaseFact, SpanTable

SUCCESSFUL = ("passed", "xpassed")
"""Outcomes of attempts that reached their goal."""

MESSAGE_LIMIT = 4096
"""Longest error message of a result row in characters."""

_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How an attempt ended; every part of the error is None on success and when skipped."""

    success: bool
    error_type: str | None = None
    error_category: str | None = None
    error: str | None = None
    exception_type: str | None = None
    http_status: int | None = None

    @property
    def timed_out(self) -> bool:
        """Whether the time limit of the test fired."""
        return self.error_type == "timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Wall-clock start and monotonic durations of the phases."""

    start_us: int | None = None
    end_us: int | None = None
    start_nano: str | None = None
    end_nano: str | None = None
    call_ms: float = 0.0
    """Duration of the call phase; 0.0 when it has no end."""
    setup_ms: float | None = None
    teardown_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """The trace as its root span shows it."""

    start_ns: int
    end_ns: int
    duration_ms: float | None
    """None when the root span never ended."""
    span_count: int
    orphan_count: int

    @property
    def start_us(self) -> int:
        """Start in microseconds."""
        return self.start_ns // 1000


def verdict_of(record: CaseRecord) -> Verdict:
    """Return the verdict of an attempt."""
    success = record.outcome in SUCCESSFUL
    error = record.error
    if success or error is None or record.outcome == "skipped":
        return Verdict(success=success)
    return Verdict(
        success=False,
        error_type=error.type,
        error_category=error.category,
        error=" ".join(error.message.split())[:MESSAGE_LIMIT],
        exception_type=error.exception_type,
        http_status=error.http_status,
    )


def times_of(phases: Iterable[PhaseFact]) -> Times:
    """Return the times of the executed phases."""
    by_name = {phase.when: phase for phase in phases}
    setup, call = _length_ms(by_name.get("setup")), by_name.get("call")
    teardown = _length_ms(by_name.get("teardown"))
    if call is None:
        return Times(setup_ms=setup, teardown_ms=teardown)
    start = call.start_unix_ns
    end = start + call.end_mono_ns - call.start_mono_ns
    return Times(
        start_us=start // 1000,
        end_us=end // 1000,
        start_nano=str(start),
        end_nano=str(end),
        call_ms=(end - start) / _NS_PER_MS,
        setup_ms=setup,
        teardown_ms=teardown,
    )


def _length_ms(phase: PhaseFact | None) -> float | None:
    return None if phase is None else (phase.end_mono_ns - phase.start_mono_ns) / _NS_PER_MS


def root_of(record: CaseRecord, spans: SpanTable) -> Root:
    """Return the root span of a record among its spans."""
    at = spans.span_id.index(record.root_span_id)
    start_ns = spans.start_unix_ns[at]
    end_ns = max(start_ns, spans.end_unix_ns[at])  # the wall clock may have been set back
    return Root(
        start_ns=start_ns,
        end_ns=end_ns,
        duration_ms=(end_ns - start_ns) / _NS_PER_MS if record.complete else None,
        span_count=len(spans.span_id),
        orphan_count=len(spans.orphans),
    )
