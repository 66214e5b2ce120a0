"""What a model answers, put together from its pieces, and when they came."""

from __future__ import annotations

import time
from typing import Any

from pytest_smoltrace.capture.payloads import dumps, field
from pytest_smoltrace.counting import STREAM_SECONDS


class Answer:
    """The text and the tool calls of one answer so far."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._tool_calls: dict[int, dict[str, Any]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been said yet."""
        return not self._text and not self._tool_calls

    def message(self, message: Any) -> None:
        """Note a whole message."""
        content = field(message, "content")
        if content is not None:
            self._text = [content if isinstance(content, str) else dumps(content)]
        for index, call in enumerate(field(message, "tool_calls") or ()):
            self._tool_call(call, index)

    def delta(self, delta: Any) -> None:
        """Note a piece of a message."""
        text = field(delta, "content")
        if text:
            self._text.append(str(text))
        for call in field(delta, "tool_calls") or ():
            self._tool_call(call, field(call, "index"))

    def dumps(self) -> str:
        """Return the answer as the JSON of a message."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._text) or None}
        if self._tool_calls:
            message["tool_calls"] = [self._tool_calls[key] for key in sorted(self._tool_calls)]
        return dumps(message)

    def _tool_call(self, call: Any, place: int | None) -> None:
        function = field(call, "function")
        entry = self._tool_calls.setdefault(place or 0, {"id": None, "name": "", "arguments": ""})
        entry["id"] = field(call, "id") or entry["id"]
        entry["name"] = field(function, "name") or entry["name"]
        arguments = field(function, "arguments")
        if arguments is not None:
            entry["arguments"] += arguments if isinstance(arguments, str) else dumps(arguments)


class Clock:
    """When a request left, and when the first and the last piece of its stream came."""

    def __init__(self) -> None:
        self._started_ns = time.perf_counter_ns()
        self._first_ns: int | None = None
        self._last_ns: int | None = None
        self._by_token = False

    def start(self) -> None:
        """Note that the request leaves now; the last one counts when a client retries."""
        # What litellm asks Ollama after an answer, about its model, is another request.
        if self._first_ns is None:
            self._started_ns = time.perf_counter_ns()

    def piece(self) -> None:
        """Note that a piece of the answer came."""
        # A text is handed on when its word has ended, after its tokens.
        if not self._by_token:
            self._tick()

    def token(self) -> None:
        """Note that a token was made; pieces do not count any more."""
        self._by_token = True
        self._tick()

    def attributes(self) -> dict[str, Any]:
        """Return the times of a stream as span attributes, none of an answer in one piece."""
        if self._first_ns is None or self._last_ns is None:
            return {}
        return {
            "gen_ai.server.ttft": (self._first_ns - self._started_ns) / 1e9,
            STREAM_SECONDS: (self._last_ns - self._first_ns) / 1e9,
        }

    def _tick(self) -> None:
        self._last_ns = time.perf_counter_ns()
        if self._first_ns is None:
            self._first_ns = self._last_ns
