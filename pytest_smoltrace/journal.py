"""The journal of a run: append-only JSON lines, one write an event, readable after any cut.

A case is a bundle of two lines in one write: its spans, then its record, which commits the
bundle. Spans without their record, or a last line that ends early, are a torn tail.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import orjson

from pytest_smoltrace.codec import FORMAT, decode_case, encode_case, encode_line, fields_of
from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence
    from pathlib import Path

    from pytest_smoltrace.facts import Declared, Footer, Header, Part

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "JOURNAL_NAME",
    "JournalWriter",
    "Line",
    "decode_case",
    "encode_case",
    "read_journal",
    "run_directory",
]

JOURNAL_NAME = "journal.jsonl"

_SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_KIND = re.compile(rb'\{"k":"([a-z]+)"')
_CUT = b"\0\n"
"""Ends what a failed write left of a line: no whole line ends so."""
_READ_BYTES = 1 << 20
PLAN_CASES = 1000
"""Cases of one plan line: a reader holds the JSON of a whole line at once."""


def run_directory(root: Path, session_id: str) -> Path:
    """Return the directory of a session; ConfigError when its id cannot name one."""
    if not _SESSION_ID.fullmatch(session_id) or session_id == "last":
        raise ConfigError(
            f"run id {session_id!r} cannot name a directory: use up to 128 letters, digits, "
            "'.', '_' and '-', starting with a letter or digit, and not 'last'"
        )
    return root / "runs" / session_id


class Line(NamedTuple):
    """One line of a journal; kind `torn` is what a cut left of one."""

    kind: str
    data: bytes
    offset: int
    """Position of the first byte in the file."""


def read_journal(path: Path, limit: int | None = None) -> Iterator[Line]:
    """Yield the lines of a journal up to byte `limit`; JournalError when it has no header."""
    try:
        stream = path.open("rb", buffering=_READ_BYTES)
    except OSError as error:
        raise JournalError(f"cannot read {path}: {error.strerror}") from error
    with stream:
        yield from _lines(stream, path, limit)


def _lines(stream: BinaryIO, path: Path, limit: int | None) -> Iterator[Line]:
    offset = 0
    for data in stream:
        if limit is not None and offset >= limit:
            return
        kind = _kind(data)
        if offset == 0 and kind != "header":
            raise JournalError(f"{path}: the header line is torn or missing; nothing can be read")
        yield Line(kind, data, offset)
        offset += len(data)
    if offset == 0:
        raise JournalError(f"{path}: the journal is empty")


def _kind(data: bytes) -> str:
    """Return the kind of a line, `torn` when it ends before its JSON does."""
    found = _KIND.match(data)
    if not found or not (data.endswith(b"}\n") or _is_json(data)):
        return "torn"
    return found[1].decode()


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


class JournalWriter:
    """Appends the events of one session; only the process that logs reports has one."""

    def __init__(self, path: Path, redactor: Redactor | None = None) -> None:
        self.path = path
        self._redactor = redactor or Redactor()
        self._fd: int | None = None
        self._torn = False

    def create(self, header: Header) -> None:
        """Make the run directory and write the header; ConfigError when it exists or cannot be."""
        directory = self.path.parent
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            directory.mkdir()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._fd = os.open(self.path, flags, 0o644)
        except FileExistsError as error:
            raise _exists(directory, header.session_id) from error
        except OSError as error:
            raise ConfigError(
                f"cannot write the run directory {directory}: {error.strerror}; "
                "choose another one with --smoltrace-dir"
            ) from error
        self._lock()
        self._event("header", {"format": FORMAT} | fields_of(header))

    def reopen(self) -> None:
        """Go on with a journal; ConfigError when that cannot be or another process writes it."""
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND)
            tail = _last_line(self._fd)
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror}") from error
        self._lock()
        if not tail.endswith(b"\n"):
            # A line that lacks its end alone counts; anything else must not join the next line.
            self._torn = not _is_json(tail)
            if not self._torn:
                self._write(b"\n")

    def plan(self, cases: Sequence[Declared], left: Container[int] = ()) -> None:
        """Write the collected cases of the suite, in several lines when they are many.

        Args:
            cases: Of the whole suite.
            left: Places of the cases that other shards run.
        """
        for start in range(0, max(len(cases), 1), PLAN_CASES):
            part = cases[start : start + PLAN_CASES]
            others = [place for place in range(len(part)) if start + place in left]
            self._event("plan", {"cases": part} | ({"left": others} if others else {}))

    def part(self, part: Part) -> None:
        """Write that a further session begins."""
        self._event("session", fields_of(part))

    def open_case(self, nodeid: str, worker: str, unix_ns: int) -> None:
        """Write that a case starts, so that a crash leaves a trace of it."""
        self._event("open", {"nodeid": nodeid, "worker": worker, "unix_ns": unix_ns})

    def append(self, encoded: str) -> None:
        """Write the bundle that `encode_case` made, unparsed; who made it has redacted it."""
        self._write(encoded.encode("utf-8", "replace") + b"\n")

    def close(self, footer: Footer | None = None) -> None:
        """Write how the session ended, if that is known, and close the file."""
        if self._fd is None:
            return
        try:
            if footer is not None:
                self._event("end", fields_of(footer))
        finally:
            os.close(self._fd)
            self._fd = None

    def _lock(self) -> None:
        """Keep others from writing this journal until this process ends."""
        if fcntl is None or self._fd is None:
            return
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._fd)
            self._fd = None
            raise ConfigError(
                f"run {self.path.parent.name!r} still runs: another process writes its journal"
            ) from error
        except OSError:
            return  # a file system without locks

    def _event(self, kind: str, data: Mapping[str, Any]) -> None:
        line = self._redactor.json(encode_line(kind, data).decode())
        self._write(line.encode() + b"\n")

    def _write(self, data: bytes) -> None:
        """Hand one event to the kernel at once: it survives the death of this process."""
        if self._fd is None:
            raise JournalError(f"{self.path}: the journal is closed")
        if self._torn:
            data = _CUT + data
        try:
            while data:
                self._torn = True
                data = data[os.write(self._fd, data) :]
            self._torn = False
        except OSError as error:
            raise JournalError(f"cannot write {self.path}: {error.strerror}") from error


def _last_line(fd: int) -> bytes:
    """Return what follows the last line end but one, or all that there is."""
    size = os.fstat(fd).st_size
    tail, start = b"", size
    while start and tail.count(b"\n") - tail.endswith(b"\n") < 1:
        step = min(_READ_BYTES, start)
        start -= step
        os.lseek(fd, start, os.SEEK_SET)
        tail = os.read(fd, step) + tail
    body, newline, last = tail.rpartition(b"\n")
    return last or body.rpartition(b"\n")[2] + newline


def _exists(directory: Path, session_id: str) -> ConfigError:
    """Say what is in the way: the run itself, or a file in place of a directory."""
    if directory.is_dir():
        return ConfigError(
            f"run {session_id!r} exists already in {directory.parent}; "
            "choose another --smoltrace-run-id or remove it"
        )
    return ConfigError(f"cannot write the run directory {directory}: a file is in its place")
