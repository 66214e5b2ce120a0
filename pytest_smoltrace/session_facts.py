"""What holds for a whole session: how it was started, went on and ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """First line of a journal: the session as it was started."""

    session_id: str
    started_unix_ns: int
    plugin_version: str
    config: Mapping[str, Any]
    """Effective options without secrets."""
    environment: Mapping[str, Any]
    """Keys of `capture.environment.describe`."""
    prices_version: str | None = None
    service_name: str = "pytest-smoltrace"
    workers: int = 1
    shard: Mapping[str, Any] | None = None
    """Part of the suite that was run: {index, count, division}; the division is a checksum of
    which case is in which part. None when the whole suite was run."""
    bindings: Mapping[str, list[str]] = field(default_factory=dict)
    """Worker -> devices that it was bound to."""
    electricity: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `electricity.Electricity`; empty in journals that are older than it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A further session of a run, from a `session` line: it was resumed, or merged from others."""

    started_unix_ns: int
    plugin_version: str
    environment: Mapping[str, Any]
    workers: int = 1
    source: str | None = None
    """Id of the run that the part was merged from; None when it was resumed."""
    shard: Mapping[str, Any] | None = None
    bindings: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """Last line of a journal: how the session ended."""

    ended_unix_ns: int
    stop_reason: str
    """completed, interrupted, maxfail, budget, deadline, crash or "error: ..."."""
    exit_status: int
    not_applied: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Model -> setting -> why it could not be applied."""
