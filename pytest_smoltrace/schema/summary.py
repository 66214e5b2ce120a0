"""The JSON schema of summary.json."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import orjson

NAME = "summary.schema.json"


def summary_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) that every summary.json of this version follows."""
    schema: dict[str, Any] = orjson.loads((files(__package__) / NAME).read_bytes())
    return schema
