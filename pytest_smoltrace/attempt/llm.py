"""What the LLM calls of an attempt amount to, each call counted once."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

import orjson

from pytest_smoltrace.attempt.usage import (
    NO_COST,
    NO_USAGE,
    Cost,
    Usage,
    cost_of,
    spent_usd,
    sum_all,
    usage_of,
    usage_of_runs,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from pytest_smoltrace.facts import CaseRecord, LLMCall

Value = TypeVar("Value")

_FIGURES = attrgetter("error_type", "requests", "duration_ms", "finish_reason", "system", "tools")
_SETTINGS = attrgetter(
    "temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty"
)

SYSTEM_KEYS = (
    "gen_ai.provider.name",
    "gen_ai.system",
    "llm.provider",
    "gen_ai.request.model",
    "llm.model_name",
)
"""Attributes that name the provider of a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The value of each request setting that most calls sent."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMTotals:
    """The LLM calls of role agent of one attempt."""

    count: int | None = None
    streamed: int | None = None
    errors: int | None = None
    retries: int | None = None
    duration_ms: float | None = None
    response_id: str | None = None
    finish_reasons: list[str | None] | None = None
    response_model: str | None = None
    ttft_s: float | None = None
    tbt_s: float | None = None
    system: str | None = None
    tools: str | None = None
    settings: Settings = Settings()
    usage: Usage = Usage()  # noqa: RUF009 (frozen)
    cost: Cost = Cost()  # noqa: RUF009 (frozen)


NO_CALL = LLMTotals(
    count=0, streamed=0, errors=0, retries=0, duration_ms=0.0, usage=NO_USAGE, cost=NO_COST
)
"""A test that made no LLM call: nothing used, nothing spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NonAgentTotals:
    """The LLM calls of judges, simulators and fixtures of one attempt."""

    total_tokens: int | None
    cost_usd: float | None
    judge_cost_usd: float | None


def llm_totals(record: CaseRecord) -> LLMTotals:
    """Return what the agent-role calls of an attempt amount to."""
    calls = [call for call in record.calls if call.role == "agent"]
    if not calls:
        return _without_call(record)
    replayed = [call for call in calls if is_replayed(record, call)]
    live = [call for call in calls if call not in replayed] if replayed else calls
    errors, requests, durations, reasons, systems, tools = zip(*map(_FIGURES, calls), strict=True)
    sent = sum_all(requests)
    ttfts = [call.ttft_s for call in live if call.ttft_s is not None]
    return LLMTotals(
        count=len(calls),
        streamed=len(ttfts),
        errors=len(calls) - errors.count(None),
        retries=None if sent is None else sent - len(calls),
        duration_ms=sum(durations, 0.0),
        response_id=calls[-1].response_id,
        finish_reasons=list(reasons) if any(reasons) else None,
        response_model=calls[-1].response_model,
        ttft_s=mean(ttfts),
        tbt_s=time_between_tokens(live),
        system=",".join(sorted({system.lower() for system in systems if system})) or None,
        tools=_tools(tools),
        settings=settings_of(calls),
        usage=usage_of(calls),
        cost=cost_of(live, replayed),
    )


def _without_call(record: CaseRecord) -> LLMTotals:
    """Return the totals without LLM call: none made, or none seen."""
    if not was_observed(record):
        return LLMTotals()
    # A run that a budget stopped before its first step has called no model.
    began = [run for run in record.runs if run.steps or run.input_tokens or run.output_tokens]
    if not began and all(run.stop_reason == "budget" for run in record.runs):
        return NO_CALL
    return LLMTotals(usage=usage_of_runs(record.runs))


def was_observed(record: CaseRecord) -> bool:
    """Return whether what is not in the record did not happen."""
    return record.tool_calls is not None and record.outcome != "crashed"


def non_agent_totals(record: CaseRecord) -> NonAgentTotals:
    """Return what the calls of judges, simulators and fixtures amount to."""
    calls = [call for call in record.calls if call.role != "agent"]
    if not calls:
        seen = was_observed(record)
        spent = 0.0 if seen else None
        tokens = 0 if seen else None
        return NonAgentTotals(total_tokens=tokens, cost_usd=spent, judge_cost_usd=spent)
    live = [call for call in calls if not is_replayed(record, call)]
    judges = [call for call in live if call.role == "judge"]
    tokens = sum_all([t for call in calls for t in (call.prompt_tokens, call.completion_tokens)])
    return NonAgentTotals(
        total_tokens=tokens, cost_usd=spent_usd(live), judge_cost_usd=spent_usd(judges)
    )


def is_replayed(record: CaseRecord, call: LLMCall) -> bool:
    """Return whether a cassette answered the call."""
    return call.replayed or record.replay_mode == "replayed"


def settings_of(calls: Sequence[LLMCall]) -> Settings:
    """Return the settings that most calls sent."""
    temperature, top_p, max_tokens, frequency, presence = zip(*map(_SETTINGS, calls), strict=True)
    return Settings(
        temperature=mode(temperature),
        top_p=mode(top_p),
        max_tokens=mode(max_tokens),
        frequency_penalty=mode(frequency),
        presence_penalty=mode(presence),
    )


def time_between_tokens(calls: Iterable[LLMCall]) -> float | None:
    """Return the streaming time over the gaps between tokens of all calls."""
    pairs = [gaps for call in calls if (gaps := stream_gaps(call)) is not None]
    return math.fsum([s for s, _ in pairs]) / sum(n for _, n in pairs) if pairs else None


def stream_gaps(call: LLMCall) -> tuple[float, int] | None:
    """Return streaming time and number of gaps between tokens; None where there is no gap."""
    tokens = call.completion_tokens
    if call.stream_s is None or tokens is None or tokens < 2:  # noqa: PLR2004 (a gap needs two)
        return None
    return call.stream_s, tokens - 1


def system_of(attributes: Mapping[str, Any]) -> str | None:
    """Return the provider name that a span recorded, lower case."""
    named = attributes.get("gen_ai.provider.name")
    if named is None and (system := attributes.get("gen_ai.system")) != "litellm":
        named = system
    named = named or attributes.get("llm.provider")
    model = attributes.get("gen_ai.request.model") or attributes.get("llm.model_name")
    if named is None and isinstance(model, str) and "/" in model:
        named = model.split("/", 1)[0]
    return named.lower() if isinstance(named, str) else None


def mode(values: Sequence[Value | None]) -> Value | None:
    """Return the most frequent known value, ties to the earliest."""
    first = values[0]
    if values.count(first) == len(values):
        return first
    known = Counter(value for value in values if value is not None)
    return known.most_common(1)[0][0] if known else None


def mean(values: Sequence[float]) -> float | None:
    """Return the arithmetic mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def _tools(texts: Iterable[str | None]) -> str | None:
    """Return the distinct tool definitions in order of first appearance, as JSON."""
    known = dict.fromkeys(text for text in texts if text)
    distinct = dict.fromkeys(one for text in known for one in _definitions(text))
    return f"[{','.join(distinct)}]" if distinct else None


@lru_cache(maxsize=256)
def _definitions(text: str) -> tuple[str, ...]:
    """Return each tool definition of a JSON array as canonical JSON."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = text
    items = found if isinstance(found, list) else [found]
    return tuple(orjson.dumps(item, option=orjson.OPT_SORT_KEYS).decode() for item in items)
