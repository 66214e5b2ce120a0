"""Cases whose rate of success changed from one session to another, and where traces part."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pytest_smoltrace.comparing.divergence import Divergence, divergence
from pytest_smoltrace.comparing.pairing import Case, Trial, cases_of
from pytest_smoltrace.comparing.stored_steps import stored_steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_smoltrace.comparing.steps import Step
    from pytest_smoltrace.measured.session import MeasuredRun, MeasuredSession

Kind = Literal["newly failing", "worse", "better", "newly passing"]

EXPLAINED = 50
"""Flips, the worst, whose traces are read."""
_ORDER: tuple[Kind, ...] = ("newly failing", "worse", "better", "newly passing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one session says of a case."""

    passed: int
    trials: int
    """Counted trials that were scored."""
    trial: int
    """Number of the trial that shows the change."""
    trace_id: str | None
    error_type: str | None
    error: str | None
    tokens: float | None
    """Mean of the trials, as are the two below; None where no trial knows it."""
    cost_usd: float | None
    duration_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """One case whose rate of success changed.

    `as_dict` gives these keys, and with them gates.json and the reports:

    - case_id, nodeid (of the trial that is shown), model and agent_type (of the candidate),
      run_id (of the candidate's run)
    - kind: newly failing (the majority of trials passed before and does not now), worse, better,
      newly passing
    - baseline, candidate: objects of passed, trials, trial, trace_id, error_type, error, tokens,
      cost_usd, duration_ms (`Side`); `trial` and `trace_id` are of the attempt that was compared,
      a failing one of the worse side and a passing one of the other
    - baseline_trace_id, candidate_trace_id: the same trace ids
    - rate_delta: rate of success, candidate minus baseline, as a fraction
    - tokens_delta, cost_usd_delta, duration_ms_delta: means over the trials, candidate minus
      baseline, null where a side is unknown
    - divergence: null, or an object of what, text (one line for people), step, same_steps, keys,
      baseline and candidate (the two steps: kind, name, arguments, result, error, number, agent,
      tokens, cost_usd, duration_ms; null where that side had stopped), tokens_delta,
      cost_usd_delta and duration_ms_delta of the two traces
    - reason: why there is no divergence, null where there is one
    """

    case_id: str
    nodeid: str | None
    run_id: str
    model: str | None
    agent_type: str | None
    kind: Kind
    baseline: Side
    candidate: Side
    divergence: Divergence | None = None
    reason: str | None = None
    """Why there is no divergence."""

    @property
    def rate_delta(self) -> float:
        """Rate of success, candidate minus baseline, as a fraction."""
        return _rate(self.candidate) - _rate(self.baseline)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        before, now = self.baseline, self.candidate
        return {
            **asdict(replace(self, divergence=None)),
            "divergence": self.divergence and self.divergence.as_dict(),
            "baseline_trace_id": before.trace_id,
            "candidate_trace_id": now.trace_id,
            "rate_delta": self.rate_delta,
            "tokens_delta": _minus(now.tokens, before.tokens),
            "cost_usd_delta": _minus(now.cost_usd, before.cost_usd),
            "duration_ms_delta": _minus(now.duration_ms, before.duration_ms),
        }


def flips(
    pairs: Iterable[tuple[MeasuredRun, MeasuredRun]],
    candidate: MeasuredSession,
    baseline: MeasuredSession,
) -> tuple[Flip, ...]:
    """Return the changed cases of pairs of runs, the candidate's first, the worst case first.

    Raises:
        JournalError: Traces that are there cannot be read.
    """
    found = [flip for now, before in pairs for flip in _of_run(now, before)]
    found.sort(key=lambda f: (_ORDER.index(f.kind), f.rate_delta, f.case_id, f.run_id))
    explained = list(_explained(found[:EXPLAINED], candidate, baseline))
    rest = (
        replace(flip, reason=f"only the first {EXPLAINED} are compared step by step")
        for flip in found[EXPLAINED:]
    )
    return (*explained, *rest)


def _of_run(now: MeasuredRun, before: MeasuredRun) -> Iterator[Flip]:
    """Yield the changed cases of a pair of runs."""
    old = cases_of(before)
    for case_id, case in cases_of(now).items():
        if case_id in old and case.rate != old[case_id].rate:
            yield _flip(now, case, old[case_id])


def _flip(run: MeasuredRun, now: Case, before: Case) -> Flip:
    worse = now.rate < before.rate
    trial, earlier = _shown(now.of(passed=not worse), before.of(passed=worse))
    half = 0.5
    crossed = (now.rate > half) != (before.rate > half)
    kinds: tuple[Kind, Kind] = (
        ("newly failing", "newly passing") if crossed else ("worse", "better")
    )
    return Flip(
        case_id=now.case_id,
        nodeid=trial.nodeid or earlier.nodeid,
        run_id=run.run_id,
        model=run.model,
        agent_type=run.agent_type,
        kind=kinds[0] if worse else kinds[1],
        baseline=_side(before, earlier),
        candidate=_side(now, trial),
    )


def _shown(now: Sequence[Trial], before: Sequence[Trial]) -> tuple[Trial, Trial]:
    """Return the two attempts that show a change: the nearest trials, then the first."""
    pairs = ((one, other) for one in now for other in before)
    return min(pairs, key=lambda p: (abs(p[0].number - p[1].number), p[0].number, p[1].number))


def _side(case: Case, shown: Trial) -> Side:
    return Side(
        passed=case.passed,
        trials=len(case.trials),
        trial=shown.number,
        trace_id=shown.trace_id,
        error_type=shown.error_type,
        error=shown.error,
        tokens=_mean(t.tokens for t in case.trials),
        cost_usd=_mean(t.cost_usd for t in case.trials),
        duration_ms=_mean(t.duration_ms for t in case.trials),
    )


def _explained(
    found: Sequence[Flip], candidate: MeasuredSession, baseline: MeasuredSession
) -> Iterator[Flip]:
    """Yield the flips with the step where their traces part."""
    now = _steps(candidate, (flip.candidate.trace_id for flip in found))
    before = _steps(baseline, (flip.baseline.trace_id for flip in found))
    for flip in found:
        one, other = (
            before.get(flip.baseline.trace_id or ""),
            now.get(flip.candidate.trace_id or ""),
        )
        reason = _missing(baseline, one, "baseline") or _missing(candidate, other, "candidate")
        parted = None if reason else divergence(one or (), other or ())
        if not reason and parted is None:
            reason = "both did the same, step by step"
        yield replace(flip, divergence=parted, reason=reason)


def _steps(
    session: MeasuredSession, trace_ids: Iterable[str | None]
) -> Mapping[str, tuple[Step, ...]]:
    wanted = {trace_id for trace_id in trace_ids if trace_id}
    return stored_steps(session.directory, wanted) if session.directory and wanted else {}


def _missing(session: MeasuredSession, steps: tuple[Step, ...] | None, side: str) -> str | None:
    """Return why there are no steps to compare, None where there are."""
    if session.directory is None:
        return f"the {side} has no traces"
    if steps is None:
        return f"the trace of the {side} is not stored"
    return None if steps else f"the trace of the {side} has no steps"


def _rate(side: Side) -> float:
    return side.passed / side.trials


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
