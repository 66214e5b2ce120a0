"""What the processes of one session on one host share: a directory of small files."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import struct
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.presence import Presence, host_id, sweep
from pytest_smoltrace.slots import Slot, Slots, digest, file_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SPENDING = "spending"
_RECORD = struct.Struct("<qq")
"""Picodollars and tokens of one call: 16 bytes never straddle a block of a full disk."""
_UNKNOWN = -(2**63)
_PICO = 10**12
_MOST_USD = 9e6
_APPENDS_WHOLE = os.name != "nt"
"""Whether the kernel appends a record in one step; Windows first seeks, then writes."""
_LOCK_WAIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What the LLM calls of the session cost so far, all processes together."""

    cost_usd: float = 0.0
    tokens: int = 0
    calls: int = 0
    unpriced: int = 0
    """Calls of unknown cost."""
    unmetered: int = 0
    """Calls of unknown tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Why a case waits and since when; `until_unix_s` is None when nobody knows the end."""

    why: str
    since_unix_s: float
    until_unix_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    """What a process has read of the spending so far."""

    read_bytes: int
    pico_usd: int
    spent: Spent

    def plus(self, data: bytes) -> _Sums:
        """Add the whole records of `data`; one that is being written is read the next time."""
        whole = data[: len(data) - len(data) % _RECORD.size]
        if not whole:
            return self
        costs, tokens = zip(*_RECORD.iter_unpack(whole), strict=True)
        old, pico_usd = self.spent, self.pico_usd + _sum_of_known(costs)
        return _Sums(
            read_bytes=self.read_bytes + len(whole),
            pico_usd=pico_usd,
            spent=Spent(
                cost_usd=pico_usd / _PICO,
                tokens=old.tokens + _sum_of_known(tokens),
                calls=old.calls + len(costs),
                unpriced=old.unpriced + costs.count(_UNKNOWN),
                unmetered=old.unmetered + tokens.count(_UNKNOWN),
            ),
        )


