"""What a line that was cut off was about, as far as it can still be read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_smoltrace.facts import Declared

_KIND = re.compile(rb'\{"k":"([a-z]+)"')
_TEXT = rb'("(?:[^"\\]|\\.)*")'
_NODEID = re.compile(rb'"nodeid":' + _TEXT)
_ROOT = re.compile(rb'"name":\[' + _TEXT)
"""Name of the first span, which is the id of the case."""
_OTHERS = {
    b"plan": "a part of the plan",
    b"session": "the start of a further session",
    b"end": "how the session ended",
}
_SHOWN = 3


class Loss(NamedTuple):
    """What a cut took from a journal."""

    what: str
    size: int
    """Bytes that are left of it."""
    nodeid: str | None = None
    """Case whose record it was; None when that cannot be told."""


def loss_of(
    spans: bytes, torn: bytes, running: Collection[str], planned: Mapping[str, Declared]
) -> Loss:
    """Return what was lost.

    Args:
        spans: A whole line of spans whose case line is torn or missing, or nothing.
        torn: What is left of a line, or nothing.
        running: Node ids of the cases in flight.
        planned: Node id -> planned case.
    """
    size = len(spans) + len(torn)
    kind = _KIND.match(torn)
    name = kind[1] if kind else b""
    if not spans and name in _OTHERS:
        return Loss(_OTHERS[name], size)
    nodeid = _text(_NODEID, torn)
    if name == b"open":
        return Loss(f"that {nodeid or 'a case'} was started", size)
    nodeid = nodeid or _case_of(_text(_ROOT, spans or torn), running, planned)
    if nodeid is not None:
        return Loss(f"the record of {nodeid}", size, nodeid)
    return Loss(f"a line{_one_of(running)}", size)


def _text(pattern: re.Pattern[bytes], line: bytes) -> str | None:
    found = pattern.search(line)
    if found is None:
        return None
    try:
        return str(orjson.loads(found[1]))
    except orjson.JSONDecodeError:
        return None


def _case_of(
    case_id: str | None, running: Collection[str], planned: Mapping[str, Declared]
) -> str | None:
    """Return the running case of this id: trials of a case have ids of their own in node ids."""
    if case_id is None:
        return None
    found = [each for each in running if each in planned and planned[each].case_id == case_id]
    return found[0] if len(found) == 1 else case_id


def _one_of(running: Collection[str]) -> str:
    names = sorted(running)
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    one = "one of " if len(names) > 1 else ""
    return f", perhaps the record of {one}{', '.join(names[:_SHOWN])}{more}"
