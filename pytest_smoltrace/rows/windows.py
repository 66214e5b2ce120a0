"""When which attempt could use which GPUs: one more pass over the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_smoltrace.attribution import Window
from pytest_smoltrace.codec import load_line
from pytest_smoltrace.journal import JOURNAL_NAME, read_journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_smoltrace.rows.groups import Grouping
    from pytest_smoltrace.run import Run


def windows(run: Run, grouping: Grouping) -> Iterator[Window]:
    """Yield the phases of attempts that were not replayed and whose processes had a GPU.

    Attempts that only the end of the session tells of have no phases.
    """
    lines = read_journal(run.directory / JOURNAL_NAME, run.size)
    cases = (line.data for line in lines if line.kind == "case")
    for place, data in enumerate(cases):
        case = load_line(data, "case")
        clock, uuids = case.get("clock"), case.get("gpu_uuids")
        if clock is None or not uuids or case.get("replay_mode") == "replayed":
            continue
        for phase in case["phases"]:
            yield Window(
                place=place,
                run_id=grouping.groups[grouping.group_of[place]].run_id,
                phase=phase["when"],
                clock=clock,
                devices=tuple(uuids),
                pid=case["pid"],
                start_mono_ns=phase["start_mono_ns"],
                end_mono_ns=phase["end_mono_ns"],
            )
