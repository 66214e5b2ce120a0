"""Coroutine tests of pytest-asyncio and anyio: every call is in its case, with its role."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE = """
import asyncio
from concurrent.futures import ThreadPoolExecutor

from openai import AsyncOpenAI, OpenAI

URL = {"base_url": SERVER, "api_key": "none", "max_retries": 0}


def asked(name, **more):
    return {"model": "scripted-model", "messages": [{"role": "user", "content": name}], **more}


async def ask(client, name, stream=False):
    question = f"[[case:{name}]]"
    if not stream:
        done = await client.chat.completions.create(**asked(question))
        return done.choices[0].message.content
    chunks = await client.chat.completions.create(
        **asked(question, stream=True, stream_options={"include_usage": True})
    )
    return "".join([c.choices[0].delta.content or "" async for c in chunks if c.choices])


@ASYNC_FIXTURE
async def client():
    async with AsyncOpenAI(**URL) as made:
        yield made


@ASYNC_FIXTURE
async def prepared(client):
    before = await ask(client, "PLUGIN-set-up")
    yield before
    await ask(client, "PLUGIN-torn-down", stream=True)


@MODULE_FIXTURE
async def shared():
    async with AsyncOpenAI(**URL) as made:
        await ask(made, "PLUGIN-shared-set-up")
        yield made
        await ask(made, "PLUGIN-shared-torn-down")


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(1) as made:
        yield made


def ask_pool(pool, name):
    with OpenAI(**URL) as client:
        work = pool.submit(client.chat.completions.create, **asked(f"[[case:{name}]]"))
        return work.result().choices[0].message.content


@pytest.fixture
def pooled(pool):
    return ask_pool(pool, "PLUGIN-pool-set-up")


@MARK
async def test_thread(smoltrace_agent):
    agent = smoltrace_agent(tools=[add])
    assert await asyncio.to_thread(agent.run, "Add. [[case:PLUGIN-thread]]") == "5"


@pytest.mark.smoltrace(agent_type="code")
@MARK
async def test_code(smoltrace_agent):
    agent = smoltrace_agent(tools=[add])
    assert await asyncio.to_thread(agent.run, "Add. [[case:PLUGIN-code]]") == 5


@MARK
async def test_blocking(smoltrace_agent):
    assert smoltrace_agent(tools=[add]).run("Add. [[case:PLUGIN-blocking]]") == "5"


@MARK
async def test_whole(smoltrace_case):
    async with AsyncOpenAI(**URL) as made:
        assert await ask(made, "PLUGIN-whole") == "yes"


@MARK
async def test_stream(smoltrace_case):
    async with AsyncOpenAI(**URL) as made:
        assert await ask(made, "PLUGIN-stream", stream=True) == "yes"


@MARK
async def test_gather(smoltrace_agent, smoltrace_case, client):
    async def judged(name):
        with smoltrace_case.judge():
            return await ask(client, name, stream=True)

    def agent(number):
        made = smoltrace_agent(tools=[add])
        return asyncio.to_thread(made.run, f"Add. [[case:PLUGIN-gather-{number}]]")

    done = await asyncio.gather(
        agent(0), judged("PLUGIN-judge"), agent(1), ask(client, "PLUGIN-direct"),
        ask(client, "PLUGIN-direct", stream=True), judged("PLUGIN-judge"),
    )
    assert done == ["5", "yes", "5", "yes", "yes", "yes"]


@MARK
async def test_prepared(prepared, client):
    assert prepared == "yes"
    assert await ask(client, "PLUGIN-prepared") == "yes"


@MODULE_MARK
async def test_first(shared, smoltrace_case):
    assert await ask(shared, "PLUGIN-first", stream=True) == "yes"


@MODULE_MARK
async def test_second(shared, smoltrace_agent):
    loop, agent = asyncio.get_running_loop(), smoltrace_agent(tools=[add])
    assert await ask(shared, "PLUGIN-second-direct") == "yes"
    done = await loop.run_in_executor(None, agent.run, "Add. [[case:PLUGIN-second]]")
    assert done == "5"


