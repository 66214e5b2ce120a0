"""Observe: tracing, the model tap and the agent watch of one session."""

from __future__ import annotations

import functools
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry import trace

from pytest_smoltrace.capture.agent import AgentWatch
from pytest_smoltrace.capture.budgets import Budgets
from pytest_smoltrace.capture.case import Case
from pytest_smoltrace.capture.gate import Gate
from pytest_smoltrace.capture.imports import Imports
from pytest_smoltrace.capture.instrumentors import Instrumentors, start_openai
from pytest_smoltrace.capture.limits import CaseStopped, Limits
from pytest_smoltrace.capture.model_identity import Families
from pytest_smoltrace.capture.model_tap import ModelTap
from pytest_smoltrace.capture.process_ticks import ProcessTicks
from pytest_smoltrace.capture.threads import ThreadHooks
from pytest_smoltrace.capture.tool_limit import ToolLimit
from pytest_smoltrace.capture.tracing import SpanStore, provider_for, tracer_of
from pytest_smoltrace.capture.watchdog import LimitReached
from pytest_smoltrace.capture.wire import CLIENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_smoltrace.config import Limits as Bounds
    from pytest_smoltrace.coordination import Coordination
    from pytest_smoltrace.counting import Pricer
    from pytest_smoltrace.facts import AgentRun, CaseRecord, Declared
    from pytest_smoltrace.raw_span import RawSpan

__all__ = ["Capture", "Case", "CaseStopped", "LimitReached"]


