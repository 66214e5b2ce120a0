"""One pass over a journal: what it holds apart from the cases themselves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.codec import decode_footer, decode_open, decode_part, decode_plan
from pytest_smoltrace.head import decode_outline
from pytest_smoltrace.torn import loss_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_smoltrace.codec import Plan
    from pytest_smoltrace.facts import Declared
    from pytest_smoltrace.head import Head
    from pytest_smoltrace.journal import Line
    from pytest_smoltrace.session_facts import Footer, Part
    from pytest_smoltrace.torn import Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A case that started, as its `open` line says."""

    nodeid: str
    worker: str
    unix_ns: int
    ended_unix_ns: int | None = None
    """Latest time before its session was over; None when that is the last session."""


def bundles(lines: Iterator[Line]) -> Iterator[tuple[bytes | None, bytes]]:
    """Yield (spans line or None, case line) of every committed case."""
    spans: bytes | None = None
    for line in lines:
        if line.kind == "case":
            yield spans, line.data
        spans = line.data if line.kind == "spans" else None


@dataclass(slots=True, kw_only=True)
class Scan:
    """What one pass over a journal finds: the plan, a head an attempt, the cases in flight."""

    planned: dict[str, Declared] = field(default_factory=dict)
    """Node id -> the first planned case of that node id."""
    suite: dict[str, Declared] = field(default_factory=dict)
    """The same, with the cases that other shards run."""
    division: str | None = None
    """Checksum of which case is in which shard."""
    parts: list[tuple[int, Part]] = field(default_factory=list)
    """Further sessions, each with the number of attempts before it."""
    heads: list[Head] = field(default_factory=list)
    numbers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Node id and trial -> attempts so far."""
    footer: Footer | None = None
    running: dict[str, list[Opened]] = field(default_factory=dict)
    """Node id -> cases in flight."""
    lost: dict[str, Opened] = field(default_factory=dict)
    """Trace id of an attempt without any phase -> when it started."""
    last_unix_ns: int = 0
    size: int = 0
    losses: list[Loss] = field(default_factory=list)
    """What was cut off."""
    uncommitted: bytes = b""
    """The last spans line while its case line is outstanding."""

    def take(self, line: Line) -> None:
        """Note one line."""
        self.size = line.offset + len(line.data)
        if line.kind == "torn" or (self.uncommitted and line.kind != "case"):
            self._lose(line.data if line.kind == "torn" else b"")
        self.uncommitted = line.data if line.kind == "spans" else b""
        if line.kind == "plan":
            self._take_plan(decode_plan(line.data))
        elif line.kind == "session":
            self._take_part(decode_part(line.data))
        elif line.kind == "open":
            self._take_open(decode_open(line.data))
        elif line.kind == "case":
            self._take_case(line.data)
        elif line.kind == "end":
            self.footer = decode_footer(line.data)
            self._saw(self.footer.ended_unix_ns)

    def _take_plan(self, plan: Plan) -> None:
        self.division = plan.division
        for case in plan.cases:
            self.suite.setdefault(case.nodeid, case)
        for case in plan.own:
            self.planned.setdefault(case.nodeid, case)

    def _take_part(self, part: Part) -> None:
        self.parts.append((len(self.heads), part))
        self.footer = None
        # Whoever resumed the run has written what became of the cases in flight.
        self.running.clear()
        for trace_id, opened in self.lost.items():
            if opened.ended_unix_ns is None:
                self.lost[trace_id] = replace(opened, ended_unix_ns=self.last_unix_ns)
        self._saw(part.started_unix_ns)

    def _take_open(self, data: dict[str, Any]) -> None:
        opened = Opened(nodeid=data["nodeid"], worker=data["worker"], unix_ns=data["unix_ns"])
        self.running.setdefault(opened.nodeid, []).append(opened)
        self._saw(opened.unix_ns)

    def _take_case(self, data: bytes) -> None:
        head, trace_id, end_unix_ns = decode_outline(data, self.planned)
        started = self.running.get(head.nodeid, [])
        opened = started.pop(0) if started else None
        if not started:
            self.running.pop(head.nodeid, None)
        self.heads.append(self._numbered(head))
        if end_unix_ns is not None:
            self._saw(end_unix_ns)
        elif opened:
            self.lost[trace_id] = opened

    def _numbered(self, head: Head) -> Head:
        """Give the attempt its 0-based number among those of its trial."""
        key = (head.nodeid, head.trial)
        number = self.numbers[key]
        self.numbers[key] = number + 1
        return head if head.attempt == number else head._replace(attempt=number)

    def _saw(self, unix_ns: int) -> None:
        self.last_unix_ns = max(self.last_unix_ns, unix_ns)

    def finish(self) -> None:
        """Note the spans whose case line never came."""
        if self.uncommitted:
            self._lose(b"")
            self.uncommitted = b""

    def _lose(self, torn: bytes) -> None:
        self.losses.append(loss_of(self.uncommitted, torn, self.running, self.planned))

    def unfinished(self) -> tuple[Opened, ...]:
        """Return the cases in flight, in the order in which they started."""
        if self.footer is not None and self.footer.stop_reason == "completed":
            return ()
        running = [one for each in self.running.values() for one in each]
        found = [one for one in running if not self.planned or one.nodeid in self.planned]
        return tuple(sorted(found, key=lambda one: (one.unix_ns, one.nodeid)))
