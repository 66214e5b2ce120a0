"""Interval of one run's figure, by bootstrap over its cases."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.inference.resampling import attempts_of, draws_for, quantile, quantile_of
from pytest_smoltrace.inference.resampling import resampled as resampled_cases

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt


def interval_of(
    values_by_case: Iterable[Sequence[float]], aggregate: str, *, draws: int | None = None
) -> tuple[float, float] | None:
    """Return the ends of the 95 % percentile interval of an aggregate over all attempts.

    Cases are resampled with all of their attempts. None with fewer than two cases, of which
    nothing can be said; values that are not finite are left out.

    Args:
        values_by_case: The values of each case's attempts.
        aggregate: mean, median, min, max, sum or pNN.
        draws: Resamples; by default as many as the size allows.
    """
    known = ([value for value in values if math.isfinite(value)] for values in values_by_case)
    cases = sorted(sorted(values) for values in known if values)
    if len(cases) < 2:  # noqa: PLR2004 - a spread takes two
        return None
    attempts = attempts_of(cases)
    sums = np.array([[math.fsum(values), len(values)] for values in cases])
    q = quantile_of(aggregate)

    def statistic(weights: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        if q is not None:
            return quantile(attempts, weights, q)
        totals = weights @ sums
        found: npt.NDArray[np.float64] = totals[:, 0]
        return found if aggregate == "sum" else found / totals[:, 1]

    width = attempts.values.size
    found = resampled_cases(statistic, len(cases), width, draws or draws_for(width))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
