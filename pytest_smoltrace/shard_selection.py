"""Leaves to a session the items of its shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from pytest_smoltrace.selection import DECLARED
from pytest_smoltrace.sharding import case_key, divide, division_checksum

if TYPE_CHECKING:
    import pytest

    from pytest_smoltrace.config import Shard
    from pytest_smoltrace.facts import Declared


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSelection:
    """How a suite was divided, as every session and worker finds it."""

    suite: tuple[Declared, ...]
    """All cases in the order of the items."""
    left: frozenset[str]
    """Node ids of the cases that other shards run."""
    division: str
    """Checksum of which case is in which shard."""


def apply(
    config: pytest.Config, items: list[pytest.Item], shard: Shard, durations: str | None = None
) -> ShardSelection:
    """Take the items of other shards off the list; cases and plain tests are divided apart.

    Args:
        config: Of pytest, to report what is deselected.
        items: What is selected of the suite; changed in place.
        shard: The part that this session runs.
        durations: JSON object case key -> seconds, from `durations.load`.
    """
    cases = {item: item.stash[DECLARED] for item in items if DECLARED in item.stash}
    known = orjson.loads(durations) if durations else None
    of_case = divide(map(case_key, cases.values()), shard.count, known)
    of_test = divide((item.nodeid for item in items if item not in cases), shard.count)

    def runs_here(item: pytest.Item) -> bool:
        found = of_case[case_key(cases[item])] if item in cases else of_test[item.nodeid]
        return found == shard.index - 1

    others = [item for item in items if not runs_here(item)]
    if others:
        items[:] = [item for item in items if runs_here(item)]
        config.hook.pytest_deselected(items=others)
    return ShardSelection(
        suite=tuple(cases.values()),
        left=frozenset(item.nodeid for item in others if item in cases),
        division=division_checksum(of_case, shard.count),
    )
