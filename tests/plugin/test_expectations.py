"""A green case is never an unanswered one: expectations, checks and scores are enforced."""

import json

import pytest

SOURCE = """
import pytest
from smolagents import CodeAgent

@pytest.mark.smoltrace(expected_tool="look", expected_keywords="bern")
def test_good(ask):
    ask("call look city=Bern; answer It is Bern")

@pytest.mark.smoltrace(expected_tool="look")
def test_wrong_tool(ask):
    ask("answer Bern")

@pytest.mark.smoltrace(expected_tool="look", expected_tool_calls=2)
def test_too_few_calls(ask):
    ask("call look city=Bern; answer Bern")

@pytest.mark.smoltrace(expected_tool="broken")
def test_failed_tool(ask):
    ask("call broken city=Bern; answer Bern")

@pytest.mark.smoltrace(expected_keywords=["Bern", "Rome"])
def test_wrong_answer(ask):
    ask("answer Bern")

@pytest.mark.smoltrace(expected_keywords="Bern")
def test_no_agent():
    pass

def test_empty_answer(ask):
    ask("answer ")

@pytest.mark.smoltrace(max_steps=2)
def test_max_steps(ask):
    ask("call look city=Bern; call look city=Rome; say I do not know")

@pytest.mark.smoltrace(max_steps=1, allow_max_steps=True)
def test_max_steps_allowed(ask):
    ask("call look city=Bern; say I do not know")

@pytest.mark.smoltrace(max_steps=1)
def test_max_steps_after_an_error(ask):
    ask("call nothing city=Bern; say I do not know")

@pytest.mark.smoltrace(expected_keywords="Rome")
def test_both(ask):
    assert ask("answer Bern") == "Paris"

@pytest.mark.smoltrace(agent_type="code", expected_tool="look")
def test_code(ask):
    assert ask("call look city=Bern; answer Bern") == "Bern"
"""

WANTED = {
    "test_good": ("passed", None),
    "test_wrong_tool": ("failed", "wrong_tool"),
    "test_too_few_calls": ("failed", "wrong_tool"),
    "test_failed_tool": ("failed", "wrong_tool"),
    "test_wrong_answer": ("failed", "wrong_answer"),
    "test_no_agent": ("failed", "no_answer"),
    "test_empty_answer": ("failed", "no_answer"),
    "test_max_steps": ("failed", "max_steps"),
    "test_max_steps_allowed": ("passed", None),
    "test_max_steps_after_an_error": ("failed", "tool_not_found"),
    "test_both": ("failed", "assertion"),
    "test_code": ("passed", None),
}


@pytest.fixture
def enforced(suite):
    return suite(source=SOURCE)


def test_expectations(enforced):
    run = enforced
    assert run.outcomes == WANTED
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    run.result.assert_outcomes(passed=3, failed=9)
    rows = run.results
    assert rows["test_wrong_answer"]["response_correct"] is False
    assert rows["test_both"]["response_correct"] is False
    assert rows["test_good"]["response_correct"] is True
    assert rows["test_max_steps"]["response_correct"] is None
    assert (rows["test_max_steps"]["steps"], rows["test_max_steps_allowed"]["steps"]) == (2, 1)
    assert rows["test_max_steps_allowed"]["final_answer_called"] is False
    assert rows["test_wrong_answer"]["error"] == "missing 'Rome' in the answer 'Bern'"
    run.result.stdout.fnmatch_lines(["FAILED test_it.py::test_wrong_answer - *missing 'Rome'*"])
    run.result.stdout.fnmatch_lines(
        ["FAILED test_it.py::test_wrong_tool - *: expected 1 successful*"]
    )
    assert "pytest_smoltrace/" not in run.out.replace("/pytest_smoltrace/capture/agent.py", "")
    assert "recorder.py" not in run.out


