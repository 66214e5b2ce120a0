"""What each client function sends and returns, read in the form of OpenAI's chat completions."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.capture.payloads import field, usage_of
from pytest_smoltrace.counting import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_REASONING_DELTAS = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
_TEXT_DELTAS = ("response.output_text.delta", "response.refusal.delta")


class Chat:
    """Reads one call of a function that speaks chat completions."""

    operation = "chat"

    def messages(self, request: Mapping[str, Any]) -> Any:
        """Return the messages of the request."""
        return request.get("messages")

    def whole(self, response: Any) -> Any:
        """Return a response that was not streamed."""
        return response

    def piece(self, chunk: Any) -> Any:
        """Return one chunk of a stream."""
        return chunk


class LiteLLM(Chat):
    """Reads one call of LiteLLM, which fills in what a provider did not tell."""

    def __init__(self) -> None:
        self._model: str | None = None
        self._reasoning = ""

    def whole(self, response: Any) -> Any:
        """Return the response without what LiteLLM made up."""
        return self._told(response, "message")

    def piece(self, chunk: Any) -> Any:
        """Return the chunk without what LiteLLM made up."""
        return self._told(chunk, "delta")

    def _told(self, response: Any, part: str) -> dict[str, Any]:
        choices = field(response, "choices") or ()
        for choice in choices[:1]:
            self._reasoning += field(field(choice, part), "reasoning_content") or ""
        # It writes the requested model on every chunk and keeps the served one apart.
        served = field(field(response, "_hidden_params"), "provider_response_model")
        self._model = served or self._model
        model = self._model or field(response, "model")
        usage = field(response, "usage")
        return {
            "id": field(response, "id"),
            "model": model.removeprefix("ollama_chat/") if isinstance(model, str) else None,
            "choices": choices,
            "usage": None if usage is None else self._usage(usage),
        }

    def _usage(self, usage: Any) -> Usage:
        """Return the counts that the provider told: LiteLLM writes 0, or an estimate, for others.

        It splits up only what it fills in itself.
        """
        told = usage_of(usage)
        if _is_split(usage, "prompt_tokens_details"):
            told = replace(
                told, cache_read=told.cache_read or None, cache_write=told.cache_write or None
            )
        if _is_split(usage, "completion_tokens_details") and (
            not told.reasoning or told.reasoning == self._estimate(told.completion)
        ):
            told = replace(told, reasoning=None)
        return told

    def _estimate(self, completion: int | None) -> int | None:
        if not self._reasoning:
            return None
        count = sys.modules["litellm"].token_counter
        estimate = int(count(text=self._reasoning, count_response_tokens=True))
        return estimate if completion is None else min(estimate, completion)


def _is_split(usage: Any, details: str) -> bool:
    return field(field(usage, details), "text_tokens") is not None


class Responses(Chat):
    """Reads one call of OpenAI's Responses API."""

    def messages(self, request: Mapping[str, Any]) -> Any:
        """Return the instructions and the input items as messages."""
        given = request.get("input")
        items = given if isinstance(given, (list, tuple)) else [_said("user", given)]
        instructions = request.get("instructions")
        system = [_said("system", instructions)] if isinstance(instructions, str) else []
        return [*system, *map(_input_message, items)]

    def whole(self, response: Any) -> Any:
        """Return the response as a chat completion."""
        items = field(response, "output") or ()
        calls = [_function_call(item) for item in items if field(item, "type") == "function_call"]
        said = [item for item in items if field(item, "type") == "message"]
        parts = [part for item in said for part in field(item, "content") or ()]
        texts = [field(part, "text") or field(part, "refusal") or "" for part in parts]
        message = {"content": "".join(texts) if said else None, "tool_calls": calls}
        return {**_head(response), "choices": [{**_finish(response), "message": message}]}

    def piece(self, chunk: Any) -> Any:
        """Return an event of the stream as a chunk."""
        response = field(chunk, "response")
        if response is not None:
            return {**_head(response), "choices": [_finish(response)]}
        delta = _delta(chunk, field(chunk, "type"))
        return {"choices": [{"delta": delta}] if delta else []}


def _said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def _input_message(item: Any) -> Any:
    if field(item, "type") == "function_call":
        return {**_said("assistant", None), "tool_calls": [_function_call(item)]}
    if field(item, "type") == "function_call_output":
        return _said("tool", field(item, "output"))
    return item


def _function_call(item: Any) -> dict[str, Any]:
    function = {"name": field(item, "name"), "arguments": field(item, "arguments")}
    return {"id": field(item, "call_id"), "function": function}


def _head(response: Any) -> dict[str, Any]:
    return {name: field(response, name) for name in ("id", "model", "usage")}


def _finish(response: Any) -> dict[str, Any]:
    """Return why the response ended; it says so of a response that goes on, too."""
    status = field(response, "status")
    if status in ("queued", "in_progress"):
        return {}
    return {"finish_reason": field(field(response, "incomplete_details"), "reason") or status}


def _delta(event: Any, kind: Any) -> dict[str, Any] | None:
    if kind in _TEXT_DELTAS:
        return {"content": field(event, "delta")}
    if kind in _REASONING_DELTAS:
        return {"reasoning": field(event, "delta")}
    place = {"index": field(event, "output_index")}
    if kind == "response.function_call_arguments.delta":
        return {"tool_calls": [{**place, "function": {"arguments": field(event, "delta")}}]}
    item = field(event, "item")
    if kind == "response.output_item.added" and field(item, "type") == "function_call":
        return {"tool_calls": [{**place, **_function_call(item)}]}
    return None


class TextGeneration(Chat):
    """Reads one call of text generation, whose output is plain text unless details were asked."""

    operation = "text_generation"

    def messages(self, request: Mapping[str, Any]) -> Any:
        """Return the prompt as a message."""
        return [_said("user", request.get("prompt"))]

    def whole(self, response: Any) -> Any:
        """Return the output as a chat completion."""
        text = response if isinstance(response, str) else field(response, "generated_text")
        details = field(response, "details")
        message = {"content": text}
        return self._choice({"message": message}, details, len(field(details, "prefill") or ()))

    def piece(self, chunk: Any) -> Any:
        """Return an output of the stream as a chunk."""
        details, token = field(chunk, "details"), field(chunk, "token")
        special = field(token, "special")
        text = chunk if isinstance(chunk, str) else None if special else field(token, "text")
        return self._choice({"delta": {"content": text}}, details, field(details, "input_length"))

    def _choice(self, choice: dict[str, Any], details: Any, read: int | None) -> dict[str, Any]:
        if details is None:
            return {"choices": [choice]}
        reason = field(details, "finish_reason")
        usage = Usage(prompt=read or None, completion=field(details, "generated_tokens"))
        return {"choices": [{**choice, "finish_reason": reason}], "usage": usage}


def bound(names: Iterable[str], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a function was called with by name; `model` falls back to its client's."""
    request = {**dict(zip(names, args, strict=False)), **kwargs}
    client = request.pop("self", None)
    own = getattr(client, "model", None)
    if request.get("model") is None and isinstance(own, str) and "://" not in own:
        request["model"] = own
    return request
