"""Where a run took place and under which options, as the leaderboard shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pytest_smoltrace.attempt import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_smoltrace.session_facts import Header

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


def place_of(directory: str, header: Header, providers: set[str]) -> Place:
    """Return the place of a run from the header of its journal."""
    options, environment = header.config, header.environment
    given = options.get("hardware")
    ci = environment.get("ci")
    return Place(
        submitted_by=options.get("submitted_by") or "local",
        local=f"local:{directory}",
        metrics="",
        hardware=given or environment.get("hardware"),
        hardware_detail=environment.get("hardware_detail"),
        hardware_scope=_scope(options, providers) if environment.get("hardware") else None,
        hardware_source="option" if given else environment.get("hardware_source"),
        producer=f"pytest-smoltrace/{header.plugin_version}",
        package_versions=to_json(environment.get("package_versions") or {}),
        ci=to_json(ci) if ci else None,
        config=to_json(_with_bindings(header)),
        notes=options.get("notes") or "",
    )


def _with_bindings(header: Header) -> Mapping[str, Any]:
    """Return the options, and which worker had which GPUs."""
    bound = {"gpu_bindings": header.bindings} if header.bindings else {}
    return {**header.config, **bound}


def _scope(options: Mapping[str, Any], providers: set[str]) -> str:
    """Return whether the model ran on this machine (model) or elsewhere (runner)."""
    models = options.get("model") or ()
    host = urlsplit(options.get("base_url") or "").hostname
    embedded = bool(models) and all(str(model).split(":")[0] == "local" for model in models)
    in_process = bool(providers) and providers <= _IN_PROCESS
    ollama = providers == {"ollama"} and host is None
    return "model" if embedded or in_process or ollama or host in _LOOPBACK else "runner"
