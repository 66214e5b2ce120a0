"""NVIDIA's driver, asked through its own client library."""

from __future__ import annotations

import ctypes
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .device import UnavailableError
from .nvml_codes import DRIVER_NOT_LOADED, LIB_RM_VERSION_MISMATCH, LIBRARY_NOT_FOUND, name_of
from .nvml_device import NvmlDevice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LIBRARY = "libnvidia-ml.so.1"
_MISMATCH = "the NVIDIA driver was updated while it is loaded: restart the machine"


def open_driver() -> NvmlDriver | None:
    """Open the driver; None where it is not installed.

    Raises:
        UnavailableError: It is installed, but cannot be asked.
    """
    if not _is_installed():
        return None
    nvml = _client()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        if error.value == LIBRARY_NOT_FOUND:
            return None
        raise UnavailableError(_reason(nvml, error.value)) from None
    return NvmlDriver(nvml)


def _is_installed() -> bool:
    """Return whether the driver's library can be loaded, which is cheaper than the client."""
    if sys.platform == "win32":
        return True
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return False
    return True


def _client() -> Any:
    """Return the client library of the package nvidia-ml-py.

    Raises:
        UnavailableError: It is not there, or an older package of its name comes before it.
    """
    try:
        nvml = import_module("pynvml")
    except ImportError:
        text = "the package nvidia-ml-py cannot be imported: pip install nvidia-ml-py"
        raise UnavailableError(text) from None
    if not hasattr(nvml, "_nvmlGetFunctionPointer"):
        raise UnavailableError(
            f"the package pynvml{_version()} hides nvidia-ml-py: pip uninstall pynvml"
        )
    return nvml


def _version() -> str:
    from importlib import metadata

    try:
        return f" {metadata.version('pynvml')}"
    except metadata.PackageNotFoundError:
        return ""


def _reason(nvml: Any, code: int) -> str:
    known = {
        DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
        LIB_RM_VERSION_MISMATCH: _MISMATCH,
    }
    return known.get(code, f"the NVIDIA driver cannot be opened ({name_of(nvml, code)})")


class NvmlDriver:
    """The driver, open."""

    vendor = "nvidia"

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self.version: str | None = self._ask(nvml.nvmlSystemGetDriverVersion)

    def listed(self) -> list[dict[str, Any]]:
        """Return the GPUs that answer, in PCI order.

        Raises:
            UnavailableError: The driver does not say how many there are.
        """
        try:
            count = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as error:
            name = name_of(self._nvml, error.value)
            raise UnavailableError(f"the NVIDIA driver does not list its GPUs ({name})") from None
        return [gpu for index in range(count) if (gpu := self._gpu(index)) is not None]

    def _gpu(self, index: int) -> dict[str, Any] | None:
        handle = self._ask(self._nvml.nvmlDeviceGetHandleByIndex, index)
        uuid = None if handle is None else self._ask(self._nvml.nvmlDeviceGetUUID, handle)
        if uuid is None:
            return None
        mode = self._ask(self._nvml.nvmlDeviceGetMigMode, handle)
        return {
            "index": index,
            "uuid": uuid,
            "name": self._ask(self._nvml.nvmlDeviceGetName, handle) or "GPU",
            "memory_bytes": self._memory_bytes(handle),
            "mig": list(self._instances(handle)) if mode and mode[0] else None,
        }

    def _instances(self, handle: Any) -> Iterator[dict[str, Any]]:
        """Yield the compute instances of a partitioned GPU."""
        nvml = self._nvml
        for place in range(self._ask(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            part = self._ask(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place)
            uuid = None if part is None else self._ask(nvml.nvmlDeviceGetUUID, part)
            if uuid is not None:
                yield {
                    "uuid": uuid,
                    "memory_bytes": self._memory_bytes(part),
                    "gpu_instance": self._ask(nvml.nvmlDeviceGetGpuInstanceId, part),
                    "compute_instance": self._ask(nvml.nvmlDeviceGetComputeInstanceId, part),
                }

    def _memory_bytes(self, handle: Any) -> int | None:
        found = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle)
        return None if found is None else int(found.total)

    def _ask(self, question: Callable[..., Any], *about: Any) -> Any:
        """Return what the driver says; None when this device does not say it."""
        try:
            return question(*about)
        except self._nvml.NVMLError:
            return None

    def device(self, uuid: str, *, is_instance: bool) -> NvmlDevice:
        """Return a GPU or an instance that has not been opened yet."""
        return NvmlDevice(self._nvml, uuid, is_instance=is_instance)

    def close(self) -> None:
        """Let go of the driver."""
        self._ask(self._nvml.nvmlShutdown)
