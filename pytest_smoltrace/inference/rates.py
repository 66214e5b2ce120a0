"""Success rates of two runs, paired by case."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.comparison import Comparison
from pytest_smoltrace.inference.bootstrap import mean_interval
from pytest_smoltrace.inference.detectable import (
    Spread,
    detectable_drop,
    needed_cases,
    needed_trials,
    standard_error,
    t_quantile,
)
from pytest_smoltrace.inference.signflip import drawn_less, exact_less, lattice_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Counts = tuple[int, int]
    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

_LARGEST_LATTICE = 2_000_000


def compare_rates(
    pairs: Sequence[tuple[Counts, Counts]],
    *,
    alpha: float,
    power: float,
    margin: float,
    shift: float = 0.0,
    interval: bool = True,
) -> Comparison:
    """Compare the success rates of a candidate with those of a baseline.

    The unit is the case: d = its rate in the candidate minus its rate in the baseline. A case
    without a trial on either side is left out.

    Args:
        pairs: For each case (successes, trials) of the baseline, then of the candidate.
        alpha: Level of the one-sided test and bound.
        power: Chance with which `detectable` is seen.
        margin: Drop that `needs_cases` and `needs_trials` are told for.
        shift: Gain that the p-value asks for: it is of a candidate at least that much better.
        interval: Whether the 95 % interval is computed, the slowest part.
    """
    table = np.array(pairs, dtype=np.int64).reshape(-1, 4)
    table = table[(table[:, 1] > 0) & (table[:, 3] > 0)]
    if not len(table):
        return _nothing()
    asked = {"alpha": alpha, "power": power, "margin": margin}
    return _compared(table, shift=shift, interval=interval, **asked)


def _compared(
    table: Ints, *, alpha: float, power: float, margin: float, shift: float, interval: bool
) -> Comparison:
    """Return the comparison of rows of successes and trials, those of the baseline first."""
    rates_b, rates_c = table[:, 0] / table[:, 1], table[:, 2] / table[:, 3]
    units, base = _units(table)
    d = np.sort((rates_c - rates_b) if units is None else units / base)
    estimate = math.fsum(d) / len(d)
    spread = _spread(table, d)
    detectable = detectable_drop(spread, alpha=alpha, power=power)
    p_value, method = _p_value(table, d, spread, shift)
    low, high, interval_method = _interval(d, base, spread) if interval else (None, None, "none")
    short = detectable > margin
    asked = {"margin": margin, "alpha": alpha, "power": power}
    return Comparison(
        kind="difference",
        estimate=estimate,
        low=low,
        high=high,
        interval_method=interval_method,
        worst=_worst(estimate, spread, alpha),
        p_value=p_value,
        method=method,
        least_p=0.0 if shift else 2.0 ** -int(np.count_nonzero(d)),
        detectable=detectable,
        cases=len(d),
        baseline_trials=int(table[:, 1].sum()),
        candidate_trials=int(table[:, 3].sum()),
        baseline_value=math.fsum(rates_b) / len(d),
        candidate_value=math.fsum(rates_c) / len(d),
        needs_cases=needed_cases(spread, **asked) if short else None,
        needs_trials=needed_trials(spread, **asked) if short else None,
    )


def _nothing() -> Comparison:
    """Return the comparison of no cases: all is possible."""
    return Comparison(
        kind="difference",
        estimate=0.0,
        low=None,
        high=None,
        interval_method="none",
        worst=-1.0,
        p_value=1.0,
        method="none",
        detectable=1.0,
        cases=0,
        baseline_trials=0,
        candidate_trials=0,
    )


def _spread(table: Ints, d: Floats) -> Spread:
    """Return how the differences vary, and how much of that trials cause."""
    n_b, n_c = table[:, 1], table[:, 3]
    trials = 2 / (1 / float(n_b.mean()) + 1 / float(n_c.mean()))
    variance = float(np.var(d))
    return Spread(
        cases=len(d),
        variance=variance,
        trials=trials,
        pairs=int(np.minimum(n_b, n_c).sum()),
        per_trial=_per_trial(table, variance * trials),
    )


def _per_trial(table: Ints, otherwise: float) -> float:
    """Return the variance that one trial a side causes; of single trials all that there is."""
    repeated = table[(table[:, 1] > 1) & (table[:, 3] > 1)]
    if not len(repeated):
        return otherwise
    c, n = repeated[:, 0::2], repeated[:, 1::2]
    within = c * (n - c) / (n * (n - 1))
    return min(otherwise, float(within.sum(axis=1).mean()))


def _worst(estimate: float, spread: Spread, alpha: float) -> float:
    """Return the one-sided lower bound, no tighter than the rule of three allows."""
    if spread.cases < 2:  # noqa: PLR2004 - a spread takes two
        return -1.0
    reach = t_quantile(1 - alpha, spread.cases - 1) * standard_error(spread)
    return max(-1.0, estimate - max(reach, -math.log(alpha) / spread.pairs))


def _p_value(table: Ints, d: Floats, spread: Spread, shift: float) -> tuple[float, str]:
    """Return the one-sided p-value of a gain of at least `shift`, and the name of its test."""
    if shift:
        return _shifted(d - shift, spread), "t with pseudo-discordance, and sign-flip permutation"
    units, _ = _units(table)
    if units is None or lattice_size(units) > _LARGEST_LATTICE:
        return drawn_less(d), "sign-flip permutation"
    single = bool((table[:, 1::2] == 1).all())
    return exact_less(units), "exact McNemar" if single else "exact sign-flip permutation"


def _shifted(moved: Floats, spread: Spread) -> float:
    """Return the p-value of differences from a gain.

    The larger of two: cases that did not change all lie on one side of a gain, which the signs
    alone take for evidence.
    """
    from scipy.special import stdtr

    if spread.cases < 2:  # noqa: PLR2004 - a spread takes two
        return 1.0
    t = float(moved.mean()) / standard_error(spread)
    return max(drawn_less(moved), float(stdtr(spread.cases - 1, t)))


def _units(table: Ints) -> tuple[Ints | None, int]:
    """Return the differences in units of 1/base, and base; None where the lattice is too fine."""
    base = math.lcm(*np.unique(table[:, 1::2]).tolist())
    if base > _LARGEST_LATTICE:
        return None, base
    shares = table[:, 2] * (base // table[:, 3]) - table[:, 0] * (base // table[:, 1])
    return shares, base


def _interval(d: Floats, base: int, spread: Spread) -> tuple[float | None, float | None, str]:
    """Return the ends of the two-sided 95 % interval within -1 and 1, and its method.

    Resampled in units of 1/base, that are whole: BCa counts the means that equal the one seen,
    and sums of fractions differ by their rounding.
    """
    if spread.cases < 2:  # noqa: PLR2004 - a spread takes two
        return None, None, "none"
    if d[0] == d[-1]:
        reach = t_quantile(0.975, spread.cases - 1) * standard_error(spread)
        low, high, method = d[0] - reach, d[0] + reach, "pseudo-discordance t"
    else:
        whole = base <= _LARGEST_LATTICE
        low, high, method = mean_interval(np.rint(d * base) if whole else d)
        low, high = (low / base, high / base) if whole else (low, high)
    return max(-1.0, float(low)), min(1.0, float(high)), method
