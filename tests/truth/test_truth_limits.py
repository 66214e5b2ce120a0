"""Limits fire wherever a case hangs, and nothing of the case goes on afterwards.

The witness is the server's log: no request of a case arrives after its limit, and what was counted
equals what was received.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite

LIMIT_S = 1.0
GRACE_S = 1.0
HANG_S = 8.0
"""Longer than a limit and its grace, yet short enough for the server to end with its test."""

TOOLS = '''
import asyncio
import subprocess
import sys
import threading


@tool
def sleeps() -> str:
    """Sleep."""
    time.sleep(60)
    return "late"


@tool
def waits() -> str:
    """Wait for what never comes."""
    threading.Event().wait()
    return "late"


@tool
def spins() -> str:
    """Compute for ever."""
    while True:
        pass


@tool
def stubborn() -> str:
    """Swallow every error."""
    for _ in range(600):
        try:
            time.sleep(60)
        except Exception:
            continue
    return "late"


@tool
def runs_process() -> str:
    """Wait for a process."""
    subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"])
    return "late"


@tool
def joins() -> str:
    """Wait for a thread."""
    thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
    thread.start()
    thread.join()
    return "late"


@tool
def asks_for_ever() -> str:
    """Ask the model again and again in a thread that nobody waits for."""
    def ask():
        import openai
        client = openai.OpenAI(base_url=SERVER, api_key="none", max_retries=0)
        while True:
            client.chat.completions.create(
                model="scripted-model",
                messages=[{"role": "user", "content": "Go on. [[case:thread_asks]]"}],
            )
            time.sleep(0.05)
    threading.Thread(target=ask, daemon=True).start()
    time.sleep(60)
    return "late"


@tool
def asks_agent() -> str:
    """Let a thread of a pool run an agent."""
    from concurrent.futures import ThreadPoolExecutor
    from smolagents import OpenAIModel, ToolCallingAgent
    model = OpenAIModel("scripted-model", api_base=SERVER, api_key="none")
    agent = ToolCallingAgent(tools=[add], model=model, verbosity_level=0, max_steps=500)
    with ThreadPoolExecutor() as pool:
        return pool.submit(agent.run, "For ever. [[case:pool_agent]]").result()


def run(agent, name, tools):
    return agent(tools=tools, max_steps=500).run(f"Go. [[case:{name}]]")
'''
NAMES = ("sleeps", "waits", "spins", "stubborn", "runs_process", "joins")


def tool_cases() -> str:
    lines = []
    for name in NAMES:
        for kind in ("tool", "code"):
            marks = f'id="{name}_{kind}", agent_type="{kind}", timeout={LIMIT_S}'
            lines += [
                f"@pytest.mark.smoltrace({marks})",
                f"def test_{name}_{kind}(smoltrace_agent, smoltrace_case):",
                "    smoltrace_case.extra['began_ns'] = time.monotonic_ns()",
                f"    run(smoltrace_agent, '{name}_{kind}', [{name}])",
                "",
            ]
    return "\n".join(lines)


OTHERS = f"""
MARK = dict(timeout={LIMIT_S})


def began(case):
    case.extra["began_ns"] = time.monotonic_ns()


@pytest.mark.smoltrace(id="parallel", **MARK)
def test_parallel(smoltrace_agent, smoltrace_case):
    began(smoltrace_case)
    run(smoltrace_agent, "parallel", [sleeps, waits])


@pytest.mark.smoltrace(id="silent", **MARK)
def test_silent(smoltrace_agent, smoltrace_case):
    began(smoltrace_case)
    run(smoltrace_agent, "silent", [])


@pytest.mark.smoltrace(id="stalled", **MARK)
def test_stalled(smoltrace_agent, smoltrace_case):
    began(smoltrace_case)
    run(smoltrace_agent, "stalled", [])


@pytest.mark.smoltrace(id="limited", **MARK)
def test_rate_limit(smoltrace_agent, smoltrace_case):
    began(smoltrace_case)
    run(smoltrace_agent, "limited", [])


