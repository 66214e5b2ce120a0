"""The figures that gates can be about, by their names in the schema."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.gates import directions
from pytest_smoltrace.gates.expression import Metric, Table
from pytest_smoltrace.gates.units import SHARES
from pytest_smoltrace.suggestion import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_smoltrace.schema.columns import Column

AGGREGATES = ("mean", "median", "min", "max", "sum")
"""Beside pNN, a percentile."""
NO_REGRESSIONS = "no_regressions"
LIST = "--smoltrace-list-metrics lists them"
_OTHER_AGGREGATES = {"avg": "mean", "average": "mean", "minimum": "min", "maximum": "max"}
_NOT_SUMMED = frozenset({*SHARES, "", "Cel", "W", "MiBy", "g{CO2e}/kW.h", "USD/kW.h"})
_ALIASES = {
    "latency": "execution_time_ms",
    "duration": "execution_time_ms",
    "cost": "gen_ai.usage.cost.total",
    "tokens": "gen_ai.usage.total_tokens",
    "prompt_tokens": "gen_ai.usage.prompt_tokens",
    "input_tokens": "gen_ai.usage.prompt_tokens",
    "completion_tokens": "gen_ai.usage.completion_tokens",
    "output_tokens": "gen_ai.usage.completion_tokens",
    "reasoning_tokens": "completion_tokens_details.reasoning_tokens",
    "ttft": "gen_ai.server.ttft",
    "tbt": "gen_ai.server.tbt",
    "tool_calls": "tool_call_count",
    "llm_calls": "llm_call_count",
    "energy": "gpu_energy_wh",
    "co2": "co2_emissions_g",
    "power": "gpu_power_avg_w",
    "memory": "gpu_memory_max_mib",
    "pass@1": "pass_at_1",
    "pass@k": "pass_at_k",
    "pass^k": "pass_hat_k",
}
_MEANINGS = {
    "error_rate": "Completed attempts that ended in an error, not in a verdict on the answer."
}
"""Figure of the leaderboard -> what it means, where the schema tells the columns it is made of."""
_RATES = ("success_rate", "error_rate", "pass_at_1", "pass_at_k", "pass_hat_k")
"""Figures of the leaderboard that can be recomputed over any cases."""
_OF_GATES = {
    "valid": "Selected trials that were scored: not spoiled outside the agent, and not left out.",
    "coverage": "Cases of the baseline that this run has too.",
    NO_REGRESSIONS: "Success rate, case by case, not below the baseline's by the margin or more.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure that a gate can be about."""

    metric: Metric
    meaning: str
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name in the schema."""
        return self.metric.shown


@cache
def figures() -> Mapping[str, Figure]:
    """Return every figure by its name in the schema."""
    from pytest_smoltrace.schema.leaderboard import LEADERBOARD
    from pytest_smoltrace.schema.results import RESULTS

    found = {name: _of_gates(name) for name in _OF_GATES}
    results = [_of_results(c) for c in RESULTS.columns if _is_number(c) and not c.copies]
    columns = {figure.name for figure in results}
    whole = [_of_run(c) for c in LEADERBOARD.columns if _is_number(c) and c.name not in columns]
    return found | {figure.name: figure for figure in (*whole, *results)}


@cache
def aliases() -> Mapping[str, str]:
    """Return other names -> the name in the schema."""
    from pytest_smoltrace.schema.results import RESULTS

    copies = {c.name: c.source.of for c in RESULTS.columns if c.copies}
    return {**{name: of for name, of in copies.items() if of in figures()}, **_ALIASES}


def find(name: str, aggregate: str | None = None) -> Metric:
    """Return the metric that a name, alone or in an aggregate, stands for.

    Raises:
        ConfigError: There is no such metric; says what is there.
    """
    if aggregate is not None:
        return _aggregated(aggregate, name)
    found = figures().get(name)
    if found is not None:
        return found.metric
    if name in aliases():
        figure = figures()[aliases()[name]]
        return _shown(figure.metric, name)
    start, _, rest = name.partition("_")
    if rest and canonical(start) and _is_of_results(rest):
        return _aggregated(start, rest)
    raise ConfigError(_unknown(name))


def canonical(aggregate: str) -> str | None:
    """Return an aggregate as it is written, None for one that there is not."""
    known = _OTHER_AGGREGATES.get(aggregate, aggregate)
    if known in AGGREGATES:
        return known
    letter, digits = aggregate[:1], aggregate[1:]
    whole, dot, tenths = digits.partition(".")
    if letter != "p" or not _is_digits(whole) or (dot and not _is_digits(tenths)):
        return None
    number = float(digits)
    return f"p{number:g}" if 0 < number < 100 and len(digits) <= 6 else None  # noqa: PLR2004


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _aggregated(typed: str, name: str) -> Metric:
    aggregate = canonical(typed)
    if aggregate is None:
        raise ConfigError(_unknown_aggregate(typed))
    column = aliases().get(name, name)
    figure = figures().get(column)
    if figure is None:
        raise ConfigError(_unknown(name))
    metric = figure.metric
    if metric.table != "results" or column != metric.column:
        raise ConfigError(_not_aggregated(name, metric))
    if aggregate == "sum" and metric.unit in _NOT_SUMMED:
        raise ConfigError(f"a sum of {name} says nothing; write mean({name}) or max({name})")
    return _shown(metric, f"{aggregate}({name})", aggregate)


def _shown(metric: Metric, shown: str, aggregate: str | None = None) -> Metric:
    return replace(metric, shown=shown, aggregate=aggregate or metric.aggregate)


def _is_of_results(name: str) -> bool:
    figure = figures().get(aliases().get(name, name))
    return figure is not None and figure.metric.table == "results"


def _unknown(name: str) -> str:
    kinds = _not_numbers()
    if name in kinds:
        hint = ", did you mean 'success_rate'?" if name == "success" else ""
        return f"{name!r} is no number but {kinds[name]}{hint or ';'} {LIST}"
    hint = did_you_mean(name, (*figures(), *aliases()))
    return f"there is no metric {name!r}{hint or ';'} {LIST}"


def _unknown_aggregate(typed: str) -> str:
    hint = did_you_mean(typed, (*AGGREGATES, *_OTHER_AGGREGATES))
    known = f"{', '.join(AGGREGATES)} and percentiles as p95"
    if typed.startswith("p") and typed[1:].replace(".", "").isdigit():
        return f"there is no percentile {typed!r}; write p1 to p99.9, or min or max"
    return f"there is no aggregate {typed!r}{hint or ';'} there is {known}"


def _not_aggregated(name: str, metric: Metric) -> str:
    if metric.column == NO_REGRESSIONS:
        return f"{NO_REGRESSIONS} stands alone, without an aggregate; write {NO_REGRESSIONS}"
    if metric.table == "results":
        inner = f"{metric.aggregate}({metric.column})"
        return f"{name!r} is {inner} already; write {name}, or an aggregate of {metric.column}"
    return f"{name!r} is one figure of a whole run, not of each attempt; write {name} alone"


@cache
def _not_numbers() -> Mapping[str, str]:
    """Return the columns that are no numbers, with what they are."""
    from pytest_smoltrace.schema.leaderboard import LEADERBOARD
    from pytest_smoltrace.schema.results import RESULTS

    kinds = {"bool": "true or false", "string": "a text"}
    columns = (*LEADERBOARD.columns, *RESULTS.columns)
    return {c.name: kinds.get(c.type, f"a {c.type}") for c in columns if not _is_number(c)}


def _is_number(column: Column) -> bool:
    return column.type in ("int64", "float64")


def _unit(column: Column) -> str:
    """Return the unit of a column; of "1", only shares keep it, other numbers have none."""
    return "" if column.unit == "1" and column.name not in directions.SHARES else column.unit


def _of_gates(name: str) -> Figure:
    metric = Metric(shown=name, table="gate", column=name, unit="%", better="higher")
    return Figure(metric=metric, meaning=_OF_GATES[name])


def _of_results(column: Column) -> Figure:
    aggregate = "max" if directions.is_maximum(column.name) else "mean"
    return _of_column(column, "results", column.name, aggregate)


def _of_run(column: Column) -> Figure:
    of, aggregate = _reduced(column)
    if of is not None:
        return _of_column(column, "results", of, aggregate)
    return _of_column(column, "rate" if column.name in _RATES else "leaderboard", column.name)


def _of_column(column: Column, table: Table, of: str, aggregate: str | None = None) -> Figure:
    """Return the figure of a column, that of another one in an aggregate where it is one."""
    name, unit = column.name, _unit(column)
    metric = Metric(
        shown=name,
        table=table,
        column=of,
        aggregate=aggregate,
        unit=unit,
        better=directions.better(name, unit),
        timing=directions.is_timing(name, unit),
        live_only=directions.is_live_only(name, unit),
    )
    known = tuple(alias for alias, of in _ALIASES.items() if of == name)
    return Figure(metric=metric, meaning=_MEANINGS.get(name, column.doc), aliases=known)


def _reduced(column: Column) -> tuple[str | None, str | None]:
    """Return column and aggregate of results that a leaderboard column is, if it is one."""
    from pytest_smoltrace.schema.reductions import Mean, Quantile, Sum

    source = column.source
    if isinstance(source, Mean):
        return source.column, "mean"
    if isinstance(source, Sum):
        return source.column, "sum"
    if isinstance(source, Quantile):
        return source.column, f"p{100 * source.q:g}"
    return None, None


def names() -> Iterator[str]:
    """Yield every name that a metric has."""
    yield from figures()
    yield from aliases()
