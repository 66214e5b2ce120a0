"""Scripted server of OpenAI that speaks the Responses API beside chat completions.

It also answers text generation of Hugging Face (POST to any other path with `inputs`). Both name
their counts in their own way; the log holds them in the words of the field contract.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.truth import scripted_server as ss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.truth.scripted_server import JsonObject

INCOMPLETE = ("max_output_tokens", "content_filter")


class Response(ss.Completion):
    """One reply as a response of the Responses API."""

    def items(self) -> list[JsonObject]:
        """Return the output items."""
        found: list[JsonObject] = []
        reply = self.reply
        if reply.reasoning:
            summary = [{"type": "summary_text", "text": reply.reasoning}]
            found.append({"type": "reasoning", "id": f"rs_{self.index}", "summary": summary})
        if reply.content is not None:
            text = {"type": "output_text", "text": reply.content, "annotations": []}
            message = {"type": "message", "id": f"msg_{self.index}", "role": "assistant"}
            found.append(message | {"status": "completed", "content": [text]})
        for position, call in enumerate(self.calls()):
            item = {"type": "function_call", "id": f"fc_{self.index}_{position}"}
            function = {"call_id": call["id"], **call["function"]}
            found.append(item | function | {"status": "completed"})
        return found

    def state(self, status: str, output: list[JsonObject]) -> JsonObject:
        """Return the response as it is at one moment."""
        head = {"id": self.response_id, "object": "response", "created_at": 1, "model": self.model}
        fixed = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None}
        return head | fixed | {"status": status, "output": output, "incomplete_details": None}

    def whole(self) -> JsonObject:
        """Return the response when it has ended."""
        incomplete = self.finish_reason in INCOMPLETE
        ended = self.state("incomplete" if incomplete else "completed", self.items())
        if incomplete:
            ended["incomplete_details"] = {"reason": self.finish_reason}
        return ended | ({"usage": usage_json(self.reply)} if self.reply.usage else {})

    def deltas(self) -> Iterator[tuple[str, JsonObject]]:
        """Yield the kind and event of everything between start and end."""
        for place, item in enumerate(self.items()):
            at = {"output_index": place, "item_id": item["id"]}
            if item["type"] == "function_call":
                opened = item | {"arguments": "", "status": "in_progress"}
                yield "tool", _added(place, opened)
                for piece in ss.cut(item["arguments"], self.reply.chunks):
                    kind = "response.function_call_arguments.delta"
                    yield "tool", {"type": kind, **at, "delta": piece}
            elif item["type"] == "message":
                yield "open", _added(place, item | {"content": [], "status": "in_progress"})
                part = {**at, "content_index": 0}
                empty = {"type": "output_text", "text": "", "annotations": []}
                yield "open", {"type": "response.content_part.added", **part, "part": empty}
                for piece in ss.cut(self.reply.content or "", self.reply.chunks):
                    event = {"type": "response.output_text.delta", **part, "logprobs": []}
                    yield "content", event | {"delta": piece}
            else:
                yield "open", _added(place, item | {"summary": []})
                for piece in ss.cut(self.reply.reasoning or "", self.reply.chunks):
                    event = {"type": "response.reasoning_summary_text.delta", "delta": piece}
                    yield "reasoning", event | {**at, "summary_index": 0}
            yield "open", {"type": "response.output_item.done", "output_index": place, "item": item}


def _added(place: int, item: JsonObject) -> JsonObject:
    return {"type": "response.output_item.added", "output_index": place, "item": item}


def usage_json(reply: ss.Reply) -> JsonObject:
    """Return the usage object of the Responses API."""
    read = {"cached_tokens": reply.cached_tokens, "cache_write_tokens": reply.cache_write_tokens}
    return {
        "input_tokens": reply.prompt_tokens,
        "input_tokens_details": _known(read),
        "output_tokens": reply.completion_tokens,
        "output_tokens_details": _known({"reasoning_tokens": reply.reasoning_tokens}),
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
    }


def _known(counts: dict[str, int | None]) -> JsonObject:
    return {name: count for name, count in counts.items() if count is not None}


class Generated(ss.Completion):
    """One reply as text generation of Hugging Face."""

    def told(self) -> JsonObject:
        """Return why the text ended and what was generated."""
        reply = self.reply
        return {"finish_reason": self.finish_reason, "generated_tokens": reply.completion_tokens}

    def whole(self) -> Any:
        """Return the body of an unstreamed reply."""
        prefill = [{"id": n, "text": "t", "logprob": 0.0} for n in range(self.reply.prompt_tokens)]
        details = self.told() | {"prefill": prefill, "tokens": []}
        return [{"generated_text": self.reply.content, "details": details}]

    def deltas(self) -> Iterator[tuple[str, JsonObject]]:
        """Yield each token; the last one is special and has the details."""
        pieces = ss.cut(self.reply.content or "", self.reply.chunks)
        for index, piece in enumerate(pieces):
            yield "content", {"index": index, "token": _token(index, str(piece), special=False)}


def _token(index: int, text: str, *, special: bool) -> JsonObject:
    return {"id": index, "text": text, "logprob": 0.0, "special": special}


class OpenAIHandler(ss.Handler):
    """Speaks chat completions, the Responses API and text generation."""

    paths = ("/chat/completions", "/responses", "/generate")

    def _answer(self, body: JsonObject) -> None:
        # The script looks for the case among messages.
        if "input" in body:
            given = body["input"]
            items = given if isinstance(given, list) else [{"role": "user", "content": given}]
            body = body | {"messages": [item for item in items if "role" in item]}
        elif "inputs" in body:
            body = body | {"messages": [{"role": "user", "content": body["inputs"]}]}
        super()._answer(body)

    def bind(self, reply: ss.Reply, index: int, body: JsonObject) -> ss.Completion:
        """Return the reply as the answer to this request."""
        done = super().bind(reply, index, body)
        if "input" in body:
            reason = reply.finish_reason or "completed"
            return _as(Response, done, reason, reply.response_id or f"resp_{index}")
        if "inputs" in body:
            return _as(Generated, done, reply.finish_reason or "eos_token", "")
        return done

    def _note_reply(self, completion: ss.Completion) -> None:
        super()._note_reply(completion)
        if isinstance(completion, Generated):
            self._sent["response_id"] = self._sent["model"] = None

    def _stream(self, completion: ss.Completion, start_ns: int, include_usage: bool) -> None:
        if not isinstance(completion, (Response, Generated)):
            super()._stream(completion, start_ns, include_usage)
            return
        reply = completion.reply
        self._start(reply.status, reply, {"Content-Type": "text/event-stream; charset=utf-8"})
        if isinstance(completion, Response):
            created = completion.state("in_progress", [])
            self._send_event({"type": "response.created", "response": created})
        sent = 0
        for kind, event in completion.deltas():
            if kind == "open":
                self._send_event(event)
                continue
            delay_s = reply.first_chunk_delay_s + sent * reply.between_chunks_s
            self._wait_until(start_ns + int(delay_s * 1e9))
            self._sent["chunk_ns"] += (self._send_event(event),)
            self._sent["chunk_kinds"] += (kind,)
            sent += 1
        self._note_reply(completion)
        if reply.usage:
            self._note_usage(reply)
        self._sent["last_byte_ns"] = self._send_end(completion, sent)

    def _send_end(self, completion: Response | Generated, sent: int) -> int:
        if isinstance(completion, Response):
            ended = completion.whole()
            event = {"type": f"response.{ended['status']}", "response": ended}
        else:
            told = completion.told() | {"input_length": completion.reply.prompt_tokens}
            event = {"index": sent, "token": _token(sent, "</s>", special=True), "details": told}
            event["generated_text"] = completion.reply.content
        kind = f"event: {event['type']}\n" if "type" in event else ""
        return self._send_chunk(f"{kind}data:{json.dumps(event)}\n\n".encode(), last=True)


def _as(
    kind: type[ss.Completion], done: ss.Completion, reason: str, response_id: str
) -> ss.Completion:
    return kind(
        reply=done.reply,
        index=done.index,
        response_id=response_id,
        model=done.model,
        finish_reason=reason,
    )


class OpenAIServer(ss.ScriptedServer):
    """Serves a script in every way that the openai and huggingface clients ask for it."""

    def handler(self) -> type[OpenAIHandler]:
        return OpenAIHandler
