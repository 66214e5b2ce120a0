"""The side that logs reports: journal, plan and the end of the run."""

from __future__ import annotations

import shutil
import time
import uuid
from contextlib import suppress
from dataclasses import asdict
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from pytest_smoltrace import __version__
from pytest_smoltrace.codec import decode_plan, encode_case, encode_line, load_line
from pytest_smoltrace.errors import JournalError, UnwrittenError
from pytest_smoltrace.facts import Declared
from pytest_smoltrace.journal import JOURNAL_NAME, JournalWriter, run_directory
from pytest_smoltrace.run import GATES_NAME, lost_record
from pytest_smoltrace.sampler.record import FOLDER
from pytest_smoltrace.session_facts import Footer, Header, Part

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.dist import SessionFacts
    from pytest_smoltrace.pipeline import Outcome
    from pytest_smoltrace.redaction import Redactor
    from pytest_smoltrace.resume import Resumption


class Ledger:
    """Writes the journal of one session and builds its datasets at the end."""

    def __init__(
        self,
        config: RunConfig,
        facts: SessionFacts,
        redactor: Redactor,
        resumed: Resumption | None = None,
    ) -> None:
        self.directory: Path = (
            resumed.directory if resumed else run_directory(config.directory, facts.session_id)
        )
        self.opened = False
        self.bindings: Mapping[str, list[str]] = {}
        """Worker -> GPUs that it was bound to."""
        self._config = config
        self._facts = facts
        self._planned = False
        self._started = False
        self._closed = False
        self._has_cases = False
        self._left: set[str] = set()
        self._running: dict[str, str] = {}
        """Worker -> node id of the case that it runs."""
        self._last: dict[str, int] = {}
        """Worker -> hash of the bundle that it wrote last."""
        self._redactor = redactor
        self._resumed = resumed
        self._part: Part | None = None
        self._writer = JournalWriter(self.directory / JOURNAL_NAME, redactor, config.fsync)

    def open(
        self, environment: Mapping[str, Any], *, prices_version: str | None, workers: int
    ) -> None:
        """Make the run directory and write the header.

        Raises:
            ConfigError: The directory exists already or cannot be written.
        """
        if self.opened:
            return
        if self._resumed is not None:
            self._reopen(self._resumed, environment, workers)
        else:
            self._create(environment, prices_version, workers)
        self.opened = True

    def _create(
        self, environment: Mapping[str, Any], prices_version: str | None, workers: int
    ) -> None:
        shard = self._config.shard
        self._writer.create(
            Header(
                session_id=self._facts.session_id,
                started_unix_ns=self._facts.started_unix_ns,
                plugin_version=__version__,
                config=self._config.shown,
                environment=environment,
                prices_version=prices_version,
                workers=workers,
                shard={"index": shard.index, "count": shard.count} if shard else None,
                bindings=self.bindings,
                electricity=asdict(self._config.electricity),
            )
        )

    def _reopen(self, resumed: Resumption, environment: Mapping[str, Any], workers: int) -> None:
        """Take the journal of the earlier run; nothing is written before the suite is known."""
        self._writer.reopen(resumed.run.size)
        (self.directory / GATES_NAME).unlink(missing_ok=True)  # they were judged by less
        self._part = Part(
            started_unix_ns=self._facts.started_unix_ns,
            plugin_version=__version__,
            environment=environment,
            workers=workers,
            shard=resumed.header.shard,
            bindings=self.bindings,
        )

    @property
    def left_out(self) -> int:
        """Planned cases that no worker has started."""
        return len(self._left)

    def plan(self, encoded: str) -> None:
        """Write the selected cases, once: all workers send the same plan.

        Raises:
            ConfigError: The session resumes a run of another suite.
        """
        if self._planned:
            return
        plan = decode_plan(encoded.encode())
        done: Collection[str] = ()
        if self._resumed is not None:
            self._resumed.check_suite(plan)
            done = self._resumed.done
        self._planned = True
        self._has_cases |= bool(plan.own)
        self._left = {case.nodeid for case in plan.own} - set(done)
        if self._resumed is None or not self._resumed.knows_suite:
            self._writer.plan(plan)
        if self._resumed is not None and (self._left or not self._resumed.is_complete):
            self._resume(self._resumed)

    def _resume(self, resumed: Resumption) -> None:
        """Write what became of the cases in flight, and that a further session begins."""
        part, self._part = self._part, None
        assert part is not None
        for record in resumed.run.cut_short():
            with suppress(UnwrittenError):
                self._writer.append(self._redactor.json(encode_case(record)))
        with suppress(UnwrittenError):
            self._writer.part(part)

    def case_open(self, nodeid: str, worker: str) -> None:
        """Write that a case starts."""
        if self.opened:
            self._started = True
            nodeid = self._redactor.text(nodeid)  # as the plan has it
            self._left.discard(nodeid)
            self._running[worker] = nodeid
            self._writer.open_case(nodeid, worker, time.time_ns())

    def append(self, bundle: str, worker: str) -> None:
        """Write a finished case, once: an interrupt may make somebody hand it in again."""
        self._running.pop(worker, None)
        if self.opened and self._last.get(worker) != (key := hash(bundle)):
            self._has_cases = True
            self._last[worker] = key
            self._writer.append(bundle)

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
        nodeid = self._redactor.text(nodeid)  # as the plan has it
        # xdist takes a worker that died after a case for one that died in it.
        ended = nodeid not in self._left and self._running.get(worker) != nodeid
        if not self.opened or ended:
            return
        self._left.discard(nodeid)
        cases = self.planned_cases()
        if nodeid in cases or not self._planned:
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

    def planned_cases(self) -> dict[str, Declared]:
        """Return the cases of the plan by node id, read from the journal."""
        lines = self._writer.lines()
        plan = takewhile(lambda line: line.kind not in ("open", "spans", "case"), lines)
        return {
            case.nodeid: case
            for line in plan
            if line.kind == "plan"
            for case in decode_plan(line.data).own
        }

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

        lost = self._writer.settle()
        if lost and stop_reason == "completed":
            stop_reason = f"error: {lost} of the cases could not be written"
        footer = Footer(
            ended_unix_ns=time.time_ns(),
            stop_reason=stop_reason,
            exit_status=exit_status or int(lost > 0),
            not_applied=not_applied,
        )
        self._closed = True
        # A session that found nothing to do is no part of the run that it resumed.
        with suppress(UnwrittenError):
            self._writer.close(footer if self._part is None else None)
        return None if self._writer.is_gone else finish(self.directory)

    @property
    def notices(self) -> list[str]:
        """What happened to the journal without a loss, one line each."""
        return self._writer.notices

    @property
    def gaps(self) -> list[str]:
        """What the journal lacks of what it was to hold, one line each."""
        return self._writer.gaps

    def discard(self) -> None:
        """Remove the run directory of a session that was stopped before it began."""
        if self.opened and not (self._closed or self._started or self._has_cases):
            self._take_back()

    def _take_back(self) -> None:
        """Remove the run directory of a session that had no case."""
        self._closed = True
        self._writer.close(None)
        if self._resumed is not None:
            return
        try:
            shutil.rmtree(self.directory / FOLDER, ignore_errors=True)
            (self.directory / JOURNAL_NAME).unlink()
            self.directory.rmdir()
        except FileNotFoundError:
            return  # somebody else did
        except OSError as error:
            raise JournalError(f"cannot remove {self.directory}: {error.strerror}") from error
