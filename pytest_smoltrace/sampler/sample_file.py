"""The file that samples are appended to."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class SampleFile:
    """One header line, then whole records; one write a tick unless the system takes less."""

    def __init__(self, path: str, header: Mapping[str, Any]) -> None:
        """Create the file.

        Raises:
            OSError: It cannot be created or written, or has something in it.
        """
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._file = os.open(path, flags, 0o666)
        if os.fstat(self._file).st_size:
            raise FileExistsError(None, "it is not empty")
        _lock(self._file)
        self._size = 0
        self.unwritten = 0
        """Ticks that could not be written."""
        self._reason = ""
        line = (json.dumps(header) + "\n").encode()
        if not self._append(line):
            raise OSError(None, self._reason)

    def append(self, records: bytes | bytearray) -> None:
        """Write the records of a tick, or none of them."""
        if not self._append(records):
            self.unwritten += 1

    def _append(self, data: bytes | bytearray) -> bool:
        written = 0
        if self._file < 0:
            return False
        try:
            while written < len(data):
                written += os.write(self._file, data[written:] if written else data)
        except OSError as error:
            self._reason = error.strerror or str(error)
            if written:
                self._cut()
            return False
        self._size += written
        return True

    def _cut(self) -> None:
        """Drop a part of a record, which would shift all that follow."""
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            os.close(self._file)
            self._file = -1

    def problems(self) -> list[str]:
        """Return what went wrong, one line a cause."""
        lines = []
        if self.unwritten:
            ticks = "1 tick" if self.unwritten == 1 else f"{self.unwritten} ticks"
            lines.append(f"{ticks} could not be written to {self._path}: {self._reason}")
        if not self._is_there():
            lines.append(f"{self._path} was removed while it was written")
        return lines

    def _is_there(self) -> bool:
        try:
            return self._file < 0 or os.path.samestat(Path(self._path).stat(), os.fstat(self._file))
        except OSError:
            return False


def _lock(file: int) -> None:
    """Show that the file is being written, as long as this process lives."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
