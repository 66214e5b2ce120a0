"""Stored sessions in memory, made of a row for each attempt."""

import pyarrow as pa

from pytest_smoltrace.measured.session import MeasuredRun, MeasuredSession

TYPES = {
    "run_id": pa.string(),
    "case_id": pa.string(),
    "nodeid": pa.string(),
    "trial": pa.int64(),
    "attempt": pa.int64(),
    "counted": pa.bool_(),
    "scored": pa.bool_(),
    "outcome": pa.string(),
    "success": pa.bool_(),
    "error_type": pa.string(),
    "error": pa.string(),
    "difficulty": pa.string(),
    "tags": pa.list_(pa.string()),
    "replay_mode": pa.string(),
    "execution_time_ms": pa.float64(),
    "gen_ai.usage.cost.total": pa.float64(),
    "gen_ai.usage.total_tokens": pa.int64(),
    "gpu_energy_wh": pa.float64(),
    "tool_call_count": pa.int64(),
    "trace_id": pa.string(),
}


def attempt(case, success=True, trial=0, **facts):
    """Return one counted row; `scored=False` with an error_type is one outside every rate."""
    known = {
        "case_id": case,
        "nodeid": f"evals/test_a.py::test[{case}]",
        "trial": trial,
        "attempt": 0,
        "counted": True,
        "scored": True,
        "outcome": "passed" if success else "failed",
        "success": success,
        "error_type": None if success else "wrong_answer",
        "tags": [],
        "replay_mode": "live",
    }
    return {**dict.fromkeys(TYPES), **known, **facts}


def cases(passed, of, trials=1, **facts):
    """Return `of` cases of which the first `passed` pass in every trial."""
    return [
        attempt(f"case-{number:03}", number < passed, trial, **facts)
        for number in range(of)
        for trial in range(trials)
    ]


def run(rows, *, model="m-1", agent_type="tool", run_id="run-1", row=None, total=None):
    def table(those):
        those = [{**one, "run_id": run_id} for one in those]
        columns = {name: [one[name] for one in those] for name in TYPES}
        return pa.table({n: pa.array(v, TYPES[n]) for n, v in columns.items()})

    return MeasuredRun(
        run_id=run_id,
        model=model,
        agent_type=agent_type,
        row=row or {},
        attempts=table(rows),
        total_attempts=None if total is None else table(total),
    )


def session(*runs, session_id="session-1", **facts):
    return MeasuredSession(session_id=session_id, place=f"runs/{session_id}", runs=runs, **facts)


def stored(rows, session_id="session-1", **facts):
    """Return a session of one run."""
    return session(run(rows, **facts), session_id=session_id)
