"""Shards of a suite run apart, and one run comes of them that equals one session."""

import json
from collections import Counter
from itertools import chain

import pytest

from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.journal import JOURNAL_NAME
from pytest_smoltrace.merge import merge
from pytest_smoltrace.pipeline import finish
from pytest_smoltrace.run import load_run
from tests.plugin.conftest import Run
from tests.plugin.test_xdist import stable

SOURCE = """
import os, signal, time, pytest

@pytest.mark.parametrize("n", range(8))
@pytest.mark.smoltrace(difficulty="easy", expected_keywords="Bern", agent_type="both")
def test_case(ask, n):
    ask(f"call look city=Bern; answer {'Bern' if n % 3 else 'Rome'}")

@pytest.mark.smoltrace(id="scored", max_steps=3)
def test_scored(ask, smoltrace_case):
    ask("answer Bern")
    smoltrace_case.score("words", 1)

def test_refused(ask):
    ask("fail 500")

@pytest.mark.skip(reason="not now")
def test_skipped(ask):
    pass

@pytest.mark.parametrize("n", range(5))
def test_plain(n):
    pass
"""
CASES = 2 * 8 + 3
COUNT = 4
PLACES = {"config", "workers", "metrics_repo", "results_dataset", "traces_dataset"}
"""Leaderboard columns on where the parts of a run were, beside those that `stable` leaves out."""


def shard(suite, index, *args, count=COUNT, source=SOURCE, **kwargs):
    """Run one shard; its run directory is a folder of its own."""
    place = f"shards/{index}"
    run = suite(
        f"--smoltrace-shard={index}/{count}", f"--smoltrace-dir={place}", *args,
        source=source, **kwargs,
    )  # fmt: skip
    run.directory = run.directory.parent / place
    return run


def joined(runs, out):
    """Merge runs and build what comes of it."""
    merged = merge([path for run in runs for path in run.runs], out)
    finish(out)
    return merged, Folder(out)


class Folder(Run):
    """A run directory that was merged."""

    def __init__(self, path):
        self.path = path

    @property
    def runs(self):
        return [self.path]


def board(run):
    """Return model and agent type -> leaderboard row without times, workers and places."""
    return {
        (row["model"], row["agent_type"]): {
            name: value for name, value in stable(row).items() if name not in PLACES
        }
        for row in run.rows("leaderboard")
    }


def differing(run, other):
    one, two = board(run), board(other)
    assert one.keys() == two.keys()
    return {
        name: (row[name], two[key][name])
        for key, row in one.items()
        for name in row
        if row[name] != two[key][name]
    }


def collected(suite, *args, source=SOURCE):
    """Return the node ids that a session would run."""
    out = suite("--collect-only", "-q", *args, source=source).out
    return [line for line in out.splitlines() if "::" in line]


def test_four_shards_equal_one_session(suite, pytester):
    single = suite("--smoltrace-dir=one", "--smoltrace-run-id=ci-7", source=SOURCE)
    single.directory = pytester.path / "one"
    ways = ((), ("-n", "2"), ("-p", "randomly", "-p", "no:xdist"), ())
    shards = [shard(suite, n + 1, "--smoltrace-run-id=ci-7", *way) for n, way in enumerate(ways)]
    sizes = [len(run.rows("results")) for run in shards]
    assert sum(sizes) == CASES
    assert max(sizes) - min(sizes) <= 1
    merged, whole = joined(shards, pytester.path / "whole")
    assert merged.account == f"4 shards, {CASES} of {CASES} cases"
    assert merged.warnings == ()
    assert {name: stable(row) for name, row in single.results.items()} == {
        name: stable(row) for name, row in whole.results.items()
    }
    assert len(single.results) == CASES
    assert len(stable(whole.results["test_scored"])) > 40
    assert differing(whole, single) == {}
    assert len(board(single)) == 2
    assert {row["run_stop_reason"] for row in whole.rows("leaderboard")} == {"completed"}
    assert {row["workers"] for row in whole.rows("leaderboard")} == {5}
    summary = json.loads((pytester.path / "whole" / "summary.json").read_text())
    assert summary["session_id"] == "ci-7"
    assert summary["exit_status"] == single.ret == pytest.ExitCode.TESTS_FAILED
    traces = [row["trace_id"] for row in whole.rows("traces")]
    assert len(traces) == len(set(traces)) == CASES
    # Tests that are no eval cases are divided, too.
    passed = Counter()
    for run in shards:
        passed.update(run.result.parseoutcomes())
    assert passed["passed"] == single.result.parseoutcomes()["passed"]
    assert passed["failed"] == single.result.parseoutcomes()["failed"]
    parts(shards, single, pytester.path)


