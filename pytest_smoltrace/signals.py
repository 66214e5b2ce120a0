"""SIGTERM stops a session as Ctrl-C does, and neither of them cuts a write or the datasets off."""

from __future__ import annotations

import _thread
import os
import shlex
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import FrameType

    from pytest_smoltrace.dist import Role

REPEAT_S = 1.0
"""`timeout` signals the process and then its whole group: that is one request to stop."""
CTRL_C = "Ctrl-C"
CONTROLLER = "the controller"
_WATCHED = (signal.SIGINT, signal.SIGTERM)
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


class Signals:
    """What SIGINT and SIGTERM do in one process; a handler of somebody else stays in force."""

    def __init__(self, role: Role, give_back: Callable[[], None] | None = None) -> None:
        """Take the part of this process, and what to do before SIGTERM ends it.

        That is before the session begins and after it has ended.
        """
        self._give_back = give_back
        self.cause: str | None = None
        """What interrupted the session; None when nothing did."""
        self._role = role
        self._session: pytest.Session | None = None
        self._pid = os.getpid()
        self._last_s = float("-inf")
        self._told = False
        self._over = False
        self._held: int | None = None
        self._before: Any = None
        if give_back is not None:
            self._take(self._end)

    def install(self, session: pytest.Session) -> None:
        """Take SIGTERM over until the session ends."""
        self._session = session
        self._take(self._stop)

    def _take(self, handler: Callable[[int, FrameType | None], None]) -> None:
        is_free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if _is_main() and (is_free or self._is_mine(signal.SIGTERM)):
            before = signal.signal(signal.SIGTERM, handler)
            self._before = before if is_free else self._before

    def restore(self) -> None:
        """Give SIGTERM back."""
        if self._before is not None and self._is_mine(signal.SIGTERM):
            signal.signal(signal.SIGTERM, self._before)
        self._before = None

    def interrupt(self) -> None:
        """Interrupt the main thread from another one, unless that has happened already."""
        if self._over or self.cause is not None or _is_unwinding():
            return
        self._told = True
        signum = signal.SIGTERM if self._is_mine(signal.SIGTERM) else signal.SIGINT
        main = threading.main_thread().ident
        if hasattr(signal, "pthread_kill") and main is not None:
            signal.pthread_kill(main, signum)
        else:
            _thread.interrupt_main(signum)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold a signal back until something is written that has to be whole."""
        with self._handled(self._hold):
            yield
        held, self._held = self._held, None
        if held is not None:
            signal.raise_signal(held)

    @contextmanager
    def closing(self, session: pytest.Session, directory: Path | None) -> Iterator[list[str]]:
        """Let the datasets be built: the first signal is only noted, another one ends it.

        Args:
            session: Gets the exit code of an interrupt.
            directory: Where the datasets are built.

        Yields:
            A list that gets a line when a signal came.
        """
        problems: list[str] = []
        before = self.cause
        try:
            with self._handled(self._note):
                yield problems
            if before is None and self.cause is not None:
                problems.append(f"{self.cause} came when all cases had ended")
        except KeyboardInterrupt:
            command = f"pytest-smoltrace build {shlex.quote(str(directory))}"
            problems.append(
                "stopped before everything was written: no finished case is lost; "
                f"make the datasets with: {command}"
            )
        if problems:
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        self._finish()

    def stop_reason(self, session: pytest.Session, status: int) -> str:
        """Return why the session ended, as the contract names it."""
        if session.shouldfail:
            return "maxfail"
        if self.cause is not None or status == pytest.ExitCode.INTERRUPTED:
            return "maxfail" if "stopping after" in str(session.shouldstop) else "interrupted"
        if status == pytest.ExitCode.INTERNAL_ERROR:
            return "error: internal error"
        return "completed"

    def stopped_lines(self, reason: str, summary: Mapping[str, Any]) -> Iterator[str]:
        """Yield what a person has to know of a run that was interrupted."""
        if self.cause is None or reason != "interrupted":
            return
        done, planned, cut = (
            sum(run[key] for run in summary.get("runs") or [])
            for key in ("completed_tests", "planned_tests", "interrupted_tests")
        )
        running = f", {cut} cut off (recorded as interrupted, in no rate)" if cut else ""
        yield f"stopped by {self.cause}: {done} of {planned} cases finished and kept{running}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note what interrupted the session."""
        self._last_s = time.monotonic()
        self.cause = self.cause or _cause_of(excinfo.value)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """End a worker that somebody terminated as xdist knows it: by the signal."""
        if self._role.name == "worker" and self.cause == signal.SIGTERM.name:
            _die(signal.SIGTERM)

    def pytest_unconfigure(self) -> None:
        """Interrupt nothing any more; SIGTERM is given back when all else has been."""
        self._finish()

    def _finish(self) -> None:
        self._over = True
        if self._is_mine(signal.SIGTERM):
            signal.signal(signal.SIGTERM, self._end)

    def _stop(self, signum: int, _frame: FrameType | None) -> None:
        __tracebackhide__ = True  # pytest shows where the test was
        if self._is_news(signum):
            name = signal.Signals(signum).name
            self.cause = self.cause or (CONTROLLER if self._told else name)
            if self._session is not None:
                # Somebody may catch the interrupt: then the session ends after this case.
                self._session.shouldstop = self.cause
            raise KeyboardInterrupt(self.cause)

    def _end(self, signum: int, _frame: FrameType | None) -> None:
        if self._is_news(signum):
            if self._give_back is not None:
                self._give_back()
            _die(signum)

    def _hold(self, signum: int, _frame: FrameType | None) -> None:
        self._held = signum

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        if self._is_news(signum):
            name = signal.Signals(signum).name
            if self.cause is not None:
                raise KeyboardInterrupt(name)
            self.cause = CTRL_C if signum == signal.SIGINT else name

    def _is_news(self, signum: int) -> bool:
        """Return whether a signal asks for something new of this process."""
        if os.getpid() != self._pid:
            _die(signum)  # a fork has the handler, not the session
        now = time.monotonic()
        if now - self._last_s < REPEAT_S:
            return False
        self._last_s = now
        return True

    def _is_mine(self, signum: int) -> bool:
        return getattr(signal.getsignal(signum), "__self__", None) is self

    @contextmanager
    def _handled(self, handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
        """Put another handler in the place of ours and of the default ones."""
        before: dict[int, Any] = {}
        if _is_main():
            for signum in _WATCHED:
                now = signal.getsignal(signum)
                if now in _DEFAULTS or self._is_mine(signum):
                    before[signum] = now
                    signal.signal(signum, handler)
        try:
            yield
        finally:
            for taken, old in before.items():
                if signal.getsignal(taken) == handler:
                    signal.signal(taken, old)


def _cause_of(error: BaseException) -> str:
    if isinstance(error, pytest.exit.Exception):
        return "pytest.exit"
    return CTRL_C if type(error) is KeyboardInterrupt else str(error) or type(error).__name__


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _is_unwinding() -> bool:
    """Return whether the main thread is on its way out after a Ctrl-C of its own."""
    found = sys._current_exceptions().get(threading.main_thread().ident or 0)  # noqa: SLF001
    error = found[1] if isinstance(found, tuple) else found  # a tuple up to Python 3.11
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False


def _die(signum: int) -> None:
    """End this process as the signal would have ended it without a handler."""
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
