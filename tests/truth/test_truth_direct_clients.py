"""A client library used without smolagents is counted in every way it can be called."""

from __future__ import annotations

import importlib.util
from operator import methodcaller

import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite

SOURCE = """
import asyncio

from huggingface_hub import AsyncInferenceClient, InferenceClient
from openai import AsyncOpenAI, OpenAI
from smolagents import OpenAIModel
from pydantic import BaseModel


class Answer(BaseModel):
    word: str


def ask(name, **more):
    messages = [{"role": "user", "content": f"[[case:{name}]]"}]
    if more.get("stream"):
        more["stream_options"] = {"include_usage": True}
    return {"model": "scripted-model", "messages": messages, "temperature": 0.4, **more}


def joined(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def whole(completions, name):
    return completions.create(**ask(name)).choices[0].message.content


def stream(completions, name):
    return joined(completions.create(**ask(name, stream=True)))


def stepped(completions, name):
    chunks, parts = completions.create(**ask(name, stream=True)), []
    while (chunk := next(chunks, None)) is not None:
        parts.append(chunk)
    return joined(parts)


def scoped(completions, name):
    with completions.create(**ask(name, stream=True)) as chunks:
        return joined(chunks)


def raw(completions, name):
    response = completions.with_raw_response.create(**ask(name))
    return response.parse().choices[0].message.content


def raw_stream(completions, name):
    return joined(completions.with_raw_response.create(**ask(name, stream=True)).parse())


def parsed(completions, name):
    done = completions.parse(**ask(name), response_format=Answer)
    return done.choices[0].message.parsed.word


def managed(completions, name):
    more = {"stream_options": {"include_usage": True}}
    with completions.stream(**ask(name), **more) as events:
        for _ in events:
            pass
        return events.get_final_completion().choices[0].message.content


def retried(completions, name):
    with OpenAI(base_url=SERVER, api_key="none", max_retries=1) as client:
        return whole(client.chat.completions, name)


SYNC = (whole, stream, stepped, scoped, raw, raw_stream, parsed, managed, retried)


@pytest.mark.parametrize("how", SYNC, ids=lambda how: how.__name__)
def test_openai(how, smoltrace_case):
    with OpenAI(base_url=SERVER, api_key="none", max_retries=0) as client:
        assert how(client.chat.completions, f"openai-{how.__name__}") == "word"


async def async_whole(completions, name):
    return (await completions.create(**ask(name))).choices[0].message.content


async def async_stream(completions, name):
    chunks = await completions.create(**ask(name, stream=True))
    return joined([chunk async for chunk in chunks])


async def async_parsed(completions, name):
    done = await completions.parse(**ask(name), response_format=Answer)
    return done.choices[0].message.parsed.word


async def async_both(completions, name):
    words = await asyncio.gather(async_whole(completions, name), async_stream(completions, name))
    assert len(set(words)) == 1
    return words[0]


ASYNC = (async_whole, async_stream, async_parsed, async_both)


@pytest.mark.parametrize("how", ASYNC, ids=lambda how: how.__name__)
def test_async_openai(how, smoltrace_case):
    async def work():
        async with AsyncOpenAI(base_url=SERVER, api_key="none", max_retries=0) as client:
            return await how(client.chat.completions, f"openai-{how.__name__}")

    assert asyncio.run(work()) == "word"


@pytest.mark.parametrize("how", (whole, stream), ids=lambda how: how.__name__)
def test_inference(how, smoltrace_case):
    client = InferenceClient(base_url=SERVER, api_key="none")
    assert how(client.chat.completions, f"inference-{how.__name__}") == "word"


@pytest.mark.parametrize("how", (async_whole, async_stream), ids=lambda how: how.__name__)
def test_async_inference(how, smoltrace_case):
    async def work():
        async with AsyncInferenceClient(base_url=SERVER, api_key="none") as client:
            return await how(client.chat.completions, f"inference-{how.__name__}")

    assert asyncio.run(work()) == "word"
"""
LITELLM_SOURCE = """
import litellm


def of_litellm(completions):
    def create(model, **more):
        call = litellm.acompletion if completions == "async" else litellm.completion
        return call(model=f"openai/{model}", api_base=SERVER, api_key="none", **more)

    return type("Completions", (), {"create": staticmethod(create)})


@pytest.mark.parametrize("how", (whole, stream), ids=lambda how: how.__name__)
def test_litellm(how, smoltrace_case):
    assert how(of_litellm("sync"), f"litellm-{how.__name__}") == "word"


@pytest.mark.parametrize("how", (async_whole, async_stream), ids=lambda how: how.__name__)
def test_async_litellm(how, smoltrace_case):
    assert asyncio.run(how(of_litellm("async"), f"litellm-{how.__name__}")) == "word"
"""
OPENAI = {
    **dict.fromkeys(("whole", "raw", "parsed", "retried"), False),
    **dict.fromkeys(("stream", "stepped", "scoped", "raw_stream", "managed"), True),
}
ASYNC_OPENAI = {"async_whole": False, "async_parsed": False, "async_stream": True}
CASES = {
    **{f"test_openai[{how}]": (f"openai-{how}", timed) for how, timed in OPENAI.items()},
    **{f"test_async_openai[{how}]": (f"openai-{how}", t) for how, t in ASYNC_OPENAI.items()},
    "test_inference[whole]": ("inference-whole", False),
    "test_inference[stream]": ("inference-stream", True),
    "test_async_inference[async_whole]": ("inference-async_whole", False),
    "test_async_inference[async_stream]": ("inference-async_stream", True),
}
if importlib.util.find_spec("litellm"):
    SOURCE += LITELLM_SOURCE
    CASES |= {
        "test_litellm[whole]": ("litellm-whole", False),
        "test_litellm[stream]": ("litellm-stream", True),
        "test_async_litellm[async_whole]": ("litellm-async_whole", False),
        "test_async_litellm[async_stream]": ("litellm-async_stream", True),
    }


