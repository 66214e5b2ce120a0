"""Who made a call: judges, simulators and fixtures spend beside the agent, and fail beside it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite
from tests.truth.accounts import Counts, agent_turns, check_whole, cost

if TYPE_CHECKING:
    from collections.abc import Iterable

ROLES = ("agent", "judge", "simulator", "setup", "teardown")

CALLS = """
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI
from smolagents import CodeAgent, OpenAIModel, ToolCallingAgent

CLIENT = {"max_retries": 0}


def call(model, name, stream):
    messages = [{"role": "user", "content": f"[[case:{name}]]"}]
    if stream:
        return "".join(delta.content or "" for delta in model.generate_stream(messages))
    return model.generate(messages).content


def direct(name, stream):
    messages = [{"role": "user", "content": f"[[case:{name}]]"}]
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    with OpenAI(base_url=SERVER, api_key="none", max_retries=0) as client:
        done = client.chat.completions.create(
            model="scripted-model", messages=messages, **options
        )
        return [chunk for chunk in done] if stream else done


@pytest.fixture(scope="session", autouse=True)
def session_calls():
    model = OpenAIModel("scripted-model", api_base=SERVER, api_key="none", client_kwargs=CLIENT)
    for stream in (False, True):
        call(model, "session-setup", stream)
    yield
    for stream in (False, True):
        call(model, "session-teardown", stream)


@pytest.mark.smoltrace(id="first")
def test_first():
    pass


@pytest.fixture
def surrounded(smoltrace_model, request):
    stream = request.node.callspec.params["stream"]
    call(smoltrace_model, f"setup-{stream}", stream)
    yield stream
    call(smoltrace_model, f"teardown-{stream}", stream)


@pytest.mark.smoltrace(id="roles")
@pytest.mark.parametrize("stream", [False, True])
def test_roles(surrounded, smoltrace_model, smoltrace_case, stream):
    call(smoltrace_model, f"agent-{stream}", stream)
    with smoltrace_case.judge():
        call(smoltrace_model, f"judge-{stream}", stream)
        direct(f"judge-{stream}", stream)
    with smoltrace_case.simulator():
        call(smoltrace_model, f"simulator-{stream}", stream)
        direct(f"simulator-{stream}", stream)
        with smoltrace_case.judge():
            call(smoltrace_model, f"judge-{stream}", stream)
        call(smoltrace_model, f"simulator-{stream}", stream)
    call(smoltrace_model, f"agent-{stream}", stream)


@pytest.fixture
def judging_fixture(smoltrace_model, smoltrace_case):
    with smoltrace_case.judge():
        call(smoltrace_model, "judge-in-setup", False)
    yield
    with smoltrace_case.simulator():
        call(smoltrace_model, "simulator-in-teardown", True)


@pytest.mark.smoltrace(id="in-fixtures")
def test_in_fixtures(judging_fixture, smoltrace_model):
    call(smoltrace_model, "agent-in-fixtures", False)


@pytest.mark.smoltrace(id="agents")
@pytest.mark.parametrize("kind", [ToolCallingAgent, CodeAgent])
@pytest.mark.parametrize("stream", [False, True])
def test_agents(smoltrace_model, smoltrace_case, kind, stream):
    def run(name):
        agent = kind(tools=[add], model=smoltrace_model, stream_outputs=stream, verbosity_level=0)
        return agent.run(f"Do it. [[case:{name}-{kind.__name__}-{stream}]]")

    with smoltrace_case.simulator():
        assert run("asks") == "What is 2 + 3?"
    assert str(run("answers")) == "5"
    with smoltrace_case.judge():
        assert run("judges") == "good"
    assert smoltrace_case.answer == "5"
    assert smoltrace_case.tools_used == ("add",)
    assert len(smoltrace_case.runs) == 1


@pytest.mark.smoltrace(id="expected-tool", expected_tool="add", expected_keywords="good")
def test_expected_tool(smoltrace_agent, smoltrace_case):
    assert smoltrace_agent(tools=[add]).run("Say 5. [[case:expected-tool]]") == "5"
    with smoltrace_case.judge():
        smoltrace_agent(tools=[add]).run("Judge. [[case:expected-tool-judge]]")


