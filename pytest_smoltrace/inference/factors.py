"""How small a worsening of a ratio a paired comparison can see, and what it would need."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pytest_smoltrace.inference.detectable import MOST_CASES, MOST_TRIALS, first, t_quantile

_LARGEST_EXPONENT = 700.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorSize:
    """How well the logarithm of a ratio is known, and from how much."""

    error: float
    """Standard error of the logarithm."""
    cases: int
    trials: float
    """Trials of a case: the harmonic mean of what both sides have on average."""
    by_trials: float
    """Share of the squared error that more trials would lower."""


def detectable_factor(size: FactorSize, *, alpha: float, power: float) -> float:
    """Return the smallest factor above 1 that is seen with `power`; inf when none is."""
    if size.cases < 2:  # noqa: PLR2004 - a spread takes two
        return math.inf
    reach = t_quantile(1 - alpha, size.cases - 1) + t_quantile(power, size.cases - 1)
    exponent = reach * size.error
    return math.exp(exponent) if exponent < _LARGEST_EXPONENT else math.inf


def cases_for_factor(size: FactorSize, *, factor: float, alpha: float, power: float) -> int | None:
    """Return how many cases of the same spread make `factor` visible."""
    if size.cases < 2 or factor <= 1:  # noqa: PLR2004 - a spread takes two
        return None

    def seen(cases: int) -> bool:
        error = size.error * math.sqrt(size.cases / cases)
        larger = replace(size, cases=cases, error=error)
        return detectable_factor(larger, alpha=alpha, power=power) <= factor

    return first(seen, 2, MOST_CASES)


def trials_for_factor(size: FactorSize, *, factor: float, alpha: float, power: float) -> int | None:
    """Return how many trials of the same cases, on both sides, make `factor` visible."""
    if size.cases < 2 or factor <= 1:  # noqa: PLR2004 - a spread takes two
        return None

    def seen(trials: int) -> bool:
        share = 1 - size.by_trials + size.by_trials * size.trials / trials
        longer = replace(size, error=size.error * math.sqrt(share))
        return detectable_factor(longer, alpha=alpha, power=power) <= factor

    return first(seen, 1, MOST_TRIALS)
