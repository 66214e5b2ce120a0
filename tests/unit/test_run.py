"""A stored run: what its journal says, whatever the end of the session was."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pytest_smoltrace.codec import Plan
from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.facts import CaseRecord, Declared, ErrorFact, PhaseFact, SpanTable
from pytest_smoltrace.head import Head
from pytest_smoltrace.journal import JournalWriter, encode_case, run_directory
from pytest_smoltrace.run import load_run
from pytest_smoltrace.session_facts import Footer, Header
from pytest_smoltrace.stored_runs import find_run, list_runs
from tests.unit.run_factory import agent_run, head, rich_record

T0 = 1_790_000_000_000_000_000
ENDED = Footer(ended_unix_ns=T0 + 99, stop_reason="completed", exit_status=0)
STOPPED = Footer(ended_unix_ns=T0 + 99, stop_reason="interrupted", exit_status=2)


def header(session_id="s1", started=T0):
    return Header(
        session_id=session_id,
        started_unix_ns=started,
        plugin_version="1.0",
        config={},
        environment={},
    )


def spans(name="case"):
    return SpanTable(
        span_id=["a" * 16],
        parent_id=[None],
        name=[name],
        kind=["INTERNAL"],
        start_unix_ns=[T0],
        end_unix_ns=[T0 + 1],
        status=["OK"],
        description=[None],
        scope=["pytest_smoltrace"],
        attributes=[{"n": 1}],
        events={},
        links={},
        orphans=[],
        roles={},
        strings=[],
    )


def declared(name, trial=0):
    return Declared(case_id=name, nodeid=f"t.py::{name}", trial=trial, prompt=f"do {name}")


def record(name, *, trial=0, **changes):
    made = CaseRecord(
        declared=declared(name, trial),
        attempt=0,
        trace_id=name.rjust(32, "0"),
        root_span_id="a" * 16,
        outcome="passed",
        error=None,
        phases=(
            PhaseFact(
                when="setup",
                start_unix_ns=T0 + 5,
                start_mono_ns=1000,
                end_mono_ns=1010,
                outcome="passed",
            ),
            PhaseFact(
                when="call",
                start_unix_ns=T0 + 20,
                start_mono_ns=1020,
                end_mono_ns=1050,
                outcome="passed",
            ),
        ),
        pid=1,
        spans=spans(name),
    )
    return dataclasses.replace(made, **changes)


def crash_record(name):
    """What a controller writes for a worker that died."""
    return record(
        name,
        outcome="crashed",
        error=ErrorFact(type="worker_crash", category="harness", message="gw0 died"),
        phases=(),
        tool_calls=None,
        spans=None,
    )


class Session:
    """A journal being written."""

    def __init__(self, root, session_id="s1", started=T0):
        self.directory = run_directory(root, session_id)
        self.writer = JournalWriter(self.directory / "journal.jsonl")
        self.writer.create(header(session_id, started))

    def plan(self, *names):
        self.writer.plan(Plan(tuple(declared(name) for name in names)))
        return self

    def open(self, name, at=7, worker="gw0"):
        self.writer.open_case(f"t.py::{name}", worker, T0 + at)
        return self

    def done(self, each):
        self.writer.append(encode_case(each))
        return self

    def end(self, footer=ENDED):
        self.writer.close(footer)
        return load_run(self.directory)


def test_a_finished_run_reads_back(tmp_path):
    session = Session(tmp_path).plan("a", "b")
    run = session.open("a").done(record("a")).open("b").done(record("b")).end()
    assert run.header == header()
    assert run.planned == (declared("a"), declared("b"))
    assert run.footer == ENDED
    assert run.warnings == ()
    assert list(run.records()) == [record("a"), record("b")]
    assert [head._replace(unplanned=None) for head in run.heads()] == [
        Head("t.py::a", "a", 0, 0, None, None, "passed", None, None),
        Head("t.py::b", "b", 0, 0, None, None, "passed", None, None),
    ]


def test_passes_can_be_repeated_and_interleaved(tmp_path):
    run = Session(tmp_path).done(record("a")).done(record("b")).end()
    both = list(zip(run.heads(), run.records(), strict=True))
    assert both == list(zip(run.heads(), run.records(), strict=True))
    assert [head.case_id for head, _ in both] == ["a", "b"]


def test_attempts_are_numbered_by_trial(tmp_path):
    session = Session(tmp_path).done(record("a")).done(record("b")).done(record("a"))
    run = session.done(record("a", trial=1)).done(record("a")).end()
    numbers = [("a", 0, 0), ("b", 0, 0), ("a", 0, 1), ("a", 1, 0), ("a", 0, 2)]
    assert [(r.case_id, r.trial, r.attempt) for r in run.heads()] == numbers
    found = [(r.declared.case_id, r.declared.trial, r.attempt) for r in run.records()]
    assert found == numbers


def test_only_a_case_that_was_open_becomes_a_crash(tmp_path):
    session = Session(tmp_path).plan("a", "b", "c").open("a").done(record("a"))
    run = session.open("b", at=30, worker="gw1").end(None)
    assert run.footer is None
    assert "the session was killed before it ended; 1 running case(s)" in run.warnings[0]
    done, crashed = run.records()
    assert done == record("a")
    assert crashed.declared == declared("b")
    assert (crashed.outcome, crashed.worker_id, crashed.attempt) == ("crashed", "gw1", 0)
    assert crashed.error.type == "worker_crash"
    assert crashed.error.category == "harness"
    assert crashed.tool_calls is None
    assert not crashed.complete
    assert len(crashed.trace_id) == 32
    assert len(crashed.root_span_id) == 16
    assert crashed.spans.span_id == [crashed.root_span_id]
    assert crashed.spans.start_unix_ns == [T0 + 30]
    assert crashed.spans.end_unix_ns == [T0 + 50]  # end of the call phase of a
    assert [r.outcome for r in run.heads()] == ["passed", "crashed"]
    again = list(load_run(session.directory).records())
    assert again == [done, crashed]


def test_a_rerun_that_was_cut_short_is_a_further_attempt(tmp_path):
    run = Session(tmp_path).open("a").done(record("a")).open("a", at=60).end(None)
    assert [(r.outcome, r.attempt) for r in run.records()] == [("passed", 0), ("crashed", 1)]


def test_an_item_that_is_no_case_is_not_recorded(tmp_path):
    run = Session(tmp_path).plan("a").open("ordinary_test").open("a").end(None)
    assert [r.declared.case_id for r in run.records()] == ["a"]


def test_without_a_plan_the_node_id_names_the_case(tmp_path):
    run = Session(tmp_path).open("a").end(None)
    assert [r.declared.case_id for r in run.records()] == ["t.py::a"]


def test_cases_in_flight_at_an_interruption_are_interrupted(tmp_path):
    run = Session(tmp_path).open("a").open("b").done(record("b")).end(STOPPED)
    found = [(r.declared.nodeid, r.outcome) for r in run.records()]
    assert found == [("t.py::b", "passed"), ("t.py::a", "interrupted")]
    assert run.warnings == ()


def test_a_completed_session_leaves_no_case_in_flight(tmp_path):
    run = Session(tmp_path).open("a").end()
    assert list(run.records()) == []


def test_a_crash_that_the_controller_recorded_gets_its_root_span(tmp_path):
    session = Session(tmp_path).open("a", at=8).open("b", at=9).done(crash_record("a"))
    run = session.done(record("b")).end()
    crashed, _ = run.records()
    assert crashed.outcome == "crashed"
    assert crashed.spans.span_id == ["a" * 16]
    assert crashed.spans.start_unix_ns == [T0 + 8]
    assert crashed.spans.end_unix_ns == [T0 + 99]
    assert crashed.spans.status == ["ERROR"]
    assert crashed.spans.description == ["gw0 died"]


def test_a_case_without_tracing_gets_the_span_of_its_phases(tmp_path):
    run = Session(tmp_path).open("a").done(record("a", spans=None)).end()
    (found,) = run.records()
    assert found.spans.start_unix_ns == [T0 + 5]
    assert found.spans.end_unix_ns == [T0 + 50]
    assert found.spans.status == ["OK"]


def test_a_torn_tail_is_said_and_its_case_is_a_crash(tmp_path):
    session = Session(tmp_path).plan("a", "b").open("a").done(record("a")).open("b")
    session.writer.close(None)
    path = session.writer.path
    whole = path.stat().st_size
    tail = encode_case(record("b")).encode()
    for cut in (1, 40, len(tail) - 300, tail.index(b"\n") + 1, len(tail) - 1):
        with path.open("r+b") as stream:
            stream.truncate(whole)
            stream.seek(whole)
            stream.write(tail[:cut])
        run = load_run(session.directory)
        assert f"was cut off ({cut} bytes left)" in run.warnings[0]
        assert "t.py::b" in run.warnings[0]
        assert [r.outcome for r in run.records()] == ["passed", "crashed"]


def test_a_failed_write_in_the_middle_costs_that_case_alone(tmp_path):
    session = Session(tmp_path).open("a").done(record("a"))
    part = encode_case(record("b")).encode()
    for cut in (10, part.index(b"\n") + 1, part.index(b"}"), part.index(b"}") + 1):
        with session.writer.path.open("ab") as stream:
            stream.write(part[:cut] + b"\0\n")
    run = session.done(record("c")).end()
    assert [r.declared.case_id for r in run.records()] == ["a", "c"]
    losses = [warning.partition(": ")[2].partition(" (")[0] for warning in run.warnings]
    assert losses == ["a line was cut off", *["the record of b was cut off"] * 3]


def test_a_run_that_grows_is_read_up_to_where_it_was_loaded(tmp_path):
    session = Session(tmp_path).done(record("a"))
    run = load_run(session.directory)
    session.done(record("b"))
    assert len(list(run.heads())) == len(list(run.records())) == 1
    assert len(list(load_run(session.directory).records())) == 2


def test_a_damaged_line_is_an_error_and_never_a_missing_case(tmp_path):
    session = Session(tmp_path).done(record("a"))
    session.end()
    path = session.writer.path
    path.write_bytes(path.read_bytes().replace(b'"strings":[]', b'"strings":[,'))
    run = load_run(session.directory)
    with pytest.raises(JournalError, match="spans line is torn"):
        list(run.records())


def test_a_directory_without_a_journal_is_an_error(tmp_path):
    with pytest.raises(JournalError, match="cannot read"):
        load_run(tmp_path)


def test_cases_are_streamed_in_bounded_memory(tmp_path):
    """Reading 2000 cases keeps no more alive than reading 200."""
    import tracemalloc

    peaks = []
    for count in (200, 2000):
        session = Session(tmp_path / str(count))
        for number in range(count):
            session.done(record(f"c{number}", extra={"text": f"{number} " * 2000}))
        run = session.end()
        tracemalloc.start()
        assert sum(1 for _ in run.records()) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000


def three_runs(root):
    Session(root, "alpha-1", started=T0 + 2).end()
    Session(root, "alpha-2", started=T0 + 1).end()
    Session(root, "beta", started=T0 + 3).end()
    (root / "runs" / "not-a-run").mkdir()
    return root / "runs"


def test_runs_are_listed_newest_first_and_torn_ones_last(tmp_path):
    runs = three_runs(tmp_path)
    torn = runs / "torn"
    torn.mkdir()
    (torn / "journal.jsonl").write_bytes(b'{"k":"hea')
    assert [p.name for p in list_runs(tmp_path)] == ["beta", "alpha-1", "alpha-2", "torn"]
    assert list_runs(tmp_path / "elsewhere") == ()


def test_a_run_is_found_by_directory_id_prefix_and_last(tmp_path):
    runs = three_runs(tmp_path)
    assert find_run(str(runs / "alpha-1"), tmp_path / "elsewhere") == runs / "alpha-1"
    assert find_run(runs / "alpha-1", tmp_path) == runs / "alpha-1"
    assert find_run("alpha-2", tmp_path) == runs / "alpha-2"
    assert find_run("b", tmp_path) == runs / "beta"
    assert find_run("last", tmp_path) == runs / "beta"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alpha", r"run 'alpha' is ambiguous in .*: alpha-1, alpha-2"),
        ("bete", r"no run 'bete' in .*, did you mean 'beta'\?"),
        ("zzz", r"no run 'zzz' in .*runs$"),
        ("", r"no run '' in "),
    ],
)
def test_a_run_that_is_not_there_is_one_clear_line(tmp_path, name, message):
    three_runs(tmp_path)
    with pytest.raises(ConfigError, match=message) as caught:
        find_run(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_no_run_at_all_is_said(tmp_path):
    with pytest.raises(ConfigError, match="no run is stored in"):
        find_run("last", tmp_path)


def test_the_journal_is_the_only_input(tmp_path):
    """A copied journal is a whole run: nothing else in the directory is read."""
    session = Session(tmp_path).done(record("a"))
    run = session.end()
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "journal.jsonl").write_bytes((session.directory / "journal.jsonl").read_bytes())
    assert list(load_run(copy).records()) == list(run.records())
    assert json.loads((copy / "journal.jsonl").read_text().splitlines()[0])["session_id"] == "s1"


@pytest.mark.parametrize("footer", [ENDED, None], ids=["completed", "killed"])
def test_names_that_look_like_journal_fields_are_kept_apart(tmp_path, footer):
    """Lines are matched by their encoded node id; a text must not be mistaken for it."""
    tricky = 't.py::x["nodeid":"t.py::b","phases":[]]\\" \u2028\ud800'
    session = Session(tmp_path).open("b", at=3)
    session.writer.open_case(tricky, "gw0", T0 + 4)
    odd = Declared(case_id='"nodeid":"t.py::b"', nodeid=tricky, prompt='"phases":[]')
    crash = dataclasses.replace(crash_record("a"), declared=odd)
    run = session.done(record("b")).done(crash).end(footer)
    assert [r.outcome for r in run.records()] == ["passed", "crashed"]
    assert [r.spans.start_unix_ns for r in run.records()] == [[T0], [T0 + 4]]
    assert run.unfinished == ()


def test_a_head_says_of_an_attempt_what_its_record_says(tmp_path):
    """The first pass reads heads, the second one records: both must find the same agent."""
    rich = rich_record()
    bare = dataclasses.replace(rich, runs=(), outcome="passed", error=None)
    nameless = agent_run(model=None, agent_type="code")
    silent = dataclasses.replace(rich, runs=(agent_run(managed=True), nameless))
    cases = [rich, bare, silent, crash_record("a")]
    session = Session(tmp_path)
    for each in cases:
        session.done(each)
    run = session.end()
    expected = [head(each) for each in run.records()]
    assert list(run.heads()) == expected
    assert expected[2].model == "declared-model"


def test_a_plan_in_several_lines_is_one_plan(tmp_path, monkeypatch):
    monkeypatch.setattr("pytest_smoltrace.journal.PLAN_CASES", 2)
    session = Session(tmp_path).plan("a", "b", "c", "d", "e")
    run = session.open("d").done(record("d")).end()
    assert session.writer.path.read_bytes().count(b'{"k":"plan"') == 3
    assert run.planned == tuple(map(declared, "abcde"))
    assert [head.unplanned for head in run.heads()] == [None]
