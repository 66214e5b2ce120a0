"""Writes the reports of a run for people and CI systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def write_reports(
    directory: Path,
    summary: Mapping[str, Any],
    *,
    ci: str,
    environ: Mapping[str, str],
    annotate: Callable[[str], None],
    locations: Mapping[str, tuple[str, int]],
) -> list[str]:
    """Write the reports of a run and return what went wrong, one line each."""
    return []
