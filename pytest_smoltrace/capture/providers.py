"""How each provider's genuine smolagents model is built from the options."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pytest_smoltrace.config import ModelSpec, RunConfig

OLLAMA_URL = "http://localhost:11434/v1"
_CHAT = ("temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty", "seed")
_ALL = (*_CHAT, "reasoning_effort")
_BEDROCK = {"temperature": "temperature", "top_p": "topP", "max_tokens": "maxTokens"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A model and the family that it belongs to."""

    model: Any
    family: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """How one provider makes its model."""

    make: Callable[[str, dict[str, Any], str | None, dict[str, Any]], Any]
    """(model id, applied settings, base URL, further arguments) -> model."""
    applies: tuple[str, ...]
    """Generation settings that the provider takes."""
    family: str


def build_model(spec: ModelSpec, config: RunConfig, base_url: str | None = None) -> Built:
    """Build the smolagents model of a spec.

    Args:
        spec: Provider and model id.
        config: The effective options.
        base_url: Address of the running local server, for the `local` provider.

    Raises:
        ConfigError: The provider's client refuses the settings; says which.
    """
    maker = MAKERS[spec.provider]
    requested = config.generation.requested()
    applied = {name: value for name, value in requested.items() if name in maker.applies}
    arguments = dict(config.model_args)
    # The base URL is that of a remote API; a local model has a server of its own.
    url = base_url if spec.provider == "local" else base_url or config.base_url
    try:
        model = maker.make(spec.model_id, applied, url, arguments)
    except _client_errors() as error:
        raise ConfigError(f"model {spec} cannot be built: {_one_line(error)}") from error
    return Built(model=model, family=maker.family)


def preload(specs: Iterable[ModelSpec]) -> None:
    """Import the client that the models share, which would else be in the time of a case."""
    if any(spec.provider in MAKERS and MAKERS[spec.provider].family == "openai" for spec in specs):
        import openai  # noqa: F401


def _client_errors() -> tuple[type[Exception], ...]:
    """Return what the clients that are loaded raise when they cannot be built."""
    named = (("openai", "OpenAIError"), ("botocore.exceptions", "BotoCoreError"))
    loaded = ((sys.modules.get(module), name) for module, name in named)
    own = tuple(getattr(module, name) for module, name in loaded if module is not None)
    return (TypeError, ValueError, ImportError, OSError, RuntimeError, *own)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def not_applied(spec: ModelSpec, config: RunConfig) -> dict[str, str]:
    """Return the requested settings that the provider does not take, each with the reason."""
    maker = MAKERS.get(spec.provider)
    if maker is None:
        return {}
    reason = f"the {spec.provider} provider does not take it"
    return {name: reason for name in config.generation.requested() if name not in maker.applies}


def _openai(model_id: str, settings: dict[str, Any], url: str | None, more: dict[str, Any]) -> Any:
    from smolagents import OpenAIModel

    if url is not None and not os.environ.get("OPENAI_API_KEY"):
        # A server of one's own rarely asks for a key, but the client insists on one.
        more.setdefault("api_key", "none")
    return OpenAIModel(model_id=model_id, api_base=url, **{**settings, **more})


def _litellm(model_id: str, settings: dict[str, Any], url: str | None, more: dict[str, Any]) -> Any:
    # Without it litellm fetches a price map from the network when it is imported.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from smolagents import LiteLLMModel

    if url is not None:
        more.setdefault("api_key", os.environ.get("OPENAI_API_KEY") or "none")
    return LiteLLMModel(model_id=model_id, api_base=url, **{**settings, **more})


def _inference(
    model_id: str, settings: dict[str, Any], url: str | None, more: dict[str, Any]
) -> Any:
    from smolagents import InferenceClientModel

    if url is None:
        return InferenceClientModel(model_id=model_id, **{**settings, **more})
    # The client takes a URL or a model; the id still has to stand in each request.
    model = InferenceClientModel(
        model_id=None, base_url=url, **{"model": model_id, **settings, **more}
    )
    model.model_id = model_id
    return model


def _transformers(
    model_id: str, settings: dict[str, Any], _url: str | None, more: dict[str, Any]
) -> Any:
    from smolagents import TransformersModel

    if settings.get("temperature") == 0:
        settings = {k: v for k, v in settings.items() if k != "temperature"} | {"do_sample": False}
    return TransformersModel(model_id=model_id, **{**settings, **more})


def _vllm(model_id: str, settings: dict[str, Any], _url: str | None, more: dict[str, Any]) -> Any:
    from smolagents import VLLMModel

    return VLLMModel(model_id=model_id, **{**settings, **more})


def _ollama(model_id: str, settings: dict[str, Any], url: str | None, more: dict[str, Any]) -> Any:
    from smolagents import OpenAIModel

    arguments = {"api_key": "ollama", **settings, **more}
    return OpenAIModel(model_id=model_id, api_base=url or OLLAMA_URL, **arguments)


def _azure(model_id: str, settings: dict[str, Any], url: str | None, more: dict[str, Any]) -> Any:
    from smolagents import AzureOpenAIModel

    return AzureOpenAIModel(model_id=model_id, azure_endpoint=url, **{**settings, **more})


def _bedrock(
    model_id: str, settings: dict[str, Any], _url: str | None, more: dict[str, Any]
) -> Any:
    from smolagents import AmazonBedrockModel

    inference = {_BEDROCK[name]: value for name, value in settings.items()}
    extra = {"inferenceConfig": inference} if inference else {}
    return AmazonBedrockModel(model_id=model_id, **{**extra, **more})


def _local(model_id: str, settings: dict[str, Any], url: str | None, more: dict[str, Any]) -> Any:
    from pytest_smoltrace.capture.local_model import build_local_model

    if url is None:
        raise ConfigError("the local model server is not running")
    return build_local_model(url, model_id or "local", **{**settings, **more})


MAKERS: Mapping[str, Maker] = {
    "openai": Maker(make=_openai, applies=_ALL, family="openai"),
    "litellm": Maker(make=_litellm, applies=_ALL, family="litellm"),
    "inference": Maker(make=_inference, applies=_CHAT, family="inference"),
    "transformers": Maker(
        make=_transformers, applies=("temperature", "top_p", "max_tokens"), family="transformers"
    ),
    "vllm": Maker(make=_vllm, applies=("temperature", "max_tokens"), family="vllm"),
    "ollama": Maker(make=_ollama, applies=_ALL, family="ollama"),
    "azure": Maker(make=_azure, applies=_ALL, family="azure"),
    "bedrock": Maker(make=_bedrock, applies=tuple(_BEDROCK), family="bedrock"),
    "local": Maker(make=_local, applies=_CHAT, family="openai"),
}
