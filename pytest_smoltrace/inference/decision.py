"""The verdict on a comparison with a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_smoltrace.comparison import Verdict

if TYPE_CHECKING:
    from pytest_smoltrace.comparison import Comparison


def decide(
    comparison: Comparison,
    *,
    alpha: float,
    margin: float,
    min_effect: float = 0.0,
    p_value: float | None = None,
) -> Verdict:
    """Return the verdict on a difference of success rates.

    PASS where the drop is surely below the margin, REGRESSION where there surely is one larger
    than `min_effect`, PASS again where none was seen and one as large as the margin would have
    been, with the power of `detectable`; INCONCLUSIVE is the rest. With `min_effect` 0 and no
    correction it is only met where `detectable` is above the margin. A drop that is significant
    until it is corrected for several tests is neither a REGRESSION nor none seen.

    A gain that is asked for (`>= baseline+2pp`) is margin = min_effect = -0.02 of a comparison
    with shift = 0.02.

    Args:
        comparison: What `compare_rates` found.
        alpha: Level of the test.
        margin: Drop that is tolerated.
        min_effect: Drop that an estimate has to exceed to be called a regression.
        p_value: p-value after a correction for several tests; the comparison's own by default.
    """
    p = comparison.p_value if p_value is None else p_value
    if comparison.worst > -margin:
        return Verdict.PASS
    if p <= alpha and comparison.estimate < -min_effect:
        return Verdict.REGRESSION
    if comparison.p_value > alpha and comparison.detectable <= margin:
        return Verdict.PASS
    return Verdict.INCONCLUSIVE


def decide_ratio(
    comparison: Comparison, *, alpha: float, factor: float, p_value: float | None = None
) -> Verdict:
    """Return the verdict on a ratio that may be `factor` and no worse.

    Args:
        comparison: What `compare_values` found with the same factor.
        alpha: Level of the test.
        factor: Limit of candidate over baseline: 1.2 of `<= baseline*1.2`.
        p_value: p-value after a correction for several tests; the comparison's own by default.
    """
    p = comparison.p_value if p_value is None else p_value
    up = comparison.worse == "higher"
    estimate = comparison.estimate if up else 1 / comparison.estimate
    worst = comparison.worst if up else 1 / comparison.worst
    limit = factor if up else 1 / factor
    if worst < limit:
        return Verdict.PASS
    if p <= alpha and estimate > limit:
        return Verdict.REGRESSION
    if estimate <= limit and comparison.detectable <= limit:
        return Verdict.PASS
    return Verdict.INCONCLUSIVE
