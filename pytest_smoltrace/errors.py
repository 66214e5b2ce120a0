"""The errors that the package raises on purpose; each message is one line for the user."""

from __future__ import annotations


class SmoltraceError(Exception):
    """Root of the package's own errors."""


class ConfigError(SmoltraceError):
    """The user asked for something that cannot be done; says what, where and what to do."""


class JournalError(SmoltraceError):
    """A run directory cannot be read or written."""


class UnwrittenError(JournalError):
    """A line of a journal could not be written; its writer keeps count of them."""


class SchemaError(SmoltraceError):
    """A value breaks the field contract; names table, column and value."""


class CheckFailed(AssertionError):  # noqa: N818 - named as pytest names its outcomes
    """An expectation about the agent does not hold; `error_type` is its taxonomy value."""

    def __init__(
        self,
        message: str,
        error_type: str,
        *,
        exception_type: str | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.exception_type = exception_type
        """Class of what the agent met and did not raise; None when it met nothing."""
        self.http_status = http_status


class RequestTimeout(SmoltraceError, TimeoutError):  # noqa: N818 - named as clients name theirs
    """A request of a model took longer than `--smoltrace-request-timeout`."""


class ToolTimeout(SmoltraceError, TimeoutError):  # noqa: N818 - named as clients name theirs
    """A tool call took longer than `--smoltrace-tool-timeout`."""
