"""The figure of two sides of the same cases, under weights of the cases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.inference.resampling import Attempts, attempts_of, quantile, quantile_of

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int32]
    Kept = list[tuple[list[float], list[float]]]

LARGEST = 1e6
"""Ratio that stands for one with 0 below it; its inverse for one with 0 above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The aggregate of both sides under weights of the cases."""

    kept: Kept
    means: Floats
    """For each case the mean of either side."""
    q: float | None
    """Fraction of the quantile; None where the aggregate is the mean over cases."""
    scale: int
    """What the aggregate has to be multiplied by: the number of cases for a sum."""
    by_case: bool
    """Whether the test is of the cases' log-ratios."""
    baseline: Attempts
    candidate: Attempts

    @classmethod
    def of(cls, kept: Kept, aggregate: str) -> Figures:
        """Return the figures of an aggregate."""
        return cls(
            kept=kept,
            means=np.array([[math.fsum(side) / len(side) for side in sides] for sides in kept]),
            q=quantile_of(aggregate),
            scale=len(kept) if aggregate == "sum" else 1,
            by_case=aggregate in ("mean", "sum", "median"),
            baseline=attempts_of([b for b, _ in kept]),
            candidate=attempts_of([c for _, c in kept]),
        )

    def log_ratios(self, weights: Ints) -> Floats:
        """Return the logarithm of candidate over baseline for each row of weights."""
        return log_ratio(*self.both(weights))

    def as_they_are(self) -> tuple[float, float]:
        """Return the figure of the baseline and of the candidate."""
        baseline, candidate = self.both(np.ones((1, len(self.kept)), dtype=np.int32))
        return float(baseline[0]), float(candidate[0])

    def both(self, weights: Ints) -> tuple[Floats, Floats]:
        """Return the figure of either side for each row of weights."""
        if self.q is not None:
            baseline = quantile(self.baseline, weights, self.q)
            return baseline, quantile(self.candidate, weights, self.q)
        found = (weights @ self.means) / weights.sum(axis=1, keepdims=True)
        return found[:, 0], found[:, 1]


def width_of(figures: Figures) -> int:
    """Return the numbers that one row of weights takes."""
    return max(figures.baseline.values.size, figures.candidate.values.size)


def log_ratio(baseline: Floats, candidate: Floats) -> Floats:
    """Return ln(candidate / baseline), 0 where both are 0, held within that of `LARGEST`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(candidate) - np.log(baseline)
    bound = math.log(LARGEST)
    held: Floats = np.clip(np.nan_to_num(logs, nan=0.0, posinf=bound, neginf=-bound), -bound, bound)
    return held
