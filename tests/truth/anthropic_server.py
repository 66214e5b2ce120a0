"""Scripted server of Anthropic's Messages API: POST /v1/messages, whole or as server-sent events.

`Reply.prompt_tokens` is the whole prompt, as in the field contract. What is sent as `input_tokens`
leaves out the tokens read from and written to the cache, as Anthropic does, and the log holds the
sum of what was sent. A stream tells the input tokens in `message_start` and the output tokens in
`message_delta`. `Reply.stream_error` is an error event in the middle of a stream.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.truth import scripted_server as ss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.truth.scripted_server import JsonObject

STOP_REASONS = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length"}
"""What Anthropic sends -> what clients of OpenAI's form make of it."""


def input_usage(reply: ss.Reply) -> JsonObject:
    """Return the part of the usage that is known before the answer."""
    read, written = reply.cached_tokens, reply.cache_write_tokens
    usage: JsonObject = {"input_tokens": reply.prompt_tokens - (read or 0) - (written or 0)}
    if read is not None:
        usage["cache_read_input_tokens"] = read
    if written is not None:
        usage["cache_creation_input_tokens"] = written
    return usage


def output_usage(reply: ss.Reply) -> JsonObject:
    """Return the part of the usage that is known after the answer."""
    usage: JsonObject = {"output_tokens": reply.completion_tokens}
    if reply.reasoning_tokens is not None:
        usage["output_tokens_details"] = {"thinking_tokens": reply.reasoning_tokens}
    return usage | dict(reply.extra_usage)


class Message(ss.Completion):
    """One reply bound to the request that it answers."""

    def blocks(self) -> list[JsonObject]:
        """Return the content blocks."""
        found: list[JsonObject] = []
        if self.reply.reasoning:
            found.append({"type": "thinking", "thinking": self.reply.reasoning, "signature": "s"})
        if self.reply.content:
            found.append({"type": "text", "text": self.reply.content})
        for position, call in enumerate(self.reply.tool_calls):
            name = {"id": call.id or f"toolu_{self.index}_{position}", "name": call.name}
            found.append({"type": "tool_use"} | name | {"input": dict(call.arguments)})
        return found

    def head(self) -> JsonObject:
        """Return the fields that a message has from its start."""
        named = {"id": self.response_id, "model": self.model}
        return {"type": "message", "role": "assistant", "content": []} | named

    def whole(self) -> JsonObject:
        """Return the body of an unstreamed reply."""
        usage = input_usage(self.reply) | output_usage(self.reply)
        end = {"content": self.blocks(), "stop_reason": self.finish_reason, "stop_sequence": None}
        return self.head() | end | ({"usage": usage} if self.reply.usage else {})

    def deltas(self) -> Iterator[tuple[str, JsonObject]]:
        """Yield the kind and event of every event that carries output or opens a block."""
        for index, block in enumerate(self.blocks()):
            kind, empty = block["type"], {"text": "", "thinking": "", "input": {}}
            opened = {name: empty.get(name, value) for name, value in block.items()}
            # The name of a tool is output; what opens a text is not.
            start = kind if kind == "tool_use" else "start"
            yield start, _event("content_block_start", index=index, content_block=opened)
            for piece in _pieces(block, self.reply.chunks):
                yield kind, _event("content_block_delta", index=index, delta=piece)
            yield "stop", _event("content_block_stop", index=index)


def _pieces(block: JsonObject, chunks: int) -> Iterator[JsonObject]:
    if block["type"] == "tool_use":
        for piece in ss.cut(json.dumps(block["input"]), chunks):
            yield {"type": "input_json_delta", "partial_json": piece}
    else:
        kind = block["type"]
        for piece in ss.cut(block[kind], chunks):
            yield {"type": f"{kind}_delta", kind: piece}


def _event(kind: str, **content: object) -> JsonObject:
    return {"type": kind, **content}


class AnthropicHandler(ss.Handler):
    """Speaks the Messages API."""

    paths = ("/v1/messages",)

    def error(self, message: str, kind: str) -> JsonObject:
        """Return the body of an error."""
        return {"type": "error", "error": {"type": kind, "message": message}}

    def bind(self, reply: ss.Reply, index: int, body: JsonObject) -> Message:
        """Return the reply as the answer to this request."""
        return Message(
            reply=reply,
            index=index,
            response_id=reply.response_id or f"msg_scripted_{index}",
            model=reply.model or str(body.get("model", "scripted")),
            finish_reason=reply.finish_reason or ("tool_use" if reply.tool_calls else "end_turn"),
        )

    def _stream(self, completion: ss.Completion, start_ns: int, _: bool) -> None:
        reply = completion.reply
        self._start(reply.status, reply, {"Content-Type": "text/event-stream; charset=utf-8"})
        self._note_reply(completion)
        usage = {"usage": input_usage(reply) | {"output_tokens": 1}} if reply.usage else {}
        self._send_event(_event("message_start", message=completion.head() | usage))
        if not self._send_blocks(completion, start_ns):
            return
        end = {"delta": {"stop_reason": completion.finish_reason, "stop_sequence": None}}
        told = {"usage": output_usage(reply)} if reply.usage else {}
        self._sent["finish_chunk_ns"] = self._send_event(_event("message_delta", **end, **told))
        if reply.usage:
            self._note_usage(reply)
        data = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'
        self._sent["last_byte_ns"] = self._send_chunk(data, last=True)

    def _send_blocks(self, completion: ss.Completion, start_ns: int) -> bool:
        """Send the content and return whether all of it was sent."""
        reply, sent = completion.reply, 0
        deltas = list(completion.deltas())
        cut_off = reply.drop or reply.stream_error is not None
        for kind, event in deltas[: len(deltas) // 2] if cut_off else deltas:
            if kind in ("start", "stop"):
                self._send_event(event)
                continue
            delay_s = reply.first_chunk_delay_s + sent * reply.between_chunks_s
            self._wait_until(start_ns + int(delay_s * 1e9))
            self._sent["chunk_ns"] += (self._send_event(event),)
            self._sent["chunk_kinds"] += (kind,)
            sent += 1
        if reply.stream_error is not None:
            body = dict(reply.stream_error)
            self._send_chunk(b"event: error\ndata: " + json.dumps(body).encode() + b"\n\n", True)
        elif reply.drop:
            self._drop()
        return not cut_off

    def _send_event(self, event: JsonObject) -> int:
        data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
        return self._send_chunk(data.encode())


class AnthropicServer(ss.ScriptedServer):
    """Serves a script as Anthropic would."""

    def handler(self) -> type[AnthropicHandler]:
        return AnthropicHandler

    @property
    def url(self) -> str:
        """The base url for LiteLLM, which adds ``/v1/messages``."""
        return self.root_url
