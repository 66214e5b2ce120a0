"""Budgets of cases and of the session, and the places at an endpoint; the server's log decides."""

from __future__ import annotations

import json
import math

import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite

CALL = {"prompt_tokens": 100, "completion_tokens": 20}
CALL_USD = 100 * suite.PER_TOKEN["input"] + 20 * suite.PER_TOKEN["output"]

CASES = f"""
import asyncio
import openai


def run(agent, name, **kwargs):
    return agent(tools=[add], max_steps=50, **kwargs).run(f"Go. [[case:{{name}}]]")


@pytest.mark.smoltrace(id="cost", max_cost={2.5 * CALL_USD})
def test_cost(smoltrace_agent):
    run(smoltrace_agent, "cost")


@pytest.mark.smoltrace(id="tokens", max_tokens=240)
def test_tokens(smoltrace_agent):
    run(smoltrace_agent, "tokens")


@pytest.mark.smoltrace(id="steps", max_total_steps=3)
def test_steps(smoltrace_agent):
    run(smoltrace_agent, "steps")


@pytest.mark.smoltrace(id="code_steps", max_total_steps=3, agent_type="code")
def test_code_steps(smoltrace_agent):
    run(smoltrace_agent, "code_steps")


@pytest.mark.smoltrace(id="managed", max_total_steps=3)
def test_managed(smoltrace_agent):
    helper = smoltrace_agent(tools=[add], name="helper", description="Helps.", max_steps=50)
    smoltrace_agent(tools=[], managed_agents=[helper]).run("Go. [[case:managed]]")


@pytest.mark.smoltrace(id="over", max_tokens=230)
def test_over(smoltrace_agent):
    assert run(smoltrace_agent, "over") == "5"


@pytest.mark.smoltrace(id="exact", max_tokens=240, max_cost={2 * CALL_USD}, max_total_steps=2)
def test_exact(smoltrace_agent):
    assert run(smoltrace_agent, "exact") == "5"


@pytest.mark.smoltrace(id="judged", max_tokens=240)
def test_judged(smoltrace_agent, smoltrace_case, smoltrace_model):
    assert run(smoltrace_agent, "judged") == "5"
    with smoltrace_case.judge():
        smoltrace_model.generate([{{"role": "user", "content": "Right? [[case:judge]]"}}])


@pytest.mark.smoltrace(id="swallowed", max_tokens=240)
def test_swallowed(smoltrace_agent):
    for _ in range(3):
        try:
            run(smoltrace_agent, "swallowed")
        except BaseException:
            pass


@pytest.mark.smoltrace(id="explained_away", max_tokens=240)
def test_explained_away(smoltrace_agent):
    answer = None
    try:
        answer = run(smoltrace_agent, "explained_away")
    except BaseException:
        pass
    assert answer == "5"


@pytest.mark.smoltrace(id="tasks", max_tokens=240)
def test_tasks(smoltrace_case):
    async def ask():
        client = openai.AsyncOpenAI(base_url=SERVER, api_key="none")
        for _ in range(9):
            message = {{"role": "user", "content": "Go. [[case:tasks]]"}}
            await client.chat.completions.create(model="scripted-model", messages=[message])
    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(ask())
            group.create_task(asyncio.sleep(30))
    asyncio.run(main())
"""


