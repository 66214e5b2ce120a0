"""Cases that changed between two sessions."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from pytest_smoltrace.comparing import flips as module
from pytest_smoltrace.comparing.flips import flips
from pytest_smoltrace.comparing.lines import flip_lines
from pytest_smoltrace.measured.session import MeasuredRun, MeasuredSession
from tests.unit.span_factory import Trace
from tests.unit.test_steps import answered, looked, stored

COLUMNS = {
    "case_id": pa.string(),
    "nodeid": pa.string(),
    "trial": pa.int64(),
    "scored": pa.bool_(),
    "success": pa.bool_(),
    "trace_id": pa.string(),
    "error_type": pa.string(),
    "error": pa.string(),
    "gen_ai.usage.total_tokens": pa.int64(),
    "gen_ai.usage.cost.total": pa.float64(),
    "execution_time_ms": pa.float64(),
}


def row(case, success, trial=0, **changes):
    return {
        "case_id": case,
        "nodeid": f"test_a.py::{case}",
        "trial": trial,
        "scored": True,
        "success": success,
        "trace_id": f"{case}-{trial}",
        "error_type": None if success else "wrong_answer",
        "error": None if success else "wrong",
        "gen_ai.usage.total_tokens": 100,
        "gen_ai.usage.cost.total": 0.5,
        "execution_time_ms": 1000.0,
        **changes,
    }


def run(rows, model="m", agent_type="tool"):
    table = pa.Table.from_pylist(rows, pa.schema(list(COLUMNS.items())))
    return MeasuredRun(
        run_id=f"run-{model}-{agent_type}",
        model=model,
        agent_type=agent_type,
        row={},
        attempts=table,
    )


def session(*runs, directory=None):
    return MeasuredSession(session_id="s", place="p", runs=runs, directory=directory)


def passes(case, *successes):
    return [row(case, success, trial) for trial, success in enumerate(successes)]


def changes(now, before):
    """Return the flips of the runs of two sessions, paired in their order."""
    return flips(zip(now.runs, before.runs, strict=True), now, before)


def found(before, now):
    return {flip.case_id: flip.kind for flip in changes(session(run(now)), session(run(before)))}


T, F = True, False


@pytest.mark.parametrize(
    ("before", "now", "kind"),
    [
        ([T], [F], "newly failing"),
        ([F], [T], "newly passing"),
        ([T], [T], None),
        ([F], [F], None),
        ([T, T, T], [F, F, T], "newly failing"),
        ([T, T, T], [F, T, T], "worse"),
        ([F, F, T], [F, F, F], "worse"),
        ([T, T, F], [T, T, T], "better"),
        ([F, F, F], [F, F, T], "better"),
        ([F, F, F], [F, T, T], "newly passing"),
        ([T, T], [T, F], "newly failing"),  # half is no majority
        ([T, F], [T, T], "newly passing"),
        ([T, F], [F, F], "worse"),
        ([T, F], [F, T], None),  # the same rate
        ([T, T, F], [T, T, F, T, T, F], None),
        ([T], [T, T, T, F], "worse"),
    ],
)
def test_how_a_case_changed(before, now, kind):
    assert found(passes("a", *before), passes("a", *now)) == ({"a": kind} if kind else {})


def test_only_cases_that_both_scored():
    before = [*passes("gone", T), *passes("a", T), *passes("unscored", T)]
    now = [*passes("new", F), *passes("a", F), row("unscored", F, scored=False)]
    assert found(before, now) == {"a": "newly failing"}


def test_an_unscored_trial_is_no_failure():
    now = [row("a", T), row("a", F, 1, scored=False)]
    assert found(passes("a", T, T), now) == {}


def test_the_worst_first():
    before = [*passes("up", F), *passes("slightly", T, T, T), *passes("z", T), *passes("b", T)]
    before += passes("better", F, F, F)
    now = [*passes("up", T), *passes("slightly", T, T, F), *passes("z", F), *passes("b", F)]
    now += passes("better", F, F, T)
    order = [flip.case_id for flip in changes(session(run(now)), session(run(before)))]
    assert order == ["b", "z", "slightly", "better", "up"]
    steeper = [*passes("a", T, T, T, T, F), *passes("b", T, T, T, F, F)]
    whole = [*passes("a", T, T, T, T, T), *passes("b", T, T, T, T, T)]
    falls = changes(session(run(steeper)), session(run(whole)))
    assert [(flip.case_id, flip.kind) for flip in falls] == [("b", "worse"), ("a", "worse")]
    backwards = changes(session(run(now[::-1])), session(run(before[::-1])))
    assert [flip.case_id for flip in backwards] == order


@pytest.mark.parametrize(
    ("before", "now", "trials"),
    [
        ([T, T, T], [T, F, T], (1, 1)),
        ([F, T, T], [F, F, F], (1, 1)),
        ([T, F, F], [F, F, F], (0, 0)),
        ([F, F, T], [F, F, F], (2, 2)),
        ([T, F, T], [T, F, F], (2, 2)),
        ([T, F, F, T], [T, F, F, F], (3, 3)),
        ([F, T, F], [T, F, T, T], (0, 0)),  # better: a passing one now, a failing one before
    ],
)
def test_the_attempts_that_show_it(before, now, trials):
    (flip,) = changes(session(run(passes("a", *now))), session(run(passes("a", *before))))
    assert (flip.baseline.trial, flip.candidate.trial) == trials
    assert flip.baseline.trace_id == f"a-{trials[0]}"
    worse = flip.rate_delta < 0
    assert before[trials[0]] is worse
    assert now[trials[1]] is not worse


def test_the_node_id_is_that_of_the_trial_that_is_shown():
    def trials(*successes):
        return [
            row("a", success, n, nodeid=f"test_a.py::test[a-t{n}]")
            for n, success in enumerate(successes)
        ]

    (flip,) = changes(session(run(trials(T, F, F))), session(run(trials(T, T, T))))
    assert (flip.case_id, flip.nodeid, flip.candidate.trial) == ("a", "test_a.py::test[a-t1]", 1)


def test_a_flip_tells_what_it_takes_more_or_less():
    before = passes("a", T)
    less = {"gen_ai.usage.cost.total": 0.25, "execution_time_ms": 1000.0}
    now = [row("a", F, **{"gen_ai.usage.total_tokens": 1420}, **less)]
    (flip,) = changes(session(run(now)), session(run(before)))
    assert next(flip_lines([flip.as_dict()])) == (
        "newly failing  a  1/1 -> 0/1  (+1,320 tokens, -$0.250)"
    )


def test_means_over_the_trials():
    unpriced = {"gen_ai.usage.cost.total": None}
    before = [row("a", T), row("a", T, 1, **{"gen_ai.usage.total_tokens": 200}, **unpriced)]
    now = [row("a", F, execution_time_ms=400.0, **unpriced), row("a", F, 1, **unpriced)]
    (flip,) = changes(session(run(now)), session(run(before)))
    value = flip.as_dict()
    assert value["tokens_delta"] == 100 - 150
    assert value["cost_usd_delta"] is None
    assert value["duration_ms_delta"] == 700 - 1000
    assert value["rate_delta"] == -1.0


def test_columns_that_are_not_stored():
    table = run(passes("a", T)).attempts.select(["case_id", "trial", "scored", "success"])
    bare = session(replace(run([]), attempts=table))
    (flip,) = changes(session(run(passes("a", F))), bare)
    value = flip.as_dict()
    assert (value["tokens_delta"], value["baseline_trace_id"]) == (None, None)
    assert value["nodeid"] == "test_a.py::a"


def wrong(city, answer="x"):
    trace = Trace()
    agent = trace.agent(answer=answer)
    looked(trace, agent, city)
    answered(trace, agent, answer)
    return trace


@pytest.fixture
def folders(tmp_path):
    for name in ("now", "before"):
        (tmp_path / name).mkdir()
    return tmp_path / "now", tmp_path / "before"


def pair(folders, now, before, cases="a"):
    stored(folders[0], now)
    stored(folders[1], before)
    ours = run([one for case in cases for one in passes(case, F)])
    theirs = run([one for case in cases for one in passes(case, T)])
    return changes(session(ours, directory=folders[0]), session(theirs, directory=folders[1]))


def test_where_the_traces_part(folders):
    (flip,) = pair(folders, {"a-0": wrong("Rome")}, {"a-0": wrong("Paris")})
    assert flip.reason is None
    assert flip.divergence.text == 'step 1: called look with city="Rome" instead of city="Paris"'
    value = json.loads(json.dumps(flip.as_dict()))
    assert value["divergence"]["keys"] == ["city"]
    assert value["baseline"]["passed"] == 1
    assert list(flip_lines([value])) == [
        "newly failing  a  1/1 -> 0/1",
        '               step 1: called look with city="Rome" instead of city="Paris"',
    ]


def test_the_same_steps(folders):
    (flip,) = pair(folders, {"a-0": wrong("Rome")}, {"a-0": wrong("Rome")})
    assert (flip.divergence, flip.reason) == (None, "both did the same, step by step")


@pytest.mark.parametrize(
    ("now", "before", "reason"),
    [
        ({"b": wrong("x")}, {"a-0": wrong("x")}, "the trace of the candidate is not stored"),
        ({"a-0": wrong("x")}, {"b": wrong("x")}, "the trace of the baseline is not stored"),
        ({"a-0": wrong("x")}, {"a-0": Trace()}, "the trace of the baseline has no steps"),
    ],
)
def test_why_there_is_no_divergence(folders, now, before, reason):
    (flip,) = pair(folders, now, before)
    assert (flip.divergence, flip.reason) == (None, reason)
    assert flip.as_dict()["divergence"] is None
    assert list(flip_lines([flip.as_dict()]))[1].strip() == reason


def test_a_baseline_without_traces(folders):
    stored(folders[0], {"a-0": wrong("x")})
    now = session(run(passes("a", F)), directory=folders[0])
    (flip,) = changes(now, session(run(passes("a", T))))
    assert (flip.divergence, flip.reason) == (None, "the baseline has no traces")


def test_only_the_worst_are_explained(folders, monkeypatch):
    monkeypatch.setattr(module, "EXPLAINED", 2)
    read = []
    real = module.stored_steps
    monkeypatch.setattr(module, "stored_steps", lambda d, ids: read.append(ids) or real(d, ids))
    traces = {f"{case}-0": wrong(case) for case in "abc"}
    changed = pair(folders, traces, {name: wrong("Paris") for name in traces}, cases="abc")
    assert read == [{"a-0", "b-0"}, {"a-0", "b-0"}]
    assert [flip.divergence is not None for flip in changed] == [True, True, False]
    assert changed[2].reason == "only the first 2 are compared step by step"


def test_more_than_is_shown_is_counted():
    before = [one for case in "abcd" for one in passes(case, T)]
    now = [one for case in "abcd" for one in passes(case, F)]
    dicts = [flip.as_dict() for flip in changes(session(run(now)), session(run(before)))]
    assert list(flip_lines(dicts, shown=1))[-1].strip() == "3 more, all with -v"
    assert len(list(flip_lines(dicts, shown=None))) == 8


def test_runs_are_named_where_there_are_several():
    before = session(run(passes("a", T)), run(passes("a", T), agent_type="code"))
    now = session(run(passes("a", F)), run(passes("a", F), agent_type="code"))
    told = list(flip_lines([flip.as_dict() for flip in changes(now, before)]))
    assert told[0].startswith("newly failing  a [m, code agent]  1/1 -> 0/1")
    assert told[2].startswith("newly failing  a [m, tool agent]  1/1 -> 0/1")
