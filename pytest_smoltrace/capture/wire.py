"""Hooks on the chat functions of the client libraries, installed once a library is imported.

Within a tapped call a hook feeds that call; a client that is used directly, inside a tool for
instance, gets a call of its own.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pytest_smoltrace.capture.readers import Chat, LiteLLM, Responses, TextGeneration, bound
from pytest_smoltrace.capture.streams import RawStream, Teed, TeedAsyncStream, TeedStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_smoltrace.capture.llm_call import LLMCallInProgress

_RAW = ("LegacyAPIResponse", "APIResponse", "AsyncAPIResponse")
_CHAT = "openai.resources.chat.completions"
_RESPONSES = "openai.resources.responses"
_HUB = {
    "InferenceClient": "huggingface_hub.inference._client",
    "AsyncInferenceClient": "huggingface_hub.inference._generated._async_client",
}
"""Where the Hub's clients are made: the package itself, which agents always import, has neither."""
CLIENTS = ("litellm", *_HUB.values())
"""Modules besides openai whose import brings a client."""
_POSITIONAL = 3
"""More arguments than this nobody gives by position; the client counts as one."""


@dataclass(frozen=True, slots=True)
class _Target:
    """A function of a client library that asks a model."""

    package: str
    """Imported package that brings it."""
    module: str
    owner: str | None
    """Class of the module; None for a function of the module itself."""
    name: str
    provider: str | None
    asynchronous: bool = False
    reader: type[Chat] = Chat


_TARGETS = (
    _Target("openai", _CHAT, "Completions", "create", "openai"),
    _Target("openai", _CHAT, "Completions", "parse", "openai"),
    _Target("openai", _CHAT, "AsyncCompletions", "create", "openai", asynchronous=True),
    _Target("openai", _CHAT, "AsyncCompletions", "parse", "openai", asynchronous=True),
    *(
        _Target("openai", _RESPONSES, owner, name, "openai", owner != "Responses", Responses)
        for owner in ("Responses", "AsyncResponses")
        for name in ("create", "parse")
    ),
    _Target("litellm", "litellm", None, "completion", None, reader=LiteLLM),
    _Target("litellm", "litellm", None, "acompletion", None, asynchronous=True, reader=LiteLLM),
    *(
        _Target(module, module, owner, name, "huggingface", owner.startswith("Async"), reader)
        for owner, module in _HUB.items()
        for name, reader in (("chat_completion", Chat), ("text_generation", TextGeneration))
    ),
)


class Calls(Protocol):
    """Where the hooks get the call to feed."""

    def active(self) -> LLMCallInProgress | None:
        """Return the call that this thread of control is in."""

    def begin_direct(
        self, provider: str | None, request: dict[str, Any], operation: str
    ) -> LLMCallInProgress | None:
        """Begin a call of a client used directly; None outside every case."""

    def attached(self, call: LLMCallInProgress) -> AbstractContextManager[None]:
        """Make the call the active one."""

    def sent_direct(self, call: LLMCallInProgress) -> AbstractContextManager[None]:
        """Make the call the active one, within its time limit."""


class WireHooks:
    """The hooks of one session."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._installed: list[tuple[Any, str, Any, Any]] = []
        self._pending = list(_TARGETS)

    def install(self) -> None:
        """Hook every target whose library has been imported by now."""
        for target in [t for t in self._pending if t.package in sys.modules]:
            owner: Any = importlib.import_module(target.module)
            if target.owner is not None:
                owner = getattr(owner, target.owner, None)
            original = getattr(owner, target.name, None)
            if original is None:  # an older release, or one that is still being imported
                continue
            self._pending.remove(target)
            hook = self._async_hook if target.asynchronous else self._hook
            hooked = hook(original, target)
            setattr(owner, target.name, hooked)
            self._installed.append((owner, target.name, original, hooked))

    def uninstall(self) -> None:
        """Put the original functions back, where nobody has replaced ours since."""
        for owner, name, original, hooked in reversed(self._installed):
            if getattr(owner, name) is hooked:
                setattr(owner, name, original)
        self._installed.clear()
        self._pending = list(_TARGETS)

    def _hook(self, original: Any, target: _Target) -> Any:
        names = tuple(islice(inspect.signature(original).parameters, _POSITIONAL))

        @functools.wraps(original)
        def create(*args: Any, **kwargs: Any) -> Any:
            request, reader = bound(names, args, kwargs), target.reader()
            call, own = self._call(target.provider, request, reader)
            if call is None:
                return original(*args, **kwargs)
            with self._sending(call, request, own and self._calls.sent_direct(call)):
                result = original(*args, **kwargs)
            if kwargs.get("stream"):
                return _teed(result, call, TeedStream, reader, own=own)
            return _noted(result, reader.whole(_parsed(result)), call, own=own)

        return create

    def _async_hook(self, original: Any, target: _Target) -> Any:
        names = tuple(islice(inspect.signature(original).parameters, _POSITIONAL))

        @functools.wraps(original)
        async def create(*args: Any, **kwargs: Any) -> Any:
            request, reader = bound(names, args, kwargs), target.reader()
            call, own = self._call(target.provider, request, reader)
            if call is None:
                return await original(*args, **kwargs)
            with self._sending(call, request, own and self._calls.attached(call)):
                result = await original(*args, **kwargs)
            if kwargs.get("stream"):
                return _teed(result, call, TeedAsyncStream, reader, own=own)
            parsed = _parsed(result)
            if inspect.isawaitable(parsed):
                parsed = await parsed
            return _noted(result, reader.whole(parsed), call, own=own)

        return create

    def _call(
        self, provider: str | None, request: dict[str, Any], reader: Chat
    ) -> tuple[LLMCallInProgress | None, bool]:
        """Return the call to feed, None when there is none, and whether it began here."""
        call = self._calls.active()
        if call is None:
            name = provider or _prefix(request.get("model"))
            asked = {**request, "messages": reader.messages(request)}
            return self._calls.begin_direct(name, asked, reader.operation), True
        if call.on_wire:
            # litellm above the openai client: its own preparations are no part of the request.
            call.clock.start()
            return None, False
        return call, False

    @contextmanager
    def _sending(
        self,
        call: LLMCallInProgress,
        request: dict[str, Any],
        own: AbstractContextManager[None] | Literal[False],
    ) -> Iterator[None]:
        call.sending(request, wire=True)
        call.on_wire = True
        try:
            with own or nullcontext():
                yield
        except BaseException as error:
            if own:
                call.fail(error)
                call.end()
            raise
        finally:
            call.on_wire = False


def _noted(result: Any, parsed: Any, call: LLMCallInProgress, *, own: bool) -> Any:
    call.received(parsed)
    if own:
        call.end()
    return result


def _teed(
    result: Any, call: LLMCallInProgress, tee: type[Teed], reader: Chat, *, own: bool
) -> Teed | RawStream:
    call.streaming()
    if type(result).__name__ in _RAW:
        return RawStream(result, lambda stream: tee(stream, call, reader, own=own))
    return tee(result, call, reader, own=own)


def _prefix(model: Any) -> str | None:
    return model.split("/", 1)[0] if isinstance(model, str) and "/" in model else None


def _parsed(result: Any) -> Any:
    return result.parse() if type(result).__name__ in _RAW else result
