"""Leaves out of a session what other shards run and what a resumed run has finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_smoltrace.codec import Plan, decode_plan, encode_line, plan_data
from pytest_smoltrace.scrub import without_answers
from pytest_smoltrace.selection import DECLARED

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.dist import SessionFacts
    from pytest_smoltrace.facts import Declared
    from pytest_smoltrace.shard_selection import ShardSelection


class PartialRun:
    """What of the selected items this session runs; the plan names the others too."""

    def __init__(
        self, config: RunConfig, facts: SessionFacts, stored: Callable[[str], str]
    ) -> None:
        """Take what a session is part of.

        Args:
            config: The options.
            facts: What is decided for all processes of the session.
            stored: Makes of an encoded plan what may be stored.
        """
        self._config = config
        self._facts = facts
        self._stored = stored
        self._items: tuple[pytest.Item, ...] = ()
        self._done: frozenset[str] = frozenset()
        self._division: ShardSelection | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None]:
        """Deselect after -k and -m, so that all sessions divide the same suite."""
        yield
        self._items = tuple(items)
        if self._config.shard is not None:
            from pytest_smoltrace.shard_selection import apply

            self._division = apply(config, items, self._config.shard, self._facts.durations)
        if self._facts.done:
            self._leave_out(config, items)

    @property
    def has_done(self) -> bool:
        """Whether cases of the resumed run are finished."""
        return bool(self._done)

    def encoded_plan(self, items: Sequence[pytest.Item]) -> str:
        """Return the plan of a session that runs these items, as it may be stored."""
        chosen = {item.nodeid for item in items} | self._done
        left = self._division.left if self._division else frozenset()
        kept = [
            item
            for item in self._items or items
            if DECLARED in item.stash and (item.nodeid in chosen or item.nodeid in left)
        ]
        places = (place for place, item in enumerate(kept) if item.nodeid in left)
        division = self._division.division if self._division else None
        cases = tuple(item.stash[DECLARED] for item in kept)
        return self._encode(Plan(cases, frozenset(places), division))

    def _encode(self, plan: Plan) -> str:
        if self._config.hide_content:
            plan = plan._replace(cases=tuple(map(without_answers, plan.cases)))
        return self._stored(encode_line("plan", plan_data(plan)).decode())

    def _leave_out(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        cases = [item for item in items if DECLARED in item.stash]
        encoded = self._encode(Plan(tuple(item.stash[DECLARED] for item in cases)))
        stored: tuple[Declared, ...] = decode_plan(encoded.encode()).cases
        done = set(self._facts.done)
        pairs = zip(cases, stored, strict=True)
        self._done = frozenset(item.nodeid for item, case in pairs if case.nodeid in done)
        finished = [item for item in items if item.nodeid in self._done]
        items[:] = [item for item in items if item.nodeid not in self._done]
        if finished:
            config.hook.pytest_deselected(items=finished)
