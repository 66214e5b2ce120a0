"""What a person reads of a session on a CI platform: the step summary and the comment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.report import cases_part, flips_part, verdict_part
from pytest_smoltrace.report.fitting import Block, fit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUMMARY_LIMIT = 900 * 1024
"""Bytes of the step summary: GitHub drops summaries of a step beyond 1 MiB."""
COMMENT_LIMIT = 60 * 1024
"""Bytes of the comment: GitHub refuses more than 65,536 characters."""
_MARKER = "pytest-smoltrace"
_NO_KEY = re.compile(r"[^\w.,/ -]+", re.ASCII)


def marker(key: str = "") -> str:
    """Return the line that a comment is found by again.

    Args:
        key: What sets a suite apart from others that comment on the same change.
    """
    # Two hyphens would end an HTML comment.
    safe = re.sub(r"-{2,}", "-", _NO_KEY.sub("-", key)).strip("- ")
    return f"<!-- {_MARKER}{f': {safe[:100]}' if safe else ''} -->"


def step_summary(summary: Mapping[str, Any], *, limit: int = SUMMARY_LIMIT) -> str:
    """Return the summary of a session for the page of a job."""
    return fit(list(_blocks(summary, gates=200, flips=500, cases=500)), limit)


def pr_comment(summary: Mapping[str, Any], *, key: str = "", limit: int = COMMENT_LIMIT) -> str:
    """Return the summary of a session for a pull request, its first line the hidden marker.

    Args:
        summary: The value of summary.json.
        key: What sets the suite apart from others that comment on the same change.
        limit: Bytes that it may have.
    """
    blocks = [Block(head=marker(key)), *_blocks(summary, gates=30, flips=25, cases=15)]
    return fit(blocks, limit)


def _blocks(summary: Mapping[str, Any], *, gates: int, flips: int, cases: int) -> Iterator[Block]:
    parts = (
        verdict_part.headline(summary),
        verdict_part.gate_table(summary, gates),
        verdict_part.reasons(summary, gates),
        cases_part.leaderboard(summary, gates),
        cases_part.differences(summary, gates),
        *flips_part.flips(summary, flips),
        cases_part.unscored(summary, cases),
        cases_part.failed(summary, cases),
        cases_part.extremes(summary),
        cases_part.reproduce(summary),
    )
    yield from (part for part in parts if part is not None)
