"""The Responses API and text generation, used directly: each number equals the server's log."""

from __future__ import annotations

import json
from operator import methodcaller
from typing import Any

import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite
from tests.truth.responses_server import OpenAIServer

SOURCE = """
import asyncio

from huggingface_hub import AsyncInferenceClient, InferenceClient
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

SETTINGS = {"temperature": 0.4, "max_output_tokens": 99, "reasoning": {"effort": "low"}}
TOOL = {
    "type": "function", "name": "look", "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


class Answer(BaseModel):
    word: str


def ask(name, **more):
    return {"model": "scripted-model", "input": f"[[case:{name}]]", **SETTINGS, **more}


def items(name):
    return [
        {"role": "user", "content": [{"type": "input_text", "text": f"[[case:{name}]]"}]},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "seen"},
    ]


def text_of(event):
    return event.delta if event.type == "response.output_text.delta" else ""


def whole(responses, name):
    return responses.create(**ask(name)).output_text


def described(responses, name):
    more = {"instructions": "Be brief.", "input": items(name), "tools": [TOOL]}
    done = responses.create(**ask(name, **more))
    assert done.output[-1].name == "look"
    return done.output_text


def stream(responses, name):
    return "".join(map(text_of, responses.create(**ask(name, stream=True))))


def called(responses, name):
    kind = "response.function_call_arguments.delta"
    events = responses.create(**ask(name, stream=True))
    assert "".join(e.delta for e in events if e.type == kind) == '{"city": "Paris"}'
    return "word"


def thought(responses, name):
    return stream(responses, name)


def scoped(responses, name):
    with responses.create(**ask(name, stream=True)) as events:
        return "".join(map(text_of, events))


def managed(responses, name):
    with responses.stream(**ask(name)) as events:
        for _ in events:
            pass
        return events.get_final_response().output_text


def raw(responses, name):
    return responses.with_raw_response.create(**ask(name)).parse().output_text


def raw_stream(responses, name):
    parsed = responses.with_raw_response.create(**ask(name, stream=True)).parse()
    return "".join(map(text_of, parsed))


def parsed(responses, name):
    return responses.parse(**ask(name), text_format=Answer).output_parsed.word


def incomplete(responses, name):
    done = responses.create(**ask(name))
    assert done.status == "incomplete"
    return done.output_text


@pytest.mark.smoltrace(id="warm")
def test_warm(smoltrace_case):
    # The first stream builds the types of all events.
    with OpenAI(base_url=SERVER, api_key="none", max_retries=0) as client:
        called(client.responses, "warm")
        stream(client.responses, "warm")
        managed(client.responses, "warm")


SYNC = (
    whole, described, stream, called, thought, scoped, managed, raw, raw_stream, parsed, incomplete
)


@pytest.mark.parametrize("how", SYNC, ids=lambda how: how.__name__)
def test_sync(how, smoltrace_case):
    with OpenAI(base_url=SERVER, api_key="none", max_retries=0) as client:
        assert how(client.responses, how.__name__) == "word"


async def async_whole(responses, name):
    return (await responses.create(**ask(name))).output_text


async def async_stream(responses, name):
    events = await responses.create(**ask(name, stream=True))
    return "".join([text_of(event) async for event in events])


async def async_managed(responses, name):
    async with responses.stream(**ask(name)) as events:
        async for _ in events:
            pass
        return (await events.get_final_response()).output_text


async def async_parsed(responses, name):
    return (await responses.parse(**ask(name), text_format=Answer)).output_parsed.word


async def async_both(responses, name):
    words = await asyncio.gather(async_whole(responses, name), async_stream(responses, name))
    assert len(set(words)) == 1
    return words[0]


ASYNC = (async_whole, async_stream, async_managed, async_parsed, async_both)


@pytest.mark.parametrize("how", ASYNC, ids=lambda how: how.__name__)
def test_async(how, smoltrace_case):
    async def work():
        async with AsyncOpenAI(base_url=SERVER, api_key="none", max_retries=0) as client:
            return await how(client.responses, how.__name__)

    assert asyncio.run(work()) == "word"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("details", [False, True], ids=["plain", "details"])
def test_text(stream, details, smoltrace_case):
    client = InferenceClient(base_url=SERVER.removesuffix("/v1") + "/generate", api_key="none")
    name = f"text-{'details' if details else 'plain'}-{'stream' if stream else 'whole'}"
    out = client.text_generation(
        f"[[case:{name}]]", details=details, stream=stream, temperature=0.4, max_new_tokens=99,
        decoder_input_details=details and not stream,
    )
    if stream:
        parts = [p.token.text if details else p for p in out]
        assert "".join(parts).removesuffix("</s>") == "word"
    else:
        assert (out.generated_text if details else out) == "word"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_async_text(stream, smoltrace_case):
    async def work():
        url = SERVER.removesuffix("/v1") + "/generate"
        name = f"async-text-{'stream' if stream else 'whole'}"
        async with AsyncInferenceClient(base_url=url, api_key="none") as client:
            out = await client.text_generation(
                f"[[case:{name}]]", details=True, stream=stream, temperature=0.4,
                max_new_tokens=99, decoder_input_details=not stream,
            )
            if not stream:
                return out.generated_text
            return "".join([part.token.text async for part in out])

    assert asyncio.run(work()).removesuffix("</s>") == "word"


@pytest.mark.smoltrace(id="positional")
def test_positional():
    client = InferenceClient(model=SERVER, api_key="none")
    messages = [{"role": "user", "content": "[[case:positional]]"}]
    assert client.chat_completion(messages).choices[0].message.content == "word"


@pytest.mark.smoltrace(id="unread")
def test_unread():
    client = InferenceClient(base_url=SERVER, api_key="none")
    messages = [{"role": "user", "content": "[[case:unread]]"}]
    closed = client.chat_completion(messages, stream=True)
    next(closed)
    closed.close()
    client.chat_completion(messages, stream=True)  # nobody keeps it
    with OpenAI(base_url=SERVER, api_key="none", max_retries=0) as openai_client:
        openai_client.responses.create(**ask("unread", stream=True)).close()
"""
WHOLE = ("whole", "described", "raw", "parsed", "incomplete", "async_whole", "async_parsed")
STREAMED = ("stream", "called", "thought", "scoped", "managed", "raw_stream", "async_stream")
CASES = dict.fromkeys(WHOLE, False) | dict.fromkeys((*STREAMED, "async_managed"), True)
TEXTS = {
    "text-plain-whole": "test_text[plain-whole]",
    "text-plain-stream": "test_text[plain-stream]",
    "text-details-whole": "test_text[details-whole]",
    "text-details-stream": "test_text[details-stream]",
    "async-text-whole": "test_async_text[whole]",
    "async-text-stream": "test_async_text[stream]",
}
LOOK = ss.ToolCall(name="look", arguments={"city": "Paris"}, id="call-1")


