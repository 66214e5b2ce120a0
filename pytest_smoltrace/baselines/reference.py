"""Finds the baseline that a reference names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from pytest_smoltrace.baselines.hub import fetch
from pytest_smoltrace.baselines.revision import read_at
from pytest_smoltrace.baselines.saved import DEFAULT_NAME, saved_baselines
from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.journal import JOURNAL_NAME
from pytest_smoltrace.measured.load import (
    SUMMARY_NAME,
    load_directory,
    load_parquet,
    load_summary,
)
from pytest_smoltrace.run import read_ends
from pytest_smoltrace.stored_runs import list_runs
from pytest_smoltrace.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_smoltrace.measured.session import MeasuredSession

LAST = "last"
LAST_GREEN = "last-green"
_GIT = "git:"
_HUB = "hub:"
_PARQUET = b"PAR1"
_ITSELF = "it is this session itself; name an earlier one"
_PICKING = frozenset({"-k", "--lf", "--sw", "--deselect"})
_SHOWN = 5
"""Ids that are named when several fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a reference led to."""

    reference: str
    """As it was asked for."""
    session: MeasuredSession | None
    missing: str | None = None
    """Why there is none, when there may well be none yet."""


def find(reference: str, *, directory: Path, rootdir: Path, leave_out: str = "") -> Found:
    """Return the baseline that a reference names.

    Args:
        reference: An id or unique start of one, `last`, `last-green`, the name of a saved
            baseline, a run directory, a Parquet or summary.json file, git:REV:PATH,
            hub:OWNER/NAME.
        directory: Folder that runs are stored in.
        rootdir: Folder that relative paths and git revisions are of.
        leave_out: Id of a session that is no baseline.

    Raises:
        ConfigError: It is no reference, or what it names cannot be used.
    """
    try:
        found = _find(reference, directory, rootdir, leave_out)
    except (ConfigError, JournalError) as error:
        raise ConfigError(f"{reference or repr('')}: {error}") from error
    if isinstance(found, str):
        return Found(reference=reference, session=None, missing=found)
    if leave_out and found.session_id == leave_out:
        raise ConfigError(f"{reference}: {_ITSELF}")
    return Found(reference=reference, session=found)


def _find(reference: str, directory: Path, rootdir: Path, leave_out: str) -> MeasuredSession | str:
    """Return a session, or why there is none yet."""
    if reference in (LAST, LAST_GREEN):
        return _newest(directory, leave_out, green=reference == LAST_GREEN)
    if reference.startswith(_GIT):
        return _from_git(reference.removeprefix(_GIT), rootdir)
    if reference.startswith(_HUB):
        return _from_hub(reference)
    named = {path.name: path for path in saved_baselines(directory)}
    named |= {path.name: path for path in list_runs(directory)}
    if leave_out and reference == leave_out:
        raise ConfigError(_ITSELF)
    if reference in named:
        return load_directory(named[reference])
    path = rootdir / Path(reference).expanduser()
    if reference and path.exists():
        return _from_path(path)
    return _by_start(reference, named, path, leave_out)


def _newest(directory: Path, leave_out: str, *, green: bool) -> MeasuredSession | str:
    """Return the newest other run that has ended, with datasets; of green ones when asked."""
    runs = finished_runs(directory, leave_out)
    found = _newest_green(runs) if green else next(runs, None)
    if found is not None:
        return load_directory(found)
    kind = "green run" if green else "finished run"
    return f"no other {kind} is stored in {directory / 'runs'}"


def _newest_green(runs: Iterable[Path]) -> Path | None:
    """Return the newest green run, one of a few picked cases only when there is no other."""
    narrowed = None
    for run in runs:
        summary = _green_summary(run)
        if summary is not None and not is_picked(summary.get("selection") or ""):
            return run
        narrowed = narrowed or (run if summary is not None else None)
    return narrowed


def finished_runs(directory: Path, leave_out: str = "") -> Iterator[Path]:
    """Yield the other runs that have ended and have datasets, newest first."""
    for run in list_runs(directory):
        try:
            header, footer = read_ends(run)
        except JournalError:
            continue
        other = leave_out not in (run.name, header.session_id)
        if footer is not None and other and (run / SUMMARY_NAME).is_file():
            yield run


def is_picked(selection: str, *, marks: bool = False) -> bool:
    """Return whether a selection is of tests picked by hand; folders and files name suites.

    Args:
        selection: Arguments as one would type them.
        marks: Whether -m picks tests, too, and does not name a suite.
    """
    words = selection.split()
    return any(word in _PICKING or "::" in word or (marks and word == "-m") for word in words)


def _green_summary(run: Path) -> dict[str, Any] | None:
    """Return the summary of a run that was executed whole and that nothing failed, else None."""
    try:
        summary: dict[str, Any] = orjson.loads((run / SUMMARY_NAME).read_bytes())
        complete = all(row["run_status"] == "completed" for row in summary["runs"])
        gates = (summary.get("gates") or {}).get("status", "passed")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    ended = summary.get("stop_reason") == "completed" and summary.get("exit_status") == 0
    return summary if summary["runs"] and complete and ended and gates != "failed" else None


def _from_git(text: str, rootdir: Path) -> MeasuredSession | str:
    revision, colon, path = text.partition(":")
    if not (revision and colon and path):
        raise ConfigError("write git:REVISION:PATH, as in git:origin/main:baseline.json")
    stored = read_at(revision, path, rootdir)
    if stored.data is None:
        return f"revision {revision!r} ({stored.commit[:10]}) has no file {path}"
    return _from_bytes(stored.data, f"{path} of {revision} ({stored.commit[:10]})")


def _from_hub(reference: str) -> MeasuredSession | str:
    files = _parquet_files(fetch(reference.removeprefix(_HUB)))
    if not files:
        return "the dataset has no Parquet file"
    return load_parquet(files, reference)


def _from_path(path: Path) -> MeasuredSession:
    if not path.is_dir():
        try:
            data = path.read_bytes()
        except OSError as error:
            raise JournalError(f"it cannot be read: {error.strerror}") from error
        return _from_bytes(data, str(path))
    if (path / SUMMARY_NAME).is_file() or (path / "leaderboard").is_dir():
        return load_directory(path)
    if (path / JOURNAL_NAME).is_file():
        raise ConfigError(f"it has no datasets; make them with: pytest-smoltrace build {path}")
    if files := _parquet_files(path):
        return load_parquet(files, str(path))
    raise ConfigError("the folder is neither a run directory nor a dataset of results")


def _parquet_files(folder: Path) -> list[Path]:
    """Return the files of a dataset: below `data` as the Hub has them, or in the folder."""
    return sorted(folder.glob("data/**/*.parquet")) or sorted(folder.glob("*.parquet"))


def _from_bytes(data: bytes, place: str) -> MeasuredSession:
    """Return the session of a Parquet or JSON file."""
    if data.startswith(_PARQUET):
        return load_parquet(data, place)
    try:
        value: Any = orjson.loads(data)
    except ValueError:
        raise JournalError(f"{place} is neither Parquet nor JSON") from None
    return load_summary(value, place)


def _by_start(
    reference: str, named: dict[str, Path], path: Path, leave_out: str
) -> MeasuredSession | str:
    """Return the run whose id alone starts so; else say what is wrong or not there yet."""
    starts = [name for name in named if reference and name.startswith(reference)]
    others = [name for name in starts if name != leave_out]
    if len(others) == 1:
        return load_directory(named[others[0]])
    if others:
        raise ConfigError(f"several runs start so: {', '.join(others[:_SHOWN])}")
    if starts:
        raise ConfigError(_ITSELF)
    if reference == DEFAULT_NAME:
        return f"no baseline is saved as {DEFAULT_NAME!r}; pytest-smoltrace baseline promote does"
    if _is_path(reference):
        return f"there is no {path} (a dataset of the Hub is written hub:OWNER/NAME)"
    raise ConfigError(_unknown(reference, [*named]))


def _is_path(reference: str) -> bool:
    parts = {"/", os.sep} & {*reference}
    return bool(parts) or Path(reference).suffix in (".json", ".parquet")


def _unknown(reference: str, names: Sequence[str]) -> str:
    hint = did_you_mean(reference, (*names, LAST, LAST_GREEN, DEFAULT_NAME))
    kinds = (
        f"; a baseline is a run id, {LAST}, {LAST_GREEN}, a saved name, a directory, a file, "
        "git:REV:PATH or hub:OWNER/NAME"
    )
    return f"no run or saved baseline is called so{hint or kinds}"
