"""Absolute limits: a figure of the run itself against a number."""

from __future__ import annotations

import math
import operator
from collections import Counter
from typing import TYPE_CHECKING

from pytest_smoltrace.error_types import VERDICTS
from pytest_smoltrace.gates import reasons
from pytest_smoltrace.gates.draft import Draft, drafted
from pytest_smoltrace.gates.figures import aggregate_figure, shares
from pytest_smoltrace.gates.verdicts import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_smoltrace.gates.figures import Figure
    from pytest_smoltrace.gates.matter import Matter

_CLOSE = 1e-9
"""Relative distance within which two figures are the same: sums round."""
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
}


def holds(value: float, operation: str, limit: float) -> bool:
    """Return whether a figure meets a limit; what only rounding parts is equal."""
    if math.isclose(value, limit, rel_tol=_CLOSE, abs_tol=1e-12):
        return operation in (">=", "<=", "==")
    return _OPERATORS[operation](value, limit)


def judged(matter: Matter) -> Draft:
    """Return what an absolute limit comes to."""
    gate, figure = matter.gate, _figure(matter)
    if figure is None:
        return unknown(matter)
    if figure.cases < gate.min_n:
        return too_few(matter, figure)
    limit = gate.limit.number
    assert limit is not None
    passed = holds(figure.value, gate.operator, limit)
    return drafted(
        gate,
        matter.run,
        Status.PASS if passed else Status.FAIL,
        None if passed else why(matter),
        notes=notes(matter),
        value=figure.value,
        low=figure.low,
        high=figure.high,
        limit=limit,
        baseline=_baseline(matter),
        cases=figure.cases,
        attempts=figure.attempts,
    )


def _figure(matter: Matter) -> Figure | None:
    metric = matter.gate.metric
    if metric.table == "results" and metric.aggregate == "sum" and matter.spent is not None:
        return aggregate_figure(metric, matter.spent.values(metric.column))
    figure = matter.figure(matter.ours)
    if figure is None or metric.table != "results":
        return figure
    return figure.with_interval(metric, matter.ours.scored.values(metric.column))


def _baseline(matter: Matter) -> float | None:
    """Return the baseline's figure, where it is over the same cases and of the same thing."""
    match = matter.match
    if match is None or match.run is None or matter.gate.metric.aggregate == "sum":
        return None
    metric = matter.gate.metric
    if match.apart(metric.column, timing=metric.timing) or metric.table == "leaderboard":
        return None
    ours = matter.known(matter.ours)
    if not ours <= matter.known(matter.theirs):
        return None
    figure = matter.figure(matter.theirs.among(ours), match.run)
    return figure.value if figure else None


def unknown(matter: Matter, *, of_baseline: bool = False) -> Draft:
    """Return the draft of a metric that no attempt knows."""
    gate, rows = matter.gate, matter.theirs if of_baseline else matter.ours
    replayed = matter.replayed_before if of_baseline else matter.replayed
    of = " of the baseline" if of_baseline else ""
    if replayed and not rows.table.num_rows:
        reason = f"all {replayed} attempts{of} were replayed, which says nothing of this figure"
        return drafted(gate, matter.run, Status.SKIPPED, reason)
    reason = reasons.not_measured(gate.metric, of=of)
    if not rows.scored.table.num_rows:
        reason = f"no attempt{of} was scored" + ("" if of_baseline else unscored(matter))
    return drafted(gate, matter.run, Status.NOT_MEASURED, reason)


def too_few(matter: Matter, figure: Figure) -> Draft:
    """Return the draft of a gate that asks for more cases."""
    return drafted(
        matter.gate,
        matter.run,
        Status.TOO_FEW,
        reasons.too_few(figure.cases, matter.gate.min_n),
        value=figure.value,
        limit=matter.gate.limit.number,
        cases=figure.cases,
        attempts=figure.attempts,
    )


def notes(matter: Matter) -> tuple[str, ...]:
    """Return what has to be said beside the verdict."""
    found = []
    if matter.partial:
        found.append(f"judged on what ran: {matter.partial}")
    if matter.replayed:
        found.append(f"{matter.replayed} replayed attempts left out")
    scored = matter.ours.scored.cases
    lacking = len(scored - matter.known(matter.ours))
    if lacking and matter.gate.metric.table == "results":
        found.append(f"{lacking} of {len(scored)} cases do not know it")
    return tuple(found)


def why(matter: Matter) -> str | None:
    """Say which attempts a failed rate is about, None where the figure says it all."""
    metric = matter.gate.metric
    if metric.column == "valid":
        return "; ".join(_invalid(matter))
    if metric.column == "error_rate":
        return _errors(matter)
    if metric.table != "rate":
        return _extremes(matter)
    rows = matter.ours.scored.table
    failed = int(rows.num_rows) - sum(c for c, _ in matter.ours.counts.values())
    return f"{failed} of {rows.num_rows} attempts failed{_kinds(matter, lambda scored, _: scored)}"


def _errors(matter: Matter) -> str:
    found = shares(matter.gate.metric, matter.ours)
    had, trials = (sum(counts[n] for counts in found.values()) for n in (0, 1))
    kinds = _kinds(matter, lambda _, kind: kind not in VERDICTS)
    return f"{had} of {trials} attempts ended in an error{kinds}"


def _invalid(matter: Matter) -> Iterator[str]:
    """Yield how many attempts could not be scored, and how many were never made."""
    done = matter.ours.completed
    spoiled = done.table.num_rows - done.scored.table.num_rows
    if spoiled:
        yield f"{spoiled} of {done.table.num_rows} attempts could not be scored{unscored(matter)}"
    if matter.not_run:
        selected = done.table.num_rows + matter.not_run
        yield f"{matter.not_run} of {selected} selected attempts did not run"


def unscored(matter: Matter) -> str:
    """Return the error types of what was not scored, in brackets."""
    return _kinds(matter, lambda scored, _: not scored)


def _kinds(matter: Matter, belongs: Callable[[bool, str], bool]) -> str:
    """Return the error types that belong, with their numbers, in brackets."""
    table = matter.ours.completed.table
    if not {"scored", "error_type"} <= {*table.column_names}:
        return ""
    rows = zip(table["scored"].to_pylist(), table["error_type"].to_pylist(), strict=True)
    kinds = Counter(kind for scored, kind in rows if kind is not None and belongs(scored, kind))
    named = [f"{kind} {n}" for kind, n in sorted(kinds.items(), key=lambda kn: (-kn[1], kn[0]))]
    return f" ({reasons.listed(named)})" if named else ""


def _extremes(matter: Matter) -> str | None:
    """Name the cases with the figures that are furthest beyond an upper limit."""
    metric = matter.gate.metric
    if metric.table != "results" or matter.gate.operator not in ("<", "<="):
        return None
    values = matter.ours.scored.values(metric.column)
    worst = sorted(values, key=lambda case: (-max(values[case]), case))
    return f"largest in {reasons.listed(worst, 3)}" if worst else None
