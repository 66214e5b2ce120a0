"""What a person reads of a judgement on the terminal, as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def verdict_lines(judgement: Mapping[str, Any], *, verbose: int) -> Iterator[tuple[str, str]]:
    """Yield (line, colour) of a judgement."""
    yield f"gates: {judgement['status']}", ""
