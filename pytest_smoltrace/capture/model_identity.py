"""What a model object is called: its id, its family and its provider."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

_FAMILIES = {
    "AzureOpenAIModel": "azure",
    "AmazonBedrockModel": "bedrock",
    "LiteLLMModel": "litellm",
    "InferenceClientModel": "inference",
    "TransformersModel": "transformers",
    "VLLMModel": "vllm",
    "MLXModel": "mlx",
    "OpenAIModel": "openai",
}
"""smolagents class -> family; subclasses included."""

_SYSTEMS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "inference": "huggingface",
    "transformers": "huggingface",
    "vllm": "vllm",
    "mlx": "mlx",
    "openai": "openai",
    "ollama": "ollama",
}
"""Family -> provider name of the OpenTelemetry conventions."""


class Families:
    """Families of models, where the class alone does not say it."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    def declare(self, model: Any, family: str) -> None:
        """Note the family of a model that was built for a provider."""
        self._known[model] = family

    def of(self, model: Any) -> str:
        """Return litellm, transformers, inference, openai, azure, ..., custom for a user's own."""
        try:
            known = self._known.get(model)
        except TypeError:  # unhashable or without weak references
            known = None
        if known is not None:
            return known
        names = (cls.__name__ for cls in type(model).__mro__)
        return next((_FAMILIES[name] for name in names if name in _FAMILIES), "custom")


def endpoint_of(model: Any) -> str:
    """Return what stands for the server that a model calls: its address, else its class."""
    arguments = getattr(model, "client_kwargs", None)
    given = arguments if isinstance(arguments, dict) else {}
    client = getattr(model, "client", None)
    addresses = (
        given.get("base_url"),
        given.get("azure_endpoint"),
        getattr(model, "api_base", None),
        getattr(client, "base_url", None),
    )
    return next((str(one) for one in addresses if one), type(model).__name__)


def system_name(family: str) -> str | None:
    """Return the provider's name; None where only the model id's prefix tells it."""
    return _SYSTEMS.get(family)


def display_id(model: Any) -> str | None:
    """Return the model id of a model object as it is recorded; None when it has none."""
    model_id = getattr(model, "model_id", None)
    return recorded_id(model_id) if isinstance(model_id, str) and model_id else None


@functools.lru_cache(maxsize=256)
def recorded_id(model_id: str) -> str:
    """Return the id as the user wrote it, a local path reduced to its last component."""
    local = model_id.startswith((".", "~")) or Path(model_id).is_absolute()
    return Path(model_id).name if local else model_id
