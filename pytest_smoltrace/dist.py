"""Who does what under xdist, and how a bundle travels from a worker to the journal."""

from __future__ import annotations

import atexit
import time
import uuid
import zlib
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace.coordination import Coordination
from pytest_smoltrace.hosts import is_remote
from pytest_smoltrace.options import runs_nothing
from pytest_smoltrace.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BUNDLE = "_smoltrace_bundle"
STOP = "_smoltrace_stop"
"""Stop reason of the run and a line for the user, parted by a line end."""
BUDGET = "budget"
UNTRACED = "_smoltrace_untraced"
INPUT = "smoltrace"
CHANNEL = "smoltrace_channel"
REFUSED = "smoltrace_refused"
CUT = "cut"
OPEN = "open"
PLAN = "plan"
HALT = "stop"
SAMPLES = "samples"
NOT_SAMPLED = "off: no case has been collected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """The part of this process in the session."""

    name: str
    """standalone, controller or worker."""
    worker_id: str = "main"

    @property
    def runs_tests(self) -> bool:
        """Whether cases run in this process."""
        return self.name != "controller"

    @property
    def logs_reports(self) -> bool:
        """Whether this process writes the journal."""
        return self.name != "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What is decided once for a session and travels to every worker."""

    session_id: str
    started_unix_ns: int
    local_urls: Mapping[str, str]
    """Model spec -> address of its local server."""
    directory: str | None = None
    """Run directory of the run that is resumed; None where the session id names it."""
    coordination: str | None = None
    """Directory that the processes of the session share; None where no case runs."""
    done: tuple[str, ...] = ()
    """Node ids of the resumed run, as its journal has them, that are not run again."""
    durations: str | None = None
    """What balances the shards, as `sharding` encodes it."""
    gpu: str = NOT_SAMPLED
    """measuring, or off and why."""
    samples: str | None = None
    """File that the GPUs of the owner's host are sampled into; None when they are not."""
    remote: bool = False
    """Whether reports leave the host: their bundles are compressed."""


def role_of(config: pytest.Config) -> Role:
    """Return the part of this process in the session."""
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        return Role(name="worker", worker_id=workerinput["workerid"])
    # As xdist decides it: a mode without workers, as an ini file may name one, distributes nothing.
    option = config.option
    distributes = getattr(option, "dist", "no") != "no" and bool(getattr(option, "tx", None))
    return Role(name="controller" if distributes else "standalone")


def begin(config: pytest.Config, role: Role) -> tuple[Signals, Coordination | None]:
    """Watch for SIGTERM from before there is something to give back until that has been done."""
    shared: Coordination | None = None

    def give_back() -> None:
        if shared is not None:
            shared.remove()

    is_shown_only = runs_nothing(config)
    signals = Signals(role, give_back if role.logs_reports and not is_shown_only else None)
    config.add_cleanup(signals.restore)  # before `coordinate` adds one, so that it comes after
    with signals.deferred():
        if not is_shown_only:
            shared = coordinate(config, role)
    return signals, shared


def coordinate(config: pytest.Config, role: Role) -> Coordination | None:
    """Return what this process shares with the others; a worker's controller decides whether."""
    if role.logs_reports:
        made = Coordination.create(role.worker_id)
        # When the last worker has ended, also where the session was refused before it began.
        config.add_cleanup(made.remove)
        return made
    told = config.workerinput[INPUT]["coordination"]  # type: ignore[attr-defined]
    if not told:
        return None
    joined = Coordination.join(told, role.worker_id)
    config.add_cleanup(joined.leave)
    # Where the controller has gone, xdist fails before pytest cleans up.
    atexit.register(joined.leave)
    return joined


def told_facts(config: pytest.Config) -> SessionFacts | None:
    """Return the facts that the controller told this worker; None when it is no worker."""
    workerinput = getattr(config, "workerinput", None)
    return None if workerinput is None else SessionFacts(**workerinput[INPUT])