def script() -> dict[str, list[ss.Turn]]:
    cases: dict[str, list[ss.Turn]] = {
        "warm": [ss.Reply(content="word", reasoning="warm", tool_calls=(LOOK,))]
    }
    for number, name in enumerate([*CASES, "async_both", *TEXTS, "positional", "unread"]):
        shape: dict[str, Any] = {
            "prompt_tokens": 100 + number,
            "completion_tokens": 10 + number,
            "cached_tokens": 30 + number,
            "cache_write_tokens": 20 + number,
            "reasoning_tokens": 3 + number,
            "chunks": 2,
            "first_chunk_delay_s": 0.05,
            "between_chunks_s": 0.03,
        }
        word = '{"word": "word"}' if "parsed" in name else "word"
        if "text-" in name:
            shape |= dict.fromkeys(("cached_tokens", "cache_write_tokens", "reasoning_tokens"))
        if name in ("described", "called"):
            shape["tool_calls"] = (LOOK,)
        if name == "thought":
            shape["reasoning"] = "let me think"
        if name == "incomplete":
            shape["finish_reason"] = "max_output_tokens"
        cases[name] = [ss.Reply(content=None if name == "called" else word, **shape)]
    return cases


def run(tmp_path_factory: pytest.TempPathFactory) -> suite.Finished:
    with OpenAIServer(cases=script()) as server:
        done = suite.run_pytest(tmp_path_factory.mktemp("responses"), server, SOURCE)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> suite.Finished:
    return run(tmp_path_factory)


def row_of(name: str) -> str:
    kind = "async" if name.startswith("async") else "sync"
    return f"test_generated.py::{TEXTS.get(name) or f'test_{kind}[{name}]'}"


