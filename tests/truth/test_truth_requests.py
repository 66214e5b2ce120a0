"""Limits of requests and tools, and the wait after a rate limit: the server's log decides."""

from __future__ import annotations

import itertools
import json

import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite

REQUEST_S = 0.8
TOOL_S = 0.7
GRACE_S = 1.0
HANG_S = 5.0

SOURCE = '''
import asyncio
import concurrent.futures

import openai


@tool
def sleeps() -> str:
    """Sleep."""
    time.sleep(60)
    return "late"


@tool
def fetches() -> str:
    """Ask a model that never answers."""
    import openai
    client = openai.OpenAI(base_url=SERVER, api_key="none")
    message = {"role": "user", "content": "Hang. [[case:tool_request]]"}
    client.chat.completions.create(model="scripted-model", messages=[message])
    return "answered"


def run(agent, name, *tools, **kwargs):
    return agent(tools=list(tools), **kwargs).run(f"Go. [[case:{name}]]")


def case(name, **marks):
    return pytest.mark.smoltrace(id=name, **marks)


@case("hangs")
def test_hangs(smoltrace_agent):
    run(smoltrace_agent, "hangs")


@case("whole", )
def test_whole(smoltrace_agent):
    run(smoltrace_agent, "whole", stream_outputs=False)


@case("stalls")
def test_stalls(smoltrace_agent):
    run(smoltrace_agent, "stalls")


@case("dribbles")
def test_dribbles(smoltrace_agent):
    run(smoltrace_agent, "dribbles")


@case("sdk_retries")
def test_sdk_retries(smoltrace_agent):
    run(smoltrace_agent, "sdk_retries")


@case("in_thread")
def test_in_thread(smoltrace_agent):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(run, smoltrace_agent, "in_thread").result()


@case("in_thread_stalls")
def test_in_thread_stalls(smoltrace_agent):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(run, smoltrace_agent, "in_thread_stalls").result()


def ask(client, name):
    message = {"role": "user", "content": f"Hang. [[case:{name}]]"}
    return client.chat.completions.create(model="scripted-model", messages=[message])


@case("coroutine")
def test_coroutine(smoltrace_case):
    client = openai.AsyncOpenAI(base_url=SERVER, api_key="none")
    asyncio.run(ask(client, "coroutine"))


@case("own_limit")
def test_own_limit(smoltrace_case):
    client = openai.OpenAI(base_url=SERVER, api_key="none", max_retries=0, timeout=0.2)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with pytest.raises(openai.APITimeoutError):
            pool.submit(ask, client, "own_limit").result()


@case("by_tool")
def test_by_tool(smoltrace_agent):
    assert run(smoltrace_agent, "by_tool", fetches) == "5"


@case("tool_main")
def test_tool_main(smoltrace_agent):
    assert run(smoltrace_agent, "tool_main", sleeps) == "5"


@case("tool_code", agent_type="code")
def test_tool_code(smoltrace_agent):
    assert run(smoltrace_agent, "tool_code", sleeps) == 5


@case("tool_parallel")
def test_tool_parallel(smoltrace_agent):
    assert run(smoltrace_agent, "tool_parallel", sleeps, add) == "5"


@case("tool_steps")
def test_tool_steps(smoltrace_agent):
    run(smoltrace_agent, "tool_steps", sleeps, max_steps=1)


@case("twice_500")
def test_twice_500(smoltrace_agent):
    assert run(smoltrace_agent, "twice_500") == "5"
'''


def cases() -> dict[str, list[ss.Turn]]:
    done = ss.final_answer("5")
    hang = ss.final_answer("5", hang_s=HANG_S)
    stall = ss.text("one two three", chunks=3, between_chunks_s=HANG_S / 2)
    sleeps = ss.tool_call("sleeps", {})
    both = ss.Reply(
        tool_calls=(ss.ToolCall(name="sleeps"), ss.ToolCall(name="add", arguments={"a": 2, "b": 3}))
    )
    failed = ss.Reply(status=500, headers={"Retry-After-Ms": "50"})
    return {
        "hangs": [hang],
        "whole": [hang],
        "stalls": [stall],
        "dribbles": [ss.text("x" * 80, chunks=80, between_chunks_s=0.05)],
        "sdk_retries": [ss.Reply(status=500, hang_s=0.1)],
        "in_thread": [hang],
        "coroutine": [hang],
        "own_limit": [hang],
        "in_thread_stalls": [stall],
        "tool_request": [hang],
        "by_tool": [ss.tool_call("fetches", {}), done],
        "tool_main": [sleeps, done],
        "tool_code": [ss.code("print(sleeps())"), ss.code("final_answer(5)")],
        "tool_parallel": [both, done],
        "tool_steps": [sleeps, ss.text("I could not.")],
        "twice_500": [(failed, failed, done)],
    }


