"""The sign-flip permutation test of paired differences, exact where they lie on a lattice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pytest_smoltrace.inference.resampling import SEED, chunks

if TYPE_CHECKING:
    import numpy.typing as npt

DRAWS = 9_999
_DIRECT = 2_000


def exact_less(units: npt.NDArray[np.int64]) -> float:
    """Return P(S <= Σ units) where every unit keeps or flips its sign with probability 1/2.

    The distribution of the signed sum is the convolution of one binomial for each distinct size,
    which gives what `scipy.stats.permutation_test` does when it enumerates all 2**n signs.
    """
    sizes, counts = np.unique(np.abs(units[units != 0]), return_counts=True)
    positive = int(units[units > 0].sum())
    if not sizes.size:
        return 1.0
    chances = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        chances = _convolved(chances, _binomial(count, size))
    # The flips with a sum no larger than the one seen have no more on the positive side.
    tail = float(chances[: positive + 1].sum())
    return min(1.0, max(tail, 2.0 ** -int(counts.sum())))


def lattice_size(units: npt.NDArray[np.int64]) -> int:
    """Return how many values the signed sum has at most."""
    return int(np.abs(units).sum()) + 1


def drawn_less(values: npt.NDArray[np.float64], *, draws: int = DRAWS) -> float:
    """Return the one-sided p-value of the mean of `values` being below 0, by random signs.

    All signs are tried where there are no more than `draws`. The values are sorted first, so
    that their order does not matter; sums within rounding of the one seen count as equal.
    """
    values = np.sort(values[values != 0])
    if not values.size:
        return 1.0
    # Flips are counted by what stays positive, half of the signed sum and of the total.
    bound = float(values[values > 0].sum()) + 1e-9 * float(np.abs(values).sum())
    sizes = np.abs(values)
    if values.size <= math.log2(draws):
        every = np.arange(2**values.size)[:, None] >> np.arange(values.size) & 1
        return float(np.mean(every @ sizes <= bound))
    rng = np.random.default_rng(SEED)
    hits = 0
    for rows in chunks(draws, values.size):
        kept = np.frombuffer(rng.bytes(rows * (values.size // 8 + 1)), dtype=np.uint8)
        bits = np.unpackbits(kept.reshape(rows, -1), axis=1, count=values.size)
        hits += int(np.count_nonzero(bits.astype(np.float64) @ sizes <= bound))
    return (hits + 1) / (draws + 1)


def _binomial(count: int, size: int) -> npt.NDArray[np.float64]:
    """Return the chances of `size` times a binomial variable with probability 1/2."""
    steps = np.arange(1, count + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log((count - steps + 1) / steps))])
    chances = np.zeros(count * size + 1)
    chances[::size] = np.exp(logs - count * math.log(2))
    return chances


def _convolved(
    left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the convolution, through the frequencies where both are long."""
    if min(left.size, right.size) <= _DIRECT:
        return np.convolve(left, right)
    length = left.size + right.size - 1
    product = np.fft.rfft(left, length) * np.fft.rfft(right, length)
    return np.maximum(np.fft.irfft(product, length), 0.0)
