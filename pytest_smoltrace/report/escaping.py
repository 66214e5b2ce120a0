"""Texts of models and tests as Markdown of GitHub and GitLab can hold them, and no more."""

from __future__ import annotations

import re

NAME_LIMIT = 120
"""Characters of a node id, a model or an expression that are shown."""
TEXT_LIMIT = 200
"""Characters of an answer, an argument or a message that are shown."""

_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_UNSEEN = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Characters that hide text, turn it round or cannot be encoded."""
_PUNCTUATION = re.compile(r"([\\`*_{}\[\]()!|~$^])")
_LINKED = re.compile(r"([@#:]|www)(?=[\w./])")
"""Where a platform begins a mention, a reference, an emoji or a link."""


def one_line(text: object, limit: int = TEXT_LIMIT) -> str:
    """Return a text in one line without control characters, its end cut at the limit."""
    shown = _cleaned(text, limit)
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


def named(text: object, limit: int = NAME_LIMIT) -> str:
    """Return a name in one line, its middle cut at the limit: names differ at their ends."""
    shown = _cleaned(text, None)
    if len(shown) <= limit:
        return shown
    half = (limit - 1) // 2
    return f"{shown[:half].rstrip()}…{shown[half + 1 - limit :].lstrip()}"


def _cleaned(text: object, limit: int | None) -> str:
    kept = str(text)
    if limit is not None:
        kept = kept[: 8 * limit]  # an answer may have megabytes
    return _UNSEEN.sub("\ufffd", _BREAKS.sub(" ", kept)).strip()


def code(text: object) -> str:
    """Return a line as a code span of a table cell; nothing in it is markup, link or mention.

    The pipe is written as a cell has it, so a span is only right inside of a table.
    """
    return span(text).replace("|", "\\|")


def span(text: object) -> str:
    """Return a line as a code span outside of tables."""
    line = str(text)
    if not line:
        return "-"
    runs = {len(run) for run in re.findall(r"`+", line)}
    fence = "`" * next(n for n in range(1, len(runs) + 2) if n not in runs)
    pad = " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def prose(text: object) -> str:
    """Return a line as text in which nothing is markup, link, mention or emoji."""
    safe = str(text).replace("&", "&amp;").replace("<", "&lt;")
    safe = _PUNCTUATION.sub(r"\\\1", safe)
    # Platforms link in the rendered text, so that an entity would not help; a comment parts it.
    return _LINKED.sub(r"\1<!-- -->", safe)
