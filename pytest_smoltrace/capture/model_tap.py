"""Every call of any smolagents model passes through one function here and gives one LLM span."""

from __future__ import annotations

import functools
import itertools
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from pytest_smoltrace.capture.limits import CaseStopped
from pytest_smoltrace.capture.llm_call import UNSENT, LLMCallInProgress
from pytest_smoltrace.capture.local_generate import GenerateHook
from pytest_smoltrace.capture.model_classes import ModelClasses
from pytest_smoltrace.capture.model_identity import Families, display_id, system_name
from pytest_smoltrace.capture.payloads import HIDDEN, message_texts, start_attributes
from pytest_smoltrace.capture.transport import TransportHooks
from pytest_smoltrace.capture.wire import WireHooks
from pytest_smoltrace.counting import is_llm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_smoltrace.capture.gate import Gate

_OVER_HTTP = ("openai", "azure", "ollama", "litellm", "inference")


class CaseSpans(Protocol):
    """What the tap needs to know about the case that runs."""

    def parent_context(self) -> otel_context.Context | None:
        """Return the context that a new call belongs to; None outside every case."""

    def note_messages(self, span_id: int, texts: tuple[str, ...]) -> None:
        """Keep the messages of a request apart, so that repeated ones are stored once."""

    def note_model_error(self, error: BaseException) -> None:
        """Note an exception that a model call raised."""


