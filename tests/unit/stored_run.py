"""Stored runs: journals with datasets, as a session leaves them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_smoltrace.codec import Plan
from pytest_smoltrace.journal import JournalWriter, encode_case
from pytest_smoltrace.pipeline import finish
from tests.unit import run_factory as factory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PASSES = {"c1": "P", "c2": "F", "c3": "P"}
"""Case -> how each of its trials ends: Pass, Fail, Error of the infrastructure, Skip."""
_ENDS = {
    "P": ("passed", None),
    "F": ("failed", factory.failure()),
    "E": ("failed", factory.failure("rate_limit", "infra")),
    "S": ("skipped", None),
}


def store(
    directory: Path,
    session_id: str = "s-1",
    *,
    cases: Mapping[str, str] | None = None,
    started_s: int = 0,
    models: tuple[str, ...] = ("m-1",),
    config: Mapping[str, object] | None = None,
    environment: Mapping[str, object] | None = None,
    exit_status: int = 0,
    stop_reason: str = "completed",
    footer: bool = True,
    built: bool = True,
    demand: str = "do",
    rerun: bool = False,
) -> Path:
    """Write a run below `directory`/runs and return it; with `rerun` each case ran twice."""
    run = directory / "runs" / session_id
    shown = factory.HEADER.config | (config or {})
    header = replace(
        factory.HEADER,
        session_id=session_id,
        started_unix_ns=factory.START + started_s * 10**9,
        config=shown,
        environment=factory.HEADER.environment | (environment or {}),
    )
    records = [
        _record(number, trial, end, _declared(number, case_id, trial, model, demand))
        for model in models
        for number, (case_id, ends) in enumerate((PASSES if cases is None else cases).items())
        for trial, end in enumerate(ends)
    ]
    writer = JournalWriter(run / "journal.jsonl")
    writer.create(header)
    writer.plan(Plan(tuple(record.declared for record in records)))
    for record in records:
        writer.append(encode_case(record))
        if rerun:
            writer.append(encode_case(replace(record, trace_id=f"f{record.trace_id[1:]}")))
    end = replace(factory.FOOTER, exit_status=exit_status, stop_reason=stop_reason)
    writer.close(end if footer else None)
    if built:
        finish(run)
    return run


def _declared(number, case_id, trial, model, demand):
    return factory.declared(
        case_id,
        nodeid=f"test_a.py::test[{case_id}-{model}-t{trial}]",
        trial=trial,
        trials=3,
        model=model,
        prompt=f"{demand} {case_id}",
        difficulty="hard" if number % 2 else "easy",
        tags=("b", "a"),
    )


def _record(number, trial, end, declared):
    outcome, error = _ENDS[end]
    model = declared.model
    return factory.record(
        number + 1,
        outcome,
        declared=declared,
        error=error,
        runs=(factory.agent_run(model=model, prompt=declared.prompt),),
        phases=factory.phases("failed" if error else "passed", call_s=1.0 + number + trial / 4),
        trace_id=f"{len(model) + ord(model[-1]):08x}{number:012x}{trial:012x}",
    )
