"""The same 200 cases in one process, on workers, in shards and on hosts give the same datasets."""

from __future__ import annotations

import copy
import datetime as dt
import math
import os
import sys
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace import schema
from tests.e2e.sshd import missing, sshd
from tests.truth import equality
from tests.truth import equality_suite as es

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_smoltrace.schema.columns import Column

SLOW = pytest.mark.slow
SHARDS = 4


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with es.server() as server:
        yield server.url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return es.write(tmp_path_factory.mktemp("equality"))


@pytest.fixture(scope="module")
def single(folder, url):
    """The run in one process, which every other one is compared with."""
    return es.run(folder, url)


def check(single, other, *, workers):
    assert other.exit_code == single.exit_code == pytest.ExitCode.TESTS_FAILED
    assert equality.compare(single.directory, other.directory) == []
    assert workers_of(other.directory) == workers


def workers_of(directory):
    return {row["worker_id"] for row in equality.read(directory).results}


def gateways(count):
    return {f"gw{n}" for n in range(count)}


def test_the_suite_is_what_it_says(single):
    """Written down by hand from the suite, not taken from the package."""
    rows = equality.read(single.directory).results
    assert len(rows) == es.ATTEMPTS, single.output
    assert len([row for row in rows if row["counted"]]) == es.CASES
    both = len(es.MODELS)
    once = (
        *("context_length", "llm_timeout", "llm_rate_limit", "llm_server_error", "llm_connection"),
        *("tool_error", "max_steps", "tool_not_found", "parse_error", "code_error"),
        *("setup_error", "teardown_error", "test_error"),
    )
    assert Counter(row["error_type"] for row in rows if row["counted"]) == {
        None: both * (2 * 24 + 2 * 5 + 8 + 2),  # sums, pairs, tasks; skipped, xpassed
        "wrong_answer": both * (2 * 6 + 2),
        "assertion": both * 3,
        "llm_bad_request": both * 2,
        **dict.fromkeys(once, both),
    }
    assert {(row["model"], row["agent_type"]) for row in rows} == {
        (model, kind) for model in es.MODELS for kind in ("tool", "code")
    }


def test_two_workers(single, folder, url):
    check(single, es.run(folder, url, "-n", "2"), workers=gateways(2))


@SLOW
def test_eight_workers_that_steal_work(single, folder, url):
    other = es.run(folder, url, "-n", "8", "--dist=worksteal")
    check(single, other, workers=gateways(8))


@SLOW
def test_four_shards(single, folder, url, tmp_path):
    parts = [
        es.run(folder, url, f"--smoltrace-shard={index}/{SHARDS}", *(("-n", "2") * (index == 2)))
        for index in range(1, SHARDS + 1)
    ]
    sizes = [len(equality.read(part.directory).results) for part in parts]
    assert sum(sizes) == es.ATTEMPTS
    assert max(sizes) < 2 * min(sizes)
    es.merge([part.directory for part in reversed(parts)], tmp_path / "merged")
    assert equality.compare(single.directory, tmp_path / "merged") == []


@SLOW
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_two_hosts_by_ssh(single, folder, url, tmp_path):
    """The second one has the suite in a folder of its own."""
    there = es.write(tmp_path / "there")
    with sshd(tmp_path / "sshd") as config:
        hosts = tmp_path / "hosts.toml"
        hosts.write_text(
            f'[[host]]\nssh = "box-1"\nssh_config = "{config}"\n'
            f'[[host]]\nssh = "box-2"\nssh_config = "{config}"\nchdir = "{there}"\n'
        )
        check(single, es.run(folder, url, f"--smoltrace-hosts={hosts}"), workers=gateways(2))


@SLOW
@pytest.mark.skipif(os.name == "nt", reason="the launcher is a shell script")
def test_a_launcher(single, folder, url, tmp_path):
    """It stands for `srun --ntasks=1 python`."""
    launcher = tmp_path / "launch"
    launcher.write_text('#!/bin/sh\nshift\nLAUNCHED=yes exec "$@"\n')
    launcher.chmod(0o755)
    hosts = tmp_path / "hosts.toml"
    command = f"{launcher} --ntasks=1 {sys.executable}"
    hosts.write_text(f'[[host]]\nlaunch = "{command}"\nworkers = 2\n')
    check(single, es.run(folder, url, f"--smoltrace-hosts={hosts}"), workers=gateways(2))


# The comparison itself.


@pytest.fixture(scope="module")
def few(single):
    """A few attempts of the run: with tools, with an error event, with a second attempt."""
    whole = equality.read(single.directory)
    (board,) = [r for r in whole.leaderboard if (r["model"], r["agent_type"]) == ("first", "tool")]
    wanted = ("test_sum[1]", "test_refused[broken]", "test_rerun")
    of_run = {
        name: [row for row in getattr(whole, name) if row["run_id"] == board["run_id"]]
        for name in ("results", "traces", "points")
    }
    results = [row for row in of_run["results"] if row["case_id"].endswith(wanted)]
    ids = {row["trace_id"] for row in results}
    return equality.Tables(
        results=results,
        traces=[row for row in of_run["traces"] if row["trace_id"] in ids],
        points=[row for row in of_run["points"] if row["trace_id"] in {*ids, None}],
        leaderboard=[board],
    )


