"""From a run to its tables, in two passes over the journal and in bounded memory."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.attempt import make_attempt, session_of
from pytest_smoltrace.attempt.ending import verdict_of
from pytest_smoltrace.rows.equal_trials import EqualTrials
from pytest_smoltrace.rows.groups import Grouping, group_attempts
from pytest_smoltrace.rows.leaderboard import run_rows
from pytest_smoltrace.rows.metrics import (
    attempt_points,
    device_points,
    run_points,
    tick_points,
)
from pytest_smoltrace.rows.populations import KeptRows
from pytest_smoltrace.rows.processes import Processes
from pytest_smoltrace.rows.seed_json import SeedJson
from pytest_smoltrace.rows.spans import TraceBatch
from pytest_smoltrace.rows.summary import CaseLines, summary_of
from pytest_smoltrace.rows.tally import Tally
from pytest_smoltrace.rows.ticks import stretches
from pytest_smoltrace.schema import LEADERBOARD, PER_GPU, POINTS, RESULTS, TICKS, TRACES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from pytest_smoltrace.attempt import Attempt
    from pytest_smoltrace.facts import CaseRecord, SpanTable
    from pytest_smoltrace.rows.gpu import SampledGpus
    from pytest_smoltrace.rows.leaderboard import RunRows
    from pytest_smoltrace.run import Run

BATCH = 128
"""Attempts of one record batch: fewer cost time, more cost memory."""


class Built:
    """The tables of a run, made while they are read."""

    def __init__(self, run: Run, *, batch: int = BATCH) -> None:
        """Take the run; nothing is read from it before `batches`."""
        self.summary: dict[str, Any] = {}
        """Value of summary.json, complete once the batches are read."""
        self.metrics_json: list[dict[str, Any]] = []
        """Value of metrics.json, complete once the batches are read."""
        self.credits = ""
        """Markdown with the sources of figures that ask to be named, for the dataset cards."""
        self.warnings: tuple[str, ...] = ()
        """What is wrong with samples or trials, one line each, known once the batches are read."""
        self._run = run
        self._batch = batch
        self._session = session_of(run.header)
        self._processes = Processes()
        self._equal_trials = EqualTrials()
        self._gpus: SampledGpus | None = None

    def batches(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield (table, rows): results, traces and points as they come, then the rest."""
        run = self._run
        grouping = group_attempts(run.heads(), run.planned, run.header.session_id)
        self._gpus = self._sampled(grouping)
        tallies = {group.run_id: Tally() for group in grouping.groups}
        cases = CaseLines()
        results = KeptRows()
        records = enumerate(run.attempts())
        while tables := self._next(records, grouping, tallies, cases):
            results.add(tables["results"])
            yield from tables.items()
        rows_of = results.by_run(tallies)
        runs = [
            run_rows(run, group, tallies[key], rows_of[key], self._session, gpus=self._gpus)
            for group in grouping.groups
            for key in (group.run_id,)
        ]
        yield from self._of_runs(runs, cases)

    def _sampled(self, grouping: Grouping) -> SampledGpus | None:
        """Return what the GPUs did, None where none was sampled."""
        if not self._run.has_samples:
            return None
        from pytest_smoltrace.rows.gpu import SampledGpus

        gpus = SampledGpus(self._run, grouping)
        self.warnings, self.credits = gpus.warnings, gpus.credits
        return gpus

    def _next(
        self,
        records: Iterator[tuple[int, tuple[CaseRecord, SpanTable]]],
        grouping: Grouping,
        tallies: Mapping[str, Tally],
        cases: CaseLines,
    ) -> dict[str, pa.RecordBatch]:
        """Return the tables of the next attempts, nothing when there are none left."""
        attempts = TraceBatch()
        for place, (record, spans) in islice(records, self._batch):
            attempt = self._attempt(place, record, spans, grouping)
            tallies[attempt.run_id].take(attempt, self._run.part_of(place))
            self._processes.take(attempt, self._run.part_of(place))
            cases.take(attempt)
            self._equal_trials.take(attempt)
            attempts.add(attempt, spans)
        if not attempts:
            return {}
        points = attempt_points(attempts, self._session.session_id)
        return {
            "results": RESULTS.to_arrow(attempts),
            "traces": TRACES.to_arrow(attempts),
            "metrics/points": POINTS.to_arrow(points),
        }

    def _attempt(
        self, place: int, record: CaseRecord, spans: SpanTable, grouping: Grouping
    ) -> Attempt:
        """Return one attempt without its spans."""
        attempt = make_attempt(
            record,
            spans,
            session=self._session,
            run_id=grouping.groups[grouping.group_of[place]].run_id,
            standing=grouping.standing(place, success=verdict_of(record).success),
        )
        if self._gpus is None:
            return attempt
        return replace(attempt, gpu=self._gpus.use_of(place, attempt.run_id, record))

    def _of_runs(
        self, runs: list[RunRows], cases: CaseLines
    ) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield the rows of whole runs and complete summary and metrics.json."""
        session = self._session
        made = SeedJson(session.service_name)
        points = run_points(runs, session.session_id)
        made.add(points)
        yield "metrics/points", POINTS.to_arrow(points)
        for run in runs:
            yield from self._ticks(run, made)
            if self._gpus is not None:
                points = device_points(run, self._gpus.device_energy_wh(run.run_id))
                made.add(points)
                yield "metrics/points", POINTS.to_arrow(points)
        self.metrics_json = made.value
        self.warnings += self._equal_trials.lines
        leaderboard = LEADERBOARD.to_arrow(runs)
        self.summary = summary_of(self._run, leaderboard, cases)
        yield "leaderboard", leaderboard

    def _ticks(self, run: RunRows, made: SeedJson) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield the ticks of a run and their points."""
        start, end = run.window_ns
        told_ns = 0
        for stretch in stretches(run.run_id, run.session, end, self._processes, self._gpus):
            for ticks, of_gpus in stretch.blocks():
                yield "metrics", TICKS.to_arrow(ticks)
                if of_gpus:
                    yield "metrics/per_gpu", PER_GPU.to_arrow(of_gpus)
                points = tick_points(
                    run.session.session_id, ticks, of_gpus, start_ns=start, told_ns=told_ns
                )
                made.add(points)
                if len(points):
                    yield "metrics/points", POINTS.to_arrow(points)
            told_ns = max(told_ns, stretch.times[-1])


def build(run: Run, *, batch: int = BATCH) -> Built:
    """Return the tables of a run; rows come as the batches are read."""
    return Built(run, batch=batch)
