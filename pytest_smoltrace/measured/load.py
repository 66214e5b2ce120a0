"""Reads stored sessions from run directories and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_smoltrace.measured.session import MeasuredSession


def load_directory(directory: Path) -> MeasuredSession:
    """Return the session of a run directory with datasets.

    Raises:
        JournalError: Its datasets are missing or cannot be read.
    """
    raise NotImplementedError
