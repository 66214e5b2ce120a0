"""When samples are due: at fixed times, however long each takes."""

from __future__ import annotations


class Schedule:
    """Ticks at started + k * period; whole periods that passed unused are missed."""

    def __init__(self, started_ns: int, period_ns: int) -> None:
        self.started_ns = started_ns
        self.period_ns = period_ns
        self.missed = 0
        self._next = 0

    @property
    def due_ns(self) -> int:
        """Return when the next tick is due."""
        return self.started_ns + self._next * self.period_ns

    def take(self, now_ns: int) -> int:
        """Return the number of the tick to take now, the latest that is due."""
        tick = max(self._next, (now_ns - self.started_ns) // self.period_ns)
        self.missed += tick - self._next
        self._next = tick + 1
        return tick


class Every:
    """What happens at one tick of several, later when that one was missed."""

    def __init__(self, interval_ns: int, period_ns: int) -> None:
        self._ticks = max(1, round(interval_ns / period_ns))
        self._next = 0

    def is_due(self, tick: int) -> bool:
        """Return whether it is this tick's turn, which then counts as used."""
        if tick < self._next:
            return False
        self._next = tick - tick % self._ticks + self._ticks
        return True
