"""A client used inside a tool, in every way of asking and of running the tool."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite
from tests.truth.responses_server import OpenAIServer

SOURCE = '''
import asyncio

from openai import AsyncOpenAI, OpenAI

URL = {"base_url": SERVER, "api_key": "none", "max_retries": 0}


def asked(question, stream, api):
    base = {"model": "scripted-model", "temperature": 0.1, "stream": stream}
    if api == "responses":
        return {**base, "input": question}
    more = {"stream_options": {"include_usage": True}} if stream else {}
    return {**base, "messages": [{"role": "user", "content": question}], **more}


def text_of(piece):
    if hasattr(piece, "choices"):
        return (piece.choices[0].delta.content or "") if piece.choices else ""
    return piece.delta if piece.type == "response.output_text.delta" else ""


def all_of(done):
    return done.choices[0].message.content if hasattr(done, "choices") else done.output_text


def create(client, api):
    return client.responses.create if api == "responses" else client.chat.completions.create


async def ask_async(question, stream, api):
    async with AsyncOpenAI(**URL) as client:
        done = await create(client, api)(**asked(question, stream, api))
        if not stream:
            return all_of(done)
        return "".join([text_of(piece) async for piece in done])


@tool
def ask(question: str, how: str) -> str:
    """Ask a model without smolagents.

    Args:
        question: What to ask.
        how: Client, streaming and API.
    """
    kind, streaming, api = how.split("-")
    stream = streaming == "stream"
    if kind == "async":
        return asyncio.run(ask_async(question, stream, api))
    with OpenAI(**URL) as client:
        done = create(client, api)(**asked(question, stream, api))
        return "".join(map(text_of, done)) if stream else all_of(done)


@pytest.mark.smoltrace(id="warm")
def test_warm(smoltrace_agent):
    smoltrace_agent(tools=[ask]).run("Warm up. [[case:warm]]")


@pytest.mark.smoltrace(agent_type="tool", expected_tool="ask")
@pytest.mark.parametrize("how", HOWS)
def test_tool(how, smoltrace_agent):
    assert smoltrace_agent(tools=[ask]).run(f"Ask. [[case:tool-{how}]]") == "yes"


@pytest.mark.smoltrace(agent_type="code", expected_tool="ask")
@pytest.mark.parametrize("how", HOWS)
def test_code(how, smoltrace_agent):
    assert smoltrace_agent(tools=[ask]).run(f"Ask. [[case:code-{how}]]") == "yes"
'''
APIS = ("chat", "responses")
HOWS = ["-".join(parts) for parts in product(("sync", "async"), ("whole", "stream"), APIS)]
CASES = [f"{kind}-{how}" for kind in ("tool", "code") for how in HOWS]


def shape(number: int, turn: int) -> dict[str, Any]:
    return {
        "prompt_tokens": 200 + 10 * number + turn,
        "completion_tokens": 20 + number + turn,
        "cached_tokens": 40 + number + turn,
        "cache_write_tokens": 16 + number + turn,
        "reasoning_tokens": 2 + number + turn,
        "chunks": 3,
        "first_chunk_delay_s": 0.05,
        "between_chunks_s": 0.02,
    }


def script() -> dict[str, list[ss.Turn]]:
    warm = {"question": "[[case:warm-asked]]", "how": "sync-stream-responses"}
    cases: dict[str, list[ss.Turn]] = {
        "warm": [ss.tool_call("ask", warm), ss.final_answer("warm")],
        "warm-asked": [ss.text("yes")],
    }
    for number, case in enumerate(CASES):
        kind, how = case.split("-", 1)
        given = {"question": f"[[case:{case}-asked]]", "how": how}
        if kind == "tool":
            turns = [
                ss.tool_call("ask", given, **shape(number, 0)),
                ss.final_answer("yes", **shape(number, 1)),
            ]
        else:
            # One step: the answer of the tool is an observation no more.
            source = f"final_answer(ask(question={given['question']!r}, how={how!r}))"
            turns = [ss.code(source, **shape(number, 0))]
        cases[case] = turns
        cases[f"{case}-asked"] = [ss.text("yes", **shape(number, 2))]
    return cases


def run(tmp_path_factory: pytest.TempPathFactory) -> suite.Finished:
    source = f"HOWS = {HOWS!r}\n{SOURCE}"
    with OpenAIServer(cases=script()) as server:
        done = suite.run_pytest(tmp_path_factory.mktemp("in_tools"), server, source)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> suite.Finished:
    return run(tmp_path_factory)


def row_of(case: str) -> str:
    kind, how = case.split("-", 1)
    return f"test_generated.py::test_{kind}[{how}]"


def served_of(finished: suite.Finished, case: str) -> list[ss.Served]:
    """Return what was served to the agent and inside its tool, in order of arrival."""
    return finished.of(case, f"{case}-asked")


@pytest.mark.parametrize("case", CASES)
def test_numbers(finished: suite.Finished, case: str) -> None:
    served = served_of(finished, case)
    assert len(served) == (3 if case.startswith("tool") else 2)
    (inside,) = finished.of(f"{case}-asked")
    assert inside.stream is ("stream" in case)
    assert inside.path.endswith("responses" if "responses" in case else "completions")
    suite.check_numbers(finished, row_of(case), served)
    row = finished.result(row_of(case))
    assert row["tools_used"] == ["ask"]
    assert row["failed_tool_calls"] == 0
    assert row["non_agent_total_tokens"] == 0


@pytest.mark.parametrize("case", CASES)
def test_call_stands_in_its_tool(finished: suite.Finished, case: str) -> None:
    spans = {span["span_id"]: span for span in finished.trace(row_of(case))["spans"]}
    (inside,) = finished.of(f"{case}-asked")
    (call,) = [
        span
        for span in spans.values()
        if span["attributes"]["smoltrace.counted_call"]
        and span["attributes"]["gen_ai.response.id"] == inside.response_id
    ]
    kinds = []
    while call["parent_span_id"] is not None:
        call = spans[call["parent_span_id"]]
        kinds.append(call["attributes"]["openinference.span.kind"])
    assert "TOOL" in kinds
    assert "AGENT" in kinds


def test_times(finished: suite.Finished, tmp_path_factory: pytest.TempPathFactory) -> None:
    streamed = {row_of(case): partial(served_of, case=case) for case in CASES if "stream" in case}
    suite.check_times_of(finished, streamed, lambda: run(tmp_path_factory))


def test_every_call_counts_once(finished: suite.Finished) -> None:
    assert sum(row["llm_call_count"] for row in finished.results) == len(finished.served)
