"""Which processes of a session live on a host: each holds a lock on one file of its directory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Final

try:
    import fcntl
except ImportError:  # Windows, where nobody is present and nothing is removed
    fcntl = None  # type: ignore[assignment]

MEMBERS: Final = "members"
_LONG_S: Final = 86400.0


class Presence:
    """This process in a directory that goes with the last one that was present in it.

    The lock is a POSIX record lock: the kernel drops it however the process ends, and a fork,
    which may outlive the process, does not inherit it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process is present."""
        return self._descriptor is not None

    @property
    def file(self) -> Path:
        """What everybody who is present holds a shared lock on."""
        return self._directory / MEMBERS

    def enter(self) -> bool:
        """Be present; False where files cannot be locked."""
        with contextlib.suppress(OSError):
            while self._descriptor is None and fcntl is not None:
                self._descriptor = self._locked()
        return self.held

    def leave(self) -> None:
        """Be gone, and remove the directory if nobody else is present."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with contextlib.suppress(OSError):
            # First: of two that leave at once, each would take the other for present.
            fcntl.lockf(descriptor, fcntl.LOCK_UN)
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), (self._directory / MEMBERS).stat()):
                remove(self._directory)
        os.close(descriptor)

    def _locked(self) -> int | None:
        """Return the locked file; None when the last one has just removed it."""
        path = self._directory / MEMBERS
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return None
        try:
            # Waits while the last one removes the directory.
            fcntl.lockf(descriptor, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None


def sweep(parent: Path, prefix: str) -> None:
    """Remove directories in which processes were present, none is, and nothing changed for long.

    A young one may be of another session in this process, which its own lock does not keep out.
    """
    for directory in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if fcntl is None or time.time() - directory.stat().st_mtime < _LONG_S:
                continue
            descriptor = os.open(directory / MEMBERS, os.O_RDWR)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(directory)
            finally:
                os.close(descriptor)


def host_id() -> str:
    """Name what a loopback address belongs to: a container has one of its own."""
    try:
        return f"{_boot_id()} {Path('/proc/self/ns/net').readlink()}"
    except OSError:  # not Linux
        return platform.node()


def remove(directory: Path) -> None:
    """Remove a directory, so that nobody who comes meanwhile loses a file to it."""
    gone = directory.with_name(f"{directory.name}-{os.getpid()}.gone")
    with contextlib.suppress(OSError):
        directory.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def clock_id() -> str:
    """Name what the monotonic clock is shared with: one start of one machine."""
    try:
        boot = _boot_id()
    except OSError:  # not Linux
        boot = platform.node()
    return hashlib.blake2b(boot.encode(), digest_size=6).hexdigest()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
