"""The journal of a run: append-only JSON lines, one write an event, readable after any cut.

A case is a bundle of two lines in one write: its spans, then its record, which commits the
bundle. Spans without their record, or a last line that ends early, are a torn tail.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from pytest_smoltrace.codec import (
    FORMAT,
    Plan,
    decode_case,
    encode_case,
    encode_line,
    fields_of,
    plan_data,
)
from pytest_smoltrace.errors import ConfigError, JournalError, UnwrittenError
from pytest_smoltrace.journal_file import JournalFile, is_json
from pytest_smoltrace.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_smoltrace.session_facts import Footer, Header, Part

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
_READ_BYTES = 1 << 20
_NAMES = {
    "plan": "its plan",
    "session": "the start of the session",
    "end": "the end of the session",
}
"""What a line is called that a user may miss."""
WAITING_BYTES = 64 << 20
"""What may wait in memory for room on the disk."""
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
    # A disk that lost power may leave zeros in a line; JSON has none.
    if not found or b"\0" in data or not (data.endswith(b"}\n") or is_json(data)):
        return "torn"
    return found[1].decode()


class JournalWriter:
    """Appends the events of one session; only the process that logs reports has one."""

    def __init__(self, path: Path, redactor: Redactor | None = None, fsync: str = "off") -> None:
        self.path = path
        self._redactor = redactor or Redactor()
        self._file = JournalFile(path, fsync)
        self._cases = 0
        self._unwritten: Counter[str] = Counter()
        """Kind of line -> how many could not be written."""
        self._reason = ""
        self._waiting: deque[tuple[str, bytes]] = deque()
        """Kind and bytes of what the disk had no room for yet, in order."""

    def create(self, header: Header) -> None:
        """Make the run directory and write the header; ConfigError when it exists or cannot be."""
        directory = self.path.parent
        line = self._line("header", {"format": FORMAT} | fields_of(header))
        try:
            self._file.create(line)
        except FileExistsError as error:
            raise _exists(directory, header.session_id) from error
        except OSError as error:
            raise ConfigError(
                f"cannot write the run directory {directory}: {error.strerror}; "
                "choose another one with --smoltrace-dir"
            ) from error

    def reopen(self, size: int) -> None:
        """Go on with a journal that has been read.

        Args:
            size: Bytes that it had then.

        Raises:
            ConfigError: It cannot be written, or another process writes it.
        """
        try:
            self._file.reopen(size)
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror}") from error

    def plan(self, plan: Plan) -> None:
        """Write the collected cases of the suite, in several lines when they are many."""
        for start in range(0, max(len(plan.cases), 1), PLAN_CASES):
            cases = plan.cases[start : start + PLAN_CASES]
            places = range(start, start + len(cases))
            left = frozenset(place - start for place in places if place in plan.left)
            self._event("plan", plan_data(Plan(cases, left, plan.division)))

    def part(self, part: Part) -> None:
        """Write that a further session begins."""
        self._event("session", fields_of(part))

    def open_case(self, nodeid: str, worker: str, unix_ns: int) -> None:
        """Write that a case starts, so that a crash leaves a trace of it."""
        if self._waiting:
            return  # the room that is left is for the end of the session
        data = {"nodeid": nodeid, "worker": worker, "unix_ns": unix_ns}
        self._put("open", self._line("open", data))

    def append(self, encoded: str) -> None:
        """Write the bundle that `encode_case` made, unparsed; who made it has redacted it.

        Raises:
            UnwrittenError: It waits for room on the disk, as far as memory may be used for that.
        """
        self._write("case", encoded.encode("utf-8", "replace") + b"\n")

    def lines(self) -> Iterator[Line]:
        """Yield what is written so far."""
        self._file.keep_place()
        return read_journal(self.path)

    def close(self, footer: Footer | None = None) -> None:
        """Write how the session ended, if that is known, and close the file."""
        if not self._file.is_open:
            return
        self.settle()
        try:
            if footer is not None:
                self._event("end", fields_of(footer))
        finally:
            self.settle()
            self._file.close()

    def settle(self) -> int:
        """Write what waits if there is room now, give the rest up and return the cases lost."""
        with suppress(UnwrittenError):
            self._flush()
        self._unwritten.update(kind for kind, _ in self._waiting)
        self._waiting.clear()
        return self._unwritten["case"] + (self._cases if self._file.adrift else 0)

    @property
    def is_gone(self) -> bool:
        """Whether there is no journal at its place any more."""
        return self._file.adrift is not None

    @property
    def notices(self) -> list[str]:
        """What happened to the journal without a loss, one line each."""
        removed = f"{self._removed}; it has been written again"
        return [removed] if self._file.restored and not self.is_gone else []

    @property
    def gaps(self) -> list[str]:
        """What the journal lacks of what it was to hold, one line each."""
        return list(self._gaps())

    @property
    def _removed(self) -> str:
        return f"the run directory {self.path.parent} was removed while the session ran"

    def _gaps(self) -> Iterator[str]:
        cases, reason = self._unwritten["case"], self._reason
        others = [name for kind, name in _NAMES.items() if self._unwritten[kind]]
        if cases:
            again = f"run them again with --smoltrace-resume={self.path.parent.name}"
            yield f"{_cases(cases)} could not be written to {self.path}: {reason}; {again}"
        elif others:
            yield f"{self.path} lacks {' and '.join(others)}: {reason}"
        if self._file.adrift:
            why = f"and cannot be written again: {self._file.adrift}"
            yield f"{self._removed} {why}; lost: {_cases(self._cases)}"
        if self._file.unsynced:
            yield f"{self.path} may not be whole on the disk: {self._file.unsynced}"

    def _event(self, kind: str, data: Mapping[str, Any]) -> None:
        self._write(kind, self._line(kind, data))

    def _line(self, kind: str, data: Mapping[str, Any]) -> bytes:
        return self._redactor.json(encode_line(kind, data).decode()).encode() + b"\n"

    def _write(self, kind: str, data: bytes) -> None:
        """Hand one event to the kernel at once: it survives the death of this process."""
        if not self._file.is_open:
            raise JournalError(f"{self.path}: the journal is closed")
        self._waiting.append((kind, data))
        try:
            self._flush()
        except UnwrittenError:
            if sum(len(data) for _, data in self._waiting) > WAITING_BYTES:
                self._waiting.pop()
                self._unwritten[kind] += 1
            raise

    def _flush(self) -> None:
        while self._waiting:
            kind, data = self._waiting[0]
            self._put(kind, data)
            self._waiting.popleft()
            self._cases += kind == "case"

    def _put(self, kind: str, data: bytes) -> None:
        try:
            self._file.append(data, durable=kind == "case")
        except OSError as error:
            self._reason = error.strerror or str(error)
            raise UnwrittenError(f"cannot write {self.path}: {self._reason}") from error


def _cases(number: int) -> str:
    return f"{number} case{'s' * (number != 1)}"


def _exists(directory: Path, session_id: str) -> ConfigError:
    """Say what is in the way: the run itself, or a file in place of a directory."""
    if directory.is_dir():
        return ConfigError(
            f"run {session_id!r} exists already in {directory.parent}; "
            "choose another --smoltrace-run-id or remove it"
        )
    return ConfigError(f"cannot write the run directory {directory}: a file is in its place")
