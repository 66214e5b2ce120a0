"""The hooks that others implement, the session fixture, and tests that are no cases."""

import json

import pytest

CONFTEST = """
import pathlib
from pytest_smoltrace.facts import CostParts

def pytest_smoltrace_price(model, usage):
    if model == "m":
        return CostParts(prompt_usd=usage.prompt * 1e-6, completion_usd=usage.completion * 2e-6,
                         reasoning_usd=None, cache_read_usd=None, cache_write_usd=None)

def pytest_smoltrace_result(item, case):
    assert "plain" not in item.name
    case.score("letters", len(case.answer or ""))
    case.tag("seen")
    if "too_long" in item.name:
        case.score("short", 0, threshold=1)

def pytest_smoltrace_finished(outcome):
    lines = [str(outcome.directory), *sorted(outcome.datasets), outcome.summary["session_id"]]
    pathlib.Path("finished.txt").write_text("\\n".join(lines))
"""

SOURCE = """
import pytest
from conftest import Scripted, look
from smolagents import CodeAgent, MultiStepAgent, ToolCallingAgent

def test_priced(ask):
    ask("call look city=Bern; answer Bern")

def test_too_long(ask):
    ask("answer Bern")

def test_own_agent(scripted):
    agent = ToolCallingAgent(tools=[look], model=scripted, verbosity_level=0)
    assert agent.run("call look city=Bern; answer Bern") == "Bern"

def test_managed(smoltrace_agent, scripted):
    scout = ToolCallingAgent(tools=[look], model=scripted, verbosity_level=0,
                              name="scout", description="Scouts.")
    agent = smoltrace_agent(managed_agents=[scout])
    assert agent.run("call scout task=call; answer Bern") == "Bern"

def test_bare_model(smoltrace_model):
    smoltrace_model.generate([{"role": "user", "content": "say hello"}])

def test_plain():
    pass

def test_plain_fails():
    assert False

def test_session(smoltrace_session, ask):
    ask("answer Bern")
    assert smoltrace_session.config.models[0].model_id == "m"
"""


def test_hooks(suite, pytester):
    run = suite("-q", source=SOURCE, conftest=CONFTEST)
    rows = run.results
    assert set(rows) == {
        *("test_priced", "test_too_long", "test_own_agent", "test_managed", "test_bare_model"),
        "test_session",
    }
    priced = rows["test_priced"]
    assert priced["gen_ai.usage.cost.total"] == pytest.approx(200e-6 + 2 * 20e-6, rel=1e-12)
    assert priced["cost_source"] == "custom"
    assert rows["test_own_agent"]["gen_ai.usage.cost.total"] is None
    scores = json.loads(priced["scores"])
    assert scores["letters"]["value"] == 4.0
    assert priced["tags"] == ["seen"]
    assert (rows["test_too_long"]["outcome"], rows["test_too_long"]["error_type"]) == (
        "failed",
        "score_below_threshold",
    )
    assert rows["test_own_agent"]["gen_ai.usage.total_tokens"] == 220
    assert rows["test_own_agent"]["model"] == "own"
    assert rows["test_bare_model"]["gen_ai.usage.total_tokens"] == 110
    run.result.assert_outcomes(passed=6, failed=2)
    directory, *names, session_id = (pytester.path / "finished.txt").read_text().splitlines()
    (folder,) = run.runs
    assert directory == str(folder)
    assert session_id == folder.name
    assert set(names) >= {"results", "traces", "leaderboard"}


FLAKY = """
import pathlib

def test_flaky(ask):
    first = not pathlib.Path("tried.txt").exists()
    pathlib.Path("tried.txt").touch()
    if first:
        ask("fail 500")
    ask("answer Bern")

def test_never(ask):
    assert ask("answer Bern") == "Rome"
"""


def test_reruns_are_attempts(suite):
    pytest.importorskip("pytest_rerunfailures")
    run = suite("--reruns=2", source=FLAKY)
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    rows = [
        (r["nodeid"].rpartition("::")[2], r["attempt"], r["outcome"], r["counted"], r["scored"])
        for r in run.rows("results")
    ]
    assert sorted(rows) == [
        ("test_flaky", 0, "failed", False, False),
        ("test_flaky", 1, "passed", True, True),
        ("test_never", 0, "failed", True, True),
        ("test_never", 1, "failed", False, False),
        ("test_never", 2, "failed", False, False),
    ]
    (board,) = run.rows("leaderboard")
    assert (board["num_tests"], board["successful_tests"]) == (2, 1)


FAILING = """
def test_raises(ask):
    ask("answer Bern")
    assert False, "the test's own verdict"

def test_gives_up(ask):
    import pytest
    ask("answer Bern")
    pytest.fail("enough")
"""


def test_result_hook_sees_failed_cases_too(suite):
    run = suite(conftest=CONFTEST, source=FAILING)
    assert run.results["test_raises"]["error"].startswith("the test's own verdict")
    for case in ("test_raises", "test_gives_up"):
        assert json.loads(run.results[case]["scores"])["letters"]["value"] == 4
        assert run.results[case]["tags"] == ["seen"]
