"""Gates that are functions of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pytest_smoltrace.gates.verdicts import GateResult, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_smoltrace.measured.session import MeasuredSession

OwnGate: TypeAlias = "Callable[[MeasuredSession, MeasuredSession | None], tuple[bool, str]]"
"""Is given the judged session and its baseline; returns whether it passes, and why."""


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
        passed, reason = function(candidate, baseline)
    except Exception as error:  # noqa: BLE001 - code of the user's
        return Status.ERROR, f"{type(error).__name__}: {error}".partition("\n")[0]
    return (Status.PASS if passed else Status.FAIL), str(reason) or None
