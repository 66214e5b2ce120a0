"""The names of metrics, what they stand for, their units, and how figures are written."""

import csv
import math
from pathlib import Path

import pytest
import scipy.constants as si

from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.gates.grammar import parse
from pytest_smoltrace.gates.listing import metric_lines
from pytest_smoltrace.gates.metrics import AGGREGATES, aliases, canonical, figures, find
from pytest_smoltrace.gates.units import format_value, quantity

# The contract, which the schema is checked against, is the witness.
with Path(__file__).with_name("fields.csv").open(encoding="utf-8") as stream:
    CONTRACT = {(row["dataset"], row["name"]): row for row in csv.DictReader(stream)}
NUMBERS = {
    key: row
    for key, row in CONTRACT.items()
    if key[0] in ("results", "leaderboard") and row["type"] in ("int64", "float64")
}
SHARES = {"pass_at_1", "pass_at_k", "pass_hat_k", "gpu_coverage"}
ONE = (
    {"": "1", "%": "50%", "1": "50%", "ms": "1s", "s": "1s", "USD": "1usd", "W.h": "1Wh"}
    | {"W": "1W", "MiBy": "1GiB", "Cel": "50C", "g{CO2e}": "1g", "g{CO2e}/kW.h": "1g/kWh"}
    | {"USD/kW.h": "1usd/kWh"}
)
"""Unit of a column -> a limit that fits it."""


def test_the_contract_was_read():
    assert len(NUMBERS) > 100
    assert NUMBERS["results", "execution_time_ms"]["unit"] == "ms"


def limit_of(unit):
    """Return a limit of this unit; counts are written without one."""
    return ONE.get(unit, "1")


@pytest.mark.parametrize("key", NUMBERS, ids=".".join)
def test_every_number_of_the_schema_can_be_gated_in_its_unit(key):
    table, name = key
    metric = find(name)
    unit = NUMBERS[key]["unit"]
    if (table, name) == ("leaderboard", "total_tokens") or ("results", name) not in NUMBERS:
        assert metric.table in ("rate", "leaderboard", "results")
    else:
        assert metric.table == "results"
    assert metric.unit == ("" if unit == "1" and name not in SHARES else unit)
    for operator in (">", "<="):
        gate = parse(f"{name} {operator} {limit_of(metric.unit)}")
        assert gate.metric == metric
        assert parse(gate.text) == gate


@pytest.mark.parametrize("name", [*figures(), *aliases()])
def test_every_name_is_read(name):
    metric = find(name)
    assert metric.shown == name
    text = name if name == "no_regressions" else f"{name} > {limit_of(metric.unit)}"
    assert parse(text).metric == metric


@pytest.mark.parametrize("name", [n for (t, n) in NUMBERS if t == "results"])
def test_every_number_of_results_can_be_aggregated(name):
    unit = NUMBERS["results", name]["unit"]
    for aggregate in (*AGGREGATES, "avg", "p1", "p50", "p99", "p99.9"):
        text = f"{aggregate}({name}) > {limit_of(find(name).unit)}"
        if aggregate == "sum" and unit in ("", "1", "%", "Cel", "W", "MiBy", "g{CO2e}/kW.h"):
            with pytest.raises(ConfigError, match="says nothing"):
                parse(text)
            continue
        metric = parse(text).metric
        assert metric.table == "results"
        assert metric.aggregate == {"avg": "mean"}.get(aggregate, aggregate)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("latency", "execution_time_ms"),
        ("cost", "gen_ai.usage.cost.total"),
        ("cost_usd", "gen_ai.usage.cost.total"),  # an unknown cost is not 0
        ("tokens", "gen_ai.usage.total_tokens"),
        ("prompt_tokens", "gen_ai.usage.prompt_tokens"),
        ("completion_tokens", "gen_ai.usage.completion_tokens"),
        ("ttft", "gen_ai.server.ttft"),
        ("tbt", "gen_ai.server.tbt"),
        ("steps", "steps"),
        ("tool_calls", "tool_call_count"),
        ("energy", "gpu_energy_wh"),
        ("co2", "co2_emissions_g"),
    ],
)
def test_a_column_alone_is_its_mean_per_test(name, column):
    assert (find(name).column, find(name).aggregate) == (column, "mean")
    assert find(name, "p95").column == column


