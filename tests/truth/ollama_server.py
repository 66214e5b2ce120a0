"""Scripted server of Ollama's own API: POST /api/chat, whole or as lines of JSON.

Ollama streams unless the request says otherwise, sends a tool call in one piece, has no ids and
tells `prompt_eval_count` and `eval_count` in the last line.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.truth import scripted_server as ss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.truth.scripted_server import JsonObject


class Answer(ss.Completion):
    """One reply bound to the request that it answers."""

    def line(self, message: JsonObject) -> JsonObject:
        """Return one line of a stream."""
        head = {"model": self.model, "created_at": "2026-01-01T00:00:00.000000Z", "done": False}
        return head | {"message": {"role": "assistant", "content": ""} | message}

    def end(self) -> JsonObject:
        """Return what tells the end of an answer."""
        counts = {
            "prompt_eval_count": self.reply.prompt_tokens,
            "eval_count": self.reply.completion_tokens,
        }
        told = counts if self.reply.usage else {}
        return {"done": True, "done_reason": self.finish_reason, "total_duration": 1, **told}

    def whole(self) -> JsonObject:
        """Return the body of an unstreamed reply."""
        message: JsonObject = {"content": self.reply.content or ""}
        if self.reply.reasoning:
            message["thinking"] = self.reply.reasoning
        if self.reply.tool_calls:
            message["tool_calls"] = [_tool(call) for call in self.reply.tool_calls]
        return self.line(message) | self.end()

    def deltas(self) -> Iterator[tuple[str, JsonObject]]:
        """Yield the kind and line of every line that carries output."""
        for name, text in (("thinking", self.reply.reasoning), ("content", self.reply.content)):
            for piece in ss.cut(text, self.reply.chunks) if text else ():
                yield name, self.line({name: piece})
        for call in self.reply.tool_calls:
            yield "tool", self.line({"tool_calls": [_tool(call)]})


def _tool(call: ss.ToolCall) -> JsonObject:
    return {"function": {"name": call.name, "arguments": dict(call.arguments)}}


class OllamaHandler(ss.Handler):
    """Speaks the chat API of Ollama."""

    paths = ("/api/chat",)

    def is_streamed(self, body: JsonObject) -> bool:
        """Return whether the request asks for a stream."""
        return bool(body.get("stream", True))

    def error(self, message: str, kind: str) -> JsonObject:
        """Return the body of an error."""
        return {"error": f"{kind}: {message}"}

    def bind(self, reply: ss.Reply, index: int, body: JsonObject) -> Answer:
        """Return the reply as the answer to this request."""
        return Answer(
            reply=reply,
            index=index,
            response_id="",
            model=reply.model or str(body.get("model", "scripted")),
            finish_reason=reply.finish_reason or "stop",
        )

    def _note_reply(self, completion: ss.Completion) -> None:
        super()._note_reply(completion)
        self._sent["response_id"] = None

    def _note_usage(self, reply: ss.Reply) -> None:
        self._sent["prompt_tokens"] = reply.prompt_tokens
        self._sent["completion_tokens"] = reply.completion_tokens

    def _stream(self, completion: ss.Completion, start_ns: int, _: bool) -> None:
        reply = completion.reply
        self._start(reply.status, reply, {"Content-Type": "application/x-ndjson"})
        lines = list(completion.deltas())
        for number, (kind, line) in enumerate(lines[: len(lines) // 2] if reply.drop else lines):
            delay_s = reply.first_chunk_delay_s + number * reply.between_chunks_s
            self._wait_until(start_ns + int(delay_s * 1e9))
            self._sent["chunk_ns"] += (self._send_event(line),)
            self._sent["chunk_kinds"] += (kind,)
        if reply.drop:
            self._drop()
            return
        self._note_reply(completion)
        if reply.usage:
            self._note_usage(reply)
        last = json.dumps(completion.line({}) | completion.end()).encode() + b"\n"
        self._sent["last_byte_ns"] = self._send_chunk(last, last=True)

    def _send_event(self, event: JsonObject) -> int:
        return self._send_chunk(json.dumps(event).encode() + b"\n")


class OllamaServer(ss.ScriptedServer):
    """Serves a script as Ollama would."""

    def handler(self) -> type[OllamaHandler]:
        return OllamaHandler

    @property
    def url(self) -> str:
        """The base url for LiteLLM, which adds ``/api/chat``."""
        return self.root_url
