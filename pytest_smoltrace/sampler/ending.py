"""How the process learns that it shall end: its input is closed, or its parent is gone."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from typing import Any

_INPUT = 0
_CHUNK = 4096
_ASK_NS = 10**9


def order_line() -> bytes:
    """Return the first line of the input; empty when it is closed before its end."""
    text = b""
    while not text.endswith(b"\n"):
        # One byte, since what follows is not ours to take yet.
        byte = _read(1)
        if not byte:
            return b""
        text += byte
    return text


def _read(size: int) -> bytes:
    try:
        return os.read(_INPUT, size)
    except OSError:
        return b""


class Ending:
    """Waits for points in time, and notices meanwhile that the end has come."""

    def __init__(self) -> None:
        self._has_come = False
        # A process forked by the parent may keep the input open when the parent is killed.
        self._parent = os.getppid()

    def on_sigterm(self) -> None:
        """Let SIGTERM mean the end too, so that a last sample is taken."""
        signal.signal(signal.SIGTERM, self._come)

    def _come(self, *_: Any) -> None:
        self._has_come = True

    def wait(self, until_ns: int) -> bool:
        """Wait until then and return whether the end has come."""
        while (left_s := (until_ns - time.monotonic_ns()) / 1e9) > 0:
            if self._has_come:
                time.sleep(left_s)
            else:
                self._listen(left_s)
        if os.getppid() != self._parent:
            self._come()
        return self._has_come

    def _listen(self, timeout_s: float) -> None:
        ready, _, _ = select.select([_INPUT], [], [], timeout_s)
        if ready and not _read(_CHUNK):
            self._come()


class ThreadedEnding(Ending):
    """The same where pipes cannot be waited for with a timeout."""

    def __init__(self) -> None:
        super().__init__()
        self._closed = threading.Event()
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        while _read(_CHUNK):
            pass
        self._closed.set()

    def _listen(self, timeout_s: float) -> None:
        if self._closed.wait(timeout_s):
            self._come()


class LastEnding(Ending):
    """The end that comes when no process holds a lock on a file any more, whoever started this."""

    def __init__(self, members: str) -> None:
        super().__init__()
        self._members = os.open(members, os.O_RDWR)
        self._asked_ns = time.monotonic_ns()

    def wait(self, until_ns: int) -> bool:
        """Wait until then and return whether the end has come."""
        time.sleep(max(0, until_ns - time.monotonic_ns()) / 1e9)
        if until_ns - self._asked_ns > _ASK_NS:
            self._asked_ns = until_ns
            if _is_free(self._members):
                self._come()
        return self._has_come


def _is_free(file: int) -> bool:
    import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def ending(members: str | None = None) -> Ending:
    """Return what this system can wait with."""
    if members is not None:
        return LastEnding(members)
    return ThreadedEnding() if sys.platform == "win32" else Ending()
