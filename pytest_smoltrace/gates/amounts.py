"""Reads numbers with their units and turns them into the unit of a metric."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from pytest_smoltrace.gates.scanner import plain
from pytest_smoltrace.gates.units import SHARES, quantity, quantity_of_unit
from pytest_smoltrace.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from pytest_smoltrace.gates.expression import Metric
    from pytest_smoltrace.gates.scanner import Scanner, Token

_NO_UNITS = ("for", "if", "baseline", "and", "or", "AND", "OR")
_UNIT_IN_NAME = {
    "ms": ("_ms",),
    "s": ("_s", "_seconds"),
    "W.h": ("_wh",),
    "W": ("_w",),
    "MiBy": ("_mib",),
    "g{CO2e}": ("_g",),
    "g{CO2e}/kW.h": ("_per_kwh",),
}
"""Unit -> how the names of columns end that tell it."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A number as it was typed, with its unit."""

    number: Decimal
    unit: str | None
    token: Token
    """Where it begins."""
    before: str = ""
    """What it is added to: `baseline+`."""

    @property
    def shown(self) -> str:
        """The number in digits, without its unit."""
        return f"{self.number:f}"


def typed(scanner: Scanner, before: str = "") -> Typed:
    """Return the number that follows, with its unit."""
    dollar = scanner.accept("$")
    token = scanner.next()
    if token.kind != "number":
        raise scanner.error("a number is missing; write one with its unit", token)
    number = plain(scanner, token)
    if dollar:
        return Typed(number, "$", dollar, before)
    unit = _unit(scanner)
    if scanner.ahead.text == "," and scanner.text[scanner.ahead.start + 1 :][:1].isdigit():
        what = f"{token.text} is followed by a comma; write 2.5 or 10000"
        raise scanner.error(f"{what}, without commas", token)
    return Typed(number, unit, token, before)


def _unit(scanner: Scanner) -> str | None:
    token = scanner.accept("%", "$")
    if token is not None:
        parts = [token.text]
    elif scanner.ahead.kind == "name" and scanner.ahead.text not in _NO_UNITS:
        parts = [scanner.next().text]
    else:
        return None
    if scanner.accept("/"):
        parts += ["/", scanner.next().text]
    return "".join(parts)


def in_unit(scanner: Scanner, metric: Metric, amount: Typed) -> tuple[float, str]:
    """Return an amount that is no share in the unit of a metric, and as it is written.

    Raises:
        ConfigError: The unit is missing, unknown or measures something else.
    """
    kind = quantity(metric.unit)
    if kind is None:
        if amount.unit is not None:
            what = f"{metric.shown} is a plain number, without a unit; write {amount.shown}"
            raise scanner.error(what, amount.token)
        return float(amount.number), amount.shown
    unit = amount.unit
    if unit is None:
        if amount.number != 0 and len(kind.units) > 1 and not _is_told(metric):
            what = f"{amount.shown} has no unit and {metric.shown} is {kind.name}"
            units = ", ".join(
                f"{amount.before}{amount.shown}{one}" for one in _near(kind.units, kind.own)
            )
            raise scanner.error(f"{what}; write {units}", amount.token)
        unit = kind.own
    written = kind.written(unit)
    if written is None:
        raise scanner.error(_misfit(metric, amount), amount.token)
    return kind.converted(Fraction(amount.number), written), f"{amount.shown}{written}"


def _near(units: Iterable[str], own: str) -> list[str]:
    """Return the units that are worth to be offered: those next to the column's own."""
    known = list(units)
    at = known.index(own)
    return known[max(0, at - 1) : at + 2]


def _is_told(metric: Metric) -> bool:
    """Return whether the name as it was typed says which unit it is in."""
    if metric.unit in ("{token}", "USD"):
        return True
    name = metric.shown.rpartition("(")[2].rstrip(")")
    return name.endswith(_UNIT_IN_NAME.get(metric.unit, ()))


def _misfit(metric: Metric, amount: Typed) -> str:
    """Say that a unit is not of what the metric measures."""
    unit = amount.unit or ""
    kind, of = quantity(metric.unit), quantity_of_unit(unit)
    name = "a share" if kind is None else kind.name
    fitting = "2pp" if kind is None and amount.before else example(metric)
    write = f"write it as {amount.before}{fitting}"
    if of is None:
        hint = did_you_mean(unit, kind.units if kind else ("%", "pp"))
        return f"there is no unit {unit!r}{hint or ';'} {metric.shown} is {name}, {write}"
    if unit == "%":
        return f"% of what? {metric.shown} is {name}; {write}, or as baseline+10%"
    if unit == "pp":
        return f"pp are points of a share and {metric.shown} is {name}; {write}"
    return f"{unit} is {of} and {metric.shown} is {name}; {write}"


def as_fraction(scanner: Scanner, metric: Metric, amount: Typed) -> Fraction:
    """Return a share as a fraction of 1.

    Raises:
        ConfigError: It is not typed as a share.
    """
    number, unit = Fraction(amount.number), amount.unit
    if unit == "%":
        return number / 100
    if unit == "pp":
        what = f"pp are points of a difference, as in baseline-{amount.shown}pp"
        raise scanner.error(f"{what}; write {amount.shown}%", amount.token)
    if unit is not None:
        raise scanner.error(_misfit(metric, amount), amount.token)
    if number > 1 or (number == 1 and "." not in amount.token.text):
        what = f"{metric.shown} is a share and {amount.shown} has no %"
        raise scanner.error(f"{what}; write {_with_percent(amount)}", amount.token)
    return number


def _with_percent(amount: Typed) -> str:
    """Return what a share that was typed without % can have meant."""
    if amount.number == 1:
        return "100% or 1%"
    if amount.number > 100:  # noqa: PLR2004 (percent)
        return "a share up to 100%"
    return f"{amount.shown}% or {amount.number / 100:f}"


def points(scanner: Scanner, metric: Metric, amount: Typed) -> tuple[float, str]:
    """Return a difference of shares in the unit of a metric, and as it is written."""
    if amount.unit not in ("pp", None):
        raise scanner.error(_misfit(metric, amount), amount.token)
    if amount.unit is None:
        number = amount.number if amount.number >= 1 else (amount.number * 100).normalize()
        what = f"{metric.shown} is a share and {amount.shown} has no unit"
        choice = f"write {number:f}pp for points or {number:f}% for that part of the baseline"
        raise scanner.error(f"{what}; {choice}", amount.token)
    if amount.number > 100:  # noqa: PLR2004 (percent)
        raise scanner.error("no share changes by more than 100pp; write 2pp", amount.token)
    whole = SHARES[metric.unit]
    return float(Fraction(amount.number) * whole / 100), f"{amount.shown}pp"


def example(metric: Metric) -> str:
    """Return a limit that a metric can have."""
    kind = quantity(metric.unit)
    if kind is not None:
        return kind.example
    return "80%" if metric.unit in SHARES else "3"
