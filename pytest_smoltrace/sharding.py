"""Which shard runs which part of a suite: a division that every machine finds by itself."""

from __future__ import annotations

import hashlib
import heapq
from statistics import median
from typing import TYPE_CHECKING

from pytest_smoltrace.encoding import dumps

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_smoltrace.facts import Declared


def case_key(case: Declared) -> str:
    """Return what names a case in every session of its suite."""
    return "\n".join((case.case_id, str(case.trial), case.model or "", case.agent_type or ""))


def divide(
    keys: Iterable[str], count: int, durations_s: Mapping[str, float] | None = None
) -> dict[str, int]:
    """Return the 0-based shard of each key, whatever the order of the keys.

    Without durations the shards are equally large, to one key, and a new key moves few others.
    With durations they take equally long, as far as that can be; a key without one is taken to
    last as long as the median of the others.
    """
    ordered = sorted(set(keys), key=_digest)
    known = durations_s or {}
    typical = median(sorted(known[key] for key in ordered if key in known) or [0.0])
    if not typical:
        return _by_number(ordered, count)
    return _by_duration({key: known.get(key, typical) for key in ordered}, count)


def division_checksum(shard_of: Mapping[str, int], count: int) -> str:
    """Return what all shards of one division have in common: which key is in which of them."""
    return hashlib.sha256(dumps([count, sorted(shard_of.items())])).hexdigest()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _by_number(ordered: Sequence[str], count: int) -> dict[str, int]:
    """Give each key to the shard that its hash names, or the next one with room."""
    size, larger = divmod(len(ordered), count)
    sizes = [0] * count
    shard_of = {}
    for key in ordered:
        # The order comes from the first bytes, so the shard comes from the last.
        shard = int.from_bytes(_digest(key)[-8:]) % count
        while sizes[shard] >= size + (larger > 0):
            shard = (shard + 1) % count
        larger -= sizes[shard] == size
        sizes[shard] += 1
        shard_of[key] = shard
    return shard_of


def _by_duration(durations_s: Mapping[str, float], count: int) -> dict[str, int]:
    """Give the longest first, each to the shard that has least to do."""
    loads = [(0.0, 0, shard) for shard in range(count)]
    shard_of = {}
    # The sort keeps the order by hash among equals.
    for key, duration_s in sorted(durations_s.items(), key=lambda item: -item[1]):
        load_s, number, shard = heapq.heappop(loads)
        shard_of[key] = shard
        heapq.heappush(loads, (load_s + duration_s, number + 1, shard))
    return shard_of
