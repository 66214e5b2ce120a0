"""Scopes with a time limit, nested like the work: a case, a tool call in it, a request in that.

What ends a scope ends everything below it, in whatever thread it runs: a call of a model or a
request that is begun there later is refused.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_smoltrace.capture.watchdog import Deadline, LimitReached, Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SLICE_S = 0.25


class CaseStopped(BaseException):
    """Ends a case that may not go on; no Exception, so that neither agent nor client goes on."""

    def __init__(self, message: str, error_type: str) -> None:
        super().__init__(message)
        self.message = message
        self.error_type = error_type
        """Taxonomy value."""


@dataclass(slots=True, eq=False)
class Scope:
    """A piece of work that can be ended from outside."""

    parent: Scope | None
    deadline: Deadline | None = None
    ended: CaseStopped | None = None

    def stopped(self) -> CaseStopped | None:
        """Return what ended this scope or one around it; None while it may go on."""
        scope: Scope | None = self
        while scope is not None:
            if scope.ended is not None:
                return scope.ended
            scope = scope.parent
        return None

    def end(self, message: str, error_type: str) -> CaseStopped:
        """End the scope; what is begun in it from now on is refused for this reason."""
        if self.ended is None:
            self.ended = CaseStopped(message, error_type)
        return self.ended


class Limits:
    """The scopes of one process."""

    def __init__(self) -> None:
        self.watchdog = Watchdog()
        self.stand_ins: dict[int, int] = {}
        """Thread that waits for a tool -> thread that runs it."""
        self.outermost: Scope | None = None
        """Scope of the running case, for threads of control that inherited none."""
        self._current: ContextVar[Scope | None] = ContextVar("smoltrace_scope", default=None)

    def current(self) -> Scope | None:
        """Return the scope that this thread of control is in."""
        return self._current.get() or self.outermost

    def left_s(self) -> float | None:
        """Return the seconds until a limit around here is over; None without one."""
        scope, moments = self.current(), []
        while scope is not None:
            if scope.deadline is not None and scope.deadline.armed:
                moments.append(scope.deadline.at)
            scope = scope.parent
        return max(min(moments) - time.monotonic(), 0.0) if moments else None

    def check(self) -> None:
        """Refuse to go on in a scope that has ended.

        Raises:
            CaseStopped: Says what ended it.
        """
        scope = self.current()
        stop = scope.stopped() if scope is not None else None
        if stop is not None:
            raise CaseStopped(stop.message, stop.error_type)

    @contextmanager
    def scope(self) -> Iterator[Scope]:
        """Open a scope without a limit of its own below the current one."""
        scope = Scope(self.current())
        token = self._current.set(scope)
        try:
            yield scope
        finally:
            self._current.reset(token)

    @contextmanager
    def limited(
        self, limit_s: float, stop: Callable[[str | None], BaseException]
    ) -> Iterator[Scope]:
        """Open a scope that ends after `limit_s` seconds, wherever its thread is then.

        Args:
            limit_s: Seconds from now.
            stop: Takes where the code was and returns what is raised in place of the interrupt.
        """
        deadline = Deadline(thread_id=threading.get_ident(), at=time.monotonic() + limit_s)
        with self.scope() as scope:
            scope.deadline = deadline
            try:
                try:
                    self.watchdog.arm(deadline)
                    yield scope
                    if deadline.expired:  # whoever was interrupted has swallowed it
                        raise LimitReached
                finally:
                    self.watchdog.disarm(deadline)
            except BaseException as met:
                # Once more: the interrupt may have come on the way out.
                self.watchdog.disarm(deadline)
                if not _may_be_limit(met) or not deadline.expired or _is_inside_expired(scope):
                    raise
                error = stop(deadline.where)
                scope.end(str(error), "timeout")
                raise error.with_traceback(met.__traceback__) from None

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than the current scope lasts."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, _SLICE_S))
        self.check()

    def enter(self, scope: Scope) -> None:
        """Put this thread of control into a scope for the rest of its life."""
        self._current.set(scope)


def _may_be_limit(error: BaseException) -> bool:
    """Return whether an error is an interrupt, or what became of one: a group of tasks holds it."""
    if isinstance(error, BaseExceptionGroup):
        return any(_may_be_limit(one) for one in error.exceptions)
    return isinstance(error, (LimitReached, Exception))


def _is_inside_expired(scope: Scope) -> bool:
    """Return whether a scope around this one in the same thread is over its limit too."""
    mine, around = scope.deadline, scope.parent
    while around is not None:
        other = around.deadline
        same = other is not None and mine is not None and other.thread_id == mine.thread_id
        if same and other is not None and other.armed and other.expired:
            return True
        around = around.parent
    return False
