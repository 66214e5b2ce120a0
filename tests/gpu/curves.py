"""Quantities of a fake GPU over time, and what its sensors show of them.

The driver library of the tests computes the same in C; here each integral is found in another way,
so that one is a witness for the other. Times are seconds since the zero of the scenario.
"""

import itertools
import math
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction


def _overlap(a, b, c, d):
    return max(0.0, min(b, d) - max(a, c))


@dataclass(frozen=True, slots=True)
class Constant:
    value: float

    @property
    def text(self):
        return f"const {self.value!r}"

    def at(self, t):
        return self.value

    def integral(self, a, b):
        return self.value * (b - a)


@dataclass(frozen=True, slots=True)
class Sine:
    mean: float
    amplitude: float
    period: float

    @property
    def text(self):
        return f"sine {self.mean!r} {self.amplitude!r} {self.period!r}"

    def at(self, t):
        return self.mean + self.amplitude * math.sin(2 * math.pi * (t % self.period) / self.period)

    def integral(self, a, b):
        """Use the product of two sines, where the library subtracts cosines."""
        x = math.pi / self.period
        wave = math.sin(x * (a + b)) * math.sin(x * (b - a)) / x
        return self.mean * (b - a) + self.amplitude * wave


@dataclass(frozen=True, slots=True)
class Square:
    low: float
    high: float
    period: float
    duty: float

    @property
    def text(self):
        return f"square {self.low!r} {self.high!r} {self.period!r} {self.duty!r}"

    def at(self, t):
        return self.high if t % self.period < self.duty * self.period else self.low

    def integral(self, a, b):
        """Add up the pulses one by one, where the library counts them."""
        if b < a:
            return -self.integral(b, a)
        first, last = math.floor(a / self.period) - 1, math.ceil(b / self.period) + 1
        width = self.duty * self.period
        high = math.fsum(
            _overlap(a, b, k * self.period, k * self.period + width) for k in range(first, last)
        )
        return self.low * (b - a) + (self.high - self.low) * high


class _Points:
    def __init__(self, *points):
        """Take (t, y) pairs in the order of their times."""
        self.points = [(float(t), float(y)) for t, y in points]
        assert self.points == sorted(self.points, key=lambda point: point[0])

    @property
    def text(self):
        return " ".join([self.word, *(f"{t!r} {y!r}" for t, y in self.points)])

    def _place(self, t):
        return bisect_right(self.points, t, key=lambda point: point[0]) - 1

    def integral(self, a, b):
        """Go from point to point, where the library looks up two sums."""
        if b < a:
            return -self.integral(b, a)
        inner = [t for t, _ in self.points if a < t < b]
        edges = [a, *inner, b]
        pieces = itertools.pairwise(edges)
        return math.fsum((d - c) * self.at((c + d) / 2) for c, d in pieces)


class Linear(_Points):
    """Straight lines between the points, the first and last value outside."""

    word = "pwl"

    def at(self, t):
        place = self._place(t)
        if place < 0 or place == len(self.points) - 1:
            return self.points[max(place, 0)][1]
        (t0, y0), (t1, y1) = self.points[place : place + 2]
        return (y0 * (t1 - t) + y1 * (t - t0)) / (t1 - t0)


class Steps(_Points):
    """The value of a point from its time on, the first one also before."""

    word = "steps"

    def at(self, t):
        return self.points[max(self._place(t), 0)][1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """How a GPU shows its power and energy: refreshes and the window in s."""

    power_refresh: float = 0.1
    power_window: float = 0.1
    energy_refresh: float = 0.1
    gain: float = 1.0
    phase: float = 0.0

    @property
    def text(self):
        times = (self.power_refresh, self.power_window, self.energy_refresh)
        return " ".join(map(repr, (*times, self.gain, self.phase)))

    def instant_w(self, curve, t):
        return self._mean_w(curve, t, self.power_window)

    def average_w(self, curve, t):
        return self._mean_w(curve, t, 1.0)

    def shown_at(self, t, refresh):
        """Return when the sensor was last refreshed; decimal numbers are meant as written."""
        step, phase = Fraction(str(refresh)), Fraction(str(self.phase))
        return float((Fraction(str(t)) - phase) // step * step + phase)

    def _mean_w(self, curve, t, window):
        end = self.shown_at(t, self.power_refresh)
        mean = curve.integral(end - window, end) / window if window else curve.at(end)
        return max(0.0, mean * self.gain)
