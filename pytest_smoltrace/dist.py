"""Who does what under xdist, and how a bundle travels from a worker to the journal."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace.coordination import Coordination

if TYPE_CHECKING:
    from collections.abc import Mapping

BUNDLE = "_smoltrace_bundle"
PLAN = "_smoltrace_plan"
STOP = "_smoltrace_stop"
UNTRACED = "_smoltrace_untraced"
INPUT = "smoltrace"
REFUSED = "smoltrace_refused"


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
    coordination: str | None = None
    """Directory that the processes of the session share; None where no case runs."""


def role_of(config: pytest.Config) -> Role:
    """Return the part of this process in the session."""
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        return Role(name="worker", worker_id=workerinput["workerid"])
    distributed = getattr(config.option, "dist", "no") != "no" or getattr(
        config.option, "numprocesses", None
    )
    active = config.pluginmanager.hasplugin("dsession") or (
        distributed and config.pluginmanager.hasplugin("xdist")
    )
    return Role(name="controller" if active else "standalone")


def coordinate(config: pytest.Config, role: Role) -> Coordination | None:
    """Return what this process shares with the others; a worker's controller decides whether."""
    if role.logs_reports:
        made = Coordination.create(role.worker_id)
        # When the last worker has ended, also where the session was refused before it began.
        config.add_cleanup(made.remove)
        return made
    told = config.workerinput[INPUT]["coordination"]  # type: ignore[attr-defined]
    return Coordination.join(told, role.worker_id) if told else None


def session_facts(
    config: pytest.Config, run_id: str | None, shared: Coordination | None = None
) -> SessionFacts:
    """Return the facts of the session: a worker's come from its controller."""
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        return SessionFacts(**workerinput[INPUT])
    return SessionFacts(
        session_id=run_id or str(uuid.uuid4()),
        started_unix_ns=time.time_ns(),
        local_urls={},
        coordination=str(shared.directory) if shared else None,
    )


def tell_worker(node: Any, facts: SessionFacts) -> None:
    """Give a worker the facts of the session before it starts."""
    node.workerinput[INPUT] = {
        "session_id": facts.session_id,
        "started_unix_ns": facts.started_unix_ns,
        "local_urls": dict(facts.local_urls),
        "coordination": facts.coordination,
    }


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


def detach(report: pytest.TestReport, name: str) -> str | None:
    """Take a value off a report again, so that nobody else keeps or sees it."""
    value: str | None = report.__dict__.pop(name, None)
    return value


def worker_of(report: pytest.TestReport) -> str:
    """Return the name of the worker that a report came from."""
    gateway = getattr(getattr(report, "node", None), "gateway", None)
    return str(getattr(report, "worker_id", None) or getattr(gateway, "id", "main"))


def was_interrupted(report: pytest.TestReport) -> bool:
    """Return whether the worker of a lost case was stopped, not killed."""
    output = getattr(getattr(report, "node", None), "workeroutput", None) or {}
    return bool(output.get("exitstatus") == pytest.ExitCode.INTERRUPTED)


def is_ci() -> bool:
    """Return whether a continuous-integration system runs this."""
    return bool(os.environ.get("CI") or os.environ.get("BUILD_NUMBER"))
