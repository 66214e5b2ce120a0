"""A green case is never an unanswered one."""

from dataclasses import replace

import pytest

from pytest_smoltrace.facts import AgentRun, Declared, LLMCall, ToolCall
from pytest_smoltrace.verdict import keyword_verdict, problems


def declared(**changes):
    return Declared(case_id="c", nodeid="t.py::c", **changes)


def run(answer="Bern", stop_reason="final_answer", **changes):
    return AgentRun(agent_type="tool", answer=answer, stop_reason=stop_reason, **changes)


def called(*names, failed=False):
    return [ToolCall(name=n, start_unix_ns=1, duration_ms=1.0, failed=failed) for n in names]


def found(case, runs=(), tools=()):
    return [(problem.error_type, str(problem)) for problem in problems(case, runs, tools)]


def kinds(*args, **kwargs):
    return [kind for kind, _ in found(*args, **kwargs)]


def test_a_good_answer_is_no_problem():
    assert found(declared(), [run()]) == []
    assert found(declared(expected_keywords=("bern",)), [run("It is Bern.")]) == []


def test_no_agent_and_no_expectation_is_no_problem():
    assert found(declared()) == []


@pytest.mark.parametrize("answer", [None, "", "  \n"])
def test_an_empty_answer(answer):
    assert kinds(declared(), [run(answer)]) == ["no_answer"]


@pytest.mark.parametrize("expectation", [{"expected_tool": "t"}, {"expected_keywords": ("a",)}])
def test_an_expectation_without_an_agent(expectation):
    assert kinds(declared(**expectation))[0] == "no_answer"


def test_only_the_last_run_counts():
    assert found(declared(), [run(None), run("Bern")]) == []
    assert kinds(declared(), [run("Bern"), run(None)]) == ["no_answer"]


def test_max_steps():
    stopped = run("a guess of the fallback", "max_steps", steps=3)
    assert found(declared(), [stopped]) == [
        ("max_steps", "the agent stopped after 3 steps without an answer of its own")
    ]
    assert found(declared(allow_max_steps=True), [stopped]) == []


def test_max_steps_takes_the_type_of_the_last_steps_error():
    stopped = run("x", "max_steps", steps=3, last_error_type="parse_error", last_error="no JSON")
    ((kind, message),) = found(declared(), [stopped])
    assert kind == "parse_error"
    assert message.endswith("; its last error: no JSON")


def test_max_steps_says_what_the_last_step_met():
    stopped = run(
        *("x", "max_steps"),
        last_error_type="tool_error",
        last_error="Error code: 503",
        last_exception_type="weather.Refused",
        last_http_status=503,
    )
    (failed,) = problems(declared(), [stopped], ())
    assert (failed.error_type, failed.exception_type) == ("tool_error", "weather.Refused")
    assert failed.http_status == 503


def asked(*reasons):
    return [
        LLMCall(span_id=str(n), start_unix_ns=n, duration_ms=1.0, finish_reason=reason)
        for n, reason in enumerate(reasons)
    ]


def first_kind(case, runs, calls):
    return next((problem.error_type for problem in problems(case, runs, (), calls)), None)


@pytest.mark.parametrize(
    ("last", "reasons", "wanted"),
    [
        (run(None), ["stop", "content_filter"], "content_filter"),
        (run(""), ["SAFETY"], "content_filter"),
        (run(None), ["content_filter", "stop"], "no_answer"),
        (run(None), [], "no_answer"),
        (run("Bern"), ["content_filter"], None),
        # The last call of a run that is out of steps asks for a summary.
        (run("x", "max_steps"), ["content_filter", "stop"], "content_filter"),
        (run("x", "max_steps"), ["stop", "content_filter"], "max_steps"),
        (run("x", "max_steps"), ["content_filter", "stop", "stop"], "max_steps"),
        (run("x", "max_steps", last_error_type="parse_error"), ["stop", None], "parse_error"),
    ],
)
def test_an_answer_that_the_provider_withheld(last, reasons, wanted):
    assert first_kind(declared(), [last], asked(*reasons)) == wanted


def test_the_filter_of_somebody_elses_call_says_nothing():
    calls = [replace(call, role="judge") for call in asked("content_filter")]
    assert first_kind(declared(), [run(None)], calls) == "no_answer"


def test_a_summary_that_the_case_accepts_is_an_answer():
    stopped = run("x", "max_steps", last_error_type="parse_error")
    accepting = declared(allow_max_steps=True)
    assert first_kind(accepting, [stopped], asked("content_filter", "stop")) is None


def test_a_run_that_an_error_ended_is_not_the_agents_silence():
    ended = run(None, "error", last_error_type="llm_rate_limit", last_error="Error code: 429")
    (kind, message), *_ = found(declared(), [ended])
    assert kind == "llm_rate_limit"
    assert message.endswith("; its last error: Error code: 429")
    assert kinds(declared(), [ended, run("Bern")]) == []
    hidden = next(problems(declared(), [ended], (), hide_content=True))
    assert "429" not in str(hidden)


def test_max_steps_decides_before_everything_else():
    case = declared(expected_tool="search", expected_keywords=("bern",))
    assert kinds(case, [run(None, "max_steps")])[0] == "max_steps"


@pytest.mark.parametrize(
    ("expected", "count", "tools", "wrong"),
    [
        ("search", None, called("search"), False),
        ("search", None, called("look", "search"), False),
        ("search", None, called("look"), True),
        ("search", None, [], True),
        ("search", 2, called("search"), True),
        ("search", 2, called("search", "search"), False),
        ("search", 2, called("search", "search", "search"), False),
        ("search", None, called("search", failed=True), True),
        ("search", None, called("search", failed=True) + called("search"), False),
        ("multiple", 2, called("search", "look"), False),
        ("multiple", 2, called("search"), True),
        (None, None, [], False),
    ],
)
def test_tools(expected, count, tools, wrong):
    case = declared(expected_tool=expected, expected_tool_calls=count)
    assert kinds(case, [run()], tools) == (["wrong_tool"] if wrong else [])


def test_what_a_wrong_tool_says():
    case = declared(expected_tool="search", expected_tool_calls=2)
    ((_, message),) = found(case, [run()], called("look", "search"))
    assert message == ("expected 2 successful calls of tool 'search', got 1 (called: look, search)")


def test_keywords():
    case = declared(expected_keywords=("Bern", "capital"))
    assert found(case, [run("Bern is the Capital")]) == []
    ((kind, message),) = found(case, [run("Bern")])
    assert kind == "wrong_answer"
    assert message == "missing 'capital' in the answer 'Bern'"


def test_the_verdict_on_the_keywords_alone():
    case = declared(expected_keywords=("bern",))
    assert keyword_verdict(case, "Bern") is True
    assert keyword_verdict(case, "Rome") is False
    assert keyword_verdict(case, None) is False
    assert keyword_verdict(declared(), "Bern") is None


def test_hidden_content_stays_out_of_messages():
    declared = Declared(case_id="c", nodeid="n", expected_keywords=("Oslo",))
    wrong = AgentRun(agent_type="tool", stop_reason="final_answer", answer="secret Bern")
    (failed,) = problems(declared, [wrong], [], hide_content=True)
    assert "secret" not in str(failed)
    stopped = AgentRun(agent_type="tool", stop_reason="max_steps", answer="x", last_error="secret")
    assert "secret" not in str(next(problems(declared, [stopped], [], hide_content=True)))
    assert "secret" in str(next(problems(declared, [stopped], [])))
