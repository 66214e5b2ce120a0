"""Where the models of a session run, as far as its options tell."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pytest_smoltrace.config import PROVIDERS

if TYPE_CHECKING:
    from pytest_smoltrace.config import ModelSpec, RunConfig

_HOSTED = frozenset({"openai", "azure", "bedrock", "inference", "litellm"})
"""Providers whose models run elsewhere, unless an address says otherwise."""
_EMBEDDED = "local"
"""Provider whose model runs on the CPU."""
_LOOPBACK = frozenset({"localhost", "::1", "0.0.0.0"})  # noqa: S104 - compared
_HERE = ("ollama/", "ollama_chat/", "vllm/", "hosted_vllm/", "lm_studio/", "llamafile/")
"""Prefixes of LiteLLM for servers that usually run on the machine that asks them."""
_ADDRESSES = ("base_url", "api_base")
"""Arguments of models that say where their server is."""


def may_use_gpus(config: RunConfig) -> bool:
    """Return whether a model may run on the GPUs of this host: a user's own provider may."""
    return any(
        _is_server_here(spec, config) if _is_server(spec) else spec.provider != _EMBEDDED
        for spec in config.models
    )


def are_servers_here(config: RunConfig) -> bool:
    """Return whether servers on this host do the work of all models, for all workers alike."""
    return all(_is_server(spec) and _is_server_here(spec, config) for spec in config.models)


def _is_server(spec: ModelSpec) -> bool:
    provider = PROVIDERS.get(spec.provider)
    return provider is not None and (provider.base_url or spec.provider in _HOSTED)


def _is_server_here(spec: ModelSpec, config: RunConfig) -> bool:
    given = (config.base_url, *map(config.model_args.get, _ADDRESSES))
    address = next(filter(None, given), None)
    if address is not None:
        return _is_here(urlsplit(str(address)).hostname or "")
    return spec.provider not in _HOSTED or spec.model_id.startswith(_HERE)


def _is_here(host: str) -> bool:
    return host in _LOOPBACK or host.startswith("127.") or host == platform.node().lower()
