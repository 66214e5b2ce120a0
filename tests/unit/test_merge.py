"""Runs of shards become one run: each case once, as its journal holds it, or a clear refusal."""

import json
import sys
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_smoltrace import cli
from pytest_smoltrace.codec import Plan
from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.journal import JournalWriter, encode_case
from pytest_smoltrace.merge import merge
from pytest_smoltrace.run import load_run
from pytest_smoltrace.session_facts import Footer, Part
from pytest_smoltrace.sharding import case_key, divide, division_checksum
from tests.unit import run_factory as factory
from tests.unit.run_factory import START

CASES = 14
COUNT = 4
SUITE = tuple(factory.declared(f"c{n}", prompt=f"do {n}") for n in range(CASES))
NAMES = [case.nodeid for case in SUITE]


def shard_of(durations=None, count=COUNT):
    """Return node id -> 0-based shard, and the checksum."""
    found = divide(map(case_key, SUITE), count, durations)
    return {case.nodeid: found[case_key(case)] for case in SUITE}, division_checksum(found, count)


def attempt(case, number=0, **facts):
    index = NAMES.index(case.nodeid) + 1 if case.nodeid in NAMES else 99
    start_s = 10.0 * index + number
    known = {
        "declared": case,
        "phases": factory.phases(start_s=start_s),
        "spans": factory.root_spans(start_s=start_s, end_s=start_s + 3),
        "trace_id": f"{index:030x}{number:02x}",
    }
    return factory.record(index, **(known | facts))


def write(
    directory, *, shard=None, suite=SUITE, own=None, division=None, durations=None, count=COUNT,
    config=None, footer=True, opened=(), records=None, tail=b"", plan=True, **header,
):  # fmt: skip
    """Write the journal of shard 0 to COUNT - 1, or of the whole suite."""
    places, checksum = shard_of(durations, count)
    whole = shard is None
    if own is None:
        own = [case for case in suite if whole or places.get(case.nodeid, 0) == shard]
    left = frozenset(i for i, case in enumerate(suite) if case not in own)
    part = None if whole else {"index": shard + 1, "count": count}
    given = {"workers": 2, "session_id": f"s{0 if whole else shard + 1}"} | header
    options = factory.HEADER.config | ({} if whole else {"shard": f"{shard + 1}/{count}"})
    writer = JournalWriter(directory / "journal.jsonl")
    writer.create(replace(factory.HEADER, config=options | (config or {}), shard=part, **given))
    if plan:
        writer.plan(Plan(tuple(suite), left, None if whole else division or checksum))
    for record in records if records is not None else map(attempt, own):
        writer.open_case(record.declared.nodeid, "gw0", START + 7)
        writer.append(encode_case(record))
    for case, unix_ns in opened:
        writer.open_case(case.nodeid, "gw1", unix_ns)
    end = factory.FOOTER if footer is True else footer
    writer.close(replace(end, ended_unix_ns=START + (shard or 0) * 10**9) if end else None)
    if tail:
        with (directory / "journal.jsonl").open("ab") as stream:
            stream.write(tail)
    return directory


@pytest.fixture
def shards(tmp_path):
    """Return the run directories of four shards."""
    return [write(tmp_path / f"shard-{n + 1}", shard=n) for n in range(COUNT)]


def lines(directory, *kinds):
    data = (directory / "journal.jsonl").read_bytes().splitlines()
    found = [(json.loads(line)["k"], line) for line in data]
    return [line for kind, line in found if kind in kinds]


def refused(tmp_path, directories, *words):
    """Assert that nothing is written and one line says why; return the line."""
    out = tmp_path / "refused"
    with pytest.raises(ConfigError) as caught:
        merge(directories, out)
    assert not out.exists()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, message
    return message


