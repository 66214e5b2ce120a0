"""Whether the GPUs of this host are sampled, and the life of their samples."""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from pytest_smoltrace import binding, devices, dist, gpu_listing
from pytest_smoltrace.gpu_listing import listing_of, pool_of, sampler_of
from pytest_smoltrace.hosts import is_remote
from pytest_smoltrace.model_place import may_use_gpus
from pytest_smoltrace.presence import clock_id
from pytest_smoltrace.sampler.record import FOLDER, SUFFIX
from pytest_smoltrace.sampler_process import Order

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from pytest_smoltrace.capture.live_metrics import LiveMetrics, Unsent
    from pytest_smoltrace.config import RunConfig

MEASURING = "measuring"


class GpuMonitor:
    """The samples of the process that owns the session; workers only note when they worked."""

    def __init__(self, config: pytest.Config, run_config: RunConfig) -> None:
        self._pytest = config
        self._config = run_config
        self.state = dist.NOT_SAMPLED
        """measuring, or off and why."""
        self.file: Path | None = None
        self._live: LiveMetrics | Unsent | None = None
        if run_config.gpu == "off":
            gpu_listing.leave_alone(config)

    def start(self, directory: Path, specs: Sequence[Any] = ()) -> list[str]:
        """Begin to sample into the run directory and return what is wrong, one line each.

        Args:
            directory: Run directory, which exists.
            specs: xdist's specs of the workers; none where this process runs the cases.
        """
        reason, problem = reason_against(self._config), None
        if reason is None:
            reason, problem = self._reason_here(specs)
        if reason is None:
            problem = reason = self._start(directory / FOLDER, specs)
        self.state = MEASURING if reason is None else f"off: {reason}"
        if self.file is not None:
            self._mirror(self.file, directory.name)
        else:
            gpu_listing.give_back(self._pytest)
        return [f"GPU figures are missing: {problem}"] if problem else []

    def _reason_here(self, specs: Sequence[Any]) -> tuple[str | None, str | None]:
        """Return why the GPUs of this host are not to be sampled, and what to say of that."""
        if specs and all(map(is_remote, specs)):
            return "no worker runs on this host", None
        if self._devices(specs):
            return None, None
        fault = listing_of(self._pytest).problem or self._ambiguity()
        reason = fault or self._absence()
        return reason, reason if fault or self._config.gpu == "on" else None

    def _ambiguity(self) -> str | None:
        if not pool_of(self._pytest).is_ambiguous:
            return None
        return (
            "CUDA counts GPUs of several kinds with the fastest first, so it is not known which "
            f"ones {devices.CUDA}={os.environ.get(devices.CUDA)} shows; "
            f"set {devices.ORDER}=PCI_BUS_ID, or name GPUs by UUID"
        )

    def _absence(self) -> str:
        """Return why there is nothing to sample where nothing is wrong."""
        gpus = listing_of(self._pytest).gpus
        if gpus is None:
            return "no driver of a GPU was found"
        if pool_of(self._pytest).ids:
            return "no worker has a GPU (--smoltrace-gpus-per-worker=0)"
        hiding = next(filter(os.environ.__contains__, devices.VARIABLES), None)
        if not gpus or hiding is None:
            return "the driver lists no GPU"
        return f"no GPU is visible ({hiding}={os.environ[hiding]})"

    def _devices(self, specs: Sequence[Any]) -> list[str]:
        """Return the UUIDs of what the processes of this host may use."""
        return sorted({one for ids in self._assigned(specs) for one in ids})

    def _assigned(self, specs: Sequence[Any]) -> list[tuple[str, ...]]:
        plugin: binding.Gpus | None = self._pytest.pluginmanager.getplugin(binding.NAME)
        if not specs or plugin is None:
            pool = pool_of(self._pytest)
            return [pool.ids] if pool.are_uuids else []
        return plugin.assigned(specs)

    def _start(self, folder: Path, specs: Sequence[Any]) -> str | None:
        """Give the sampler its order; return why it does not begin."""
        process = sampler_of(self._pytest)
        assert process is not None
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            return f"cannot make {folder}: {error.strerror}"
        shared = Counter(one for ids in self._assigned(specs) for one in ids)
        name = f"{time.time_ns():x}-{secrets.token_hex(4)}{SUFFIX}"
        order = order_for(
            (folder / name).absolute(),
            self._devices(specs),
            self._config,
            processes=any(number > 1 for number in shared.values()),
        )
        problem = process.sample(order)
        self.file = process.samples_to
        return problem

    def stop(self) -> list[str]:
        """End the samples one period after the last case; return what went wrong."""
        if self.file is None:
            return []
        process = sampler_of(self._pytest)
        lines = process.stop() if process is not None else []
        if process is not None and self._pytest.get_verbosity() > 0:
            lines += [*filter(None, [process.listing.problem]), *process.unsupported]
        unsent = self._live.stop() if self._live is not None else []
        return [*(f"GPU figures: {line}" for line in lines), *unsent]

    def _mirror(self, file: Path, run_id: str) -> None:
        """Send the samples as live metrics as well, where the environment names a receiver."""
        from pytest_smoltrace.capture import otlp

        if not otlp.is_wanted():
            return
        from pytest_smoltrace.capture.live_metrics import LiveMetrics  # takes most of a second

        config = self._config
        self._live = LiveMetrics.start(
            file, run_id=run_id, electricity=config.electricity, hw=config.hw_metrics
        )


def reason_against(config: RunConfig) -> str | None:
    """Return why the options keep GPUs from being sampled, on any host; None when they do not."""
    if config.gpu == "off":
        return "--smoltrace-gpu=off"
    if config.gpu == "auto" and not may_use_gpus(config):
        return "no model runs on a GPU of this host (--smoltrace-gpu=on measures all the same)"
    return None


def order_for(
    file: Path,
    uuids: Sequence[str],
    config: RunConfig,
    *,
    processes: bool,
    members: Path | None = None,
) -> Order:
    """Return what the sampler of this host is told."""
    return Order(
        file=file,
        uuids=uuids,
        period_s=config.gpu_interval,
        clock=clock_id(),
        host=platform.node() or None,
        processes=processes,
        members=members,
    )
