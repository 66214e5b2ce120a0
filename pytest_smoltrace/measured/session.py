"""The figures of a stored session: a run for each model and agent type, an attempt a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRun:
    """One model with one agent type."""

    run_id: str
    model: str | None
    agent_type: str | None
    row: Mapping[str, Any]
    """Leaderboard row as in summary.json; empty where only results are stored."""
    attempts: pa.Table
    """Counted rows by the names of the results table; a column that is not stored is absent."""
    total_attempts: pa.Table | None = None
    """All rows, reruns included, for sums of what was spent; None where only counted ones are
    stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSession:
    """A stored session, whatever it was read from."""

    session_id: str
    place: str
    """Where it was read from, as a person would say it."""
    runs: tuple[MeasuredRun, ...]
    directory: Path | None = None
    """Run directory with traces; None when there are none."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """Value of summary.json; empty where there is none."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Effective options of the session; empty where unknown."""
    left_out: int = 0
    """Attempts that the source does not hold."""
