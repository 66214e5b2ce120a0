"""How figures are written for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

UNKNOWN = "-"
_TEXT_COLUMNS = 2


def count(number: int | None) -> str:
    """Return a count with thousands separators."""
    return UNKNOWN if number is None else f"{number:,}"


def counted(number: int, thing: str) -> str:
    """Return a number of things: 1 case, 2 cases."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def cases_by_trials(cases: int, trials: int, attempts: int) -> str:
    """Return how many cases ran how often: `20 cases x 3 trials`, up to 3 where some ran less."""
    upto = "" if cases * trials == attempts else "up to "
    return f"{counted(cases, 'case')} x {upto}{trials} trials"


def usd(amount: float | None) -> str:
    """Return an amount in USD with three significant digits below one dollar."""
    if amount is None:
        return UNKNOWN
    if amount >= 1 or amount == 0:
        return f"${amount:,.2f}"
    # The exponent of the rounded value: 0.09999 has one zero less than it seems.
    exponent = int(f"{amount:.2e}".partition("e")[2])
    return f"${amount:.{max(2, 2 - exponent)}f}"


def duration(ms: float | None) -> str:
    """Return a duration in the unit that suits it."""
    if ms is None:
        return UNKNOWN
    if round(ms) < 1_000:  # noqa: PLR2004 (units of time)
        return f"{ms:.3g} ms" if ms < 1 else f"{ms:.0f} ms"
    seconds = ms / 1_000
    if round(seconds, 1) < 60:  # noqa: PLR2004
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"  # noqa: PLR2004
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def amount(number: float | None, unit: str) -> str:
    """Return a quantity with three significant digits, without an exponent."""
    if number is None:
        return UNKNOWN
    exponent = int(f"{number:.2e}".partition("e")[2])
    return f"{number:,.{min(9, max(0, 2 - exponent))}f} {unit}"


def line(name: str, text: str) -> str:
    """Return a line of the summary."""
    return f"{name:<14} {text}".rstrip()


def aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the rows as a table: the first two columns are texts, the others numbers."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (
            cell.ljust(width) if place < _TEXT_COLUMNS else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
