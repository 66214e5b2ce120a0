"""Intervals, percentiles and pass@k, from the standard library alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Z_95 = 1.959964
"""Two-sided 95 % quantile of the normal distribution, as the field contract writes it."""

_Z_EXACT = 1.959963984540054
_CONFIDENCE = 0.95
_EXPANSION_DF = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A 95 % interval of a rate; both ends are fractions from 0 to 1."""

    low: float
    high: float
    method: str
    """wilson, cluster_t or wilson_cases."""


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Return the ends of the 95 % Wilson score interval of `successes` out of `n`."""
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"no Wilson interval for {successes} of {n}")
    p = successes / n
    z2 = Z_95 * Z_95
    center = p + z2 / (2 * n)
    spread = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    scale = 1 + z2 / n
    return max(0.0, (center - spread) / scale), min(1.0, (center + spread) / scale)


def percentile(values: Iterable[float], q: float) -> float | None:
    """Return the quantile `q` (0 to 1) of `values` by linear interpolation (type 7)."""
    if not 0 <= q <= 1:
        raise ValueError(f"q is {q}, not a fraction from 0 to 1")
    ordered = sorted(values)
    if not ordered:
        return None
    h = (len(ordered) - 1) * q
    below = math.floor(h)
    if below == h:  # what is next to it may be infinite
        return ordered[below]
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (h - below) * (ordered[above] - ordered[below])


def pass_at_k(n: int, c: int, k: int) -> float | None:
    """Return the chance that one of `k` of `n` trials passes, `c` passed; None when n < k."""
    _check_trials(n, c, k)
    return 1 - math.comb(n - c, k) / math.comb(n, k) if n >= k else None


def pass_hat_k(n: int, c: int, k: int) -> float | None:
    """Return the chance that `k` of `n` trials all pass, `c` passed; None when n < k."""
    _check_trials(n, c, k)
    return math.comb(c, k) / math.comb(n, k) if n >= k else None


def cluster_interval(counts: Sequence[tuple[int, int]]) -> Interval:
    """Return the 95 % interval of Σc/Σn over cases, each given as (successes c, trials n).

    One trial a case is `wilson`. With several trials the standard error is clustered by
    case (`cluster_t`); where that error is 0 or there is one case, the cases take the
    place of the trials (`wilson_cases`).
    """
    cases = len(counts)
    successes, trials = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    if any(n < 1 or not 0 <= c <= n for c, n in counts) or not counts:
        raise ValueError("every case needs at least one trial and 0 <= successes <= trials")
    if all(n == 1 for _, n in counts):
        return _interval(wilson(successes, trials), "wilson")
    p = successes / trials
    # In integers a case that sits exactly on the mean adds exactly 0 to the error.
    squares = sum((c * trials - successes * n) ** 2 for c, n in counts)
    if cases == 1 or squares == 0:
        return _interval(wilson(cases * p, cases), "wilson_cases")
    error = math.sqrt(cases / (cases - 1) * squares) / trials / trials
    spread = student_t_95(cases - 1) * error
    return _interval((max(0.0, p - spread), min(1.0, p + spread)), "cluster_t")


def student_t_95(df: int) -> float:
    """Return the two-sided 95 % quantile of Student's t for a whole number of degrees of freedom.

    Below 200 degrees the finite series of the distribution (Abramowitz and Stegun 26.7.3,
    26.7.4) is inverted by bisection over theta = atan(t / sqrt(df)); from 200 on the
    expansion in 1/df (26.7.5) is exact to 1e-11.
    """
    if df < 1:
        raise ValueError(f"{df} degrees of freedom")
    if df >= _EXPANSION_DF:
        return _t_expanded(df)
    theta = _bisect(lambda angle: _t_probability(angle, df) - _CONFIDENCE, 0.0, math.pi / 2)
    return math.sqrt(df) * math.tan(theta)


def _t_probability(theta: float, df: int) -> float:
    """Return P(|T| <= sqrt(df) * tan(theta))."""
    cosine = math.cos(theta)
    odd = df % 2
    term = math.sin(theta) * (cosine if odd else 1.0)
    total = term if df > 1 else 0.0
    for step in range(3 if odd else 2, df - 1, 2):
        term *= cosine * cosine * (step - 1) / step
        total += term
    return 2 / math.pi * (theta + total) if odd else total


def _t_expanded(df: int) -> float:
    """Return the two-sided 95 % quantile by its expansion in 1/df."""
    z = _Z_EXACT
    terms: tuple[float, ...] = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / df**power for power, term in enumerate(terms))


def _bisect(rising: Callable[[float], float], low: float, high: float) -> float:
    """Return the root of a rising function between `low` and `high` to the last bit."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return middle


def _interval(ends: tuple[float, float], method: str) -> Interval:
    """Name the ends and the method of an interval."""
    return Interval(low=ends[0], high=ends[1], method=method)


def _check_trials(n: int, c: int, k: int) -> None:
    """Refuse counts that cannot be."""
    if not 0 <= c <= n or k < 1:
        raise ValueError(f"{c} of {n} trials, k = {k}")
