"""What gates came to: one result a gate and run, and the judgement of a session."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_smoltrace.comparison import Comparison


class Status(StrEnum):
    """Outcome of one gate for one run."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    REGRESSION = "REGRESSION"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_MEASURED = "NOT_MEASURED"
    """No attempt knows the metric."""
    TOO_FEW = "TOO_FEW"
    """Fewer cases than the gate asks for."""
    NO_BASELINE = "NO_BASELINE"
    INCOMPARABLE = "INCOMPARABLE"
    """The baseline measured something else."""
    SHRUNKEN = "SHRUNKEN"
    """Cases of the baseline are gone from the suite."""
    PARTIAL = "PARTIAL"
    """Only part of the suite was selected, or run."""
    SKIPPED = "SKIPPED"
    """Replayed timings and costs say nothing."""
    ERROR = "ERROR"
    """A gate of the user's own raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate, judged for one run (a model and an agent type)."""

    name: str
    expression: str
    level: str
    status: Status
    blocks: bool
    """Whether it fails the session."""
    reason: str | None = None
    """Why, where the status alone does not say."""
    run_id: str | None = None
    model: str | None = None
    agent_type: str | None = None
    unit: str = ""
    value: float | None = None
    """The candidate's figure in the unit of its column, over the compared cases where there is
    a baseline."""
    low: float | None = None
    """Lower end of the 95 % interval of `value`, where there is one."""
    high: float | None = None
    limit: float | None = None
    baseline: float | None = None
    """The baseline's figure over the same cases."""
    cases: int = 0
    attempts: int = 0
    """Attempts behind `value`."""
    comparison: Comparison | None = None
    p_adjusted: float | None = None
    """p-value after Holm's correction over the gates that have one."""
    margin: float | None = None
    """Margin of the comparison: a fraction of success, or a factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineUsed:
    """The baseline of a judgement."""

    reference: str
    """As it was asked for."""
    session_id: str | None = None
    place: str | None = None
    """Where it was found."""
    missing: str | None = None
    """Why there is none."""
    mismatches: tuple[str, ...] = ()
    """What differs so that figures cannot be compared, as `model (a and b)`."""
    allowed: tuple[str, ...] = ()
    """Differences of the same kind that the user allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """All gates of a session."""

    results: tuple[GateResult, ...]
    baseline: BaselineUsed | None = None
    flips: tuple[Mapping[str, Any], ...] = ()
    """Cases whose rate of success changed, as `comparing.flips.Flip.as_dict` gives them."""
    partial: str | None = None
    """Why only part of the suite was compared; None when all of it was."""
    compared: Mapping[str, int] = field(default_factory=dict)
    """candidate, baseline and both: numbers of cases."""
    gate_only: bool = False
    alpha: float = 0.05
    power: float = 0.8

    @property
    def passed(self) -> bool:
        """Whether no gate fails the session."""
        return not any(result.blocks for result in self.results)

    @property
    def status(self) -> str:
        """`failed`, `warned` (a gate is not green and does not block) or `passed`."""
        if not self.passed:
            return "failed"
        clean = all(r.status in (Status.PASS, Status.SKIPPED) for r in self.results)
        return "passed" if clean else "warned"

    def as_dict(self) -> dict[str, Any]:
        """Return the value of gates.json."""
        return {"status": self.status, **asdict(self)}
