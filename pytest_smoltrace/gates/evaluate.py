"""Judges a session by its gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_smoltrace.baselines.reference import Found
    from pytest_smoltrace.gates.policy import Policy
    from pytest_smoltrace.gates.verdicts import Judgement
    from pytest_smoltrace.measured.session import MeasuredSession


def evaluate(
    policy: Policy, candidate: MeasuredSession, found: Found | None, *, partial: str | None = None
) -> Judgement:
    """Return what the gates of a policy come to for a session."""
    raise NotImplementedError
