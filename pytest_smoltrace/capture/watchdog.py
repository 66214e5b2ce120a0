"""A thread that waits for deadlines and interrupts whoever is over one.

The main thread is interrupted by a signal, which ends a sleep, a wait for a lock and a read of a
socket alike; another thread gets an exception as soon as it runs Python code again. Neither is
interrupted while it takes or gives back a lock: nobody else would ever get that lock.
"""

from __future__ import annotations

import ctypes
import inspect
import queue
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

NUDGE_S = 0.5
"""Pause before an interrupt is repeated: the first may have met a handler that swallows all."""
_SOON_S = 0.01
_OFTEN, _MOST = 50, 500
"""How often the main thread is spared, and another one before the checks get rarer."""
_LOCKING = frozenset(
    {
        *("acquire", "release", "__enter__", "__exit__", "__del__"),
        *("_acquireLock", "_releaseLock", "_acquire_restore", "_release_save"),
    }
)
"""Functions in which a lock is held that no `finally` gives back yet."""
_IMPORTS = "<frozen importlib"
_DEBUGGERS = ("bdb", "pydevd")
_JOIN_S = 2.0
_PACKAGE = __file__.removesuffix("watchdog.py")


class LimitReached(BaseException):
    """Raised inside what is over its limit; no Exception, so that no retry swallows it."""


@dataclass(slots=True, kw_only=True, eq=False)
class Deadline:
    """A moment by which one thread has to be done with something."""

    thread_id: int
    at: float
    """Moment on the monotonic clock of the next interrupt."""
    armed: bool = True
    expired: bool = False
    where: str | None = None
    """Code that was running when the interrupt came."""
    spared: int = 0
    """How often the interrupt was put off because the thread was at a lock."""
    on_expiry: Callable[[], None] | None = field(default=None, repr=False)
    """What frees a thread that no signal reaches from a wait."""
    left_behind: threading.Thread | None = None
    """The thread that is to end, where nobody waits for it any more."""