LATE = (
    *("hangs", "whole", "stalls", "dribbles", "sdk_retries"),
    *("in_thread", "in_thread_stalls", "coroutine"),
)
TOOLS = ("tool_main", "tool_code", "tool_parallel")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with ss.ScriptedServer(cases=cases()) as server:
        yield suite.run_pytest(
            tmp_path_factory.mktemp("requests"),
            server,
            SOURCE,
            f"--smoltrace-request-timeout={REQUEST_S}",
            f"--smoltrace-tool-timeout={TOOL_S}",
        )


@pytest.mark.parametrize("name", LATE)
def test_a_late_request_is_the_models_fault(finished, name):
    row = finished.result(name)
    assert (row["error_type"], row["error_category"]) == ("llm_timeout", "infra"), finished.output
    assert row["scored"] is False
    assert "--smoltrace-request-timeout" in row["error"]
    assert row["execution_time_ms"] <= (REQUEST_S + GRACE_S) * 1000


@pytest.mark.parametrize("name", cases())
def test_every_request_is_counted(finished, name):
    if name == "tool_request":
        return
    row = finished.result(name)
    own = finished.of(name) + (finished.of("tool_request") if name == "by_tool" else [])
    assert row["llm_call_count"] + row["llm_retries"] == len(own)


def test_retries_of_the_client_are_counted(finished):
    late, done = finished.result("sdk_retries"), finished.result("twice_500")
    assert (late["llm_call_count"], late["llm_retries"]) == (1, len(finished.of("sdk_retries")) - 1)
    assert late["llm_retries"] >= 1
    assert f"{late['llm_retries']} retries" in late["error"]
    assert (done["llm_call_count"], done["llm_retries"], done["success"]) == (1, 2, True)


def test_a_shorter_limit_of_the_client_stays_in_force(finished):
    row = finished.result("own_limit")
    assert row["outcome"] == "passed", finished.output
    assert row["execution_time_ms"] < REQUEST_S * 1000


def test_a_request_of_a_tool_is_the_tools_error_and_the_agent_goes_on(finished):
    row = finished.result("by_tool")
    assert (row["success"], row["failed_tool_calls"], row["llm_error_count"]) == (True, 1, 1)


@pytest.mark.parametrize("name", TOOLS)
def test_a_late_tool_fails_and_the_agent_goes_on(finished, name):
    row = finished.result(name)
    assert (row["success"], row["error_type"], row["failed_tool_calls"]) == (True, None, 1)
    assert row["execution_time_ms"] <= (TOOL_S + GRACE_S) * 1000


def test_a_late_tool_in_the_last_step_is_the_cause(finished):
    row = finished.result("tool_steps")
    assert (row["error_type"], row["error_category"]) == ("tool_timeout", "tool")
    assert row["stop_reason"] == "max_steps"


RETRIES = """
def run(agent, name, *tools, **kwargs):
    return agent(tools=list(tools), **kwargs).run(f"Go. [[case:{name}]]")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stream", [True, False])
def test_it(smoltrace_agent, smoltrace_case, name, stream):
    smoltrace_case.extra["name"] = f"{name}-{stream}"
    assert run(smoltrace_agent, f"{name}-{stream}", stream_outputs=stream) == "5"
"""
ASKED_S = 0.4
GIVEN_UP = ("always", "too_long", "no_quota")


