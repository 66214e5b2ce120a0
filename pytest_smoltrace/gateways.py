"""Workers on other hosts: the part of the controller, on xdist's own gateways."""

from __future__ import annotations

import os
import platform
import sys
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace import (
    binding,
    dist,
    elsewhere,
    host_check,
    host_gpus,
    preflight,
    remote_worker,
)
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.hosts import forwarded, load, moved, placements
from pytest_smoltrace.option_table import OPTIONS
from pytest_smoltrace.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.host_check import Answer
    from pytest_smoltrace.host_gpus import Share
    from pytest_smoltrace.hosts import Placement

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

    In a worker, register what tells the controller why pytest refuses to run.

    Raises:
        pytest.UsageError: Workers on a host could not run the cases.
    """
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Guest(), "smoltrace-guest")
    places = config.stash.get(_PLACES, ())
    if not places:
        return
    try:
        preflight.check_remote([one.host for one in places if one.chdir], run_config.limits)
        answers = host_check.check(places, elsewhere.questions(config, run_config))
        _check_plugins(config, answers)
        shares = host_gpus.shares(places, answers, run_config.gpus_per_worker)
    except ConfigError as error:
        raise pytest.UsageError(redacted(str(error))) from None
    resolved = [host_check.placed(one, answers) for one in places]
    plugin = Gateways(config, resolved, answers, shares)
    config.pluginmanager.register(plugin, "smoltrace-gateways")


class Gateways:
    """Brings workers to their hosts, and says what is different there."""

    def __init__(
        self,
        config: pytest.Config,
        places: Sequence[Placement],
        answers: Sequence[Answer],
        shares: Sequence[Share | None],
    ) -> None:
        self._pytest = config
        self._places = places
        self._answers = answers
        self._shares = shares
        self._placed: list[tuple[Any, Placement]] = []
        """Spec of a worker -> its place; xdist uses the spec again when the worker dies."""
        self._next: Placement | None = None
        self._has_begun = False
        self._lost: set[str] = set()

    @pytest.hookimpl(trylast=True)
    def pytest_report_header(self) -> list[str]:
        """Say which workers run where, and what is different there."""
        unset = self._pytest.stash.get(_UNSET, [])
        hints = [f"smoltrace: forward_env: {name} is not set here" for name in unset]
        return [*self._host_lines(), *hints]

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_setupnodes(self, specs: list[Any]) -> None:
        """Give each worker its variables: execnet sets them before anything is imported."""
        gpus = self._pytest.pluginmanager.getplugin(binding.NAME)
        here = str(self._pytest.rootpath)
        for spec, place, share in zip(specs, self._places, self._shares, strict=True):
            there = place.chdir or here
            spec.env.update({name: moved(text, here, there) for name, text in place.env.items()})
            if share is not None:
                gpus.give(spec, share[1], share[0])
            self._placed.append((spec, place))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker on another host where the project is and what to run."""
        self._next = self._place_of(node)
        if self._next is not None and self._next.chdir is not None:
            node.workerinput[remote_worker.PLACE] = elsewhere.told(self._pytest, self._next.chdir)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_getremotemodule(self) -> Any:
        """Return what the worker that was configured last runs; None is xdist's own."""
        return remote_worker if self._next is not None and self._next.chdir else None

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """End the session when a worker could not even begin; leave a host that has gone."""
        place = self._place_of(node)
        if error is None or place is None:
            return
        if not hasattr(node, "workerinfo") and not self._has_begun:
            raise pytest.UsageError(f"{place.host}: a worker did not start: {_reason(error)}")
        if place.chdir is not None and not host_check.answers(place):
            self._move(node, place)

    def _move(self, node: Any, place: Placement) -> None:
        """Let the worker that replaces one of a lost host run on the next host."""
        self._lost.add(place.host)
        left = [(spec, one) for spec, one in self._placed if one.host not in self._lost]
        if not left:
            pytest.exit(f"{place.host} no longer answers, and no other host is left", returncode=2)
        spec, other = left[len(self._placed) % len(left)]
        node.gateway.spec = type(spec)(str(spec))
        node.gateway.spec.env.update(spec.env)
        self._placed.append((node.gateway.spec, other))
        self._say(f"{place.host} no longer answers; its worker goes on on {other.host}")

    def _say(self, line: str) -> None:
        reporter = self._pytest.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"\nsmoltrace: {line}", yellow=True)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        """Note that workers can start: one that cannot later on is lost, not wrong."""
        self._has_begun = True

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


class Guest:
    """The part of a worker: says why pytest refused to run in it."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Leave word of a usage error, which xdist would lose."""
        error = sys.exception()
        if isinstance(error, pytest.UsageError):
            dist.refuse(session.config, f"{platform.node()}: {' '.join(map(str, error.args))}")


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


def _check_plugins(config: pytest.Config, answers: Sequence[Answer]) -> None:
    """Refuse a plugin whose workers look for their controller on their own host."""
    away = [answer.host for answer in answers if not answer.shares_loopback]
    if away and config.pluginmanager.hasplugin("rerunfailures"):
        raise ConfigError(
            f"{away[0]}: workers of pytest-rerunfailures call 127.0.0.1 and cannot reach this "
            "machine from there; add -p no:rerunfailures"
        )


def _span(workers: Sequence[str]) -> str:
    return workers[0] if len(workers) == 1 else f"{workers[0]}-{workers[-1]}"


def _reason(error: object) -> str:
    """Return the last line of a traceback that begins with the name of an error."""
    lines = [line for line in str(error).splitlines() if line and not line[0].isspace()]
    return (lines[-1] if lines else str(error)).removeprefix("_pytest.config.exceptions.")
