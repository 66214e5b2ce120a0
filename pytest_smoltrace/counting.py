"""Count every LLM call and every tool call of a trace once.

An LLM call is the topmost LLM span on its path to the root. Its tokens come from that span,
else from the nearest descendant that has them; descendants only fill what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.facts import CostParts, LLMCall, ToolCall
from pytest_smoltrace.taxonomy import named_error_type

if TYPE_CHECKING:
    from pytest_smoltrace.raw_span import RawSpan

KIND = "openinference.span.kind"
PHASE = "smoltrace.phase"
ROLE = "smoltrace.role"
PROVIDER = "smoltrace.provider"
STREAM_SECONDS = "smoltrace.stream_duration"
HTTP_REQUESTS = "smoltrace.http.requests"

Pricer = Callable[[str | None, str | None, "Usage"], tuple[CostParts | None, str]]
"""(model, system, usage) -> cost (None when unknown) and its source."""

_PROMPT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
_COMPLETION = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
)
_REASONING = (
    "gen_ai.usage.reasoning.output_tokens",
    "llm.token_count.completion_details.reasoning",
)
_CACHE_READ = (
    "gen_ai.usage.cache_read.input_tokens",
    "llm.token_count.prompt_details.cache_read",
)
_CACHE_WRITE = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "llm.token_count.prompt_details.cache_write",
)
_MODEL = ("gen_ai.request.model", "llm.model_name")
_SPELLINGS = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_new_tokens"),
    "frequency_penalty": ("frequency_penalty",),
    "presence_penalty": ("presence_penalty",),
}
_SETTINGS = {
    name: (tuple(f"gen_ai.request.{spelling}" for spelling in spellings), spellings)
    for name, spellings in _SPELLINGS.items()
}
"""Setting -> its attributes, and its names among the invocation parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call; cached ones are part of prompt, reasoning of completion."""

    prompt: int | None
    completion: int | None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a span stands in its trace."""

    phase: str | None
    role: str
    top_llm: str | None
    """Span id of the topmost LLM span on the path, the span itself included."""
    depth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What a trace amounts to."""

    calls: tuple[LLMCall, ...]
    tool_calls: tuple[ToolCall, ...]
    roles: Mapping[str, str]
    """Span id -> role."""


def is_llm(attributes: Mapping[str, Any]) -> bool:
    """Return whether the attributes are those of an LLM call."""
    kind = attributes.get(KIND)
    if kind is not None:
        return bool(kind == "LLM")
    return attributes.get("gen_ai.operation.name") in ("chat", "text_generation")


def count(spans: Sequence[RawSpan], price: Pricer) -> Count:
    """Count the calls of one trace; spans in any order, the root among them."""
    places = _places(spans)
    llm_spans = [span for span in spans if is_llm(span.attributes)]
    llm_spans.sort(key=lambda s: (places[s.span_id].depth, s.start_unix_ns))
    groups: dict[str, list[RawSpan]] = {}
    for span in llm_spans:
        groups.setdefault(places[span.span_id].top_llm or span.span_id, []).append(span)
    calls = [_call(group, places[top].role, price) for top, group in groups.items()]
    calls.sort(key=lambda call: (call.start_unix_ns, call.span_id))
    return Count(
        calls=tuple(calls),
        tool_calls=_tool_calls(spans, places),
        roles={span_id: place.role for span_id, place in places.items()},
    )


def _places(spans: Iterable[RawSpan]) -> dict[str, Place]:
    by_id = {span.span_id: span for span in spans}
    places: dict[str, Place] = {}
    for span in by_id.values():
        path: dict[str, RawSpan] = {}
        current: RawSpan | None = span
        while current is not None and current.span_id not in places and current.span_id not in path:
            path[current.span_id] = current
            current = by_id.get(current.parent_id) if current.parent_id else None
        above = places.get(current.span_id) if current is not None else None
        for span_id, below in reversed(path.items()):
            above = places[span_id] = _place(below, above)
    return places


def _place(span: RawSpan, above: Place | None) -> Place:
    phase = span.attributes.get(PHASE) or (above.phase if above else None)
    role = span.attributes.get(ROLE) or (above.role if above else "agent")
    if role == "agent" and phase in ("setup", "teardown"):
        role = "fixture"
    top = above.top_llm if above else None
    if top is None and is_llm(span.attributes):
        top = span.span_id
    return Place(phase=phase, role=role, top_llm=top, depth=above.depth + 1 if above else 0)


def _tool_calls(spans: Iterable[RawSpan], places: Mapping[str, Place]) -> tuple[ToolCall, ...]:
    declared = next((place.role for place in places.values() if place.depth == 0), "agent")
    tools = [
        span
        for span in spans
        if span.attributes.get(KIND) == "TOOL"
        and places[span.span_id].phase == "call"
        and places[span.span_id].role == declared
        and tool_name(span) != "final_answer"
    ]
    tools.sort(key=lambda span: (span.start_unix_ns, span.span_id))
    return tuple(
        ToolCall(
            name=tool_name(span),
            start_unix_ns=span.start_unix_ns,
            duration_ms=(span.end_unix_ns - span.start_unix_ns) / 1e6,
            failed=span.status == "ERROR",
        )
        for span in tools
    )


def tool_name(span: RawSpan) -> str:
    """Return the declared name of a TOOL span's tool."""
    return str(span.attributes.get("tool.name") or span.name)