def retry_cases() -> dict[str, list[ss.Turn]]:
    done = ss.final_answer("5")
    asked = {"Retry-After": str(ASKED_S)}
    limited = ss.Reply(status=429, headers=asked)
    quota = ss.error_json("no money left", "insufficient_quota", "insufficient_quota")
    script: dict[str, list[ss.Turn]] = {
        "once": [(limited, done)],
        "twice": [(limited, limited, done)],
        "overloaded": [(ss.Reply(status=529, headers=asked), done)],
        "unavailable": [(ss.Reply(status=503, headers={"Retry-After-Ms": "400"}), done)],
        "unasked": [(ss.Reply(status=429), done)],
        "always": [limited],
        "too_long": [ss.Reply(status=429, headers={"Retry-After": "3600"})],
        "no_quota": [ss.Reply(status=429, error_body=quota)],
    }
    return {f"{name}-{way}": turns for name, turns in script.items() for way in (True, False)}


@pytest.fixture(scope="module")
def retried(tmp_path_factory):
    names = sorted({name.partition("-")[0] for name in retry_cases()})
    with ss.ScriptedServer(cases=retry_cases()) as server:
        yield suite.run_pytest(
            tmp_path_factory.mktemp("retries"),
            server,
            f"NAMES = {names!r}\n" + RETRIES,
            "--smoltrace-max-retries=2",
        )


def row_of(finished, name):
    found = [row for row in finished.results if json.loads(row["extra"]).get("name") == name]
    assert len(found) == 1, finished.output
    return found[0]


@pytest.mark.parametrize("name", [n for n in retry_cases() if not n.startswith(GIVEN_UP)])
def test_the_tap_waits_as_long_as_the_server_asks(retried, name):
    row, served = row_of(retried, name), retried.of(name)
    assert (row["success"], row["llm_call_count"], row["llm_error_count"]) == (True, 1, 0)
    assert row["llm_retries"] == len(served) - 1
    ok = [one for one in served if one.status == 200]
    assert row["gen_ai.usage.prompt_tokens"] == sum(one.prompt_tokens for one in ok)
    pauses = [
        (after.received_ns - before.received_ns) / 1e9
        for before, after in itertools.pairwise(served)
    ]
    least = ASKED_S if not name.startswith("unasked") else 0.7
    assert all(least <= pause <= least + 1.5 for pause in pauses), pauses


@pytest.mark.parametrize("name", [n for n in retry_cases() if n.startswith(GIVEN_UP)])
def test_the_tap_gives_up(retried, name):
    row, served = row_of(retried, name), retried.of(name)
    assert (row["error_type"], row["http_status"], row["scored"]) == ("llm_rate_limit", 429, False)
    assert len(served) == (3 if name.startswith("always") else 1)
    assert row["llm_call_count"] + row["llm_retries"] == len(served)


def test_each_wait_is_an_event_of_the_call(retried):
    trace_id = row_of(retried, "twice-True")["trace_id"]
    (trace,) = [one for one in retried.traces if one["trace_id"] == trace_id]
    (call,) = [one for one in trace["spans"] if one["attributes"]["smoltrace.counted_call"]]
    events = [one for one in call["events"] if one["name"] == "retry"]
    values = [json.loads(one["attributes_json"]) for one in events]
    wanted = {"http.response.status_code": 429, "smoltrace.retry_after": ASKED_S}
    assert [{key: one[key] for key in wanted} for one in values] == [wanted, wanted]


NEVER = """
import openai
from smolagents import OpenAIModel

@pytest.mark.parametrize("retry", [True, False])
def test_it(smoltrace_case, retry):
    model = OpenAIModel("scripted-model", api_base=SERVER, api_key="none", retry=retry)
    with pytest.raises(openai.InternalServerError if STATUS == 503 else openai.RateLimitError):
        model.generate([{"role": "user", "content": f"Go. [[case:{retry}]]"}])
"""


@pytest.mark.parametrize("status", [429, 503])
def test_neither_the_tap_nor_the_client_retries_what_may_not_be_retried(tmp_path, status):
    refused = ss.Reply(status=status, headers={"Retry-After-Ms": "50"})
    with ss.ScriptedServer(cases={"True": [refused], "False": [refused]}) as server:
        finished = suite.run_pytest(
            tmp_path, server, f"STATUS = {status}\n" + NEVER, "--smoltrace-max-retries=0"
        )
    assert finished.exit_code == 0, finished.output
    assert sorted(one.case for one in finished.served) == ["False", "True"]
