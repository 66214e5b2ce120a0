"""What this process uses while a case runs, about each second, seen by one thread."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from dataclasses import dataclass, field

from pytest_smoltrace.capture.resident import resident_mib
from pytest_smoltrace.presence import clock_id

MOST = 600
"""Ticks that are kept of a case; of more, each second one goes."""
_PERIOD_NS = 1_000_000_000
_LEAST_S, _MOST_S = 0.01, 1.0
"""Pauses of the thread: no pause at all would be left to it where a test holds the clock, and a
case that begins while it waits is due after a whole period at the earliest."""
_JOIN_S = 2.0
_FORK_WARNS = sys.version_info >= (3, 12)
"""Whether Python warns whoever forks a process that has threads."""


@dataclass(slots=True, eq=False)
class Use:
    """What the process has used since a case began."""

    began_ns: int
    cpu_began_s: float
    period_ns: int = _PERIOD_NS
    due_ns: int = 0
    ticks: list[tuple[int, float, float | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.due_ns = self.began_ns + self.period_ns

    def cpu_s(self) -> float:
        """Return the CPU time of the process since the case began."""
        return time.process_time() - self.cpu_began_s

    def tick(self, now_ns: int) -> None:
        """Note what is used now, and when that is due again; whole periods may be missed."""
        self.ticks.append((now_ns, self.cpu_s(), resident_mib()))
        if len(self.ticks) > MOST:
            self.ticks[:] = self.ticks[1::2]
            self.period_ns *= 2
        periods = (now_ns - self.began_ns) // self.period_ns + 1
        self.due_ns = self.began_ns + periods * self.period_ns


class ProcessTicks:
    """The ticks of the cases of one process, one case at a time.

    Its thread is gone while the process forks. On a Python that would warn of it, it comes back
    with the next case, unless other threads are there to be warned of anyway.
    """

    def __init__(self) -> None:
        self.clock = clock_id()
        self._case: Use | None = None
        self._started = self._forks = self._is_hooked = False
        self._thread: threading.Thread | None = None
        # Its lock is never held while Python code runs, which may be interrupted anywhere.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin to look at the clock."""
        if not self._is_hooked and hasattr(os, "register_at_fork"):
            self._is_hooked = True
            os.register_at_fork(before=self._before_fork, after_in_parent=self._after_fork)
        self._started = True
        self._begin_thread()

    def stop(self) -> None:
        """End the thread."""
        self._started = False
        self._end_thread()

    def begin(self) -> Use:
        """Begin a case."""
        if self._thread is None and self._started:
            self._begin_thread()
        self._case = case = Use(time.monotonic_ns(), time.process_time())
        return case

    def end(self, case: Use) -> tuple[tuple[int, float, float | None], ...]:
        """End a case and return its ticks."""
        self._case = None
        return tuple(case.ticks)

    def _begin_thread(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="smoltrace-ticks", daemon=True)
        self._thread.start()

    def _end_thread(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._wake.put(None)
            thread.join(_JOIN_S)

    def _watch(self) -> None:
        pause_s = _MOST_S
        while True:
            try:
                self._wake.get(timeout=pause_s)
            except queue.Empty:
                pause_s = self._look()
            else:
                return

    def _look(self) -> float:
        """Tick if one is due, and return how long to wait."""
        case, now_ns = self._case, time.monotonic_ns()
        if case is None:
            return _MOST_S
        if now_ns >= case.due_ns:
            case.tick(now_ns)
        return min(max((case.due_ns - now_ns) / 1e9, _LEAST_S), _MOST_S)

    def _before_fork(self) -> None:
        if self._thread is not None:
            self._forks = True
            self._end_thread()

    def _after_fork(self) -> None:
        if self._forks and not (_FORK_WARNS and threading.active_count() == 1):
            self._forks = False
            self._begin_thread()
