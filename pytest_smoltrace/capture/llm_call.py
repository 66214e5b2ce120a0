"""One LLM call while it happens: what was sent, what came back, and when.

A call is fed by the model tap (what smolagents sees) and by the wire hooks (what the client
library sees). Where both see it, the wire decides: only it has ids, finish reasons, cached and
reasoning tokens, and the times of the real chunks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Span, StatusCode

from pytest_smoltrace import taxonomy
from pytest_smoltrace.capture.answer import Answer, Clock
from pytest_smoltrace.capture.limits import CaseStopped
from pytest_smoltrace.capture.payloads import (
    HIDDEN,
    converse_usage,
    dumps,
    field,
    settings_of,
    tool_definitions,
    usage_of,
)
from pytest_smoltrace.capture.traffic import Traffic
from pytest_smoltrace.capture.watchdog import LimitReached
from pytest_smoltrace.counting import HTTP_REQUESTS, KIND, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pytest_smoltrace.capture.limits import Scope

_TOKENS = {
    "gen_ai.usage.input_tokens": "prompt",
    "gen_ai.usage.output_tokens": "completion",
    "gen_ai.usage.cache_read.input_tokens": "cache_read",
    "gen_ai.usage.cache_write.input_tokens": "cache_write",
    "gen_ai.usage.reasoning.output_tokens": "reasoning",
}
# A limit that fires between the agent's question and the client's request leaves no call behind.
UNSENT = {KIND: "CHAIN", "gen_ai.operation.name": "unsent"}
_REASONING_FIELDS = ("reasoning_content", "reasoning")


class LLMCallInProgress:
    """What is known about a call so far."""

    def __init__(
        self,
        span: Span,
        *,
        model: Any,
        hide_content: bool,
        bill: Callable[[Usage | None, bool], None] | None = None,
    ) -> None:
        self.span = span
        self.model = model
        self.nested = False
        """True for a call that another model makes while it answers."""
        self.over_http = False
        """True when every request of the client passes the transport's hooks."""
        self.scope: Scope | None = None
        """What the call is a part of; None outside every test function."""
        self._cut_off = False
        self._open = [True]
        self._bill = bill
        self.on_wire = False
        """True while a wire hook is already watching this call."""
        self._hide = hide_content
        self.clock = Clock()
        self._answer = Answer()
        self._sent: Mapping[str, Any] = {}
        self._wire_seen = False
        self._is_counted = False
        self._usages: list[Usage] = []
        self._attributes: dict[str, Any] = {}
        self.traffic = Traffic()

    def usage(self) -> Usage | None:
        """Return what the call has used so far; None when nothing is known."""
        read, written = self._tokens_of("prompt"), self._tokens_of("completion")
        if read is None and written is None:
            return None
        return Usage(
            prompt=read,
            completion=written,
            cache_read=self._tokens_of("cache_read"),
            cache_write=self._tokens_of("cache_write"),
            reasoning=self._tokens_of("reasoning"),
        )

    def note_retry(self, status: int | None, *, asked_s: float | None, wait_s: float) -> None:
        """Note that the call waits before it is sent again."""
        values = {
            "http.response.status_code": status,
            "smoltrace.retry_after": asked_s,
            "smoltrace.wait": wait_s,
        }
        self.span.add_event("retry", {k: v for k, v in values.items() if v is not None})
        self._usages.clear()

    def note_wait(self, seconds: float) -> None:
        """Note that the call waited for a free slot of its endpoint."""
        self.span.add_event("slot", {"smoltrace.wait": seconds})
        self.clock.start()

    @property
    def ended(self) -> bool:
        """Whether the call has come to its end."""
        return not self._open

    def sending(self, settings: Mapping[str, Any], *, wire: bool) -> None:
        """Note the keyword arguments of the request."""
        self._sent = settings
        if wire:
            self._wire_seen = True
            self.clock.start()

    def received(self, response: Any) -> None:
        """Note a whole (not streamed) response of a client library."""
        self._note_head(response)
        self._usages.append(usage_of(field(response, "usage")))
        for choice in (field(response, "choices") or ())[:1]:
            self._note_finish(choice)
            self._answer.message(field(choice, "message"))

    def streaming(self) -> None:
        """Note that a stream begins: its usage replaces itself with every chunk."""
        self._usages.append(Usage(prompt=None, completion=None))

    def chunk(self, chunk: Any) -> None:
        """Note one chunk of a client library's stream."""
        self._note_head(chunk)
        usage = field(chunk, "usage")
        if usage is not None:
            self._usages[-1] = usage_of(usage)
        for choice in (field(chunk, "choices") or ())[:1]:
            self._note_finish(choice)
            self.delta(field(choice, "delta"))

    def delta(self, delta: Any) -> None:
        """Note the content of one chunk, and its time when it has any."""
        said = (field(delta, name) for name in ("content", "tool_calls", *_REASONING_FIELDS))
        if any(said):
            self.clock.piece()
            self._answer.delta(delta)

    def generated(self, usage: Usage, reason: str) -> None:
        """Note what a local model made; its own count goes before that of smolagents."""
        self._usages = [*self._usages, usage] if self._is_counted else [usage]
        self._is_counted = True
        self._attributes["gen_ai.response.finish_reasons"] = [reason]

    def smolagents_delta(self, delta: Any) -> None:
        """Note a delta of `generate_stream`, unless the wire has it already."""
        if self._wire_seen:
            return
        if not self._usages:
            self.streaming()
        usage = field(delta, "token_usage")
        if usage is not None and not self._is_counted:
            before = self._usages[-1]
            self._usages[-1] = Usage(
                prompt=(before.prompt or 0) + usage.input_tokens,
                completion=(before.completion or 0) + usage.output_tokens,
            )
        self.delta(delta)

    def smolagents_message(self, message: Any) -> None:
        """Note the message that `generate` returned; fills what the wire did not show."""
        if not self._wire_seen:
            raw = field(message, "raw")
            if field(raw, "choices") is not None:
                self.received(raw)
            elif field(raw, "stopReason") is not None:
                self._note_converse(raw)
            elif field(message, "token_usage") is not None and not self._is_counted:
                usage = field(message, "token_usage")
                self._usages = [Usage(prompt=usage.input_tokens, completion=usage.output_tokens)]
        if self._answer.is_empty:
            self._answer.message(message)

    def fail(self, error: BaseException) -> None:
        """Note the exception that ended the call."""
        if self.ended:  # a limit ended it before its thread noticed
            return
        self._cut_off = not isinstance(error, Exception)
        self._attributes["error.type"] = _error_type(error)
        self.span.record_exception(error)
        self.span.set_status(StatusCode.ERROR, taxonomy.one_line(error))

    def end(self) -> None:
        """Write everything onto the span and end it, once."""
        try:
            self._open.pop()  # atomic: a limit may end the call of another thread
        except IndexError:
            return
        attributes = {
            **settings_of(self._sent),
            **self._attributes,
            **self._tokens(),
            **self.clock.attributes(),
        }
        attributes["output.value"] = HIDDEN if self._hide else self._answer.dumps()
        attributes["output.mime_type"] = "application/json"
        tools = tool_definitions(self._sent)
        if tools:
            attributes["llm.tools"] = dumps(tools)
        if self._cut_off and self.over_http and self.traffic.requests is None:
            attributes |= UNSENT
        self.span.set_attributes(attributes)
        self.span.end()
        if self._bill is not None and not self.nested:
            self._bill(self.usage(), "error.type" in self._attributes)

    def _note_head(self, response: Any) -> None:
        for value, key in (
            (field(response, "id"), "gen_ai.response.id"),
            (field(response, "model"), "gen_ai.response.model"),
        ):
            if isinstance(value, str) and value:
                self._attributes[key] = value

    def _note_converse(self, response: Mapping[str, Any]) -> None:
        """Note a response of Bedrock."""
        self._attributes["gen_ai.response.finish_reasons"] = [str(response["stopReason"])]
        self._usages = [converse_usage(field(response, "usage"))]

    def _note_finish(self, choice: Any) -> None:
        reason = field(choice, "finish_reason")
        if reason:
            self._attributes["gen_ai.response.finish_reasons"] = [str(reason)]

    def _tokens(self) -> dict[str, Any]:
        figures = {key: self._tokens_of(name) for key, name in _TOKENS.items()}
        figures[HTTP_REQUESTS] = self.traffic.requests
        return {key: value for key, value in figures.items() if value is not None}

    def _tokens_of(self, name: str) -> int | None:
        return _sum(getattr(usage, name) for usage in self._usages)


def _error_type(error: BaseException) -> str:
    """Return the taxonomy value of what ended a call."""
    if isinstance(error, LimitReached):
        return "timeout"
    if isinstance(error, CaseStopped):
        return error.error_type
    return taxonomy.error_type(error, from_model=True)


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
