"""Every provider x agent type x streaming: each number equals the server's log."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite

SOURCE = """
@pytest.mark.smoltrace(id="bare")
def test_bare(smoltrace_model, smoltrace_case):
    with stopwatch(smoltrace_case):
        smoltrace_model.generate([{"role": "user", "content": "hello [[case:bare]]"}])


@pytest.mark.smoltrace(id="warm", agent_type="tool")
def test_warm(smoltrace_agent):
    # The first streamed call of a client library imports and connects.
    smoltrace_agent(tools=[add]).run("Warm up. [[case:warm]]")


@pytest.mark.smoltrace(id="tool", agent_type="tool")
def test_tool(smoltrace_agent, smoltrace_case):
    with stopwatch(smoltrace_case):
        agent = smoltrace_agent(tools=[add])
        assert str(agent.run("What is 2 + 3? [[case:tool]]")) == "5"


@pytest.mark.smoltrace(id="code", agent_type="code")
def test_code(smoltrace_agent, smoltrace_case):
    with stopwatch(smoltrace_case):
        agent = smoltrace_agent(tools=[add])
        assert str(agent.run("What is 2 + 3? [[case:code]]")) == "5"
"""


def reply(name: str, turn: int, **shape: object) -> dict[str, object]:
    """Return the options of a reply whose every count differs from those of the others."""
    return {
        "prompt_tokens": 200 + 37 * turn + len(name),
        "completion_tokens": 5 + turn,
        "cached_tokens": 40 + turn,
        "cache_write_tokens": 16 + turn,
        "reasoning_tokens": 2 + turn,
        "response_id": f"{name}-{turn}",
        "model": f"scripted-model-2026-0{turn + 1}",
        "chunks": 3,
        "first_chunk_delay_s": 0.06 + 0.03 * turn,
        "between_chunks_s": 0.04,
        **shape,
    }


def script() -> dict[str, list[ss.Reply]]:
    add, twice = {"a": 2, "b": 3}, {"a": 5, "b": 0}
    return {
        "bare": [ss.text("hello yourself", **reply("bare", 0, finish_reason="length"))],
        "warm": [ss.final_answer("warm", **reply("warm", 0, first_chunk_delay_s=0.0))],
        "tool": [
            ss.tool_call("add", add, **reply("tool", 0)),
            ss.tool_call("add", twice, **reply("tool", 1)),
            ss.final_answer("5", **reply("tool", 2)),
        ],
        "code": [
            ss.code("x = add(2, 3)\nprint(x)", **reply("code", 0)),
            ss.code("final_answer(add(x, 0))", **reply("code", 1)),
        ],
    }


MODELS = {
    "openai": f"openai:{suite.MODEL}",
    "litellm": f"litellm:openai/{suite.MODEL}",
    "inference": f"inference:{suite.MODEL}",
    "ollama": f"ollama:{suite.MODEL}",
    "azure": f"azure:{suite.MODEL}",
}
SYSTEMS = {"inference": "huggingface", "litellm": "openai", "azure": "azure.ai.openai"}
ARGUMENTS = {
    "azure": (
        "--smoltrace-model-arg=api_key=none",
        "--smoltrace-model-arg=api_version=2024-10-21",
    )
}


@pytest.fixture(
    scope="module",
    params=[(name, stream) for name in MODELS for stream in (True, False)],
    ids=lambda cell: f"{cell[0]}-{'stream' if cell[1] else 'whole'}",
)
def cell(request: pytest.FixtureRequest) -> tuple[str, bool]:
    name, stream = request.param
    if name == "litellm" and importlib.util.find_spec("litellm") is None:
        pytest.skip("litellm is not installed")
    return name, stream


@pytest.fixture(scope="module")
def finished(cell: tuple[str, bool], tmp_path_factory: pytest.TempPathFactory) -> suite.Finished:
    return run_cell(cell, tmp_path_factory)


def run_cell(cell: tuple[str, bool], tmp_path_factory: pytest.TempPathFactory) -> suite.Finished:
    name, stream = cell
    flag = "--smoltrace-stream" if stream else "--smoltrace-no-stream"
    with ss.ScriptedServer(cases=script()) as server:
        done = suite.run_pytest(
            tmp_path_factory.mktemp(name),
            server,
            SOURCE,
            flag,
            *suite.SETTING_FLAGS,
            *ARGUMENTS.get(name, ()),
            model=MODELS[name],
        )
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.parametrize("case", ["tool", "code"])
def test_numbers(finished: suite.Finished, case: str) -> None:
    served = finished.of(case)
    assert len(served) == len(script()[case])
    suite.check_numbers(finished, case, served)
    suite.check_settings(finished, case, served)
    suite.check_stopwatch(finished, case)


@pytest.mark.parametrize("case", ["tool", "code"])
def test_no_times(finished: suite.Finished, cell: tuple[str, bool], case: str) -> None:
    if cell[1]:
        pytest.skip("streamed")
    assert not any(one.stream for one in finished.of(case))
    suite.check_no_times(finished, case)


def test_times(
    finished: suite.Finished,
    cell: tuple[str, bool],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """All calls of one run are within 20 ms; a run that a busy machine held up is repeated."""
    if not cell[1]:
        pytest.skip("not streamed")
    for _ in range(2):
        try:
            return check_both(finished)
        except AssertionError:
            finished = run_cell(cell, tmp_path_factory)
    return check_both(finished)


def check_both(finished: suite.Finished) -> None:
    for case in ("tool", "code"):
        served = finished.of(case)
        assert all(one.stream for one in served)
        suite.check_times(finished, case, served)


def test_bare_generate(finished: suite.Finished) -> None:
    served = finished.of("bare")
    assert len(served) == 1
    suite.check_numbers(finished, "bare", served)
    suite.check_settings(finished, "bare", served)
    suite.check_stopwatch(finished, "bare")
    assert finished.result("bare")["gen_ai.response.finish_reasons"] == ["length"]


def test_agent_columns(finished: suite.Finished, cell: tuple[str, bool]) -> None:
    tool, code = finished.result("tool"), finished.result("code")
    assert (tool["agent_type"], code["agent_type"]) == ("tool", "code")
    assert (tool["steps"], code["steps"]) == (3, 2)
    assert (tool["tools_used"], code["tools_used"]) == (["add", "add"], ["add", "add"])
    assert (tool["tool_call_count"], code["tool_call_count"]) == (2, 2)
    assert tool["response"] == code["response"] == "5"
    assert tool["stop_reason"] == code["stop_reason"] == "final_answer"
    assert tool["model"] == MODELS[cell[0]].partition(":")[2]
    assert finished.trace("tool")["provider"] == cell[0]
    assert finished.trace("tool")["gen_ai.system"] == SYSTEMS.get(cell[0], cell[0])
    assert not any(span["name"].endswith("Model.generate") for span in tool_spans(finished))
    sent = [t["function"]["name"] for one in finished.of("tool") for t in one.body["tools"]]
    recorded = [t["function"]["name"] for t in json.loads(finished.trace("tool")["llm.tools"])]
    assert set(recorded) == set(sent) == {"add", "final_answer"}
    assert len(recorded) == 2


def tool_spans(finished: suite.Finished) -> list[dict[str, Any]]:
    return list(finished.trace("tool")["spans"])


def test_leaderboard(finished: suite.Finished) -> None:
    """One row an agent type; their sums are what the server served in all."""
    total = suite.true_tokens(finished.served)
    names = {
        "total_prompt_tokens": "gen_ai.usage.prompt_tokens",
        "total_completion_tokens": "gen_ai.usage.completion_tokens",
        "total_tokens": "gen_ai.usage.total_tokens",
        "total_reasoning_tokens": "completion_tokens_details.reasoning_tokens",
        "total_cache_read_tokens": "cache_read_input_tokens",
        "total_cache_write_tokens": "cache_creation_input_tokens",
    }
    rows = finished.leaderboard
    assert len(rows) == 2
    for column, true in names.items():
        assert sum(row[column] for row in rows) == total[true], column
    for part, value in suite.true_cost(finished.served).items():
        kind = part.rpartition(".")[2]
        column = "total_cost_usd" if kind == "total" else f"total_cost_{kind}_usd"
        assert sum(row[column] for row in rows) == suite.close(value), column
    assert sum(row["llm_call_count"] for row in rows) == len(finished.served)
    assert sum(row["total_tool_calls"] for row in rows) == 4
    assert {row["common_temperature"] for row in rows} == {suite.SETTINGS["temperature"]}
    durations = [row["execution_time_ms"] for row in finished.results]
    assert sum(row["total_duration_ms"] for row in rows) == suite.close(sum(durations))
