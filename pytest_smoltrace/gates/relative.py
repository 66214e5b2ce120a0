"""Limits that a baseline gives: what a comparison is asked, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_smoltrace.gates.figures import scale_of, tested_shares
from pytest_smoltrace.inference.rates import compare_rates
from pytest_smoltrace.inference.ratios import compare_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_smoltrace.comparison import Comparison
    from pytest_smoltrace.gates.expression import Gate
    from pytest_smoltrace.gates.policy import Policy
    from pytest_smoltrace.measured.population import Population

_DIGITS = 9
"""Decimals of a margin: a limit of 2 pp stays one after a subtraction."""
_DOWN, _UP = frozenset({"<", "<="}), frozenset({">", ">="})


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a comparison is asked."""

    margin: float
    """Drop that is tolerated, or the factor that is allowed."""
    min_effect: float = 0.0
    shift: float = 0.0
    """Gain that is asked for."""


def rate_question(gate: Gate, baseline: float, policy: Policy) -> Question:
    """Return what the difference of two rates is asked; `baseline` is in the unit of the rate."""
    limit = gate.limit.value(baseline)
    asked = 0.0 if limit is None or gate.is_no_regressions else limit - baseline
    gain = round(asked / scale_of(gate.metric), _DIGITS)
    gain = -gain if gate.operator in _DOWN else gain
    if gain == 0:
        return Question(margin=policy.margin)
    return Question(margin=-gain, min_effect=-gain, shift=max(0.0, gain))


def compared_rates(
    gate: Gate, both: tuple[Population, Population], k: int, question: Question, policy: Policy
) -> Comparison | None:
    """Compare a rate of the candidate with that of the baseline, None where there is no test."""
    if not _is_towards_better(gate):
        return None
    ours, theirs = (tested_shares(gate.metric, rows, k) for rows in both)
    if ours is None or theirs is None:
        return None
    turned = gate.operator in _DOWN
    pairs = [
        (_turned(theirs[case], turned=turned), _turned(ours[case], turned=turned))
        for case in ours
        if case in theirs
    ]
    return compare_rates(
        pairs,
        alpha=policy.alpha,
        power=policy.power,
        margin=question.margin,
        shift=question.shift,
    )


def _turned(counts: tuple[int, int], *, turned: bool) -> tuple[int, int]:
    """Return counts of which more is better."""
    had, trials = counts
    return (trials - had, trials) if turned else counts


def _is_towards_better(gate: Gate) -> bool:
    """Return whether the limit is on the worse side of a rate."""
    if gate.is_no_regressions:
        return True
    return gate.operator in (_UP if gate.metric.better == "higher" else _DOWN)


def value_question(gate: Gate, baseline: float) -> Question | None:
    """Return what the ratio of two figures is asked, None where there is no such ratio."""
    limit = gate.limit.value(baseline)
    if gate.operator == "==" or limit is None or limit <= 0 or baseline <= 0:
        return None
    return Question(margin=round(limit / baseline, _DIGITS))


def compared_values(
    gate: Gate,
    ours: Mapping[str, Sequence[float]],
    theirs: Mapping[str, Sequence[float]],
    question: Question,
    policy: Policy,
) -> Comparison:
    """Compare a figure of the candidate with that of the baseline over the cases of both."""
    worse: Literal["higher", "lower"] = "higher" if gate.operator in _DOWN else "lower"
    return compare_values(
        [(theirs[case], ours[case]) for case in ours],
        aggregate=gate.metric.aggregate or "mean",
        worse=worse,
        alpha=policy.alpha,
        power=policy.power,
        factor=question.margin,
    )
