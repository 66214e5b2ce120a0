"""Reads results tables from Parquet: the columns that figures and comparisons need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pytest_smoltrace.errors import JournalError
from pytest_smoltrace.schema.results import RESULTS
from pytest_smoltrace.schema.version import CONTRACT_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LEFT_OUT = frozenset({
    "enhanced_trace_info", "scores", "extra", "gpu_events",
    "start_time_unix_nano", "end_time_unix_nano",
})  # fmt: skip
"""Columns that no figure is made of; the JSON of them is most of what would be read."""
_NEEDED = ("case_id", "success")
"""Columns without which a table is not one of results."""
_TYPES = {column.name: column.arrow for column in RESULTS.columns}


def results_table(sources: Iterable[Path | bytes], place: str) -> pa.Table:
    """Return the rows of results in Parquet files, their columns of the contract's types.

    Args:
        sources: Files, or the bytes of files.
        place: Where they come from, for messages.

    Raises:
        JournalError: One cannot be read, holds something else, or is of a later version.
    """
    try:
        tables = [_read(source) for source in sources]
        table = pa.concat_tables(tables, promote_options="default")
    except (OSError, pa.ArrowException) as error:
        raise JournalError(f"cannot read {place}: {_one_line(error)}") from error
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        raise JournalError(f"{place} holds no results: it has no column {missing[0]!r}")
    if table["case_id"].null_count:
        raise JournalError(f"{place} holds no results: a row has no case_id")
    if "schema_version" in table.column_names:
        for version in table["schema_version"].unique().to_pylist():
            refuse_later(version, place)
    return _typed(table, place)


def refuse_later(version: object, place: str) -> None:
    """Refuse what a version of another major contract wrote.

    Raises:
        JournalError: The version is later than this package knows.
    """
    major = str(version or CONTRACT_VERSION).partition(".")[0]
    ours = CONTRACT_VERSION.partition(".")[0]
    if major.isdecimal() and int(major) > int(ours):
        raise JournalError(
            f"{place} is of schema version {version}, this version of pytest-smoltrace reads "
            f"{ours}.x; upgrade it with: pip install -U pytest-smoltrace"
        )


def _read(source: Path | bytes) -> pa.Table:
    """Return the wanted columns; opening a path itself keeps partitions out of its name."""
    with pq.ParquetFile(source if isinstance(source, Path) else pa.BufferReader(source)) as file:
        names = [name for name in file.schema_arrow.names if name not in _LEFT_OUT]
        return file.read(columns=names).replace_schema_metadata(None)


def _typed(table: pa.Table, place: str) -> pa.Table:
    """Return the table with known columns as they are declared; other writers vary them."""
    fields = [pa.field(field.name, _TYPES.get(field.name, field.type)) for field in table.schema]
    try:
        return table.cast(pa.schema(fields))
    except pa.ArrowException as error:
        raise JournalError(f"{place} holds no results: {_one_line(error)}") from error


def runs_of(table: pa.Table) -> Iterator[tuple[str, str | None, str | None, pa.Table]]:
    """Yield id, model, agent type and rows of each run, of one identity the newest run alone."""
    newest: dict[tuple[str | None, str | None], tuple[str, str, pa.Table]] = {}
    ids = _values(table, "run_id")
    for run_id in dict.fromkeys(ids):
        mine = table.filter(pc.equal(table["run_id"], run_id)) if run_id is not None else table
        identity = (_identity(mine, "model"), _identity(mine, "agent_type"))
        started = max((str(each) for each in _values(mine, "evaluation_date")), default="")
        if identity not in newest or started >= newest[identity][0]:
            newest[identity] = (started, run_id or "", mine)
    for (model, agent_type), (_, run_id, mine) in newest.items():
        yield run_id, model, agent_type, mine


def _values(table: pa.Table, name: str) -> list[str | None]:
    """Return the distinct values of a column, None where it is not stored."""
    if name not in table.column_names:
        return [None]
    return list(table[name].unique().to_pylist())


def _identity(table: pa.Table, name: str) -> str | None:
    """Return the value that a run goes by: of attempts that built no agent there is none."""
    return next((value for value in _values(table, name) if value is not None), None)


def counted(table: pa.Table) -> pa.Table:
    """Return the counted rows; all of them where the table does not say which those are."""
    if "counted" not in table.column_names:
        return table
    return table.filter(pc.fill_null(table["counted"], False))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
