"""Documents below a size limit: lists are cut between their rows, never inside of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SPARE = 64
"""Bytes kept for the line that counts what is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part of a document: lines before, rows of which some may be left out, lines after."""

    head: str
    columns: str = ""
    """Head of the table that the rows are of; not shown without rows."""
    rows: Sequence[str] = ()
    tail: str = ""
    most: int = 1_000
    """Rows that are shown where there is room for more."""
    left_out: int = 0
    """Rows that are not even given."""

    @property
    def frame(self) -> int:
        """Bytes that the block takes without its rows."""
        own = _size(self.head) + _size(self.columns) + _size(self.tail)
        return own + _SPARE + 3 * len(_JOIN)


_JOIN = "\n\n"


def fit(blocks: Sequence[Block], limit: int) -> str:
    """Return the blocks as one text of at most `limit` bytes, blank lines between them.

    The frames come first: a block whose frame finds no room any more is left out whole. Rows share
    what remains, each block at most half of it so that a long list leaves room for the next.
    """
    kept, room = [], limit - _SPARE
    for block in blocks:
        if block.frame <= room:
            kept.append(block)
            room -= block.frame
    texts = []
    for place, block in enumerate(kept):
        is_last = not any(later.rows for later in kept[place + 1 :])
        text, used = _filled(block, room if is_last else room // 2)
        texts.append(text)
        room -= used
    return _JOIN.join(texts) + "\n"


def _filled(block: Block, room: int) -> tuple[str, int]:
    """Return a block with the rows that fit, and their bytes."""
    lines, used = [], 0
    for row in block.rows[: block.most]:
        size = _size(row) + 1
        if used + size > room:
            break
        lines.append(row)
        used += size
    rest = len(block.rows) - len(lines) + block.left_out
    parts = [block.head]
    if lines:
        parts.append("\n".join(filter(None, [block.columns, *lines])))
    if rest:
        parts.append(f"and {rest:,} more")
    return _JOIN.join(filter(None, [*parts, block.tail])), used


def _size(text: str) -> int:
    return len(text.encode())