def test_every_case_once_as_its_journal_holds_it(shards, tmp_path):
    merged = merge(shards, tmp_path / "out")
    assert merged.directory == tmp_path / "out"
    assert merged.account == "4 shards, 14 of 14 cases"
    assert merged.warnings == ()
    given = [line for shard in shards for line in lines(shard, "spans", "case")]
    assert lines(tmp_path / "out", "spans", "case") == given
    assert len(given) == 2 * CASES
    run = load_run(tmp_path / "out")
    assert run.warnings == ()
    assert run.suite == run.planned == SUITE
    assert Counter(head.nodeid for head in run.ended) == Counter(NAMES)
    assert not any(head.unplanned for head in run.ended)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["journal.jsonl"]


def test_the_order_in_which_runs_are_given_does_not_matter(shards, tmp_path):
    merge(shards, tmp_path / "one", "id")
    merge(shards[::-1], tmp_path / "two", "id")
    one, two = ((tmp_path / name / "journal.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two


def test_the_header_is_that_of_one_session(tmp_path):
    started = [START + n * 10**9 for n in (5, 2, 9, 4)]
    shards = [
        write(tmp_path / str(n), shard=n, started_unix_ns=started[n], workers=n + 1,
              bindings={"gw0": [f"GPU-{n}"]})
        for n in range(COUNT)
    ]  # fmt: skip
    merge(shards, tmp_path / "out", "the-id")
    run = load_run(tmp_path / "out")
    assert run.header.session_id == "the-id"
    assert run.header.started_unix_ns == START + 2 * 10**9
    assert run.header.workers == 1 + 2 + 3 + 4
    assert run.header.shard is None
    assert run.header.environment == factory.HEADER.environment
    assert run.header.prices_version == "prices-1"
    parts = [part for _, part in run.parts]
    assert [part.source for part in parts] == ["s1", "s2", "s3", "s4"]
    assert [part.shard["index"] for part in parts] == [1, 2, 3, 4]
    assert {part.shard["division"] for part in parts} == {shard_of()[1]}
    assert [part.started_unix_ns for part in parts] == started
    assert [part.workers for part in parts] == [1, 2, 3, 4]
    assert [part.bindings for part in parts] == [{"gw0": [f"GPU-{n}"]} for n in range(COUNT)]
    # The attempts of a source are in its session.
    places = shard_of()[0]
    assert [run.part_of(i) - 1 for i in range(CASES)] == [places[h.nodeid] for h in run.ended]


def test_a_common_id_stays_and_others_give_a_new_one(shards, tmp_path):
    merge(shards, tmp_path / "new")
    assert load_run(tmp_path / "new").header.session_id not in ("s1", "s2", "s3", "s4", "")
    same = [write(tmp_path / f"same-{n}", shard=n, session_id="ci-7") for n in range(COUNT)]
    merge(same, tmp_path / "out")
    assert load_run(tmp_path / "out").header.session_id == "ci-7"


def test_options_that_differ_are_those_of_no_run(tmp_path):
    configs = [
        {"base_url": f"http://10.0.0.{n}/v1", "run_id": "ci", "hardware": "A100", "dir": f"d{n}"}
        for n in range(COUNT)
    ]
    shards = [write(tmp_path / str(n), shard=n, config=configs[n]) for n in range(COUNT)]
    merge(shards, tmp_path / "out")
    config = load_run(tmp_path / "out").header.config
    found = {name: config[name] for name in (*configs[0], "shard", "notes", "temperature", "model")}
    assert found == {
        "base_url": None,
        "run_id": None,
        "hardware": "A100",
        "dir": "d0",
        "shard": None,
        "notes": "n",
        "temperature": 0.31,
        "model": ["openai:m-1"],
    }


def test_the_end_is_the_worst_of_all(tmp_path):
    ends = [
        Footer(ended_unix_ns=0, stop_reason="completed", exit_status=0),
        Footer(ended_unix_ns=0, stop_reason="maxfail", exit_status=1,
               not_applied={"m": {"seed": "a"}}),
        Footer(ended_unix_ns=0, stop_reason="interrupted", exit_status=2,
               not_applied={"m": {"top_p": "b"}, "n": {"seed": "c"}}),
        Footer(ended_unix_ns=0, stop_reason="completed", exit_status=5),
    ]  # fmt: skip
    shards = [write(tmp_path / str(n), shard=n, footer=ends[n]) for n in range(COUNT)]
    merge(shards, tmp_path / "out")
    run = load_run(tmp_path / "out")
    assert run.footer.stop_reason == "interrupted"
    assert run.footer.exit_status == 2
    assert run.footer.not_applied == {"m": {"seed": "a", "top_p": "b"}, "n": {"seed": "c"}}
    latest = max(load_run(shard).last_unix_ns for shard in shards)
    assert run.footer.ended_unix_ns == latest > START + 3 * 10**9


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((0, 5, 0, 0), 0),
        ((5, 5, 5, 5), 5),
        ((5, 1, 0, 0), 1),
        ((3, 2, 1, 4), 3),
        ((1, 77, 3, 0), 77),
    ],
)
def test_an_empty_shard_is_no_failure(tmp_path, statuses, expected):
    for n, status in enumerate(statuses):
        end = Footer(ended_unix_ns=0, stop_reason="completed", exit_status=status)
        write(tmp_path / str(n), shard=n, footer=end)
    merge([tmp_path / str(n) for n in range(len(statuses))], tmp_path / "out")
    assert load_run(tmp_path / "out").footer.exit_status == expected


