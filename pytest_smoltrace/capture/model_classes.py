"""The methods of every smolagents model class, present and future, wrapped for one session."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

METHODS = ("generate", "generate_stream")

Wrap = Callable[[str, Any], Any]
"""(name of the method, original) -> what stands in its place."""


class ModelClasses:
    """What is wrapped, and what it was before."""

    def __init__(self, wrap: Wrap, is_in_call: Callable[[], bool]) -> None:
        self._wrap = wrap
        self._is_in_call = is_in_call
        self._originals: list[tuple[type, str, Any]] = []
        self._inherited: list[tuple[type, str]] = []
        self._base: type | None = None

    def snapshot(self) -> None:
        """Remember the models' own methods before anybody else wraps them."""
        from smolagents.models import Model

        self._base = Model
        for cls in _family_tree(Model):
            for name in METHODS:
                if name in cls.__dict__:
                    self._originals.append((cls, name, cls.__dict__[name]))
                else:
                    self._inherited.append((cls, name))

    def install(self) -> None:
        """Wrap every model class; other wrappers of models are bypassed."""
        for cls, name, original in self._originals:
            setattr(cls, name, self._wrap(name, original))
        for cls, name in self._inherited:
            if name in cls.__dict__:
                # OpenInference wraps what AzureOpenAIModel and others inherit, past their parent.
                delattr(cls, name)
        base = self._base

        def init_subclass(cls: Any, /, **kwargs: Any) -> None:
            super(base, cls).__init_subclass__(**kwargs)  # type: ignore[arg-type]
            for name in METHODS:
                original = cls.__dict__.get(name)
                if original is not None:
                    self._originals.append((cls, name, original))
                    setattr(cls, name, self._wrap(name, original))

        base.__init_subclass__ = classmethod(init_subclass)  # type: ignore[assignment]
        self._take_over_retries()

    def uninstall(self) -> None:
        """Give every class its own methods back."""
        for cls, name, original in reversed(self._originals):
            setattr(cls, name, original)
        self._originals.clear()
        self._inherited.clear()
        if self._base is not None and "__init_subclass__" in self._base.__dict__:
            del self._base.__init_subclass__

    def _take_over_retries(self) -> None:
        """Switch smolagents' own wait of minutes off for the calls that the tap sends again."""
        from smolagents.utils import Retrying

        original = Retrying.__call__

        @functools.wraps(original)
        def call(retrying: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
            if self._is_in_call():
                return function(*args, **kwargs)
            return original(retrying, function, *args, **kwargs)

        self._originals.append((Retrying, "__call__", original))
        Retrying.__call__ = call


def _family_tree(base: type) -> list[type]:
    found: list[type] = []
    waiting = [base]
    while waiting:
        cls = waiting.pop()
        if cls not in found:
            found.append(cls)
            waiting.extend(cls.__subclasses__())
    return found
