"""A session that ends early keeps what was finished and says why it ended."""

import pytest

INTERRUPTED = """
import pytest

def test_one(ask):
    ask("answer Bern")

def test_two(ask):
    ask("call look city=Bern; interrupt")

def test_three(ask):
    ask("answer Bern")
"""


def test_keyboard_interrupt(suite):
    run = suite(source=INTERRUPTED)
    assert run.ret == pytest.ExitCode.INTERRUPTED
    rows = run.results
    outcomes = {name: (row["outcome"], row["error_type"]) for name, row in rows.items()}
    assert outcomes["test_one"] == ("passed", None)
    assert outcomes["test_two"] == ("interrupted", "interrupted")
    assert "test_three" not in outcomes or outcomes["test_three"][0] != "passed"
    # One call was answered, one was cut off: what they spent together is not known.
    assert rows["test_two"]["llm_call_count"] == 2
    assert rows["test_two"]["gen_ai.usage.prompt_tokens"] is None
    assert rows["test_two"]["tools_used"] == ["look"]
    assert run.stop_reason == "interrupted"
    (board,) = run.rows("leaderboard")
    assert (board["num_tests"], board["interrupted_tests"]) == (1, 1)
    assert "KeyboardInterrupt" in run.out


def test_keyboard_interrupt_in_a_worker(suite):
    run = suite("-n", "1", source=INTERRUPTED)
    assert run.ret == pytest.ExitCode.INTERRUPTED
    assert run.outcomes["test_one"] == ("passed", None)
    assert run.outcomes["test_two"] == ("interrupted", "interrupted")
    assert run.results["test_two"]["llm_call_count"] == 2
    assert run.results["test_two"]["tools_used"] == ["look"]
    assert run.stop_reason == "interrupted"


EXITS = """
import pytest

@pytest.fixture
def leaves():
    yield
    pytest.exit("enough", returncode=7)

def test_one(ask, leaves):
    ask("answer Bern")

def test_two(ask):
    ask("answer Bern")
"""


def test_pytest_exit(suite):
    run = suite(source=EXITS)
    assert run.ret == 7
    assert run.outcomes == {"test_one": ("interrupted", "interrupted")}
    assert run.results["test_one"]["response"] == "Bern"
    assert run.stop_reason == "interrupted"


REFUSED = """
import pytest

def test_zero():
    pass

def test_one(ask):
    ask("fail 401")

def test_two(ask):
    ask("answer Bern")
    open("ran.txt", "w").close()
"""


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "xdist"])
def test_a_model_that_refuses_the_first_call(suite, pytester, workers):
    run = suite(*workers, source=REFUSED)
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    assert not (pytester.path / "ran.txt").exists()
    assert run.outcomes["test_one"] == ("failed", "llm_auth")
    assert "the model refused the first call" in run.out
    assert "401" in run.out
    assert run.stop_reason.startswith("error: ")


LATER = """
import pytest

def test_one(ask):
    ask("answer Bern")

def test_two(ask):
    ask("fail 401")

def test_three(ask):
    ask("answer Bern")
"""


def test_a_refusal_after_an_answer_goes_on(suite):
    run = suite(source=LATER)
    run.result.assert_outcomes(passed=2, failed=1)
    assert run.stop_reason == "completed"


NOT_THE_MODEL = """
import pytest
from conftest import Refused

def test_one(smoltrace_case):
    raise Refused(403)

def test_two(ask):
    ask("answer Bern")
"""


def test_a_refusal_of_somebody_else_goes_on(suite):
    run = suite(source=NOT_THE_MODEL)
    run.result.assert_outcomes(passed=1, failed=1)
    assert run.stop_reason == "completed"


FAILS = """
def test_one(ask):
    assert ask("answer Bern") == "Rome"

def test_two(ask):
    ask("answer Bern")
"""


def test_maxfail(suite):
    run = suite("-x", source=FAILS)
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    assert run.stop_reason == "maxfail"
    assert run.outcomes["test_one"] == ("failed", "assertion")
    (board,) = run.rows("leaderboard")
    assert board["num_tests"] == 1


PLAIN_STOPS = """
def test_case(ask):
    ask("answer Bern")

def test_plain():
    raise KeyboardInterrupt
"""


def test_an_interrupted_plain_test_is_no_case(suite):
    run = suite(source=PLAIN_STOPS)
    assert set(run.results) == {"test_case"}
    assert run.results["test_case"]["outcome"] == "passed"
