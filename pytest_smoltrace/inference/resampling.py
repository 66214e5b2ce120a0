"""Figures of attempts under weights, by which cases are resampled or sides swapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int32]

SEED = 20_260_601
_DRAWS = ((2_000, 4_999), (10_000, 1_999))
_FEWEST_DRAWS = 999
_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Values of attempts in rising order, each with the number of its case."""

    values: Floats
    case: npt.NDArray[np.intp]
    cases: int


def attempts_of(values_by_case: Sequence[Sequence[float]]) -> Attempts:
    """Return the attempts of cases that are numbered in the order given."""
    values = np.concatenate([np.asarray(values, dtype=np.float64) for values in values_by_case])
    case = np.repeat(np.arange(len(values_by_case)), [len(values) for values in values_by_case])
    order = np.argsort(values, kind="stable")
    return Attempts(values=values[order], case=case[order], cases=len(values_by_case))


def quantile(attempts: Attempts, weights: Ints, q: float) -> Floats:
    """Return the quantile `q` (type 7) for each row of weights, one for each case."""
    return weighted_quantile(attempts.values, weights[:, attempts.case], q)


def weighted_quantile(values: Floats, weights: Ints, q: float) -> Floats:
    """Return the quantile `q` (type 7) of rising values that are there `weights` times each."""
    reached = np.cumsum(weights, axis=1, dtype=np.int32)
    last = reached[:, -1] - 1
    place = last * q
    below = np.floor(place).astype(np.int32)
    above = np.minimum(below + 1, last)
    low = values[np.count_nonzero(reached <= below[:, None], axis=1)]
    high = values[np.count_nonzero(reached <= above[:, None], axis=1)]
    found: Floats = low + (place - below) * (high - low)
    return found


def resampled(statistic: Callable[[Ints], Floats], cases: int, width: int, draws: int) -> Floats:
    """Return a statistic of `draws` bootstrap samples of cases, given as weights of the cases."""
    rng = np.random.default_rng(SEED)
    found = []
    for rows in chunks(draws, width):
        picks = rng.integers(0, cases, (rows, cases)) + np.arange(rows)[:, None] * cases
        weights = np.bincount(picks.ravel(), minlength=rows * cases)
        found.append(statistic(weights.reshape(rows, cases).astype(np.int32)))
    return np.concatenate(found)


def draws_for(width: int) -> int:
    """Return how often to draw rows of `width` numbers: less often where a row is dear."""
    return next((draws for limit, draws in _DRAWS if width <= limit), _FEWEST_DRAWS)


def chunks(draws: int, width: int) -> Iterator[int]:
    """Yield row counts that sum to `draws`, each small enough for rows of `width` numbers."""
    rows = max(1, _CHUNK // max(1, width))
    for start in range(0, draws, rows):
        yield min(rows, draws - start)


def quantile_of(aggregate: str) -> float | None:
    """Return the fraction that median, min, max or pNN stands for; None for mean and sum."""
    if aggregate in ("mean", "sum"):
        return None
    named = {"median": 0.5, "min": 0.0, "max": 1.0}
    return named[aggregate] if aggregate in named else float(aggregate.removeprefix("p")) / 100
