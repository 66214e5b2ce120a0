"""The GPUs of this host, asked once a session by the child process that may sample them too."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from pytest_smoltrace import devices, sampler_process
from pytest_smoltrace.sampler_process import Listing

if TYPE_CHECKING:
    from pytest_smoltrace.devices import Pool
    from pytest_smoltrace.sampler_process import SamplerProcess

_PROCESS = pytest.StashKey["SamplerProcess | None"]()
_POOL = pytest.StashKey["Pool"]()
_LEFT_ALONE = pytest.StashKey[bool]()


def leave_alone(config: pytest.Config) -> None:
    """Let the driver be asked only for what decides which worker or case gets a GPU."""
    config.stash[_LEFT_ALONE] = True


def is_left_alone(config: pytest.Config) -> bool:
    """Return whether the driver has not been asked, and shall not be without need."""
    return config.stash.get(_LEFT_ALONE, False) and _PROCESS not in config.stash


def give_back(config: pytest.Config) -> None:
    """End the process that has listed the GPUs, if there is one; what it said stays known."""
    process = config.stash.get(_PROCESS, None)
    if process is not None:
        process.stop()


def sampler_of(config: pytest.Config) -> SamplerProcess | None:
    """Return the process that has listed the GPUs, and waits; None without a driver."""
    if _PROCESS not in config.stash:
        process = config.stash[_PROCESS] = sampler_process.start()
        if process is not None:
            config.add_cleanup(partial(_stop, process))
    return config.stash[_PROCESS]


def _stop(process: SamplerProcess) -> None:
    process.stop()


def listing_of(config: pytest.Config) -> Listing:
    """Return what the driver says."""
    process = sampler_of(config)
    return Listing() if process is None else process.listing


def pool_of(config: pytest.Config) -> Pool:
    """Return what this process may use."""
    if _POOL not in config.stash:
        listing = listing_of(config)
        config.stash[_POOL] = devices.pool(os.environ, listing.gpus, listing.vendor)
    return config.stash[_POOL]


def visible(config: pytest.Config) -> list[tuple[str, int | None]]:
    """Return name and bytes of memory of each GPU that this process may use."""
    if is_left_alone(config):
        return []
    gpus, pool = listing_of(config).gpus or (), pool_of(config)
    known = {gpu.uuid: (gpu.name, gpu.memory_bytes) for gpu in gpus}
    known |= {part.uuid: (gpu.name, part.memory_bytes) for gpu in gpus for part in gpu.mig or ()}
    if not pool.are_uuids:
        return [(gpu.name, gpu.memory_bytes) for gpu in gpus]
    return [known[one] for one in pool.ids if one in known]
