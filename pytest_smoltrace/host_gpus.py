"""Which GPUs of their host the workers of several hosts get."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pytest_smoltrace import devices
from pytest_smoltrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_smoltrace.devices import Pool
    from pytest_smoltrace.host_check import Answer
    from pytest_smoltrace.hosts import Placement

Share = tuple["Pool", tuple[str, ...]]
"""The GPUs of a host, and those of them that a worker gets."""


def shares(places: Sequence[Placement], answers: Iterable[Answer], size: int) -> list[Share | None]:
    """Return the share of each placement, round robin on each host; None is left as it is.

    A launcher gives each worker its own devices, and workers of this host have theirs from
    `binding` unless the hosts file names some.

    Raises:
        ConfigError: A worker is to have more GPUs than its host shows.
    """
    facts = {answer.host: answer.facts for answer in answers}
    taken: dict[str, int] = defaultdict(int)
    found: list[Share | None] = []
    for place in places:
        pool = _pool(place, facts.get(place.host))
        try:
            groups = pool.groups(size) if pool else ()
        except ConfigError as error:
            raise ConfigError(f"{place.host}: {error}") from None
        number, taken[place.host] = taken[place.host], taken[place.host] + 1
        ids = groups[number % len(groups)] if groups else ()
        found.append((pool, ids) if pool and (ids or not size) else None)
    return found


def _pool(place: Placement, facts: Mapping[str, Any] | None) -> Pool | None:
    """Return the GPUs that workers of a host share; None where that is not ours to say."""
    if facts is None:
        names = set(devices.VARIABLES) & set(place.env)
        return devices.pool({**os.environ, **place.env}, None) if names else None
    if not place.shares_gpus:
        return None
    gpus = [
        devices.GpuDevice(index=index, name=name, uuid=uuid, memory_bytes=None)
        for index, (name, uuid) in enumerate(facts["gpus"])
    ]
    return devices.pool(facts["shown"], gpus or None)
