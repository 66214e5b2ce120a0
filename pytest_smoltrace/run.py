"""A stored run: its journal as values, streamed case by case."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.codec import decode_case, decode_footer, decode_header, decode_spans
from pytest_smoltrace.errors import JournalError
from pytest_smoltrace.facts import CaseRecord, Declared, ErrorFact, PhaseFact, SpanTable
from pytest_smoltrace.head import Head
from pytest_smoltrace.journal import JOURNAL_NAME, read_journal
from pytest_smoltrace.sampler.record import FOLDER, SUFFIX
from pytest_smoltrace.scan import Opened, Scan, bundles

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from pytest_smoltrace.session_facts import Footer, Header, Part

GATES_NAME = "gates.json"
"""File in a run directory that keeps what its gates came to."""
_TAIL_BYTES = 1 << 20
"""A footer is shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The journal of one session; what the cases did is read anew by each pass."""

    directory: Path
    header: Header
    planned: tuple[Declared, ...]
    ended: tuple[Head, ...]
    """Attempts in the order in which they ended."""
    footer: Footer | None
    """None when the last session was killed."""
    warnings: tuple[str, ...]
    unfinished: tuple[Opened, ...] = ()
    """Cases that were running when the session ended."""
    suite: tuple[Declared, ...] = ()
    """The planned cases with those that other shards run."""
    parts: tuple[tuple[int, Part], ...] = ()
    """Further sessions, each with the number of attempts before it."""
    lost: Mapping[str, Opened] = field(default_factory=dict)
    """Trace id of an attempt without any phase -> when it started."""
    last_unix_ns: int
    """Latest time that the journal knows."""
    size: int
    """Bytes of the journal that this run reads."""

    def part_of(self, place: int) -> int:
        """Return the number of the session that the attempt at this place was made in."""
        return bisect_right(self.parts, place, key=itemgetter(0))

    def heads(self) -> Iterator[Head]:
        """Yield the head of every attempt in the order in which they ended."""
        yield from self.ended
        for record in self.cut_short():
            declared, error = record.declared, record.error
            yield Head(
                nodeid=declared.nodeid,
                case_id=declared.case_id,
                trial=declared.trial,
                attempt=record.attempt,
                model=declared.model,
                agent_type=declared.agent_type,
                outcome=record.outcome,
                error_category=error.category if error else None,
                unplanned=declared,
            )

    def records(self) -> Iterator[CaseRecord]:
        """Yield every attempt in the same order, each with at least its root span."""
        for record, spans in self.attempts():
            yield replace(record, spans=spans)

    def attempts(self) -> Iterator[tuple[CaseRecord, SpanTable]]:
        """Yield every attempt in the same order, its spans apart."""
        lines = bundles(read_journal(self.directory / JOURNAL_NAME, self.size))
        for (spans, case), head in zip(lines, self.ended, strict=True):
            table = None if spans is None else decode_spans(spans)
            record = decode_case(case, attempt=head.attempt)
            yield record, table or self.root_of(record)
        for record in self.cut_short():
            yield record, self.root_of(record)

    @property
    def gates(self) -> dict[str, Any] | None:
        """What the gates came to when the run was judged; None when it was not."""
        try:
            found = json.loads((self.directory / GATES_NAME).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and "exit_status" in found else None

    @property
    def has_samples(self) -> bool:
        """Whether a GPU was sampled."""
        return any((self.directory / FOLDER).glob(f"*{SUFFIX}"))

    def cut_short(self) -> Iterator[CaseRecord]:
        """Yield one record for each case that was running when the session ended."""
        if not self.unfinished:
            return
        numbers = Counter((head.nodeid, head.trial) for head in self.ended)
        planned = {case.nodeid: case for case in self.planned}
        for opened in self.unfinished:
            nodeid = opened.nodeid
            declared = planned.get(nodeid) or Declared(case_id=nodeid, nodeid=nodeid)
            key = (nodeid, declared.trial)
            yield self._cut_short(declared, opened, numbers[key])
            numbers[key] += 1

    def _cut_short(self, declared: Declared, opened: Opened, attempt: int) -> CaseRecord:
        key = f"{self.header.session_id}\n{opened.nodeid}\n{opened.unix_ns}".encode()
        footer = self.footer
        message = f"the session ended while the case was running on {opened.worker}"
        if footer is not None and footer.stop_reason.startswith("error: "):
            message = f"no record of the case is stored ({footer.stop_reason})"
        return lost_record(
            declared,
            trace_id=hashlib.blake2b(key, digest_size=16).hexdigest(),
            root_span_id=hashlib.blake2b(key, digest_size=8).hexdigest(),
            attempt=attempt,
            interrupted=footer is not None,
            worker=opened.worker,
            message=message,
        )

    def root_of(self, record: CaseRecord) -> SpanTable:
        """Return the root span that a record without spans stands for."""
        declared = record.declared
        opened = self.lost.get(record.trace_id) or next(
            (each for each in self.unfinished if each.nodeid == declared.nodeid), None
        )
        start = record.phases[0].start_unix_ns if record.phases else None
        if start is None:
            start = opened.unix_ns if opened else self.header.started_unix_ns
        last = (opened and opened.ended_unix_ns) or self.last_unix_ns
        end = _phase_end(record.phases[-1]) if record.phases else last
        return _root_only(record, start, max(start, end))


def lost_record(
    declared: Declared,
    *,
    trace_id: str,
    root_span_id: str,
    attempt: int,
    interrupted: bool,
    worker: str,
    message: str,
) -> CaseRecord:
    """Return what is known of an attempt whose process was stopped or died in it."""
    return CaseRecord(
        declared=declared,
        attempt=attempt,
        trace_id=trace_id,
        root_span_id=root_span_id,
        outcome="interrupted" if interrupted else "crashed",
        error=ErrorFact(
            type="interrupted" if interrupted else "worker_crash",
            category="harness",
            message=message,
        ),
        phases=(),
        tool_calls=None,
        worker_id=worker,
        pid=0,  # not known, and in no dataset
        complete=False,
        spans=None,
    )


def _phase_end(phase: PhaseFact) -> int:
    """Return the end of a phase on the wall clock, its length taken from the monotonic one."""
    return phase.start_unix_ns + (phase.end_mono_ns - phase.start_mono_ns)


def _root_only(record: CaseRecord, start: int, end: int) -> SpanTable:
    failed = record.error is not None
    return SpanTable(
        span_id=[record.root_span_id],
        parent_id=[None],
        name=[record.declared.case_id],
        kind=["INTERNAL"],
        start_unix_ns=[start],
        end_unix_ns=[end],
        status=["ERROR" if failed else "OK"],
        description=[record.error.message if record.error else None],
        scope=["pytest_smoltrace"],
        attributes=[{}],
        events={},
        links={},
        orphans=[],
        roles={},
        strings=[],
    )


def load_run(directory: Path) -> Run:
    """Read a run directory; JournalError when its journal has no whole header."""
    path = directory / JOURNAL_NAME
    header, _ = read_ends(directory)
    scan = Scan(last_unix_ns=header.started_unix_ns)
    for line in read_journal(path):
        scan.take(line)
    scan.finish()
    unfinished = scan.unfinished()
    return Run(
        directory=directory,
        header=_completed(header, scan),
        planned=tuple(scan.planned.values()),
        suite=tuple(scan.suite.values()),
        parts=tuple(scan.parts),
        ended=tuple(scan.heads),
        footer=scan.footer,
        warnings=tuple(_warnings(scan, path, unfinished)),
        unfinished=unfinished,
        lost=scan.lost,
        last_unix_ns=scan.last_unix_ns,
        size=scan.size,
    )


def _completed(header: Header, scan: Scan) -> Header:
    """Return the header with what became known after it was written."""
    shard = header.shard and {**header.shard, "division": scan.division}
    workers = max([header.workers, *(part.workers for _, part in scan.parts)])
    return replace(header, shard=shard, workers=workers)


def _warnings(scan: Scan, path: Path, unfinished: Collection[Opened]) -> Iterator[str]:
    outcome = "crashed" if scan.footer is None else "interrupted"
    running = {each.nodeid for each in unfinished}
    for loss in scan.losses:
        then = f"; it is recorded as {outcome}" if loss.nodeid in running else ""
        yield f"{path}: {loss.what} was cut off ({loss.size} bytes left){then}"
    if scan.footer is None:
        count = f"; {len(unfinished)} running case(s) are recorded as crashed" if unfinished else ""
        yield f"{path}: the session was killed before it ended{count}"


def read_ends(directory: Path) -> tuple[Header, Footer | None]:
    """Return the first and the last line of a journal without reading what is between."""
    path = directory / JOURNAL_NAME
    header = decode_header(next(read_journal(path)).data)
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        last = stream.read().rstrip(b"\n").rsplit(b"\n", 1)[-1]
    try:
        return header, decode_footer(last)
    except JournalError:
        return header, None
