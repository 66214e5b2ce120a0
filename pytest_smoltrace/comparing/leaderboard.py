"""The runs of one session, compared with the best of them over the cases that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_smoltrace.comparing.lines import p_value, points, points_between
from pytest_smoltrace.formats import counted, line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_smoltrace.inference.models import ModelDifference

    Counts = Mapping[str, tuple[int, int]]

ALPHA = 0.05
_FEWEST = 2
"""Runs that there is something to compare of."""


def comparison_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield how the success rate of each run differs from that of the best, paired by case.

    Args:
        summary: The value of summary.json; nothing is said of a single run.
    """
    told = paired_differences(summary)
    if told is not None:
        head, rows = told
        yield line("differences", head)
        yield from (line("", row) for row in rows)


def paired_differences(summary: Mapping[str, Any]) -> tuple[str, list[str]] | None:
    """Return what is compared and one sentence a run; None where there is nothing to compare."""
    counts = scored_counts(summary)
    if len(counts) < _FEWEST or not _share_cases(counts):
        return None
    if summary.get("cases_left_out"):
        return "not computed: the summary does not hold all cases", []
    from pytest_smoltrace.inference.models import compare_models

    found = compare_models(counts)
    pairs = len(counts) * (len(counts) - 1) // 2
    how = (
        f"p, not the intervals, adjusted for {counted(pairs, 'pair')} (Holm)"
        if pairs > 1
        else "two-sided p"
    )
    return f"from {found[0].reference}, paired by case; {how}", list(map(_told, found))


def scored_counts(summary: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, int]]]:
    """Return for each run with scored cases, by name, (passed, trials) of each of its cases."""
    names = _names(summary.get("runs") or ())
    found: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in names.values()}
    for case in summary.get("cases") or ():
        name = names.get(case.get("run_id"))
        if name is not None and case.get("counted") and case.get("scored"):
            passed, trials = found[name].get(case["case_id"], (0, 0))
            found[name][case["case_id"]] = (passed + bool(case.get("success")), trials + 1)
    return {name: cases for name, cases in found.items() if cases}


def _names(runs: Sequence[Mapping[str, Any]]) -> dict[Any, str]:
    """Return run id -> what tells the run from the others."""
    known = [run for run in runs if run.get("run_id") is not None]
    kinds = {run["agent_type"] for run in known}
    models = {run["model"] for run in known}
    found: dict[Any, str] = {}
    for run in known:
        name = f"{run['model']}, {run['agent_type']} agent"
        if len(kinds) == 1:
            name = str(run["model"])
        elif len(models) == 1:
            name = f"{run['agent_type']} agent"
        found[run["run_id"]] = f"{name} ({run['run_id']})" if name in found.values() else name
    return found


def _share_cases(counts: Mapping[str, Counts]) -> bool:
    """Return whether any two runs have a case in common, before anything heavy is imported."""
    seen: set[str] = set()
    for cases in counts.values():
        if not seen.isdisjoint(cases):
            return True
        seen |= cases.keys()
    return False


def _told(found: ModelDifference) -> str:
    """Return one difference as a sentence that claims no more than was shown."""
    if not found.cases:
        return f"{found.model}: no shared case"
    shown = "no difference shown"
    if found.p_adjusted <= ALPHA:
        shown = "lower" if found.estimate < 0 else "higher"
    between = points_between(found.low, found.high)
    figures = f"{points(found.estimate)} ({between}), p {p_value(found.p_adjusted)}"
    return f"{found.model}: {shown}: {figures}, {counted(found.cases, 'shared case')}"