def script() -> dict[str, list[ss.Turn]]:
    cases: dict[str, list[ss.Turn]] = {}
    names = [name for name, _ in CASES.values()]
    for number, name in enumerate([*names, "openai-async_both"]):
        shape = {
            "prompt_tokens": 100 + number,
            "completion_tokens": 10 + number,
            "cached_tokens": 30 + number,
            "cache_write_tokens": 20 + number,
            "reasoning_tokens": 3 + number,
        }
        word = '{"word": "word"}' if "parsed" in name else "word"
        late = {"first_chunk_delay_s": 0.05, "between_chunks_s": 0.03}
        reply = ss.text(word, chunks=2, **shape, **late)
        cases[name] = [(ss.Reply(status=500), reply) if "retried" in name else reply]
    return cases


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> suite.Finished:
    return run(tmp_path_factory)


def run(tmp_path_factory: pytest.TempPathFactory) -> suite.Finished:
    with ss.ScriptedServer(cases=script()) as server:
        done = suite.run_pytest(tmp_path_factory.mktemp("direct"), server, SOURCE)
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.parametrize("case", CASES)
def test_numbers(finished: suite.Finished, case: str) -> None:
    name, timed = CASES[case]
    served = [one for one in finished.of(name) if one.status == 200]
    assert len(served) == 1
    test_id = f"test_generated.py::{case}"
    suite.check_numbers(finished, test_id, served)
    row = finished.result(test_id)
    assert row["streamed_call_count"] == int(timed)
    assert row["gen_ai.request.temperature"] == served[0].body["temperature"] == 0.4


def test_times(finished: suite.Finished, tmp_path_factory: pytest.TempPathFactory) -> None:
    """TTFT is that of the first content, not of the first event; a busy machine may try again."""
    streamed = {
        f"test_generated.py::{case}": methodcaller("of", name)
        for case, (name, timed) in CASES.items()
        if timed
    }
    suite.check_times_of(finished, streamed, lambda: run(tmp_path_factory))


def test_concurrent_calls(finished: suite.Finished) -> None:
    served = finished.of("openai-async_both")
    row = finished.result("test_generated.py::test_async_openai[async_both]")
    assert row["llm_call_count"] == len(served) == 2
    tokens = suite.true_tokens(served)
    assert {name: row[name] for name in tokens} == tokens
    suite.check_cost(row, served)
    assert row["streamed_call_count"] == 1
