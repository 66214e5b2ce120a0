"""Times, tokens, costs and energies of two runs, as ratios paired by case."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean, median
from typing import TYPE_CHECKING, Literal

import numpy as np

from pytest_smoltrace.comparison import Comparison
from pytest_smoltrace.inference.detectable import t_quantile
from pytest_smoltrace.inference.factors import (
    FactorSize,
    cases_for_factor,
    detectable_factor,
    trials_for_factor,
)
from pytest_smoltrace.inference.paired_figures import LARGEST, Figures, log_ratio, width_of
from pytest_smoltrace.inference.resampling import (
    SEED,
    chunks,
    draws_for,
    resampled,
    weighted_quantile,
)
from pytest_smoltrace.inference.signflip import drawn_less

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int32]
    Pairs = Sequence[tuple[Sequence[float], Sequence[float]]]
    Kept = list[tuple[list[float], list[float]]]


def compare_values(
    pairs: Pairs,
    *,
    aggregate: str,
    worse: Literal["higher", "lower"],
    alpha: float,
    power: float,
    factor: float,
    draws: int | None = None,
) -> Comparison:
    """Compare a figure of a candidate with that of a baseline as their ratio.

    The interval and the error are those of the logarithm of the ratio under a bootstrap over
    cases. The p-value of a mean, sum or median is the sign-flip permutation test of the cases'
    log-ratios; of another quantile the permutation test that swaps the two sides of a case.
    A case that lacks one side, or has a figure below 0, is left out.

    Args:
        pairs: For each case the values of the baseline's attempts, then of the candidate's.
        aggregate: mean, median, min, max, sum or pNN.
        worse: Which way is worse.
        alpha: Level of the one-sided test and bound.
        power: Chance with which `detectable` is seen.
        factor: Ratio that is allowed: 1.2 of `<= baseline*1.2`; below 1 where higher is worse
            (above 1 where lower is) it is an improvement that the p-value asks for.
        draws: Resamples and swaps; by default as many as the size allows.
    """
    kept = sorted((sorted(b), sorted(c)) for b, c in pairs if _usable(b) and _usable(c))
    if not kept:
        return _nothing(worse)
    asked = {"factor": factor, "alpha": alpha, "power": power}
    return _compared(Figures.of(kept, aggregate), worse, draws, **asked)


def _compared(
    figures: Figures,
    worse: Literal["higher", "lower"],
    draws: int | None,
    *,
    factor: float,
    alpha: float,
    power: float,
) -> Comparison:
    """Return the comparison of a figure of cases that both sides have."""
    kept = figures.kept
    draws = draws or draws_for(width_of(figures))
    sign = 1.0 if worse == "higher" else -1.0
    limit = sign * math.log(factor)
    p_value, method = _p_value(figures, sign, min(0.0, limit), draws)
    error, ends = _bootstrapped(figures, draws)
    value_b, value_c = figures.as_they_are()
    estimate = float(log_ratio(np.array([value_b]), np.array([value_c]))[0])
    size = FactorSize(
        error=error, cases=len(kept), trials=_trials(kept), by_trials=_by_trials(kept)
    )
    return replace(
        _seen(size, factor=math.exp(limit), alpha=alpha, power=power),
        worse=worse,
        estimate=math.exp(estimate),
        low=None if ends is None else math.exp(ends[0]),
        high=None if ends is None else math.exp(ends[1]),
        interval_method="none" if ends is None else "percentile bootstrap over cases",
        worst=_worst(estimate, sign, size, alpha),
        p_value=p_value,
        method=method,
        baseline_trials=sum(len(b) for b, _ in kept),
        candidate_trials=sum(len(c) for _, c in kept),
        baseline_value=value_b * figures.scale,
        candidate_value=value_c * figures.scale,
    )


def _seen(size: FactorSize, *, factor: float, alpha: float, power: float) -> Comparison:
    """Return a comparison that only tells what it can see, and needs to see a factor."""
    detectable = detectable_factor(size, alpha=alpha, power=power)
    asked = {"factor": factor, "alpha": alpha, "power": power}
    return replace(
        _nothing("higher"),
        cases=size.cases,
        detectable=detectable,
        needs_cases=cases_for_factor(size, **asked) if detectable > factor else None,
        needs_trials=trials_for_factor(size, **asked) if detectable > factor else None,
    )


def _usable(values: Sequence[float]) -> bool:
    """Whether a case has values, all of them finite and none below 0."""
    return bool(values) and all(0 <= value < math.inf for value in values)


def _nothing(worse: Literal["higher", "lower"]) -> Comparison:
    """Return the comparison of no cases: all is possible."""
    return Comparison(
        kind="ratio",
        worse=worse,
        estimate=1.0,
        low=None,
        high=None,
        interval_method="none",
        worst=LARGEST if worse == "higher" else 1 / LARGEST,
        p_value=1.0,
        method="none",
        detectable=math.inf,
        cases=0,
        baseline_trials=0,
        candidate_trials=0,
    )


def _p_value(figures: Figures, sign: float, limit: float, draws: int) -> tuple[float, str]:
    """Return the one-sided p-value of a ratio that is no worse, and the name of its test."""
    if figures.by_case:
        ratios = _case_ratios(figures.kept)
        return drawn_less(limit - sign * ratios), "sign-flip permutation of log-ratios"
    seen = sign * float(figures.log_ratios(np.ones((1, len(figures.kept)), dtype=np.int32))[0])
    swapped = sign * _swapped(figures, draws, math.exp(sign * limit))
    hits = int(np.count_nonzero(swapped >= seen - limit - 1e-9))
    return (hits + 1) / (draws + 1), "permutation that swaps the sides of cases"


def _case_ratios(kept: Kept) -> Floats:
    """Return each case's log-ratio.

    With as many trials on both sides it is that of the medians. Otherwise of the geometric
    means: the median of more trials of a skewed figure lies elsewhere than one trial does.
    A ratio with a 0 on one side counts as the largest one that is finite.
    """
    alike = all(len(b) == len(c) for b, c in kept)
    center = median if alike else fmean
    with np.errstate(invalid="ignore"):
        logs = np.array([[center(map(_log, side)) for side in sides] for sides in kept])
        ratios = np.nan_to_num(logs[:, 1] - logs[:, 0], nan=0.0, posinf=np.inf, neginf=-np.inf)
    finite = np.abs(ratios[np.isfinite(ratios)])
    largest = float(finite.max()) if finite.any() else 1.0
    clipped: Floats = np.clip(ratios, -largest, largest)
    return clipped


def _log(value: float) -> float:
    """Return the natural logarithm, that of 0 as -inf."""
    return math.log(value) if value else -math.inf


def _swapped(figures: Figures, draws: int, factor: float) -> Floats:
    """Return log-ratios of the quantile with the sides of random cases swapped.

    The baseline is first multiplied by `factor`, the ratio of which the p-value is.
    """
    assert figures.q is not None
    sides = (figures.baseline, figures.candidate)
    values = np.concatenate([sides[0].values * factor, sides[1].values])
    case = np.concatenate([side.case for side in sides])
    own = np.repeat([False, True], [side.values.size for side in sides])
    order = np.argsort(values, kind="stable")
    values, case, own = values[order], case[order], own[order]
    rng = np.random.default_rng(SEED)
    found = []
    for rows in chunks(draws, values.size):
        swap = rng.integers(0, 2, (rows, figures.baseline.cases), dtype=np.int8).astype(np.bool_)
        candidate = (own[None, :] ^ swap[:, case]).astype(np.int32)
        high = weighted_quantile(values, candidate, figures.q)
        found.append(log_ratio(weighted_quantile(values, 1 - candidate, figures.q), high))
    return np.concatenate(found)


def _bootstrapped(figures: Figures, draws: int) -> tuple[float, tuple[float, float] | None]:
    """Return the standard error of the log-ratio and the ends of its 95 % interval."""
    cases = len(figures.kept)
    if cases < 2:  # noqa: PLR2004 - a spread takes two
        return math.inf, None
    logs = resampled(figures.log_ratios, cases, width_of(figures), draws)
    low, high = np.quantile(logs, [0.025, 0.975])
    # Resamples of few cases vary less than the cases do.
    return float(logs.std()) * math.sqrt(cases / (cases - 1)), (float(low), float(high))


def _worst(estimate: float, sign: float, size: FactorSize, alpha: float) -> float:
    """Return the one-sided bound towards the worse, within `LARGEST`."""
    bound = math.log(LARGEST)
    if size.cases < 2:  # noqa: PLR2004 - a spread takes two
        return math.exp(sign * bound)
    reach = t_quantile(1 - alpha, size.cases - 1) * size.error
    return math.exp(min(bound, max(-bound, estimate + sign * reach)))


def _trials(kept: Kept) -> float:
    """Return the trials of a case: the harmonic mean of what both sides have on average."""
    sides = (sum(len(b) for b, _ in kept), sum(len(c) for _, c in kept))
    return 2 / sum(len(kept) / side for side in sides)


def _by_trials(kept: Kept) -> float:
    """Return the share of the log-ratios' variance that trials cause; of single ones all."""
    repeated = [(b, c) for b, c in kept if min(len(b), len(c)) > 1 and min(b[0], c[0]) > 0]
    logs = [[np.log(side) for side in sides] for sides in repeated]
    total = float(np.var([c.mean() - b.mean() for b, c in logs])) if logs else 0.0
    if not total:
        return 1.0
    within = np.mean([sum(side.var(ddof=1) / len(side) for side in sides) for sides in logs])
    return min(1.0, float(within) / total)
