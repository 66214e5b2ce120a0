"""Figures of gates and runs as a person reads them, from the values of summary.json."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.comparing import lines
from pytest_smoltrace.formats import UNKNOWN, usd
from pytest_smoltrace.gates.units import SHARES, format_value

if TYPE_CHECKING:
    from collections.abc import Mapping


def measured(result: Mapping[str, Any]) -> str:
    """Return the value of a gate with its interval, where there is one."""
    unit, low, high = result["unit"], result["low"], result["high"]
    shown = format_value(result["value"], unit)
    if low is None or high is None:
        return shown
    first, last = format_value(low, unit), format_value(high, unit)
    if unit in SHARES:
        first = first.removesuffix(" %")
    return f"{shown} ({first} to {last})"


def difference(comparison: Mapping[str, Any] | None) -> str:
    """Return candidate against baseline with its interval; a dash without a comparison."""
    if comparison is None:
        return UNKNOWN
    ends = comparison["low"], comparison["high"]
    write = points if comparison["kind"] == "difference" else change
    shown = write(comparison["estimate"])
    if None in ends:
        return shown
    low, high = (write(end) for end in ends)
    unit = shown.rpartition(" ")[2]
    return f"{shown} ({low.removesuffix(f' {unit}')} to {high})"


def points(fraction: float | None) -> str:
    """Return a difference of rates in percentage points."""
    if fraction is None or not math.isfinite(fraction):
        return UNKNOWN
    return lines.points(fraction)


def change(ratio: float | None) -> str:
    """Return a ratio as a change in percent."""
    if ratio is None or not math.isfinite(ratio):  # JSON holds what is infinite as null
        return UNKNOWN
    return f"{100 * (ratio - 1):+.1f} %"


def rate(run: Mapping[str, Any]) -> str:
    """Return the success rate of a run with its interval; a dash where nothing was scored."""
    if not run["num_tests"] or run["success_rate"] is None:
        return UNKNOWN
    low, high = run["success_rate_ci_low"], run["success_rate_ci_high"]
    ends = "" if low is None or high is None else f" ({low:.1f} to {high:.1f} %)"
    return f"{run['success_rate']:.1f} %{ends}"


def cost(run: Mapping[str, Any]) -> str:
    """Return the cost of a run; a part that is unknown is said, never counted as nothing."""
    unknown, executed = run["cost_unknown_attempts"], run["executed_attempts"]
    if unknown and unknown >= executed:
        return "unpriced"
    known = usd(run["total_cost_usd"])
    return f"{known} + {unknown} unpriced" if unknown else known
