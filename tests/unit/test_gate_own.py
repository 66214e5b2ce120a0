"""Gates that are functions of the user's own."""

import numpy as np
import pytest
from _pytest.outcomes import fail

from pytest_smoltrace.gates.own import evaluate_own
from tests.unit.measured_factory import cases, stored

CANDIDATE, BASELINE = stored(cases(1, 2)), stored(cases(2, 2), session_id="base")


def own(function, baseline=None):
    result = evaluate_own("mine", function, CANDIDATE, baseline)
    return result.status.value, result.blocks, result.reason


def test_a_function_sees_both_sessions():
    def check(candidate, baseline):
        return candidate is CANDIDATE and baseline is BASELINE, "seen"

    assert own(check, BASELINE) == ("PASS", False, "seen")
    assert own(check) == ("FAIL", True, "seen")
    assert evaluate_own("mine", check, CANDIDATE, None).expression == "check"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((True, ""), ("PASS", False, None)),
        ((np.bool_(False), "low"), ("FAIL", True, "low")),
        (True, ("ERROR", True, "returned True; a gate function returns (passed, reason)")),
        (None, ("ERROR", True, "returned None; a gate function returns (passed, reason)")),
        (
            (True, 1),
            ("ERROR", True, "returned (True, 1); a gate function returns (passed, reason)"),
        ),
        (
            (0.3, "x"),
            ("ERROR", True, "returned 0.3 as verdict; a gate function returns a bool"),
        ),
    ],
)
def test_what_a_function_returns(value, expected):
    assert own(lambda candidate, baseline: value) == expected


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (AssertionError("\nrate 0.3\n + more"), "AssertionError: rate 0.3"),
        (ValueError(), "ValueError"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_a_function_that_raises_is_an_error_of_one_line(error, reason):
    def check(candidate, baseline):
        raise error

    assert own(check) == ("ERROR", True, reason)


def test_a_function_may_use_pytest_fail():
    assert own(lambda candidate, baseline: fail("too slow")) == ("ERROR", True, "Failed: too slow")


def test_ctrl_c_is_handed_on():
    def check(candidate, baseline):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        own(check)