class ModelTap:
    """The tap of one session."""

    def __init__(
        self,
        tracer: trace.Tracer,
        case: CaseSpans,
        families: Families,
        gate: Gate,
        *,
        hide_content: bool,
    ) -> None:
        self._tracer = tracer
        self._gate = gate
        self._case = case
        self._families = families
        self._hide = hide_content
        self._active: ContextVar[LLMCallInProgress | None] = ContextVar("llm_call", default=None)
        self._classes = ModelClasses(self._wrapper, lambda: self._active.get() is not None)
        self._under_way: list[LLMCallInProgress] = []
        self.wire = WireHooks(self)
        self._transport = TransportHooks(self, gate.limits)
        self._generate_hook = GenerateHook(self)

    def snapshot(self) -> None:
        """Remember the models' own methods before anybody else wraps them."""
        self._classes.snapshot()

    def install(self) -> None:
        """Wrap every model class, present and future; other wrappers of models are bypassed."""
        self._classes.install()
        self.install_clients()

    def install_clients(self) -> None:
        """Hook the client libraries that have been imported by now."""
        self.wire.install()
        self._transport.install()
        self._generate_hook.install()

    def uninstall(self) -> None:
        """Give every class its own methods back."""
        self._generate_hook.uninstall()
        self._transport.uninstall()
        self.wire.uninstall()
        self._classes.uninstall()

    def cut_off(self, *, interrupted: bool = False) -> None:
        """End the calls that a limit, or an interrupt, left behind: their requests were sent."""
        for call in self._under_way:
            stop = call.scope.stopped() if call.scope is not None else None
            if call.ended or not (stop or interrupted):
                continue
            if stop is not None:
                call.fail(stop)
            call.traffic.hang_up()
            call.end()

    def active(self) -> LLMCallInProgress | None:
        """Return the call that this thread of control is in."""
        return self._active.get()

    @contextmanager
    def sent_direct(self, call: LLMCallInProgress) -> Iterator[None]:
        """Make a call of a client used directly the active one, within its time limit."""
        with self._gate.timed(call), self._current(call):
            yield

    @contextmanager
    def attached(self, call: LLMCallInProgress) -> Iterator[None]:
        """Make a call that a coroutine makes directly the active one, within its time limit."""
        with self._gate.timed_task(call), self._current(call):
            yield

    @contextmanager
    def _current(self, call: LLMCallInProgress) -> Iterator[None]:
        """Make the call the active one and its span the current one."""
        token = self._active.set(call)
        span = otel_context.attach(trace.set_span_in_context(call.span))
        try:
            yield
        finally:
            otel_context.detach(span)
            self._active.reset(token)

    def begin_direct(
        self, provider: str | None, request: dict[str, Any], operation: str
    ) -> LLMCallInProgress | None:
        """Begin a call of a client that is used without a smolagents model."""
        try:
            self._gate.check()
        except CaseStopped:
            _mark_unsent(trace.get_current_span())
            raise
        model_id = request.get("model")
        messages = request.get("messages")
        call = self._begin(None, model_id, None, provider, messages, operation=operation)
        if call is not None:
            call.over_http = True
        return call

    def _wrapper(self, name: str, original: Any) -> Any:
        if name == "generate_stream":

            @functools.wraps(original)
            def generate_stream(model: Any, *args: Any, **kwargs: Any) -> Any:
                return self._stream(original, model, args, kwargs)

            return generate_stream

        @functools.wraps(original)
        def generate(model: Any, *args: Any, **kwargs: Any) -> Any:
            return self._generate(original, model, args, kwargs)

        return generate

    def _generate(self, original: Any, model: Any, args: Any, kwargs: Any) -> Any:
        call = self._begin_model(model, args, kwargs)
        if call is None:
            return _bound(original, model)(*args, **kwargs)
        try:
            send = functools.partial(_bound(original, model), *args, **kwargs)
            message = self._answer(call, model, send)
            call.smolagents_message(message)
        except BaseException as error:
            call.fail(error)
            self._case.note_model_error(error)
            raise
        finally:
            call.end()
        return message

    def _answer(self, call: LLMCallInProgress, model: Any, send: Callable[[], Any]) -> Any:
        """Return what the model answers, after a wait for each rate limit that it meets."""
        attempt = 0
        while True:
            try:
                with self._gate.slot(call, model), self._gate.timed(call), self._current(call):
                    return send()
            except Exception as error:
                if not self._is_sent_again(call, error, attempt):
                    raise
            attempt += 1

    def _is_sent_again(self, call: LLMCallInProgress, error: Exception, attempt: int) -> bool:
        may = call.traffic.retried_above and attempt < self._gate.retries(call.model)
        return may and self._gate.wait_for_retry(call, error, attempt)

    def _stream(self, original: Any, model: Any, args: Any, kwargs: Any) -> Iterator[Any]:
        call = self._begin_model(model, args, kwargs)
        if call is None:
            yield from _bound(original, model)(*args, **kwargs)
            return
        try:
            begin = functools.partial(_bound(original, model), *args, **kwargs)
            yield from self._all_deltas(call, model, begin)
        except GeneratorExit:
            raise
        except BaseException as error:
            call.fail(error)
            self._case.note_model_error(error)
            raise
        finally:
            call.end()

    def _all_deltas(
        self, call: LLMCallInProgress, model: Any, begin: Callable[[], Any]
    ) -> Iterator[Any]:
        for attempt in itertools.count():
            begun = False
            try:
                with self._gate.slot(call, model):
                    for delta in self._deltas(call, begin()):
                        begun = True
                        yield delta
            except Exception as error:
                # What the agent has seen cannot be taken back.
                if begun or not self._is_sent_again(call, error, attempt):
                    raise
            else:
                return

    def _deltas(self, call: LLMCallInProgress, deltas: Any) -> Iterator[Any]:
        # Only the provider's work runs inside the call: what the consumer does between two
        # chunks must not.
        try:
            while True:
                with self._gate.timed(call), self._current(call):
                    delta = next(deltas, None)
                if delta is None:
                    return
                call.smolagents_delta(delta)
                yield delta
        finally:
            deltas.close()

    def _begin_model(self, model: Any, args: Any, kwargs: Any) -> LLMCallInProgress | None:
        active = self._active.get()
        if active is not None and active.model is model:
            return None  # an inner generate of the same call: super(), or one in terms of the other
        self._gate.check()
        self.install_clients()
        family = self._families.of(model)
        messages = args[0] if args else kwargs.get("messages")
        call = self._begin(model, display_id(model), family, system_name(family), messages)
        if call is not None:
            call.nested, call.over_http = active is not None, family in _OVER_HTTP
            call.traffic.retried_above = not call.nested
            call.sending({**_own_settings(model), **kwargs}, wire=False)
        return call

    def _begin(
        self,
        model: Any,
        model_id: Any,
        family: str | None,
        system: str | None,
        messages: Any,
        *,
        operation: str = "chat",
    ) -> LLMCallInProgress | None:
        context = self._case.parent_context()
        if context is None:
            return None
        attributes = start_attributes(model_id, family, system, operation)
        texts = () if self._hide else message_texts(messages)
        attributes["input.value"] = HIDDEN if self._hide else f"[{','.join(texts)}]"
        span = self._tracer.start_span(
            f"{operation} {model_id}", context=context, kind=SpanKind.CLIENT, attributes=attributes
        )
        self._case.note_messages(span.get_span_context().span_id, texts)
        bill = self._gate.budgets.account(model_id, system)
        call = LLMCallInProgress(span, model=model, hide_content=self._hide, bill=bill)
        call.scope = self._gate.limits.current()
        self._under_way = [one for one in self._under_way if not one.ended]
        self._under_way.append(call)
        return call


def _mark_unsent(span: Any) -> None:
    """Take a span that somebody else began around a refused call out of the count of calls."""
    if is_llm(getattr(span, "attributes", None) or {}):
        span.set_attributes(UNSENT)


def _bound(original: Any, model: Any) -> Any:
    # Bound as Python does it: a wrapper that somebody else put there looks for its instance.
    return original.__get__(model, type(model))


def _own_settings(model: Any) -> dict[str, Any]:
    settings = getattr(model, "kwargs", None)
    return dict(settings) if isinstance(settings, dict) else {}
