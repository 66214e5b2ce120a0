"""What the test processes of each host did over time, as the cases that they ran tell it."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pytest_smoltrace.attempt import Attempt
    from pytest_smoltrace.attempt.ending import Root
    from pytest_smoltrace.facts import CaseRecord

Knot = tuple[int, float | None, float | None]
"""Monotonic ns, CPU s since the case began, resident MiB."""


AROUND_NS = 60 * 10**9
"""Longest time between the ends of a root span and those of the phases within it."""


class Spot(NamedTuple):
    """Where cases ran: one start of one machine."""

    host: str | None
    clock: str | None


def _integers() -> array[int]:
    return array("q")


def _doubles() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Cpu:
    """CPU time of the processes of a host, in pieces of even use."""

    starts: array[int] = field(default_factory=_integers)
    ends: array[int] = field(default_factory=_integers)
    used_s: array[float] = field(default_factory=_doubles)
    """NaN where it is not known."""

    def add(self, start: int, end: int, used_s: float) -> None:
        """Add the use of one process between two times."""
        self.starts.append(start)
        self.ends.append(max(end, start + 1))
        self.used_s.append(used_s)

    def percent(self, ticks: Sequence[int]) -> list[float | None]:
        """Return the use between each tick and the one before it, None for the first."""
        used = [0.0] * len(ticks)
        for start, end, used_s in zip(self.starts, self.ends, self.used_s, strict=True):
            if end <= ticks[0] or start >= ticks[-1]:
                continue
            rate, at = used_s / (end - start), max(start, ticks[0])
            for k in range(bisect_right(ticks, at), len(ticks)):
                until = min(end, ticks[k])
                used[k] += rate * (until - at)
                at = until
                if at == end:
                    break
        found = zip(pairwise(ticks), used[1:], strict=True)
        return [None, *(_percent(one, end - start) for (start, end), one in found)]


def _percent(used_s: float, elapsed_ns: int) -> float | None:
    if used_s != used_s or elapsed_ns <= 0:  # noqa: PLR0124 (NaN)
        return None
    return 100 * used_s / (elapsed_ns / 1e9)


@dataclass(slots=True)
class Memory:
    """Resident memory of one process."""

    times: array[int] = field(default_factory=_integers)
    mib: array[float] = field(default_factory=_doubles)

    def add(self, time: int, mib: float) -> None:
        """Add what was measured."""
        self.times.append(time)
        self.mib.append(mib)


@dataclass(slots=True)
class HostUse:
    """What the test processes of one host used, at times of its wall clock."""

    offsets: dict[int, int] = field(default_factory=dict)
    """Session of the run -> wall clock minus monotonic clock at its first case that is read: one
    for all of it, so that a step of the wall clock folds no series."""
    cpu: Cpu = field(default_factory=Cpu)
    memory: defaultdict[tuple[int, str], Memory] = field(
        default_factory=lambda: defaultdict(Memory)
    )
    """Session of the run and worker -> its process."""

    def take(self, record: CaseRecord, part: int) -> int:
        """Add what one case used and return the offset of its session."""
        first = record.phases[0]
        offset = self.offsets.setdefault(part, first.start_unix_ns - first.start_mono_ns)
        memory = self.memory[part, record.worker_id]
        for (start, cpu_s, _), (end, until_s, mib) in pairwise(_knots(record)):
            unknown = cpu_s is None or until_s is None
            used_s = float("nan") if unknown else max(0.0, (until_s or 0.0) - (cpu_s or 0.0))
            self.cpu.add(start + offset, end + offset, used_s)
            if mib is not None:
                memory.add(end + offset, mib)
        return offset


def _knots(record: CaseRecord) -> Iterator[Knot]:
    start, end = record.phases[0].start_mono_ns, record.phases[-1].end_mono_ns
    yield start, 0.0, None
    for tick in record.ticks:
        if start < tick[0] < end:
            yield tick
            start = tick[0]
    yield end, record.cpu_s, record.rss_mib


@dataclass(slots=True)
class RunUse:
    """When and where one run took place, at times of the wall clocks of its hosts."""

    windows: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Session of the run -> start of its first and end of its last case."""
    parts: defaultdict[Spot, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Sessions in which a case ran there."""
    calls: defaultdict[Spot, tuple[array[int], array[int]]] = field(
        default_factory=lambda: defaultdict(lambda: (array("q"), array("q")))
    )
    """Starts and ends of the call phases."""

    def stretches(self, spot: Spot) -> list[tuple[int, int, int]]:
        """Return start, end and first session of each time that the run used it, in order."""
        found: list[tuple[int, int, int]] = []
        for start, end, part in sorted((*self.windows[part], part) for part in self.parts[spot]):
            if found and start <= found[-1][1]:
                begun, until, first = found.pop()
                found.append((begun, max(end, until), first))
            else:
                found.append((start, end, part))
        return found

    def active(self, spot: Spot, ticks: Sequence[int]) -> list[int]:
        """Return how many cases were in their call phase at each tick."""
        changes = [0] * (len(ticks) + 1)
        for start, end in zip(*self.calls[spot], strict=True):
            changes[bisect_left(ticks, start)] += 1
            changes[bisect_left(ticks, end)] -= 1
        return list(accumulate(changes[:-1]))


@dataclass(slots=True)
class Processes:
    """What the test processes of a session did; fed attempt by attempt."""

    hosts: defaultdict[Spot, HostUse] = field(default_factory=lambda: defaultdict(HostUse))
    runs: defaultdict[str, RunUse] = field(default_factory=lambda: defaultdict(RunUse))
    ends: dict[int, int] = field(default_factory=dict)
    """Session of the run -> end of its last case."""
    died: dict[tuple[int, str], int] = field(default_factory=dict)
    """Session of the run and worker -> start of the case in which its process died."""

    def take(self, attempt: Attempt, part: int) -> None:
        """Add one attempt of the session with this number."""
        record, root = attempt.record, attempt.root
        if record.host is None and record.cpu_s is None:
            # Written by the controller, which does not know where it ran.
            self.died[part, record.worker_id] = root.start_ns
            return
        if not record.phases:
            return
        spot = Spot(record.host, record.clock)
        offset = self.hosts[spot].take(record, part)
        self._note(attempt.run_id, spot, part, _window(record, root, offset))
        for phase in record.phases:
            if phase.when == "call":
                starts, ends = self.runs[attempt.run_id].calls[spot]
                starts.append(phase.start_mono_ns + offset)
                ends.append(phase.end_mono_ns + offset)

    def _note(self, run_id: str, spot: Spot, part: int, window: tuple[int, int]) -> None:
        run, (start, end) = self.runs[run_id], window
        first, last = run.windows.get(part, window)
        run.windows[part] = (min(start, first), max(end, last))
        run.parts[spot].add(part)
        self.ends[part] = max(end, self.ends.get(part, end))

    def resident_mib(self, spot: Spot, ticks: Sequence[int]) -> list[float | None]:
        """Return the last known memory of the living processes of a host at each tick."""
        found: list[float | None] = [None] * len(ticks)
        for (part, worker), memory in self.hosts[spot].memory.items():
            end = min(self.ends[part], self.died.get((part, worker), self.ends[part]))
            bounds = [bisect_left(ticks, time) for time in memory.times]
            bounds.append(bisect_right(ticks, end))
            for mib, (first, last) in zip(memory.mib, pairwise(bounds), strict=True):
                for k in range(first, last):
                    found[k] = (found[k] or 0.0) + mib
        return found

    def spots(self, run_id: str) -> Collection[Spot]:
        """Return where a run took place, by name and time."""
        parts = self.runs[run_id].parts
        return sorted(parts, key=lambda spot: (spot.host or "", min(parts[spot]), spot.clock or ""))


def _window(record: CaseRecord, root: Root, offset: int) -> tuple[int, int]:
    """Return start and end of a root span, which is little longer than the phases within it."""
    first, last = record.phases[0], record.phases[-1]
    shift = offset - (first.start_unix_ns - first.start_mono_ns)
    start, end = first.start_mono_ns + offset, last.end_mono_ns + offset
    # The wall clock may have been set while the case ran.
    return (
        min(start, max(root.start_ns + shift, start - AROUND_NS)),
        max(end, min(root.end_ns + shift, end + AROUND_NS)),
    )
