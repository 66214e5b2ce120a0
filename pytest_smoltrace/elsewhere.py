"""What other hosts have to know of the session here: what to run, and where it comes from."""

from __future__ import annotations

import inspect
import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_smoltrace import preflight
from pytest_smoltrace.config import PROVIDERS
from pytest_smoltrace.host_check import Questions
from pytest_smoltrace.hosts import moved

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from pytest_smoltrace.config import RunConfig

_PACKAGES = {
    "pytest-smoltrace": "pytest_smoltrace",
    "pytest-xdist": "xdist",
    "pytest": "pytest",
    "smolagents": "smolagents",
}
_FROM_CACHE = ("lf", "failedfirst", "newfirst", "stepwise")
_CACHED = ("cache/lastfailed", "cache/nodeids", "cache/stepwise")


def questions(config: pytest.Config, run_config: RunConfig) -> Questions:
    """Return what hosts are asked about before the session."""
    named = [PROVIDERS[s.provider].package for s in run_config.models if s.provider in PROVIDERS]
    return Questions(
        project=str(config.rootpath),
        files=_files(config),
        paths=tuple(_paths(config)),
        patterns=tuple(config.getini("python_files")),
        packages=_PACKAGES | {name: name for name in named},
        keys=tuple(preflight.needed_keys(run_config)),
        addresses=tuple(map(preflight.endpoint, preflight.addresses(run_config))),
    )


def _files(config: pytest.Config) -> tuple[str, ...]:
    """Return the ini file, relative to the project."""
    return () if config.inipath is None else (os.path.relpath(config.inipath, config.rootpath),)


def _paths(config: pytest.Config) -> Iterator[str]:
    """Yield what is to be collected, relative to the project."""
    root, start = config.rootpath, config.invocation_params.dir
    if not config.option.pyargs:
        for word in config.args:
            yield os.path.relpath(start / word.partition("::")[0], root)


def told(config: pytest.Config, there: str) -> dict[str, Any]:
    """Return what `remote_worker` reads."""
    import xdist.remote

    here = str(config.rootpath)
    ini = ["-c", str(config.inipath)] if config.inipath else []
    added = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    words = [f"--rootdir={here}", *ini, *added, *map(str, config.invocation_params.args)]
    start = os.path.relpath(config.invocation_params.dir, here)
    return {
        "cwd": os.path.normpath(Path(there, start)),
        "args": [moved(word, here, there) for word in words],
        "cache": _cache(config),
        "source": inspect.getsource(xdist.remote),
        "file": xdist.remote.__file__,
    }


def _cache(config: pytest.Config) -> dict[str, str]:
    """Return what `--lf`, `--ff`, `--nf` and `--sw` read, when one of them is given."""
    if not any(getattr(config.option, name, False) for name in _FROM_CACHE):
        return {}
    found = {name: config.cache.get(name, None) for name in _CACHED} if config.cache else {}
    return {name: json.dumps(value) for name, value in found.items() if value is not None}
