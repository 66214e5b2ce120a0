"""Points, ticks and metrics.json of a run without GPU."""

import dataclasses
import json
import random
from itertools import pairwise

import numpy as np
import pytest

from pytest_smoltrace.build import build
from pytest_smoltrace.rows.metrics import DURATION_BOUNDS
from pytest_smoltrace.rows.points import histogram
from pytest_smoltrace.schema import INSTRUMENTS
from tests.unit.run_factory import (
    START,
    FakeRun,
    agent_run,
    call,
    cost,
    phases,
    record,
    root_spans,
)

CASES = [
    record(1, calls=(call(ttft_s=0.3, stream_s=1.0, completion_tokens=11), call(model="m-2")),
           host="h1", worker_id="gw0", cpu_s=1.5, rss_mib=100.0, spans=root_spans(0.0, 4.0)),
    record(2, outcome="failed", calls=(call(error_type="llm_timeout", prompt_tokens=None,
                                            completion_tokens=None, cost=None),),
           host="h1", worker_id="gw1", cpu_s=0.5, rss_mib=50.0, spans=root_spans(1.0, 3.0)),
    record(3, calls=(call(role="judge", cost=cost(9.0, 9.0)),), runs=(agent_run(steps=3),),
           host="h2", worker_id="gw2", cpu_s=None, rss_mib=None, spans=root_spans(1.0, 2.0)),
]  # fmt: skip


@pytest.fixture(scope="module")
def built():
    made = build(FakeRun(CASES), batch=2)
    rows = {}
    for name, batch in made.batches():
        rows.setdefault(name, []).extend(batch.to_pylist())
    return made, rows


def points(built, metric, test_id=None):
    rows = built[1]["metrics/points"]
    return [row for row in rows if row["metric_name"] == metric and row["test_id"] == test_id]


def test_type_unit_and_scope_come_from_the_list_of_metrics(built):
    kinds = {instrument.name: instrument for instrument in INSTRUMENTS}
    for row in built[1]["metrics/points"]:
        kind = kinds[row["metric_name"]]
        assert (row["metric_type"], row["unit"]) == (kind.type, kind.unit)
        assert row["scope_name"] == "pytest_smoltrace"
        assert row["temporality"] == (None if kind.type == "gauge" else "cumulative")
        assert (row["start_time_unix_nano"] is None) == (kind.type == "gauge")
        assert (row["value"] is None) == (kind.type == "histogram")
        assert (row["count"] is None) == (kind.type != "histogram")
        assert (row["trace_id"] is None) == (row["test_id"] is None)


def test_run_points_equal_the_leaderboard(built):
    (row,) = built[1]["leaderboard"]
    for metric, column in {
        "tests.successful": "successful_tests",
        "llm.token_count.total": "total_tokens",
        "gen_ai.usage.cost.total": "total_cost_usd",
        "gen_ai.usage.cost.prompt": "total_cost_prompt_usd",
        "gen_ai.usage.cost.completion": "total_cost_completion_usd",
    }.items():
        (point,) = points(built, metric)
        assert point["value"] == pytest.approx(row[column]), metric
        assert (point["start_time_unix_nano"], point["time_unix_nano"]) == (
            START, START + 4_000_000_000
        )  # fmt: skip
    assert points(built, "gen_ai.usage.cost.reasoning") == [], "no point where nothing is known"
    assert points(built, "gen_ai.co2.emissions") == []


def test_points_of_a_test_equal_its_result_row(built):
    row = built[1]["results"][0]
    (tokens,) = points(built, "llm.token_count.total", "case-1")
    assert tokens["value"] == row["gen_ai.usage.total_tokens"] == 231
    assert tokens["trace_id"] == row["trace_id"]
    assert str(tokens["start_time_unix_nano"]) == row["start_time_unix_nano"]
    assert str(tokens["time_unix_nano"]) == row["end_time_unix_nano"]
    (spent,) = points(built, "gen_ai.usage.cost.total", "case-1")
    assert spent["value"] == pytest.approx(0.024)
    assert points(built, "llm.token_count.total", "case-2") == [], "unknown has no point"


def used(rows):
    return {(row["token_type"], row["model"]): row["value"] for row in rows}


