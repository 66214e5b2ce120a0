"""Outcomes, as the contract names them."""

import pytest

SOURCE = """
import pytest

def test_passed(ask):
    assert ask("call look city=Bern; answer Bern") == "Bern"

def test_failed(ask):
    assert ask("answer Bern") == "Rome"

def test_error_in_test(ask):
    ask("answer Bern")
    1 / 0

@pytest.mark.skip(reason="not now")
def test_skipped(ask):
    ask("answer Bern")

def test_skips_itself(ask):
    ask("answer Bern")
    pytest.skip("not here")

@pytest.mark.xfail(reason="known", strict=False)
def test_xfailed(ask):
    assert ask("answer Bern") == "Rome"

@pytest.mark.xfail(reason="known", run=False)
def test_xfail_norun(ask):
    ask("answer Bern")

@pytest.mark.xfail(reason="known", strict=False)
def test_xpassed(ask):
    ask("answer Bern")

@pytest.mark.xfail(reason="known", strict=True)
def test_strict(ask):
    ask("answer Bern")

@pytest.fixture
def broken_setup():
    raise OSError("no database")

@pytest.fixture
def broken_teardown():
    yield
    raise OSError("cannot clean up")

def test_setup(broken_setup, ask):
    ask("answer Bern")

def test_teardown(ask, broken_teardown):
    ask("answer Bern")

@pytest.mark.xfail(reason="known", strict=False, raises=ValueError)
def test_xpassed_and_teardown(ask, broken_teardown):
    ask("answer Bern")

def test_skipped_and_teardown(ask, broken_teardown):
    pytest.skip("not here")

def test_failed_and_teardown(ask, broken_teardown):
    assert ask("answer Bern") == "Rome"

@pytest.mark.xfail(reason="known", strict=False)
def test_xfail_in_setup(broken_setup, ask):
    pass

def test_model_is_down(ask):
    ask("fail 503")

def test_pytest_fail(ask):
    ask("answer Bern")
    pytest.fail("this will not do")

def test_xfails_itself(ask):
    ask("answer Bern")
    pytest.xfail("known")
"""

WANTED = {
    "test_passed": ("passed", None),
    "test_failed": ("failed", "assertion"),
    "test_error_in_test": ("failed", "test_error"),
    "test_skipped": ("skipped", None),
    "test_skips_itself": ("skipped", None),
    "test_xfailed": ("xfailed", "assertion"),
    "test_xfail_norun": ("skipped", None),
    "test_xpassed": ("xpassed", None),
    "test_strict": ("xpassed", None),
    "test_setup": ("error", "setup_error"),
    "test_teardown": ("error", "teardown_error"),
    "test_xpassed_and_teardown": ("error", "teardown_error"),
    "test_skipped_and_teardown": ("error", "teardown_error"),
    "test_failed_and_teardown": ("failed", "assertion"),
    "test_xfail_in_setup": ("xfailed", "setup_error"),
    "test_model_is_down": ("failed", "llm_server_error"),
    "test_pytest_fail": ("failed", "assertion"),
    "test_xfails_itself": ("xfailed", "assertion"),
}


def test_every_outcome(suite):
    run = suite("--smoltrace-max-retries=0", source=SOURCE)
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    run.result.assert_outcomes(passed=2, failed=6, errors=5, skipped=3, xfailed=4, xpassed=2)
    assert run.outcomes == WANTED
    rows = run.results
    assert {name for name, row in rows.items() if row["success"]} == {
        *("test_passed", "test_xpassed", "test_strict")
    }
    assert rows["test_passed"]["gen_ai.usage.total_tokens"] == 220
    assert rows["test_passed"]["steps"] == 2
    assert rows["test_passed"]["tools_used"] == ["look"]
    assert rows["test_passed"]["response"] == "Bern"
    assert run.stop_reason == "completed"
