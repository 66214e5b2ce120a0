"""A gate's result before the p-values of all gates are corrected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.comparison import Verdict
from pytest_smoltrace.gates import reasons
from pytest_smoltrace.gates.selectors import RUN_KEYS
from pytest_smoltrace.gates.verdicts import GateResult, Status
from pytest_smoltrace.inference.decision import decide, decide_ratio

if TYPE_CHECKING:
    from pytest_smoltrace.comparison import Comparison
    from pytest_smoltrace.gates.expression import Gate
    from pytest_smoltrace.gates.policy import Policy
    from pytest_smoltrace.measured.session import MeasuredRun

_NEVER = frozenset({Status.PASS, Status.SKIPPED, Status.PARTIAL})
"""Statuses that fail no session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A result, and the comparison that its status still depends on."""

    gate: Gate
    result: GateResult
    notes: tuple[str, ...] = ()
    """What is said of it whatever its status is."""
    min_effect: float = 0.0
    """Drop that an estimate has to exceed to be called a regression."""

    @property
    def p_value(self) -> float | None:
        """p-value of the comparison, None without one."""
        return self.result.comparison.p_value if self.result.comparison else None

    @property
    def kind(self) -> str | None:
        """Kind of the comparison, None without one."""
        return self.result.comparison.kind if self.result.comparison else None

    @property
    def question(self) -> tuple[Any, ...]:
        """What the comparison asks: gates that ask the same are one test."""
        result, metric = self.result, self.gate.metric
        figure = "success_rate" if self.gate.is_no_regressions else metric.column
        chosen = tuple(each for each in self.gate.where if each[0] not in RUN_KEYS)
        return result.run_id, figure, metric.aggregate, chosen, self.p_value

    @property
    def least_p(self) -> float:
        """Smallest p-value that the comparison could have given, 0 where that is unknown."""
        return self.result.comparison.least_p if self.result.comparison else 0.0

    @property
    def is_corrected(self) -> bool:
        """Whether its p-value is one of those that are corrected together."""
        return self.p_value is not None and self.gate.level == "fail"


def drafted(
    gate: Gate,
    run: MeasuredRun | None,
    status: Status = Status.INCONCLUSIVE,
    reason: str | None = None,
    *,
    notes: tuple[str, ...] = (),
    min_effect: float = 0.0,
    **figures: Any,
) -> Draft:
    """Return the draft of a gate for a run; `figures` are further fields of the result."""
    result = GateResult(
        name=gate.name,
        expression=gate.text,
        level=gate.level,
        status=status,
        blocks=False,
        reason=reason,
        run_id=run.run_id if run else None,
        model=run.model if run else None,
        agent_type=run.agent_type if run else None,
        unit=gate.metric.unit,
        **figures,
    )
    return Draft(gate=gate, result=result, notes=notes, min_effect=min_effect)


def settled(draft: Draft, policy: Policy, p_adjusted: float | None) -> GateResult:
    """Return the result of a draft, decided by the corrected p-value where there is one."""
    result = draft.result
    if result.comparison is not None and result.margin is not None:
        result = _decided(draft, result.comparison, result.margin, policy, p_adjusted)
    said = [result.reason] if result.reason else []
    return replace(
        result,
        blocks=blocks(result.status, draft.gate.level, policy),
        reason="; ".join([*said, *draft.notes]) or None,
    )


def blocks(status: Status, level: str, policy: Policy) -> bool:
    """Return whether a status fails the session."""
    if level == "warn" or status in _NEVER:
        return False
    if status is Status.NO_BASELINE:
        return policy.missing_blocks
    return status is not Status.INCONCLUSIVE or policy.inconclusive_blocks


def _decided(
    draft: Draft,
    comparison: Comparison,
    margin: float,
    policy: Policy,
    p_adjusted: float | None,
) -> GateResult:
    alpha = policy.alpha
    if comparison.kind == "ratio":
        verdict = decide_ratio(comparison, factor=margin, alpha=alpha, p_value=p_adjusted)
    else:
        verdict = decide(
            comparison, margin=margin, min_effect=draft.min_effect, alpha=alpha, p_value=p_adjusted
        )
    reason = None
    if verdict is Verdict.INCONCLUSIVE:
        reason = reasons.inconclusive(comparison, margin)
        if p_adjusted is not None and comparison.p_value <= alpha < p_adjusted:
            reason = f"{reasons.corrected(comparison, p_adjusted)}; {reason}"
    elif verdict is Verdict.REGRESSION:
        p = comparison.p_value if p_adjusted is None else p_adjusted
        reason = reasons.regression(comparison, margin, p)
    return replace(draft.result, status=Status(verdict), reason=reason, p_adjusted=p_adjusted)
