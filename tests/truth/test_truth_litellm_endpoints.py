"""LiteLLM in front of Anthropic's and Ollama's own protocols: each number equals the server's log.

`litellm` is in the name of every test here: CI runs them where LiteLLM is installed.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite
from tests.truth.anthropic_server import STOP_REASONS, AnthropicServer
from tests.truth.ollama_server import OllamaServer

if importlib.util.find_spec("litellm") is None:
    pytest.skip("litellm is not installed", allow_module_level=True)

SOURCE = """
def asked(case):
    return [{"role": "user", "content": [{"type": "text", "text": f"[[case:{case}]]"}]}]


@pytest.mark.smoltrace(id="warm", agent_type="tool")
def test_warm(smoltrace_agent):
    smoltrace_agent(tools=[add]).run("Warm up. [[case:warm]]")


@pytest.mark.smoltrace(id="tool", agent_type="tool")
def test_tool(smoltrace_agent, smoltrace_case):
    with stopwatch(smoltrace_case):
        assert str(smoltrace_agent(tools=[add]).run("Add. [[case:tool]]")) == "5"


@pytest.mark.smoltrace(id="code", agent_type="code")
def test_code(smoltrace_agent, smoltrace_case):
    with stopwatch(smoltrace_case):
        assert str(smoltrace_agent(tools=[add]).run("Add. [[case:code]]")) == "5"


@pytest.mark.smoltrace(id="cut")
def test_cut(smoltrace_model):
    smoltrace_model.generate(asked("cut"))


@pytest.mark.smoltrace(id="thinking")
def test_thinking(smoltrace_model):
    smoltrace_model.generate(asked("thinking"))
    list(smoltrace_model.generate_stream(asked("thinking")))


@pytest.mark.smoltrace(id="told")
def test_told(smoltrace_model):
    smoltrace_model.generate(asked("told"))
    list(smoltrace_model.generate_stream(asked("told")))
"""
TOKENS = "gen_ai.usage.prompt_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A protocol that LiteLLM translates."""

    server: type[ss.ScriptedServer]
    prefix: str
    cached: bool
    """True where the protocol tells cached tokens and has response ids."""
    finish: dict[str, str]
    """What the server sends -> what LiteLLM makes of it."""
    limit: str
    """What the server sends when the token limit was reached."""

    def served(self, finished: suite.Finished, case: str) -> list[ss.Served]:
        """Return what was served, in the words of LiteLLM.

        LiteLLM makes up the response id, and tells an answer of Ollama with tool calls apart.
        """
        row_ids = _response_ids(finished, case)
        return [
            replace(one, response_id=row_ids[one.prompt_tokens], finish_reason=self._reason(one))
            for one in finished.of(case)
        ]

    def _reason(self, one: ss.Served) -> str:
        assert one.finish_reason is not None
        return "tool_calls" if one.case == "tool" else self.finish[one.finish_reason]


def _response_ids(finished: suite.Finished, case: str) -> dict[Any, str]:
    calls = suite.calls_of(finished.trace(case))
    return {call[TOKENS]: name for name, call in calls.items()}


ENDPOINTS = {
    "anthropic": Endpoint(
        server=AnthropicServer,
        prefix="anthropic/",
        cached=True,
        finish=STOP_REASONS,
        limit="max_tokens",
    ),
    "ollama": Endpoint(
        server=OllamaServer,
        prefix="ollama_chat/",
        cached=False,
        finish={"stop": "stop", "length": "length"},
        limit="length",
    ),
}


def reply(endpoint: Endpoint, case: str, turn: int, **shape: object) -> dict[str, Any]:
    """Return the options of a reply whose every count differs from those of the others."""
    cached = {"cached_tokens": 40 + turn, "cache_write_tokens": 16 + turn}
    return {
        "prompt_tokens": 200 + 37 * turn + len(case),
        "completion_tokens": 5 + turn,
        # Ollama names the model as it was asked for.
        **({**cached, "model": f"model-{case}-{turn}"} if endpoint.cached else {}),
        "chunks": 3,
        "first_chunk_delay_s": 0.06 + 0.03 * turn,
        "between_chunks_s": 0.04,
        **shape,
    }