def test_tokens_are_split_by_kind_and_model(built):
    expected = {("prompt", "m-1"): 100, ("completion", "m-1"): 11, ("prompt", "m-2"): 100,
                ("completion", "m-2"): 20}  # fmt: skip
    assert used(points(built, "gen_ai.client.token.usage")) == expected
    assert used(points(built, "gen_ai.client.token.usage", "case-1")) == expected
    (point, *_) = points(built, "gen_ai.client.token.usage")
    assert json.loads(point["attributes"]) == {
        "gen_ai.request.model": point["model"],
        "provider": "litellm",
        "token_type": point["token_type"],
    }


def test_requests_and_errors_are_those_of_the_agent(built):
    requests = {row["model"]: row["value"] for row in points(built, "gen_ai.requests")}
    assert requests == {"m-1": 2, "m-2": 1}
    (error,) = points(built, "gen_ai.client.errors")
    assert (error["value"], error["error_type"], error["operation"]) == (1, "llm_timeout", "chat")


def test_histograms(built):
    durations = {row["model"]: row for row in points(built, "gen_ai.client.operation.duration")}
    assert durations["m-1"]["count"] == 2
    assert durations["m-1"]["sum"] == pytest.approx(0.8)
    assert durations["m-1"]["bucket_bounds"] == list(DURATION_BOUNDS)
    (ttft,) = points(built, "gen_ai.server.ttft")
    assert (ttft["count"], ttft["min"], ttft["max"], ttft["avg"]) == (1, 0.3, 0.3, 0.3)
    assert ttft["bucket_counts"][9] == 1, "above 0.25, up to 0.5"
    (tbt,) = points(built, "gen_ai.server.tbt")
    assert tbt["sum"] == pytest.approx(0.1)
    (steps,) = points(built, "tests.steps")
    assert (steps["count"], steps["sum"]) == (3, 7)


def test_bucket_bounds_are_inclusive_above():
    found = histogram([0.01, 0.02, 0.020001, 99.0], (0.01, 0.02, 0.04))
    assert found.bucket_counts == [1, 1, 1, 1]
    assert sum(found.bucket_counts) == found.count
    assert len(DURATION_BOUNDS) == 14
    assert DURATION_BOUNDS[-1] == 81.92
    empty = histogram([], (1,))
    assert (empty.count, empty.sum, empty.avg, empty.min) == (0, 0.0, None, None)


def test_each_host_has_a_tick_a_second_and_one_at_the_end_of_the_run(built):
    ticks = built[1]["metrics"]
    assert [(row["host"], row["timestamp"][-9:]) for row in ticks] == [
        (host, f"{second}.000000") for host in ("h1", "h2") for second in (21, 22, 23, 24)
    ]
    one, two = ticks[3], ticks[7]
    assert one["timestamp"] == "2025-10-09T08:53:24.000000"
    assert one["timestamp_unix_nano"] == str(START + 4_000_000_000)
    assert (one["gpu_count"], one["gpu_id"], one["gpu_power_watts"]) == (0, None, None)
    # Both cases of the host ran from 0 to 2.537 s and used 2 s of CPU together.
    used = [100 * 2 / 2.537, 100 * 2 / 2.537, 100 * 2 / 2.537 * 0.537, 0.0]
    assert [row["process_cpu_percent"] for row in ticks[:4]] == pytest.approx(used)
    assert [row["process_rss_mib"] for row in ticks[:4]] == [None, None, 150.0, 150.0]
    assert [row["active_tests"] for row in ticks] == [2, 2, 0, 0, 1, 1, 0, 0]
    assert [row["process_cpu_percent"] for row in ticks[4:7]] == [None, None, None]
    assert two["process_rss_mib"] is None
    found = [row for row in points(built, "process.cpu.utilization") if row["host"] == "h1"]
    assert [row["value"] for row in found] == pytest.approx(used)
    assert {row["point_kind"] for row in found} == {"timeseries"}


def test_metrics_json_keeps_the_nesting_of_the_seed(built):
    (run,) = built[0].metrics_json
    assert sorted(run) == ["aggregates", "resourceMetrics", "run_id"]
    assert (run["run_id"], run["resourceMetrics"]) == ("session-1", [])
    named = {entry["name"]: entry for entry in run["aggregates"]}
    assert named["tests.successful"] == {
        "name": "tests.successful", "type": "counter", "unit": "tests",
        "data_points": [{"value": 2, "attributes": {}}],
    }  # fmt: skip
    assert named["gen_ai.client.operation.duration"]["unit"] == "seconds"
    value = named["tests.steps"]["data_points"][0]["value"]
    assert (value["sum"], value["count"], value["avg"]) == (7, 3, pytest.approx(7 / 3))
    assert value["buckets"]["bounds"] == [0, 1, 2, 3, 5, 10, 20, 50]
    assert "process.cpu.utilization" not in named


