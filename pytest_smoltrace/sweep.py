"""The windows of one device: who was active when, and whose energy it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_smoltrace.process_use import ProcessUse

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_smoltrace.series import Floats, Ints, Processes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Windows:
    """The windows of one device, one row each."""

    start: Ints
    end: Ints
    pid: Ints
    run: Ints
    """Number of the run that the test belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """What a run gets of the energy of one device."""

    edges: Ints
    at_edges: Floats
    """Energy of the device up to each edge."""
    fractions: Floats
    """Of the intervals before, between and after the edges."""
    got: Floats
    """Energy that the run has got at the start of each of these intervals."""

    def up_to(self, times: Ints, energy: Callable[[Ints], Floats]) -> Floats:
        """Return what the run had got at some times."""
        interval = np.searchsorted(self.edges, times, side="right")
        begun = self.at_edges[np.maximum(interval - 1, 0)]
        found: Floats = self.got[interval] + self.fractions[interval] * (energy(times) - begun)
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """Time cut at the edges of all windows; interval k is between edges k and k+1."""

    windows: Windows
    edges: Ints
    first: Ints
    """Edge at which each window starts."""
    last: Ints
    active: Ints
    """Windows that are open in each interval."""
    use: ProcessUse | None
    """How processes shared the device; None when nothing is known of them."""

    @classmethod
    def of(cls, windows: Windows, processes: Processes) -> Sweep:
        """Cut the time of one device at the edges of its windows."""
        cuts = ProcessUse.cuts(processes)
        edges = np.unique(np.concatenate([windows.start, windows.end, cuts]))
        first = np.searchsorted(edges, windows.start)
        last = np.searchsorted(edges, windows.end)
        active = _count(first, last, len(edges))
        use = ProcessUse.of(processes, edges, active, windows.pid, (first, last))
        return cls(windows=windows, edges=edges, first=first, last=last, active=active, use=use)

    def shares(self, at_edges: Floats) -> Floats:
        """Return what of a quantity, given as its sum up to each edge, each window gets."""
        per_window = np.diff(at_edges) / np.maximum(self.active, 1)
        if self.use is None:
            whole: Floats = _between(_sums(per_window), self.first, self.last)
            return whole
        got = np.empty(len(self.first))
        for pid in np.unique(self.windows.pid).tolist():
            mine = np.flatnonzero(self.windows.pid == pid)
            first, last = self.first[mine], self.last[mine]
            part = slice(int(first.min()), int(last.max()))
            own = _count(first - part.start, last - part.start, part.stop - part.start + 1)
            weight = self.use.weights(pid, part) / np.maximum(own, 1)
            split = self.use.split[part]
            change = np.diff(at_edges[part.start : part.stop + 1])
            sums = _sums(np.where(split, change * weight, per_window[part]))
            got[mine] = _between(sums, first - part.start, last - part.start)
        return got

    def shared_ns(self) -> tuple[Ints, Ints]:
        """Return for how long each window was not alone, and how much of it processes split."""
        lengths = np.diff(self.edges)
        shared = _sums(np.where(self.active > 1, lengths, 0))
        split = self.use.split if self.use else np.zeros(len(lengths), np.bool_)
        by_process = _sums(np.where(split, lengths, 0))
        return (
            _between(shared, self.first, self.last),
            _between(by_process, self.first, self.last),
        )

    def unattributed(self, at_edges: Floats, whole: float) -> float:
        """Return what of a whole nobody gets."""
        free = np.diff(at_edges)[self.active == 0].sum()
        return float(free + at_edges[0] + (whole - at_edges[-1]))

    def part(self, run: int, at_edges: Floats) -> Part:
        """Return what a run gets of an energy, given as its sum up to each edge."""
        fractions = self.fractions(run)
        got = np.cumsum(np.diff(at_edges) * fractions)
        return Part(
            edges=self.edges,
            at_edges=at_edges,
            fractions=np.r_[0.0, fractions, 0.0],
            got=np.r_[0.0, 0.0, got],
        )

    def fractions(self, run: int) -> Floats:
        """Return which part of each interval the windows of a run get."""
        mine = self.windows.run == run
        own = _count(self.first[mine], self.last[mine], len(self.edges))
        fractions: Floats = own / np.maximum(self.active, 1)
        if self.use is None:
            return fractions
        split = self.use.split
        fractions[split] = 0.0
        every = slice(0, len(self.active))
        for pid in np.unique(self.windows.pid[mine]).tolist():
            same = self.windows.pid == pid
            both = mine & same
            open_ = _count(self.first[same], self.last[same], len(self.edges))
            ours = _count(self.first[both], self.last[both], len(self.edges))
            weight = self.use.weights(pid, every) * ours / np.maximum(open_, 1)
            fractions[split] += weight[split]
        return fractions

    def idle(self, start: int, end: int) -> tuple[Ints, Ints]:
        """Return the intervals between two times in which no window is open."""
        edges = np.concatenate(
            [[min(start, self.edges[0])], self.edges, [max(end, self.edges[-1])]]
        )
        free = np.concatenate([[True], self.active == 0, [True]])
        return edges[:-1][free], edges[1:][free]


def _count(first: Ints, last: Ints, edges: int) -> Ints:
    """Return how many of some windows are open in each interval."""
    steps = np.bincount(first, minlength=edges) - np.bincount(last, minlength=edges)
    counts: Ints = np.cumsum(steps)[:-1]
    return counts


def _sums(values: Any) -> Any:
    return np.concatenate([np.zeros(1, values.dtype), np.cumsum(values)])


def _between(sums: Any, first: Ints, last: Ints) -> Any:
    return sums[last] - sums[first]
