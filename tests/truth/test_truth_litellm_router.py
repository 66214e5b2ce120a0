"""LiteLLMRouterModel: the calls behind a model group equal the server's log."""

from __future__ import annotations

import importlib.util
from operator import methodcaller
from typing import Any

import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite

if importlib.util.find_spec("litellm") is None:
    pytest.skip("litellm is not installed", allow_module_level=True)

SOURCE = """
from smolagents import CodeAgent, LiteLLMRouterModel, LogLevel, ToolCallingAgent


def router(**settings):
    # smolagents puts its own address and key, which may be None, before those of a deployment.
    deployment = {"model": "openai/scripted-model", "api_base": SERVER, "api_key": "none"}
    return LiteLLMRouterModel(
        model_id="openai/scripted-model",
        model_list=[{"model_name": "openai/scripted-model", "litellm_params": deployment}],
        client_kwargs={"num_retries": 1, "retry_after": 0, **settings},
        api_base=SERVER,
        api_key="none",
        temperature=0.2,
    )


@pytest.mark.smoltrace(id="warm")
def test_warm():
    agent = ToolCallingAgent(
        tools=[], model=router(), stream_outputs=True, verbosity_level=LogLevel.OFF
    )
    agent.run("Warm up. [[case:warm]]")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("kind", [ToolCallingAgent, CodeAgent], ids=["tool", "code"])
def test_agent(kind, stream, smoltrace_case):
    name = f"{'tool' if kind is ToolCallingAgent else 'code'}-{'stream' if stream else 'whole'}"
    with stopwatch(smoltrace_case):
        agent = kind(
            tools=[add], model=router(), stream_outputs=stream, verbosity_level=LogLevel.OFF
        )
        assert str(agent.run(f"Add. [[case:{name}]]")) == "5"


@pytest.mark.smoltrace(id="again")
def test_again():
    message = router().generate([{"role": "user", "content": "[[case:again]]"}])
    assert message.content == "hello"
"""
CELLS = [f"{kind}-{how}" for kind in ("tool", "code") for how in ("stream", "whole")]


def reply(case: str, turn: int) -> dict[str, Any]:
    return {
        "prompt_tokens": 300 + 11 * CELLS.index(case) + turn,
        "completion_tokens": 6 + turn,
        "cached_tokens": 50 + turn,
        "cache_write_tokens": 30 + turn,
        "reasoning_tokens": 3 + turn,
        "chunks": 3,
        "first_chunk_delay_s": 0.05,
        "between_chunks_s": 0.04,
    }


def script() -> dict[str, list[ss.Turn]]:
    cases: dict[str, list[ss.Turn]] = {
        "warm": [ss.final_answer("warm")],
        "again": [(ss.Reply(status=500), ss.text("hello", prompt_tokens=77))],
    }
    for case in CELLS:
        first = ss.code("print(add(2, 3))", **reply(case, 0))
        last = ss.code("final_answer(add(2, 3))", **reply(case, 1))
        if case.startswith("tool"):
            first = ss.tool_call("add", {"a": 2, "b": 3}, **reply(case, 0))
            last = ss.final_answer("5", **reply(case, 1))
        cases[case] = [first, last]
    return cases


def run(tmp_path_factory: pytest.TempPathFactory) -> suite.Finished:
    with ss.ScriptedServer(cases=script()) as server:
        done = suite.run_pytest(tmp_path_factory.mktemp("router"), server, SOURCE)
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> suite.Finished:
    return run(tmp_path_factory)


def row_of(case: str) -> str:
    kind, how = case.split("-")
    return f"test_generated.py::test_agent[{kind}-{how}]"


@pytest.mark.parametrize("case", CELLS)
def test_litellm_router_numbers(finished: suite.Finished, case: str) -> None:
    served = finished.of(case)
    assert len(served) == 2
    suite.check_numbers(finished, row_of(case), served)
    suite.check_stopwatch(finished, row_of(case))
    assert finished.trace(row_of(case))["provider"] == "litellm"
    assert finished.result(row_of(case))["gen_ai.request.temperature"] == 0.2
    if case.endswith("whole"):
        suite.check_no_times(finished, row_of(case))


def test_litellm_router_times(
    finished: suite.Finished, tmp_path_factory: pytest.TempPathFactory
) -> None:
    streamed = {row_of(c): methodcaller("of", c) for c in ("tool-stream", "code-stream")}
    suite.check_times_of(finished, streamed, lambda: run(tmp_path_factory))


def test_litellm_router_tries_again(finished: suite.Finished) -> None:
    """A request that the router sends again is one call."""
    served = finished.of("again")
    assert [one.status for one in served] == [500, 200]
    row = finished.result("again")
    assert row["llm_call_count"] == 1
    assert row["llm_retries"] == 1
    assert row["gen_ai.usage.prompt_tokens"] == 77
    assert row["llm_error_count"] == 0
