"""What a tool does in a thread stays in its case; threads of fixtures go on as they were."""

from __future__ import annotations

import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite

CALL = {"prompt_tokens": 70, "completion_tokens": 3}
SOURCE = '''
import asyncio
import concurrent.futures
import threading

import openai


def ask(name):
    client = openai.OpenAI(base_url=SERVER, api_key="none")
    client.chat.completions.create(
        model="scripted-model",
        messages=[{"role": "user", "content": f"Say a word. [[case:{name}-inner]]"}],
    )


class Asking(threading.Thread):
    def __init__(self, name):
        super().__init__()
        self.case = name

    def run(self):
        ask(self.case)


def by_thread(name):
    thread = threading.Thread(target=ask, args=(name,))
    thread.start()
    thread.join()


def by_subclass(name):
    thread = Asking(name)
    thread.start()
    thread.join()


def by_timer(name):
    timer = threading.Timer(0.01, ask, [name])
    timer.start()
    timer.join()


def by_pool(name):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(ask, name).result()


def by_map(name):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(ask, [name, name]))


def by_to_thread(name):
    asyncio.run(asyncio.to_thread(ask, name))


def by_run_in_executor(name):
    async def main():
        await asyncio.get_running_loop().run_in_executor(None, ask, name)
    asyncio.run(main())


def by_nested(name):
    thread = threading.Thread(target=by_pool, args=(name,))
    thread.start()
    thread.join()


WAYS = {f.__name__: f for f in (
    by_thread, by_subclass, by_timer, by_pool, by_map, by_to_thread, by_run_in_executor, by_nested
)}


@tool
def work(way: str) -> str:
    """Work in a thread.

    Args:
        way: How to start it.
    """
    name, kind = way.split("/")
    WAYS[name](f"{name}-{kind}")
    return "done"


@pytest.mark.parametrize("name", WAYS)
def test_it(smoltrace_agent, smoltrace_case, name, request):
    kind = "code" if "code" in request.node.nodeid else "tool"
    smoltrace_case.extra["name"] = f"{name}-{kind}"
    smoltrace_agent(tools=[work]).run(f"Go. [[case:{name}-{kind}]]")


@pytest.fixture(scope="session")
def background():
    """Ask the model every now and then, for as long as the session lasts."""
    ended = threading.Event()
    asked = []
    def loop():
        while not ended.wait(0.05):
            ask("background")
            asked.append(1)
    thread = threading.Thread(target=loop)
    thread.start()
    yield asked
    ended.set()
    thread.join()


@pytest.mark.smoltrace(id="first", agent_type="tool")
def test_first(smoltrace_agent, background):
    smoltrace_agent(tools=[]).run("Go. [[case:first]]")


@pytest.mark.smoltrace(id="second", agent_type="tool")
def test_second(smoltrace_agent, background):
    before = len(background)
    smoltrace_agent(tools=[]).run("Go. [[case:second]]")
    while len(background) < before + 3:
        time.sleep(0.01)
'''
WAYS = (
    *("by_thread", "by_subclass", "by_timer", "by_pool", "by_map", "by_to_thread"),
    *("by_run_in_executor", "by_nested"),
)


def cases() -> dict[str, list[ss.Reply]]:
    script = {}
    for way in WAYS:
        work, end = {"way": f"{way}/tool"}, "final_answer('5')"
        script[f"{way}-tool"] = [ss.tool_call("work", work, **CALL), ss.final_answer("5", **CALL)]
        script[f"{way}-code"] = [
            ss.code(f"print(work('{way}/code'))", **CALL),
            ss.code(end, **CALL),
        ]
        for kind in ("tool", "code"):
            script[f"{way}-{kind}-inner"] = [ss.text("word", **CALL)]
    done = ss.final_answer("5", **CALL)
    return script | {"first": [done], "second": [done], "background-inner": [ss.text("x", **CALL)]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with ss.ScriptedServer(cases=cases()) as server:
        yield suite.run_pytest(
            tmp_path_factory.mktemp("threads"), server, SOURCE, "--smoltrace-agent-type=both"
        )


def of(finished, name):
    rows = [r for r in finished.results if f'"{name}"' in (r["extra"] or "")]
    assert len(rows) == 1, finished.output
    (trace,) = [t for t in finished.traces if t["trace_id"] == rows[0]["trace_id"]]
    return rows[0], trace


@pytest.mark.parametrize("kind", ["tool", "code"])
@pytest.mark.parametrize("way", WAYS)
def test_a_call_in_a_thread_is_the_cases(finished, way, kind):
    row, trace = of(finished, f"{way}-{kind}")
    served = finished.of(f"{way}-{kind}", f"{way}-{kind}-inner")
    assert row["outcome"] == "passed", finished.output
    assert row["llm_call_count"] == len(served) == (4 if way == "by_map" else 3)
    assert row["gen_ai.usage.prompt_tokens"] == 70 * len(served)
    suite.check_tree(trace)
    spans = {span["span_id"]: span for span in trace["spans"]}
    ids = {s.response_id for s in finished.of(f"{way}-{kind}-inner")}
    inner = [s for s in spans.values() if s["attributes"]["gen_ai.response.id"] in ids]
    for span in inner:
        above = span
        while above["attributes"]["openinference.span.kind"] != "TOOL":
            above = spans[above["parent_span_id"]]  # a KeyError when no tool is above it


def test_a_thread_of_a_fixture_goes_on_and_is_counted_where_it_asks(finished):
    rows = [finished.result(name) for name in ("first", "second")]
    assert [row["outcome"] for row in rows] == ["passed", "passed"], finished.output
    assert rows[1]["llm_call_count"] >= 1 + 2
    assert len(finished.of("background-inner")) >= 3
