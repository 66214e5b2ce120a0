"""Somebody sets the wall clock while a case runs."""

import pytest

SETS_THE_CLOCK = """
import time
import pytest
from opentelemetry.sdk import trace

@pytest.mark.smoltrace
@pytest.mark.parametrize("hours", [-1, 1])
def test_set(hours, monkeypatch, smoltrace_agent):
    honest = time.time_ns
    for place in (time, trace):
        monkeypatch.setattr(place, "time_ns", lambda: honest() + hours * 3600 * 10**9)
    smoltrace_agent(tools=[]).run("answer yes")
    time.sleep(0.2)
"""


def test_a_clock_that_is_set_makes_no_duration_wrong(suite):
    run = suite(source=SETS_THE_CLOCK)
    assert run.ret == 0, run.out
    results = {row["trace_id"]: row for row in run.rows("results")}
    traces = run.rows("traces")
    assert len(traces) == 2
    for trace in traces:
        length = results[trace["trace_id"]]["execution_time_ms"]
        assert length > 200
        assert length <= trace["total_duration_ms"] < length + 5_000
        phases = {span["name"]: span["duration_ms"] for span in trace["spans"]}
        assert phases["call"] == pytest.approx(length, abs=5)
