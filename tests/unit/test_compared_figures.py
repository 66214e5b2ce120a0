"""Figures of two runs for `compare`: of the same attempts as those of the gates."""

from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from pytest_smoltrace.baselines.reference import Found
from pytest_smoltrace.comparing.figures import compared_figure, compared_rate, overlap
from pytest_smoltrace.gates.evaluate import evaluate
from tests.unit.measured_factory import attempt, cases, run, session
from tests.unit.test_gate_evaluate import policy

ASKED = {"alpha": 0.05, "power": 0.8}
TOKENS = "gen_ai.usage.total_tokens"


def timed(*times_ms, ended=True, **facts):
    """Return a run of a case for each time, the last of them without an end."""
    rows = [attempt(f"c{n}", execution_time_ms=ms, **facts) for n, ms in enumerate(times_ms)]
    made = run(rows)
    ends = [datetime(2026, 11, 1, tzinfo=UTC)] * len(rows)
    if not ended:
        ends[-1] = None
    column = pa.array(ends, pa.timestamp("us", "UTC"))
    return replace(made, attempts=made.attempts.append_column("end_time", column))


def test_a_duration_without_an_end_is_unknown():
    before, now = timed(100.0, 200.0, 300.0), timed(110.0, 220.0, 0.0, ended=False)
    found = compared_figure(now, before, "latency", **ASKED)
    assert (found.cases, found.baseline_value) == (2, pytest.approx(150))
    assert found.estimate == pytest.approx(1.1)
    gate = policy("latency <= baseline*1.2")
    base = Found(reference="b", session=session(before, session_id="b"))
    assert evaluate(gate, session(now), base).results[0].comparison.cases == 2


def test_replayed_times_are_not_compared_and_tokens_are():
    facts = {"replay_mode": "replayed", TOKENS: 100}
    sides = timed(100.0, 200.0, **facts), timed(110.0, 220.0, **facts)
    assert compared_figure(*sides, "latency", **ASKED) is None
    assert compared_figure(*sides, "tokens", **ASKED).estimate == 1


def test_rates_are_over_the_cases_that_both_scored():
    before = run([*cases(6, 6), attempt("old")])
    now = run([*cases(3, 6), attempt("case-000", trial=1, scored=False), attempt("new")])
    shared = overlap(now, before)
    assert (shared.both, shared.baseline, shared.candidate) == (6, 7, 7)
    found = compared_rate(now, before, margin=0.05, **ASKED)
    assert (found.cases, found.candidate_trials, found.estimate) == (6, 6, -0.5)
