"""Why a gate came to what it did, in words that a person can act on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_smoltrace.schema.results import RESULTS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pytest_smoltrace.comparison import Comparison
    from pytest_smoltrace.gates.expression import Metric

SHOWN = 5
"""Names that are listed."""
_AS = "as "


def listed(names: Sequence[str], shown: int = SHOWN) -> str:
    """Return names, those beyond the first ones counted: `a, b and 37 more`."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


def points(fraction: float) -> str:
    """Return a difference of rates in percentage points: `7.3 pp`."""
    return f"{100 * fraction:.1f}".removesuffix(".0") + " pp"


def signed_points(fraction: float) -> str:
    """Return a difference of rates with its sign."""
    sign = "+" if fraction >= 0 else "-"
    return f"{sign}{100 * abs(fraction):.1f} pp"


def factor(ratio: float) -> str:
    """Return a ratio as the grammar writes it: `x1.16`."""
    return "any factor" if math.isinf(ratio) else f"x{ratio:.3g}"


def size(comparison: Comparison) -> str:
    """Return how much was compared: `50 cases x 3 trials`."""
    cases = f"{comparison.cases} case{'' if comparison.cases == 1 else 's'}"
    trials = sorted(
        {
            round(each / comparison.cases, 1)
            for each in (comparison.baseline_trials, comparison.candidate_trials)
            if comparison.cases
        }
    )
    if not trials or trials == [1]:
        return cases
    return f"{cases} x {' and '.join(f'{each:g}' for each in trials)} trials"


def corrected(comparison: Comparison, p_adjusted: float) -> str:
    """Say that only the other gates keep a change from being called real."""
    alone, beside = _p(comparison.p_value), _p(p_adjusted)
    return f"{alone} alone, but {beside} beside the other comparisons (Holm)"


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value >= 0.0001 else "p < 0.0001"  # noqa: PLR2004


def inconclusive(comparison: Comparison, margin: float) -> str:
    """Say what cannot be excluded, what could be seen, and what would be enough."""
    return f"{_excluded(comparison, margin)}: {_needs(comparison)}"


def _excluded(comparison: Comparison, margin: float) -> str:
    if comparison.kind == "ratio":
        change = "rise" if comparison.worse == "higher" else "fall"
        return (
            f"a {change} to {factor(comparison.worst)} cannot be excluded and "
            f"{factor(comparison.detectable)} is the smallest that {size(comparison)} show "
            f"(limit {factor(margin)})"
        )
    seen = f"{points(comparison.detectable)} is the smallest that {size(comparison)} show"
    if margin < 0:
        sure = signed_points(comparison.worst)
        return f"a gain of {points(-margin)} is asked, and no more than {sure} is sure"
    return (
        f"a drop of up to {points(-comparison.worst)} cannot be excluded and {seen} "
        f"(margin {points(margin)})"
    )


def _needs(comparison: Comparison) -> str:
    cases, trials = comparison.needs_cases, comparison.needs_trials
    if cases is None and trials is None:
        return "needs more cases, or a larger margin"
    if cases is None:
        return f"needs {trials} trials each"
    if trials is None:
        return f"needs {cases:,} cases; more trials alone are not enough"
    return f"needs {cases:,} cases, or {trials} trials each"


def regression(comparison: Comparison, margin: float, p_value: float) -> str:
    """Say how large the worsening is, and how sure."""
    if comparison.kind == "ratio":
        change, limit = factor(comparison.estimate), f"limit {factor(margin)}"
    else:
        change = signed_points(comparison.estimate)
        limit = f"margin {points(margin)}" if margin >= 0 else f"asked {signed_points(-margin)}"
    said = f"{change}{interval(comparison)} over {size(comparison)}"
    return f"{said}, {_p(p_value)} by {comparison.method} ({limit})"


def interval(comparison: Comparison) -> str:
    """Return the interval of a comparison in brackets, nothing where there is none."""
    if comparison.low is None or comparison.high is None:
        return ""
    shown = factor if comparison.kind == "ratio" else signed_points
    return f" (95 % CI {shown(comparison.low)} to {shown(comparison.high)})"


def too_few(cases: int, wanted: int) -> str:
    """Say that a gate asks for more cases than there are."""
    return f"{cases} case{'' if cases == 1 else 's'} of the {wanted} that the gate asks for"


def not_measured(metric: Metric, *, of: str = "") -> str:
    """Say that no attempt knows a metric, and what that usually means."""
    why = _null(metric.column) if metric.table == "results" else ""
    return f"no attempt{of} knows {metric.column}" + (f" ({why})" if why else "")


def _null(name: str) -> str:
    """Return what a null of a column means, that of the column it refers to where it does."""
    nulls = {column.name: column.null for column in RESULTS.columns}
    null = nulls.get(name, "")
    return nulls.get(null.removeprefix(_AS), null) if null.startswith(_AS) else null


def shrunken(missing: Collection[str], of: int) -> str:
    """Name the cases of the baseline that are gone."""
    verb = "is" if len(missing) == 1 else "are"
    return (
        f"{len(missing)} of {of} cases of the baseline {verb} gone: {listed(sorted(missing))}; "
        "if that is meant, make this run the baseline (pytest-smoltrace baseline promote --force)"
    )