def test_more_shards_than_cases(tmp_path):
    places, _ = shard_of(count=20)
    used = sorted(set(places.values()))
    assert len(used) == CASES
    shards = [write(tmp_path / str(n), shard=n, count=20) for n in used]
    # A session without a case leaves no run.
    merged = merge(shards, tmp_path / "out")
    assert (merged.account, merged.warnings) == ("14 shards, 14 of 14 cases", ())
    run = load_run(tmp_path / "out")
    assert (len(run.ended), run.footer.stop_reason) == (CASES, "completed")


def test_a_missing_shard_leaves_its_cases_planned(shards, tmp_path):
    merged = merge([shards[0], shards[1], shards[3]], tmp_path / "out")
    places, _ = shard_of()
    missing = sum(shard == 2 for shard in places.values())
    assert missing in (3, 4)
    assert merged.account == f"3 shards, {CASES - missing} of 14 cases"
    assert merged.warnings == (f"no run of shard 3/4 was given; {missing} of 14 cases did not run",)
    run = load_run(tmp_path / "out")
    assert run.planned == SUITE
    assert run.footer.stop_reason == "error: no run of shard 3/4"
    # The shard comes later.
    later = merge([tmp_path / "out", shards[2]], tmp_path / "whole")
    assert later.account == "4 shards, 14 of 14 cases"
    assert later.warnings == ()
    whole = load_run(tmp_path / "whole")
    assert whole.footer.stop_reason == "completed"
    assert Counter(head.nodeid for head in whole.ended) == Counter(NAMES)
    assert sorted(part.shard["index"] for _, part in whole.parts) == [1, 2, 3, 4]
    assert len(lines(tmp_path / "whole", "session")) == 4
    assert whole.header.workers == 8


def test_several_missing_shards(shards, tmp_path):
    (warning,) = merge(shards[1:2], tmp_path / "out").warnings
    assert warning.startswith("no run of shards 1/4, 3/4, 4/4 was given; 1")


def test_what_is_given_twice_counts_once(shards, tmp_path):
    merge(shards, tmp_path / "once", "id")
    again = merge([*shards, shards[1], shards[0]], tmp_path / "again", "id")
    assert again.account == "4 shards, 14 of 14 cases"
    once, twice = ((tmp_path / n / "journal.jsonl").read_bytes() for n in ("once", "again"))
    assert once == twice
    # A merged run and a shard that is in it.
    merge(shards[:2], tmp_path / "half", "id")
    whole = merge([tmp_path / "half", *shards[1:]], tmp_path / "whole", "id")
    assert whole.account == "4 shards, 14 of 14 cases"
    assert lines(tmp_path / "whole", "case") == lines(tmp_path / "once", "case")
    assert len(lines(tmp_path / "whole", "session")) == 4


