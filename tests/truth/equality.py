"""Whether two runs of one suite say the same: every column but those that may differ.

A column that the schema gains is compared from the start. What is excused stands below with its
reason, and also then a value has to be known in both runs or in none. Ids are not compared as they
are but as what they name: the attempt, the configuration, the place in the tree of spans.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from pytest_smoltrace import schema

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

Row = dict[str, Any]
Key = tuple[Any, ...]
Flat = dict[tuple[str, Key], Row]
"""(table, key of the row) -> its columns."""

TIME = "when it was, or how long it took"
PLACE = "where it ran: worker, process, host"
RANDOM = "an id that is drawn or carries one"
RESOURCE = "a measurement of the machine"
REQUEST = "how the session was asked to run, not what it ran"

EXCUSED: Mapping[str, Mapping[str, str]] = {
    "results": {
        "evaluation_date": TIME,
        "start_time": TIME,
        "end_time": TIME,
        "start_time_unix_nano": TIME,
        "end_time_unix_nano": TIME,
        "execution_time_ms": TIME,
        "setup_duration_ms": TIME,
        "teardown_duration_ms": TIME,
        "llm_duration_ms": TIME,
        "tool_duration_ms": TIME,
        "gen_ai.server.ttft": TIME,
        "gen_ai.server.tbt": TIME,
        "worker_id": PLACE,
        "host": PLACE,
    },
    "traces": {
        "timestamp": TIME,
        "total_duration_ms": TIME,
        "gen_ai.server.ttft": TIME,
        "avg_tbt": TIME,
    },
    "traces.spans": {
        "start_time": TIME,
        "end_time": TIME,
        "startTimeUnixNano": TIME,
        "endTimeUnixNano": TIME,
        "duration_ms": TIME,
    },
    "traces.spans.status": {},
    "traces.spans.resource": {"worker_id": PLACE, "process.pid": PLACE},
    "traces.spans.events": {"timestamp": TIME},
    "traces.spans.attributes": {"gen_ai.server.ttft": TIME, "gen_ai.server.tbt": TIME},
    "metrics": {"start_time_unix_nano": TIME, "time_unix_nano": TIME, "host": PLACE},
    "leaderboard": {
        "timestamp": TIME,
        "evaluation_date": TIME,
        "started_at": TIME,
        "ended_at": TIME,
        "wall_time_s": TIME,
        "avg_duration_ms": TIME,
        "total_duration_ms": TIME,
        "p50_duration_ms": TIME,
        "p95_duration_ms": TIME,
        "avg_ttft_seconds": TIME,
        "p50_ttft_seconds": TIME,
        "p95_ttft_seconds": TIME,
        "p99_ttft_seconds": TIME,
        "avg_tbt_seconds": TIME,
        "results_dataset": RANDOM,
        "traces_dataset": RANDOM,
        "metrics_repo": RANDOM,
        "workers": PLACE,
    },
}
"""Table of the schema -> column -> why it may differ. GPU columns are added by their names."""

MEASURED = ("gpu_energy", "gpu_power", "gpu_utilization", "gpu_memory", "gpu_temperature",
            "gpu_coverage", "gpu_sample", "gpu_missed", "gpu_events", "co2_emissions_g",
            "electricity_cost_usd", "power_cost_total_usd", "total_gpu_energy_wh")  # fmt: skip
NOT_MEASURED = ("gpu_energy_source", "gpu_memory_total_mib")

TREE = ("span_id", "parent_span_id")
"""Columns of a span that are compared as its place below the root."""

EXCUSED_KEYS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("results", "enhanced_trace_info"): {
        "trace_id": RANDOM,
        "root_span_id": RANDOM,
        "duration_ms": TIME,
    },
    ("traces.spans", "attributes_json"): {
        "gen_ai.server.ttft": TIME,
        "gen_ai.server.time_to_first_token": TIME,
        "gen_ai.server.time_per_output_token": TIME,
        "smoltrace.stream_duration": TIME,
    },
    ("leaderboard", "config"): {
        "dir": REQUEST,
        "run_id": REQUEST,
        "resume": REQUEST,
        "shard": REQUEST,
        "shard_durations": REQUEST,
        "hosts": REQUEST,
        "fsync": REQUEST,
    },
}
"""(table, JSON column) -> key of its object -> why it may differ."""

DURATIONS = ("gen_ai.client.operation.duration", "gen_ai.server.ttft", "gen_ai.server.tbt")
OBSERVED = ("value", "sum", "avg", "min", "max", "bucket_counts")
"""Columns of a point of DURATIONS that hold times."""

ALL_ATTEMPTS: Mapping[str, str] = dict.fromkeys(
    (
        *("executed_attempts", "total_tokens", "tokens_unknown_attempts", "total_prompt_tokens"),
        *("total_completion_tokens", "total_reasoning_tokens", "total_cache_read_tokens"),
        *("total_cache_write_tokens", "total_cost_usd", "cost_unknown_attempts"),
        *("total_cost_prompt_usd", "total_cost_completion_usd", "total_cost_reasoning_usd"),
        *("total_cost_cache_read_usd", "total_cost_cache_write_usd", "llm_call_count"),
        *("streamed_call_count", "total_tool_calls", "failed_tool_calls"),
    ),
    "adds up all attempts: what was spent in one that was cut off was spent",
)
"""Columns of the leaderboard that a run with attempts that were cut off has more in."""

_TEXTS = (
    # The time of a step, in the text of a step of smolagents.
    (re.compile(r"Timing\(start_time=[^)]*\)"), "Timing()"),
    # Where the code lies on the host that ran it, in the lines of a stack trace.
    (re.compile(r'(File \\*")[^"\\]*/'), r"\1"),
)
"""What differs within the texts of spans, and what stands for it."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The rows of a run as they were read."""

    results: list[Row]
    traces: list[Row]
    points: list[Row]
    leaderboard: list[Row]