def test_summary(built):
    summary = built[0].summary
    assert [line["nodeid"] for line in summary["cases"]] == [
        f"test_a.py::test[case-{n}]" for n in (1, 2, 3)
    ]
    assert summary["cases_left_out"] == 0
    assert summary["dearest"][0]["case_id"] == "case-1"
    assert summary["runs"][0]["started_at"] == "2025-10-09T08:53:20.123456+00:00"
    assert summary["runs"][0]["error_types"] == {}
    json.dumps(summary)


def test_summary_and_metrics_json_wait_for_the_batches():
    made = build(FakeRun(CASES))
    assert (made.summary, made.metrics_json) == ({}, [])


@dataclasses.dataclass
class TwoSessions(FakeRun):
    """A run whose first two attempts are those of an earlier or another session."""

    def part_of(self, place):
        return int(place > 1)


def sampled(number, worker, mib, start_s, end_s):
    """Return a case that uses 1 s of CPU from its start to 2.537 s after it."""
    facts = {"host": "h1", "worker_id": worker, "cpu_s": 1.0, "rss_mib": mib}
    spans = root_spans(start_s, end_s)
    return record(number, spans=spans, phases=phases(start_s=start_s), **facts)


def ticks_of(run):
    return [
        row
        for name, batch in build(run).batches()
        if name == "metrics"
        for row in batch.to_pylist()
    ]


def seconds(rows):
    return [(int(row["timestamp_unix_nano"]) - START) / 1e9 for row in rows]


@pytest.mark.parametrize(
    ("start_s", "times", "mib"),
    [
        (100.0, [1, 2, 3, 4, 101, 102, 103], [None, None, 100, 150, None, None, 70]),
        (3.0, [1, 2, 3, 4, 5, 6], [None, None, 100, 150, None, 70]),
    ],
    ids=["resumed after a gap", "merged, at one time"],
)
def test_ticks_know_the_sessions_of_a_run(start_s, times, mib):
    cases = [
        sampled(1, "gw0", 100.0, 0.0, 4.0),
        sampled(2, "gw1", 50.0, 1.0, 4.0),
        sampled(3, "gw0", 70.0, start_s, start_s + 3.0),
    ]
    ticks = ticks_of(TwoSessions(cases))
    assert seconds(ticks) == times, "no tick in the hours between two sessions"
    assert [row["process_rss_mib"] for row in ticks] == mib, "of processes that live"
    used = sum(
        row["process_cpu_percent"] / 100 * (now - before)
        for row, (before, now) in zip(ticks, pairwise([0, *times]), strict=True)
        if now - before < 2
    )
    # The first second after the gap, from the second session's start, is the fifth tick.
    used += ticks[4]["process_cpu_percent"] / 100 if start_s > 3 else 0
    assert used == pytest.approx(3.0), "all the CPU time of the cases"


def test_a_short_run_has_one_tick():
    case = sampled(1, "gw0", 100.0, 0.2, 0.4)
    (tick,) = ticks_of(FakeRun([dataclasses.replace(case, phases=phases(start_s=0.2, call_s=0.1))]))
    assert seconds([tick]) == [0.4]
    assert tick["process_cpu_percent"] == pytest.approx(100 * 1.0 / 0.2)


def test_a_run_without_a_known_host_has_one_tick():
    (tick,) = ticks_of(FakeRun([record(1, outcome="crashed", cpu_s=None, phases=(), pid=0)]))
    assert seconds([tick]) == [3.0]
    assert (tick["host"], tick["process_cpu_percent"], tick["active_tests"]) == (None, None, 0)