def tables_of(tables):
    """Yield (name in the schema, rows) of all that is compared, nested ones too."""
    spans = [span for row in tables.traces for span in row["spans"]]
    yield "results", tables.results
    yield "traces", tables.traces
    yield "traces.spans", spans
    for name in ("status", "resource", "attributes"):
        yield f"traces.spans.{name}", [span[name] for span in spans]
    yield "traces.spans.events", [event for span in spans for event in span["events"]]
    yield "metrics", [row for row in tables.points if row["point_kind"] == "aggregate"]
    yield "leaderboard", tables.leaderboard


NESTED = {("traces", "spans"), *(("traces.spans", name) for name in ("status", "resource"))}
NESTED |= {("traces.spans", name) for name in ("attributes", "events")}
COLUMNS = [
    column
    for table in schema.ALL_TABLES
    if table.name in equality.EXCUSED
    for column in table.columns
    if (table.name, column.name) not in NESTED
]


def another(column: Column, value: Any) -> Any:
    """Return a value that differs as little as it can."""
    if value is None:
        empty = {"int64": 0, "float64": 0.0, "bool": False, "json": "{}", "string": ""}
        return [] if column.type.startswith("list") else empty.get(column.type, {})
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return math.nextafter(value, math.inf)
    if isinstance(value, str):
        return (
            value[:-1] + ', "x": 1}' if column.type == "json" and value[0] == "{" else f"{value} "
        )
    if isinstance(value, (list, dict)):
        return [*value, None] if isinstance(value, list) else value | {"x": 1}
    return value + (1 if isinstance(value, int) else dt.timedelta(microseconds=1))


def changed(tables, column, change):
    """Return the tables with one value changed, a known one where there is one."""
    other = copy.deepcopy(tables)
    rows = dict(tables_of(other))[column.table]
    known = [row for row in rows if row[column.name] is not None]
    row = (known or rows)[0]
    row[column.name] = change(row[column.name])
    return other, bool(known)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: f"{column.table}.{column.name}")
def test_a_change_in_any_column_is_found(few, column):
    other, was_known = changed(few, column, lambda value: another(column, value))
    found = equality.differences(few, other)
    if column.name not in equality.excused(column.table):
        assert found
    elif was_known:
        assert found == []
        other, _ = changed(few, column, lambda _: None)
        assert equality.differences(few, other)


@pytest.mark.parametrize("name", ["results", "traces", "points", "leaderboard"])
def test_a_row_too_few_or_too_many_is_found(few, name):
    rows = [row for row in getattr(few, name) if row.get("point_kind") != "timeseries"]
    for other in (rows[1:], [*rows, rows[-1]]):
        assert equality.differences(few, replace(few, **{name: other}))
        assert equality.differences(replace(few, **{name: other}), few)


def leaf(span, spans):
    return all(other["parent_span_id"] != span["span_id"] for other in spans)


@pytest.mark.parametrize("what", ["one less", "one more", "moved", "swapped"])
def test_another_tree_of_spans_is_found(few, what):
    other = copy.deepcopy(few)
    spans = other.traces[0]["spans"]
    root = other.traces[0]["root_span_id"]
    last = next(s for s in spans if leaf(s, spans) and s["parent_span_id"] != root)
    if what == "one less":
        spans.remove(last)
    elif what == "one more":
        spans.append(last | {"span_id": "f" * 16})
    elif what == "moved":
        last["parent_span_id"] = root
    else:
        first, second = (span for span in spans if span["name"].startswith("Step "))
        first["start_time"], second["start_time"] = second["start_time"], first["start_time"]
    assert equality.differences(few, other)


def test_what_a_new_column_holds_is_compared(few):
    for table, rows in tables_of(few):
        one, other = copy.deepcopy(few), copy.deepcopy(few)
        for tables, value in ((one, 1), (other, 2)):
            dict(tables_of(tables))[table][0]["new"] = value
        assert rows
        assert equality.differences(one, other)
        assert equality.differences(few, one)


def test_what_is_excused_is_in_the_schema_and_a_time_is_one():
    known = {(column.table, column.name): column for column in COLUMNS}
    texts = {("leaderboard", "timestamp"), ("leaderboard", "evaluation_date")}
    for table, columns in equality.EXCUSED.items():
        for name, reason in columns.items():
            column = known[table, name]
            is_time = column.unit in ("ns", "ms", "s") or column.type.startswith("timestamp")
            assert (reason == equality.TIME) == (is_time or (table, name) in texts), name
    gpu = {name for table in equality.EXCUSED for name in equality.excused(table)}
    assert {name for name in gpu if "gpu" in name} >= {"gpu_energy_wh", "gpu_power_max_w"}
    assert not gpu & {"gpu_uuids", "gpu_count", "gpu_energy_source", "gpu_attribution"}


def test_only_what_counts_can_be_compared(few):
    """An attempt that was cut off before the counted one changes no rate and nothing of the row."""
    cut = few.results[0] | {"trace_id": "0" * 32, "counted": False, "outcome": "crashed"}
    traces = [*few.traces, few.traces[0] | {"trace_id": "0" * 32}]
    later = [row | {"attempt": row["attempt"] + (row is few.results[0])} for row in few.results]
    board = few.leaderboard[0] | {"total_tokens": 1_000_000}
    other = replace(few, results=[*later, cut], traces=traces, leaderboard=[board])
    assert equality.differences(few, other)
    assert equality.differences(few, other, counted=True) == []
    board = few.leaderboard[0] | {"success_rate": 1.0}
    other = replace(other, leaderboard=[board])
    assert equality.differences(few, other, counted=True)
