"""The file of a journal: lines that are whole, at their place, and on the disk when they must be.

A write reaches the kernel at once, so that the death of this process loses nothing of it; what a
failure of power loses is a question of `fsync`.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson

from pytest_smoltrace.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

if sys.platform != "win32":
    import fcntl

INTERVAL_S = 1.0
"""Shortest time between two syncs of the policy `interval`."""
_CUT = b"\0\n"
"""Ends what a failed write left of a line: no whole line ends so."""
_SPANS = b'{"k":"spans"'
_COPY_BYTES = 1 << 20
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_force = getattr(os, "fdatasync", os.fsync)  # macOS and Windows have fsync alone


class JournalFile:
    """The open file of one journal, which this process alone writes."""

    def __init__(self, path: Path, fsync: str = "off") -> None:
        self.path = path
        self.restored = False
        """Whether the file had gone from its place and was written there again."""
        self.adrift: str | None = None
        """Why the file, gone from its place, cannot be written there again; None when it is there.

        What is written meanwhile is kept as long as the file is open.
        """
        self.unsynced: str | None = None
        """Why the disk may not have everything; None when nothing speaks against it."""
        self._fsync = fsync
        self._fd: int | None = None
        self._place = path.absolute()  # a test may change the working directory
        self._identity = (0, 0)
        self._watched = False
        self._size = 0
        self._torn = False
        self._synced_s = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether lines can be written."""
        return self._fd is not None

    def create(self, header: bytes) -> None:
        """Make the directory and the file with its first line; OSError when that cannot be."""
        directory = self._place.parent
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir()
        self._take(os.open(self._place, _flags(os.O_CREAT | os.O_EXCL), 0o644))
        try:
            self._put(header)
        except OSError:
            self._give_back()
            self._place.unlink()
            directory.rmdir()
            raise
        self.sync()
        self._sync_directories()

    def reopen(self, size: int) -> None:
        """Go on with a file that has been read, on a line of its own.

        Args:
            size: Bytes that it had then.

        Raises:
            ConfigError: Another process writes it.
            OSError: It cannot be written.
        """
        self._take(os.open(self._place, _flags()))
        if self._size != size:
            self._give_back()
            raise self._still_runs()
        tail = _last_line(self._descriptor)
        # What a cut left must not join the next line, nor spans the next case.
        self._torn = tail.startswith(_SPANS) or not (tail.endswith(b"\n") or is_json(tail))
        if not (self._torn or tail.endswith(b"\n")):
            self._put(b"\n")

    def append(self, data: bytes, *, durable: bool = False) -> None:
        """Write lines; OSError when they could not be written, and nothing of them counts then.

        Args:
            data: Whole lines.
            durable: Whether the policy `interval` is to think of them.
        """
        self._put(data)
        self.keep_place()
        if durable and (self._fsync == "case" or self._is_due()):
            self.sync()

    def sync(self) -> None:
        """Wait until the disk has everything, unless the policy is `off`."""
        if self._fsync == "off":
            return
        try:
            _force(self._descriptor)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                self._fsync = "off"
            else:
                self.unsynced = self.unsynced or error.strerror
        self._synced_s = time.monotonic()

    def _sync_directories(self) -> None:
        """Wait until the disk has the names of the file and its directories, where one can."""
        if self._fsync == "off":
            return
        for directory in list(self._place.parents)[:3]:
            _sync_directory(directory)

    def close(self) -> None:
        """Give the file back."""
        self.keep_place()
        self.sync()
        self._give_back()

    @property
    def _descriptor(self) -> int:
        if self._fd is None:
            raise OSError(errno.EBADF, "the journal is closed")
        return self._fd

    def _take(self, fd: int) -> None:
        """Go on with this descriptor."""
        self._fd = fd
        self._lock()
        found = os.fstat(fd)
        self._identity, self._size = (found.st_dev, found.st_ino), found.st_size
        # Some network file systems show a new file late: there its place says nothing.
        self._watched = self._is_in_place()

    def _give_back(self) -> None:
        fd, self._fd = self._descriptor, None
        try:
            os.close(fd)
        except OSError as error:  # where writes are delayed, as on NFS
            self.unsynced = self.unsynced or error.strerror

    def _lock(self) -> None:
        """Keep others from writing this journal until it is closed; ConfigError when one does."""
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._give_back()
            raise self._still_runs() from error
        except OSError:
            return  # a file system without locks

    def _still_runs(self) -> ConfigError:
        name = self.path.parent.name
        return ConfigError(f"run {name!r} still runs: another process writes its journal")

    def _put(self, data: bytes) -> None:
        fd, torn, done = self._descriptor, self._torn, 0
        if torn:
            data = _CUT + data
        try:
            while done < len(data):
                self._torn = True
                done += os.write(fd, data[done:] if done else data)
            self._torn = False
            self._size += done
        except OSError:
            if self._take_back(done):
                self._torn = torn
            raise

    def _take_back(self, done: int) -> bool:
        """Remove the part that was written: what comes next may be short and need its room."""
        try:
            mine = os.fstat(self._descriptor).st_size == self._size + done
            if mine:
                os.ftruncate(self._descriptor, self._size)
        except OSError:
            return False
        return mine

    def _is_due(self) -> bool:
        return self._fsync == "interval" and time.monotonic() - self._synced_s >= INTERVAL_S

    def _is_in_place(self) -> bool:
        """Return whether the path still leads to the file that is written."""
        try:
            found = self._place.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # it cannot be seen now
        # A file system without lasting inode numbers shows at least the bytes just written.
        return (found.st_dev, found.st_ino) == self._identity or found.st_size == self._size

    def keep_place(self) -> None:
        """Write the journal again when its directory was removed or moved."""
        if not self._watched or self._is_in_place():
            return
        try:
            self._restore()
        except OSError as error:
            self.adrift = error.strerror or str(error)
        else:
            self.adrift, self.restored = None, True

    def _restore(self) -> None:
        self._place.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._place.with_name(f".{self._place.name}.{os.getpid()}.tmp")
        fd = os.open(temporary, _flags(os.O_CREAT | os.O_TRUNC), 0o644)
        try:
            self._copy(fd)
            if not self._is_free():
                raise FileExistsError(errno.EEXIST, "another file has taken its place")
            temporary.replace(self._place)
        except OSError:
            os.close(fd)
            temporary.unlink(missing_ok=True)
            raise
        os.close(self._descriptor)
        self._take(fd)
        self.sync()
        self._sync_directories()

    def _read(self, start: int, size: int) -> bytes:
        os.lseek(self._descriptor, start, os.SEEK_SET)
        return os.read(self._descriptor, size)

    def _copy(self, target: int) -> None:
        for start in range(0, os.fstat(self._descriptor).st_size, _COPY_BYTES):
            data = self._read(start, _COPY_BYTES)
            while data:
                data = data[os.write(target, data) :]

    def _is_free(self) -> bool:
        """Return whether nothing is at the place, or an older copy of this journal."""
        try:
            with self._place.open("rb") as other:
                start = 0
                while data := other.read(_COPY_BYTES):
                    if data != self._read(start, len(data)):
                        return False
                    start += len(data)
        except FileNotFoundError:
            return True
        return True


def _flags(more: int = 0) -> int:
    return os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0) | more


def _sync_directory(directory: Path) -> None:
    with suppress(OSError):  # Windows opens no directory
        fd = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _last_line(fd: int) -> bytes:
    """Return what follows the last line end but one, or all that there is."""
    start = os.fstat(fd).st_size
    tail = b""
    while start and tail.count(b"\n") - tail.endswith(b"\n") < 1:
        step = min(_COPY_BYTES, start)
        start -= step
        os.lseek(fd, start, os.SEEK_SET)
        tail = os.read(fd, step) + tail
    body, newline, last = tail.rpartition(b"\n")
    return last or body.rpartition(b"\n")[2] + newline


def is_json(data: bytes) -> bool:
    """Return whether a line that lacks its end is whole."""
    with suppress(orjson.JSONDecodeError):
        orjson.loads(data)
        return True
    return False
