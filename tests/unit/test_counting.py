"""Every LLM and tool call of a trace counts once, whoever else recorded it."""

import pytest

from pytest_smoltrace import counting
from pytest_smoltrace.counting import Usage, count
from pytest_smoltrace.facts import CostParts
from pytest_smoltrace.raw_span import RawSpan

KIND = "openinference.span.kind"


def span(span_id, parent_id=None, *, start=None, status="UNSET", name=None, **attributes):
    begin = int(span_id, 36) if start is None else start
    return RawSpan(
        span_id=span_id,
        parent_id=parent_id,
        name=name or span_id,
        kind="INTERNAL",
        start_unix_ns=begin,
        end_unix_ns=begin + 2_000_000,
        status=status,
        description=None,
        scope="test",
        attributes={key.replace("__", "."): value for key, value in attributes.items()},
    )


def llm(span_id, parent_id=None, prompt=None, completion=None, **more):
    tokens = {"gen_ai__usage__input_tokens": prompt, "gen_ai__usage__output_tokens": completion}
    known = {key: value for key, value in tokens.items() if value is not None}
    return span(span_id, parent_id, **{"openinference__span__kind": "LLM", **known, **more})


def phase(span_id, when, parent_id="root"):
    return span(span_id, parent_id, smoltrace__phase=when, openinference__span__kind="CHAIN")


def tool(span_id, parent_id, name, **more):
    return span(span_id, parent_id, openinference__span__kind="TOOL", tool__name=name, **more)


ROOT = span("root", start=0, openinference__span__kind="CHAIN")


def unpriced(model, system, usage):
    return None, "unpriced"


def total(counted):
    return sum(call.prompt_tokens + call.completion_tokens for call in counted.calls)


FOUR_TIMES = [
    ROOT,
    phase("call", "call"),
    span(
        "agent",
        "call",
        openinference__span__kind="AGENT",
        llm__token_count__prompt=200,
        llm__token_count__completion=40,
    ),
    llm("s", "agent", 200, 40, start=10),
    llm("l", "s", llm__token_count__prompt=200, llm__token_count__completion=40, start=11),
    span("g", "l", gen_ai__operation__name="chat", gen_ai__usage__prompt_tokens=200,
         gen_ai__usage__completion_tokens=40, start=12),
]  # fmt: skip


def test_one_call_seen_by_four_is_one_call():
    assert total(count(FOUR_TIMES, unpriced)) == 240
    (call,) = count(FOUR_TIMES, unpriced).calls
    assert (call.span_id, call.prompt_tokens, call.completion_tokens) == ("s", 200, 40)


@pytest.mark.parametrize("turn", range(6))
def test_the_order_of_the_spans_does_not_matter(turn):
    assert total(count(FOUR_TIMES[turn:] + FOUR_TIMES[:turn], unpriced)) == 240


def test_the_calls_of_two_steps_are_two():
    spans = [*FOUR_TIMES, llm("s2", "agent", 300, 5, start=20), llm("l2", "s2", 300, 5, start=21)]
    counted = count(spans, unpriced)
    assert [(c.span_id, c.prompt_tokens) for c in counted.calls] == [("s", 200), ("s2", 300)]


def test_a_call_inside_a_tool_is_a_call_of_its_own():
    spans = [*FOUR_TIMES, tool("t", "agent", "ask"), llm("inner", "t", 7, 3, start=99)]
    assert total(count(spans, unpriced)) == 250


def test_agents_are_never_summed():
    spans = [ROOT, FOUR_TIMES[1], FOUR_TIMES[2]]
    assert count(spans, unpriced).calls == ()


def test_a_kind_decides_before_the_operation():
    assert not counting.is_llm({KIND: "AGENT", "gen_ai.operation.name": "chat"})
    assert counting.is_llm({"gen_ai.operation.name": "text_generation"})
    assert not counting.is_llm({"gen_ai.operation.name": "embeddings"})
    assert not counting.is_llm({})


def test_missing_tokens_come_from_the_nearest_descendant():
    spans = [ROOT, llm("s", "root"), llm("l", "s", 20, 4), llm("g", "l", 999, 999)]
    (call,) = count(spans, unpriced).calls
    assert (call.prompt_tokens, call.completion_tokens) == (20, 4)


