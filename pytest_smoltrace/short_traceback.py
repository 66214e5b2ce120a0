"""The failure text of a model that could not be reached: the test's own lines, not the client's."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _pytest._code.code import ReprExceptionInfo, Traceback

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from pytest_smoltrace.facts import ErrorFact

_STYLES = ("auto", "long", "short")
_PACKAGE = str(Path(__file__).parent)


def shorten(
    item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException], error: ErrorFact
) -> Any | None:
    """Return a short failure text; None where the user asked for another one.

    Agents and clients put some 300 lines of their own between the test and a refused request.
    """
    option = item.config.option
    if option.tbstyle not in _STYLES or option.fulltrace or option.verbose > 1:
        return None
    short = excinfo.getrepr(style="short", tbfilter=_own_lines, chain=False, funcargs=False)
    if not isinstance(short, ReprExceptionInfo) and not hasattr(short, "addsection"):
        return None
    where = f", HTTP {error.http_status}" if error.http_status is not None else ""
    cause = f" ({error.exception_type}{where})" if error.exception_type else ""
    note = f"{error.type}{cause}, not scored; the whole traceback: --full-trace"
    short.addsection("smoltrace", note, sep="-")
    return short


@contextmanager
def rendered_as(item: pytest.Item, short: Any | None) -> Iterator[None]:
    """Let the item render its failure so; pytest would take half a second for the long text."""
    if short is None:
        yield
        return
    item.repr_failure = lambda *_, **__: short  # type: ignore[method-assign]
    try:
        yield
    finally:
        del item.repr_failure


def _own_lines(excinfo: pytest.ExceptionInfo[BaseException]) -> Traceback:
    own = excinfo.traceback.filter(lambda entry: not _is_library(str(entry.path)))
    return own or Traceback(excinfo.traceback[-1:])


def _is_library(path: str) -> bool:
    inside = ("site-packages", "dist-packages")
    return any(part in inside for part in Path(path).parts) or path.startswith(
        (sys.base_prefix, _PACKAGE)
    )