def test_a_maximum_alone_is_the_maximum_of_the_run():
    """The mean of the tests' maxima would let one of them pass unseen."""
    maxima = {n for (t, n) in NUMBERS if t == "results" and n.startswith("gpu") and "_max" in n}
    assert maxima == {
        *("gpu_power_max_w", "gpu_utilization_max", "gpu_memory_max_mib"),
        "gpu_temperature_max",
    }
    assert {find(name).aggregate for name in maxima} == {"max"}
    assert find("gpu_memory_max_mib", "mean").aggregate == "mean"


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("avg_duration_ms", "mean(execution_time_ms)"),
        ("total_duration_ms", "sum(execution_time_ms)"),
        ("p50_duration_ms", "p50(execution_time_ms)"),
        ("p95_duration_ms", "p95(execution_time_ms)"),
        ("avg_steps", "mean(steps)"),
        ("avg_tokens_per_test", "mean(gen_ai.usage.total_tokens)"),
        ("total_tokens", "sum(gen_ai.usage.total_tokens)"),
        ("total_cost_usd", "sum(gen_ai.usage.cost.total)"),
        ("avg_cost_per_test_usd", "mean(gen_ai.usage.cost.total)"),
        ("total_judge_cost_usd", "sum(judge_cost_usd)"),
        ("avg_tool_calls_per_test", "mean(tool_call_count)"),
        ("p95_latency", "p95(latency)"),
        ("max_steps", "max(steps)"),
    ],
)
def test_reductions_of_the_leaderboard_are_aggregates_of_results(name, same):
    given = parse(f"{name} <= baseline").metric
    expected = parse(f"{same} <= baseline").metric
    assert (given.table, given.column, given.aggregate) == (
        *("results", expected.column),
        expected.aggregate,
    )
    assert (given.unit, given.timing, given.live_only) == (
        *(expected.unit, expected.timing),
        expected.live_only,
    )


@pytest.mark.parametrize(
    ("name", "table"),
    [
        *(("success_rate", "rate"), ("pass_at_1", "rate")),
        *(("error_rate", "rate"), ("pass_at_k", "rate"), ("pass_hat_k", "rate")),
        *(("success_rate_ci_low", "leaderboard"), ("wall_time_s", "leaderboard")),
        *(("valid", "gate"), ("coverage", "gate"), ("no_regressions", "gate")),
    ],
)
def test_tables(name, table):
    assert find(name).table == table
    assert find(name).aggregate is None


@pytest.mark.parametrize(
    ("names", "better"),
    [
        (("success_rate", "pass_at_1", "pass_hat_k", "valid", "coverage"), "higher"),
        (("latency", "cost", "tokens", "steps", "energy", "co2", "error_rate", "ttft"), "lower"),
        (("failed_tool_calls", "total_errors", "memory", "wall_time_s"), "lower"),
        (("tool_calls", "gen_ai.request.temperature", "gpu_utilization_avg", "power"), None),
        (("task_timeout_s", "gen_ai.request.max_tokens", "cache_read_input_tokens"), None),
    ],
)
def test_directions(names, better):
    assert {name: find(name).better for name in names} == dict.fromkeys(names, better)


@pytest.mark.parametrize(
    ("names", "timing", "live_only"),
    [
        (("latency", "ttft", "energy", "co2", "power", "gpu_utilization_avg"), True, True),
        (("wall_time_s", "p95_ttft_seconds", "electricity_cost_usd", "memory"), True, True),
        (("cost", "total_cost_usd", "judge_cost_usd", "cost_usd"), False, True),
        (("success_rate", "tokens", "steps", "tool_calls", "no_regressions"), False, False),
        (("recorded_cost_usd", "task_timeout_s", "valid", "coverage"), False, False),
    ],
)
def test_what_depends_on_hardware_and_on_live_calls(names, timing, live_only):
    found = {name: (find(name).timing, find(name).live_only) for name in names}
    assert found == dict.fromkeys(names, (timing, live_only))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        *(("mean", "mean"), ("avg", "mean"), ("p95", "p95"), ("p99.9", "p99.9"), ("p1", "p1")),
        *(("p05", "p5"), ("p50.0", "p50"), ("p0.1", "p0.1")),
        *(("p0", None), ("p100", None), ("p", None), ("p9x", None), ("p1.", None), ("p.5", None)),
        *(("p\u0665", None), ("P95", None), ("95", None), ("count", None), ("", None)),
        ("p99.999999999999999999", None),
    ],
)
def test_aggregates(typed, meant):
    assert canonical(typed) == meant