@pytest.mark.smoltrace(id="async")
@pytest.mark.parametrize("stream", [False, True])
def test_async(smoltrace_model, smoltrace_case, stream):
    async def judged():
        with smoltrace_case.judge():
            await asyncio.to_thread(call, smoltrace_model, f"async-judge-{stream}", stream)

    async def simulated():
        with smoltrace_case.simulator():
            await asyncio.sleep(0)
            call(smoltrace_model, f"async-simulator-{stream}", stream)

    async def answered():
        await asyncio.sleep(0)
        call(smoltrace_model, f"async-agent-{stream}", stream)

    async def work():
        await asyncio.gather(judged(), simulated(), answered())

    asyncio.run(work())


@pytest.mark.smoltrace(id="threads")
@pytest.mark.parametrize("stream", [False, True])
def test_threads(smoltrace_model, smoltrace_case, stream):
    started, scoped, done = threading.Event(), threading.Event(), []

    def one(name):
        done.append(call(smoltrace_model, f"thread-{name}-{stream}", stream))

    def early():
        started.set()
        assert scoped.wait(30)
        one("agent")

    def own_scope():
        with smoltrace_case.simulator():
            one("simulator")

    def judging_agent():
        agent = ToolCallingAgent(tools=[add], model=smoltrace_model, verbosity_level=0)
        done.append(agent.run(f"Do it. [[case:thread-judging-agent-{stream}]]"))

    threads = [threading.Thread(target=early), threading.Thread(target=own_scope)]
    threads[0].start()
    assert started.wait(30)
    with smoltrace_case.judge():
        scoped.set()
        threads[1].start()
        threads += [threading.Thread(target=one, args=("judge",))]
        threads += [threading.Thread(target=judging_agent)]
        for thread in threads[2:]:
            thread.start()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, ["judge", "judge"]))
        for thread in threads:
            thread.join()
    assert len(done) == 6
    assert smoltrace_case.answer is None


@pytest.mark.smoltrace(id="last")
def test_last():
    pass
