"""Workers on other hosts: the part of the controller, on xdist's own gateways."""

from __future__ import annotations

import inspect
import os
import shlex
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace import host_check, preflight, remote_worker
from pytest_smoltrace.config import PROVIDERS
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.host_check import Questions
from pytest_smoltrace.hosts import forwarded, load, moved, placements
from pytest_smoltrace.option_table import OPTIONS
from pytest_smoltrace.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.host_check import Answer
    from pytest_smoltrace.hosts import Placement

_PACKAGES = {
    "pytest-smoltrace": "pytest_smoltrace",
    "pytest-xdist": "xdist",
    "pytest": "pytest",
    "smolagents": "smolagents",
}
_PYTEST_VARIABLES = ("PYTEST_PLUGINS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")
_ONLY_SHOWS = (
    *("help", "version", "markers", "showfixtures", "show_fixtures_per_test", "cacheshow"),
    *("collectonly", "setuponly", "setupplan"),
)
_RESTARTS = 4
"""Restarts for each worker: as many as xdist allows with -n."""
_PLACES = pytest.StashKey["tuple[Placement, ...]"]()
_UNSET = pytest.StashKey[list[str]]()


def announce(early_config: pytest.Config) -> None:
    """Let plugins that ask early, such as pytest-cov, know that the session is distributed."""
    namespace = early_config.known_args_namespace
    if getattr(namespace, "dist", None) == "no":
        namespace.dist = "load"


def place(config: pytest.Config, path: Path) -> None:
    """Read the hosts file and give xdist the workers that it asks for.

    Raises:
        pytest.UsageError: The file or the command line asks for what cannot be.
    """
    if any(getattr(config.option, name, False) for name in _ONLY_SHOWS):
        return
    _check_command_line(config)
    try:
        file = load(path)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None
    named = [option.env for option in OPTIONS] + [*_PYTEST_VARIABLES]
    settings = {name: os.environ[name] for name in named if name in os.environ}
    listed, config.stash[_UNSET] = forwarded(file.forward_env, os.environ)
    install(config, placements(file.hosts, settings | listed, config.rootpath))


def install(config: pytest.Config, places: tuple[Placement, ...]) -> None:
    """Make these the workers of the session: all that an engine has to call."""
    config.stash[_PLACES] = places
    config.option.tx = [place.spec for place in places]
    if config.option.dist == "no":
        config.option.dist = "load"
    if config.option.maxworkerrestart is None:
        config.option.maxworkerrestart = str(_RESTARTS * len(places))


def connect(config: pytest.Config, run_config: RunConfig) -> None:
    """Ask the hosts what would make their workers fail, and register what brings workers there.

    Raises:
        pytest.UsageError: Workers on a host could not run the cases.
    """
    places = config.stash.get(_PLACES, ())
    if not places:
        return
    try:
        preflight.check_remote([one.host for one in places if one.chdir], run_config.limits)
        answers = host_check.check(places, _questions(config, run_config))
    except ConfigError as error:
        raise pytest.UsageError(redacted(str(error))) from None
    resolved = [host_check.placed(one, answers) for one in places]
    config.pluginmanager.register(Gateways(config, resolved, answers), "smoltrace-gateways")


class Gateways:
    """Brings workers to their hosts, and says what is different there."""

    def __init__(
        self, config: pytest.Config, places: Sequence[Placement], answers: Sequence[Answer]
    ) -> None:
        self._pytest = config
        self._places = places
        self._answers = answers
        self._placed: list[tuple[Any, Placement]] = []
        """Spec of a worker -> its place; xdist uses the spec again when the worker dies."""
        self._next: Placement | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_report_header(self) -> list[str]:
        """Say which workers run where, and what is different there."""
        unset = self._pytest.stash.get(_UNSET, [])
        hints = [f"smoltrace: forward_env: {name} is not set here" for name in unset]
        return [*self._host_lines(), *hints]

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_setupnodes(self, specs: list[Any]) -> None:
        """Give each worker its variables: execnet sets them before anything is imported."""
        for spec, place in zip(specs, self._places, strict=True):
            here, there = str(self._pytest.rootpath), place.chdir
            spec.env.update(
                {name: moved(text, here, there) for name, text in place.env.items()}
                if there
                else place.env
            )
            self._placed.append((spec, place))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker on another host where the project is and what to run."""
        self._next = self._place_of(node)
        if self._next is not None and self._next.chdir is not None:
            node.workerinput[remote_worker.PLACE] = _told(self._pytest, self._next.chdir)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_getremotemodule(self) -> Any:
        """Return what the worker that was configured last runs; None is xdist's own."""
        return remote_worker if self._next is not None and self._next.chdir else None

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """End the session with one line when a worker could not even begin."""
        place = self._place_of(node)
        if error is not None and place is not None and not hasattr(node, "workerinfo"):
            raise pytest.UsageError(f"{place.host}: a worker did not start: {_reason(error)}")

    def _place_of(self, node: Any) -> Placement | None:
        spec = node.gateway.spec
        return next((place for placed, place in self._placed if placed is spec), None)

    def _host_lines(self) -> Iterator[str]:
        found = {answer.host: answer for answer in self._answers}
        names = iter(f"gw{number}" for number in range(len(self._places)))
        for host, places in groupby(self._places, key=lambda place: place.host):
            workers = [next(names) for _ in places]
            answer = found.get(host)
            gpus = f", {host_check.gpu_text(answer.facts['gpus'])}" if answer else ""
            yield f"smoltrace: {_span(workers)} on {host}{gpus}"
            for difference in answer.differences if answer else ():
                yield f"smoltrace: {host}: {difference}"


def _check_command_line(config: pytest.Config) -> None:
    if not config.pluginmanager.hasplugin("xdist"):
        raise pytest.UsageError("--smoltrace-hosts needs pytest-xdist, which is not loaded")
    option, words = config.option, list(map(str, config.invocation_params.args))
    given = {
        "-n": option.numprocesses is not None,
        "--tx": bool(option.tx),
        "--dist=no": "--dist=no" in words or ("--dist", "no") in pairwise(words),
        "--pdb": option.usepdb,
    }
    for name, is_given in given.items():
        if is_given:
            raise pytest.UsageError(
                f"--smoltrace-hosts says where cases run, {name} does too: leave one of them out"
            )


def _questions(config: pytest.Config, run_config: RunConfig) -> Questions:
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


def _told(config: pytest.Config, there: str) -> dict[str, Any]:
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
        "source": inspect.getsource(xdist.remote),
        "file": xdist.remote.__file__,
    }


def _span(workers: Sequence[str]) -> str:
    return workers[0] if len(workers) == 1 else f"{workers[0]}-{workers[-1]}"


def _reason(error: object) -> str:
    """Return the last line of a traceback that begins with the name of an error."""
    lines = [line for line in str(error).splitlines() if line and not line[0].isspace()]
    return (lines[-1] if lines else str(error)).removeprefix("_pytest.config.exceptions.")
