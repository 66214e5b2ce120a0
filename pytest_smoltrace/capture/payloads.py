"""What client libraries send and return, read whatever form it has."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from pytest_smoltrace.counting import PROVIDER, Usage
from pytest_smoltrace.redaction import HIDDEN_CONTENT

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

HIDDEN = HIDDEN_CONTENT
_SETTINGS = {
    "temperature": ("temperature",),
    "top_p": ("top_p", "topP"),
    "max_tokens": (
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens"),
        "maxTokens",
    ),
    "frequency_penalty": ("frequency_penalty",),
    "presence_penalty": ("presence_penalty",),
    "seed": ("seed",),
    "reasoning_effort": ("reasoning_effort",),
}


def field(value: Any, name: str) -> Any:
    """Return a field of a mapping or an object, None where it has none."""
    if _is_mapping(value.__class__):
        # The outputs of huggingface_hub are both, and only their attributes keep what the
        # server sent beyond the declared fields, such as cached and reasoning tokens.
        own = getattr(value, "__dict__", {})
        return own[name] if name in own else value.get(name)
    return getattr(value, name, None)


@functools.lru_cache(maxsize=256)
def _is_mapping(kind: Hashable) -> bool:
    # Asking an abstract class about every value costs more than all the rest of `field`.
    return isinstance(kind, type) and issubclass(kind, Mapping)


def dumps(value: Any) -> str:
    """Return compact JSON; what has no JSON form is written as its class name."""
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    try:
        return orjson.dumps(value, default=_placeholder, option=options).decode()
    except (TypeError, ValueError):  # a lone surrogate, an integer beyond 64 bits
        import json

        return json.dumps(value, default=_placeholder)


def _placeholder(value: Any) -> str:
    return f"<{type(value).__name__}>"


def settings_of(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the generation settings of a request as span attributes."""
    reasoning = sent.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, Mapping) else None
    nested = sent.get("inferenceConfig")
    sources: Sequence[Mapping[str, Any]] = (
        sent,
        nested if isinstance(nested, Mapping) else {},
        {"reasoning_effort": effort},
    )
    found: dict[str, Any] = {}
    for name, spellings in _SETTINGS.items():
        value = next((s[k] for s in sources for k in spellings if s.get(k) is not None), None)
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            found[f"gen_ai.request.{name}"] = value
    return found


def usage_of(usage: Any) -> Usage:
    """Return the token counts of a client library's usage object, whatever its spelling."""
    if isinstance(usage, Usage):
        return usage
    prompt_details = _details(usage, "prompt_tokens_details", "input_tokens_details")
    completion_details = _details(usage, "completion_tokens_details", "output_tokens_details")
    prompt = _count(usage, "prompt_tokens", "input_tokens")
    if not prompt:
        # LiteLLM writes zeros where the provider reported nothing; no request has no token.
        return Usage(prompt=None, completion=None)
    return Usage(
        prompt=prompt,
        completion=_count(usage, "completion_tokens", "output_tokens"),
        cache_read=_either(
            _count(prompt_details, "cached_tokens"), _count(usage, "cache_read_input_tokens")
        ),
        cache_write=_either(
            _count(prompt_details, "cache_write_tokens", "cache_creation_tokens"),
            _count(usage, "cache_creation_input_tokens", "cache_write_input_tokens"),
        ),
        reasoning=_count(completion_details, "reasoning_tokens"),
    )


def tool_definitions(sent: Mapping[str, Any]) -> Any:
    """Return the tool definitions of a request as JSON values; None when it has none."""
    if sent.get("tools") or not sent.get("tools_to_call_from"):
        return sent.get("tools")
    from smolagents.models import get_tool_json_schema

    return [get_tool_json_schema(tool) for tool in sent["tools_to_call_from"]]


def _details(usage: Any, *names: str) -> Any:
    return next((found for name in names if (found := field(usage, name)) is not None), None)


def _either(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def _count(source: Any, *names: str) -> int | None:
    for name in names:
        value = field(source, name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def start_attributes(
    model_id: str | None, family: str | None, system: str | None, operation: str = "chat"
) -> dict[str, Any]:
    """Return the attributes that a call has from its start."""
    return {
        key: value
        for key, value in {
            "openinference.span.kind": "LLM",
            "gen_ai.operation.name": operation,
            "gen_ai.request.model": model_id,
            "gen_ai.provider.name": system,
            PROVIDER: family,
            "input.mime_type": "application/json",
        }.items()
        if value is not None
    }


def message_texts(messages: Any) -> tuple[str, ...]:
    """Return each message of a request as JSON of its role, content and tool calls."""
    if not isinstance(messages, (list, tuple)):
        return ()
    return tuple(dumps(_message(message)) for message in messages)


def _message(message: Any) -> dict[str, Any]:
    role = field(message, "role")
    plain = {"role": getattr(role, "value", role), "content": field(message, "content")}
    calls = field(message, "tool_calls")
    if calls:
        plain["tool_calls"] = [_tool_call(call) for call in calls]
    return plain


def _tool_call(call: Any) -> dict[str, Any]:
    function = field(call, "function")
    return {
        "id": field(call, "id"),
        "name": field(function, "name"),
        "arguments": field(function, "arguments"),
    }


def converse_usage(usage: Any) -> Usage:
    """Return the token counts of Bedrock, whose input tokens leave the cached ones out."""
    read = _count(usage, "cacheReadInputTokens")
    written = _count(usage, "cacheWriteInputTokens")
    plain = _count(usage, "inputTokens")
    return Usage(
        prompt=None if plain is None else plain + (read or 0) + (written or 0),
        completion=_count(usage, "outputTokens"),
        cache_read=read,
        cache_write=written,
    )
