"""How a smolagents model is asked for a verdict."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pytest_smoltrace.capture.payloads import field
from pytest_smoltrace.judge import JudgeError
from pytest_smoltrace.taxonomy import http_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "OpenAIModel": {"temperature": 0.0},
    "LiteLLMModel": {"temperature": 0.0, "drop_params": True},
    "InferenceClientModel": {"temperature": 0.0},
    "TransformersModel": {"do_sample": False},
    "AmazonBedrockModel": {"inferenceConfig": {"temperature": 0.0}},
}
"""smolagents class -> what makes its replies repeatable; subclasses included, vLLM's are anyway."""

_STRUCTURED = frozenset({"OpenAIModel", "LiteLLMModel", "VLLMModel"})
"""smolagents classes that take a JSON schema as `response_format`."""

_FIXED_TEMPERATURE = re.compile(r"(?:^|/)(?:o\d|gpt-5)")
"""Model ids whose API refuses a temperature."""

_WORDS = {"response_format": ("response_format", "json_schema", "structured output", "grammar")}
"""Setting -> what an API says of it that does not take it; its name where nothing is listed."""

_REFUSED = (400, 422)


class JudgeModel:
    """A model as judges ask it."""

    def __init__(self, model: Any, refused: set[str]) -> None:
        self._model = model
        self._refused = refused

    def __call__(self, messages: Sequence[tuple[str, str]], schema: Mapping[str, Any]) -> str:
        """Return the text of the model's reply.

        Raises:
            JudgeError: The model or its provider refused to answer.
        """
        __tracebackhide__ = True
        message = self._generate([_message(role, text) for role, text in messages], schema)
        text = _text(field(message, "content"))
        if not text.strip():
            _raise_refusal(field(message, "raw"))
        return text

    def _generate(self, messages: list[Any], schema: Mapping[str, Any]) -> Any:
        __tracebackhide__ = True
        settings = settings_of(self._model, schema, self._refused)
        dropped: set[str] = set()
        while True:
            try:
                message = self._model.generate(messages, **settings)
            except Exception as error:
                name = refused_setting(error, settings)
                if name is None:
                    raise
            else:
                self._refused |= dropped
                return message
            dropped.add(name)
            del settings[name]


class JudgeModels:
    """What is known about the models that judge in this process."""

    def __init__(self) -> None:
        self._refused: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()

    def of(self, model: Any) -> JudgeModel:
        """Return the model as judges ask it; what its API once refused is not sent again."""
        try:
            refused = self._refused.setdefault(model, set())
        except TypeError:  # unhashable or without weak references
            refused = set()
        return JudgeModel(model, refused)


def settings_of(model: Any, schema: Mapping[str, Any], refused: Iterable[str]) -> dict[str, Any]:
    """Return the keyword arguments that a model takes beside the messages."""
    names = [cls.__name__ for cls in type(model).__mro__]
    settings = dict(next((_SETTINGS[name] for name in names if name in _SETTINGS), {}))
    if _FIXED_TEMPERATURE.search(str(getattr(model, "model_id", None))):
        settings.pop("temperature", None)
    if not _STRUCTURED.isdisjoint(names):
        verdict = {"name": "verdict", "strict": True, "schema": dict(schema)}
        settings["response_format"] = {"type": "json_schema", "json_schema": verdict}
    return {name: value for name, value in settings.items() if name not in refused}


def refused_setting(error: Exception, settings: Iterable[str]) -> str | None:
    """Return the setting that the model or its API says it does not take."""
    status = http_status(error)
    refused = isinstance(error, (TypeError, ValueError)) if status is None else status in _REFUSED
    if not refused:
        return None
    text = str(error).lower()
    return next((s for s in settings if any(word in text for word in _WORDS.get(s, (s,)))), None)


def _message(role: str, text: str) -> Any:
    from smolagents.models import ChatMessage, MessageRole

    return ChatMessage(role=MessageRole(role), content=[{"type": "text", "text": text}])


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(field(part, "text") or "") for part in content)
    return "" if content is None else str(content)


def _raise_refusal(raw: Any) -> None:
    __tracebackhide__ = True
    choice = next(iter(field(raw, "choices") or ()), None)
    if field(field(choice, "message"), "refusal"):
        raise JudgeError("the judge refused to judge")
    if field(choice, "finish_reason") == "content_filter":
        raise JudgeError("the content filter of the judge's provider withheld the verdict")
