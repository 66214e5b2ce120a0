"""Time limits beside other things that interrupt: debuggers, pytest-timeout, a user's own alarm."""

import os
import sys

import pytest

from pytest_smoltrace.recorder import is_untraced
from tests.unit.run_factory import agent_run, record

TIMED = """
import signal, time
import pytest

@pytest.mark.smoltrace(timeout=0.5)
def test_limited(smoltrace_case):
    time.sleep(30)

def test_alarm_of_the_users_own():
    hit = []
    before = signal.signal(signal.SIGALRM, lambda *_: hit.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(0.2)
    signal.signal(signal.SIGALRM, before)
    assert hit
"""


def test_the_limit_leaves_the_alarm_to_the_user(suite):
    run = suite(source=TIMED)
    assert run.outcomes == {"test_limited": ("failed", "timeout")}
    run.result.assert_outcomes(failed=1, passed=1)


def test_the_marker_comes_before_the_option(suite):
    source = """
    import time
    import pytest

    @pytest.mark.smoltrace(timeout=30)
    def test_longer(smoltrace_case):
        time.sleep(0.6)

    def test_option(smoltrace_case):
        time.sleep(30)
    """
    run = suite("--smoltrace-case-timeout=0.3", source=source)
    assert run.outcomes == {"test_longer": ("passed", None), "test_option": ("failed", "timeout")}
    assert "limit of 0.3 s (--smoltrace-case-timeout)" in run.results["test_option"]["error"]
    (row,) = run.rows("leaderboard")
    assert (row["task_timeout_s"], row["timed_out_tests"]) == (0.3, 1)


def test_fixtures_are_not_limited(suite):
    source = """
    import time
    import pytest

    @pytest.fixture
    def slow():
        time.sleep(0.6)
        yield
        time.sleep(0.6)

    @pytest.mark.smoltrace(timeout=0.3)
    def test_it(smoltrace_case, slow):
        pass
    """
    assert suite(source=source).outcomes == {"test_it": ("passed", None)}


def test_the_failure_is_one_clear_line(suite):
    run = suite(source=TIMED)
    shown = run.out.partition("= FAILURES =")[2].partition("= smoltrace =")[0]
    lines = [line for line in shown.splitlines() if line.strip("=_ ") and "___" not in line]
    assert len(lines) == 1, shown
    assert lines[0].startswith("the case ran longer than its limit of 0.5 s (the marker's timeout)")


UNITTEST = """
import time
import unittest
import pytest

@pytest.mark.smoltrace
class TestIt(unittest.TestCase):
    def test_it(self):
        time.sleep(30)
"""
SUBTESTS = """
import time
import pytest

@pytest.mark.smoltrace
def test_it(subtests):
    for number in range(2):
        with subtests.test(number=number):
            time.sleep(30)
"""
needs_subtests = pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="needs pytest 9")


@pytest.mark.parametrize("source", [UNITTEST, pytest.param(SUBTESTS, marks=needs_subtests)])
def test_who_reports_errors_itself_is_told_of_the_limit_too(suite, source):
    run = suite("--smoltrace-case-timeout=0.3", source=source)
    (row,) = run.rows("results")
    assert (row["outcome"], row["error_type"]) == ("failed", "timeout"), run.out
    assert row["error"].startswith("the case ran longer than its limit of 0.3 s"), run.out


def test_no_signal_handler_stays_behind(suite):
    conftest = """
import signal

def handlers():
    return {number: signal.getsignal(number) for number in signal.valid_signals()}

BEFORE = handlers()

def after():
    changed = {n for n, handler in handlers().items() if handler != BEFORE[n]}
    print("HANDLERS", sorted(changed))

@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    config.add_cleanup(after)  # of all cleanups, the first is the last to run
"""
    run = suite("-s", source=TIMED, conftest=conftest)
    assert "HANDLERS []" in run.out


def test_nothing_is_interrupted_while_somebody_debugs(suite, pytester):
    source = """
    import time
    import pytest

    @pytest.mark.smoltrace(timeout=0.5)
    def test_it(smoltrace_case):
        breakpoint()
        time.sleep(0.1)
    """
    suite("--collect-only", source=source)  # writes the files
    typed = b"import time; time.sleep(1.5)\np 6 * 7\nc\n"
    flags = ("-s", "-p", "no:cacheprovider", "--smoltrace-model=scripted:m")
    result = pytester.run(sys.executable, "-m", "pytest", *flags, stdin=typed)
    assert "42" in result.stdout.str()
    result.assert_outcomes(passed=1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_is_left_alone(suite):
    source = """
    import os, time
    import pytest

    @pytest.mark.smoltrace(timeout=5)
    def test_it(smoltrace_case):
        child = os.fork()
        if child == 0:
            time.sleep(0.2)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    """
    assert suite(source=source).outcomes == {"test_it": ("passed", None)}


@pytest.mark.parametrize(("reason", "untraced"), [("final_answer", True), ("timeout", False)])
def test_an_agent_that_a_limit_met_before_its_span_is_no_sign_of_lost_spans(reason, untraced):
    case = record(runs=(agent_run(stop_reason=reason),), calls=())
    assert is_untraced(case) is untraced
