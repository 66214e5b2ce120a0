"""Coroutine tests and fixtures, run in the context of the phase that runs them.

A plugin for coroutines may run them in a task that began in another phase, or in another case:
anyio does so from the first coroutine fixture to the last. What that task knows is stale.
"""

from __future__ import annotations

import functools
import inspect
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    Enter = Callable[[], AbstractContextManager[None]]


@contextmanager
def held(owner: Any, name: str, enter: Enter) -> Iterator[None]:
    """Replace a coroutine function that an object holds by one that runs inside `enter()`.

    Whatever else the object holds stays as it is.
    """
    original = getattr(owner, name, None)
    inside = _inside(original, enter)
    if inside is None:
        yield
        return
    setattr(owner, name, inside)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _inside(function: Any, enter: Enter) -> Any:
    """Return a coroutine or asynchronous generator function inside `enter()`, None for others."""
    if inspect.ismethod(function):
        inner = _inside(function.__func__, enter)
        return None if inner is None else inner.__get__(function.__self__)
    if inspect.iscoroutinefunction(function):
        return _coroutine(function, enter)
    return _generator(function, enter) if inspect.isasyncgenfunction(function) else None


def _coroutine(function: Any, enter: Enter) -> Any:
    @functools.wraps(function)
    async def inside(*args: Any, **kwargs: Any) -> Any:
        with enter():
            return await function(*args, **kwargs)

    return inside


def _generator(function: Any, enter: Enter) -> Any:
    @functools.wraps(function)
    async def inside(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        steps = function(*args, **kwargs)
        try:
            with enter():
                value = await anext(steps)
            yield value
            with enter():
                further = [step async for step in steps]
            # Whoever runs the fixture says that it must not go on.
            for step in further:
                yield step
        finally:
            await steps.aclose()

    return inside
