"""Places at an endpoint that the processes of one host take and give back."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from pathlib import Path

    from filelock import BaseFileLock

Key: TypeAlias = tuple[int, str, int]
"""Process, endpoint and number of a place: nothing is inherited by a fork."""


class Slot:
    """One place at an endpoint, held until it is released or its process ends."""

    __slots__ = ("__weakref__", "_free", "_key", "_lock", "held")

    def __init__(self, key: Key, lock: BaseFileLock | None, free: dict[Key, BaseFileLock]) -> None:
        self._key = key
        self._lock = lock
        self._free = free
        self.held = True

    def release(self) -> None:
        """Give the place back; once is enough."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with contextlib.suppress(OSError):
                lock.release()
                self._free[self._key] = lock
        self.held = False


class Slots:
    """The places of every endpoint: one locked file each, which the kernel unlocks on death."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self._lock = threading.Lock()
        self._free: dict[Key, BaseFileLock] = {}
        """Locks that this process does not hold; making one takes as long as locking it."""
        # Weak: what a case that was cut off left behind is free again.
        self._mine: WeakValueDictionary[Key, Slot] = WeakValueDictionary()
        self._last: dict[str, int] = {}

    def try_take(self, endpoint: str, limit: int) -> Slot | None:
        """Return one of the endpoint's `limit` places; None when all are taken."""
        name, process = digest(endpoint), os.getpid()
        with self._lock:
            first = self._last.get(name, 0)  # most likely free: this process was the last there
            for number in range(first, first + limit):
                key = (process, name, number % limit)
                slot = None if self._is_mine(key) else self._take(key)
                if slot is not None:
                    self._mine[key] = slot
                    self._last[name] = key[2]
                    return slot
        return None

    def _is_mine(self, key: Key) -> bool:
        slot = self._mine.get(key)
        return slot is not None and slot.held

    def _take(self, key: Key) -> Slot | None:
        from filelock import Timeout

        if not os.path.isdir(self._directory):  # noqa: PTH112 - each microsecond delays a request
            # filelock would make the directory again, without what was in it.
            return Slot(key, None, self._free)
        lock = self._free.pop(key, None) or self._file_lock(key)
        try:
            lock.acquire()
        except Timeout:
            self._free[key] = lock
            return None
        except OSError:
            # Where no file can be locked, the processes do not see each other; each of them
            # still holds to the limit.
            return Slot(key, None, self._free)
        return Slot(key, lock, self._free)

    def _file_lock(self, key: Key) -> BaseFileLock:
        return file_lock(f"{self._directory}{os.sep}slot-{key[1]}-{key[2]}.lock", timeout=0)


def file_lock(path: str | Path, *, timeout: float) -> BaseFileLock:
    """Return a kernel lock that any thread may release."""
    from filelock import FileLock  # tens of ms to import, which no inactive session pays

    return FileLock(path, timeout=timeout, thread_local=False)


def digest(name: str) -> str:
    """Return a short name for a file."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
