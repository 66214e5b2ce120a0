"""Take secrets, and content that the user hides, out of what pytest itself shows and writes."""

from __future__ import annotations

import copy
import hashlib
import linecache
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace.redaction import HIDDEN_CONTENT

if TYPE_CHECKING:
    import warnings
    from collections.abc import Callable, Generator, Sequence

    from pytest_smoltrace.facts import Declared
    from pytest_smoltrace.redaction import Redactor

_HIDDEN_BY = "content hidden by --smoltrace-hide-content"
_BETWEEN_LINES = "\x1e"
"""Joins lines that are looked at together; white space that no text holds."""
_LOG_HANDLERS = ("log_file_handler", "log_cli_handler")


class Scrubber:
    """Changes reports, log records and warnings before anybody keeps, sends or prints them."""

    def __init__(self, redactor: Redactor, *, hide_content: bool) -> None:
        self._redactor = redactor
        self._hide = hide_content
        self._hidden: set[str] = set()
        self._texts: dict[str, str] = {}
        self.in_case: Callable[[], bool] = bool
        """Whether an eval case is running."""

    def protect_logs(self, config: pytest.Config) -> None:
        """Redact what --log-file and the live log write."""
        logs = config.pluginmanager.get_plugin("logging-plugin")
        for handler in (getattr(logs, name, None) for name in _LOG_HANDLERS):
            if handler is not None and handler.formatter is not None:
                handler.setFormatter(_LogFormatter(handler.formatter, self))

    def log_record(self, record: logging.LogRecord) -> logging.LogRecord:
        """Return a record as it may be written: one of an eval case may repeat its prompts."""
        if not self._hide or not self.in_case():
            return record
        record = copy.copy(record)
        record.msg, record.args = f"({_HIDDEN_BY})", ()
        record.exc_info = record.exc_text = record.stack_info = None
        return record

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        return self._redactor.text(text)

    def hide(self, report: pytest.TestReport, failure: str) -> None:
        """Leave nothing of what an eval case sent, got or printed in a report.

        Args:
            report: The report of one of its phases.
            failure: What may be said of a failure, in one line.
        """
        if not self._hide:
            return
        self._hidden.add(report.nodeid)
        report.sections = []
        report.user_properties = [
            (name, value if isinstance(value, int | float) else HIDDEN_CONTENT)
            for name, value in report.user_properties
        ]
        context: Any = getattr(report, "context", None)
        if hasattr(context, "kwargs"):  # of a subtest
            object.__setattr__(context, "msg", context.msg and HIDDEN_CONTENT)
            object.__setattr__(context, "kwargs", dict.fromkeys(context.kwargs, HIDDEN_CONTENT))
        if isinstance(report.longrepr, tuple) and report.when == "call":
            report.longrepr = (*report.longrepr[:2], f"Skipped: ({_HIDDEN_BY})")
        elif failure:
            report.longrepr = f"{failure} ({_HIDDEN_BY})"
            if hasattr(report, "wasxfail") and report.when == "call":
                report.wasxfail = f"reason: ({_HIDDEN_BY})"

    def report(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Take secrets out of a report."""
        # A test, or what it imports, may have set variables.
        self._redactor.learn(os.environ)
        report.longrepr = self._clean_repr(report.longrepr)
        report.sections = [(self._once(n), self._once(text)) for n, text in report.sections]
        for name in ("wasxfail", "user_properties"):
            if getattr(report, name, None):
                setattr(report, name, self._walk(getattr(report, name), set()))
        context = getattr(report, "context", None)
        if hasattr(context, "kwargs"):  # of a subtest
            self._walk_fields(context, ("msg", "kwargs"), set())
        if getattr(report, "when", "teardown") == "teardown":
            self._texts.clear()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Redact what a report got after it was made, as those of subtests do."""
        if hasattr(report, "context"):
            if report.nodeid in self._hidden:
                self.hide(report, "")
            self.report(report)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self,
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Redact errors and output of a collection."""
        report = yield
        self.report(report)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self, excrepr: Any) -> None:
        """Redact the traceback of an internal error."""
        self._walk(excrepr, set())

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, nodeid: str
    ) -> None:
        """Redact a warning and the line that is shown with it."""
        said = str(warning_message.message)
        hidden = nodeid in self._hidden
        text = f"({_HIDDEN_BY})" if hidden else self.text(said)
        if text is not said:
            warning_message.message = UserWarning(text)
        place = (warning_message.filename, warning_message.lineno)
        line = warning_message.line or linecache.getline(*place)
        shown = "" if hidden else self.text(line)
        if shown is not line:
            warning_message.line = shown

    @pytest.hookimpl(tryfirst=True)
    def pytest_make_parametrize_id(self, val: object, argname: str) -> str | None:
        """Name a parameter that holds a secret, or content, by something else than its value."""
        if self._hide and isinstance(val, str | bytes | int | float) and not isinstance(val, bool):
            # The same in every run, so that cases can be compared and selected.
            return f"{argname}-{hashlib.sha256(repr(val).encode()).hexdigest()[:8]}"
        text = val.decode("utf-8", "backslashreplace") if isinstance(val, bytes) else val
        if not isinstance(text, str) or (clean := self.text(text)) is text:
            return None
        return clean.encode("unicode_escape").decode()

    def _once(self, text: str) -> str:
        """Return a text without secrets; each report of a test repeats the output before it."""
        clean = self._texts.get(text)
        if clean is None:
            clean = self._texts[text] = self.text(text)
        return clean

    def _clean_repr(self, longrepr: Any) -> Any:
        """Return how a failure is shown, without secrets."""
        shown = "" if longrepr is None else str(longrepr)
        if self.text(shown) is shown:
            return longrepr
        clean = self._walk(longrepr, set())
        shown = str(clean)
        if self.text(shown) is shown or isinstance(clean, tuple):
            return clean
        return self.text(shown)  # a secret reaches over several parts

    def _walk(self, value: Any, seen: set[int]) -> Any:
        """Return a part of a report without secrets; pytest's own objects are changed in place."""
        if isinstance(value, list | tuple):
            return self._walk_items(value, seen)
        if isinstance(value, dict):
            return {self._walk(k, seen): self._walk(v, seen) for k, v in value.items()}
        if type(value).__module__.startswith("_pytest."):
            if id(value) not in seen:
                seen.add(id(value))
                self._walk_fields(value, tuple(getattr(value, "__dict__", ())), seen)
            return value
        return value if value is None or isinstance(value, int | float) else self.text(str(value))

    def _walk_items(self, items: list[Any] | tuple[Any, ...], seen: set[int]) -> Any:
        kinds = {*map(type, items)}
        if kinds == {str} and isinstance(items, list):
            return self._lines(items)
        if kinds == {str} and len(items) == 2:  # noqa: PLR2004 - name and value
            return self._pair(*items)
        return type(items)([self._walk(item, seen) for item in items])

    def _walk_fields(self, value: Any, names: Sequence[str], seen: set[int]) -> None:
        for name in names:
            # Some are frozen.
            object.__setattr__(value, name, self._walk(getattr(value, name), seen))

    def _pair(self, name: str, value: str) -> tuple[str, str]:
        """Return a name and its value, which the name may give away."""
        shown = f"{name} = "
        clean = self.text(shown + value)
        if clean.startswith(shown):
            return name, clean.removeprefix(shown)
        return self.text(name), self.text(value)

    def _lines(self, lines: list[str]) -> list[str]:
        """Return lines without secrets that may reach over several of them."""
        joined = _BETWEEN_LINES.join(lines)
        clean = self.text(joined)
        return lines if clean is joined else clean.split(_BETWEEN_LINES)


def failure_line(item: pytest.Item, call: pytest.CallInfo[Any], kind: str | None) -> str:
    """Return what may be said of a failed phase: exception, place and kind; "" without one.

    Args:
        item: The test.
        call: The phase.
        kind: Error type of the case so far.
    """
    if call.excinfo is None or isinstance(call.excinfo.value, pytest.skip.Exception):
        return ""
    entries = [entry for entry in call.excinfo.traceback if entry.path == item.path]
    line = (entries[-1].lineno if entries else item.location[1] or 0) + 1
    place = f"{item.location[0]}:{line}"
    known = (kind if call.when != "teardown" else None) or f"failed in {call.when}"
    return f"{type(call.excinfo.value).__name__} at {place}: {known}"


def without_answers(declared: Declared) -> Declared:
    """Return what a case declares without the words that its answer is to hold."""
    words = (HIDDEN_CONTENT,) * len(declared.expected_keywords)
    return replace(declared, expected_keywords=words)


def without_texts(value: Any) -> Any:
    """Return a value with every text in it, names of fields apart, replaced."""
    if isinstance(value, Mapping):
        return {key: without_texts(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_texts(item) for item in value]
    return value if value is None or isinstance(value, int | float) else HIDDEN_CONTENT


class _LogFormatter(logging.Formatter):
    """Formats as another formatter does, without secrets and hidden content."""

    def __init__(self, inner: logging.Formatter, scrubber: Scrubber) -> None:
        super().__init__()
        self._inner = inner
        self._scrubber = scrubber

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or lines, of a record."""
        return self._scrubber.text(self._inner.format(self._scrubber.log_record(record)))
