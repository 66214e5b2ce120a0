"""Which GPUs a process may use, as its environment says, and how workers share them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from pytest_smoltrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

CUDA = "CUDA_VISIBLE_DEVICES"
HIP = "HIP_VISIBLE_DEVICES"
ROCR = "ROCR_VISIBLE_DEVICES"
VARIABLES = (HIP, ROCR, CUDA)
"""What restricts the GPUs of a process, the strongest first: HIP counts within ROCr's list."""
ORDER = "CUDA_DEVICE_ORDER"
_PCI = "PCI_BUS_ID"
_NUMBER = "number"
_INDEX = re.compile(r"\+?(\d+)")
_ROCR_INDEX = re.compile(r"\+?(0|[1-9]\d*|0X[\dA-F]+)")
_LEGACY_MIG = re.compile(r"MIG-(GPU-[^/]+)/(\d+)/(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class MigDevice:
    """One compute instance of a partitioned GPU."""

    uuid: str
    memory_bytes: int | None
    gpu_instance: int | None
    compute_instance: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDevice:
    """One GPU of the machine as the driver lists it."""

    index: int
    """Number in PCI order; of AMD, that of HIP without a restriction."""
    uuid: str
    name: str
    memory_bytes: int | None
    """Total memory; None when the driver does not say."""
    mig: tuple[MigDevice, ...] | None = None
    """Compute instances; None when the GPU is not partitioned."""

    @property
    def ids(self) -> tuple[str, ...]:
        """What processes can be given of it, each by its UUID."""
        return (self.uuid,) if self.mig is None else tuple(part.uuid for part in self.mig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The GPUs that a process may use."""

    ids: tuple[str, ...] = ()
    variable: str = CUDA
    """Variable that restricts a process to some of them."""
    are_uuids: bool = True
    """False when the driver could not be asked, or counts in another order than CUDA may do."""
    is_ambiguous: bool = False
    """Whether it is the order that is not known."""
    names: tuple[str, ...] = ()
    """What the variable calls each of `ids`; empty where that is the id itself."""

    def groups(self, size: int) -> tuple[tuple[str, ...], ...]:
        """Return the disjoint groups that workers take turns in; none without a GPU.

        Raises:
            ConfigError: No worker can have as many.
        """
        if not size or not self.ids:
            return ()
        if size > len(self.ids):
            raise ConfigError(
                f"--smoltrace-gpus-per-worker={size}, but {are(len(self.ids))} visible"
            )
        if size > 1 and any(one.startswith("MIG-") for one in self.ids):
            raise ConfigError(
                f"--smoltrace-gpus-per-worker={size}, but {len(self.ids)} of the visible GPUs are "
                "MIG devices, of which a process can use one: leave the option out"
            )
        starts = range(0, len(self.ids) - size + 1, size)
        return tuple(self.ids[start : start + size] for start in starts)

    def environment(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the variables that restrict a process to these GPUs, or hide all."""
        if not ids:
            # HIP takes an empty list for none given.
            return {CUDA: ""} if self.variable == CUDA else {self.variable: "-1"}
        order = {ORDER: _PCI} if self.are_uuids and self.variable == CUDA else {}
        names = dict(zip(self.ids, self.names, strict=False))
        return {self.variable: ",".join(names.get(one, one) for one in ids), **order}


def pool(
    environment: Mapping[str, str], gpus: Sequence[GpuDevice] | None, vendor: str | None = None
) -> Pool:
    """Return what the environment shows of the GPUs that the driver lists; None is no driver."""
    if gpus is None:
        return _unresolved(environment)
    if vendor == "amd":
        return _rocm_pool(environment, gpus)
    if CUDA not in environment:
        return Pool(ids=tuple(one for gpu in gpus for one in gpu.ids))
    ids = _shown(environment[CUDA], lambda entry: _resolved(entry, gpus))
    if not _is_ambiguous(environment, gpus, ids):
        return Pool(ids=ids)
    entries = _shown(environment[CUDA], lambda entry: _resolved(entry, gpus) and entry)
    return Pool(ids=entries, are_uuids=False, is_ambiguous=True)


def _unresolved(environment: Mapping[str, str]) -> Pool:
    """Return the entries of the strongest variable as they stand."""
    variable = next(filter(environment.__contains__, VARIABLES), CUDA)
    text = environment.get(variable, "")
    # ROCm lets numbers and UUIDs stand beside each other.
    ids = _shown(text, str) if variable == CUDA else tuple(_up_to_invalid(text))
    return Pool(ids=ids, variable=variable, are_uuids=False)


def _rocm_pool(environment: Mapping[str, str], gpus: Sequence[GpuDevice]) -> Pool:
    """Return what HIP shows of what ROCr shows.

    Workers are restricted by HIP's numbers: not every GPU of AMD has a UUID that HIP knows.
    """
    numbers = {gpu.index: gpu.uuid for gpu in sorted(gpus, key=lambda gpu: gpu.index)}
    if ROCR in environment:
        numbers = dict(enumerate(_shown_by_rocr(environment[ROCR], numbers)))
    # To HIP an empty list is none given, and then it reads CUDA's.
    text = environment.get(HIP) or environment.get(CUDA)
    shown = dict(_shown_by_hip(text, numbers) if text else ((b, a) for a, b in numbers.items()))
    return Pool(ids=tuple(shown), variable=HIP, names=tuple(map(str, shown.values())))


def _shown_by_rocr(text: str, numbers: Mapping[int, str]) -> tuple[str, ...]:
    """Return the UUIDs of a list, up to the first entry that is invalid or comes again."""
    found: dict[str, None] = {}
    for entry in (part.strip().upper() for part in text.split(",")):
        one = _numbered_by_rocr(entry, numbers)
        if one is None or one in found:
            break
        found[one] = None
    return tuple(found)


def _numbered_by_rocr(entry: str, numbers: Mapping[int, str]) -> str | None:
    if _ROCR_INDEX.fullmatch(entry):
        return numbers.get(int(entry, 0))
    if not entry.startswith("GPU-") or entry == "GPU-":
        return None
    found = [uuid for uuid in numbers.values() if uuid.upper().startswith(entry)]
    return found[0] if len(found) == 1 else None


def _shown_by_hip(text: str, numbers: Mapping[int, str]) -> Iterator[tuple[str, int]]:
    """Yield UUID and number of the entries of a list, up to the first invalid one."""
    for entry in text.split(","):
        for number, uuid in numbers.items():
            if entry == str(number) or ("GPU-" in entry and entry in uuid):
                yield uuid, number
                break
        else:
            return


def _up_to_invalid(text: str) -> Iterator[str]:
    """Yield the entries of a list as they stand."""
    yield from takewhile(lambda entry: _form(entry) is not None, map(str.strip, text.split(",")))


def count(number: int) -> str:
    """Return a number of GPUs as a text."""
    return f"{number} GPU" if number == 1 else f"{number} GPUs"


def are(number: int) -> str:
    """Return a number of GPUs with its verb."""
    return f"{count(number)} {'is' if number == 1 else 'are'}"


def _is_ambiguous(
    environment: Mapping[str, str], gpus: Sequence[GpuDevice], ids: Sequence[str]
) -> bool:
    """Return whether CUDA may count the GPUs in another order than the driver."""
    if environment.get(ORDER) == _PCI or len({gpu.name for gpu in gpus}) <= 1:
        return False
    # Whoever names them all means the same GPUs in any order.
    every = {gpu.ids[0] for gpu in gpus if gpu.ids}
    return _form(environment[CUDA].strip()) == _NUMBER and set(ids) != every


def _shown(text: str, resolve: Callable[[str], str | None]) -> tuple[str, ...]:
    """Return what the entries of a list stand for, up to the first invalid one."""
    found = tuple(_valid(text, resolve))
    return found if len(set(found)) == len(found) else ()


def _valid(text: str, resolve: Callable[[str], str | None]) -> Iterator[str]:
    """Yield what entries stand for while they are valid and of one form."""
    first = _form(text.strip())
    for entry in map(str.strip, text.split(",")):
        one = resolve(entry) if first is not None and _form(entry) == first else None
        if one is None:
            return
        yield one


def _form(entry: str) -> str | None:
    """Return whether an entry is a number, a GPU or a MIG device; None when it is neither."""
    if _INDEX.match(entry):
        return _NUMBER
    return entry[:4] if entry.startswith(("GPU-", "MIG-")) else None


def _resolved(entry: str, gpus: Sequence[GpuDevice]) -> str | None:
    """Return the UUID of what an entry stands for; None when it stands for nothing."""
    number = _INDEX.match(entry)
    if number:  # CUDA reads the digits and ignores what follows
        found = [gpu for gpu in gpus if gpu.index == int(number[1])]
    else:
        found = [gpu for gpu in gpus if gpu.uuid.startswith(entry)]
    if entry.startswith("MIG-"):
        parts = list(_mig_devices(entry, gpus))
        return parts[0] if len(parts) == 1 else None
    # Of a partitioned GPU, CUDA shows the first instance.
    return found[0].ids[0] if len(found) == 1 and found[0].ids else None


def _mig_devices(entry: str, gpus: Sequence[GpuDevice]) -> Iterator[str]:
    """Yield the MIG devices that an entry stands for, in today's form or the older one."""
    old = _LEGACY_MIG.fullmatch(entry)
    for gpu in gpus:
        for part in gpu.mig or ():
            place = (gpu.uuid, str(part.gpu_instance), str(part.compute_instance))
            if part.uuid.startswith(entry) or (old and old.groups() == place):
                yield part.uuid