class Watchdog:
    """The deadlines of one process; its thread starts with the first one."""

    def __init__(self) -> None:
        self.paused = False
        """True while a person debugs: nothing is interrupted."""
        self._deadlines: list[Deadline] = []
        # No lock: an interrupt may hit the main thread anywhere, also while it held one.
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._next = float("inf")
        self._thread: threading.Thread | None = None
        self._signal = _free_signal()
        self._handler_before: Any = None

    def arm(self, deadline: Deadline) -> None:
        """Begin to watch a deadline."""
        self._deadlines.append(deadline)
        if self._thread is None:
            self._begin()
        if deadline.at < self._next:
            self._wake.put(True)

    def disarm(self, deadline: Deadline) -> None:
        """Forget a deadline; no interrupt of it comes after this."""
        self._forget(deadline)
        if deadline.expired and deadline.thread_id != threading.main_thread().ident:
            _raise_in(deadline.thread_id, None)

    def end(self, thread: threading.Thread) -> None:
        """Let a thread that nobody waits for end as soon as it runs Python code again."""
        if thread.ident is not None:
            at = time.monotonic()
            self.arm(Deadline(thread_id=thread.ident, at=at, left_behind=thread))

    def start(self) -> None:
        """Take the signal; only the main thread can."""
        if self._signal is not None and threading.current_thread() is threading.main_thread():
            self._handler_before = signal.signal(self._signal, self._interrupt)

    def stop(self) -> None:
        """End the thread and give the signal back."""
        if self._thread is not None:
            self._wake.put(False)
            self._thread.join(_JOIN_S)
            self._thread = None
        self._deadlines.clear()
        if self._signal is not None and self._handler_before is not None:
            signal.signal(self._signal, self._handler_before)
            self._handler_before = None

    def _forget(self, deadline: Deadline) -> None:
        deadline.armed = False
        if deadline in self._deadlines:
            self._deadlines.remove(deadline)

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="smoltrace-watchdog", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while True:
            # From here on every new deadline wakes this thread, until it knows the next moment.
            self._next = float("inf")
            now = time.monotonic()
            armed = [one for one in list(self._deadlines) if one.armed]
            for one in armed:
                if one.at <= now:
                    self._expire(one, now)
            moment = self._next = min((one.at for one in armed), default=float("inf"))
            try:
                pause = None if moment == float("inf") else max(moment - now, 0.0)
                if not self._wake.get(timeout=pause):
                    return
            except queue.Empty:
                continue

    def _expire(self, deadline: Deadline, now: float) -> None:
        deadline.at = now + NUDGE_S
        thread = deadline.left_behind
        if thread is not None and not thread.is_alive():  # its number may be another one's now
            self._forget(deadline)
            return
        if self.paused:
            return
        first, deadline.expired = not deadline.expired, True
        if deadline.thread_id != threading.main_thread().ident or self._handler_before is None:
            self._interrupt_other(deadline, now)
            if first and deadline.on_expiry is not None:
                deadline.on_expiry()
        elif self._signal is not None:
            signal.pthread_kill(deadline.thread_id, self._signal)

    def _interrupt_other(self, deadline: Deadline, now: float) -> None:
        """Raise in another thread, where that leaves no lock behind."""
        # This thread got the interpreter just now and keeps it for some milliseconds: what is
        # seen here is still so when the exception is set.
        frame = sys._current_frames().get(deadline.thread_id)  # noqa: SLF001
        if frame is None or _is_locking(frame) or _is_threading(frame):
            deadline.spared += 1
            if deadline.spared < _MOST:
                deadline.at = now + _SOON_S
            return
        _raise_in(deadline.thread_id, LimitReached)
        if deadline.left_behind is not None:
            self._forget(deadline)

    def _interrupt(self, _signum: int, frame: FrameType | None) -> None:
        """Raise in the main thread, unless what was over its limit has ended meanwhile."""
        main = threading.main_thread().ident
        due = [d for d in self._deadlines if d.armed and d.expired and d.thread_id == main]
        if not due or self.paused or _is_debugged():
            return
        if frame is not None and _is_locking(frame) and due[0].spared < _OFTEN:
            due[0].spared += 1
            due[0].at = time.monotonic() + _SOON_S
            self._wake.put(True)
            return
        for deadline in due:
            deadline.where = deadline.where or place_of(frame)
        raise LimitReached


def place_of(frame: FrameType | None) -> str | None:
    """Return the innermost function that is running and the user's line that led there."""
    if frame is None:
        return None
    inner = frame
    user: FrameType | None = frame
    while user is not None and _is_library(user):
        user = user.f_back
    told = [_told(inner)] if inner is not user else []
    return ", called from ".join(told + ([_told(user)] if user is not None else []))


def _told(frame: FrameType) -> str:
    code = frame.f_code
    name = code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{code.co_name} ({name}:{frame.f_lineno})"


def _is_library(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith((sys.prefix, sys.base_prefix, "<frozen", _PACKAGE))


def _is_locking(frame: FrameType) -> bool:
    code = frame.f_code
    return code.co_name in _LOCKING or code.co_filename.startswith(_IMPORTS)


def _is_threading(frame: FrameType) -> bool:
    """Return whether a thread begins, ends or waits for another one."""
    return frame.f_code.co_filename == threading.__file__


def _is_debugged() -> bool:
    tracer = sys.gettrace()
    module = inspect.getmodule(tracer) if tracer is not None else None
    return module is not None and module.__name__.startswith(_DEBUGGERS)


def _free_signal() -> int | None:
    """Return a signal that nobody else uses; None where threads cannot be signalled."""
    if not hasattr(signal, "pthread_kill"):
        return None
    real_time = getattr(signal, "SIGRTMIN", None)
    return int(real_time) + 11 if real_time is not None else int(signal.SIGUSR2)


def _raise_in(thread_id: int, kind: type[BaseException] | None) -> None:
    raised = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), raised)
