"""The return codes of the NVIDIA driver, by what they say about a device or one of its values."""

from __future__ import annotations

from typing import Any

OK = 0
UNINITIALIZED = 1
INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
DRIVER_NOT_LOADED = 9
TIMEOUT = 10
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
LIB_RM_VERSION_MISMATCH = 18
ARGUMENT_VERSION_MISMATCH = 25
DEPRECATED = 26
GPU_NOT_FOUND = 28
UNKNOWN = 999

NEVER = frozenset(
    {
        INVALID_ARGUMENT,
        NOT_SUPPORTED,
        NO_PERMISSION,
        FUNCTION_NOT_FOUND,
        ARGUMENT_VERSION_MISMATCH,
        DEPRECATED,
    }
)
"""A value that this device will not give however often it is asked."""

DEVICE = frozenset(
    {
        UNINITIALIZED,
        DRIVER_NOT_LOADED,
        TIMEOUT,
        GPU_IS_LOST,
        RESET_REQUIRED,
        LIB_RM_VERSION_MISMATCH,
        GPU_NOT_FOUND,
    }
)
"""The device itself is out of reach, not only the value that was asked for.

UNKNOWN may be either: it is the device's if nothing else of it answers.
"""


def name_of(nvml: Any, code: int) -> str:
    """Return the name of a code as NVIDIA's documents have it."""
    prefix = "NVML_ERROR_"
    for name in dir(nvml):
        if name.startswith(prefix) and getattr(nvml, name) == code:
            return name.removeprefix(prefix)
    return f"NVML_ERROR {code}"