@pytest.mark.smoltrace(id="sdk_sleep", **MARK)
def test_sdk_sleep(smoltrace_agent, smoltrace_case):
    began(smoltrace_case)
    run(smoltrace_agent, "sdk_sleep", [])


@pytest.mark.smoltrace(id="loops", **MARK)
def test_loops(smoltrace_agent, smoltrace_case):
    began(smoltrace_case)
    run(smoltrace_agent, "loops", [add])


@pytest.mark.smoltrace(id="thread_asks", **MARK)
def test_thread_asks(smoltrace_agent, smoltrace_case):
    began(smoltrace_case)
    run(smoltrace_agent, "thread_asks", [asks_for_ever])


@pytest.mark.smoltrace(id="pool_agent", agent_type="code", **MARK)
def test_pool_agent(smoltrace_agent, smoltrace_case):
    began(smoltrace_case)
    run(smoltrace_agent, "pool_agent", [asks_agent])


@pytest.mark.smoltrace(id="swallows", **MARK)
def test_swallows(smoltrace_agent, smoltrace_case):
    began(smoltrace_case)
    try:
        run(smoltrace_agent, "swallows", [sleeps])
    except BaseException:
        pass


@pytest.mark.smoltrace(id="body", **MARK)
def test_body(smoltrace_case, smoltrace_agent):
    began(smoltrace_case)
    run(smoltrace_agent, "body", [add])
    time.sleep(60)


@pytest.mark.smoltrace(id="coroutine", **MARK)
def test_coroutine(smoltrace_case, smoltrace_agent):
    async def main():
        await asyncio.gather(
            asyncio.to_thread(run, smoltrace_agent, "coroutine", [add]), asyncio.sleep(60)
        )
    began(smoltrace_case)
    asyncio.run(main())


@pytest.mark.smoltrace(id="task_group", **MARK)
def test_task_group(smoltrace_case, smoltrace_agent):
    async def block():
        run(smoltrace_agent, "task_group", [])
        time.sleep(60)
    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(block())
    began(smoltrace_case)
    asyncio.run(main())


@pytest.mark.smoltrace(id="alive")
def test_alive(smoltrace_agent):
    time.sleep(1.5)  # time for what should have ended to go on
    assert run(smoltrace_agent, "alive", [add]) == "5"