class Coordination:
    """Spending, places at endpoints and waiting cases, for all processes of one host."""

    def __init__(self, directory: Path, worker_id: str, *, abroad: bool = False) -> None:
        self.directory = directory
        self.abroad = abroad
        """Whether the owner of the session runs on another host."""
        self.presence = Presence(directory)
        with contextlib.suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._note = directory / f"wait-{digest(worker_id)}.json"
        self._slots = Slots(directory)
        self._lock = threading.Lock()
        self._sums = _Sums(read_bytes=0, pico_usd=0, spent=Spent())
        self._waits: dict[int, tuple[str, Wait]] = {}

    @classmethod
    def create(cls, worker_id: str = "main") -> Coordination:
        """Make the directory of a new session; ConfigError when there is no place for it."""
        try:
            created = cls(Path(tempfile.mkdtemp(prefix=_prefix())), worker_id)
        except OSError as error:
            raise ConfigError(
                f"cannot make a temporary directory: {error.strerror}; "
                "set TMPDIR to one that exists"
            ) from error
        created.presence.enter()
        # What sessions left behind that were killed alone.
        sweep(created.directory.parent, _prefix())
        return created

    @classmethod
    def join(cls, told: str, worker_id: str) -> Coordination:
        """Return what the owner shares; on another host, what its processes there share."""
        name = told.replace("\\", "/").rpartition("/")[2]
        if name.startswith(_prefix()) and Path(told).is_dir():
            joined = cls(Path(told), worker_id)
        else:
            # Hosts that share their temporary directories have one each all the same.
            own = Path(tempfile.gettempdir(), f"{name}-{digest(host_id())}")
            joined = cls(own, worker_id, abroad=True)
        joined.presence.enter()
        return joined

    def leave(self) -> None:
        """Be gone; the directory goes with the last one of the host."""
        self.presence.leave()

    def remove(self) -> None:
        """Be gone and remove the directory; what cannot be removed stays."""
        self.presence.leave()
        shutil.rmtree(self.directory, ignore_errors=True)

    def spend(self, cost_usd: float | None, tokens: int | None) -> None:
        """Add one call; JournalError when it cannot be recorded."""
        record = _RECORD.pack(_picodollars(cost_usd), _UNKNOWN if tokens is None else tokens)
        known_bytes = self._sums.read_bytes
        try:
            with self._append_lock():
                size = _append(self.directory / _SPENDING, record)
        except OSError as error:
            raise JournalError(
                f"cannot record what the session has spent in {self.directory}: "
                f"{error.strerror or error}"
            ) from error
        if size < known_bytes + len(record):
            raise JournalError(f"somebody removed what the session had spent in {self.directory}")

    def spent(self) -> Spent:
        """Return the sum of all calls so far, of all processes."""
        with self._lock:
            with contextlib.suppress(OSError):
                new = _read_from(self.directory / _SPENDING, self._sums.read_bytes)
                # In one step: a limit of the case may cut this off at any place.
                self._sums = self._sums.plus(new)
            return self._sums.spent

    def try_slot(self, endpoint: str, limit: int) -> Slot | None:
        """Return one of the endpoint's `limit` places; None when all are taken."""
        return self._slots.try_take(endpoint, limit)

    def waiting(self, nodeid: str, why: str, until_unix_s: float | None) -> None:
        """Note that the case waits in this thread, for the progress line of the session."""
        thread = threading.get_ident()
        with self._lock:
            before = self._waits.pop(thread, None)
            again = before is not None and before[0] == nodeid
            since = before[1].since_unix_s if before and again else time.time()
            wait = Wait(why=why, since_unix_s=since, until_unix_s=until_unix_s)
            self._waits[thread] = (nodeid, wait)
            self._write_note()

    def resumed(self) -> None:
        """Take the note of this thread back."""
        with self._lock:
            if self._waits.pop(threading.get_ident(), None) is not None:
                self._write_note()

    def waits(self) -> dict[str, Wait]:
        """Return the waiting cases of all workers by node id."""
        return dict(_notes(self.directory))

    def _append_lock(self) -> contextlib.AbstractContextManager[object]:
        if _APPENDS_WHOLE:
            return contextlib.nullcontext()
        return file_lock(self.directory / f"{_SPENDING}.lock", timeout=_LOCK_WAIT_S)

    def _write_note(self) -> None:
        """Show the newest wait of this process, or none."""
        with contextlib.suppress(OSError):
            if not self._waits:
                self._note.unlink()
                return
            nodeid, wait = list(self._waits.values())[-1]
            new = self._note.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps({"nodeid": nodeid} | asdict(wait)), encoding="ascii")
            new.replace(self._note)


def _prefix() -> str:
    """Begin the name of a directory with its host: others may see a directory of the same name."""
    return f"smoltrace-{digest(host_id())}-"


def _sum_of_known(numbers: Iterable[int]) -> int:
    return sum(number for number in numbers if number != _UNKNOWN)


def _picodollars(cost_usd: float | None) -> int:
    """Return a cost that adds up to the same sum in any order."""
    if cost_usd is None or cost_usd != cost_usd:  # noqa: PLR0124 - NaN
        return _UNKNOWN
    return round(min(max(cost_usd, -_MOST_USD), _MOST_USD) * _PICO)


def _append(path: Path, record: bytes) -> int:
    """Append one record and return the size of the file."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    # Opened anew each time: a directory that vanished is noticed, and a fork shares nothing.
    descriptor = os.open(path, flags, 0o600)
    try:
        if os.write(descriptor, record) != len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _read_from(path: Path, offset: int) -> bytes:
    with path.open("rb", buffering=0) as stream:
        stream.seek(offset)
        return stream.read()


def _notes(directory: Path) -> Iterator[tuple[str, Wait]]:
    """Yield what can be read: notes come and go at any time."""
    for path in directory.glob("wait-*.json"):
        try:
            note = json.loads(path.read_bytes())
            found = note.pop("nodeid"), Wait(**note)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        yield found