def test_a_part_of_a_run_that_grew_is_refused(shards, tmp_path):
    half = tmp_path / "half"
    half.mkdir()
    data = (shards[0] / "journal.jsonl").read_bytes()
    keep = data.index(b'{"k":"end"')
    (half / "journal.jsonl").write_bytes(data[: data.index(b'{"k":"open"', data.index(b'"case"'))])
    assert keep > (half / "journal.jsonl").stat().st_size
    # The copy has a case of the run, as it is there: each is taken once.
    merged = merge([half, *shards], tmp_path / "out")
    assert merged.account == "4 shards, 14 of 14 cases"
    assert Counter(h.nodeid for h in load_run(tmp_path / "out").ended) == Counter(NAMES)


def test_two_results_of_one_case_are_refused(shards, tmp_path):
    places, _ = shard_of()
    own = [case for case in SUITE if places[case.nodeid] == 1]
    other = write(
        tmp_path / "again",
        shard=1,
        records=[attempt(case, trace_id=f"{n:032x}") for n, case in enumerate(own)],
        started_unix_ns=START + 10**12,
    )
    message = refused(
        tmp_path, [*shards, other], shards[1], other, "both hold shard 2/4: give one of them"
    )
    assert f"and {len(own) - 1} more" in message
    assert min(case.nodeid for case in own) in message


def test_one_differing_result_among_equal_ones(shards, tmp_path):
    places, _ = shard_of()
    own = [case for case in SUITE if places[case.nodeid] == 1]
    records = [attempt(case) for case in own]
    records[1] = attempt(own[1], outcome="failed")
    other = write(tmp_path / "again", shard=1, records=records, started_unix_ns=START + 10**12)
    message = refused(tmp_path, [*shards, other], f"both ran {own[1].nodeid}, and not with one")
    assert "more" not in message


def test_a_further_attempt_is_a_difference(shards, tmp_path):
    merge(shards, tmp_path / "whole")
    records = [attempt(case) for case in SUITE if shard_of()[0][case.nodeid] == 0]
    records.append(attempt(records[0].declared, 1))
    resumed = write(tmp_path / "resumed", shard=0, records=records)
    refused(tmp_path, [tmp_path / "whole", resumed], records[0].declared.nodeid, "shard 1/4")


def test_runs_of_the_whole_suite_are_no_shards(tmp_path):
    one = write(tmp_path / "one")
    records = [attempt(case, trace_id=f"{n:032x}") for n, case in enumerate(SUITE)]
    two = write(tmp_path / "two", records=records, session_id="s2")
    refused(tmp_path, [one, two], "merge joins the shards of one run, not runs of a whole suite")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"config": {"model": ["openai:m-2"]}}, "--smoltrace-model (openai:m-1 and openai:m-2)"),
        ({"config": {"temperature": 0.9}}, "--smoltrace-temperature (0.31 and 0.9)"),
        ({"config": {"team": "red"}}, "--smoltrace-team (blue and red)"),
        ({"prices_version": "prices-2"}, "prices (prices-1 and prices-2)"),
        ({"prices_version": None}, "prices (prices-1 and unset)"),
        ({"plugin_version": "10.1"}, "major version of pytest-smoltrace (9 and 10)"),
        ({"suite": SUITE[:-1]}, "case 'c13' (m-1, tool) is only in "),
        ({"suite": (replace(SUITE[0], prompt="x"), *SUITE[1:])}, "has another prompt"),
        ({"suite": (replace(SUITE[0], tags=("x",)), *SUITE[1:])}, "has another tags"),
        ({"durations": {case_key(c): n + 1.0 for n, c in enumerate(SUITE)}},
         "were divided by other durations"),
        ({"count": 3}, "is shard 3/3: give the shards of one division"),
    ],
)  # fmt: skip
def test_runs_that_did_not_measure_the_same(tmp_path, changed, words):
    one = write(tmp_path / "one", shard=0)
    other = write(tmp_path / "other", shard=2, **changed)
    message = refused(tmp_path, [one, other], words, one, other)
    assert message.count(str(one)) <= 2


