"""The run directories of a folder, and the one that a name means."""

from __future__ import annotations

from pathlib import Path

from pytest_smoltrace.codec import decode_header
from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.journal import JOURNAL_NAME, read_journal
from pytest_smoltrace.suggestion import did_you_mean


def list_runs(root: Path) -> tuple[Path, ...]:
    """Return the run directories below `root`, newest first, unreadable ones last."""
    journals = (root / "runs").glob(f"*/{JOURNAL_NAME}")
    found = ((_started_unix_ns(path), path.parent) for path in journals)
    return tuple(path for _, path in sorted(found, reverse=True))


def _started_unix_ns(journal: Path) -> int:
    try:
        return decode_header(next(read_journal(journal)).data).started_unix_ns
    except JournalError:
        return 0


def find_run(name: str | Path, root: Path) -> Path:
    """Return the run that a directory, an id, a unique start of one, or `last` names."""
    if name and (Path(name) / JOURNAL_NAME).is_file():
        return Path(name)
    wanted = str(name)
    runs = {path.name: path for path in list_runs(root)}
    if wanted in runs:
        return runs[wanted]
    if wanted == "last" and runs:
        return next(iter(runs.values()))
    matches = [run_id for run_id in runs if wanted and run_id.startswith(wanted)]
    if len(matches) == 1:
        return runs[matches[0]]
    raise _not_found(wanted, root / "runs", matches or list(runs), ambiguous=bool(matches))


def _not_found(wanted: str, where: Path, ids: list[str], *, ambiguous: bool) -> ConfigError:
    if ambiguous:
        return ConfigError(f"run {wanted!r} is ambiguous in {where}: {', '.join(ids[:5])}")
    if wanted and Path(wanted).is_dir():
        return ConfigError(f"{wanted} is not a run directory: it has no {JOURNAL_NAME}")
    if not ids:
        return ConfigError(f"no run {wanted!r}: no run is stored in {where}")
    return ConfigError(f"no run {wanted!r} in {where}{did_you_mean(wanted, ids)}")
