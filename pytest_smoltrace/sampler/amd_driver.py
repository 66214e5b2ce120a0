"""The GPUs of AMD, asked through the vendor's client `amdsmi`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .amd_device import AmdDevice, code_of, known, name_of
from .device import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_KFD = Path("/dev/kfd")
_MISSING = (
    "/dev/kfd is there, but not the package that reads GPUs of AMD: install the amdsmi of the "
    "machine's ROCm release, or pytest-smoltrace[amd]"
)
_DRIVER_NOT_LOADED = 34
_NO_ID = 2**64 - 1
_DUAL_DIE = frozenset({0x7408, 0x740C})
"""PCI device ids of MI250X and MI250."""
_UNIQUE_ID = re.compile(r"(?:GPU-)?(?:0x)?([0-9a-f]{1,16})", re.IGNORECASE)


def open_driver(kfd: Path = _KFD) -> AmdDriver | None:
    """Open the driver; None where nothing of AMD is there.

    Args:
        kfd: What the driver shows of itself.

    Raises:
        UnavailableError: There are GPUs of AMD, but not what reads them.
    """
    try:
        return _open()
    except UnavailableError:
        if kfd.exists():
            raise
        return None


def problem_beside_nvidia(kfd: Path = _KFD) -> str | None:
    """Return that GPUs of AMD are left out, where they could be read; the driver is not asked."""
    if not kfd.exists() or importlib.util.find_spec("amdsmi") is None:
        return None
    return "GPUs of NVIDIA and of AMD are in this machine: those of AMD are not sampled"


def _open() -> AmdDriver | None:
    client = _client()
    try:
        client.amdsmi_init()
        return AmdDriver(client)
    except client.AmdSmiException as error:
        if code_of(error) == _DRIVER_NOT_LOADED:
            return None
        raise UnavailableError(f"AMD's library does not start: {name_of(error)}") from None


def _client() -> Any:
    """Return the vendor's client.

    Raises:
        UnavailableError: It is not installed, or does not find or fit the library.
    """
    if importlib.util.find_spec("amdsmi") is None:
        raise UnavailableError(_MISSING)
    try:
        # It prints where it finds no library; standard output belongs to the protocol.
        with contextlib.redirect_stdout(io.StringIO()):
            return importlib.import_module("amdsmi")
    except AttributeError as error:  # the library lacks a function
        why = f"amdsmi is of another ROCm release than libamd_smi.so: {error}"
        raise UnavailableError(why) from None
    except (ImportError, OSError, KeyError):
        why = "amdsmi finds no libamd_smi.so: set ROCM_PATH to the folder of ROCm"
        raise UnavailableError(why) from None


class AmdDriver:
    """The driver, held open."""

    vendor = "amd"

    def __init__(self, client: Any) -> None:
        self._client = client
        self._handles: Sequence[Any] = client.amdsmi_get_processor_handles()
        self._uuids = self._names()
        self.version = self._version()

    def _version(self) -> str | None:
        for handle in self._handles:
            info = self._ask(self._client.amdsmi_get_gpu_driver_info, handle)
            if info and info["driver_version"] != "N/A":
                return str(info["driver_version"])
        return None

    def listed(self) -> list[dict[str, Any]]:
        """Return the GPUs as HIP counts them, or as the library lists them."""
        numbers = [self._enumeration(handle).get("hip_id") for handle in self._handles]
        if len(set(numbers)) < len(numbers) or not all(isinstance(one, int) for one in numbers):
            numbers = list(range(len(self._handles)))
        found = [
            {
                "index": number,
                "uuid": uuid,
                "name": known(self._asic(handle).get("market_name")) or "GPU",
                "memory_bytes": self._total_memory(handle),
                "mig": None,
            }
            for number, uuid, handle in zip(numbers, self._uuids, self._handles, strict=True)
        ]
        return sorted(found, key=lambda device: device["index"])

    def device(self, uuid: str, *, is_instance: bool) -> AmdDevice:  # noqa: ARG002 - has none
        """Return a GPU that has not been opened yet."""
        handle = dict(zip(self._uuids, self._handles, strict=True)).get(uuid)
        chip = known(self._asic(handle).get("device_id")) or "0"
        return AmdDevice(self._client, handle, has_two_dies=int(chip, 16) in _DUAL_DIE)

    def close(self) -> None:
        """Let go of the driver."""
        with contextlib.suppress(self._client.AmdSmiException):
            self._client.amdsmi_shut_down()

    def _names(self) -> tuple[str, ...]:
        """Return what HIP calls the GPUs; what the library does where HIP has no name for one."""
        names = [_hip_uuid(self._unique_id(handle)) for handle in self._handles]
        ask = self._client.amdsmi_get_gpu_device_uuid
        found = [
            name or self._ask(ask, handle) or f"AMD-{place}"
            for place, (name, handle) in enumerate(zip(names, self._handles, strict=True))
        ]
        return tuple(  # the partitions of an MI300 may have one id
            one if found.count(one) == 1 else f"{one}/{place}" for place, one in enumerate(found)
        )

    def _unique_id(self, handle: Any) -> str | None:
        return self._enumeration(handle).get("hip_uuid") or self._asic(handle).get("asic_serial")

    def _enumeration(self, handle: Any) -> dict[str, Any]:
        # Clients before ROCm 6.4 do not have it.
        question = getattr(self._client, "amdsmi_get_gpu_enumeration_info", None)
        return (question and self._ask(question, handle)) or {}

    def _asic(self, handle: Any) -> dict[str, Any]:
        return self._ask(self._client.amdsmi_get_gpu_asic_info, handle) or {}

    def _total_memory(self, handle: Any) -> int | None:
        kind = self._client.AmdSmiMemoryType.VRAM
        return self._ask(self._client.amdsmi_get_gpu_memory_total, handle, kind) or None

    def _ask(self, question: Callable[..., Any], *about: Any) -> Any:
        """Return what the library says; None when this GPU does not say it."""
        try:
            return question(*about)
        except (self._client.AmdSmiException, ValueError):  # a serial that is no number
            return None


def _hip_uuid(text: str | None) -> str | None:
    """Return a unique id as HIP writes it; None for what is no id."""
    match = _UNIQUE_ID.fullmatch(text or "")
    number = int(match[1], 16) if match else 0
    return f"GPU-{number:016x}" if 0 < number < _NO_ID else None