def test_a_call_that_nobody_knows_the_tokens_of_is_none_not_zero():
    (call,) = count([ROOT, llm("s", "root"), llm("l", "s")], unpriced).calls
    assert (call.prompt_tokens, call.completion_tokens) == (None, None)
    assert (call.reasoning_tokens, call.cache_read_tokens, call.cache_write_tokens) == (None,) * 3


def test_zero_tokens_are_zero():
    (call,) = count([ROOT, llm("s", "root", 0, 0), llm("l", "s", 9, 9)], unpriced).calls
    assert (call.prompt_tokens, call.completion_tokens) == (0, 0)


def test_prompt_and_completion_come_from_one_span():
    spans = [ROOT, llm("s", "root", 10), llm("l", "s", 12, 4)]
    (call,) = count(spans, unpriced).calls
    assert (call.prompt_tokens, call.completion_tokens) == (10, None)


def test_details_are_filled_by_descendants():
    inner = {
        "gen_ai__usage__reasoning__output_tokens": 8,
        "llm__token_count__prompt_details__cache_read": 30,
        "gen_ai__usage__cache_creation__input_tokens": 2,
    }
    (call,) = count([ROOT, llm("s", "root", 100, 20), llm("l", "s", **inner)], unpriced).calls
    assert (call.prompt_tokens, call.completion_tokens) == (100, 20)
    assert (call.reasoning_tokens, call.cache_read_tokens, call.cache_write_tokens) == (8, 30, 2)


def test_ids_and_settings_come_from_the_call_then_from_the_innermost():
    spans = [
        ROOT,
        llm("s", "root", gen_ai__response__id="own"),
        llm("l", "s", gen_ai__response__id="middle", gen_ai__response__model="middle",
            gen_ai__request__temperature=0.7),
        llm("z", "l", gen_ai__response__id="inner", gen_ai__response__model="inner",
            gen_ai__request__temperature=0.2, gen_ai__server__ttft=0.5),
    ]  # fmt: skip
    (call,) = count(spans, unpriced).calls
    assert (call.response_id, call.response_model) == ("own", "inner")
    assert (call.temperature, call.ttft_s) == (0.2, 0.5)


def test_settings_in_the_invocation_parameters():
    text = '{"temperature": 0.5, "max_completion_tokens": 77, "top_p": 0.9}'
    (call,) = count([ROOT, llm("s", "root", llm__invocation_parameters=text)], unpriced).calls
    assert (call.temperature, call.max_tokens, call.top_p) == (0.5, 77, 0.9)
    assert (call.frequency_penalty, call.presence_penalty) == (None, None)


@pytest.mark.parametrize("text", ["{", "[1]", "null", ""])
def test_broken_invocation_parameters_are_no_settings(text):
    (call,) = count([ROOT, llm("s", "root", llm__invocation_parameters=text)], unpriced).calls
    assert call.temperature is None


def test_finish_reason_of_the_first_choice():
    reasons = {"gen_ai__response__finish_reasons": ("stop", "length")}
    (call,) = count([ROOT, llm("s", "root", **reasons)], unpriced).calls
    assert call.finish_reason == "stop"
    (call,) = count([ROOT, llm("s", "root", llm__finish_reason="length")], unpriced).calls
    assert call.finish_reason == "length"
    (call,) = count([ROOT, llm("s", "root")], unpriced).calls
    assert call.finish_reason is None


def test_system():
    def system(**attributes):
        return count([ROOT, llm("s", "root", **attributes)], unpriced).calls[0].system

    assert system(gen_ai__provider__name="OpenAI") == "openai"
    assert system(gen_ai__system="litellm", gen_ai__request__model="mistral/small") == "mistral"
    assert system(llm__provider="Cohere") == "cohere"
    assert system(gen_ai__request__model="plain") is None
    assert system() is None


def test_the_price_is_asked_once_a_call_with_its_own_usage():
    asked = []
    parts = CostParts(
        prompt_usd=1.0,
        completion_usd=2.0,
        reasoning_usd=None,
        cache_read_usd=None,
        cache_write_usd=None,
    )

    def price(model, system, usage):
        asked.append((model, system, usage))
        return parts, "custom"

    own = {"gen_ai__request__model": "m", "gen_ai__provider__name": "openai"}
    (call,) = count([ROOT, llm("s", "root", 100, 20, **own), llm("l", "s", 100, 20)], price).calls
    assert asked == [("m", "openai", Usage(prompt=100, completion=20))]
    assert (call.cost, call.cost_source, call.cost.total_usd) == (parts, "custom", 3.0)


