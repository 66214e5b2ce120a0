"""The side that logs reports: journal, plan and the end of the run."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from pytest_smoltrace import __version__
from pytest_smoltrace.codec import decode_plan, encode_case, encode_line, load_line
from pytest_smoltrace.errors import JournalError
from pytest_smoltrace.facts import Declared, Footer, Header
from pytest_smoltrace.journal import JOURNAL_NAME, JournalWriter, read_journal, run_directory
from pytest_smoltrace.run import lost_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.dist import SessionFacts
    from pytest_smoltrace.pipeline import Outcome
    from pytest_smoltrace.redaction import Redactor


class Ledger:
    """Writes the journal of one session and builds its datasets at the end."""

    def __init__(self, config: RunConfig, facts: SessionFacts, redactor: Redactor) -> None:
        self.directory: Path = run_directory(config.directory, facts.session_id)
        self.opened = False
        self._config = config
        self._facts = facts
        self._planned = False
        self._started = False
        self._closed = False
        self._has_cases = False
        self._left: set[str] = set()
        self._last: dict[str, int] = {}
        """Worker -> hash of the bundle that it wrote last."""
        self._redactor = redactor
        self._writer = JournalWriter(self.directory / JOURNAL_NAME, redactor)

    def open(
        self, environment: Mapping[str, Any], *, prices_version: str | None, workers: int
    ) -> None:
        """Make the run directory and write the header.

        Raises:
            ConfigError: The directory exists already or cannot be written.
        """
        if self.opened:
            return
        self._writer.create(
            Header(
                session_id=self._facts.session_id,
                started_unix_ns=self._facts.started_unix_ns,
                plugin_version=__version__,
                config=self._config.shown,
                environment=environment,
                prices_version=prices_version,
                workers=workers,
            )
        )
        self.opened = True

    @property
    def left_out(self) -> int:
        """Planned cases that no worker has started."""
        return len(self._left)

    def plan(self, cases: Sequence[Declared]) -> None:
        """Write the selected cases, once."""
        if not self._planned:
            self._planned = True
            self._has_cases |= bool(cases)
            self._left = {case.nodeid for case in cases}
            self._writer.plan(cases)

    def plan_encoded(self, line: str) -> None:
        """Write the plan that a worker sent; all workers send the same."""
        if not self._planned:
            self.plan(decode_plan(line.encode()).cases)

    def case_open(self, nodeid: str, worker: str) -> None:
        """Write that a case starts."""
        if self.opened:
            self._started = True
            self._left.discard(nodeid)
            self._writer.open_case(nodeid, worker, time.time_ns())

    def append(self, bundle: str, worker: str) -> None:
        """Write a finished case, once: an interrupt may make somebody hand it in again."""
        if self.opened and self._last.get(worker) != (key := hash(bundle)):
            self._has_cases = True
            self._writer.append(bundle)
            self._last[worker] = key

    def cut(self, bundle: str, worker: str, *, interrupted: bool) -> None:
        """Write the case that a worker ran when it was interrupted; else it was terminated."""
        spans, newline, case = bundle.rpartition("\n")
        data = load_line(case.encode(), "case")
        if data["outcome"] == "interrupted" and not interrupted:
            message = f"worker {worker} was terminated in the case"
            data["outcome"] = "crashed"
            data["error"] |= {"type": "worker_crash", "message": message}
            bundle = spans + newline + encode_line("case", data).decode()
        self.append(bundle, worker)

    def lost(self, nodeid: str, worker: str, *, interrupted: bool) -> None:
        """Write that a worker ended while it ran a case; nothing when it ran no eval case."""
        if not self.opened:
            return
        planned = [line for line in read_journal(self._writer.path) if line.kind == "plan"]
        cases = {case.nodeid: case for line in planned for case in decode_plan(line.data).cases}
        nodeid = self._redactor.text(nodeid)  # as the plan has it
        if nodeid in cases or not planned:
            declared = cases.get(nodeid) or Declared(case_id=nodeid, nodeid=nodeid)
            trace = uuid.uuid4().hex
            record = lost_record(
                declared,
                trace_id=trace,
                root_span_id=trace[:16],
                attempt=0,  # numbered when the journal is read
                interrupted=interrupted,
                worker=worker,
                message=f"worker {worker} {'was stopped' if interrupted else 'died'} in the case",
            )
            self.append(self._redactor.json(encode_case(record)), worker)

    def finish(
        self, stop_reason: str, exit_status: int, not_applied: Mapping[str, Mapping[str, str]]
    ) -> Outcome | None:
        """Close the journal and build the datasets; None when no case was planned."""
        if not self.opened:
            return None
        # A worker that died in its first case has sent no plan.
        died = self._started and not self._planned
        if not (self._has_cases or died):
            self._take_back()
            return None
        from pytest_smoltrace.pipeline import finish

        self._closed = True
        self._writer.close(
            Footer(
                ended_unix_ns=time.time_ns(),
                stop_reason=stop_reason,
                exit_status=exit_status,
                not_applied=not_applied,
            )
        )
        return finish(self.directory)

    def discard(self) -> None:
        """Remove the run directory of a session that was stopped before it began."""
        if self.opened and not (self._closed or self._started or self._has_cases):
            self._take_back()

    def _take_back(self) -> None:
        """Remove the run directory of a session that had no case."""
        self._closed = True
        self._writer.close(None)
        try:
            (self.directory / JOURNAL_NAME).unlink()
            self.directory.rmdir()
        except OSError as error:
            raise JournalError(f"cannot remove {self.directory}: {error.strerror}") from error


def encode_plan(cases: Sequence[Declared]) -> str:
    """Return the plan as one value that can ride on a report."""
    return encode_line("plan", {"cases": list(cases)}).decode()
