"""The controller's side of a session with workers: what it tells them and hears of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace import dist, worker_servers, workers
from pytest_smoltrace.sampler.record import FOLDER

if TYPE_CHECKING:
    from pytest_smoltrace.session import SmoltraceSession


class Controller:
    """Hooks that xdist calls; without workers none of them is."""

    def __init__(self, session: SmoltraceSession) -> None:
        self.refused: str | None = None
        """Why a worker ran no case."""
        self.has_lost = False
        """Whether a worker died."""
        self._session = session
        self._workers = workers.Workers()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, specs: list[Any]) -> None:
        """Open the run before the first worker starts."""
        self._session.open(specs=specs)
        if self._session.ledger is not None:
            self._workers.samples_to = self._session.ledger.directory / FOLDER

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell each worker what was decided for the session."""
        dist.tell_worker(node, self._session.facts)
        self._workers.connect(node)

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        """Check and write the plan, before a worker is given a case."""
        with self._session.usage():
            self.take_plan()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take over what a worker that has ended left word of."""
        self.has_lost |= error is not None
        self.refused = dist.refused_by(node) or self.refused
        self._session.problems += worker_servers.deaths(node, self._session.problems)
        self._workers.down(node)

    def place(self, nodeid: str) -> str | None:
        """Return the worker that starts a case, once."""
        return self._workers.place(nodeid)

    def take_plan(self) -> None:
        """Write the plan that a worker has sent, if one has."""
        plan, ledger = self._workers.plan(), self._session.ledger
        if plan is not None and ledger is not None:
            self._session.write(ledger.plan, plan)

    def lost(self, report: pytest.TestReport, nodeid: str, worker: str) -> None:
        """Write the case that a worker was running when it died."""
        ledger = self._session.ledger
        if ledger is None:
            return
        self.take_plan()
        stopped, cut = dist.was_interrupted(report), self._workers.cut(worker)
        if cut is None:
            self._session.write(ledger.lost, nodeid, worker, interrupted=stopped)
        elif cut:
            self._session.write(ledger.cut, cut, worker, interrupted=stopped)

    def stop(self, config: pytest.Config) -> None:
        """Interrupt the workers, if any, and take over what they were running."""
        self._workers.stop(config)
        self.take_plan()
        ledger = self._session.ledger
        for worker, bundle in self._workers.all_cut():
            if ledger is not None:
                self._session.write(ledger.cut, bundle, worker, interrupted=True)


def ungrouped(nodeid: str, config: pytest.Config) -> str:
    """Return a node id as the plan has it, without the group that `--dist loadgroup` appends."""
    plain, _, group = nodeid.rpartition("@")
    appended = getattr(config.option, "dist", "no") == "loadgroup" and "]" not in group
    return plain if appended and "::" in plain else nodeid