@MODULE_MARK
async def test_third(shared, smoltrace_agent, pool):
    loop, agent = asyncio.get_running_loop(), smoltrace_agent(tools=[add])
    done = await loop.run_in_executor(None, agent.run, "Add. [[case:PLUGIN-third]]")
    assert done == "5"
    assert ask_pool(pool, "PLUGIN-third-pool") == "yes"


@MODULE_MARK
async def test_fourth(shared, pooled, pool):
    assert await ask(shared, "PLUGIN-fourth") == "yes"
    assert await asyncio.to_thread(ask_pool, pool, "PLUGIN-fourth-pool") == "yes"


@MARK
async def test_cancelled(smoltrace_case):
    async with AsyncOpenAI(**URL) as made:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await ask(made, "PLUGIN-cancelled", stream=True)
"""
ANYIO = """
@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"
"""
PLUGINS = {
    "asyncio": {
        "ASYNC_FIXTURE": "pytest_asyncio.fixture",
        "MODULE_FIXTURE": 'pytest_asyncio.fixture(scope="module", loop_scope="module")',
        "MODULE_MARK": 'pytest.mark.asyncio(loop_scope="module")',
        "MARK": "pytest.mark.asyncio",
        "PLUGIN": "asyncio",
    },
    "anyio": {
        "ASYNC_FIXTURE": "pytest.fixture",
        "MODULE_FIXTURE": 'pytest.fixture(scope="module")',
        "MODULE_MARK": "pytest.mark.anyio",
        "MARK": "pytest.mark.anyio",
        "PLUGIN": "anyio",
    },
}
FIVE = ("thread", "code", "blocking", "gather-0", "gather-1", "second", "third")
YES = (
    *("whole", "stream", "judge", "direct", "set-up", "torn-down", "prepared", "first"),
    *("shared-set-up", "shared-torn-down", "second-direct", "third-pool", "fourth"),
    *("fourth-pool", "pool-set-up"),
)
AGENT = {
    "thread": ("thread",),
    "code": ("code",),
    "blocking": ("blocking",),
    "whole": ("whole",),
    "stream": ("stream",),
    "prepared": ("prepared",),
    "first": ("first",),
    "second": ("second-direct", "second"),
    "third": ("third", "third-pool"),
    "fourth": ("fourth", "fourth-pool"),
}
"""Test -> the cases that its agent-role requests named."""
OTHERS = {
    "gather": ("judge",),
    "prepared": ("set-up", "torn-down"),
    "first": ("shared-set-up",),
    "fourth": ("pool-set-up",),
    "cancelled": ("shared-torn-down",),
}
"""Test -> the cases that requests of judges and fixtures named."""


@pytest.fixture(scope="module", params=PLUGINS)
def plugin(request: pytest.FixtureRequest) -> str:
    if request.param == "asyncio" and importlib.util.find_spec("pytest_asyncio") is None:
        pytest.skip("pytest-asyncio is not installed")
    return str(request.param)


def shape(number: int, turn: int) -> dict[str, Any]:
    return {
        "prompt_tokens": 200 + 11 * number + turn,
        "completion_tokens": 20 + number + turn,
        "cached_tokens": 40 + number + turn,
        "cache_write_tokens": 16 + number + turn,
        "reasoning_tokens": 2 + number + turn,
        "chunks": 2,
        "first_chunk_delay_s": 0.05,
        "between_chunks_s": 0.02,
    }


def script(plugin: str) -> dict[str, list[ss.Turn]]:
    cases: dict[str, list[ss.Turn]] = {
        f"{plugin}-cancelled": [ss.text("never", chunks=2, between_chunks_s=30)]
    }
    for number, case in enumerate(FIVE):
        first = ss.tool_call("add", {"a": 2, "b": 3}, **shape(number, 0))
        last = ss.final_answer("5", **shape(number, 1))
        if case == "code":
            first = ss.code("print(add(2, 3))", **shape(number, 0))
            last = ss.code("final_answer(add(2, 3))", **shape(number, 1))
        cases[f"{plugin}-{case}"] = [first, last]
    for number, case in enumerate(YES, len(FIVE)):
        cases[f"{plugin}-{case}"] = [ss.text("yes", **shape(number, 0))]
    return cases


@pytest.fixture(scope="module")
def finished(plugin: str, tmp_path_factory: pytest.TempPathFactory) -> suite.Finished:
    source = "import pytest_asyncio\n" + SOURCE if plugin == "asyncio" else ANYIO + SOURCE
    for name, value in PLUGINS[plugin].items():
        source = source.replace(name, value)
    with ss.ScriptedServer(cases=script(plugin)) as server:
        done = suite.run_pytest(tmp_path_factory.mktemp(plugin), server, source)
    assert done.exit_code == 0, done.output
    return done


def served_to(finished: suite.Finished, plugin: str, test: str, *, agent: bool) -> list[ss.Served]:
    names = (AGENT if agent else OTHERS).get(test, ())
    return finished.of(*(f"{plugin}-{name}" for name in names))


@pytest.mark.parametrize("test", AGENT)
def test_numbers(finished: suite.Finished, plugin: str, test: str) -> None:
    served = served_to(finished, plugin, test, agent=True)
    assert served
    if test in OTHERS:
        check_tokens(finished.result(f"test_generated.py::test_{test}"), served)
        suite.check_tree(finished.trace(f"test_generated.py::test_{test}"))
    else:
        suite.check_numbers(finished, f"test_generated.py::test_{test}", served)


def check_tokens(row: dict[str, Any], served: Sequence[ss.Served]) -> None:
    assert row["llm_call_count"] == len(served)
    tokens = suite.true_tokens(served)
    assert {name: row[name] for name in tokens} == tokens
    suite.check_cost(row, served)


def test_gathered(finished: suite.Finished, plugin: str) -> None:
    """Two agents in threads, direct calls and a judge at the same time."""
    row = finished.result("test_generated.py::test_gather")
    names = ("gather-0", "gather-1", "direct")
    served = finished.of(*(f"{plugin}-{name}" for name in names))
    assert len(served) == 6
    check_tokens(row, served)
    assert row["tools_used"] == ["add", "add"]
    suite.check_tree(finished.trace("test_generated.py::test_gather"))
    overlapping = sorted(served, key=lambda one: one.received_ns)
    assert overlapping[1].received_ns < (overlapping[0].last_byte_ns or 0)


@pytest.mark.parametrize("test", ["thread", "code", "gather", *OTHERS])
def test_other_roles(finished: suite.Finished, plugin: str, test: str) -> None:
    """What judges and fixtures asked is apart from what the agent asked."""
    served = served_to(finished, plugin, test, agent=False)
    row = finished.result(f"test_generated.py::test_{test}")
    tokens = suite.true_tokens(served)
    assert row["non_agent_total_tokens"] == tokens["gen_ai.usage.total_tokens"]
    roles = [
        span["attributes"]["smoltrace.role"]
        for span in finished.trace(f"test_generated.py::test_{test}")["spans"]
        if span["attributes"]["smoltrace.counted_call"]
    ]
    others = [role for role in roles if role != "agent"]
    assert others == ["judge" if test == "gather" else "fixture"] * len(served)


def test_times(finished: suite.Finished, plugin: str) -> None:
    row = finished.result("test_generated.py::test_stream")
    assert row["streamed_call_count"] == 1
    assert row["gen_ai.server.ttft"] >= 0.05


def test_cancelled_stream(finished: suite.Finished, plugin: str) -> None:
    row = finished.result("test_generated.py::test_cancelled")
    assert row["llm_call_count"] == len(finished.of(f"{plugin}-cancelled")) == 1
    assert row["gen_ai.usage.total_tokens"] is None
    assert row["success"]


def test_calls_stand_in_their_case(finished: suite.Finished, plugin: str) -> None:
    """Every request is the call of one case, and of its own."""
    calls = 0
    for trace in finished.traces:
        counted = [s for s in trace["spans"] if s["attributes"]["smoltrace.counted_call"]]
        calls += len(counted)
        assert trace["orphan_span_count"] == 0
        for span in counted:
            asked = json.dumps(json.loads(span["attributes_json"]).get("input.value", ""))
            assert f"[[case:{plugin}" in asked or span["name"].startswith("openai.")
    assert calls == len(finished.served)
