"""The workers of a session as its controller hears them, outside of their reports."""

from __future__ import annotations

import time
from functools import partial
from queue import Empty
from typing import TYPE_CHECKING, Any

from pytest_smoltrace import dist

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_GRACE_S = 0.5
"""Workers that a signal reached themselves end within it, and need no word from us."""
_STOP_S = 5.0
_EVENTS = ("logstart", "logfinish", "testreport", "warning_recorded")
"""What a worker that ends may have said before, as xdist calls it."""


class Workers:
    """The workers of a session, and what they say outside of their reports."""

    def __init__(self) -> None:
        self.samples_to: Path | None = None
        """Folder for the samples of other hosts."""
        self._channels: dict[str, Any] = {}
        self._up: set[str] = set()
        # Written by the threads that receive, in the order in which a worker said it.
        self._plans: list[str] = []
        self._cut: dict[str, str] = {}
        self._places: dict[str, str] = {}

    def connect(self, node: Any) -> None:
        """Give a worker a channel of its own before it starts."""
        name = node.gateway.id
        channel = self._channels[name] = node.gateway.newchannel()
        channel.setcallback(partial(self._hear, name))
        node.workerinput[dist.CHANNEL] = channel
        self._up.add(name)

    def down(self, node: Any) -> None:
        """Note that a worker has ended."""
        self._up.discard(node.gateway.id)

    def plan(self) -> str | None:
        """Return the plan that a worker sent, once."""
        return self._plans.pop(0) if self._plans else None

    def place(self, nodeid: str) -> str | None:
        """Return the worker that starts a case, once."""
        return self._places.pop(nodeid, None)

    def cut(self, name: str) -> str | None:
        """Return the case that a worker was running when it was interrupted, once.

        It is "" when it ran none, and None when the worker said nothing of it.
        """
        return self._cut.pop(name, None)

    def all_cut(self) -> list[tuple[str, str]]:
        """Return (worker, case) of what workers ran when they were interrupted, once."""
        return [(name, bundle) for name in list(self._cut) if (bundle := self._cut.pop(name))]

    def stop(self, config: pytest.Config) -> None:
        """Interrupt the workers and take over what they still say, for a few seconds.

        Another interrupt ends the wait for them.
        """
        dsession = config.pluginmanager.getplugin("dsession")
        if dsession is None:
            return
        try:
            self._wait(config, dsession)
        except KeyboardInterrupt:
            self._up.clear()
        while not dsession.queue.empty():
            self._take(config, dsession, wait_s=0)

    def _hear(self, name: str, said: tuple[str, Any]) -> None:
        kind, text = said
        if kind == dist.SAMPLES and self.samples_to is not None:
            dist.take_samples(self.samples_to, text)
        if kind == dist.CUT:
            self._cut[name] = text
        elif kind == dist.OPEN:
            self._places[text] = name
        elif kind == dist.PLAN and not self._plans:
            self._plans.append(text)

    def _wait(self, config: pytest.Config, dsession: Any) -> None:
        begun, told = time.monotonic(), False
        while self._up and (waited := time.monotonic() - begun) < _STOP_S:
            if waited > _GRACE_S and not told:
                told = True
                self._tell_all()
            self._take(config, dsession, wait_s=0.05)

    def _tell_all(self) -> None:
        for name in self._up:
            try:
                self._channels[name].send(dist.HALT)
            except OSError:
                continue  # it has gone

    def _take(self, config: pytest.Config, dsession: Any, *, wait_s: float) -> None:
        """Do with one event of a worker what the loop of xdist would have done."""
        try:
            name, values = dsession.queue.get(timeout=wait_s)
        except Empty:
            return
        if name in _EVENTS:
            getattr(dsession, f"worker_{name}")(**values)
        elif name == "workerfinished":
            config.hook.pytest_testnodedown(node=values["node"], error=None)
        elif name == "errordown":
            self.down(values["node"])
