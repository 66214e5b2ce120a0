"""Which GPUs a worker gets: by its environment, before anything is imported in it."""

from __future__ import annotations

import os
import shlex
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace import devices, dist
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.gpu_listing import is_left_alone, listing_of, pool_of
from pytest_smoltrace.hosts import is_remote
from pytest_smoltrace.marker import marked
from pytest_smoltrace.model_place import are_servers_here

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.devices import Pool

NAME = "smoltrace-gpus"
WORKER_MIB = 100
"""Memory that a further worker takes; 92 of its own were measured after its first cases."""
_INPUT = "smoltrace_gpus"
_NOTE = pytest.StashKey[str]()
_AMBIGUOUS = (
    "smoltrace: CUDA counts GPUs of several kinds with the fastest first, so workers are bound to "
    "numbers and no UUID is recorded; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name GPUs by UUID"
)
_ON_GPU = frozenset({"transformers", "vllm"})
"""Providers whose models run in the process of the tests."""


class Gpus:
    """The hooks that bind workers to GPUs, in the part that this process has in it."""

    def __init__(self, config: pytest.Config, size: int, *, is_shared: bool = False) -> None:
        """Take the session.

        Args:
            config: Of pytest.
            size: GPUs of each worker.
            is_shared: Whether all workers see all GPUs: a server works on them for everybody.
        """
        self._pytest = config
        self._size = size
        self._is_shared = is_shared
        self._given: list[tuple[Any, Sequence[str], Pool]] = []
        """Spec of a worker, its GPUs and all; xdist uses the spec again when the worker dies."""

    def pytest_report_header(self) -> list[str]:
        """Say why `-n auto` starts as many workers as it does, and what has no effect."""
        note = self._pytest.stash.get(_NOTE, None)
        lines = [f"smoltrace: {note}"] if note else []
        if self._size > 1 and not pool_of(self._pytest).ids:
            lines.append(f"smoltrace: --smoltrace-gpus-per-worker={self._size}: no GPU is visible")
        return lines

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_setupnodes(self, specs: Sequence[Any]) -> None:
        """Give every worker of this host its GPUs, round robin."""
        found = pool_of(self._pytest)
        if self._is_shared:
            return
        try:
            groups = found.groups(self._size)
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from None
        if not groups and self._size:
            return
        for place, spec in enumerate(filter(_is_free, specs)):
            ids = groups[place % len(groups)] if groups else ()
            self.give(spec, ids, found)
        self._show(bound(specs), ambiguous=found.is_ambiguous)

    def give(self, spec: Any, ids: Sequence[str], found: Pool) -> None:
        """Restrict a worker to some of the GPUs that its host shows."""
        spec.env.update(found.environment(ids))
        self._given.append((spec, ids, found))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker which GPUs it was given, and of how many."""
        share = self._share(node.gateway.spec)
        if share is not None:
            ids, found, expected = share
            node.workerinput[_INPUT] = {
                "variable": found.variable,
                "are_uuids": found.are_uuids,
                "ids": list(ids),
                "visible": len(found.ids),
                "of": list(found.ids) if found.are_uuids else None,
                "environment": dict(expected),
            }

    def _share(self, spec: Any) -> tuple[Sequence[str], Pool, Mapping[str, str | None]] | None:
        """Return the GPUs of a worker, those of its host, and what its environment then says."""
        for given, ids, found in self._given:
            if given is spec:
                return ids, found, found.environment(ids)
        if is_remote(spec) or _is_launched(spec):
            return None  # it finds out itself
        variables = {**os.environ, **spec.env}
        listing = listing_of(self._pytest)
        found = devices.pool(variables, listing.gpus, listing.vendor)
        names = (*devices.VARIABLES, devices.ORDER)
        return found.ids, found, {name: variables.get(name) for name in names}

    def assigned(self, specs: Iterable[Any]) -> list[tuple[str, ...]]:
        """Return the UUIDs of the GPUs of each worker of this host, as far as they are known.

        One that another program starts may use what this process may.
        """
        own = pool_of(self._pytest)
        shares = [self._share(spec) for spec in specs if not is_remote(spec)]
        found = [(own.ids, own) if share is None else share[:2] for share in shares]
        return [tuple(ids) for ids, pool in found if pool.are_uuids]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Skip or refuse the selected cases that need more GPUs than there are."""
        try:
            self._check(items)
        except ConfigError as error:
            if not dist.refuse(config, str(error)):
                raise pytest.UsageError(str(error)) from None
            items.clear()

    def _check(self, items: Sequence[pytest.Item]) -> None:
        for item in items:
            needed = marked(item).get("gpus")
            if needed is None:
                continue
            visible = self._told["visible"] if self._told else len(self.own.ids)
            if needed > visible:
                reason = f"needs {devices.count(needed)}, {devices.are(visible)} visible"
                item.add_marker(pytest.mark.skip(reason=reason))
            elif needed > len(self.own.ids):
                raise ConfigError(
                    f"{item.nodeid} needs {devices.count(needed)} and its worker has "
                    f"{len(self.own.ids)}: give --smoltrace-gpus-per-worker={needed}"
                )

    @cached_property
    def own(self) -> Pool:
        """What this process may use."""
        told = self._told
        if told is None:
            return pool_of(self._pytest)
        ids = tuple(told["ids"])
        return devices.Pool(ids=ids, variable=told["variable"], are_uuids=told["are_uuids"])

    @property
    def uuids(self) -> tuple[str, ...] | None:
        """UUIDs of the GPUs that this process may use, sorted; None without, or when unknown."""
        if self._told is None and is_left_alone(self._pytest):
            return None
        return tuple(sorted(self.own.ids)) or None if self.own.are_uuids else None

    @cached_property
    def _told(self) -> dict[str, Any] | None:
        """What the controller gave, unless something has changed it since."""
        told: dict[str, Any] | None = getattr(self._pytest, "workerinput", {}).get(_INPUT)
        if told is None:
            return None
        expected = told["environment"].items()
        return told if all(os.environ.get(name) == value for name, value in expected) else None

    def _show(self, bindings: dict[str, list[str]], *, ambiguous: bool) -> None:
        reporter = self._pytest.pluginmanager.getplugin("terminalreporter")
        if reporter is None:
            return
        if ambiguous:
            reporter.write_line(_AMBIGUOUS, yellow=True)
        if self._pytest.get_verbosity() > 0:
            for worker, ids in bindings.items():
                reporter.write_line(f"smoltrace: {worker} on GPU {', '.join(ids) or 'none'}")


