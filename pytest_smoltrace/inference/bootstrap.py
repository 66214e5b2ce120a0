"""Bootstrap over cases; the seed is fixed, so that the same data give the same interval."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.inference.resampling import SEED

if TYPE_CHECKING:
    import numpy.typing as npt

RESAMPLES = 9_999
_FEWER = 1_999
_MANY_CASES = 1_000
_CHUNK = 4_000_000


def mean_interval(values: npt.NDArray[np.float64]) -> tuple[float, float, str]:
    """Return the 95 % BCa interval of the mean of sorted values, percentile where that fails."""
    from scipy.stats import bootstrap

    ends = None
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # SciPy warns of a degenerate BCa interval and tells NaN
            found = bootstrap(
                (values,),
                np.mean,
                vectorized=True,
                method=method,
                n_resamples=resamples(values.size),
                batch=max(1, _CHUNK // values.size),
                rng=np.random.default_rng(SEED),
            )
        ends = found.confidence_interval
        if math.isfinite(ends.low) and math.isfinite(ends.high):
            break
    assert ends is not None
    return float(ends.low), float(ends.high), f"{method} bootstrap over cases"


def resamples(cases: int) -> int:
    """Return how often to resample: less often where many cases make each resample dear."""
    return RESAMPLES if cases <= _MANY_CASES else _FEWER
