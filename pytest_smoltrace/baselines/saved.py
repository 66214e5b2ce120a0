"""The baselines that are saved by name beside the runs: which there are, and what they hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.measured.load import SUMMARY_NAME, load_directory
from pytest_smoltrace.option_values import run_id
from pytest_smoltrace.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_smoltrace.measured.session import MeasuredRun

FOLDER = "baselines"
DEFAULT_NAME = "main"
RESERVED = ("last", "last-green")


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """One run of a saved baseline, as a list shows it."""

    name: str
    session_id: str | None = None
    started: str | None = None
    """ISO 8601 in UTC."""
    model: str | None = None
    agent_type: str | None = None
    rate: float | None = None
    """Percent, with the ends of its 95 % interval."""
    low: float | None = None
    high: float | None = None
    cases: int = 0
    trials: float | None = None
    """Trials a case, a mean where cases differ."""
    hardware: str | None = None
    problem: str | None = None
    """Why it cannot be read."""


def saved_baselines(directory: Path) -> tuple[Path, ...]:
    """Return the folders of the saved baselines below the folder that runs are stored in."""
    found = (directory / FOLDER).glob(f"*/{SUMMARY_NAME}")
    return tuple(sorted(path.parent for path in found if not path.parent.name.startswith(".")))


def saved_folder(name: str, directory: Path) -> Path:
    """Return the folder of the saved baseline of a name.

    Raises:
        ConfigError: There is none.
    """
    folders = {path.name: path for path in saved_baselines(directory)}
    if name not in folders:
        hint = did_you_mean(name, folders)
        raise ConfigError(f"no baseline {name!r} is saved in {directory / FOLDER}{hint}")
    return folders[name]


def new_folder(name: str, directory: Path) -> Path:
    """Return the folder that a baseline of a name has or would have.

    Raises:
        ConfigError: The name means something else, or is no safe name of a folder.
    """
    if name in RESERVED:
        raise ConfigError(f"{name!r} means the newest run; save the baseline by another name")
    return directory / FOLDER / run_id(name)


def listed(directory: Path) -> Iterator[Saved]:
    """Yield every run of every saved baseline."""
    for folder in saved_baselines(directory):
        try:
            session = load_directory(folder)
        except JournalError as error:
            yield Saved(name=folder.name, problem=str(error))
            continue
        for run in session.runs:
            yield _saved(folder.name, session.session_id, run)


def _saved(name: str, session_id: str, run: MeasuredRun) -> Saved:
    row: Any = run.row
    scored = bool(row.get("num_tests"))
    trials = Counter(run.attempts["case_id"].to_pylist())
    return Saved(
        name=name,
        session_id=session_id,
        started=row.get("started_at"),
        model=run.model,
        agent_type=run.agent_type,
        rate=row.get("success_rate") if scored else None,
        low=row.get("success_rate_ci_low"),
        high=row.get("success_rate_ci_high"),
        cases=len(trials),
        trials=sum(trials.values()) / len(trials) if trials else None,
        hardware=row.get("hardware"),
    )