def shown(config: pytest.Config) -> tuple[str, ...]:
    """Return the UUIDs of all GPUs that a worker was given some of; none when nobody told it."""
    told: dict[str, Any] = getattr(config, "workerinput", {}).get(_INPUT) or {}
    return tuple(told.get("of") or ())


def gpus(config: pytest.Config, run_config: RunConfig) -> Gpus:
    """Return the hooks for the models and options of a session."""
    is_default = run_config.origins.get("gpus_per_worker") == "default"
    is_shared = is_default and are_servers_here(run_config)
    return Gpus(config, run_config.gpus_per_worker, is_shared=is_shared)


def bound(specs: Iterable[Any]) -> dict[str, list[str]]:
    """Return worker -> GPUs that its environment restricts it to, whoever set that."""
    named = {
        spec.id: [spec.env[key] for key in devices.VARIABLES if key in spec.env] for spec in specs
    }
    return {
        worker: [one for one in ",".join(lists).split(",") if one]
        for worker, lists in named.items()
        if lists
    }


def auto_workers(config: pytest.Config, run_config: RunConfig) -> int | None:
    """Return how many workers `-n auto` starts; None where nothing here is scarce."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") or _others_decide(config):
        return None
    used = {spec.provider for spec in run_config.models}
    if "local" in used:
        number, why = 1, "the embedded server answers one request at a time"
    elif used & _ON_GPU:
        number, why = _by_gpus(len(pool_of(config).ids), run_config.gpus_per_worker)
    elif run_config.limits.max_concurrency is not None:
        number, why = _by_slots(run_config.limits.max_concurrency)
    else:
        return None
    config.stash[_NOTE] = f"-n {config.option.numprocesses} is {number}: {why}"
    return number


def _others_decide(config: pytest.Config) -> bool:
    """Return whether the user's own code says how many workers there are."""
    known = ("xdist.plugin", "pytest_smoltrace.plugin")
    impls = config.hook.pytest_xdist_auto_num_workers.get_hookimpls()
    return any(impl.function.__module__ not in known for impl in impls)


def _by_gpus(visible: int, each: int) -> tuple[int, str]:
    if not visible or not each:
        return 1, "a model on the CPU uses all its cores"
    return max(1, visible // each), f"{devices.are(visible)} visible, {each} for each worker"


def _by_slots(slots: int) -> tuple[int, str]:
    from pytest_smoltrace.capture.machine import available_memory_mib

    memory = available_memory_mib()
    carried = slots if memory is None else max(1, memory // WORKER_MIB)
    if carried < slots:
        why = f"{memory} MiB of memory carry no more (--smoltrace-max-concurrency={slots})"
        return carried, why
    return slots, "--smoltrace-max-concurrency"


def _is_free(spec: Any) -> bool:
    """Return whether a worker runs on this host and was given no GPUs by the user."""
    is_local = not is_remote(spec) and not _is_launched(spec)
    return is_local and not set(devices.VARIABLES) & set(spec.env)


def _is_launched(spec: Any) -> bool:
    """Return whether the Python of a worker is started by another program: `srun python`."""
    first = (shlex.split(spec.python) or [""])[0] if spec.python else ""
    return bool(first) and not PurePath(first).name.startswith(("python", "pypy"))
