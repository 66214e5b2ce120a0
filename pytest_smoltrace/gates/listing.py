"""The metrics that gates can be about, as lines for a person."""

from __future__ import annotations

from textwrap import shorten, wrap
from typing import TYPE_CHECKING

from pytest_smoltrace.gates.amounts import example
from pytest_smoltrace.gates.metrics import AGGREGATES, NO_REGRESSIONS, figures
from pytest_smoltrace.gates.units import quantity, unit_shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_smoltrace.gates.expression import Metric
    from pytest_smoltrace.gates.metrics import Figure

_NARROWEST = 60
_WIDEST = 120
_NAME = 44
_UNIT = 10
_PLAIN = "plain numbers"
_BETTER = {"higher": "higher is better", "lower": "lower is better", None: ""}
_INTRODUCTION = (
    "A gate is METRIC OPERATOR LIMIT, as in --smoltrace-gate 'success_rate >= 80%' or "
    "'p95(latency) <= baseline*1.2 for difficulty=hard'. Names on one line mean the same."
)
_OF_TESTS = (
    f"Figures of each test: alone, the mean per test; or in {', '.join(AGGREGATES)}, p50, p95, "
    "p99.9, as in p95(latency). Limits are typed with a unit, as 2s, $0.02 or 16GiB."
)
_SECTIONS: tuple[tuple[str, Callable[[Metric], bool]], ...] = (
    (
        "Shares of tests, over any cases (80% or 0.8; 2pp are points, 2% a part of the baseline)",
        lambda metric: metric.table in ("rate", "gate"),
    ),
    (_OF_TESTS, lambda metric: metric.table == "results" and _is_column(metric)),
    (
        "Short for an aggregate of each test's figures",
        lambda metric: metric.table == "results" and not _is_column(metric),
    ),
    (
        "Figures of a whole run: selected by model and agent_type only",
        lambda metric: metric.table == "leaderboard",
    ),
)


def metric_lines(width: int) -> Iterator[str]:
    """Yield every metric with unit, direction and meaning, no line longer than `width`."""
    width = max(_NARROWEST, min(width, _WIDEST))
    yield from wrap(_INTRODUCTION, width)
    for title, belongs in _SECTIONS:
        found = [figure for figure in figures().values() if belongs(figure.metric)]
        yield ""
        yield from wrap(title, width)
        yield from _section(found, width)


def _section(found: Iterable[Figure], width: int) -> Iterator[str]:
    """Yield figures by the kind of quantity, each kind in the order of the schema."""
    kinds: dict[str, list[Figure]] = {}
    for figure in found:
        kinds.setdefault(_kind(figure.metric), []).append(figure)
    for kind in sorted(kinds, key=lambda kind: kind == _PLAIN):
        members = kinds[kind]
        yield ""
        yield f"  {kind}, as {example(members[0].metric)}"
        for figure in members:
            yield from _lines(figure, width)


def _kind(metric: Metric) -> str:
    of = quantity(metric.unit)
    if of is None:
        return "shares" if metric.unit else _PLAIN
    return of.name.partition(" ")[2]


def _is_column(metric: Metric) -> bool:
    """Return whether the name is a column of results, and no short form."""
    return metric.shown == metric.column


def _lines(figure: Figure, width: int) -> Iterator[str]:
    """Yield what one types, and below it the name in the schema and the meaning."""
    metric = figure.metric
    unit = "" if metric.column == NO_REGRESSIONS else unit_shown(metric.unit)
    name = f"    {', '.join(figure.aliases) or metric.shown}"
    yield f"{name:<{_NAME}}  {unit:<{_UNIT}}{_BETTER[metric.better]}".rstrip()
    stands_for = metric.shown if figure.aliases else ""
    if metric.aggregate and (metric.aggregate != "mean" or not _is_column(metric)):
        stands_for = f"{metric.aggregate}({metric.column})"
    meaning = f"{stands_for}: {figure.meaning}" if stands_for else figure.meaning
    yield "        " + shorten(meaning, width - 8, placeholder=" ...")
