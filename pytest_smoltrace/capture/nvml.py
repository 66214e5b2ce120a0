"""The GPUs that the NVIDIA driver lists, asked through its own client library."""

from __future__ import annotations

import ctypes
import platform
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.devices import GpuDevice, MigDevice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LIBRARY = "libnvidia-ml.so.1"


def gpus() -> tuple[GpuDevice, ...] | None:
    """Return all GPUs of the machine in PCI order; None without a driver that answers.

    The driver is closed again: a process that forks must not hold it.
    """
    if not _is_installed():
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return tuple(_listed(pynvml))
    except pynvml.NVMLError:
        return None
    finally:
        _ask(pynvml.nvmlShutdown)


def _is_installed() -> bool:
    """Return whether the driver's library can be loaded, which is cheaper than the client."""
    if platform.system() == "Windows":
        return True
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return False
    return True


def _listed(nvml: Any) -> Iterator[GpuDevice]:
    """Yield the GPUs that answer."""
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = _ask(nvml.nvmlDeviceGetHandleByIndex, index)
        uuid = None if handle is None else _ask(nvml.nvmlDeviceGetUUID, handle)
        if uuid is not None:
            yield _gpu(nvml, index, uuid, handle)


def _gpu(nvml: Any, index: int, uuid: str, handle: Any) -> GpuDevice:
    mode = _ask(nvml.nvmlDeviceGetMigMode, handle)
    return GpuDevice(
        index=index,
        uuid=uuid,
        name=_ask(nvml.nvmlDeviceGetName, handle) or "GPU",
        memory_bytes=_memory(nvml, handle),
        mig=tuple(_mig_devices(nvml, handle)) if mode and mode[0] else None,
    )


def _mig_devices(nvml: Any, handle: Any) -> Iterator[MigDevice]:
    """Yield the compute instances of a partitioned GPU."""
    for place in range(_ask(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        part = _ask(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place)
        if part is not None:
            yield MigDevice(
                uuid=nvml.nvmlDeviceGetUUID(part),
                memory_bytes=_memory(nvml, part),
                gpu_instance=_ask(nvml.nvmlDeviceGetGpuInstanceId, part),
                compute_instance=_ask(nvml.nvmlDeviceGetComputeInstanceId, part),
            )


def _memory(nvml: Any, handle: Any) -> int | None:
    found = _ask(nvml.nvmlDeviceGetMemoryInfo, handle)
    return None if found is None else int(found.total)


def _ask(question: Callable[..., Any], *about: Any) -> Any:
    """Return what the driver says; None when this device does not say it."""
    import pynvml

    try:
        return question(*about)
    except pynvml.NVMLError:
        return None
