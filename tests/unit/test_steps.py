"""The steps of an attempt, read from spans."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pytest_smoltrace.comparing.steps import STEP_LIMIT, Step, steps_of
from pytest_smoltrace.comparing.stored_steps import stored_steps
from pytest_smoltrace.errors import JournalError
from tests.unit.span_factory import Trace


def told(trace):
    """Return what the steps say, without what they took."""
    return [
        (s.kind, s.name, s.arguments, s.result, s.error, s.number, s.agent)
        for s in steps_of(trace.spans)
    ]


def looked(trace, agent, city, result="a city", **changes):
    step = trace.step(agent)
    trace.llm(step, calls=[("look", {"city": city})], **changes)
    trace.tool(step, "look", {"city": city}, result)


def answered(trace, agent, answer):
    step = trace.step(agent, output=answer)
    trace.llm(step, calls=[("final_answer", {"answer": answer})])
    trace.tool(step, "final_answer", {"answer": answer}, answer)


def test_a_tool_agent():
    trace = Trace()
    agent = trace.agent(answer="Paris")
    looked(trace, agent, "Paris")
    answered(trace, agent, "Paris")
    assert told(trace) == [
        ("tool", "look", {"city": "Paris"}, "a city", None, 1, None),
        ("answer", "final_answer", None, "Paris", None, 2, None),
    ]


def test_what_a_step_took():
    trace = Trace()
    agent = trace.agent(answer="x")
    looked(trace, agent, "Paris", tokens=100, cost=0.5)
    answered(trace, agent, "x")
    first, last = steps_of(trace.spans)
    assert (first.tokens, first.cost_usd, first.duration_ms) == (100, 0.5, 3.0 + 2.0)
    assert (last.tokens, last.cost_usd) == (110, 0.25)


def test_unknown_usage_stays_unknown():
    trace = Trace()
    looked(trace, trace.agent(answer=None, error="boom"), "Paris", tokens=None, cost=None)
    (step,) = steps_of(trace.spans)
    assert (step.tokens, step.cost_usd) == (None, None)


def test_the_order_of_the_rows_does_not_matter():
    trace = Trace()
    agent = trace.agent(answer="x")
    looked(trace, agent, "Paris")
    looked(trace, agent, "Rome")
    answered(trace, agent, "x")
    expected = steps_of(trace.spans)
    random.Random(3).shuffle(trace.spans)
    assert steps_of(trace.spans) == expected


def test_parallel_calls_are_in_the_order_that_they_were_asked_for():
    trace = Trace()
    step = trace.step(trace.agent(error="stopped"))
    asked = [("look", {"city": "Oslo"}), ("find", {"q": 1}), ("look", {"city": "Rome"})]
    trace.llm(step, calls=asked)
    for name, arguments in (asked[2], asked[1], asked[0]):
        trace.tool(step, name, arguments, "found")
    steps = steps_of(trace.spans)
    assert [(s.name, s.arguments) for s in steps] == asked
    assert [s.tokens for s in steps] == [110, 0, 0]  # one LLM call, counted once


def test_a_code_agent():
    trace = Trace()
    agent = trace.agent(name="CodeAgent", answer="4")
    step = trace.step(agent, output="Last output: 4")
    trace.llm(step, "Thought: add\n<code>\nadd(2, 2)\n</code>")
    trace.tool(step, "add", {"a": 2, "b": 2}, "4")
    step = trace.step(agent, output="Last output: 4")
    trace.llm(step, "```python\nfinal_answer(4)\n```")
    trace.tool(step, "final_answer", {"answer": 4}, "4")
    assert told(trace) == [
        ("tool", "add", {"a": 2, "b": 2}, "4", None, 1, None),
        ("code", "", "add(2, 2)", "Last output: 4", None, 1, None),
        ("answer", "final_answer", None, "4", None, 2, None),
    ]


def test_structured_code():
    trace = Trace()
    step = trace.step(trace.agent(error="stopped"), output="3")
    trace.llm(step, json.dumps({"thought": "t", "code": "1 + 2"}))
    assert told(trace) == [("code", "", "1 + 2", "3", None, 1, None)]


def test_code_that_raised():
    trace = Trace()
    error = "AgentExecutionError: Code execution failed at line 'x()' due to: NameError: x"
    step = trace.step(trace.agent(error="stopped"), error=error)
    trace.llm(step, "<code>x()</code>")
    (step,) = steps_of(trace.spans)
    assert (step.kind, step.arguments) == ("code", "x()")
    assert step.error == "Code execution failed at line 'x()' due to: NameError: x"


def test_a_tool_that_failed_is_the_whole_error():
    trace = Trace()
    error = "AgentToolExecutionError: Error executing tool 'look': ValueError: broken"
    step = trace.step(trace.agent(error="stopped"), error=error)
    trace.llm(step, calls=[("look", {"city": "Rome"})])
    trace.tool(step, "look", {"city": "Rome"}, error="ValueError: broken")
    assert told(trace) == [("tool", "look", {"city": "Rome"}, None, "ValueError: broken", 1, None)]


def test_an_error_without_a_call():
    trace = Trace()
    step = trace.step(trace.agent(error="stopped"), error="AgentParsingError: no JSON: blob")
    trace.llm(step, "hello")
    assert told(trace) == [("error", "AgentParsingError", None, None, "no JSON: blob", 1, None)]


def test_the_answer_at_the_step_limit():
    trace = Trace()
    agent = trace.agent(answer="I do not know")
    looked(trace, agent, "Rome")
    trace.llm(agent, "I do not know", tokens=7)
    steps = steps_of(trace.spans)
    assert told(trace)[1] == ("answer", STEP_LIMIT, None, "I do not know", None, None, None)
    assert steps[1].tokens == 7


def test_plans_are_charged_to_the_step_that_follows():
    trace = Trace()
    agent = trace.agent(answer="x")
    trace.llm(agent, "the plan", tokens=5)
    looked(trace, agent, "Rome")
    answered(trace, agent, "x")
    assert [step.tokens for step in steps_of(trace.spans)] == [115, 110]


def test_a_plan_is_no_forced_answer():
    trace = Trace()
    agent = trace.agent(answer="x")
    trace.llm(agent, "the plan")
    looked(trace, agent, "Rome")
    assert [step.name for step in steps_of(trace.spans)] == ["look", "final_answer"]


def test_code_beside_a_tool_call_is_only_text():
    trace = Trace()
    step = trace.step(trace.agent(error="stopped"), output="a city")
    trace.llm(step, "like <code>look()</code>", calls=[("look", {})])
    trace.tool(step, "look", {}, "a city")
    assert [step.kind for step in steps_of(trace.spans)] == ["tool"]


def test_a_failed_run_has_no_answer():
    trace = Trace()
    looked(trace, trace.agent(answer=None, error="Error code: 400"), "Rome")
    assert [step.kind for step in steps_of(trace.spans)] == ["tool"]


def test_a_managed_agent_is_a_call_with_its_own_steps():
    trace = Trace()
    agent = trace.agent(answer="done")
    step = trace.step(agent)
    trace.llm(step, calls=[("helper", {"task": "look"})])
    helper = trace.agent(step, name="helper", answer="Rome")
    looked(trace, helper, "Rome")
    answered(trace, helper, "Rome")
    answered(trace, agent, "done")
    assert told(trace) == [
        ("tool", "helper", {"task": "look"}, None, None, 1, None),
        ("tool", "look", {"city": "Rome"}, "a city", None, 1, "helper"),
        ("answer", "final_answer", None, "Rome", None, 2, "helper"),
        ("answer", "final_answer", None, "done", None, 2, None),
    ]


def test_judges_and_fixtures_do_nothing_of_the_agent():
    trace = Trace()
    answered(trace, trace.agent(answer="x"), "x")
    trace.llm(trace.call, "7 of 10", role="judge")
    assert [step.kind for step in steps_of(trace.spans)] == ["answer"]


def test_calls_without_an_agent():
    trace = Trace()
    trace.llm(trace.call, "hello")
    trace.tool(trace.call, "look", {"city": "Oslo"}, "a city")
    assert told(trace) == [
        ("llm", "", None, "hello", None, None, None),
        ("tool", "look", {"city": "Oslo"}, "a city", None, None, None),
    ]


def test_what_a_tool_calls_is_charged_to_it():
    trace = Trace()
    step = trace.step(trace.agent(error="stopped"))
    trace.llm(step, calls=[("ask", {})], tokens=100, cost=1.0)
    tool = trace.tool(step, "ask", {}, "yes", ms=20.0)
    trace.llm(tool, "yes", tokens=7, cost=0.5)
    (step,) = steps_of(trace.spans)
    assert (step.name, step.tokens, step.cost_usd) == ("ask", 107, 1.5)
    assert step.duration_ms == 3.0 + 20.0  # the tool's time holds that of its call


def test_an_agent_within_a_tool():
    trace = Trace()
    step = trace.step(trace.agent(error="stopped"))
    trace.llm(step, calls=[("ask", {})])
    tool = trace.tool(step, "ask", {}, "Rome")
    answered(trace, trace.agent(tool, name="inner", answer="Rome"), "Rome")
    assert told(trace) == [
        ("tool", "ask", {}, "Rome", None, 1, None),
        ("answer", "final_answer", None, "Rome", None, 1, "inner"),
    ]
    assert [step.tokens for step in steps_of(trace.spans)] == [110, 110]


def test_spans_of_the_users_own_are_passed():
    trace = Trace()
    mine = trace.add(trace.call, "my block", "CHAIN")
    agent = trace.agent(mine, answer="x")
    other = trace.add(agent, "retries", "CHAIN")
    step = trace.step(other)
    wrapped = trace.add(step, "GET", "CHAIN")
    trace.llm(wrapped, calls=[("look", {"city": "Oslo"})])
    trace.tool(trace.add(step, "pool", "CHAIN"), "look", {"city": "Oslo"}, "a city")
    assert told(trace) == [
        ("tool", "look", {"city": "Oslo"}, "a city", None, 1, None),
        ("answer", "final_answer", None, "x", None, None, None),
    ]
    assert [step.tokens for step in steps_of(trace.spans)] == [110, 0]


def test_hidden_content_is_unknown():
    trace = Trace()
    step = trace.step(trace.agent(error="stopped"))
    trace.llm(step, calls=[("look", {})])
    trace.spans[-1]["attributes"]["output.value"] = None
    trace.tool(step, "look", None, None)
    assert told(trace) == [("tool", "look", None, None, None, 1, None)]


def test_no_spans_are_no_steps():
    assert steps_of(()) == ()
    assert steps_of(Trace().spans) == ()


def stored(directory, traces, row_group_size=4):
    rows = [{"trace_id": name, "spans": trace.spans} for name, trace in traces.items()]
    (directory / "traces").mkdir()
    path = directory / "traces" / "train-00000.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size)
    return path


def numbered(number):
    trace = Trace()
    agent = trace.agent(answer=str(number))
    looked(trace, agent, f"city {number}")
    answered(trace, agent, str(number))
    return trace


def test_only_the_wanted_traces_are_read(tmp_path, monkeypatch):
    traces = {f"{number:032x}": numbered(number) for number in range(40)}
    stored(tmp_path, traces)
    wanted = {f"{number:032x}" for number in (5, 6, 30)}
    read = []
    real = pq.ParquetFile.read_row_group

    def spy(self, group, columns=None, **kwargs):
        table = real(self, group, columns=columns, **kwargs)
        if columns != ["trace_id"]:
            read.append((group, table))
        return table

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    found = stored_steps(tmp_path, {*wanted, "f" * 32})
    assert found == {name: steps_of(traces[name].spans) for name in wanted}
    assert [group for group, _ in read] == [1, 7]  # groups of four rows


def test_a_directory_without_traces(tmp_path):
    assert stored_steps(tmp_path, {"a"}) == {}


def test_traces_that_cannot_be_read(tmp_path):
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "train-00000.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(JournalError, match="cannot read the traces of"):
        stored_steps(tmp_path, {"a"})


def test_a_step_is_a_value():
    assert Step(kind="tool", name="look") == Step(kind="tool", name="look")