@pytest.mark.parametrize(
    "changed",
    [
        {"config": {"base_url": "http://x/v1", "notes": "other", "budget_usd": 3, "hosts": "h"}},
        {"plugin_version": "9.9.0"},
        {"suite": SUITE[::-1]},
    ],
)
def test_what_may_differ(tmp_path, changed):
    one = write(tmp_path / "one", shard=0)
    other = write(tmp_path / "other", shard=2, **changed)
    assert merge([one, other], tmp_path / "out").account.startswith("2 shards")
    assert load_run(tmp_path / "out").planned == SUITE


def test_other_code_is_said(tmp_path):
    one = write(tmp_path / "one", shard=0, count=2)
    environment = factory.HEADER.environment | {"git_sha": "b" * 40}
    other = write(tmp_path / "other", shard=1, count=2, environment=environment)
    assert merge([one, other], tmp_path / "out").warnings == (
        f"{one} and {other} ran with other versions: git ({'a' * 40} and {'b' * 40})",
    )


def test_a_killed_shard(tmp_path):
    places, _ = shard_of(count=2)
    mine = [case for case in SUITE if places[case.nodeid] == 0]
    killed = write(
        tmp_path / "killed",
        shard=0,
        count=2,
        records=[attempt(case) for case in mine[:-2]],
        opened=[(mine[-2], START + 10**12)],
        footer=None,
        tail=b'{"k":"spans","trace_id":"0"}\n{"k":"case","declared":{"ca',
    )
    later = write(tmp_path / "later", shard=1, count=2, started_unix_ns=START + 5 * 10**12)
    merged = merge([later, killed], tmp_path / "out")
    assert merged.account == "2 shards, 13 of 14 cases"
    bytes_lost, killed_line, left = merged.warnings
    assert "cut off" in bytes_lost
    assert "1 running case(s) are recorded as crashed" in killed_line
    assert left == "1 of 14 cases did not run"
    run = load_run(tmp_path / "out")
    assert run.warnings == ()
    assert run.footer.stop_reason == "crash"
    assert run.footer.exit_status == 1
    assert run.unfinished == ()
    found, alone = by_nodeid(run), by_nodeid(load_run(killed))
    assert found.keys() == {*NAMES} - {mine[-1].nodeid}
    record, spans = found[mine[-2].nodeid]
    assert (record.outcome, record.error.type) == ("crashed", "worker_crash")
    # It is the attempt that the run has by itself, at the same time.
    assert {name: found[name] for name in alone} == alone
    assert spans.start_unix_ns == [START + 10**12]
    assert spans.end_unix_ns[0] < later_started(later)
    # Merged once more, it is the same attempt.
    again = merge([tmp_path / "out", killed], tmp_path / "again", run.header.session_id)
    assert again.account == merged.account
    assert lines(tmp_path / "again", "case") == lines(tmp_path / "out", "case")


def later_started(directory):
    return load_run(directory).header.started_unix_ns


def by_nodeid(run):
    return {record.declared.nodeid: (record, spans) for record, spans in run.attempts()}


def test_a_case_whose_worker_died_keeps_its_time(tmp_path):
    places, _ = shard_of(count=2)
    mine = [case for case in SUITE if places[case.nodeid] == 0]
    lost = attempt(mine[0], phases=(), spans=None, outcome="crashed", error=factory.failure())
    one = write(tmp_path / "one", shard=0, count=2, records=[lost, *map(attempt, mine[1:])])
    two = write(tmp_path / "two", shard=1, count=2, started_unix_ns=START + 5 * 10**12)
    merge([one, two], tmp_path / "out")
    found, alone = by_nodeid(load_run(tmp_path / "out")), by_nodeid(load_run(one))
    assert {name: found[name] for name in alone} == alone
    assert alone[mine[0].nodeid][1].start_unix_ns == [START + 7]
    (merged,) = [line for line in lines(tmp_path / "out", "case") if b"crashed" in line]
    assert merged in lines(one, "case")