def cases() -> dict[str, list[ss.Reply]]:
    add = ss.tool_call("add", {"a": 2, "b": 3}, **CALL)
    done = ss.final_answer("5", **CALL)
    helper = ss.tool_call("helper", {"task": "Help. [[case:helper]]"}, **CALL)
    loop, answered = [add] * 50, [add, done]
    return {
        **dict.fromkeys(("cost", "tokens", "steps", "helper", "swallowed"), loop),
        **dict.fromkeys(("explained_away", "tasks"), loop),
        "code_steps": [ss.code("print(add(2, 3))", **CALL)] * 50,
        "managed": [helper, done],
        **dict.fromkeys(("over", "exact", "judged"), answered),
        "judge": [ss.text("Yes.", **CALL)],
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with ss.ScriptedServer(cases=cases()) as server:
        yield suite.run_pytest(tmp_path_factory.mktemp("budgets"), server, CASES)


@pytest.mark.parametrize(
    ("name", "kind", "calls"),
    [
        ("cost", "budget_cost", 3),
        ("tokens", "budget_tokens", 2),
        ("steps", "budget_steps", 3),
        ("code_steps", "budget_steps", 3),
        ("managed", "budget_steps", 4),
        ("swallowed", "budget_tokens", 2),
        ("explained_away", "budget_tokens", 2),
        ("tasks", "budget_tokens", 2),
    ],
)
def test_a_spent_budget_ends_the_case_before_the_next_call(finished, name, kind, calls):
    row = finished.result(name)
    assert (row["outcome"], row["error_type"], row["error_category"], row["scored"]) == (
        *("failed", kind, "budget", True),
    ), finished.output
    served = finished.of(name, *(["helper"] if name == "managed" else []))
    assert row["llm_call_count"] == len(served) == calls
    if name in ("cost", "tokens", "steps", "code_steps"):
        assert row["steps"] == calls
    assert row["stop_reason"] == (None if name == "tasks" else "budget")
    assert row["gen_ai.usage.total_tokens"] == 120 * calls


def test_more_than_the_budget_fails_even_with_an_answer(finished):
    row = finished.result("over")
    assert (row["error_type"], row["stop_reason"]) == ("budget_tokens", "final_answer")
    assert len(finished.of("over")) == 2


def test_exactly_the_budget_is_within_it(finished):
    assert finished.result("exact")["success"]
    suite.check_numbers(finished, "exact", finished.of("exact"))


def test_the_judge_does_not_spend_the_agents_budget(finished):
    row = finished.result("judged")
    assert (row["success"], row["gen_ai.usage.total_tokens"]) == (True, 240)
    assert row["non_agent_total_tokens"] == 120


SLOW_S = 0.4
SESSION = """
@pytest.mark.parametrize("number", range(40))
def test_it(smoltrace_agent, number):
    assert smoltrace_agent(tools=[add]).run(f"Go. {number} [[case:loop]]") == "5"
"""


def loop() -> dict[str, list[ss.Reply]]:
    add = ss.tool_call("add", {"a": 2, "b": 3}, first_chunk_delay_s=0.02, **CALL)
    return {"loop": [add, ss.final_answer("5", first_chunk_delay_s=0.02, **CALL)]}


@pytest.mark.parametrize("workers", [None, 4])
def test_the_session_spends_at_most_one_call_a_worker_too_much(tmp_path, workers):
    budget = 0.01
    flags = [f"--smoltrace-budget-usd={budget}", *(["-n", str(workers)] if workers else [])]
    with ss.ScriptedServer(cases=loop()) as server:
        finished = suite.run_pytest(tmp_path, server, SESSION, *flags)
    spent = CALL_USD * len([one for one in finished.served if one.status == 200])
    assert budget <= spent <= budget + CALL_USD * (workers or 1) + 1e-12, finished.output
    (row,) = finished.leaderboard
    assert row["total_cost_usd"] == pytest.approx(spent, rel=1e-12)
    assert (row["run_status"], row["run_stop_reason"]) == ("partial", "budget")
    assert (row["planned_tests"], finished.exit_code) == (40, 1)
    assert row["completed_tests"] < 40
    assert "of its 0.01 USD (--smoltrace-budget-usd)" in finished.output
    assert f"{row['completed_tests']} of 40 cases" in finished.output
    assert "INTERNALERROR" not in finished.output
    kinds = {one["error_type"] for one in finished.results}
    assert kinds <= {None, "budget_cost"}


def test_a_budget_of_tokens_stops_the_session(tmp_path):
    with ss.ScriptedServer(cases=loop()) as server:
        finished = suite.run_pytest(tmp_path, server, SESSION, "--smoltrace-budget-tokens=500")
    assert len(finished.served) == math.ceil(500 / 120)
    assert finished.leaderboard[0]["run_stop_reason"] == "budget"


def test_a_budget_that_suffices_stops_nothing(tmp_path):
    with ss.ScriptedServer(cases=loop()) as server:
        finished = suite.run_pytest(
            tmp_path,
            server,
            SESSION.replace("range(40)", "range(2)"),
            "--smoltrace-budget-tokens=480",
        )
    assert (finished.exit_code, len(finished.served)) == (0, 4)
    assert finished.leaderboard[0]["run_stop_reason"] == "completed"


@pytest.mark.parametrize("model", ["openai:nobody-knows", "litellm:nobody/knows"])
def test_a_budget_without_prices_is_refused(tmp_path, model):
    with ss.ScriptedServer(cases=loop()) as server:
        finished = suite.run_pytest(
            tmp_path, server, SESSION, "--smoltrace-budget-usd=1", model="openai:nobody-knows"
        )
    assert (finished.exit_code, finished.served) == (4, ())
    assert "--smoltrace-prices" in finished.output
    assert "Traceback" not in finished.output


UNPRICED = """
from smolagents import OpenAIModel, ToolCallingAgent

def test_own(smoltrace_case):
    model = OpenAIModel("nobody-knows", api_base=SERVER, api_key="none")
    ToolCallingAgent(tools=[add], model=model, verbosity_level=0).run("Go. [[case:loop]]")
"""


def test_a_model_of_the_tests_own_without_a_price_is_an_error_of_the_setup(tmp_path):
    with ss.ScriptedServer(cases=loop()) as server:
        finished = suite.run_pytest(tmp_path, server, UNPRICED, "--smoltrace-budget-usd=1")
    (row,) = finished.results
    assert (row["error_type"], row["scored"], len(finished.served)) == ("config_error", False, 1)
    assert "nobody-knows" in row["error"]


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_requests_are_under_way_than_the_endpoint_takes(tmp_path, limit):
    source = SESSION.replace("range(40)", "range(8)")
    flags = ["-n", "4", f"--smoltrace-max-concurrency={limit}"]
    with ss.ScriptedServer(cases=loop()) as server:
        finished = suite.run_pytest(tmp_path, server, source, *flags)
    assert finished.exit_code == 0, finished.output
    edges = [(one.received_ns, 1) for one in finished.served]
    edges += [(one.last_byte_ns or one.received_ns, -1) for one in finished.served]
    at_once, most = 0, 0
    for _, change in sorted(edges):
        at_once += change
        most = max(most, at_once)
    assert most == limit
    assert len(finished.served) == 16


def test_a_wait_for_a_place_is_an_event_and_not_part_of_the_latency(tmp_path):
    source = SESSION.replace("range(40)", "range(3)")
    slow = {"loop": [ss.final_answer("5", first_chunk_delay_s=SLOW_S)]}
    flags = ("-n", "3", "--smoltrace-max-concurrency=1")
    with ss.ScriptedServer(cases=slow) as server:
        finished = suite.run_pytest(tmp_path, server, source, *flags)
    waits = [
        json.loads(event["attributes_json"])["smoltrace.wait"]
        for trace in finished.traces
        for span in trace["spans"]
        for event in span["events"]
        if event["name"] == "slot"
    ]
    assert max(waits) > SLOW_S / 2
    assert all(row["gen_ai.server.ttft"] < 1.5 * SLOW_S for row in finished.results)


OPEN_STREAM = """
@pytest.mark.smoltrace(timeout=10)
def test_it(smoltrace_model):
    def ask(name):
        return [{"role": "user", "content": f"Say a word. [[case:{name}]]"}]
    unread = smoltrace_model.generate_stream(ask("words"))
    next(unread)
    smoltrace_model.generate(ask("word"))
    unread.close()
"""


def test_who_has_not_read_a_stream_to_its_end_does_not_wait_for_its_place(tmp_path):
    script = {"words": [ss.text("one two three", chunks=3)], "word": [ss.text("one")]}
    with ss.ScriptedServer(cases=script) as server:
        finished = suite.run_pytest(tmp_path, server, OPEN_STREAM, "--smoltrace-max-concurrency=1")
    assert finished.exit_code == 0, finished.output
    assert len(finished.served) == 2


def test_calls_without_usage_are_said_to_be_outside_the_budget(tmp_path):
    silent = {"loop": [ss.final_answer("5", usage=False)]}
    source = SESSION.replace("range(40)", "range(3)")
    with ss.ScriptedServer(cases=silent) as server:
        finished = suite.run_pytest(tmp_path, server, source, "--smoltrace-budget-tokens=100")
    assert (finished.exit_code, len(finished.served)) == (0, 3)
    assert "3 LLM call(s) reported no usage; no budget includes them" in finished.output
