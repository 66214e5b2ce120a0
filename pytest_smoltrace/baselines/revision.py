"""Reads a file as it was at a revision of the git repository that the tests are in."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_smoltrace.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT_S = 120
"""A clone without blobs fetches them now."""
_LFS = b"version https://git-lfs.github.com/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A file at a revision."""

    data: bytes | None
    """None when the revision has no such file."""
    commit: str
    """Its full id."""


def read_at(revision: str, path: str, rootdir: Path) -> Stored:
    """Return a file at a revision.

    Args:
        revision: Anything that git takes for a commit.
        path: Relative to `rootdir`, or to the root of the repository.
        rootdir: A folder in the repository.

    Raises:
        ConfigError: There is no repository, the revision is unknown, or it has no file there.
    """
    commit = _commit(revision, rootdir)
    posix = path.replace("\\", "/").removeprefix("./")
    for name in (f"{commit}:./{posix}", f"{commit}:{posix}"):
        kind = _git(rootdir, "cat-file", "-t", name)
        if kind.returncode == 0:
            return Stored(data=_content(rootdir, name, kind.stdout.decode().strip()), commit=commit)
    return Stored(data=None, commit=commit)


def _commit(revision: str, rootdir: Path) -> str:
    """Return the id of the commit that a revision names."""
    inside = _git(rootdir, "rev-parse", "--git-dir")
    if inside.returncode:
        raise ConfigError(f"git does not work in {rootdir}: {_said(inside)}")
    found = _git(rootdir, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if found.returncode:
        raise ConfigError(
            f"revision {revision!r} is not in this clone; fetch it first with "
            f"git fetch origin, in GitHub Actions with fetch-depth: 0 of actions/checkout"
        )
    return found.stdout.decode().strip()


def _content(rootdir: Path, name: str, kind: str) -> bytes:
    if kind != "blob":
        raise ConfigError("it is a folder; name a Parquet or summary.json file in it")
    found = _git(rootdir, "cat-file", "blob", name)
    if found.returncode:
        raise ConfigError(f"git cannot read it: {_said(found)}")
    if found.stdout.startswith(_LFS):
        raise ConfigError("it is a Git LFS pointer; store a summary.json, which needs no LFS")
    return found.stdout


def _git(rootdir: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder; it asks nothing and answers in English."""
    environment = os.environ | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    try:
        return subprocess.run(  # noqa: S603 - a list of words, no shell
            ["git", *words],  # noqa: S607 - git is where the user has it
            cwd=rootdir,
            env=environment,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise ConfigError("git is not installed here") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"git did not answer within {_TIMEOUT_S} s") from None


def _said(run: subprocess.CompletedProcess[bytes]) -> str:
    """Return the first line of what git complained about."""
    lines = run.stderr.decode(errors="replace").splitlines()
    return lines[0].removeprefix("fatal: ") if lines else f"exit code {run.returncode}"