"""


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> suite.Finished:
    n = Counts()
    plain = [f"session-{when}" for when in ("setup", "teardown")]
    plain += [f"{role}-{stream}" for role in ROLES for stream in (False, True)]
    plain += ["judge-in-setup", "simulator-in-teardown", "agent-in-fixtures"]
    plain += [f"async-{r}-{s}" for r in ("judge", "simulator", "agent") for s in (False, True)]
    cases: dict[str, list[ss.Reply]] = {
        name: [ss.text("well", chunks=3, **n()) for _ in range(4)] for name in plain
    }
    for stream in (False, True):
        for role in ("agent", "judge", "simulator"):
            name = f"thread-{role}-{stream}"
            cases[name] = [ss.text("well", between_chunks_s=0.02, chunks=3, **n())] * 4
        judging = agent_turns(n, "ToolCallingAgent", "good")
        cases[f"thread-judging-agent-{stream}"] = judging
    cases["expected-tool"] = [ss.final_answer("5", **n())]
    cases["expected-tool-judge"] = agent_turns(n, "ToolCallingAgent", "good")
    says = {"asks": "What is 2 + 3?", "answers": "5", "judges": "good"}
    for kind in ("ToolCallingAgent", "CodeAgent"):
        for stream in (False, True):
            for name, answer in says.items():
                cases[f"{name}-{kind}-{stream}"] = agent_turns(n, kind, answer)
    queues = {name: iter(replies) for name, replies in cases.items()}

    def select(body: ss.JsonObject) -> ss.Reply | None:
        return next(queues.get(ss.case_of(body) or "", iter(())), None)

    with ss.ScriptedServer(select=select) as server:
        return suite.run_pytest(tmp_path_factory.mktemp("roles"), server, CALLS)


def check_roles(
    finished: suite.Finished, case: str, **names: Iterable[str]
) -> dict[str, list[ss.Served]]:
    """Compare what the row says of each role with the requests that the server answered."""
    row, trace = finished.result(case), finished.trace(case)
    served = {role: finished.of(*names.get(role, ())) for role in names}
    agent = served.get("agent", [])
    others = [one for role, all_ in served.items() if role != "agent" for one in all_]
    judged = served.get("judge", [])
    assert row["llm_call_count"] == len(agent)
    if agent:
        tokens = suite.true_tokens(agent)
        assert {name: row[name] for name in tokens} == tokens
        suite.check_cost(row, agent)
    else:
        assert (row["total_tokens"], row["cost_usd"]) == (0, 0.0)
    true = suite.true_tokens(others)["gen_ai.usage.total_tokens"] if others else 0
    assert row["non_agent_total_tokens"] == true
    assert row["non_agent_cost_usd"] == cost(others)
    assert row["judge_cost_usd"] == cost(judged)
    counted = Counter(
        span["attributes"]["smoltrace.role"]
        for span in trace["spans"]
        if span["attributes"]["smoltrace.counted_call"]
    )
    assert counted == {role: len(all_) for role, all_ in served.items() if all_}
    suite.check_tree(trace)
    return served


@pytest.mark.parametrize("stream", [False, True])
def test_every_role(called: suite.Finished, stream: bool) -> None:
    """Each call is on one account, streamed or not, through smolagents or beside it."""
    by_role = check_roles(
        called,
        f"roles[{stream}]",
        agent=[f"agent-{stream}"],
        judge=[f"judge-{stream}"],
        simulator=[f"simulator-{stream}"],
        fixture=[f"setup-{stream}", f"teardown-{stream}"],
    )
    lengths = {role: len(served) for role, served in by_role.items()}
    assert lengths == {"agent": 2, "judge": 3, "simulator": 3, "fixture": 2}
    assert {one.stream for served in by_role.values() for one in served} == {stream}
    row = called.result(f"roles[{stream}]")
    assert row["streamed_call_count"] == (2 if stream else 0)


def test_session_fixtures(called: suite.Finished) -> None:
    """The first case pays for the setup of the session, the last one for its teardown."""
    for case, names in (("first", ["session-setup"]), ("last", ["session-teardown"])):
        served = check_roles(called, case, fixture=names)
        assert [one.stream for one in served["fixture"]] == [False, True]


def test_a_role_in_a_fixture_stays_that_role(called: suite.Finished) -> None:
    served = check_roles(
        called,
        "in-fixtures",
        agent=["agent-in-fixtures"],
        judge=["judge-in-setup"],
        simulator=["simulator-in-teardown"],
    )
    assert {role: len(calls) for role, calls in served.items()} == dict.fromkeys(served, 1)


@pytest.mark.parametrize("kind", ["ToolCallingAgent", "CodeAgent"])
@pytest.mark.parametrize("stream", [False, True])
def test_judges_that_are_agents(called: suite.Finished, kind: str, stream: bool) -> None:
    """They lend neither calls nor steps, tools, task or answer to the agent that is tested."""
    case = f"agents[{stream}-{kind}]"
    name = f"{kind}-{stream}"
    served = check_roles(
        called,
        case,
        agent=[f"answers-{name}"],
        judge=[f"judges-{name}"],
        simulator=[f"asks-{name}"],
    )
    row = called.result(case)
    assert row["outcome"] == "passed", row["error"]
    assert row["steps"] == len(served["agent"]) == (1 if kind == "CodeAgent" else 2)
    assert (row["tools_used"], row["tool_call_count"]) == (["add"], 1)
    assert (row["response"], row["prompt"]) == ("5", f"Do it. [[case:answers-{name}]]")
    assert {one.stream for one in served["judge"]} == {stream}


def test_a_judges_tools_and_answer_meet_no_expectation(called: suite.Finished) -> None:
    row = called.result("expected-tool")
    assert (row["outcome"], row["error_type"]) == ("failed", "wrong_tool")
    assert (row["correct_tool"], row["tool_call_count"], row["response"]) == (False, 0, "5")
    assert row["response_correct"] is False


@pytest.mark.parametrize("stream", [False, True])
def test_tasks_of_one_loop_keep_their_roles(called: suite.Finished, stream: bool) -> None:
    served = check_roles(
        called,
        f"async[{stream}]",
        agent=[f"async-agent-{stream}"],
        judge=[f"async-judge-{stream}"],
        simulator=[f"async-simulator-{stream}"],
    )
    assert {role: len(calls) for role, calls in served.items()} == dict.fromkeys(served, 1)


@pytest.mark.parametrize("stream", [False, True])
def test_threads_keep_the_role_that_they_were_started_in(
    called: suite.Finished, stream: bool
) -> None:
    served = check_roles(
        called,
        f"threads[{stream}]",
        agent=[f"thread-agent-{stream}"],
        judge=[f"thread-judge-{stream}", f"thread-judging-agent-{stream}"],
        simulator=[f"thread-simulator-{stream}"],
    )
    lengths = {role: len(calls) for role, calls in served.items()}
    assert lengths == {"agent": 1, "judge": 5, "simulator": 1}
    row = called.result(f"threads[{stream}]")
    assert (row["steps"], row["response"], row["tool_call_count"]) == (None, None, 0)


def test_every_call_is_on_one_account(called: suite.Finished) -> None:
    assert called.exit_code == 1, called.output
    failed = [row["test_id"] for row in called.results if row["outcome"] != "passed"]
    assert failed == ["expected-tool"], called.output
    check_whole(called)
