"""Fetches a results dataset from the Hugging Face Hub."""

from __future__ import annotations

import re
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_smoltrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>.+))?")


def fetch(name: str) -> Path:
    """Return a folder with the Parquet files of a dataset, from the cache where nothing changed.

    Args:
        name: OWNER/NAME, with @REVISION for another than the main branch.

    Raises:
        ConfigError: The name is wrong, or the dataset cannot be fetched.
    """
    found = _NAME.fullmatch(name)
    if not found:
        raise ConfigError("it is no dataset; write hub:OWNER/NAME or hub:OWNER/NAME@REVISION")
    import huggingface_hub

    with _quiet():
        try:
            folder = huggingface_hub.snapshot_download(
                found["id"],
                repo_type="dataset",
                revision=found["revision"],
                allow_patterns=["*.parquet"],
            )
        except _errors() as error:
            raise ConfigError(_reason(error, found["id"], found["revision"])) from error
    return Path(folder)


def _errors() -> tuple[type[BaseException], ...]:
    """Return what the client raises: its own errors, those of what it sends by, and of files."""
    known = vars(import_module("huggingface_hub.errors")).values()
    own = (kind for kind in known if isinstance(kind, type) and issubclass(kind, Exception))
    return (*own, OSError, ValueError)


def _reason(error: BaseException, name: str, revision: str | None) -> str:
    """Return what an error of the client means for the user."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"dataset {name} is gated; accept its terms and set HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"dataset {name} has no revision {revision or 'main'!r}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no dataset {name} on the Hub, or HF_TOKEN does not open it"
    answer = error if isinstance(error, errors.HfHubHTTPError) else error.__cause__
    if isinstance(answer, errors.HfHubHTTPError):
        status = getattr(answer.response, "status_code", "nothing")
        return f"dataset {name} cannot be fetched: the Hub answered with status {status}"
    if isinstance(error, (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError)):
        return f"the Hub cannot be reached and dataset {name} is not in the cache"
    return f"dataset {name} cannot be fetched: {' '.join(str(error).split())}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars of the download out of the terminal."""
    utils = import_module("huggingface_hub.utils")
    shown = not utils.are_progress_bars_disabled()
    if shown:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            utils.enable_progress_bars()
