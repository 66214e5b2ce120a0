"""Tokens of a model that transformers runs in this process, counted where they are made.

smolagents counts the pieces of text of a stream, which are one more than its tokens, and hands a
text on when its word has ended.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, Protocol

from pytest_smoltrace.counting import Usage

if TYPE_CHECKING:
    from pytest_smoltrace.capture.llm_call import LLMCallInProgress

_MODULE = "transformers.generation.utils"


class Calls(Protocol):
    """Where the hook gets the call to feed."""

    def active(self) -> LLMCallInProgress | None:
        """Return the call that this thread of control is in."""


class GenerateHook:
    """The hook on `GenerationMixin.generate` of one session."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._owner: Any = None
        self._original: Any = None

    def install(self) -> None:
        """Hook transformers once it has been imported."""
        owner = getattr(sys.modules.get(_MODULE), "GenerationMixin", None)
        if owner is not None and self._owner is None:
            self._owner, self._original = owner, owner.generate
            owner.generate = self._hook(owner.generate)

    def uninstall(self) -> None:
        """Put the method back."""
        if self._owner is not None:
            self._owner.generate = self._original
            self._owner = None

    def _hook(self, original: Any) -> Any:
        @functools.wraps(original)
        def generate(model: Any, *args: Any, **kwargs: Any) -> Any:
            call = self._calls.active()
            if call is None or call.on_wire:  # an assistant model proposes tokens to another one
                return original(model, *args, **kwargs)
            if kwargs.get("streamer") is not None:
                kwargs["streamer"] = _Timed(kwargs["streamer"], call)
            call.clock.start()
            call.on_wire = True
            try:
                output = original(model, *args, **kwargs)
            finally:
                call.on_wire = False
            _note(call, model, args[0] if args else kwargs.get("inputs"), kwargs, output)
            return output

        return generate


class _Timed:
    """A streamer whose tokens are noted as they pass."""

    def __init__(self, streamer: Any, call: LLMCallInProgress) -> None:
        self._streamer = streamer
        self._call = call
        self._prompt_passed = False

    def put(self, value: Any) -> Any:
        """Pass tokens on; the first are those of the prompt."""
        if self._prompt_passed:
            self._call.clock.token()
        self._prompt_passed = True
        return self._streamer.put(value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._streamer, name)


def _note(
    call: LLMCallInProgress, model: Any, inputs: Any, kwargs: dict[str, Any], output: Any
) -> None:
    """Note tokens and reason to end of one sequence; of several nobody knows which one counts."""
    inputs = kwargs.get("input_ids") if inputs is None else inputs
    tokens = getattr(output, "sequences", output)
    one = inputs is not None and len(inputs) == 1 and len(tokens) == 1
    if not one or model.config.is_encoder_decoder:
        return
    read, written = inputs.shape[-1], tokens.shape[-1] - inputs.shape[-1]
    settings = kwargs.get("generation_config") or model.generation_config
    ends = kwargs.get("eos_token_id") or settings.eos_token_id
    ended = int(tokens[0, -1]) in (ends if isinstance(ends, list) else [ends])
    limit = kwargs.get("max_new_tokens") or settings.max_new_tokens
    reason = "length" if written == limit and not ended else "stop"
    call.generated(Usage(prompt=read, completion=written), reason)
