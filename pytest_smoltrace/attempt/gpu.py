"""The GPU figures of an attempt, as the attempt has them."""

from __future__ import annotations

from pytest_smoltrace.gpu_use import GpuUse

__all__ = ["GpuUse"]