WATT_HOUR = si.hour  # in joules
CONVERSIONS = [
    ("latency", "1h", si.hour * 1000),
    ("latency", "1min", si.minute * 1000),
    ("ttft", "1ms", si.milli),
    ("ttft", "1us", si.micro),
    ("ttft", "1ns", si.nano),
    ("energy", "1J", 1 / WATT_HOUR),
    ("energy", "1kJ", si.kilo / WATT_HOUR),
    ("energy", "1MJ", si.mega / WATT_HOUR),
    ("energy", "1kWh", si.kilo),
    ("energy", "1mWh", si.milli),
    ("power", "1kW", si.kilo),
    ("power", "1mW", si.milli),
    ("memory", "1B", 1 / si.mebi),
    ("memory", "1kB", si.kilo / si.mebi),
    ("memory", "1MB", si.mega / si.mebi),
    ("memory", "1GB", si.giga / si.mebi),
    ("memory", "1TB", si.tera / si.mebi),
    ("memory", "1KiB", si.kibi / si.mebi),
    ("memory", "1MiB", 1.0),
    ("memory", "1GiB", si.gibi / si.mebi),
    ("memory", "1TiB", si.tebi / si.mebi),
    ("co2", "1kg", si.kilo),
    ("co2", "1mg", si.milli),
    ("co2", "1t", si.mega),
    ("tokens", "1ktok", si.kilo),
    ("tokens", "1Mtok", si.mega),
]


@pytest.mark.parametrize(("name", "typed", "expected"), CONVERSIONS)
def test_units_have_the_size_that_physics_gives_them(name, typed, expected):
    assert parse(f"{name} <= {typed}").limit.number == pytest.approx(expected, rel=1e-15)


def test_every_unit_is_tested_or_the_columns_own():
    found = [quantity(figure.metric.unit) for figure in figures().values()]
    units = {unit for one in found if one for unit in one.units}
    assert len(units) > 30
    tested = {typed[1:] for _, typed, _ in CONVERSIONS} | {one.own for one in found if one}
    assert units - tested == {"kg/kWh"}  # read in the tests of the grammar


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (86.66666, "%", "86.7 %"),
        (0.8666666, "1", "86.7 %"),
        (100.0, "%", "100.0 %"),
        (-3.3, "%", "-3.3 %"),
        (1850.0, "ms", "1.85 s"),
        (0.25, "s", "250 ms"),
        (3900.0, "s", "1 h 05 min"),
        (0.01234, "USD", "$0.0123"),
        (-0.5, "USD", "-$0.500"),
        (1234.0, "{token}", "1,234 tokens"),
        (1.0, "{call}", "1 call"),
        (2.5, "{step}", "2.50 steps"),
        (2.0, "{process}", "2 processes"),
        (0.3, "W.h", "0.300 Wh"),
        (2500.0, "W.h", "2.50 kWh"),
        (250.0, "W", "250 W"),
        (512.0, "MiBy", "512 MiB"),
        (20480.0, "MiBy", "20.0 GiB"),
        (12.0, "g{CO2e}", "12.0 g CO2e"),
        (1200.0, "g{CO2e}", "1.20 kg CO2e"),
        (75.0, "Cel", "75.0 \u00b0C"),
        (0.7, "", "0.700"),
        (3.0, "", "3"),
        (None, "ms", "-"),
        (math.nan, "%", "-"),
        (math.inf, "s", "infinite"),
        (0.0, "ms", "0 ms"),
    ],
)
def test_figures_are_written_with_their_unit(value, unit, shown):
    assert format_value(value, unit) == shown


@pytest.mark.parametrize("name", figures())
def test_figures_of_every_metric_can_be_written(name):
    for value in (None, 0.0, 1e-9, 0.5, 1.0, 12345.678, 1e12, -1.0, math.nan, -math.inf):
        text = format_value(value, find(name).unit)
        assert text
        assert "e+" not in text


def test_rates_are_listed_as_shares_over_any_cases():
    lines = list(metric_lines(100))
    start = next(n for n, line in enumerate(lines) if line.startswith("Shares of tests"))
    end = next(n for n, line in enumerate(lines) if line.startswith("Figures of each test"))
    listed = "\n".join(lines[start:end])
    for name in ("success_rate", "pass@1", "pass@k", "pass^k", "error_rate"):
        assert f"    {name} " in listed
        assert not any(line.startswith(f"    {name} ") for line in lines[end:])
        # What can be selected is no figure of whole runs.
        assert parse(f"{name} {'<=' if name == 'error_rate' else '>='} 10% for tag=x").where
    assert "ended in an error, not in a verdict on the answer" in listed