def test_a_case_that_started_and_is_in_no_journal_is_not_in_flight(tmp_path):
    """The disk of a shard was full for a while; another shard was killed."""
    places, _ = shard_of(count=2)
    mine = [case for case in SUITE if places[case.nodeid] == 1]
    one = write(tmp_path / "one", shard=0, count=2, footer=None)
    two = write(
        tmp_path / "two",
        shard=1,
        count=2,
        records=[attempt(case) for case in mine[:-1]],
        opened=[(mine[-1], START + 10**12)],
    )
    assert load_run(two).unfinished == ()
    merged = merge([one, two], tmp_path / "out")
    assert merged.account == "2 shards, 13 of 14 cases"
    run = load_run(tmp_path / "out")
    assert len(list(run.attempts())) == 13


def test_a_shard_that_was_killed_before_its_plan(shards, tmp_path):
    early = write(tmp_path / "early", shard=0, plan=False, records=(), footer=None)
    merged = merge([early, *shards[1:]], tmp_path / "out")
    assert merged.account.startswith("4 shards, 1")
    assert merged.warnings[-1].endswith("of 14 cases did not run")
    assert load_run(tmp_path / "out").planned == SUITE


def test_a_shard_that_was_resumed(tmp_path):
    places, _ = shard_of(count=2)
    mine = [case for case in SUITE if places[case.nodeid] == 0]
    one = tmp_path / "one"
    write(one, shard=0, count=2, records=[attempt(case) for case in mine[:3]], footer=None)
    writer = JournalWriter(one / "journal.jsonl")
    writer.reopen((one / "journal.jsonl").stat().st_size)
    part = {"started_unix_ns": START + 10**13, "plugin_version": "9.8.8", "environment": {}}
    writer.part(Part(**part, workers=7, shard={"index": 1, "count": 2}))
    for case in mine[3:]:
        writer.append(encode_case(attempt(case)))
    writer.append(encode_case(attempt(mine[0], 1)))
    writer.close(replace(factory.FOOTER, ended_unix_ns=START + 2 * 10**13))
    two = write(tmp_path / "two", shard=1, count=2)
    merged = merge([one, two], tmp_path / "out")
    assert (merged.account, merged.warnings) == ("2 shards, 14 of 14 cases", ())
    run = load_run(tmp_path / "out")
    assert [part.source for _, part in run.parts] == ["s1", None, "s2"]
    assert [number for number, _ in run.parts] == [0, 3, len(mine) + 1]
    assert run.header.workers == 7 + 2
    (again,) = [head for head in run.ended if head.attempt]
    assert again.nodeid == mine[0].nodeid
    assert merge([tmp_path / "out", one], tmp_path / "again").account == merged.account


def test_many_cases_have_several_plan_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("pytest_smoltrace.merge.PLAN_CASES", 5)
    monkeypatch.setattr("pytest_smoltrace.journal.PLAN_CASES", 5)
    shards = [write(tmp_path / str(n), shard=n) for n in range(COUNT)]
    merge(shards, tmp_path / "out")
    assert len(lines(tmp_path / "out", "plan")) == 3
    assert load_run(tmp_path / "out").planned == SUITE


def test_a_suite_without_a_case(tmp_path):
    one = write(tmp_path / "one", shard=0, count=2, suite=())
    two = write(tmp_path / "two", shard=1, count=2, suite=())
    assert merge([one, two], tmp_path / "out").account == "2 shards, 0 of 0 cases"


@pytest.mark.skipif(sys.platform == "win32", reason="no locks of a whole file")
def test_a_run_that_still_runs_is_refused(shards, tmp_path):
    import fcntl

    with (shards[1] / "journal.jsonl").open("rb+") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        refused(tmp_path, shards, f"{shards[1]} still runs")
    merge(shards, tmp_path / "out")