def test_phases_decide_the_role():
    spans = [
        ROOT,
        phase("a", "setup"),
        phase("b", "call"),
        phase("c", "teardown"),
        llm("a1", "a", 1, 1),
        llm("b1", "b", 1, 1),
        llm("c1", "c", 1, 1),
        llm("r1", "root", 1, 1),
    ]
    counted = count(spans, unpriced)
    roles = {call.span_id: call.role for call in counted.calls}
    assert roles == {"a1": "fixture", "b1": "agent", "c1": "fixture", "r1": "agent"}
    assert counted.roles["a"] == "fixture"


@pytest.mark.parametrize("role", ["judge", "simulator"])
def test_a_scope_decides_the_role_of_everything_below_it(role):
    spans = [
        ROOT,
        phase("b", "call"),
        span("j", "b", smoltrace__role=role),
        span("x", "j"),
        llm("j1", "x", 1, 1),
        phase("a", "setup"),
        span("k", "a", smoltrace__role=role),
        llm("k1", "k", 1, 1),
    ]
    assert {call.role for call in count(spans, unpriced).calls} == {role}


def test_tool_calls():
    spans = [
        ROOT,
        phase("a", "setup"),
        phase("b", "call"),
        tool("t0", "a", "prepare"),
        span("agent", "b", openinference__span__kind="AGENT"),
        tool("t2", "agent", "search", start=200),
        tool("t1", "agent", "search", start=100, status="ERROR"),
        tool("t3", "agent", "final_answer", start=300),
        span("managed", "agent", openinference__span__kind="AGENT"),
        tool("t4", "managed", "look", start=400),
        span("t5", "b", start=500, name="Nameless", openinference__span__kind="TOOL"),
    ]
    counted = count(spans, unpriced)
    found = [(call.name, call.failed) for call in counted.tool_calls]
    assert found == [("search", True), ("search", False), ("look", False), ("Nameless", False)]
    assert {call.duration_ms for call in counted.tool_calls} == {2.0}


def test_an_error_of_a_call():
    def error_of(**attributes):
        spans = [ROOT, llm("s", "root", 1, 1, **attributes)]
        return count(spans, unpriced).calls[0].error_type

    assert error_of(status="ERROR", error__type="llm_rate_limit") == "llm_rate_limit"
    assert error_of(status="ERROR") == "llm_error"
    assert error_of(status="ERROR", error__type="RateLimitError") == "llm_rate_limit"
    assert error_of(status="ERROR", error__type="openai.RateLimitError") == "llm_rate_limit"
    assert error_of(status="ERROR", error__type="503") == "llm_server_error"
    assert error_of(status="ERROR", error__type="Whatever") == "llm_error"
    assert error_of(status="OK", error__type="llm_error") is None


def test_a_failed_call_below_a_good_one_is_a_retry_not_an_error():
    spans = [ROOT, llm("s", "root", 1, 1), llm("l", "s", status="ERROR")]
    assert [call.error_type for call in count(spans, unpriced).calls] == [None]


def test_a_parent_that_is_missing_makes_a_root():
    counted = count([llm("s", "gone", 3, 4)], unpriced)
    assert [(call.span_id, call.role) for call in counted.calls] == [("s", "agent")]


def test_a_cycle_ends_and_counts_once():
    spans = [ROOT, llm("a", "b", 1, 2), llm("b", "a", 1, 2), llm("c", "c", 5, 6)]
    assert len(count(spans, unpriced).calls) == 2


def test_a_chain_of_a_thousand_spans_needs_no_recursion():
    chain = [span(f"{i:x}", f"{i - 1:x}" if i else None, start=i) for i in range(3000)]
    counted = count([*chain, llm("end", f"{2999:x}", 1, 2)], unpriced)
    assert len(counted.calls) == 1


def test_nothing():
    counted = count([], unpriced)
    assert (counted.calls, counted.tool_calls, counted.roles) == ((), (), {})
