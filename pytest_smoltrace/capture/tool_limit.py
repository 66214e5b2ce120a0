"""The time limit of a tool call: the agent sees a tool that failed, and goes on."""

from __future__ import annotations

import contextvars
import functools
import threading
import time
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.capture.limits import CaseStopped, Limits
from pytest_smoltrace.capture.watchdog import LimitReached
from pytest_smoltrace.errors import ToolTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

_UNLIMITED = ("final_answer",)
_SLICE_S = 0.25


class ToolLimit:
    """Wraps `Tool.__call__` for one session."""

    def __init__(self, limits: Limits, limit_s: float | None) -> None:
        self._limits = limits
        self._limit_s = limit_s
        self._original: Any = None

    def install(self) -> None:
        """Wrap the call; comes before the instrumentors, so that their span sees the error."""
        if self._limit_s is None:
            return
        from smolagents import Tool

        original = self._original = Tool.__call__

        @functools.wraps(original)
        def call(tool: Any, *args: Any, **kwargs: Any) -> Any:
            return self._call(tool, functools.partial(original, tool, *args, **kwargs))

        Tool.__call__ = call

    def uninstall(self) -> None:
        """Put the method back."""
        from smolagents import Tool

        if self._original is not None:
            Tool.__call__ = self._original
            self._original = None

    def _call(self, tool: Any, work: Callable[[], Any]) -> Any:
        name = str(getattr(tool, "name", type(tool).__name__))
        if self._limit_s is None or name in _UNLIMITED:
            return work()
        if threading.current_thread() is not threading.main_thread():
            return self._in_thread(name, work)
        with self._limits.limited(self._limit_s, lambda where: self._error(name, where)):
            return work()

    def _in_thread(self, name: str, work: Callable[[], Any]) -> Any:
        # Only the main thread can be interrupted in the middle of a sleep or a read; here the
        # call gets a thread that can be left behind.
        done: Future[Any] = Future()
        with self._limits.scope() as scope:
            run = functools.partial(contextvars.copy_context().run, _fulfil, done, work)
            thread = threading.Thread(target=run, name=f"tool {name}", daemon=True)
            thread.start()
        waiter = threading.get_ident()
        self._limits.stand_ins[waiter] = thread.ident or 0
        try:
            if not self._is_done(done):
                error = self._error(name, None)
                scope.end(str(error), "timeout")
                self._limits.watchdog.end(thread)
                raise error
            return done.result()
        except (CaseStopped, LimitReached):
            scope.end("the case was stopped", "timeout")
            self._limits.watchdog.end(thread)
            raise
        finally:
            self._limits.stand_ins.pop(waiter, None)

    def _is_done(self, done: Future[Any]) -> bool:
        """Wait for a call; CaseStopped when its case ends meanwhile."""
        end = time.monotonic() + (self._limit_s or 0.0)
        while (left_s := end - time.monotonic()) > 0:
            if wait((done,), min(left_s, _SLICE_S)).done:
                return True
            self._limits.check()
        return done.done()

    def _error(self, name: str, where: str | None) -> ToolTimeout:
        was = f"; it was in {where}" if where else ""
        limit = f"{self._limit_s:g} s (--smoltrace-tool-timeout)"
        return ToolTimeout(f"tool {name!r} took longer than its limit of {limit}{was}")


def _fulfil(done: Future[Any], work: Callable[[], Any]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001 - handed to the caller, who waits for it
        done.set_exception(error)
