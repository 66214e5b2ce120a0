"""Comparisons and changed cases as a person reads them, for every place that prints them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.formats import UNKNOWN, amount, count, duration, usd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_smoltrace.comparison import Comparison

SHOWN_FLIPS = 10
HEAD = ("figure", "verdict", "A", "B", "difference", "95 % interval", "p", "visible from")
"""Columns of `rate_cells` and `ratio_cells`."""


def rate_cells(comparison: Comparison, verdict: str) -> tuple[str, ...]:
    """Return the cells of a comparison of success rates."""
    return (
        "success rate",
        verdict,
        percent(comparison.baseline_value),
        percent(comparison.candidate_value),
        points(comparison.estimate),
        interval(comparison),
        p_value(comparison.p_value),
        f"-{100 * comparison.detectable:.1f} pp" if comparison.detectable < 1 else "none",
    )


def ratio_cells(name: str, comparison: Comparison, verdict: str) -> tuple[str, ...]:
    """Return the cells of a comparison of one of `figures.FIGURES`."""
    return (
        name,
        verdict,
        figure(name, comparison.baseline_value),
        figure(name, comparison.candidate_value),
        change(comparison.estimate),
        interval(comparison),
        p_value(comparison.p_value),
        change(comparison.detectable) if math.isfinite(comparison.detectable) else "none",
    )


def flip_lines(
    flips: Sequence[Mapping[str, Any]], *, shown: int | None = SHOWN_FLIPS
) -> Iterator[str]:
    """Yield two lines a changed case: how it changed, and the step where the traces part.

    Args:
        flips: `Flip.as_dict` of each, the worst first.
        shown: How many are told; the others are counted. None is all.
    """
    told = flips if shown is None else flips[:shown]
    several = len({(flip["model"], flip["agent_type"]) for flip in flips}) > 1
    for flip in told:
        before, now = flip["baseline"], flip["candidate"]
        rates = f"{before['passed']}/{before['trials']} -> {now['passed']}/{now['trials']}"
        of = f" [{flip['model']}, {flip['agent_type']} agent]" if several else ""
        yield f"{flip['kind']:<14} {flip['case_id']}{of}  {rates}{deltas(flip)}"
        yield f"{'':<14} {why(flip)}"
    if len(flips) > len(told):
        yield f"{'':<14} {len(flips) - len(told)} more, all with -v"


def why(flip: Mapping[str, Any]) -> str:
    """Return the step where the traces of a changed case part, or why it is not known."""
    parted = flip["divergence"]
    return str(parted["text"] if parted else flip["reason"])


def deltas(flip: Mapping[str, Any]) -> str:
    """Return what a changed case takes more or less than it did, in brackets."""
    known = ", ".join(moved(flip))
    return f"  ({known})" if known else ""


def moved(flip: Mapping[str, Any]) -> Iterator[str]:
    """Yield the differences of a changed case in tokens, cost and time, where there are any."""
    tokens, cost, took = (
        flip.get(f"{name}_delta") for name in ("tokens", "cost_usd", "duration_ms")
    )
    if tokens and round(tokens):
        yield f"{_sign(tokens)}{count(abs(round(tokens)))} tokens"
    if cost:
        yield f"{_sign(cost)}{usd(abs(cost))}"
    if took:
        yield f"{_sign(took)}{duration(abs(took))}"


def points(difference: float) -> str:
    """Return a difference of rates in percentage points."""
    return f"{_signed(100 * difference, 1)} pp"


def percent(rate: float | None) -> str:
    """Return a rate in percent."""
    return UNKNOWN if rate is None else f"{100 * rate:.1f} %"


def change(ratio: float) -> str:
    """Return a ratio as what it adds in percent."""
    return f"{_signed(100 * (ratio - 1), 1)} %"


def interval(comparison: Comparison) -> str:
    """Return the 95 % interval of a comparison in its unit."""
    low, high = comparison.low, comparison.high
    if comparison.kind == "difference" or low is None or high is None:
        return points_between(low, high)
    return f"{_signed(100 * (low - 1), 1)} to {_signed(100 * (high - 1), 1)} %"


def points_between(low: float | None, high: float | None) -> str:
    """Return an interval of differences of rates in percentage points."""
    if low is None or high is None:
        return UNKNOWN
    return f"{_signed(100 * low, 1)} to {_signed(100 * high, 1)} pp"


def p_value(p: float) -> str:
    """Return a p-value with two significant digits."""
    return "<0.0001" if p < 0.0001 else f"{p:.2g}"  # noqa: PLR2004 - digits of the format


def figure(name: str, value: float | None) -> str:
    """Return the value of one of `figures.FIGURES` in its unit."""
    if value is None:
        return UNKNOWN
    if name == "latency":
        return duration(value)
    if name == "ttft":
        return duration(1_000 * value)
    if name == "cost":
        return usd(value)
    return amount(value, "Wh") if name == "energy" else count(round(value))


def _sign(value: float) -> str:
    return "-" if value < 0 else "+"


def _signed(value: float, digits: int) -> str:
    """Return a number with its sign; what rounds to nothing has none."""
    text = f"{value:+.{digits}f}"
    return text[1:] if not float(text) else text
