"""What the machine is: processor, memory and GPUs, within the limits of a container."""

from __future__ import annotations

import math
import os
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_GIB = 2**30
# cgroup v1 writes "no limit" as the largest multiple of the page size in 63 bits.
_UNLIMITED = 2**60
_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_MEMORY = Path("/proc/meminfo")
_VENDORS = frozenset({"nvidia", "geforce", "tesla", "quadro", "amd", "instinct", "radeon"})
_TIMES = "\N{MULTIPLICATION SIGN}"
_SAME_FAMILY = {"a10g": "a10"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU of the machine."""

    name: str
    memory_gb: float | None
    """Memory in GiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine that the tests run on; None is unknown."""

    cpu_model: str | None
    logical_cores: int | None
    """Cores that the process may use."""
    memory_gb: float | None
    """Memory in GiB that the process may use."""
    os: str | None
    gpus: tuple[Gpu, ...]

    @property
    def label(self) -> str | None:
        """GPUs, else processor and memory, in smoltrace's form; None when nothing is known."""
        if self.gpus:
            kinds = dict.fromkeys(self.gpus)
            return " + ".join(f"{_gpu_label(gpu)} {_TIMES} {self.gpus.count(gpu)}" for gpu in kinds)
        return cpu_label(self.logical_cores, self.memory_gb)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, GPUs as a list."""
        return {**asdict(self), "gpus": [asdict(gpu) for gpu in self.gpus]}


def detect(gpus: Iterable[tuple[str, int | None]] = ()) -> Machine:
    """Return what can be told about this machine, whose visible GPUs have a name and a size."""
    return Machine(
        cpu_model=_cpu_model(),
        logical_cores=_cores(),
        memory_gb=_memory_gb(),
        os=" ".join(filter(None, (platform.system(), platform.release()))) or None,
        gpus=tuple(_gpu(name, size) for name, size in gpus),
    )


def cpu_label(cores: int | None, memory_gb: float | None) -> str | None:
    """Return the label of a machine without GPU."""
    known = [f"CPU {cores} vCPU"] if cores else []
    known += [f"{memory_gb:.0f} GB"] if memory_gb else []
    return " · ".join(known) or None


def accelerator_type(name: str) -> str:
    """Return `cpu` or `gpu_<family>` for the name of a GPU or of a job's flavor."""
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word not in _VENDORS | {""}]
    if not words or words[0] == "cpu":
        return "cpu"
    last = next((place for place, word in enumerate(words) if re.search(r"\d", word)), 0)
    # A flavor ends in the number of its GPUs: a100x4.
    family = [*words[:last], re.sub(r"(?<=\d)([a-z]?)x\d+$", r"\1", words[last])]
    return f"gpu_{_SAME_FAMILY.get('_'.join(family), '_'.join(family))}"


def _gpu_label(gpu: Gpu) -> str:
    """Return name and memory of a GPU."""
    return f"{gpu.name} {gpu.memory_gb:.0f} GB" if gpu.memory_gb else gpu.name


def _cpu_model() -> str | None:
    """Return the processor's name."""
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip() or None
    return platform.machine() or None


def _cores() -> int | None:
    """Return the number of cores within affinity and CPU quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity else os.cpu_count()
    quotas = [math.ceil(quota) for quota in _cpu_quotas()]
    return min([*quotas, *([available] if available else [])], default=None)


def _memory_gb() -> float | None:
    """Return the memory in GiB within the limits of the control groups."""
    total = _physical_memory()
    limits = [limit for limit in _memory_limits() if 0 < limit < _UNLIMITED]
    known = [*limits, *([total] if total else [])]
    return min(known) / _GIB if known else None


def _physical_memory() -> int | None:
    """Return the bytes of memory of the machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _cpu_quotas() -> Iterator[float]:
    """Yield the CPU quota of every control group around the process, in cores."""
    for group in _groups("cpu"):
        both = (_read(group / "cpu.max") or "").split()
        quota, period = both if len(both) == len(("quota", "period")) else _old_quota(group)
        if quota.isdecimal() and period.isdecimal() and int(period) and int(quota):
            yield int(quota) / int(period)


def _old_quota(group: Path) -> tuple[str, str]:
    """Return quota and period of a group of cgroup v1."""
    return _read(group / "cpu.cfs_quota_us") or "", _read(group / "cpu.cfs_period_us") or ""


def _memory_limits() -> Iterator[int]:
    """Yield the memory limit of every control group around the process, in bytes."""
    for group in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _read(group / name) or ""
            if limit.isdecimal():
                yield int(limit)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the control groups of the process with their parents, in cgroup v2 and v1.

    A container often sees its own group as the root whatever its path says, so roots count.
    """
    for line in (_read(_MEMBERSHIP) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUPS / controller if controllers else _CGROUPS
        group = root / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(root))


def _gpu(name: str, memory_bytes: int | None) -> Gpu:
    return Gpu(name=name, memory_gb=memory_bytes / _GIB if memory_bytes else None)


def available_memory_mib() -> int | None:
    """Return the memory in MiB that further processes can be given."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(_MEMORY) or "", re.MULTILINE)
    within = _memory_gb()
    known = [int(found[1]) // 1024] if found else []
    return min([*known, *([int(within * 1024)] if within else [])], default=None)


def _read(path: Path) -> str | None:
    """Return the text of a file of the system, None when there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
