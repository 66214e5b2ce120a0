"""One attempt of one case while it runs: its root span, its phases and what it noted."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from pytest_smoltrace.capture.bundle import span_table
from pytest_smoltrace.capture.phase import Notes, Phase, open_span, phase_fact, trace_ids
from pytest_smoltrace.capture.resident import resident_mib
from pytest_smoltrace.capture.settle import settle
from pytest_smoltrace.capture.tracing import SpanStore, raw_span
from pytest_smoltrace.counting import KIND, PHASE, ROLE, Count, Pricer, count
from pytest_smoltrace.facts import AgentRun, CaseRecord, Declared, ErrorFact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from pytest_smoltrace.capture.process_ticks import ProcessTicks
    from pytest_smoltrace.raw_span import RawSpan


class Case:
    """The running attempt."""

    def __init__(
        self,
        declared: Declared,
        attempt: int,
        *,
        store: SpanStore,
        ticks: ProcessTicks,
        tracer: trace.Tracer,
        price: Pricer,
        hide_content: bool,
        worker_id: str,
    ) -> None:
        self.declared = declared
        self.attempt = attempt
        self.notes = Notes()
        self._store = store
        self._tracer = tracer
        self._price = price
        self._hide = hide_content
        self._worker_id = worker_id
        self._phases: list[Phase] = []
        self._messages: dict[str, tuple[str, ...]] = {}
        self._values: dict[ReadableSpan, RawSpan] = {}
        self._ticks = ticks
        self._use = ticks.begin()
        self._started_unix_ns, self._started_mono_ns = time.time_ns(), time.monotonic_ns()
        # An empty context: a crashed agent run may have left its own behind.
        self.root = tracer.start_span(
            declared.nodeid,
            start_time=self._started_unix_ns,
            context=otel_context.Context(),
            attributes={
                KIND: "CHAIN",
                "test.case.name": declared.case_id,
                **({ROLE: declared.role} if declared.role else {}),
            },
        )
        self.trace_id, self.root_id = trace_ids(self.root)
        self._root_context = trace.set_span_in_context(self.root, otel_context.Context())
        self._recorded = True
        store.open(self.trace_id)

    @contextmanager
    def phase(self, when: str) -> Iterator[None]:
        """Scope one phase: its span is the current one."""
        self._enter(when)
        try:
            yield
        except BaseException as error:
            self._leave(error)
            raise
        self._leave(None)

    def interrupt(self) -> None:
        """End the attempt where it is: the session stops."""
        self.notes.outcome = "interrupted"
        self.notes.error = ErrorFact(
            type="interrupted", category="harness", message="the session stopped during the case"
        )
        for phase in self._phases:
            if phase.end_mono_ns is None:
                phase.end_mono_ns = time.monotonic_ns()
                phase.span.end(self._now_ns())
        self.root.end(self._now_ns())

    def _enter(self, when: str) -> None:
        span = self._tracer.start_span(
            when,
            context=self._root_context,
            attributes={KIND: "CHAIN", PHASE: when},
            start_time=self._now_ns(),
        )
        token = otel_context.attach(trace.set_span_in_context(span, otel_context.Context()))
        self._phases.append(Phase(when, span, token, self._now_ns(), time.monotonic_ns()))

    def _leave(self, error: BaseException | None) -> None:
        phase = self._phases[-1]
        settle()
        phase.end_mono_ns = time.monotonic_ns()
        if error is not None:
            phase.span.set_status(StatusCode.ERROR, type(error).__name__)
        phase.span.end(self._now_ns())
        otel_context.detach(phase.token)

    def note_report(self, when: str, outcome: str, error: ErrorFact | None) -> None:
        """Note what pytest reported about a phase."""
        for phase in self._phases:
            if phase.when == when:
                phase.outcome, phase.error = outcome, error

    def close_root(self) -> None:
        """End the root span; nothing may be recorded after it."""
        if self.notes.outcome in ("failed", "error"):
            self.root.set_status(StatusCode.ERROR)
        self.root.end(self._now_ns())

    def _now_ns(self) -> int:
        """Return the time on the wall clock of the start: somebody may set it during a case."""
        return self._started_unix_ns + time.monotonic_ns() - self._started_mono_ns

    def note_messages(self, span_id: int, texts: tuple[str, ...]) -> None:
        """Keep the messages of a request apart, so that repeated ones are stored once."""
        if texts:
            self._messages[f"{span_id:016x}"] = texts

    def phase_context(self) -> otel_context.Context:
        """Return a context in which the current phase is the current span."""
        span = self._phases[-1].span if self._phases else self.root
        return trace.set_span_in_context(span, otel_context.Context())

    @contextmanager
    def role(self, name: str) -> Iterator[None]:
        """Scope the LLM calls inside as `judge` or `simulator`: they are not the agent's."""
        with self._tracer.start_as_current_span(name, attributes={KIND: "CHAIN", ROLE: name}):
            token = otel_context.attach(otel_context.set_value(ROLE, name))
            try:
                yield
            except BaseException as error:
                if name == "judge" and not _is_verdict(error):
                    self.notes.judge_errors.append(error)
                raise
            finally:
                otel_context.detach(token)

    def active_role(self) -> str:
        """Return the role of an LLM call that begins here."""
        role = otel_context.get_value(ROLE) or self.declared.role
        return str(role) if role else "agent"

    @property
    def in_call(self) -> bool:
        """Whether the test function runs."""
        return bool(self._phases) and self._phases[-1].when == "call"

    @property
    def is_here(self) -> bool:
        """Whether the current span belongs to the phase that runs."""
        here = trace.get_current_span().get_span_context()
        ended = [phase.span.get_span_context().span_id for phase in self._phases[:-1]]
        return here.trace_id == self.trace_id and here.span_id not in ended

    def tool_spans(self) -> list[RawSpan]:
        """Return the TOOL spans that have finished so far."""
        spans = self._finished(self._store.peek(self.trace_id))
        return [span for span in spans if span.attributes.get(KIND) == "TOOL"]

    def count_so_far(self) -> Count:
        """Count the calls that have finished so far."""
        spans = self._finished(self._store.peek(self.trace_id))
        known = {span.span_id for span in spans}
        still_open = [s for s in self._own_spans() if s.span_id not in known]
        return count([*still_open, *spans], self._price)

    def top_runs(self) -> list[AgentRun]:
        """Return the runs of top-level agents, in the order in which they ended."""
        return [run for run in self.notes.runs if not run.managed]

    def finish(self, clean: Callable[[str], str] = str) -> CaseRecord:
        """Return everything known about the attempt and forget its spans."""
        spans = self._collect()
        counted = count(spans, self._price)
        table, truncated = span_table(
            spans, counted.roles, self._messages, hide_content=self._hide, clean=clean
        )
        notes = self.notes
        return CaseRecord(
            declared=self.declared,
            attempt=self.attempt,
            trace_id=f"{self.trace_id:032x}",
            root_span_id=self.root_id,
            outcome=notes.outcome or "interrupted",
            error=notes.error,
            phases=tuple(phase_fact(phase) for phase in self._phases),
            runs=tuple(_hidden(run) for run in notes.runs) if self._hide else tuple(notes.runs),
            calls=counted.calls,
            tool_calls=counted.tool_calls if self._recorded else None,
            response_correct=all(notes.answer_checks) if notes.answer_checks else None,
            scores=notes.scores,
            extra=notes.extra,
            tags=tuple(dict.fromkeys(notes.tags)),
            worker_id=self._worker_id,
            host=os.uname().nodename if hasattr(os, "uname") else None,
            pid=os.getpid(),
            truncated=truncated,
            cpu_s=self._use.cpu_s(),
            rss_mib=resident_mib(),
            ticks=self._ticks.end(self._use),
            clock=self._ticks.clock,
            spans=table,
        )

    def _finished(self, spans: Sequence[ReadableSpan]) -> list[RawSpan]:
        """Return finished spans as plain values; a span is converted once."""
        for span in spans:
            if span not in self._values:
                self._values[span] = raw_span(span)
        return [self._values[span] for span in spans]

    def _collect(self) -> list[RawSpan]:
        own, strays = self._store.take(self.trace_id)
        spans = self._finished(own)
        self._recorded = bool(spans)
        started = self._phases[0].start_unix_ns if self._phases else 0
        spans += [
            raw_span(span, orphan=True) for span in strays if (span.start_time or 0) >= started
        ]
        ids = {span.span_id for span in spans}
        root_id = self.root_id
        if root_id not in ids:
            spans += [span for span in self._own_spans() if span.parent_id is None]
            ids.add(root_id)
        return [
            self._adopted(span) if span.span_id != root_id and span.parent_id not in ids else span
            for span in spans
        ]

    def _adopted(self, span: RawSpan) -> RawSpan:
        """Return a span without a parent as a child of the phase that it started in."""
        inside = [p for p in self._phases if p.start_unix_ns <= span.start_unix_ns]
        home = inside[-1].span if inside else self.root
        return replace(span, parent_id=f"{home.get_span_context().span_id:016x}", orphan=True)

    def _own_spans(self) -> list[RawSpan]:
        """Return the root and the phases as they are, finished or not."""
        root_id = self.root_id
        started = self._phases[0].start_unix_ns if self._phases else time.time_ns()
        now = time.time_ns()
        spans = [open_span(root_id, None, self.declared.nodeid, started, now, {KIND: "CHAIN"})]
        for phase in self._phases:
            span_id = f"{phase.span.get_span_context().span_id:016x}"
            attributes = {KIND: "CHAIN", PHASE: phase.when}
            spans.append(
                open_span(span_id, root_id, phase.when, phase.start_unix_ns, now, attributes)
            )
        return spans


def _is_verdict(error: BaseException) -> bool:
    """Return whether an exception is a verdict on the answer, and none on its judge."""
    outcome = any(cls.__name__ == "OutcomeException" for cls in type(error).__mro__)  # pytest.fail
    return outcome or isinstance(error, AssertionError)


def _hidden(run: AgentRun) -> AgentRun:
    from pytest_smoltrace.capture.payloads import HIDDEN

    return replace(
        run,
        prompt=None if run.prompt is None else HIDDEN,
        answer=None if run.answer is None else HIDDEN,
        last_error=None if run.last_error is None else HIDDEN,
    )