def parts(shards, single, path):
    """Shards that are missing, are there twice, or are no shards."""
    merged, some = joined(shards[:3], path / "some")
    left = len(shards[3].rows("results"))
    assert merged.account == f"3 shards, {CASES - left} of {CASES} cases"
    assert merged.warnings == (
        f"no run of shard 4/4 was given; {left} of {CASES} cases did not run",
    )
    rows = some.rows("leaderboard")
    assert {row["run_status"] for row in rows} == {"partial"}
    assert sum(row["planned_tests"] for row in rows) == CASES
    assert {row["suite_hash"] for row in rows} == {
        row["suite_hash"] for row in single.rows("leaderboard")
    }
    later, whole = joined([some, shards[3], shards[0]], path / "later")
    assert later.account == f"4 shards, {CASES} of {CASES} cases"
    assert differing(whole, single) == {}
    with pytest.raises(ConfigError, match=r"both ran .*give one run of each case"):
        joined([*shards, single], path / "none")


def test_a_shard_of_another_model(suite, pytester):
    one = shard(suite, 1, "-k", "plain or refused or scored", count=2)
    two = shard(suite, 2, "-k", "plain or refused or scored", count=2, model="scripted:other")
    with pytest.raises(ConfigError) as caught:
        joined([one, two], pytester.path / "none")
    assert "--smoltrace-model (scripted:m and scripted:other)" in str(caught.value)
    assert not (pytester.path / "none").exists()


KILLED = """
import os, signal, pytest

@pytest.mark.parametrize("n", range(6))
def test_case(ask, n):
    ask("answer Bern")
    if os.environ.get("KILL_AT") == str(n):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_shard(suite, pytester, monkeypatch):
    one = collected(suite, "--smoltrace-shard=1/2", source=KILLED)
    assert len(one) == 3
    monkeypatch.setenv("KILL_AT", one[1].rpartition("[")[2].rstrip("]"))
    runs = [shard(suite, n, count=2, source=KILLED) for n in (1, 2)]
    assert runs[0].ret == -9
    merged, whole = joined(runs, pytester.path / "whole")
    assert merged.account == "2 shards, 5 of 6 cases"
    names = [name.rpartition("::")[2] for name in one]
    others = {f"test_case[{n}]" for n in range(6)} - {*names}
    assert whole.outcomes == {
        names[0]: ("passed", None),
        names[1]: ("crashed", "worker_crash"),
        **dict.fromkeys(others, ("passed", None)),
    }
    (row,) = whole.rows("leaderboard")
    assert (row["run_status"], row["run_stop_reason"]) == ("partial", "crash")
    assert (row["planned_tests"], row["num_tests"]) == (6, 4)
    monkeypatch.delenv("KILL_AT")
    resumed = shard(suite, 1, "--smoltrace-resume=last", count=2, source=KILLED)
    resumed.result.assert_outcomes(passed=2, deselected=4)
    merged, whole = joined([resumed, runs[1]], pytester.path / "later")
    assert (merged.account, merged.warnings) == ("2 shards, 6 of 6 cases", ())
    (row,) = whole.rows("leaderboard")
    assert (row["run_status"], row["run_stop_reason"]) == ("completed", "completed")
    assert (row["planned_tests"], row["num_tests"], row["workers"]) == (6, 6, 2)
    assert len(whole.rows("results")) == 7


def test_every_session_finds_the_same_shards(suite):
    chosen = ("-k", "case or plain")
    whole = collected(suite, *chosen)
    found = [collected(suite, *chosen, f"--smoltrace-shard={n}/3") for n in (1, 2, 3)]
    assert sorted(chain.from_iterable(found)) == sorted(whole)
    assert len(whole) == 2 * 8 + 5
    mixed = collected(suite, *chosen, "--smoltrace-shard=2/3", "-p", "randomly")
    assert sorted(mixed) == sorted(found[1])


def test_the_others_are_deselected(suite):
    run = suite("--smoltrace-shard=2/4", "-k", "plain", source=SOURCE)
    run.result.assert_outcomes(passed=1, deselected=CASES + 4)
    assert "smoltrace: shard 2/4 by number of cases" in run.out


ONE = "def test_one(ask):\n    ask('answer Bern')\n"


@pytest.mark.parametrize("way", [(), ("-n", "2")])
def test_more_shards_than_cases(suite, pytester, way):
    runs = [shard(suite, n, *way, count=2, source=ONE) for n in (1, 2)]
    full = [run for run in runs if run.runs and run.rows("results")]
    assert len(full) == 1
    (empty,) = [run for run in runs if run is not full[0]]
    assert full[0].ret == pytest.ExitCode.OK
    assert empty.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "Traceback" not in empty.out + empty.err
    merged, whole = joined(runs, pytester.path / "whole")
    assert empty.runs == []
    assert merged.account == "1 shard, 1 of 1 cases"
    assert merged.warnings == ()
    assert [row["run_stop_reason"] for row in whole.rows("leaderboard")] == ["completed"]
    assert load_run(whole.path).footer.exit_status == 0


SLOW = """
import time, pytest

