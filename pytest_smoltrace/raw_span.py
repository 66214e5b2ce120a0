"""A span as the tracer recorded it, before what it says is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSpan:
    """One finished span as the tracer recorded it, ids as hex digits."""

    span_id: str
    parent_id: str | None
    name: str
    kind: str
    start_unix_ns: int
    end_unix_ns: int
    status: str
    description: str | None
    scope: str
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, int, Mapping[str, Any]], ...] = ()
    links: tuple[tuple[str, str, Mapping[str, Any]], ...] = ()
    orphan: bool = False