def _call(group: Sequence[RawSpan], role: str, price: Pricer) -> LLMCall:
    top = group[0]
    outer = [span.attributes for span in group]
    # The call's own span decides; what it lacks comes from the innermost descendant first.
    inner = [outer[0], *outer[:0:-1]]
    # Others take the first event of a stream for the first token: ours goes before theirs.
    timed = [attributes for attributes in inner if STREAM_SECONDS in attributes] or inner
    usage = _usage(outer)
    model = _text(_first(outer, *_MODEL))
    system = _system(outer, model)
    cost, source = price(model, system, usage)
    settings = _settings(inner)
    return LLMCall(
        span_id=top.span_id,
        role=role,
        start_unix_ns=top.start_unix_ns,
        duration_ms=(top.end_unix_ns - top.start_unix_ns) / 1e6,
        model=model,
        system=system,
        provider=_text(_first(outer, PROVIDER)),
        operation=_text(_first(outer, "gen_ai.operation.name")) or "chat",
        temperature=_float(settings["temperature"]),
        top_p=_float(settings["top_p"]),
        max_tokens=_int(settings["max_tokens"]),
        frequency_penalty=_float(settings["frequency_penalty"]),
        presence_penalty=_float(settings["presence_penalty"]),
        response_id=_text(_first(inner, "gen_ai.response.id")),
        response_model=_text(_first(inner, "gen_ai.response.model")),
        finish_reason=_finish_reason(inner),
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        reasoning_tokens=usage.reasoning,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        cost=cost,
        cost_source=source,
        ttft_s=_float(_first(timed, "gen_ai.server.ttft")),
        stream_s=_float(_first(inner, STREAM_SECONDS)),
        requests=_int(_first(outer, HTTP_REQUESTS)),
        error_type=_error_type(top),
        tools=_text(_first(outer, "llm.tools")),
    )


def _usage(outer: Sequence[Mapping[str, Any]]) -> Usage:
    own = next(([a] for a in outer if _first([a], *_PROMPT, *_COMPLETION) is not None), ())
    return Usage(
        prompt=_int(_first(own, *_PROMPT)),
        completion=_int(_first(own, *_COMPLETION)),
        reasoning=_int(_first(outer, *_REASONING)),
        cache_read=_int(_first(outer, *_CACHE_READ)),
        cache_write=_int(_first(outer, *_CACHE_WRITE)),
    )


def _system(outer: Sequence[Mapping[str, Any]], model: str | None) -> str | None:
    named = _first(outer, "gen_ai.provider.name")
    if named is None:
        systems = (a.get("gen_ai.system") for a in outer)
        named = next((s for s in systems if s and s != "litellm"), None)
    named = named or _first(outer, "llm.provider")
    if named is None and model and "/" in model:
        named = model.split("/", 1)[0]
    return str(named).lower() if named else None


def _settings(inner: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = {name: _first(inner, *keys) for name, (keys, _) in _SETTINGS.items()}
    parameters = [_parameters(a) for a in inner if "llm.invocation_parameters" in a]
    for name, (_, spellings) in _SETTINGS.items():
        if parameters and found[name] is None:
            found[name] = _first(parameters, *spellings)
    return found


def _parameters(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    text = attributes.get("llm.invocation_parameters")
    if not isinstance(text, str):
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _finish_reason(inner: Sequence[Mapping[str, Any]]) -> str | None:
    reasons = _first(inner, "gen_ai.response.finish_reasons")
    if isinstance(reasons, (list, tuple)) and reasons:
        return _text(reasons[0])
    return _text(_first(inner, "llm.finish_reason"))


def _error_type(top: RawSpan) -> str | None:
    if top.status != "ERROR":
        return None
    return named_error_type(_text(top.attributes.get("error.type")))


def _first(sources: Iterable[Mapping[str, Any]], *names: str) -> Any:
    for attributes in sources:
        for name in names:
            value = attributes.get(name)
            if value is not None:
                return value
    return None


def _int(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) else None


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