def script(endpoint: Endpoint) -> dict[str, list[ss.Turn]]:
    def shape(case: str, turn: int, **more: object) -> dict[str, Any]:
        return reply(endpoint, case, turn, **more)

    numbers, twice = {"a": 2, "b": 3}, {"a": 5, "b": 0}
    told = {"reasoning": "one and one", "chunks": 2, "reasoning_tokens": 4}
    untold = {**told, "reasoning_tokens": None}
    return {
        "warm": [ss.final_answer("warm", **shape("warm", 0, first_chunk_delay_s=0.0))],
        "tool": [
            ss.Reply(
                content="I add.",
                tool_calls=(ss.ToolCall(name="add", arguments=numbers),),
                **shape("tool", 0),
            ),
            ss.tool_call("add", twice, **shape("tool", 1)),
            ss.final_answer("5", **shape("tool", 2)),
        ],
        "code": [
            ss.code("x = add(2, 3)\nprint(x)", **shape("code", 0)),
            ss.code("final_answer(add(x, 0))", **shape("code", 1)),
        ],
        "cut": [ss.text("hello", **shape("cut", 0, finish_reason=endpoint.limit))],
        "thinking": [
            (
                ss.text("two", **shape("thinking", 0, **untold)),
                ss.text("two", **shape("thinking", 1, **untold)),
            )
        ],
        "told": [
            (
                ss.text("two", **shape("told", 0, **told)),
                ss.text("two", **shape("told", 1, **told)),
            )
        ],
    }


@pytest.fixture(
    scope="module",
    params=[(name, stream) for name in ENDPOINTS for stream in (True, False)],
    ids=lambda cell: f"{cell[0]}-{'stream' if cell[1] else 'whole'}",
)
def cell(request: pytest.FixtureRequest) -> tuple[Endpoint, bool]:
    name, stream = request.param
    return ENDPOINTS[name], stream


@pytest.fixture(scope="module")
def finished(
    cell: tuple[Endpoint, bool], tmp_path_factory: pytest.TempPathFactory
) -> suite.Finished:
    return run_cell(cell, tmp_path_factory)


def run_cell(
    cell: tuple[Endpoint, bool], tmp_path_factory: pytest.TempPathFactory
) -> suite.Finished:
    endpoint, stream = cell
    with endpoint.server(cases=script(endpoint)) as server:
        done = suite.run_pytest(
            tmp_path_factory.mktemp("endpoint"),
            server,
            SOURCE,
            "--smoltrace-stream" if stream else "--smoltrace-no-stream",
            "--smoltrace-temperature=0.3",
            "--smoltrace-max-tokens=321",
            model=f"litellm:{endpoint.prefix}{suite.MODEL}",
        )
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.parametrize("case", ["tool", "code", "cut"])
def test_litellm_numbers(finished: suite.Finished, cell: tuple[Endpoint, bool], case: str) -> None:
    endpoint, _ = cell
    served = endpoint.served(finished, case)
    assert len(served) == len(script(endpoint)[case])
    suite.check_numbers(finished, case, served)
    row = finished.result(case)
    assert row["gen_ai.request.temperature"] == 0.3
    assert row["gen_ai.request.max_tokens"] == 321
    assert row["llm_retries"] == 0
    if case != "cut":
        suite.check_stopwatch(finished, case)


def test_litellm_prompt_holds_cached_tokens(
    finished: suite.Finished, cell: tuple[Endpoint, bool]
) -> None:
    """What Anthropic leaves out of its input tokens is in ours, once."""
    row = finished.result("tool")
    if not cell[0].cached:
        assert row["cache_read_input_tokens"] is None
        assert row["cache_creation_input_tokens"] is None
        return
    served = finished.of("tool")
    assert row["cache_read_input_tokens"] == 40 + 41 + 42
    assert row["cache_creation_input_tokens"] == 16 + 17 + 18
    assert row[TOKENS] == sum(one.prompt_tokens or 0 for one in served) == 204 * 3 + 37 * 3


@pytest.mark.parametrize("case", ["thinking", "told"])
def test_litellm_reasoning(
    finished: suite.Finished, cell: tuple[Endpoint, bool], case: str
) -> None:
    """Reasoning that the server counted is known; what LiteLLM makes up is not."""
    served = cell[0].served(finished, case)
    assert [one.stream for one in served] == [False, True]
    suite.check_numbers(finished, case, served)


def test_litellm_tool_calls(finished: suite.Finished, cell: tuple[Endpoint, bool]) -> None:
    tool, code = finished.result("tool"), finished.result("code")
    assert (tool["steps"], code["steps"]) == (3, 2)
    assert (tool["tools_used"], code["tools_used"]) == (["add", "add"], ["add", "add"])
    assert tool["response"] == code["response"] == "5"
    assert finished.trace("tool")["provider"] == "litellm"
    assert finished.trace("tool")["gen_ai.system"] == cell[0].prefix.rstrip("/")


