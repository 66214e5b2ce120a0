"""Whether a run may take the place of a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_smoltrace.baselines.comparable import match_run
from pytest_smoltrace.comparing.figures import compared_rate, overlap
from pytest_smoltrace.comparison import Verdict
from pytest_smoltrace.config import Judging

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from pytest_smoltrace.measured.session import MeasuredRun, MeasuredSession

_VALID = 0.95
"""Share of completed attempts that have to be scored, as the gate `valid` asks."""
_COMPLETED = "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What speaks against a run as a baseline."""

    against: tuple[str, ...]
    """Reasons not to take it; none for a run that may be trusted."""
    notes: tuple[str, ...]
    """What could not be checked."""


def trust(session: MeasuredSession, old: MeasuredSession | None) -> Trust:
    """Return what speaks against a run as the new baseline.

    Args:
        session: The run.
        old: The baseline that it would replace, None when there is none.
    """
    against = [*_incomplete(session.summary), *_unsound(session)]
    notes: list[str] = []
    for run in session.runs:
        verdict, text = (None, "") if old is None else _worse(run, session, old)
        if verdict is not None:
            (against if verdict is Verdict.REGRESSION else notes).append(text)
    against += _gone(session, old) if old is not None else ()
    return Trust(against=tuple(against), notes=tuple(notes))


def _gone(session: MeasuredSession, old: MeasuredSession) -> Iterator[str]:
    """Yield the runs that a baseline of several has and the new one lacks."""
    new = {(run.model, run.agent_type) for run in session.runs}
    if any((run.model, run.agent_type) in new for run in old.runs):
        for run in old.runs:
            if (run.model, run.agent_type) not in new:
                yield f"{_name(run)}: in the baseline that it would replace, and not in it"


def _incomplete(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield why not all of a run was executed, and whether its gates failed."""
    reason = summary.get("stop_reason")
    if reason != _COMPLETED:
        yield f"it did not come to its end ({reason or 'unknown why'})"
    if (summary.get("gates") or {}).get("status") == "failed":
        yield "its gates failed"


def _unsound(session: MeasuredSession) -> Iterator[str]:
    if not any(run.row.get("num_tests") for run in session.runs):
        yield "none of its cases was scored"
    for run in session.runs:
        row = run.row
        if row.get("run_status") != _COMPLETED and session.summary.get("stop_reason") == _COMPLETED:
            yield f"{_name(run)}: not all of its cases were run"
        scored, completed = row.get("num_tests") or 0, row.get("completed_tests") or 0
        if completed and scored < _VALID * completed:
            yield (
                f"{_name(run)}: only {scored} of {completed} cases could be scored, "
                f"fewer than {_VALID:.0%}"
            )


def _worse(
    run: MeasuredRun, session: MeasuredSession, old: MeasuredSession
) -> tuple[Verdict | None, str]:
    """Return REGRESSION for a run that fell, INCONCLUSIVE for one that cannot be compared."""
    from pytest_smoltrace.inference.decision import decide

    match = match_run(run, session, old)
    if match.run is None or match.mismatches:
        why = "; ".join(each.text for each in match.mismatches)
        return Verdict.INCONCLUSIVE, f"{_name(run)}: not compared with the old baseline: {why}"
    if not overlap(run, match.run).both:
        return Verdict.INCONCLUSIVE, f"{_name(run)}: no case in common with the old baseline"
    asked = Judging()
    found = compared_rate(run, match.run, margin=asked.margin, alpha=asked.alpha, power=asked.power)
    if decide(found, alpha=asked.alpha, margin=asked.margin) is not Verdict.REGRESSION:
        return None, ""
    return Verdict.REGRESSION, (
        f"{_name(run)}: a regression against the baseline that it would replace "
        f"({100 * found.estimate:+.1f}pp over {found.cases} cases, p {found.p_value:.3g})"
    )


def _name(run: MeasuredRun) -> str:
    return f"{run.model or 'no model'}, {run.agent_type or 'no'} agent"
