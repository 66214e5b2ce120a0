"""Threads that a case starts: they stay in its trace and its scope, and none outlasts a limit.

smolagents waits for the threads of its executors whatever happens, so that neither its own time
limit of generated code nor ours could end a tool that never returns. Its two executors are
replaced for the session by one that leaves such a thread behind.
"""

from __future__ import annotations

import contextvars
import functools
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Self

from pytest_smoltrace.capture.limits import CaseStopped, Limits, Scope
from pytest_smoltrace.capture.watchdog import LimitReached, place_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_SMOLAGENTS = ("smolagents.local_python_executor", "smolagents.agents")


class ThreadHooks:
    """The hooks of one session."""

    def __init__(
        self, limits: Limits, in_case: Callable[[], bool], in_call: Callable[[], bool]
    ) -> None:
        self._limits = limits
        self._in_case = in_case
        self._in_call = in_call
        self._replaced: list[tuple[Any, str, Any, Any]] = []

    def install(self) -> None:
        """Hook the ways in which a case starts threads."""
        import importlib

        self._replace(threading.Thread, "start", self._start)
        self._replace(ThreadPoolExecutor, "submit", self._submit)
        executor = functools.partial(AgentExecutor, self._limits)
        for name in _SMOLAGENTS:
            self._replace(importlib.import_module(name), "ThreadPoolExecutor", lambda _: executor)

    def uninstall(self) -> None:
        """Put the originals back, where nobody has replaced ours since."""
        for owner, name, original, ours in reversed(self._replaced):
            if getattr(owner, name) is ours:
                setattr(owner, name, original)
        self._replaced.clear()

    def _replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        original = getattr(owner, name, None)
        if original is not None:
            ours = make(original)
            setattr(owner, name, ours)
            self._replaced.append((owner, name, original, ours))

    def _start(self, original: Any) -> Any:
        @functools.wraps(original)
        def start(thread: threading.Thread, *args: Any, **kwargs: Any) -> Any:
            if self._in_call():
                own_run, context = thread.run, contextvars.copy_context()

                def run() -> None:
                    del thread.run
                    _quietly(context.run, own_run)

                thread.run = run  # type: ignore[method-assign]
            return original(thread, *args, **kwargs)

        return start

    def _submit(self, original: Any) -> Any:
        @functools.wraps(original)
        def submit(executor: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            if self._in_case():
                function = functools.partial(contextvars.copy_context().run, function)
            return original(executor, function, *args, **kwargs)

        return submit


class AgentExecutor:
    """What smolagents needs of a ThreadPoolExecutor, with threads that may be left behind."""

    def __init__(self, limits: Limits, max_workers: int | None = None) -> None:
        self._limits = limits
        self._scope = Scope(limits.current())
        self._free = threading.Semaphore(max_workers or 32)
        self._running: dict[Future[Any], threading.Thread] = {}

    def __enter__(self) -> Self:
        """Return the executor."""
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Wait for the threads, unless a limit ended the wait for them."""
        if error is None or _is_ordinary(error):
            wait(self._running)
        late = [thread for future, thread in self._running.items() if not future.done()]
        if late:
            self._scope.end("this thread was left behind", "timeout")
        for thread in late:
            if thread.ident is not None:
                runs = self._limits.stand_ins.get(thread.ident, thread.ident)
                self._say_where(sys._current_frames().get(runs))  # noqa: SLF001
                self._limits.watchdog.end(thread)

    def _say_where(self, frame: FrameType | None) -> None:
        """Let the message of the limit name the thread's place: the caller only waited for it."""
        scope = self._scope.parent
        while scope is not None:
            if scope.deadline is not None and scope.deadline.expired and frame is not None:
                scope.deadline.where = place_of(frame)
            scope = scope.parent

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in a thread of its own, in a copy of the caller's context."""
        future: Future[Any] = Future()
        work = functools.partial(function, *args, **kwargs)
        run = functools.partial(contextvars.copy_context().run, self._run, future, work)
        # A daemon: the process may end while a tool never does.
        thread = threading.Thread(target=_quietly, args=(run,), name="smolagents", daemon=True)
        self._running[future] = thread
        thread.start()
        return future

    def _run(self, future: Future[Any], work: Callable[[], Any]) -> None:
        self._limits.enter(self._scope)
        with self._free:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
                future.set_exception(error)
            else:
                future.set_result(result)


def _is_ordinary(error: BaseException) -> bool:
    """Return whether an error says nothing about threads that never end."""
    return (
        isinstance(error, Exception)
        and not isinstance(error, TimeoutError)
        and (type(error).__name__ != "ExecutionTimeoutError")
    )


def _quietly(run: Callable[..., Any], *args: Any) -> None:
    """Run a thread; the end of its case is no error of its own."""
    try:
        run(*args)
    except (CaseStopped, LimitReached):
        return