def read(directory: Path) -> Tables:
    """Read the datasets of a run directory."""
    folders = ("results", "traces", "metrics/points", "leaderboard")
    results, traces, points, leaderboard = (_rows(directory / name) for name in folders)
    return Tables(results=results, traces=traces, points=points, leaderboard=leaderboard)


def _rows(folder: Path) -> list[Row]:
    files = sorted(folder.glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def compare(run_a: Path, run_b: Path, *, counted: bool = False) -> list[str]:
    """Return a line for each difference of the datasets in two run directories.

    With `counted` only the counted attempts are compared, whatever their number, and what the
    leaderboard says of them.
    """
    return differences(read(run_a), read(run_b), counted=counted)


def differences(a: Tables, b: Tables, *, counted: bool = False) -> list[str]:
    """Return a line for each difference of two runs."""
    return list(_differences(*(flatten(_counted(one) if counted else one) for one in (a, b))))


def case_differences(a: Tables, b: Tables, nodeids: Collection[str]) -> list[str]:
    """Return a line for each difference of results and traces of the counted attempts of cases."""
    flat = [flatten(_of_cases(_counted(one), nodeids)) for one in (a, b)]
    about = [
        {place: row for place, row in one.items() if place[0].startswith(("results", "traces"))}
        for one in flat
    ]
    return list(_differences(*about))


def _of_cases(tables: Tables, nodeids: Collection[str]) -> Tables:
    results = [row for row in tables.results if row["nodeid"] in nodeids]
    ids = {row["trace_id"] for row in results}
    traces = [row for row in tables.traces if row["trace_id"] in ids]
    return replace(tables, results=results, traces=traces)


def _counted(tables: Tables) -> Tables:
    """Keep the counted attempts, each as if it were the first, and no sum over all attempts."""
    kept = {row["trace_id"] for row in tables.results if row["counted"]}
    left_out = set(ALL_ATTEMPTS)
    return replace(
        tables,
        results=[row | {"attempt": 0} for row in tables.results if row["trace_id"] in kept],
        traces=[row for row in tables.traces if row["trace_id"] in kept],
        points=[row for row in tables.points if row["trace_id"] in kept],
        leaderboard=[
            {name: value for name, value in row.items() if name not in left_out}
            for row in tables.leaderboard
        ],
    )


@cache
def excused(table: str) -> dict[str, str]:
    """Return the columns of a table that may differ, with the reason."""
    columns = [
        column.name for one in schema.ALL_TABLES if one.name == table for column in one.columns
    ]
    measured = {
        name: RESOURCE for name in columns if name.startswith(MEASURED) and name not in NOT_MEASURED
    }
    return {**EXCUSED[table], **measured}


def _differences(a: Flat, b: Flat) -> Iterator[str]:
    for table, key in sorted(a.keys() ^ b.keys(), key=str):
        yield f"{table} {_named(key)}: only in the {'first' if (table, key) in a else 'second'} run"
    for table, key in a:
        if (table, key) in b:
            for name, one, other in _unlike(a[table, key], b[table, key]):
                yield f"{table} {_named(key)}: {name}: {_shown(one)} != {_shown(other)}"


def _unlike(a: Row, b: Row) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys((*a, *b)):
        one, other = a.get(name, "no such column"), b.get(name, "no such column")
        if one != other or type(one) is not type(other):
            yield name, one, other


def _named(key: Key) -> str:
    return "/".join(map(str, key))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}..."


