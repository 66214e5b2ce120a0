"""Reads stored sessions from run directories and files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pytest_smoltrace.errors import JournalError
from pytest_smoltrace.measured.case_lines import table_of
from pytest_smoltrace.measured.session import MeasuredRun, MeasuredSession
from pytest_smoltrace.measured.tables import counted, refuse_later, results_table, runs_of
from pytest_smoltrace.rows.leaderboard import NONE
from pytest_smoltrace.rows.summary import plain
from pytest_smoltrace.schema.results import RESULTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SUMMARY_NAME = "summary.json"
_FILES = "*.parquet"


def load_directory(directory: Path) -> MeasuredSession:
    """Return the session of a run directory with datasets.

    Raises:
        JournalError: Its datasets are missing or cannot be read.
    """
    place = _near(directory)
    summary = _summary(directory, place)
    files = sorted((directory / "results").glob(_FILES))
    if not files and summary["runs"] and summary.get("cases"):
        raise JournalError(f"{place} has no results; make them with: {_build(directory)}")
    table = results_table(files, place) if files else pa.Table.from_batches([], RESULTS.schema)
    return _session(summary, table, place, directory=directory)


def load_summary(value: Any, place: str = SUMMARY_NAME) -> MeasuredSession:
    """Return the session that a summary alone tells of.

    Args:
        value: The value of summary.json.
        place: Where it comes from.

    Raises:
        JournalError: It is no summary, or one of a later version.
    """
    summary = _checked(value, place)
    cases = summary.get("cases") or []
    try:
        table = table_of(cases)
    except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
        raise JournalError(f"{place} is no summary: a case line is wrong: {error}") from error
    return _session(summary, table, place, left_out=summary.get("cases_left_out") or 0)


def load_parquet(
    source: Path | bytes | Sequence[Path], place: str | None = None
) -> MeasuredSession:
    """Return the session of a results table alone; of several runs of a model the newest.

    Args:
        source: A Parquet file, its bytes, or the files of one table.
        place: Where it comes from; None is the file's name.

    Raises:
        JournalError: It cannot be read or holds no results.
    """
    sources = [source] if isinstance(source, Path | bytes) else list(source)
    first = next((each for each in sources if isinstance(each, Path)), None)
    place = place or (_near(first) if first else "the Parquet file")
    table = results_table(sources, place)
    runs = tuple(
        MeasuredRun(
            run_id=run_id,
            model=model,
            agent_type=agent_type,
            row={},
            attempts=counted(rows),
            total_attempts=rows,
        )
        for run_id, model, agent_type, rows in runs_of(table)
    )
    return MeasuredSession(session_id=_session_id(runs), place=place, runs=runs)


def _session_id(runs: Iterable[MeasuredRun]) -> str:
    """Return the ids of the sessions of runs, normally one."""
    found: dict[str, None] = {}
    for run in runs:
        named = "session_id" in run.attempts.column_names and run.attempts.num_rows
        found[str(run.attempts["session_id"][0]) if named else run.run_id] = None
    return ", ".join(found)


def _session(
    summary: Mapping[str, Any],
    table: pa.Table,
    place: str,
    *,
    directory: Path | None = None,
    left_out: int = 0,
) -> MeasuredSession:
    runs = tuple(_run(row, table, whole=not left_out) for row in summary["runs"])
    return MeasuredSession(
        session_id=str(summary["session_id"]),
        place=place,
        runs=runs,
        directory=directory,
        summary=summary,
        settings=next((_config(run.row) for run in runs), {}),
        left_out=left_out,
    )


def _run(row: Mapping[str, Any], table: pa.Table, *, whole: bool) -> MeasuredRun:
    rows = table.filter(pc.equal(table["run_id"], row["run_id"]))
    return MeasuredRun(
        run_id=row["run_id"],
        model=_known(row.get("model")),
        agent_type=_known(row.get("agent_type")),
        row=row,
        attempts=counted(rows),
        total_attempts=rows if whole else None,
    )


def _known(name: str | None) -> str | None:
    """Return a name, None for the placeholder of an unknown one."""
    return None if name == NONE else name


def _config(row: Mapping[str, Any]) -> Mapping[str, Any]:
    found = row.get("config")
    return found if isinstance(found, dict) else {}


def _summary(directory: Path, place: str) -> dict[str, Any]:
    """Return the summary of a run directory, or what its leaderboard tells of one."""
    path = directory / SUMMARY_NAME
    try:
        value = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        value = _from_leaderboard(directory, place)
    except (OSError, ValueError) as error:
        raise JournalError(
            f"cannot read {_near(path)}: {error}; make it again with: {_build(directory)}"
        ) from error
    return _checked(value, place)


def _from_leaderboard(directory: Path, place: str) -> dict[str, Any]:
    files = sorted((directory / "leaderboard").glob(_FILES))
    if not files:
        raise JournalError(f"{place} has no datasets; make them with: {_build(directory)}")
    try:
        rows = [plain(row) for file in files for row in pq.ParquetFile(file).read().to_pylist()]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise JournalError(f"cannot read the leaderboard in {place}: {error}") from error
    first: Mapping[str, Any] = rows[0] if rows else {}
    return {
        "schema_version": first.get("schema_version"),
        "session_id": first.get("session_id", directory.name),
        "runs": rows,
    }


def _checked(value: Any, place: str) -> dict[str, Any]:
    """Return a summary whose runs can be told apart."""
    if not isinstance(value, dict) or not isinstance(value.get("runs"), list):
        raise JournalError(f"{place} is no summary of a run: it has no list of runs")
    refuse_later(value.get("schema_version"), place)
    named = all(isinstance(row, dict) and "run_id" in row for row in value["runs"])
    if not named or "session_id" not in value or not isinstance(value.get("cases", []), list):
        raise JournalError(f"{place} is no summary of a run: ids of session or runs are missing")
    return value


def _build(directory: Path) -> str:
    return f"pytest-smoltrace build {_near(directory)}"


def _near(path: Path) -> str:
    """Return the path as one would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
