"""Saves runs as baselines: a copy by name beside the runs, or a summary alone for git."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from pytest_smoltrace.baselines.demands import DEMANDS_NAME, demands_of
from pytest_smoltrace.baselines.reference import finished_runs
from pytest_smoltrace.baselines.saved import new_folder, saved_folder
from pytest_smoltrace.baselines.trust import Trust, trust
from pytest_smoltrace.encoding import dumps
from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.measured.load import SUMMARY_NAME, load_directory, load_summary
from pytest_smoltrace.stored_runs import find_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_smoltrace.measured.session import MeasuredSession

_COPIED = ("results", "traces", "leaderboard")
"""Datasets of a baseline; what a comparison reads."""
_LAST = "last"


def run_to_save(name: str | None, directory: Path) -> Path:
    """Return the run that a name means; the newest finished one when there is no name.

    Raises:
        ConfigError: There is none.
    """
    if name in (None, _LAST):
        newest = next(finished_runs(directory), None)
        if newest is not None:
            return newest
    return find_run(name or _LAST, directory)


def save(run: Path, name: str, directory: Path) -> Path:
    """Copy the datasets of a run to the baseline of a new name and return its folder.

    Raises:
        ConfigError: The name cannot be used, or is in use.
        JournalError: The run has no datasets, or they cannot be copied.
    """
    folder = new_folder(name, directory)
    if folder.exists():
        raise ConfigError(
            f"baseline {name!r} exists already; replace it with: "
            f"pytest-smoltrace baseline promote RUN {name}"
        )
    return _put(load_directory(run), run, folder)


def promote(run: Path, name: str, directory: Path, *, force: bool = False) -> tuple[Path, Trust]:
    """Let a run take the place of the baseline of a name and return its folder.

    Args:
        run: A run directory.
        name: Name of a baseline, which need not exist yet.
        directory: Folder that runs are stored in.
        force: Whether to do it whatever speaks against it.

    Raises:
        ConfigError: The name cannot be used.
        JournalError: Something speaks against the run, or it cannot be copied.
    """
    folder = new_folder(name, directory)
    session = load_directory(run)
    found = trust(session, _old(folder, force=force))
    _refuse(found, run, force=force)
    return _put(session, run, folder), found


def write_summary(
    run: Path, file: Path, name: str, *, replace: bool = False, force: bool = False
) -> Trust:
    """Write the summary of a run as a file of its own, which `git:` and paths refer to.

    Args:
        run: A run directory.
        file: The file.
        name: Name of the baseline, kept in the file.
        replace: Whether it takes the place of an earlier one if it may be trusted.
        force: Whether to replace it whatever speaks against the run.

    Raises:
        ConfigError: The file exists and is not to be replaced.
        JournalError: Something speaks against the run, or a file cannot be read or written.
    """
    session = load_directory(run)
    if file.exists() and not replace:
        raise ConfigError(
            f"{file} exists already; replace it with: "
            f"pytest-smoltrace baseline promote --output {file}"
        )
    found = trust(session, _old_file(file, force=force)) if replace else Trust(against=(), notes=())
    _refuse(found, run, force=force)
    value = {**session.summary, "baseline": {"name": name, "demands": _demands(session)}}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        part.write_bytes(_pretty(value))
        part.replace(file)
    except OSError as error:
        raise JournalError(f"cannot write {file}: {error.strerror or error}") from error
    return found


def remove(name: str, directory: Path) -> Path:
    """Remove the saved baseline of a name and return where it was.

    Raises:
        ConfigError: There is none.
        JournalError: It cannot be removed.
    """
    folder = saved_folder(name, directory)
    try:
        shutil.rmtree(folder.rename(_beside(folder, "old")))
    except OSError as error:
        raise JournalError(f"cannot remove {folder}: {error.strerror or error}") from error
    return folder


def _refuse(found: Trust, run: Path, *, force: bool) -> None:
    if found.against and not force:
        raise JournalError(
            f"{run.name} is no better baseline: {'; '.join(found.against)}; "
            "look into it, or take it all the same with --force"
        )


def _old(folder: Path, *, force: bool) -> MeasuredSession | None:
    """Return the baseline that is there; one that cannot be read only gives way to force."""
    try:
        return load_directory(folder) if folder.exists() else None
    except JournalError:
        if force:
            return None
        raise


def _old_file(file: Path, *, force: bool) -> MeasuredSession | None:
    try:
        return load_summary(orjson.loads(file.read_bytes()), str(file)) if file.exists() else None
    except (OSError, ValueError, JournalError) as error:
        if force:
            return None
        raise JournalError(f"cannot read {file}: {error}; replace it with --force") from error


def _put(session: MeasuredSession, run: Path, folder: Path) -> Path:
    """Copy a run beside the folder, then give the copy its name."""
    new = _beside(folder, "new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for dataset in _COPIED:
            if (run / dataset).is_dir():
                shutil.copytree(run / dataset, new / dataset)
        (new / DEMANDS_NAME).write_bytes(_pretty(_demands(session)))
        shutil.copyfile(run / SUMMARY_NAME, new / SUMMARY_NAME)
        with _set_aside(folder):
            new.rename(folder)
    except OSError as error:
        raise JournalError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder


def _demands(session: MeasuredSession) -> dict[str, Any]:
    found = demands_of(session) or {}
    return {case_id: sorted(digests) for case_id, digests in found.items()}


@contextmanager
def _set_aside(folder: Path) -> Iterator[None]:
    """Keep what has the name until its successor has it: no folder replaces a full one."""
    old = _beside(folder, "old")
    shutil.rmtree(old, ignore_errors=True)
    had = folder.exists()
    if had:
        folder.rename(old)
    try:
        yield
    except BaseException:
        if had:
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(folder: Path, what: str) -> Path:
    """Return a name that no other process uses and no list of baselines shows."""
    return folder.with_name(f".{folder.name}.{os.getpid()}.{what}")


def _pretty(value: Any) -> bytes:
    return dumps(value, orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n"