class Capture:
    """Everything that observes the cases of one process, one case at a time."""

    def __init__(
        self,
        price: Pricer,
        *,
        bounds: Bounds,
        coordination: Coordination | None,
        hide_content: bool,
        worker_id: str,
    ) -> None:
        self.current: Case | None = None
        self.stopped: CaseStopped | None = None
        """What stopped the test function of the current case, whoever noticed."""
        self.clean: Callable[[str], str] = str
        """Takes secrets out of texts that are cut."""
        self.limits = Limits()
        self._bounds = bounds
        self._coordination = coordination
        self.families = Families()
        self._price = price
        self._hide = hide_content
        self._worker_id = worker_id
        self._store = SpanStore()
        self._ticks = ProcessTicks()
        self._provider = provider_for(self._store)
        self._tracer = tracer_of(self._provider)
        self._instrumentors = Instrumentors()
        self._watch = AgentWatch(
            self.families, self._note_run, self._tool_spans, self._model_errors
        )
        self.budgets = Budgets(bounds, price, coordination, lambda: self.current, self._steps)
        gate = Gate(self.limits, bounds, self.budgets, self, coordination)
        self._tap = ModelTap(self._tracer, self, self.families, gate, hide_content=hide_content)
        self._tool_limit = ToolLimit(self.limits, bounds.tool_timeout)
        self._threads = ThreadHooks(self.limits, self._is_in_case, self._is_in_call)
        self._imports = Imports(
            {"openai": self._openai_imported, **dict.fromkeys(CLIENTS, self._tap.install_clients)}
        )
        self._closed: deque[int] = deque(maxlen=1000)

    def start(self) -> None:
        """Begin to observe."""
        self.limits.watchdog.start()
        self._ticks.start()
        self._tap.snapshot()
        self._tool_limit.install()
        self._instrumentors.start(self._provider, hide_content=self._hide)
        self._tap.install()
        self._watch.install()
        self._threads.install()
        self._imports.install()

    def stop(self) -> None:
        """Give every library its own functions back."""
        self._imports.uninstall()
        self._threads.uninstall()
        self._watch.uninstall()
        self._tap.uninstall()
        self._instrumentors.stop()
        self._tool_limit.uninstall()
        self._ticks.stop()
        self.limits.watchdog.stop()
        self._store.shutdown()

    def _openai_imported(self) -> None:
        start_openai()
        self._tap.install_clients()

    def open(self, declared: Declared, attempt: int) -> Case:
        """Begin an attempt; it is the current case until `close`."""
        self._tap.install_clients()
        self._watch.forget()
        self.limits.watchdog.paused = False
        self.stopped = None
        self.current = Case(
            declared,
            attempt,
            store=self._store,
            ticks=self._ticks,
            tracer=self._tracer,
            price=self._price,
            hide_content=self._hide,
            worker_id=self._worker_id,
        )
        return self.current

    @contextmanager
    def limited(self, case: Case) -> Iterator[None]:
        """Run the test function of a case within its time limit.

        Raises:
            CaseStopped: The limit is over.
        """
        limit_s = case.declared.timeout_s or self._bounds.case_timeout
        opened = (
            self.limits.scope()
            if limit_s is None
            else self.limits.limited(limit_s, functools.partial(_too_late, case, limit_s))
        )
        with opened as scope:
            self.limits.outermost = scope
            try:
                yield
                self.limits.check()
            finally:
                self.limits.outermost = None
                self.stopped = scope.stopped()
                self._tap.cut_off()

    def waiting(self, why: str, seconds: float | None) -> None:
        """Note that the current case waits, and for how long if that is known."""
        if self._coordination is not None and self.current is not None:
            until = None if seconds is None else time.time() + seconds
            self._coordination.waiting(self.current.declared.nodeid, why, until)

    def resumed(self) -> None:
        """Note that the current case goes on."""
        if self._coordination is not None:
            self._coordination.resumed()

    def end_streams(self) -> None:
        """End what the current case began to stream and left where it is."""
        self._watch.end_streams()

    def close(self, case: Case) -> CaseRecord:
        """End an attempt and return its record."""
        self._tap.cut_off(interrupted=case.notes.outcome == "interrupted")
        self.current = None
        self._closed.append(case.trace_id)
        return case.finish(self.clean)

    def parent_context(self) -> otel_context.Context | None:
        """Return the context that a new LLM call belongs to; None outside every case."""
        case = self.current
        if case is None:
            return None
        context = otel_context.get_current()
        here = trace.get_current_span(context).get_span_context()
        if here.trace_id == case.trace_id:
            return context
        if not here.is_valid:
            return case.phase_context()
        # A thread that outlived its case must not spend on the account of the next one.
        return None if here.trace_id in self._closed else context

    @contextmanager
    def in_phase(self) -> Iterator[None]:
        """Make the phase that runs the current span, where one of the past is left."""
        case = self.current
        if case is None or case.is_here:
            yield
            return
        token = otel_context.attach(case.phase_context())
        try:
            yield
        finally:
            otel_context.detach(token)

    def _is_in_case(self) -> bool:
        """Return whether this thread of control belongs to the current case."""
        case = self.current
        here = trace.get_current_span().get_span_context()
        return case is not None and here.trace_id == case.trace_id

    def _is_in_call(self) -> bool:
        """Return whether this thread of control belongs to the test function of a case."""
        return self._is_in_case() and self.current is not None and self.current.in_call

    def _steps(self) -> int | None:
        """Return the steps of all agents of the case so far; None when no agent runs."""
        running, case = self._watch.steps(), self.current
        if running is None or case is None:
            return None
        return running + sum(run.steps for run in case.notes.runs)

    def note_messages(self, span_id: int, texts: tuple[str, ...]) -> None:
        """Keep the messages of a request apart, so that repeated ones are stored once."""
        if self.current is not None:
            self.current.note_messages(span_id, texts)

    def note_model_error(self, error: BaseException) -> None:
        """Note an exception that a model call raised."""
        if self.current is not None:
            self.current.notes.model_errors.append(error)

    def _note_run(self, run: AgentRun) -> None:
        if self.current is not None:
            self.current.notes.runs.append(run)

    def _model_errors(self) -> list[BaseException]:
        return self.current.notes.model_errors if self.current is not None else []

    def _tool_spans(self) -> list[RawSpan]:
        return self.current.tool_spans() if self.current is not None else []


def _too_late(case: Case, limit_s: float, where: str | None) -> CaseStopped:
    of = "the marker's timeout" if case.declared.timeout_s else "--smoltrace-case-timeout"
    was = f"; it was in {where}" if where else ""
    return CaseStopped(
        f"the case ran longer than its limit of {limit_s:g} s ({of}){was}", "timeout"
    )