@pytest.mark.parametrize("n", range(7))
def test_case(ask, n):
    ask("answer Bern")
    time.sleep(0.6 if n in (0, 1, 2) else 0.0)
"""


def owners(runs):
    return {name: place for place, run in enumerate(runs) for name in run.results}


def test_durations_of_an_earlier_run(suite, pytester):
    earlier = suite(source=SLOW)
    option = f"--smoltrace-shard-durations={earlier.runs[0]}"
    ways = ((), ("-n", "2"), ("-p", "randomly"))
    runs = [shard(suite, n + 1, option, *way, count=3, source=SLOW) for n, way in enumerate(ways)]
    line = f"shard 2/3, balanced by 7 durations of run {earlier.runs[0].name}"
    assert line in runs[1].out
    # Each of the slow cases has a shard of its own, whatever their ids.
    owner = owners(runs)
    assert sorted(owner[f"test_case[{n}]"] for n in (0, 1, 2)) == [0, 1, 2]
    merged, _ = joined(runs, pytester.path / "whole")
    assert merged.account == "3 shards, 7 of 7 cases"
    other = shard(suite, 3, "--smoltrace-run-id=other", count=3, source=SLOW)
    divided = [*runs[:2], Folder(other.directory / "runs" / "other")]
    with pytest.raises(ConfigError, match="were divided by other durations"):
        joined(divided, pytester.path / "none")


def test_the_last_run_of_the_whole_suite(suite):
    first = suite("--smoltrace-shard=1/2", "--smoltrace-shard-durations=last", source=SLOW)
    assert "smoltrace: shard 1/2 by number of cases: no earlier run is stored" in first.out
    # Shards are no runs of the suite: the second one finds what the first one found.
    second = suite("--smoltrace-shard=2/2", "--smoltrace-shard-durations=last", source=SLOW)
    assert "smoltrace: shard 2/2 by number of cases: no earlier run is stored" in second.out
    merge(second.runs, second.directory / "runs" / "whole")
    third = suite("--smoltrace-shard=2/2", "--smoltrace-shard-durations=last", source=SLOW)
    assert "smoltrace: shard 2/2, balanced by 7 durations of run whole" in third.out


def test_no_such_run(suite):
    run = suite("--smoltrace-shard=1/2", "--smoltrace-shard-durations=none", source=SLOW)
    run.refused("--smoltrace-shard-durations: no run 'none'")
    assert run.runs == []


def test_a_broken_run(suite, pytester):
    (pytester.path / "old").mkdir()
    (pytester.path / "old" / JOURNAL_NAME).write_text('{"k":"hea')
    run = suite("--smoltrace-shard=1/2", "--smoltrace-shard-durations=old", source=SLOW)
    run.refused("--smoltrace-shard-durations: ", "the header line is torn or missing")


def test_durations_without_shards(suite, monkeypatch):
    """A project may set them once for all its jobs; who types them means a shard."""
    source = "def test_one(ask):\n    ask('answer x')"
    suite("--smoltrace-shard-durations=none", source=source).refused("needs --smoltrace-shard=I/N")
    monkeypatch.setenv("SMOLTRACE_SHARD_DURATIONS", "none")
    suite(source=source).result.assert_outcomes(passed=1)
