"""Judges a session by its gates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.baselines.comparable import match_run
from pytest_smoltrace.comparing.flips import flips
from pytest_smoltrace.errors import JournalError
from pytest_smoltrace.gates import regression, threshold
from pytest_smoltrace.gates.draft import Draft, drafted, settled
from pytest_smoltrace.gates.matter import Matter
from pytest_smoltrace.gates.selecting import of_runs, unmatched
from pytest_smoltrace.gates.verdicts import BaselineUsed, Judgement, Status
from pytest_smoltrace.inference.holm import holm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_smoltrace.baselines.match import Match
    from pytest_smoltrace.baselines.reference import Found
    from pytest_smoltrace.gates.expression import Gate
    from pytest_smoltrace.gates.policy import Policy
    from pytest_smoltrace.measured.session import MeasuredRun, MeasuredSession


def evaluate(
    policy: Policy, candidate: MeasuredSession, found: Found | None, *, partial: str | None = None
) -> Judgement:
    """Return what the gates of a policy come to for a session."""
    session = found.session if found is not None else None
    matches = _matches(policy, candidate, session)
    matters = _Matters(policy=policy, found=found, matches=matches, partial=partial)
    drafts = [d for gate in policy.gates for d in _of_gate(gate, candidate.runs, matters)]
    corrected = _corrected(drafts, policy.alpha)
    return Judgement(
        results=tuple(
            settled(draft, policy, p) for draft, p in zip(drafts, corrected, strict=True)
        ),
        baseline=_used(found, matches.values()),
        flips=_flips(candidate, session, matches),
        partial=partial,
        compared=_compared(candidate, session),
        gate_only=policy.gate_only,
        alpha=policy.alpha,
        power=policy.power,
    )


def _matches(
    policy: Policy, candidate: MeasuredSession, session: MeasuredSession | None
) -> dict[str, Match]:
    if session is None:
        return {}
    return {
        run.run_id: match_run(run, candidate, session, policy.allow_mismatch)
        for run in candidate.runs
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matters:
    """What is the same for every gate."""

    policy: Policy
    found: Found | None
    matches: Mapping[str, Match]
    """Run id -> what of the baseline it is compared with."""
    partial: str | None

    def of(self, gate: Gate, run: MeasuredRun) -> Matter:
        """Return what a gate looks at for a run."""
        return Matter(
            gate=gate,
            policy=self.policy,
            run=run,
            found=self.found,
            match=self.matches.get(run.run_id),
            partial=self.partial,
            gone=self._gone(),
        )

    def _gone(self) -> tuple[str, ...]:
        """Return the runs of the baseline that no run of the session is compared with."""
        session = self.found.session if self.found else None
        matched = {match.run.run_id for match in self.matches.values() if match.run}
        return tuple(
            f"{run.model or 'no model'}, {run.agent_type or 'no'} agent"
            for run in (session.runs if session else ())
            if run.run_id not in matched
        )


def _of_gate(gate: Gate, runs: Sequence[MeasuredRun], matters: _Matters) -> Iterator[Draft]:
    """Yield the draft of a gate for every run that it is about."""
    about = of_runs(gate.where, runs)
    if not about:
        reason = unmatched(gate.where, runs) if runs else "no case was run"
        yield drafted(gate, None, Status.NOT_MEASURED, reason)
    yield from (_of_run(matters.of(gate, run)) for run in about)


def _of_run(matter: Matter) -> Draft:
    gate = matter.gate
    if gate.metric.column == "coverage":
        return regression.coverage(matter)
    if not matter.ours.table.num_rows and not matter.replayed:
        reason = unmatched(gate.where, [matter.run]) if gate.where else "no case was run"
        return drafted(gate, matter.run, Status.NOT_MEASURED, reason)
    if gate.metric.table == "leaderboard" and matter.row_selectors:
        chosen = ", ".join(matter.row_selectors)
        reason = f"{gate.metric.column} is a figure of whole runs, not of {chosen}"
        return drafted(gate, matter.run, Status.NOT_MEASURED, reason)
    relative = gate.limit.of_baseline or gate.is_no_regressions
    return regression.judged(matter) if relative else threshold.judged(matter)


def _corrected(drafts: Sequence[Draft], alpha: float) -> list[float | None]:
    """Return the p-values of the drafts, Holm's correction made over those that can fail.

    Rates are a family of their own, so that limits on times and costs do not hide what the agent
    gets wrong. A comparison that several gates make counts once.
    """
    found = [draft.p_value for draft in drafts]
    for kind in ("difference", "ratio"):
        family: dict[Any, list[int]] = {}
        for place, draft in enumerate(drafts):
            if draft.is_corrected and draft.kind == kind:
                family.setdefault(draft.question, []).append(place)
        first = [drafts[places[0]] for places in family.values()]
        p_values = [draft.p_value or 0.0 for draft in first]
        adjusted = holm(p_values, [draft.least_p for draft in first], alpha=alpha)
        for places, value in zip(family.values(), adjusted, strict=True):
            for place in places:
                found[place] = value
    return found


def _used(found: Found | None, matches: Iterable[Match]) -> BaselineUsed | None:
    if found is None:
        return None
    session, every = found.session, [*matches]
    return BaselineUsed(
        reference=found.reference,
        session_id=session.session_id if session else None,
        place=session.place if session else None,
        missing=found.missing,
        mismatches=_texts(each for m in every for each in m.differences),
        allowed=_texts(each for m in every for each in m.allowed),
    )


def _texts(mismatches: Iterable[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.text for each in mismatches))


def _flips(
    candidate: MeasuredSession, session: MeasuredSession | None, matches: Mapping[str, Match]
) -> tuple[Mapping[str, Any], ...]:
    """Return the cases that changed; without their traces where those cannot be read."""
    if session is None:
        return ()
    pairs = [
        (run, match.run) for run in candidate.runs if (match := matches[run.run_id]).run is not None
    ]
    try:
        found = flips(pairs, candidate, session)
    except JournalError:
        found = flips(pairs, *(replace(side, directory=None) for side in (candidate, session)))
    return tuple(flip.as_dict() for flip in found)


def _compared(candidate: MeasuredSession, session: MeasuredSession | None) -> dict[str, int]:
    """Return how many cases each side has, and both."""
    if session is None:
        return {}
    ours, theirs = (_cases(side) for side in (candidate, session))
    return {"candidate": len(ours), "baseline": len(theirs), "both": len(ours & theirs)}


def _cases(session: MeasuredSession) -> set[str]:
    return {case for run in session.runs for case in run.attempts["case_id"].to_pylist()}