def test_a_directory_in_use(shards, tmp_path):
    refused_out = tmp_path / "used"
    refused_out.mkdir()
    assert merge(shards, refused_out).account  # empty
    for out in (refused_out, shards[0], shards[0] / "journal.jsonl"):
        with pytest.raises(ConfigError, match="exists already; name a new directory with -o"):
            merge(shards, out)


def test_a_directory_that_cannot_be_written(shards, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match=r"cannot write .*/file/out: "):
        merge(shards, tmp_path / "file" / "out")


def test_a_journal_of_a_later_format(shards, tmp_path):
    path = shards[1] / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":99', 1))
    with pytest.raises(JournalError) as caught:
        merge(shards, tmp_path / "out")
    assert str(caught.value).startswith(f"{shards[1]}: journal format 99 is not 1")


def test_nothing_is_left_of_a_merge_that_failed(shards, tmp_path, monkeypatch):
    def fails(self):
        yield b'{"k":"spans"}'
        raise JournalError("the disk broke")

    monkeypatch.setattr("pytest_smoltrace.merge_source.Source.lines", fails)
    with pytest.raises(JournalError, match="the disk broke"):
        merge(shards, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_large_cases_are_not_held(tmp_path):
    megabyte = "x" * 2**20
    for n in range(2):
        places, _ = shard_of(count=2)
        own = [case for case in SUITE if places[case.nodeid] == n]
        spans = [factory.root_spans(strings=[megabyte] * 4) for _ in own]
        records = (attempt(case, spans=table) for case, table in zip(own, spans, strict=True))
        write(tmp_path / str(n), shard=n, count=2, records=list(records))
    size = sum((tmp_path / str(n) / "journal.jsonl").stat().st_size for n in range(2))
    assert size > CASES * 4 * 2**20
    tracemalloc.start()
    try:
        merge([tmp_path / "0", tmp_path / "1"], tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 2.5
    assert (tmp_path / "out" / "journal.jsonl").stat().st_size > size - 10_000


def run_cli(capsys, *argv):
    try:
        code = cli.main([str(each) for each in argv])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def test_the_command_names_the_datasets(shards, tmp_path, capsys):
    out = tmp_path / "out"
    code, printed, errors = run_cli(capsys, "merge", *shards, "-o", out, "--run-id", "nightly")
    assert (code, errors) == (0, [])
    assert [Path(folder).name for folder in printed[:-1]] == [
        "results", "traces", "metrics", "leaderboard",
    ]  # fmt: skip
    assert all(Path(folder).is_dir() for folder in printed[:-1])
    assert printed[-1] == "4 shards, 14 of 14 cases"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["session_id"] == "nightly"
    (row,) = summary["runs"]
    assert (row["planned_tests"], row["run_status"]) == (14, "completed")


def test_the_command_says_what_is_missing(shards, tmp_path, capsys):
    code, printed, errors = run_cli(capsys, "merge", *shards[:3], "-o", tmp_path / "out")
    assert code == 0
    assert printed[-1].startswith("3 shards, 1")
    (line,) = errors
    assert line.startswith("pytest-smoltrace: warning: no run of shard 4/4 was given; ")
    (row,) = json.loads((tmp_path / "out" / "summary.json").read_text())["runs"]
    assert (row["run_status"], row["run_stop_reason"]) == (
        "partial",
        "error: no run of shard 4/4",
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "{1}"), "required: RUN_DIR"),
        (("nowhere", "-o", "{1}"), "no run 'nowhere'"),
        (("{0}",), "required: -o"),
        (("{0}", "-o", "{1}", "--run-id", "a b"), "run id 'a b' cannot name a directory"),
        (("{0}", "-o", "{0}"), "exists already"),
    ],
)
def test_a_wrong_request(shards, capsys, tmp_path, arguments, words):
    given = [each.format(shards[0], tmp_path / "out") for each in arguments]
    code, printed, errors = run_cli(capsys, "merge", *given)
    assert (code, printed) == (2, [])
    assert len(errors) == 1
    assert words in errors[0]
    assert not (tmp_path / "out").exists()
