"""What stands before each LLM call: budgets, free slots, and the wait after a rate limit."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from pytest_smoltrace import taxonomy
from pytest_smoltrace.capture.model_identity import endpoint_of
from pytest_smoltrace.capture.transport import OVERLOADED
from pytest_smoltrace.errors import RequestTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_smoltrace.capture.budgets import Budgets
    from pytest_smoltrace.capture.limits import Limits
    from pytest_smoltrace.capture.llm_call import LLMCallInProgress
    from pytest_smoltrace.config import Limits as Bounds
    from pytest_smoltrace.coordination import Coordination
    from pytest_smoltrace.slots import Slot

LONGEST_WAIT_S = 120.0
"""A server that asks for a longer pause is not waited for."""
_FIRST_WAIT_S = 1.0
_BACK_OFF_LIMIT_S = 60.0
_JITTER = 0.25
_POLL_S = 0.05
_NOTED_AFTER_S = 1.0
_FREE: AbstractContextManager[None] = nullcontext()


class Waiting(Protocol):
    """Where a wait is noted for whoever watches the session."""

    def waiting(self, why: str, seconds: float | None) -> None:
        """Note that the current case waits, and for how long if that is known."""

    def resumed(self) -> None:
        """Note that it goes on."""


class Gate:
    """The gate of one process."""

    def __init__(
        self,
        limits: Limits,
        bounds: Bounds,
        budgets: Budgets,
        notes: Waiting,
        coordination: Coordination | None,
    ) -> None:
        self.limits = limits
        self.budgets = budgets
        self._bounds = bounds
        self._notes = notes
        self._coordination = coordination
        # Weak, as the places are: what an interrupt cut off holds nothing.
        self._mine: WeakValueDictionary[tuple[int, str], Slot] = WeakValueDictionary()

    def check(self) -> None:
        """Refuse a call that nothing is left for.

        Raises:
            CaseStopped: The case is over, or a budget is spent.
        """
        self.limits.check()
        self.budgets.check(self.limits.current())

    def retries(self, model: Any) -> int:
        """Return how often a call of the model may be sent again after a rate limit."""
        retryer = getattr(model, "retryer", None)
        # smolagents' own switch: a model built with retry=False is not called again.
        never = retryer is not None and getattr(retryer, "max_attempts", None) == 1
        return 0 if never else self._bounds.max_retries

    def slot(self, call: LLMCallInProgress, model: Any) -> AbstractContextManager[None]:
        """Hold one of the slots of the endpoint while a request is under way."""
        call.traffic.due = None
        limit, shared = self._bounds.max_concurrency, self._coordination
        if limit is None or shared is None or call.nested:
            return _FREE
        return self._held(call, shared, endpoint_of(model), limit)

    def timed(self, call: LLMCallInProgress) -> AbstractContextManager[None]:
        """Interrupt a request, or the wait for the next chunk of it, that is over its limit.

        Raises:
            RequestTimeout: The limit is over; the time between two chunks counts too.
        """
        limit_s = self._bounds.request_timeout
        return _FREE if limit_s is None else self._timed(call, limit_s)

    @contextmanager
    def timed_task(self, call: LLMCallInProgress) -> Iterator[None]:
        """Cancel the request of a coroutine that is over its limit.

        Raises:
            RequestTimeout: The limit is over.
        """
        limit_s, task = self._bounds.request_timeout, _current_task()
        if limit_s is None or task is None:
            yield
            return
        call.traffic.due = time.monotonic() + limit_s
        before, late = task.cancelling(), []
        timer = task.get_loop().call_later(limit_s, lambda: late.append(task.cancel()))
        try:
            yield
        except asyncio.CancelledError:
            if late and task.uncancel() <= before:
                raise self._too_late(call) from None
            raise
        finally:
            timer.cancel()

    def wait_for_retry(self, call: LLMCallInProgress, error: Exception, attempt: int) -> bool:
        """Wait before a call is sent again; False when it should not be.

        Args:
            call: The call whose request failed.
            error: What the request met.
            attempt: Number of requests before this one.
        """
        status = taxonomy.http_status(error)
        limited = taxonomy.error_type(error, from_model=True) == "llm_rate_limit"
        if not (limited or status in OVERLOADED) or _is_out_of_quota(error):
            return False
        asked = call.traffic.asked_wait_s(error)
        wait_s = _back_off(attempt) if asked is None else asked
        if wait_s > LONGEST_WAIT_S:
            return False
        why = "rate limit" if limited else "overloaded server"
        call.note_retry(status, asked_s=asked, wait_s=wait_s)
        self._notes.waiting(why, wait_s)
        try:
            self.limits.sleep(wait_s)
        finally:
            self._notes.resumed()
        return True

    @contextmanager
    def _timed(self, call: LLMCallInProgress, limit_s: float) -> Iterator[None]:
        now, traffic = time.monotonic(), call.traffic
        due = traffic.due = traffic.due or now + limit_s
        with self.limits.limited(due - now, lambda _: self._too_late(call)) as scope:
            if scope.deadline is not None:
                scope.deadline.on_expiry = traffic.hang_up
            yield

    @contextmanager
    def _held(
        self, call: LLMCallInProgress, shared: Coordination, endpoint: str, limit: int
    ) -> Iterator[None]:
        mine = threading.get_ident(), endpoint
        before = self._mine.get(mine)
        if before is not None and before.held:
            # Who began a stream and asks again before its end would wait for itself.
            yield
            return
        slot = self._mine[mine] = self._wait_for_slot(call, shared, endpoint, limit)
        try:
            yield
        finally:
            slot.release()

    def _wait_for_slot(
        self, call: LLMCallInProgress, shared: Coordination, endpoint: str, limit: int
    ) -> Slot:
        waited_s, noted = 0.0, False
        try:
            while (slot := shared.try_slot(endpoint, limit)) is None:
                self.limits.sleep(_POLL_S)
                waited_s += _POLL_S
                if waited_s > _NOTED_AFTER_S and not noted:
                    noted = True
                    self._notes.waiting("free slot", None)
        finally:
            if noted:
                self._notes.resumed()
        if waited_s:
            call.note_wait(waited_s)
        return slot

    def _too_late(self, call: LLMCallInProgress) -> RequestTimeout:
        sent = call.traffic.requests or 0
        again = f" and {sent - 1} retries" if sent > 1 else ""
        limit = f"{self._bounds.request_timeout:g} s (--smoltrace-request-timeout)"
        return RequestTimeout(f"the request{again} took longer than the limit of {limit}")


def _back_off(attempt: int) -> float:
    longest = min(_FIRST_WAIT_S * 2.0**attempt, _BACK_OFF_LIMIT_S)
    # From the system: a seed that a test sets would make all workers come back at one time.
    return longest * (1 - _JITTER * random.SystemRandom().random())


def _current_task() -> asyncio.Task[Any] | None:
    """Return the task that runs; None outside asyncio's loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _is_out_of_quota(error: BaseException) -> bool:
    """Return whether the account has nothing left: a wait does not change that."""
    said = (str(getattr(cause, "code", "")) for cause in taxonomy.causes(error))
    return any("insufficient_quota" in code or "billing" in code for code in said)
