"""What a subcommand of `pytest-smoltrace` is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


PROG = "pytest-smoltrace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One subcommand: its arguments and the function that runs it and gives the exit code."""

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def directory_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where runs are stored."""
    default = os.environ.get("SMOLTRACE_DIR") or ".smoltrace"
    parser.add_argument(
        "--dir", type=Path, default=Path(default), help=f"where runs are stored ({default})"
    )