"""


def call(kind: str, name: str) -> ss.Reply:
    return ss.tool_call(name, {}) if kind == "tool" else ss.code(f"print({name}())")


def cases() -> dict[str, list[ss.Reply]]:
    script = {f"{name}_{kind}": [call(kind, name)] for name in NAMES for kind in ("tool", "code")}
    both = ss.Reply(tool_calls=(ss.ToolCall(name="sleeps"), ss.ToolCall(name="waits")))
    add = ss.tool_call("add", {"a": 2, "b": 3})
    return {
        **script,
        "parallel": [both],
        "silent": [ss.final_answer("5", hang_s=HANG_S)],
        "stalled": [ss.text("one two three", chunks=3, between_chunks_s=HANG_S / 2)],
        "limited": [ss.Reply(status=429, headers={"Retry-After": "60"})],
        "sdk_sleep": [ss.Reply(status=500, headers={"Retry-After": "60"})],
        "loops": [ss.tool_call("add", {"a": 2, "b": 3}, first_chunk_delay_s=0.05)] * 500,
        "thread_asks": [ss.tool_call("asks_for_ever", {})],
        "pool_agent": [ss.code("print(asks_agent())"), *[add] * 500],
        "swallows": [ss.tool_call("sleeps", {})],
        "body": [ss.final_answer("5")],
        "coroutine": [ss.final_answer("5")],
        "task_group": [ss.final_answer("5")],
        "alive": [add, ss.final_answer("5")],
    }


HANGING = tuple(name for name in cases() if name != "alive")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with ss.ScriptedServer(cases=cases()) as server:
        yield suite.run_pytest(
            tmp_path_factory.mktemp("limits"), server, TOOLS + tool_cases() + OTHERS
        )


@pytest.mark.parametrize("name", HANGING)
def test_a_hanging_case_ends_within_its_limit(finished, name):
    row = finished.result(name)
    assert (row["outcome"], row["error_type"]) == ("failed", "timeout"), finished.output
    assert (row["error_category"], row["scored"], row["timed_out"]) == ("timeout", True, True)
    assert row["execution_time_ms"] <= (LIMIT_S + GRACE_S) * 1000
    assert f"limit of {LIMIT_S:g} s" in row["error"]


@pytest.mark.parametrize("name", HANGING)
def test_no_request_comes_after_the_limit(finished, name):
    began_ns = json.loads(finished.result(name)["extra"])["began_ns"]
    served = finished.of(name)
    assert served
    last = max(one.received_ns for one in served)
    assert (last - began_ns) / 1e9 <= LIMIT_S + GRACE_S


@pytest.mark.parametrize("name", HANGING)
def test_every_request_is_counted(finished, name):
    row = finished.result(name)
    assert row["llm_call_count"] + row["llm_retries"] == len(finished.of(name))


def test_the_next_case_is_as_if_nothing_had_happened(finished):
    suite.check_numbers(finished, "alive", finished.of("alive"))
    assert finished.result("alive")["success"]
    assert finished.exit_code == 1
    assert "INTERNALERROR" not in finished.output
    assert "unhandled" not in finished.output.lower()


def test_a_stopped_run_says_so(finished):
    assert finished.result("sleeps_tool")["stop_reason"] == "timeout"
    assert finished.result("sleeps_code")["stop_reason"] == "timeout"
    assert finished.result("body")["stop_reason"] == "final_answer"


def test_the_message_says_where_the_case_was(finished):
    for kind in ("tool", "code"):
        assert "sleeps (test_generated.py:" in finished.result(f"sleeps_{kind}")["error"]


SPINS = """
@tool
def spins() -> str:
    \"\"\"Compute for ever.\"\"\"
    while True:
        pass


@pytest.mark.smoltrace(id="spins", agent_type="code", timeout=1)
def test_spins(smoltrace_agent):
    smoltrace_agent(tools=[spins]).run("Go. [[case:spins]]")


@pytest.mark.smoltrace(id="quiet")
def test_quiet(smoltrace_case):
    time.sleep(1)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.25
"""


def test_a_tool_with_time_left_ends_with_its_case(tmp_path):
    with ss.ScriptedServer(cases={"spins": [call("code", "spins")]}) as server:
        finished = suite.run_pytest(tmp_path, server, SPINS, "--smoltrace-tool-timeout=30")
    assert finished.result("quiet")["outcome"] == "passed", finished.output
    row = finished.result("spins")
    assert row["error_type"] == "timeout"
    assert "it was in spins (test_generated.py:" in row["error"]


SILENT = f"""
import asyncio
import threading


def run(agent, name):
    return agent(tools=[]).run(f"Go. [[case:{{name}}]]")


@pytest.mark.asyncio
@pytest.mark.smoltrace(id="to_thread", timeout={LIMIT_S})
async def test_to_thread(smoltrace_agent):
    await asyncio.to_thread(run, smoltrace_agent, "to_thread")


@pytest.mark.smoltrace(id="thread", timeout={LIMIT_S})
def test_thread(smoltrace_agent):
    thread = threading.Thread(target=run, args=(smoltrace_agent, "thread"))
    thread.start()
    thread.join()
"""


def test_no_thread_waits_for_a_silent_server_after_its_case(tmp_path):
    silent = ss.final_answer("5", hang_s=30)
    began = time.monotonic()
    with ss.ScriptedServer(cases={"to_thread": [silent], "thread": [silent]}) as server:
        finished = suite.run_pytest(tmp_path, server, SILENT, "-p", "asyncio")
        took_s = time.monotonic() - began
    assert {row["error_type"] for row in finished.results} == {"timeout"}, finished.output
    # Both the teardown of an event loop and the end of the process wait for such a thread.
    assert took_s < 20
