"""The local model servers of a worker to which its controller could tell no address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.selection import DECLARED

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from pytest_smoltrace.capture.shared_server import SharedServer
    from pytest_smoltrace.collected import Collected
    from pytest_smoltrace.config import ModelSpec, RunConfig
    from pytest_smoltrace.coordination import Coordination
    from pytest_smoltrace.dist import SessionFacts

_DEATHS = "smoltrace_server_deaths"


def provide(
    config: pytest.Config,
    run_config: RunConfig,
    facts: SessionFacts,
    shared: Coordination | None,
    collected: Collected,
) -> None:
    """Let a worker find or start the servers that it has no address of."""
    if not hasattr(config, "workerinput") or shared is None:
        return
    local = [spec for spec in run_config.models if spec.provider == "local"]
    missing = [spec for spec in local if shared.abroad or str(spec) not in facts.local_urls]
    if missing:
        servers = WorkerServers(missing, facts, shared, collected)
        config.pluginmanager.register(servers, "smoltrace-worker-servers")


def deaths(node: Any, known: Sequence[str]) -> list[str]:
    """Return what a worker that has ended said of servers that died, but what is known."""
    lines: list[str] = getattr(node, "workeroutput", {}).get(_DEATHS, [])
    return [line for line in lines if line not in known]


class WorkerServers:
    """Hooks of a worker on another host than its controller's."""

    def __init__(
        self,
        specs: list[ModelSpec],
        facts: SessionFacts,
        shared: Coordination,
        collected: Collected,
    ) -> None:
        self._specs = specs
        self._facts = facts
        self._shared = shared
        self._collected = collected
        self._servers: list[SharedServer] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, Any, Any]:
        """Start what the selected cases need, before any of them begins."""
        result = yield
        try:
            if any(DECLARED in item.stash for item in items):
                self._join()
        except ConfigError as error:
            self._collected.refuse(config, items, error)
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Tell the controller of a server that is gone too early."""
        lines = [line for server in self._servers if (line := server.death())]
        session.config.workeroutput[_DEATHS] = lines  # type: ignore[attr-defined]

    def _join(self) -> None:
        from pytest_smoltrace.capture.shared_server import SharedServer

        for spec in self._specs:
            server = SharedServer(self._shared, spec.model_id or "local")
            self._facts.local_urls[str(spec)] = server.join()  # type: ignore[index]
            self._servers.append(server)
