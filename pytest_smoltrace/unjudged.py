"""What a session without a model says of the gates that its project has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_smoltrace import pyproject
from pytest_smoltrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


def lines(config: pytest.Config) -> Iterator[str]:
    """Yield that the gates of pyproject.toml and of the ini file were not judged."""
    try:
        number = len(pyproject.read(config.rootpath).gates)
    except ConfigError as error:
        yield f"smoltrace: {error}"
        return
    number += len(config.getini("smoltrace_gate") or ())
    if number:
        noun = "gate was" if number == 1 else "gates were"
        yield f"smoltrace: {number} {noun} not judged: no model was given (--smoltrace-model)"
