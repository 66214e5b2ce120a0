"""Which cases run or wait for how long: a line now and then, where a person is watching."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pytest

    from pytest_smoltrace.coordination import Wait

FIRST_AFTER_S = 15.0
AGAIN_AFTER_S = 30.0
_TICK_S = 1.0
SHOWN_CASES = 5
"""Cases that are named at a time; the others are counted."""


class Progress:
    """Says on the terminal which cases have been running for long, and which of them wait."""

    def __init__(
        self, config: pytest.Config, waits: Callable[[], Mapping[str, Wait]] | None = None
    ) -> None:
        self._config = config
        self._waits = waits or dict
        self._running: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._terminal: TextIO | None = None

    def started(self, nodeid: str) -> None:
        """Note that a case starts."""
        now = time.monotonic()
        with self._lock:
            self._running[nodeid] = (now, now + FIRST_AFTER_S)
        if self._thread is None and (terminal := self._watched()):
            self._terminal = terminal
            self._thread = threading.Thread(
                target=self._watch, name="smoltrace-progress", daemon=True
            )
            self._thread.start()

    def finished(self, nodeid: str) -> None:
        """Note that a case has ended."""
        with self._lock:
            self._running.pop(nodeid, None)

    def stop(self) -> None:
        """End the watch."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * _TICK_S)

    def _watched(self) -> TextIO | None:
        """Return the terminal as no test's capture takes it away; None where nobody watches."""
        reporter = self._reporter()
        if reporter is None or self._config.get_verbosity() < 0 or _is_ci():
            return None
        file = reporter._tw._file  # noqa: SLF001
        try:
            # Now, between two cases: while a test runs, this file ends in what it captures.
            if not file.isatty():
                return None
            return os.fdopen(os.dup(file.fileno()), "w", encoding=file.encoding)
        except (OSError, ValueError):
            return None

    def _reporter(self) -> pytest.TerminalReporter | None:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    def _watch(self) -> None:
        while not self._ended.wait(_TICK_S):
            lines = self._due(time.monotonic())
            reporter = self._reporter()
            if lines and reporter is not None:
                with self._uncaptured(reporter):
                    _write(reporter, lines)
        if self._terminal is not None:
            self._terminal.close()

    @contextmanager
    def _uncaptured(self, reporter: pytest.TerminalReporter) -> Iterator[None]:
        """Let the reporter write to the terminal while a test runs."""
        writer = reporter._tw  # noqa: SLF001
        captured = writer._file  # noqa: SLF001
        if self._terminal is not None:
            writer._file = self._terminal  # noqa: SLF001
        try:
            yield
            writer.flush()
        finally:
            writer._file = captured  # noqa: SLF001

    def _due(self, now: float) -> list[str]:
        cases = []
        with self._lock:
            for nodeid, (since, due) in self._running.items():
                if now >= due:
                    self._running[nodeid] = (since, now + AGAIN_AFTER_S)
                    cases.append((nodeid, now - since))
        return list(progress_lines(cases, self._waits(), time.time())) if cases else []


def _write(reporter: pytest.TerminalReporter, lines: Sequence[str]) -> None:
    reporter.ensure_newline()
    if reporter._tw.width_of_current_line:  # noqa: SLF001 - the dots of xdist
        reporter.write_line("")
    for line in lines:
        reporter.write_line(line)


def progress_lines(
    cases: Sequence[tuple[str, float]], waits: Mapping[str, Wait], unix_s: float
) -> Iterator[str]:
    """Yield what to say of cases that have been running for so many seconds."""
    for nodeid, running_s in cases[:SHOWN_CASES]:
        doing = _doing(running_s, waits.get(nodeid), unix_s)
        yield f"smoltrace: {nodeid} has been {doing}"
    if more := cases[SHOWN_CASES:]:
        waiting = sum(nodeid in waits for nodeid, _ in more)
        yield f"smoltrace: and {len(more)} more, {waiting or 'none'} of them waiting"


def _doing(running_s: float, wait: Wait | None, unix_s: float) -> str:
    if wait is None:
        return f"running for {running_s:.0f} s"
    why, waited_s = wait.why, max(unix_s - wait.since_unix_s, 0.0)
    if wait.until_unix_s is not None and wait.until_unix_s > unix_s:
        why += f", next request in {wait.until_unix_s - unix_s:.0f} s"
    return f"waiting for {waited_s:.0f} s ({why}), running for {running_s:.0f} s in all"


def _is_ci() -> bool:
    """Return whether a continuous-integration system runs this."""
    return bool(os.environ.get("CI") or os.environ.get("BUILD_NUMBER"))