CHECKS = """
import pytest

def test_good(ask, smoltrace_case):
    ask("answer The total is 1,050.40 EUR")
    smoltrace_case.check(keywords=["total", "EUR"])
    smoltrace_case.check(regex=r"[0-9]+")
    smoltrace_case.check(number=1050, tolerance=0.5, name="total")
    smoltrace_case.check(lambda answer: "EUR" in answer)
    smoltrace_case.check(json_schema={"type": "object"}, answer='{"a": 1}')
    smoltrace_case.score("words", 5, threshold=3)
    smoltrace_case.score("words", 7)

def test_number(ask, smoltrace_case):
    ask("answer 1051")
    smoltrace_case.check(number=1050, tolerance=0.5)

def test_keywords(ask, smoltrace_case):
    ask("answer Bern")
    smoltrace_case.check(keywords="Rome")

def test_schema(ask, smoltrace_case):
    ask("answer Bern")
    smoltrace_case.check(json_schema={"type": "object"})

def test_function(ask, smoltrace_case):
    def is_long(answer):
        return len(answer) > 100
    ask("answer Bern")
    smoltrace_case.check(is_long)

def test_no_answer(smoltrace_case):
    smoltrace_case.check(keywords="Rome")

def test_score(ask, smoltrace_case):
    ask("answer Bern")
    smoltrace_case.score("quality", 0.5, threshold=0.75)

def test_nan(ask, smoltrace_case):
    ask("answer Bern")
    smoltrace_case.score("quality", float("nan"))

def test_nothing_to_check(ask, smoltrace_case):
    ask("answer Bern")
    smoltrace_case.check()

def test_what_the_case_knows(ask, smoltrace_case, smoltrace_session):
    assert (smoltrace_case.answer, smoltrace_case.tools_used) == (None, ())
    ask("call look city=Bern; answer Bern")
    assert smoltrace_case.id == "test_it.py::test_what_the_case_knows"
    assert smoltrace_case.answer == "Bern"
    assert smoltrace_case.tools_used == ("look",)
    assert len(smoltrace_case.llm_calls) == 2
    assert smoltrace_case.total_tokens == 220
    assert smoltrace_case.cost_usd is None
    (run,) = smoltrace_case.runs
    assert (run.steps, run.stop_reason, run.agent_type) == (2, "final_answer", "tool")
    assert smoltrace_session.directory.is_dir()
    assert smoltrace_session.directory.name == smoltrace_session.session_id
    assert smoltrace_session.config.models[0].model_id == "m"

def test_judge(ask, smoltrace_case, smoltrace_model):
    ask("answer Bern")
    with smoltrace_case.judge():
        smoltrace_model.generate([{"role": "user", "content": "say good"}])
    assert smoltrace_case.total_tokens == 110
    assert [call.role for call in smoltrace_case.llm_calls] == ["agent", "judge"]

def test_judge_is_down(ask, smoltrace_case, smoltrace_model):
    ask("answer Bern")
    with smoltrace_case.judge():
        smoltrace_model.generate([{"role": "user", "content": "fail 500"}])

def test_judge_is_unreadable(ask, smoltrace_case, smoltrace_model):
    ask("answer Bern")
    with smoltrace_case.judge():
        float(smoltrace_model.generate([{"role": "user", "content": "say good"}]).content)

def test_judge_says_no(ask, smoltrace_case, smoltrace_model):
    ask("answer Bern")
    with smoltrace_case.judge():
        said = smoltrace_model.generate([{"role": "user", "content": "say bad"}]).content
        assert said == "good"
"""


def test_checks_and_scores(suite):
    run = suite(source=CHECKS)
    assert run.outcomes == {
        "test_good": ("passed", None),
        "test_number": ("failed", "wrong_answer"),
        "test_keywords": ("failed", "wrong_answer"),
        "test_schema": ("failed", "wrong_answer"),
        "test_function": ("failed", "wrong_answer"),
        "test_no_answer": ("failed", "no_answer"),
        "test_score": ("failed", "score_below_threshold"),
        "test_nan": ("failed", "test_error"),
        "test_nothing_to_check": ("failed", "test_error"),
        "test_what_the_case_knows": ("passed", None),
        "test_judge": ("passed", None),
        "test_judge_is_down": ("failed", "judge_error"),
        "test_judge_is_unreadable": ("failed", "judge_error"),
        "test_judge_says_no": ("failed", "assertion"),
    }
    rows = run.results
    scores = json.loads(rows["test_good"]["scores"])
    assert scores["total"]["passed"] is True
    assert scores["words"] == {
        "kind": "metric",
        "passed": True,
        "reason": None,
        "threshold": 3,
        "value": 5.0,
    }
    assert scores["words-2"]["value"] == 7.0
    assert {name for name, score in scores.items() if score["kind"] == "check"} == {
        *("keywords", "regex", "total", "custom", "json_schema")
    }
    assert rows["test_good"]["response_correct"] is True
    assert rows["test_number"]["response_correct"] is False
    assert rows["test_score"]["response_correct"] is None
    assert rows["test_judge"]["gen_ai.usage.total_tokens"] == 110
    assert [rows[f"test_judge_{kind}"]["scored"] for kind in ("is_down", "says_no")] == [
        False,
        True,
    ]
    assert "number: wanted 1050 ± 0.5, got 1051 in the answer '1051'" in run.out
    assert "score quality is 0.5, below its threshold 0.75" in run.out
    assert "fixtures.py" not in run.out
