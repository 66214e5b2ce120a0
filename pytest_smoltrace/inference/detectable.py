"""How small a drop of a success rate a paired comparison can see, and what it would need."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_CASES = 10_000
MOST_TRIALS = 100
"""What is more is no advice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How the differences of a paired comparison vary over its cases."""

    cases: int
    variance: float
    """Mean squared deviation of the cases' differences from their mean."""
    trials: float
    """Trials of a case: the harmonic mean of what both sides have on average."""
    pairs: int
    """Trials that both sides have, summed over the cases."""
    per_trial: float
    """Part of the variance that trials cause, as it would be with one trial."""


def standard_error(spread: Spread) -> float:
    """Return the standard error of the mean difference.

    One discordant pair of trials is added to the squares (1/k for a case of k trials), so that a
    table without any difference claims no certainty: with it, s² = (Σ(d - mean)² + 1/k) / G.
    """
    added = 1 / (spread.trials * spread.cases)
    return math.sqrt((spread.variance + added) / spread.cases)


def detectable_drop(spread: Spread, *, alpha: float, power: float) -> float:
    """Return the smallest drop that a one-sided test at `alpha` sees with `power`.

    (t(1-alpha) + t(power)) * se, but no less than the drop of a table with just enough discordant
    pairs to be significant (2**-m <= alpha): below it no table rejects. 1.0 when nothing is seen.
    """
    if spread.cases < 2:  # noqa: PLR2004 - a spread takes two
        return 1.0
    reach = t_quantile(1 - alpha, spread.cases - 1) + t_quantile(power, spread.cases - 1)
    fewest = math.ceil(-math.log2(alpha)) / spread.pairs
    return min(1.0, max(reach * standard_error(spread), fewest))


def needed_cases(spread: Spread, *, margin: float, alpha: float, power: float) -> int | None:
    """Return how many cases of the same spread and trials make a drop of `margin` visible."""
    if spread.cases < 2 or margin <= 0:  # noqa: PLR2004 - a spread takes two
        return None
    pairs = spread.pairs / spread.cases

    def seen(cases: int) -> bool:
        larger = replace(spread, cases=cases, pairs=math.floor(pairs * cases))
        return detectable_drop(larger, alpha=alpha, power=power) <= margin

    return first(seen, 2, MOST_CASES)


def needed_trials(spread: Spread, *, margin: float, alpha: float, power: float) -> int | None:
    """Return how many trials of the same cases, on both sides, make a drop of `margin` visible.

    The variance of a difference is what trials cause, which falls with their number, and what
    cases differ by, which stays.
    """
    if spread.cases < 2 or margin <= 0:  # noqa: PLR2004 - a spread takes two
        return None
    stays = max(0.0, spread.variance - spread.per_trial / spread.trials)

    def seen(trials: int) -> bool:
        variance = stays + spread.per_trial / trials
        longer = replace(spread, variance=variance, trials=trials, pairs=trials * spread.cases)
        return detectable_drop(longer, alpha=alpha, power=power) <= margin

    return first(seen, 1, MOST_TRIALS)


def t_quantile(probability: float, df: int) -> float:
    """Return a quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def first(seen: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the smallest number from which on something is seen; None when above `high`."""
    if not seen(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if seen(middle) else (middle + 1, high)
    return low
