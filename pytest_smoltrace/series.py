"""What the sampler wrote, as one series of arrays for each device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One GPU, or one instance of a partitioned one; (clock, uuid) identifies it."""

    clock: str
    host: str | None = None
    uuid: str
    index: int | None = None
    name: str | None = None
    memory_mib: float | None = None
    parent: str | None = None
    """UUID of the partitioned GPU that it is an instance of."""
    power: str | None = None
    """instant, average or None: what power readings mean."""
    vendor: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Clock and UUID."""
        return self.clock, self.uuid

    @property
    def board(self) -> tuple[str, str]:
        """Key of the device that has the power sensor: the partitioned GPU, else itself."""
        return self.clock, self.parent or self.uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The samples of a series that came from one file, one after another."""

    file: int
    """Number of the file among those of the run."""
    start: int
    stop: int
    started_mono_ns: int
    """When tick 0 of the file was due."""
    period_ns: int
    wall_offset_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Processes:
    """What processes did on a device; the rows of one reading have one tick."""

    mono_ns: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    tick: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """As Series.tick."""
    pid: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    owner: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """Pid of the worker that the process belongs to, 0 for none of ours."""
    utilization: Floats = field(default_factory=lambda: np.empty(0))
    """Percent of the device, NaN when not known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """The samples of one device in the order of time; NaN where a value is not known."""

    device: Device
    period_ns: int
    started_mono_ns: int
    wall_offset_ns: int
    seq: Ints
    """Ticks of the file that a sample came from."""
    mono_ns: Ints
    failed: Flags
    reopened: Flags
    power_w: Floats
    energy_mj: Floats
    utilization: Floats
    temperature: Floats
    memory_mib: Floats
    processes: Processes = field(default_factory=Processes)
    parts: tuple[Part, ...] = ()
    """Empty when all samples are of one file."""

    @property
    def pieces(self) -> tuple[Part, ...]:
        """The parts, of which there is at least one."""
        whole = Part(
            file=0,
            start=0,
            stop=len(self.seq),
            started_mono_ns=self.started_mono_ns,
            period_ns=self.period_ns,
            wall_offset_ns=self.wall_offset_ns,
        )
        return self.parts or (whole,)

    @property
    def tick(self) -> Ints:
        """Number of the file and tick in one: equal for the devices read at one time."""
        files = [np.full(part.stop - part.start, part.file << 32) for part in self.pieces]
        return np.concatenate(files).astype(np.int64) + self.seq

    def unix_ns(self, mono_ns: int) -> int:
        """Return the wall clock of an instant of the device's clock."""
        before = [part for part in self.pieces if part.started_mono_ns <= mono_ns]
        return mono_ns + (before[-1] if before else self.pieces[0]).wall_offset_ns