def test_litellm_no_times(finished: suite.Finished, cell: tuple[Endpoint, bool]) -> None:
    if cell[1]:
        pytest.skip("streamed")
    for case in ("tool", "code"):
        assert not any(one.stream for one in finished.of(case))
        suite.check_no_times(finished, case)


def test_litellm_times(
    finished: suite.Finished,
    cell: tuple[Endpoint, bool],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if not cell[1]:
        pytest.skip("not streamed")
    streamed = {case: partial(cell[0].served, case=case) for case in ("tool", "code")}
    assert all(one.stream for served in streamed.values() for one in served(finished))
    suite.check_times_of(finished, streamed, lambda: run_cell(cell, tmp_path_factory))


def test_litellm_every_call_counts_once(finished: suite.Finished) -> None:
    assert sum(row["llm_call_count"] for row in finished.results) == len(finished.served)
    assert sum(row["llm_call_count"] for row in finished.leaderboard) == len(finished.served)


ERRORS_SOURCE = """
@pytest.mark.smoltrace(id="before")
def test_before(smoltrace_agent):
    assert smoltrace_agent().run("Answer. [[case:before]]") == "here"


@pytest.mark.parametrize("name", ["401", "429", "500", "529", "context", "amid"])
def test_refused(name, smoltrace_agent):
    smoltrace_agent().run(f"Answer. [[case:{name}]]")


@pytest.mark.smoltrace(id="after")
def test_after(smoltrace_agent):
    assert smoltrace_agent().run("Answer. [[case:after]]") == "here"
"""
ERRORS = {
    "401": ("authentication_error", "invalid x-api-key", "llm_auth"),
    "429": ("rate_limit_error", "This request would exceed your rate limit", "llm_rate_limit"),
    "500": ("api_error", "Internal server error", "llm_server_error"),
    "529": ("overloaded_error", "Overloaded", "llm_server_error"),
}
OTHERS = {"context": ("context_length", 400), "amid": ("llm_server_error", 529)}
TOO_LONG = "prompt is too long: 250000 tokens > 200000 maximum"


def errors_script() -> dict[str, list[ss.Turn]]:
    def error(kind: str, message: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": kind, "message": message}}

    refusals = {
        status: [ss.Reply(status=int(status), error_body=error(kind, message))]
        for status, (kind, message, _) in ERRORS.items()
    }
    overloaded = error("overloaded_error", "Overloaded")
    return {
        "before": [ss.final_answer("here")],
        **refusals,
        "context": [ss.Reply(status=400, error_body=error("invalid_request_error", TOO_LONG))],
        "amid": [ss.final_answer("a long answer", chunks=6, stream_error=overloaded)],
        "after": [ss.final_answer("here")],
    }


@pytest.fixture(scope="module", params=[True, False], ids=["stream", "whole"])
def refused(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> suite.Finished:
    script = errors_script()
    if not request.param:
        script["amid"] = [ss.final_answer("whole", status=529)]
    with AnthropicServer(cases=script) as server:
        return suite.run_pytest(
            tmp_path_factory.mktemp("refused"),
            server,
            ERRORS_SOURCE,
            "--smoltrace-stream" if request.param else "--smoltrace-no-stream",
            "--smoltrace-max-retries=0",
            model=f"litellm:anthropic/{suite.MODEL}",
        )


@pytest.mark.parametrize("name", [*ERRORS, "context", "amid"])
def test_litellm_errors(refused: suite.Finished, name: str) -> None:
    row = refused.result(f"test_generated.py::test_refused[{name}]")
    served = refused.of(name)
    if name == "amid" and served[0].stream:
        # LiteLLM keeps neither the type of the event nor a status: it makes a 500 of all of them.
        error_type, status = "llm_error", None
    elif name in ERRORS:
        error_type, status = ERRORS[name][2], int(name)
    else:
        error_type, status = OTHERS[name]
    assert row["error_type"] == error_type, row["error"]
    assert row["http_status"] == status
    assert row["scored"] is (error_type == "context_length")
    assert row["llm_call_count"] == len(served) == 1
    assert row["llm_error_count"] == 1
    assert row["gen_ai.usage.total_tokens"] is None


def test_litellm_goes_on_after_errors(refused: suite.Finished) -> None:
    assert refused.exit_code == 1, refused.output
    assert refused.result("before")["success"]
    assert refused.result("after")["success"]
    calls = sum(row["llm_call_count"] for row in refused.results)
    assert calls == len(refused.served)