def flatten(tables: Tables) -> Flat:
    """Return the rows by what they are about, ids replaced by what they name."""
    names = _Names(tables)
    flat: Flat = {}
    for table, key, row in (*_of_runs(tables, names), *_of_attempts(tables, names)):
        while (table, key) in flat:
            key = (*key, "again")  # noqa: PLW2901 - two rows of one name are a difference
        flat[table, key] = {name: _value(table, name, row[name], names) for name in row}
    return flat


class _Names:
    """What the ids of a run name."""

    def __init__(self, tables: Tables) -> None:
        self.run = {row["run_id"]: (row["model"], row["agent_type"]) for row in tables.leaderboard}
        self.case = {row["trace_id"]: _case(row) for row in tables.results}
        self.root = {
            span["span_id"]: "the root span"
            for row in tables.traces
            for span in row["spans"]
            if span["parent_span_id"] is None
        }
        session = {row["session_id"]: "the session" for row in tables.leaderboard}
        self.columns: Mapping[str, Mapping[str, Any]] = {
            "run_id": self.run,
            "session_id": session if len(session) == 1 else {},
            "trace_id": self.case,
            "span_id": self.root,
            "root_span_id": self.root,
        }


def _case(row: Row) -> Key:
    return (row["case_id"], row["model"], row["agent_type"], row["trial"], row["attempt"])


def _of_runs(tables: Tables, names: _Names) -> Iterator[tuple[str, Key, Row]]:
    for row in tables.leaderboard:
        yield "leaderboard", names.run[row["run_id"]], row
    for row in tables.points:
        if row["point_kind"] == "timeseries":
            continue  # one a tick of the clock, of the machine
        about = names.case.get(row["trace_id"], ("the run",))
        run = names.run.get(row["run_id"], ("no run",))
        key = (*run, *about, row["metric_name"], row["attributes"])
        seen = OBSERVED if row["metric_name"] in DURATIONS else ()
        yield "metrics", key, row | {name: _known(row[name]) for name in seen}


def _of_attempts(tables: Tables, names: _Names) -> Iterator[tuple[str, Key, Row]]:
    for row in tables.results:
        yield "results", names.case[row["trace_id"]], row
    for row in tables.traces:
        case = names.case.get(row["trace_id"], ("no result", row["test_id"]))
        yield "traces", case, row | {"spans": len(row["spans"])}
        for path, span in _tree(row["spans"]):
            yield from _of_span((*case, " > ".join(path)), span)


def _tree(spans: Sequence[Row]) -> Iterator[tuple[Key, Row]]:
    """Yield the spans from the root down, each with its place; siblings in order of start."""
    below: dict[str | None, list[Row]] = {}
    for span in sorted(spans, key=lambda span: (span["start_time"] or 0, span["name"])):
        below.setdefault(span["parent_span_id"], []).append(span)
    left: list[tuple[Key, Row]] = [((span["name"],), span) for span in below.get(None, ())]
    while left:
        path, span = left.pop()
        yield path, span
        children = enumerate(below.get(span["span_id"], ()))
        left += [((*path, f"{place} {child['name']}"), child) for place, child in children]


def _of_span(key: Key, span: Row) -> Iterator[tuple[str, Key, Row]]:
    structs = ("status", "resource", "attributes")
    yield (
        "traces.spans",
        key,
        {name: value for name, value in span.items() if name not in (*structs, *TREE, "events")},
    )
    for name in structs:
        yield f"traces.spans.{name}", key, span[name]
    for place, event in enumerate(span["events"]):
        yield "traces.spans.events", (*key, place), event


def _value(table: str, name: str, value: Any, names: _Names) -> Any:
    """Return what of a value is compared."""
    if name in excused(table):
        return _known(value)
    if name in names.columns and value is not None:
        return names.columns[name].get(value, f"names nothing: {value}")
    if isinstance(value, str) and table.startswith("traces.spans"):
        for pattern, stands_for in _TEXTS:
            value = pattern.sub(stands_for, value)
    keys = EXCUSED_KEYS.get((table, name))
    if keys and value is not None:
        found = json.loads(value)
        for key in keys.keys() & found:
            found[key] = "as asked" if keys[key] is REQUEST else _known(found[key])
        return found
    return value


def _known(value: Any) -> str:
    return "unknown" if value is None else "known"
