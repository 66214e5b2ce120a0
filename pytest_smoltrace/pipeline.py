"""From a run directory to its datasets: what the plugin and the command line share."""

from __future__ import annotations

import gc
import os
import shlex
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.build import build
from pytest_smoltrace.errors import JournalError
from pytest_smoltrace.exporters import parquet
from pytest_smoltrace.run import load_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished run: where it is and what came of it."""

    directory: Path
    summary: Mapping[str, Any]
    """Value of summary.json."""
    warnings: tuple[str, ...]
    """What the journal or the samples lack, one line each."""
    datasets: Mapping[str, Path]
    """Dataset name -> folder that `datasets.load_dataset` reads."""


def finish(directory: Path) -> Outcome:
    """Build every dataset of a run directory from its journal alone."""
    with _collector_paused():
        run = load_run(directory)
        built = build(run)
        try:
            datasets = parquet.write(built, directory)
        except OSError as error:
            command = f"pytest-smoltrace build {shlex.quote(str(directory))}"
            reason = os.strerror(error.errno) if error.errno else error
            raise JournalError(
                f"cannot write the datasets in {directory}: {reason}; "
                f"the journal is kept, make them later with: {command}"
            ) from error
    return Outcome(
        directory=directory,
        summary=built.summary,
        warnings=(*run.warnings, *built.warnings),
        datasets=datasets,
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the cycle collector from walking what is held again and again; it has no cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