def test_memory_of_a_worker_that_died_is_not_counted():
    cases = [
        sampled(1, "gw0", 1000.0, 0.0, 3.0),
        record(2, outcome="crashed", worker_id="gw0", cpu_s=None, phases=(), pid=0,
               spans=root_spans(4.0, 9.0)),
        sampled(3, "gw1", 10.0, 5.0, 9.0),
    ]  # fmt: skip
    found = [row["process_rss_mib"] for row in ticks_of(FakeRun(cases))]
    assert found == [None, None, 1000.0, 1000.0, None, None, None, 10.0, 10.0]


def test_a_step_of_the_wall_clock_folds_no_series():
    """The wall clock goes back by an hour between two cases."""

    def stepped(number, start_s, step_s):
        step = int(step_s * 1e9)
        made = tuple(
            dataclasses.replace(phase, start_unix_ns=phase.start_unix_ns + step)
            for phase in phases(start_s=start_s)
        )
        spans = root_spans(start_s + step_s, start_s + step_s + 3.0)
        return dataclasses.replace(
            sampled(number, "gw0", 10.0, start_s, 0.0), phases=made, spans=spans, clock="boot-1"
        )

    ticks = ticks_of(FakeRun([stepped(1, 0.0, 0.0), stepped(2, 5.0, -3600.0)]))
    assert seconds(ticks) == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("step_s", [10**6])
def test_a_wall_clock_that_is_set_while_a_case_runs(step_s):
    """Eleven days are not eleven days of ticks."""
    case = sampled(1, "gw0", 10.0, 0.0, 3.0 + step_s)
    times = seconds(ticks_of(FakeRun([case])))
    assert times[-1] == 62.537
    assert len(times) < 70


def random_case(rng, number, worker, start_s):
    """Return a case with a tick about each second, and when it ends."""
    length = rng.uniform(0.05, 6.0)
    made = phases(start_s=start_s, call_s=length)
    mono, end = made[0].start_mono_ns, made[-1].end_mono_ns
    cuts, at, used = [], mono, 0.0
    while (at := at + round(rng.uniform(0.9, 1.1) * 1e9)) < end:
        used += rng.uniform(0.0, 2.0)
        cuts.append((at, used, rng.uniform(1.0, 500.0)))
    end_s = start_s + (end - mono) / 1e9
    case = record(
        number, host="h1", clock="boot-1", worker_id=worker, phases=made, ticks=tuple(cuts),
        cpu_s=used + rng.uniform(0.0, 2.0), rss_mib=rng.uniform(1.0, 500.0),
        spans=root_spans(start_s, end_s),
    )  # fmt: skip
    return case, end_s + rng.uniform(0.0, 1.5)


def curve_s(case, times):
    """Return the CPU time of a case until some times, by numpy: the witness."""
    knots = [(case.phases[0].start_mono_ns, 0.0, None), *case.ticks,
             (case.phases[-1].end_mono_ns, case.cpu_s, None)]  # fmt: skip
    wall = [case.phases[0].start_unix_ns + at - knots[0][0] - START for at, _, _ in knots]
    return np.interp(np.array(times), np.array(wall) / 1e9, [used for _, used, _ in knots])


@pytest.mark.parametrize("seed", range(5))
def test_ticks_of_parallel_processes_add_up(seed):
    rng = random.Random(seed)
    cases, at = [], [0.0, 0.1, 2.0]
    for number in range(1, 25):
        worker = number % 3
        case, at[worker] = random_case(rng, number, f"gw{worker}", at[worker])
        cases.append(case)
    cases.sort(key=lambda case: case.phases[-1].end_mono_ns)
    ticks = ticks_of(FakeRun(cases))
    times = [0.0, *seconds(ticks)]
    used = sum(curve_s(case, times) for case in cases)
    expected = 100 * np.diff(used) / np.diff(times)
    assert [row["process_cpu_percent"] for row in ticks] == pytest.approx(list(expected), rel=1e-6)
    for row, now in zip(ticks, times[1:], strict=True):
        last = {}
        for case in cases:
            shift = case.phases[0].start_unix_ns - case.phases[0].start_mono_ns - START
            seen = [*((at, mib) for at, _, mib in case.ticks),
                    (case.phases[-1].end_mono_ns, case.rss_mib)]  # fmt: skip
            known = [mib for at, mib in seen if at + shift <= round(now * 1e9)]
            if known:
                last[case.worker_id] = known[-1]
        expected = sum(last.values()) if last else None
        assert row["process_rss_mib"] == (expected and pytest.approx(expected))
    assert len(ticks) > 20
