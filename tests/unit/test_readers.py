"""What client functions send and return is read in the form of chat completions."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from pytest_smoltrace.capture.payloads import settings_of, usage_of
from pytest_smoltrace.capture.readers import LiteLLM, Responses, TextGeneration, bound
from pytest_smoltrace.counting import Usage


def space(**fields):
    return SimpleNamespace(**fields)


def litellm_response(usage, *, reasoning=None, part="message", **more):
    choice = space(**{part: space(content="x", reasoning_content=reasoning)})
    return space(id="made-up", model="asked", choices=[choice], usage=usage, **more)


def litellm_usage(*, read=0, written=0, reasoning=0, split=True):
    """Usage as LiteLLM builds it; it splits what it fills in itself."""
    text = 5 if split else None
    return space(
        prompt_tokens=50,
        completion_tokens=9,
        prompt_tokens_details=space(
            cached_tokens=read, cache_write_tokens=written, text_tokens=text
        ),
        completion_tokens_details=space(reasoning_tokens=reasoning, text_tokens=text),
    )


@pytest.fixture
def estimate(monkeypatch):
    """Make LiteLLM estimate a word as a token."""
    module = ModuleType("litellm")
    module.token_counter = lambda text, count_response_tokens: len(text.split())
    monkeypatch.setitem(sys.modules, "litellm", module)


PLAIN = Usage(prompt=50, completion=9)


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (litellm_usage(), PLAIN),
        (litellm_usage(read=4), Usage(prompt=50, completion=9, cache_read=4)),
        (litellm_usage(written=4), Usage(prompt=50, completion=9, cache_write=4)),
        (litellm_usage(reasoning=4), Usage(prompt=50, completion=9, reasoning=4)),
        (
            litellm_usage(split=False),
            Usage(prompt=50, completion=9, cache_read=0, cache_write=0, reasoning=0),
        ),
    ],
)
def test_litellm_zeros_are_no_counts(usage, told):
    assert LiteLLM().whole(litellm_response(usage))["usage"] == told


@pytest.mark.parametrize(("count", "known"), [(3, None), (4, 4)])
def test_litellm_estimate_of_reasoning_is_no_count(estimate, count, known):
    response = litellm_response(litellm_usage(reasoning=count), reasoning="one two three")
    assert LiteLLM().whole(response)["usage"].reasoning == known


def test_litellm_estimate_of_a_stream_is_over_all_of_it(estimate):
    reader = LiteLLM()
    for text in ("one ", "two three"):
        reader.piece(litellm_response(None, reasoning=text, part="delta"))
    last = litellm_response(litellm_usage(reasoning=3), part="delta")
    assert reader.piece(last)["usage"] == PLAIN


def test_litellm_estimate_is_not_above_the_output(estimate):
    text = " ".join("word" for _ in range(20))
    response = litellm_response(litellm_usage(reasoning=9), reasoning=text)
    assert LiteLLM().whole(response)["usage"].reasoning is None


def test_litellm_served_model_outlives_its_chunk():
    reader = LiteLLM()
    hidden = {"provider_response_model": "served"}
    assert reader.piece(litellm_response(None, part="delta", _hidden_params=hidden))["model"] == (
        "served"
    )
    assert reader.piece(litellm_response(None, part="delta"))["model"] == "served"
    assert LiteLLM().piece(litellm_response(None, part="delta"))["model"] == "asked"


def test_litellm_prefix_of_ollama_is_no_model():
    response = litellm_response(None)
    response.model = "ollama_chat/llama"
    assert LiteLLM().whole(response)["model"] == "llama"


RESPONSE_USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"cached_tokens": 30},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 4},
}
CALL = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
READ_CALL = {"id": "c", "function": {"name": "look", "arguments": "{}"}}


def response(status="completed", **more):
    return {"id": "r", "model": "m", "status": status, "usage": RESPONSE_USAGE, **more}


def test_response_is_a_completion():
    parts = [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}]
    output = [{"type": "reasoning"}, {"type": "message", "content": parts}, CALL]
    read = Responses().whole(response(output=output))
    message = {"content": "ab", "tool_calls": [READ_CALL]}
    assert read["choices"] == [{"finish_reason": "completed", "message": message}]
    assert (read["id"], read["model"]) == ("r", "m")
    assert usage_of(read["usage"]) == Usage(prompt=50, completion=9, cache_read=30, reasoning=4)


@pytest.mark.parametrize(
    ("status", "details", "reason"),
    [
        ("incomplete", {"reason": "max_output_tokens"}, "max_output_tokens"),
        ("failed", None, "failed"),
        ("cancelled", None, "cancelled"),
        ("queued", None, None),
        ("in_progress", None, None),
    ],
)
def test_response_says_why_it_ended(status, details, reason):
    read = Responses().whole(response(status, incomplete_details=details))
    assert read["choices"][0].get("finish_reason") == reason


@pytest.mark.parametrize(
    ("event", "delta"),
    [
        ({"type": "response.output_text.delta", "delta": "a"}, {"content": "a"}),
        ({"type": "response.refusal.delta", "delta": "a"}, {"content": "a"}),
        ({"type": "response.reasoning_text.delta", "delta": "a"}, {"reasoning": "a"}),
        ({"type": "response.reasoning_summary_text.delta", "delta": "a"}, {"reasoning": "a"}),
        (
            {"type": "response.output_item.added", "output_index": 2, "item": CALL},
            {"tool_calls": [{"index": 2, **READ_CALL}]},
        ),
        (
            {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{"},
            {"tool_calls": [{"index": 2, "function": {"arguments": "{"}}]},
        ),
        ({"type": "response.output_item.added", "item": {"type": "message"}}, None),
        ({"type": "response.output_text.done", "text": "a"}, None),
    ],
)
def test_response_events(event, delta):
    assert Responses().piece(event) == {"choices": [{"delta": delta}] if delta else []}


def test_response_that_begins_has_no_reason_to_end():
    begun = {"id": "r", "model": "m", "status": "in_progress"}
    read = Responses().piece({"type": "response.created", "response": begun})
    assert read == {"id": "r", "model": "m", "usage": None, "choices": [{}]}


def test_response_input_as_messages():
    messages = Responses().messages
    assert messages({"input": "hi"}) == [{"role": "user", "content": "hi"}]
    done = {"type": "function_call_output", "call_id": "c", "output": "seen"}
    said = {"role": "user", "content": "hi"}
    assert messages({"instructions": "Be brief.", "input": [said, CALL, done]}) == [
        {"role": "system", "content": "Be brief."},
        said,
        {"role": "assistant", "content": None, "tool_calls": [READ_CALL]},
        {"role": "tool", "content": "seen"},
    ]


def test_response_settings():
    sent = {"max_output_tokens": 9, "reasoning": {"effort": "low"}, "temperature": 0.5}
    assert settings_of(sent) == {
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.reasoning_effort": "low",
        "gen_ai.request.temperature": 0.5,
    }


def test_text_generation():
    reader = TextGeneration()
    assert reader.messages({"prompt": "hi"}) == [{"role": "user", "content": "hi"}]
    assert reader.whole("text") == {"choices": [{"message": {"content": "text"}}]}
    details = space(finish_reason="length", generated_tokens=7, prefill=[1, 2, 3])
    read = reader.whole(space(generated_text="text", details=details))
    assert read["usage"] == Usage(prompt=3, completion=7)
    assert read["choices"][0]["finish_reason"] == "length"
    details.prefill = []
    assert reader.whole(space(generated_text="text", details=details))["usage"].prompt is None


def test_text_generation_stream():
    reader = TextGeneration()
    assert reader.piece("te") == {"choices": [{"delta": {"content": "te"}}]}
    token = space(token=space(text="xt", special=False), details=None)
    assert reader.piece(token) == {"choices": [{"delta": {"content": "xt"}}]}
    told = space(finish_reason="eos_token", generated_tokens=7, input_length=3)
    last = reader.piece(space(token=space(text="</s>", special=True), details=told))
    assert last == {
        "choices": [{"delta": {"content": None}, "finish_reason": "eos_token"}],
        "usage": Usage(prompt=3, completion=7),
    }


def test_bound_arguments():
    names = ("self", "messages", "model")
    client, messages = space(model="of-the-client"), [{"role": "user", "content": "hi"}]
    assert bound(names, (client, messages), {"stream": True}) == {
        "messages": messages,
        "stream": True,
        "model": "of-the-client",
    }
    assert bound(names, (client, messages, "given"), {})["model"] == "given"
    assert bound(names, (client, messages), {"model": "given"})["model"] == "given"
    assert "model" not in bound(names, (space(model="http://host/generate"),), {})
    assert bound(("model", "messages"), ("m",), {}) == {"model": "m"}
