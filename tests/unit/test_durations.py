"""Durations that balance shards come from the journal of the run that was named."""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from pytest_smoltrace.codec import Plan
from pytest_smoltrace.config import ModelSpec, RunConfig, Shard
from pytest_smoltrace.durations import durations_of, load
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.journal import JournalWriter, encode_case
from pytest_smoltrace.sharding import case_key
from tests.unit import run_factory as factory
from tests.unit.run_factory import START

SUITE = tuple(factory.declared(f"c{n}") for n in range(4))


def store(root: Path, name="earlier", records=(), started=0, shard=None):
    directory = root / "runs" / name
    writer = JournalWriter(directory / "journal.jsonl")
    writer.create(
        replace(factory.HEADER, session_id=name, started_unix_ns=START + started, shard=shard)
    )
    writer.plan(Plan(SUITE))
    for record in records:
        writer.append(encode_case(record))
    writer.close(factory.FOOTER)
    return directory


def took(case, *seconds, outcome="passed", **facts):
    return [
        factory.record(outcome=outcome, declared=case, phases=factory.phases(call_s=each), **facts)
        for each in seconds
    ]


def config(root, name, shard="1/2"):
    index, count = map(int, shard.split("/"))
    return RunConfig(
        models=(ModelSpec(provider="openai", model_id="m-1"),),
        directory=root,
        shard=Shard(index=index, count=count),
        shard_durations=name,
    )


def test_the_median_of_the_test_function(tmp_path):
    one, two, three, _ = SUITE
    records = [
        *took(one, 2.5, outcome="failed"),
        *took(two, 1.0, 9.0, 2.0),
        *took(three, 4.0, 1.0),
    ]
    # Setup and teardown, 37 ms together, are not in it.
    assert durations_of(store(tmp_path, records=records)) == {
        case_key(one): 2.5,
        case_key(two): 2.0,
        case_key(three): 2.5,
    }


@pytest.mark.parametrize("outcome", ["skipped", "interrupted", "crashed"])
def test_attempts_that_did_not_take_their_time(tmp_path, outcome):
    records = [*took(SUITE[0], 50.0, outcome=outcome), *took(SUITE[0], 3.0)]
    assert durations_of(store(tmp_path, records=records)) == {case_key(SUITE[0]): 3.0}


def test_a_case_that_never_came_to_its_test_function(tmp_path):
    (record,) = took(SUITE[0], 1.0, outcome="error")
    record = replace(record, phases=record.phases[:1])
    assert durations_of(store(tmp_path, records=[record])) == {}


def test_a_torn_tail_costs_no_more_than_its_case(tmp_path):
    directory = store(tmp_path, records=took(SUITE[0], 3.0))
    with (directory / "journal.jsonl").open("ab") as stream:
        stream.write(b'{"k":"case","declared":')
    assert durations_of(directory) == {case_key(SUITE[0]): 3.0}


def test_the_model_of_the_plan_counts(tmp_path):
    """An agent may have run another model than the case was planned with."""
    (record,) = took(SUITE[0], 3.0, runs=(factory.agent_run(model="other"),))
    assert durations_of(store(tmp_path, records=[record])) == {case_key(SUITE[0]): 3.0}


def test_no_run_is_named(tmp_path):
    found = load(config(tmp_path, None, "2/4"))
    assert (found.text, found.line) == (None, "shard 2/4 by number of cases")
    assert load(replace(config(tmp_path, "x"), shard=None)) is None


def test_a_named_run(tmp_path):
    directory = store(tmp_path, records=took(SUITE[0], 3.0))
    for name in ("earlier", "earl", "last", str(directory)):
        found = load(config(tmp_path, name))
        assert orjson.loads(found.text) == {case_key(SUITE[0]): 3.0}
        assert found.line == "shard 1/2, balanced by 1 duration of run earlier"


def test_last_is_no_shard(tmp_path):
    store(tmp_path, "whole", records=took(SUITE[0], 3.0, 3.0), started=1)
    store(tmp_path, "older", records=took(SUITE[0], 7.0), started=0)
    part = {"index": 1, "count": 2}
    shard = store(tmp_path, "shard", records=took(SUITE[0], 9.0), started=2, shard=part)
    broken = tmp_path / "runs" / "broken"
    broken.mkdir()
    (broken / "journal.jsonl").write_text("{")
    assert load(config(tmp_path, "last")).line.endswith("of run whole")
    # By its name it can be used.
    assert load(config(tmp_path, str(shard))).line.endswith("of run shard")


def test_there_is_no_run_yet(tmp_path):
    broken = tmp_path / "runs" / "broken"
    broken.mkdir(parents=True)
    (broken / "journal.jsonl").write_text("{")
    found = load(config(tmp_path, "last"))
    assert found.text is None
    assert found.line == "shard 1/2 by number of cases: no earlier run is stored"


def test_a_run_without_a_duration(tmp_path):
    store(tmp_path)
    found = load(config(tmp_path, "last"))
    assert found.text is None
    assert found.line == "shard 1/2 by number of cases: run earlier timed none"


def test_a_missing_run(tmp_path):
    store(tmp_path)
    with pytest.raises(ConfigError, match=r"^--smoltrace-shard-durations: no run 'earlyer' in "):
        load(config(tmp_path, "earlyer"))


@pytest.mark.parametrize("line", [b'{"k":"case"}\n', b'{"k":"case","declared":{}}\n'])
def test_a_line_of_something_else(tmp_path, line):
    directory = store(tmp_path)
    with (directory / "journal.jsonl").open("ab") as stream:
        stream.write(line)
    with pytest.raises(ConfigError, match="a case line is not what this version writes"):
        load(config(tmp_path, "last"))
