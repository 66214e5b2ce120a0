"""The baselines that are saved by name beside the runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_smoltrace.measured.load import SUMMARY_NAME

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "baselines"
DEFAULT_NAME = "main"


def saved_baselines(directory: Path) -> tuple[Path, ...]:
    """Return the folders of the saved baselines below the folder that runs are stored in."""
    return tuple(sorted(path.parent for path in (directory / FOLDER).glob(f"*/{SUMMARY_NAME}")))
