"""Reads gate expressions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_smoltrace.gates.expression import Gate, Level

_NAMED = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*=(?!=)(.*)", re.DOTALL)


def split_name(text: str) -> tuple[str | None, str]:
    """Return name and expression of [NAME=]EXPR."""
    found = _NAMED.fullmatch(text)
    return (found[1], found[2].strip()) if found else (None, text.strip())


def parse(text: str, *, name: str | None = None, level: Level | None = None) -> Gate:
    """Return the gate that an expression stands for."""
    raise NotImplementedError
