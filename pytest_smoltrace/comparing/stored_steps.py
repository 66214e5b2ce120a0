"""Reads the steps of chosen attempts from the traces of a run directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_smoltrace.comparing.steps import Step, steps_of
from pytest_smoltrace.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

_SPAN = "spans.list.element."
_COLUMNS = (
    "trace_id",
    *(f"{_SPAN}{name}" for name in ("span_id", "parent_span_id", "name", "start_time")),
    *(f"{_SPAN}{name}" for name in ("duration_ms", "status")),
    *(
        f"{_SPAN}attributes.{name}"
        for name in (
            *("openinference.span.kind", "smoltrace.role", "smoltrace.counted_call"),
            *("gen_ai.usage.total_tokens", "gen_ai.usage.cost.total"),
            *("tool.name", "tool.parameters", "output.value"),
        )
    ),
)
"""What steps are read from; the inputs of LLM calls, most of a trace, are not."""


def stored_steps(directory: Path, trace_ids: Collection[str]) -> Mapping[str, tuple[Step, ...]]:
    """Return trace id -> steps, for those of the traces that a run directory holds.

    Raises:
        JournalError: Its traces cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: dict[str, tuple[Step, ...]] = {}
    try:
        for path in sorted((directory / "traces").glob("*.parquet")):
            with pq.ParquetFile(path) as file:
                for table in _wanted(file, trace_ids):
                    for row in table.to_pylist():
                        found[row["trace_id"]] = steps_of(row["spans"] or ())
    except (OSError, pa.ArrowException) as error:
        raise JournalError(f"cannot read the traces of {directory}: {error}") from error
    return found


def _wanted(file: pq.ParquetFile, trace_ids: Collection[str]) -> Iterator[pa.Table]:
    """Yield the wanted rows of each row group that holds one, one group at a time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted(trace_ids), pa.string())
    for group in range(file.num_row_groups):
        ids = file.read_row_group(group, columns=["trace_id"]).column(0)
        mask = pc.is_in(ids, value_set=wanted)
        if pc.any(mask).as_py():
            yield file.read_row_group(group, columns=list(_COLUMNS)).filter(mask)