def new_facts(run_id: str | None, shared: Coordination | None = None) -> SessionFacts:
    """Return the facts of a session that begins here."""
    return SessionFacts(
        session_id=run_id or str(uuid.uuid4()),
        started_unix_ns=time.time_ns(),
        local_urls={},
        coordination=str(shared.directory) if shared else None,
    )


def tell_worker(node: Any, facts: SessionFacts) -> None:
    """Give a worker the facts of the session before it starts."""
    node.workerinput[INPUT] = {
        field.name: getattr(facts, field.name) for field in fields(facts)
    } | {"local_urls": dict(facts.local_urls), "remote": is_remote(node.gateway.spec)}


def listen(config: pytest.Config, stop: Callable[[], None]) -> None:
    """Call `stop` in a worker, from another thread, when the controller is interrupted or dies."""
    channel = getattr(config, "workerinput", {}).get(CHANNEL)
    if channel is not None:
        # Also when the controller has gone: nobody would take what this worker still does.
        channel.setcallback(lambda _: stop(), endmarker=None)


def send_open(config: pytest.Config, nodeid: str) -> None:
    """Tell which worker starts a case: xdist does not say it."""
    _say(config, OPEN, nodeid)


def send_plan(config: pytest.Config, plan: str) -> None:
    """Send the plan of a worker, before its first case."""
    _say(config, PLAN, plan)


def send_cut(config: pytest.Config, bundle: str) -> None:
    """Send the case that a worker runs while it is interrupted, "" when it runs none."""
    _say(config, CUT, bundle)


def send_samples(config: pytest.Config, name: str, offset: int, data: bytes) -> None:
    """Send a compressed stretch of a file of samples."""
    _say(config, SAMPLES, {"name": name, "offset": offset, "data": data})


def take_samples(folder: Path, said: Mapping[str, Any]) -> None:
    """Put samples of another host into the run directory, at the place that they had there."""
    with suppress(OSError):  # a full disk is told of by the journal
        folder.mkdir(exist_ok=True)
        path = folder / Path(said["name"]).name
        with path.open("r+b" if path.exists() else "w+b") as stream:
            stream.seek(said["offset"])
            stream.write(zlib.decompress(said["data"]))


def _say(config: pytest.Config, kind: str, text: Any) -> None:
    channel = getattr(config, "workerinput", {}).get(CHANNEL)
    if channel is not None:
        try:
            channel.send((kind, text))
        except OSError:
            return  # the controller has gone, and the journal with it


def refuse(config: pytest.Config, message: str) -> bool:
    """Leave word for the controller why this worker runs no case; False when there is none."""
    # A usage error of a worker would end as an internal error of the controller.
    output: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output[REFUSED] = message
    return output is not None


def refused_by(node: Any) -> str | None:
    """Return why a worker that has ended ran no case; None when it did not refuse."""
    message: str | None = getattr(node, "workeroutput", {}).get(REFUSED)
    return message


def attach(report: pytest.TestReport, name: str, value: str) -> None:
    """Put one encoded value on a report; xdist carries it to the controller."""
    setattr(report, name, value)


def attach_bundle(report: pytest.TestReport, bundle: str, facts: SessionFacts) -> None:
    """Put the bundle of a case on its report, compressed where it leaves the host."""
    setattr(report, BUNDLE, zlib.compress(bundle.encode(), 1) if facts.remote else bundle)


def detach(report: pytest.TestReport, name: str) -> str | None:
    """Take a value off a report again, so that nobody else keeps or sees it."""
    value: str | bytes | None = report.__dict__.pop(name, None)
    return zlib.decompress(value).decode() if isinstance(value, bytes) else value


def worker_of(report: pytest.TestReport) -> str:
    """Return the name of the worker that a report came from."""
    gateway = getattr(getattr(report, "node", None), "gateway", None)
    return str(getattr(report, "worker_id", None) or getattr(gateway, "id", "main"))


def was_interrupted(report: pytest.TestReport) -> bool:
    """Return whether the worker of a lost case was stopped, not killed."""
    output = getattr(getattr(report, "node", None), "workeroutput", None) or {}
    return bool(output.get("exitstatus") == pytest.ExitCode.INTERRUPTED)
