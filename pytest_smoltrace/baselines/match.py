"""What a run is compared with, and what keeps which of their figures apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_smoltrace.measured.session import MeasuredRun

_FROM_ENERGY = ("co2_emissions", "electricity_cost", "power_cost")
"""How the columns begin that are computed from energy."""
_COUNTS = ("_tests", "_attempts")
"""How the columns end that count attempts, of known cost say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One way in which a baseline measured something else."""

    word: str
    """One of `option_values.MISMATCHES`, by which it can be allowed."""
    text: str
    """What differs, baseline first: `model (gpt-4o and gpt-4o-mini)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The run of a baseline that a run is compared with."""

    run: MeasuredRun | None
    """None when the baseline has none for it; `mismatches` says why."""
    mismatches: tuple[Mismatch, ...] = ()
    """What keeps all figures apart and is not allowed."""
    timing: tuple[Mismatch, ...] = ()
    """What keeps figures of time and energy apart and is not allowed."""
    electricity: tuple[Mismatch, ...] = ()
    """What keeps emissions and costs of electricity apart and is not allowed."""
    prices: tuple[Mismatch, ...] = ()
    """What keeps costs of LLM calls apart and is not allowed."""
    allowed: tuple[Mismatch, ...] = ()
    """Differences that the user allows."""
    changed: frozenset[str] = frozenset()
    """Cases of both that ask for something else now."""

    @property
    def differences(self) -> tuple[Mismatch, ...]:
        """All that keeps any figure apart and is not allowed."""
        return (*self.mismatches, *self.timing, *self.electricity, *self.prices)

    def apart(self, column: str = "", *, timing: bool = False) -> tuple[Mismatch, ...]:
        """Return what keeps a figure of both runs apart.

        Args:
            column: Column that the figure is of.
            timing: Whether the figure is of time or energy.
        """
        from_energy = column.startswith(_FROM_ENERGY)
        priced = "cost" in column and not from_energy and not column.endswith(_COUNTS)
        return (
            *self.mismatches,
            *(self.timing if timing else ()),
            *(self.electricity if from_energy else ()),
            *(self.prices if priced else ()),
        )


def advice(mismatches: Iterable[Mismatch]) -> str | None:
    """Return what differs and how to allow it, a flag for each kind; None where nothing does."""
    found = tuple(mismatches)
    if not found:
        return None
    said = "; ".join(each.text for each in found)
    words = dict.fromkeys(each.word for each in found)
    flags = " ".join(f"--smoltrace-allow-mismatch={word}" for word in words)
    return f"{said}; allow it with {flags}"
