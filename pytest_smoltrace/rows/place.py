"""Where a run took place and under which options, as the leaderboard shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_smoltrace.attempt import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_smoltrace.run import Run

_IN_PROCESS = frozenset({"transformers", "vllm", "mlx", "local"})
"""Families whose models run on the machine of the tests."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Names, machine and options of a run."""

    submitted_by: str
    local: str
    """Name of a dataset that stayed on this machine."""
    metrics: str
    """The same for metrics, empty without GPU samples."""
    hardware: str | None
    hardware_detail: Mapping[str, Any] | None
    hardware_scope: str | None
    hardware_source: str | None
    producer: str
    package_versions: str
    ci: str | None
    config: str
    notes: str


def place_of(run: Run, providers: set[str], *, sampled: bool = False) -> Place:
    """Return the place of a run from its journal, and whether it has samples of GPUs."""
    header = run.header
    options, environment = header.config, header.environment
    local = f"local:{run.directory.name}"
    given = options.get("hardware")
    ci = environment.get("ci")
    return Place(
        submitted_by=options.get("submitted_by") or "local",
        local=local,
        metrics=local if sampled else "",
        hardware=given or environment.get("hardware"),
        hardware_detail=environment.get("hardware_detail"),
        hardware_scope=_scope(options, providers) if environment.get("hardware") else None,
        hardware_source="option" if given else environment.get("hardware_source"),
        producer=f"pytest-smoltrace/{header.plugin_version}",
        package_versions=to_json(environment.get("package_versions") or {}),
        ci=to_json(ci) if ci else None,
        config=to_json(_with_bindings(run)),
        notes=options.get("notes") or "",
    )


def _with_bindings(run: Run) -> Mapping[str, Any]:
    """Return the options, and which worker had which GPUs, in all sessions of the run."""
    bound: dict[str, list[str]] = {}
    for bindings in (run.header.bindings, *(part.bindings for _, part in run.parts)):
        for worker, devices in bindings.items():
            had = bound.setdefault(worker, [])
            had += [device for device in devices if device not in had]
    return {**run.header.config, **({"gpu_bindings": bound} if bound else {})}


def _scope(options: Mapping[str, Any], providers: set[str]) -> str:
    """Return whether the model ran on this machine (model) or elsewhere (runner)."""
    models = options.get("model") or ()
    host = urlsplit(options.get("base_url") or "").hostname
    embedded = bool(models) and all(str(model).split(":")[0] == "local" for model in models)
    in_process = bool(providers) and providers <= _IN_PROCESS
    ollama = providers == {"ollama"} and host is None
    return "model" if embedded or in_process or ollama or host in _LOOPBACK else "runner"
