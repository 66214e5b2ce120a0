"""How the processes of the workers share one device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_smoltrace.series import Flags, Floats, Ints, Processes

REACH_NS = 1_500_000_000
"""How far a reading of processes is believed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProcessUse:
    """The shares of the workers in the intervals of a sweep."""

    split: Flags
    """Intervals that are split by what the processes of the open windows did."""
    reading: Ints
    """Reading that is nearest to each interval."""
    share: Mapping[int, Floats]
    """Pid of a worker -> its part of the use that each reading tells."""

    @classmethod
    def cuts(cls, processes: Processes) -> Ints:
        """Return the times at which another reading becomes the nearest one, or none is near."""
        times, _ = _readings(processes)
        middles = times[:-1] + np.diff(times) // 2
        return np.concatenate([times - REACH_NS, middles, times + REACH_NS])

    @classmethod
    def of(
        cls,
        processes: Processes,
        edges: Ints,
        active: Ints,
        pids: Ints,
        places: tuple[Ints, Ints],
    ) -> ProcessUse | None:
        """Return the use, or None if no interval is to be split by it."""
        times, rows = _readings(processes)
        if not len(times) or not (active > 1).any():
            return None
        middles = edges[:-1] + np.diff(edges) // 2
        reading = np.searchsorted(times[:-1] + np.diff(times) // 2, middles)
        near = np.abs(times[reading] - middles) <= REACH_NS
        busy = np.nan_to_num(processes.utilization, nan=0.0).clip(min=0.0)
        whole = np.bincount(rows, busy, len(times))
        ours = np.zeros(len(active))
        share = {}
        for pid in np.unique(processes.owner[busy > 0]).tolist():
            used = np.bincount(rows, np.where(processes.owner == pid, busy, 0.0), len(times))
            share[pid] = np.divide(used, whole, out=np.zeros(len(times)), where=whole > 0)
            ours += np.where(_open(pids == pid, places, len(edges)), share[pid][reading], 0.0)
        split = (active > 1) & near & (ours > 1 - 1e-9)
        return cls(split=split, reading=reading, share=share) if split.any() else None

    def weights(self, pid: int, part: slice) -> Floats:
        """Return the share of a worker in some intervals."""
        share = self.share.get(pid)
        if share is None:
            return np.zeros(part.stop - part.start)
        found: Floats = share[self.reading[part]]
        return found


def _readings(processes: Processes) -> tuple[Ints, Ints]:
    """Return when the processes were read, and for each row which reading it is of."""
    _, starts, rows = np.unique(processes.tick, return_index=True, return_inverse=True)
    times = processes.mono_ns[starts]
    order = np.argsort(times, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return times[order], place[rows]


def _open(chosen: Flags, places: tuple[Ints, Ints], edges: int) -> Flags:
    """Return the intervals in which one of the chosen windows is open."""
    first, last = (place[chosen] for place in places)
    steps = np.bincount(first, minlength=edges) - np.bincount(last, minlength=edges)
    found: Flags = np.cumsum(steps)[:-1] > 0
    return found
