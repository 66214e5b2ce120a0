"""What a paired comparison of two runs found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Verdict(StrEnum):
    """What a comparison with a margin comes to."""

    PASS = "PASS"  # noqa: S105 - no password
    REGRESSION = "REGRESSION"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidate against baseline over the cases that both have, paired by case.

    `kind` difference: fractions of success, candidate minus baseline, -1 to 1, a drop is worse.
    `kind` ratio: candidate over baseline of a figure above 0; `worse` says which way is worse.
    """

    kind: Literal["difference", "ratio"]
    worse: Literal["lower", "higher"] = "lower"
    estimate: float
    low: float | None
    """Lower end of the two-sided 95 % interval; None where there is none."""
    high: float | None
    interval_method: str
    worst: float
    """One-sided bound at level 1 - alpha towards the worse: no worse than this, as far as is
    known."""
    p_value: float
    """One-sided, of a candidate that is no worse than the baseline."""
    method: str
    """Test that gave the p-value."""
    least_p: float = 0.0
    """Smallest p-value that the test could have given, had all that differs differed for the
    worse; 0 where it is not known."""
    detectable: float
    """Smallest worsening that a comparison of this size sees with the asked power: a fraction
    above 0 of the difference, a factor above 1 of the ratio (inf: none)."""
    cases: int
    baseline_trials: int
    candidate_trials: int
    baseline_value: float | None = None
    """The baseline's figure over the paired cases: a rate as fraction, else in the column's
    unit."""
    candidate_value: float | None = None
    needs_cases: int | None = None
    """Cases that would be enough for the margin with as many trials; None when no number is, or
    only one that nobody would run."""
    needs_trials: int | None = None
    """Trials of each case that would be enough; None likewise."""
