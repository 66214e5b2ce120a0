"""Gates that are functions of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_smoltrace.gates.verdicts import GateResult, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_smoltrace.measured.session import MeasuredSession

OwnGate: TypeAlias = "Callable[[MeasuredSession, MeasuredSession | None], tuple[bool, str]]"
"""Is given the judged session and its baseline; returns whether it passes, and why."""
_PARTS = 2
_BOOLS = ("bool", "bool_")
"""Types of a verdict: Python's and NumPy's, whose name depends on its version."""
_SHOWN = 80


def evaluate_own(
    name: str,
    function: OwnGate,
    candidate: MeasuredSession,
    baseline: MeasuredSession | None,
) -> GateResult:
    """Return what a gate comes to that is a function; one that raises is an error, and fails."""
    status, reason = _called(function, candidate, baseline)
    return GateResult(
        name=name,
        expression=getattr(function, "__name__", name),
        level="fail",
        status=status,
        blocks=status is not Status.PASS,
        reason=reason,
    )


def _called(
    function: OwnGate, candidate: MeasuredSession, baseline: MeasuredSession | None
) -> tuple[Status, str | None]:
    try:
        found: Any = function(candidate, baseline)
    except BaseException as error:  # what pytest.fail raises is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return Status.ERROR, f"{type(error).__name__}: {_first_line(error)}".rstrip(": ")
    if not isinstance(found, tuple) or len(found) != _PARTS or not isinstance(found[1], str):
        shown = repr(found).partition("\n")[0][:_SHOWN]
        return Status.ERROR, f"returned {shown}; a gate function returns (passed, reason)"
    passed, reason = found
    if type(passed).__name__ not in _BOOLS:
        return Status.ERROR, f"returned {passed!r} as verdict; a gate function returns a bool"
    return (Status.PASS if passed else Status.FAIL), reason or None


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "")
