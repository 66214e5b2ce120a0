"""A judge in a suite: hidden content, hooks, a custom model, several workers."""

import json

import pytest

JUDGES = """
import pytest
from pytest_smoltrace import LLMJudge

def judge(verdict, **more):
    return LLMJudge(f"do: say {verdict};", **more)
"""

REASON, RUBRIC, EXPECTED = "xylophone", "zeppelin", "okapi"

HIDING = f"""
{JUDGES}
GOOD = '{{"reason": "{REASON}", "passed": true}}'
BAD = '{{"reason": "{REASON}", "passed": false}}'

def test_good(ask, smoltrace_case, smoltrace_model):
    ask("answer quetzal")
    verdict = smoltrace_case.judged_by(
        judge(GOOD + "; {RUBRIC}", model=smoltrace_model), expected="{EXPECTED}"
    )
    assert verdict.reason == "{REASON}"

def test_bad(ask, smoltrace_case, smoltrace_model):
    ask("answer quetzal")
    smoltrace_case.judged_by(judge(BAD, model=smoltrace_model))

def test_unreadable(ask, smoltrace_case, smoltrace_model):
    ask("answer quetzal")
    smoltrace_case.judged_by(judge("{REASON}", model=smoltrace_model))
"""


def stored(run):
    """Return all that a run left behind, tables as their values, and what it printed."""
    import pyarrow.parquet as pq

    (folder,) = run.runs
    files = [path for path in folder.rglob("*") if path.is_file()]
    texts = [
        repr(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_text()
        for path in files
    ]
    return "\n".join([*texts, run.out, run.err])


def test_hidden_content(suite):
    run = suite("--smoltrace-hide-content", "--tb=line", source=HIDING)
    assert run.outcomes == {
        "test_good": ("passed", None),
        "test_bad": ("failed", "score_below_threshold"),
        "test_unreadable": ("failed", "judge_error"),
    }
    assert [word for word in (REASON, RUBRIC, EXPECTED, "quetzal") if word in stored(run)] == []
    score = json.loads(run.results["test_bad"]["scores"])["judge"]
    assert (score["value"], score["passed"], score["reason"]) == (0.0, False, None)


def test_without_it_the_reason_is_kept(suite):
    run = suite(source=HIDING)
    scores = {name: json.loads(row["scores"] or "null") for name, row in run.results.items()}
    assert scores["test_good"]["judge"]["reason"] == REASON
    assert scores["test_bad"]["judge"]["reason"] == REASON
    assert scores["test_unreadable"] is None
    assert f"score judge is 0, below its threshold 0.5: {REASON}" in run.out


SPEC = f"""
{JUDGES}
GOOD = '{{"reason": "r", "score": 4}}'

@pytest.mark.parametrize("number", range(4))
def test_it(ask, smoltrace_case, number):
    ask("answer 5")
    verdict = smoltrace_case.judged_by(judge(GOOD, model="scripted:judge", scale=(1, 5)))
    assert verdict.score == 0.75
"""

COUNTED = """
BUILT = []

def pytest_smoltrace_make_model(config, spec):
    if spec.provider == "scripted":
        BUILT.append(spec.model_id)
        return Scripted(model_id=spec.model_id, temperature=config.generation.temperature)

def pytest_sessionfinish(session):
    assert len(BUILT) == len(set(BUILT)), BUILT
    print("BUILT", BUILT)
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_spec_is_built_once_a_process(suite, workers):
    run = suite("-s", "--smoltrace-temperature=0.5", *workers, source=SPEC, conftest=COUNTED)
    assert {row["outcome"] for row in run.results.values()} == {"passed"}
    assert len(run.results) == 4
    if not workers:
        assert "BUILT ['m', 'judge']" in run.out
    for row in run.results.values():
        assert row["gen_ai.usage.total_tokens"] == row["non_agent_total_tokens"] == 110


def test_a_hook_may_judge(suite):
    """A verdict of a hook counts as one of the test."""
    hook = """
def pytest_smoltrace_result(item, case):
    from pytest_smoltrace import LLMJudge
    said = '{"reason": "r", "passed": %s}' % ("true" if "good" in item.name else "false")
    case.judged_by(LLMJudge(f"do: say {said};", model=Scripted(model_id="judge")))
"""
    source = """
def test_good(ask):
    ask("answer 5")

def test_bad(ask):
    ask("answer 5")
"""
    run = suite(source=source, conftest=hook)
    assert run.outcomes == {
        "test_good": ("passed", None),
        "test_bad": ("failed", "score_below_threshold"),
    }
    assert {row["non_agent_total_tokens"] for row in run.results.values()} == {110}


MISTAKES = """
import pytest
from pytest_smoltrace import LLMJudge

NOT_SET = LLMJudge("Right?", model=None)

def test_none(ask, smoltrace_case):
    ask("answer 5")
    smoltrace_case.check(NOT_SET)

def test_number(ask, smoltrace_case):
    ask("answer 5")
    smoltrace_case.check(LLMJudge("Right?", model=5))

def test_local(ask, smoltrace_case):
    ask("answer 5")
    smoltrace_case.check(LLMJudge("Right?", model="local"))

def test_threshold(ask, smoltrace_case):
    ask("answer 5")
    smoltrace_case.check(LLMJudge("Right?", model="scripted:m", threshold=4))
"""


def test_mistakes_are_told_where_they_are_made(suite):
    run = suite(source=MISTAKES)
    rows = run.results
    assert {row["error_type"] for row in rows.values()} == {"config_error"}
    assert (
        "LLMJudge 'judge': None is no model; give it model='PROVIDER:MODEL-ID'"
        in rows["test_none"]["error"]
    )
    assert "LLMJudge 'judge': 5 is no model" in rows["test_number"]["error"]
    assert "local runs only while --smoltrace-model=local" in rows["test_local"]["error"]
    assert "threshold is 4, not from 0 to 1" in rows["test_threshold"]["error"]
    assert "judge.py" not in run.out
    assert "During handling" not in run.out


def test_an_inactive_session_may_make_judges(suite, pytester):
    pytester.makeconftest("")
    source = (
        "import sys\nfrom pytest_smoltrace import LLMJudge\n"
        "JUDGE = LLMJudge('Right?', model=None)\n"
        "def test_plain():\n"
        "    assert not {'smolagents', 'opentelemetry', 'pyarrow'} & set(sys.modules)\n"
        "def test_case(smoltrace_case):\n    raise SystemExit(9)\n"
    )
    run = suite(source=source, model=None)
    run.result.assert_outcomes(passed=1, skipped=1)
