"""Finds the baseline that a reference names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_smoltrace.measured.session import MeasuredSession


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
    raise NotImplementedError
