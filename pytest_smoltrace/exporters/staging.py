"""Files that replace the old ones all together, or not at all."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path


class Staging:
    """Gives files their names once every one of them is written."""

    def __init__(self) -> None:
        self._files: list[Path] = []
        self._folders: list[Path] = []

    def __enter__(self) -> Self:
        """Begin to write."""
        return self

    def add(self, path: Path) -> Path:
        """Return the name under which to write a file, its folder made."""
        for folder in reversed([each for each in path.parents if not each.exists()]):
            folder.mkdir(exist_ok=True)
            self._folders.append(folder)
        _remove_leftovers(path)
        self._files.append(path)
        return temporary(path)

    def publish(self) -> None:
        """Give the files their names in the order in which they were added."""
        while self._files:
            temporary(self._files[0]).replace(self._files[0])
            del self._files[0]
        self._folders.clear()

    def __exit__(self, *_: object) -> None:
        """Remove what was not published."""
        with suppress(OSError):
            for path in self._files:
                temporary(path).unlink(missing_ok=True)
            for folder in reversed(self._folders):
                folder.rmdir()


def temporary(path: Path) -> Path:
    """Return a name beside `path` that no loader picks up and no other process uses."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}.tmp")


def _remove_leftovers(path: Path) -> None:
    """Remove what processes of this host left that were killed while they wrote the same file."""
    for each in path.parent.glob(f".{path.name}.{_host()}-*.tmp"):
        if _is_dead(each.name.rpartition("-")[2].removesuffix(".tmp")):
            each.unlink(missing_ok=True)


def _is_dead(pid: str) -> bool:
    if sys.platform == "win32" or not pid.isdecimal():
        return False  # there a signal to a process ends it
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _host() -> str:
    """Return the name of this machine as a file may be called."""
    return "".join(each if each.isalnum() else "_" for each in platform.node()) or "host"