@pytest.mark.parametrize("name", CASES)
def test_numbers(finished: suite.Finished, name: str) -> None:
    served = finished.of(name)
    assert len(served) == 1
    assert served[0].path.endswith("/responses")
    suite.check_numbers(finished, row_of(name), served)
    row = finished.result(row_of(name))
    assert row["streamed_call_count"] == int(CASES[name]) == int(served[0].stream)
    assert row["gen_ai.request.temperature"] == served[0].body["temperature"] == 0.4
    assert row["gen_ai.request.max_tokens"] == served[0].body["max_output_tokens"] == 99


def test_times(finished: suite.Finished, tmp_path_factory: pytest.TempPathFactory) -> None:
    streamed = {row_of(name): methodcaller("of", name) for name in CASES if CASES[name]}
    suite.check_times_of(finished, streamed, lambda: run(tmp_path_factory))


def test_concurrent_calls(finished: suite.Finished) -> None:
    served = finished.of("async_both")
    row = finished.result(row_of("async_both"))
    assert row["llm_call_count"] == len(served) == 2
    tokens = suite.true_tokens(served)
    assert {name: row[name] for name in tokens} == tokens
    suite.check_cost(row, served)


def test_what_was_said(finished: suite.Finished) -> None:
    """Instructions, items and function calls are kept as messages."""
    attributes = attributes_of(finished, "described")
    texts = attributes["input.value"]
    messages = texts if isinstance(texts, list) else json.loads(texts)
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool"]
    assert messages[0]["content"] == "Be brief."
    assert messages[2]["tool_calls"][0]["name"] == "look"
    assert messages[3]["content"] == "seen"
    output = json.loads(attributes["output.value"])
    assert output["content"] == "word"
    assert output["tool_calls"][0] == {
        "id": "call-1",
        "name": "look",
        "arguments": '{"city": "Paris"}',
    }
    assert [tool["name"] for tool in json.loads(attributes["llm.tools"])] == ["look"]
    streamed = json.loads(attributes_of(finished, "called")["output.value"])
    assert streamed == {**output, "content": None}


def attributes_of(finished: suite.Finished, name: str) -> dict[str, Any]:
    """Return the attributes of our own span; genai-otel's stands around it."""
    spans = finished.trace(row_of(name))["spans"]
    (own,) = [span for span in spans if span["name"] == f"chat {suite.MODEL}"]
    return dict(json.loads(own["attributes_json"]))


def llm_spans(finished: suite.Finished, name: str) -> list[dict[str, Any]]:
    spans = finished.trace(row_of(name))["spans"]
    return [span for span in spans if span["attributes"]["smoltrace.counted_call"]]


@pytest.mark.parametrize("name", TEXTS)
def test_text_generation(finished: suite.Finished, name: str) -> None:
    """Its tokens are known where details were asked for."""
    (served,) = finished.of(name)
    row = finished.result(row_of(name))
    assert row["llm_call_count"] == 1
    known = "plain" not in name
    prompt, completion = served.prompt_tokens, served.completion_tokens
    assert row["gen_ai.usage.prompt_tokens"] == (prompt if known else None)
    assert row["gen_ai.usage.completion_tokens"] == (completion if known else None)
    assert row["gen_ai.response.finish_reasons"] == (["eos_token"] if known else None)
    assert row["gen_ai.request.max_tokens"] == 99
    assert row["streamed_call_count"] == int(served.stream)
    (call,) = llm_spans(finished, name)
    assert call["attributes"]["gen_ai.operation.name"] == "text_generation"


def test_model_of_the_client(finished: suite.Finished) -> None:
    (served,) = finished.of("positional")
    row = finished.result("positional")
    assert row["gen_ai.usage.total_tokens"] == served.prompt_tokens + served.completion_tokens


def test_unread_stream_is_a_call(finished: suite.Finished) -> None:
    """A stream that nobody reads was asked for; what it used is unknown."""
    row = finished.result("unread")
    assert row["llm_call_count"] == len(finished.of("unread")) == 3
    assert row["gen_ai.usage.total_tokens"] is None


def test_every_call_counts_once(finished: suite.Finished) -> None:
    assert sum(row["llm_call_count"] for row in finished.results) == len(finished.served)
