"""`--smoltrace-resume`: what a run has not finished is run, and nothing else."""

import fcntl
import json
import subprocess
import sys
import time
from collections import Counter

import pytest

SOURCE = """
import os, signal, time
import pytest

def ran(name):
    with open(os.environ["RAN"], "a") as stream:
        stream.write(f"{name}\\n")

@pytest.fixture(autouse=True)
def note(request):
    ran(request.node.name)

def trouble(kind):
    return os.environ.get("TROUBLE") == kind

@pytest.mark.parametrize("n", range(8))
def test_case(ask, request, n):
    if n == 5 and trouble("kill"):
        # The variable of xdist may be that of whoever runs these tests.
        is_worker = hasattr(request.config, "workerinput")
        session = os.getppid() if is_worker else os.getpid()
        os.kill(session, signal.SIGKILL)
        time.sleep(20)
    if n == 5 and trouble("stop"):
        os.kill(os.getpid(), signal.SIGINT)
    if n == 2 and trouble("infra"):
        ask("fail 500")
    assert ask(f"call look city=Bern; answer {n}") != "3"

def test_skipped(ask):
    pytest.skip("not today")

def test_plain():
    pass
"""


@pytest.fixture
def trouble(suite, pytester, monkeypatch):
    """Return a function that runs the suite with trouble of a kind, and what it executed."""
    witness = pytester.path / "ran.txt"
    monkeypatch.setenv("RAN", str(witness))
    monkeypatch.setenv("SMOLTRACE_MAX_RETRIES", "0")

    def run(kind, *args, source=SOURCE):
        monkeypatch.setenv("TROUBLE", kind)
        witness.write_text("")
        done = suite(*args, source=source)
        done.ran = Counter(witness.read_text().split())
        return done

    return run


def names(*numbers):
    return {f"test_case[{n}]": 1 for n in numbers}


def counted(run):
    """Return the counted rows by test."""
    rows = [row for row in run.rows("results") if row["counted"]]
    found = {row["nodeid"].rpartition("::")[2]: row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_a_killed_run_is_finished(trouble, workers):
    killed = trouble("kill", "-k", "not plain")
    assert killed.ran == names(*range(6))
    assert killed.ret == -9
    resumed = trouble("", "-k", "not plain", "--smoltrace-resume=last", *workers)
    # The case that failed is finished too; only its verdict is that of the whole run.
    assert resumed.ran == names(5, 6, 7) | {"test_skipped": 1}
    assert resumed.ret == 1
    assert "smoltrace: resumed: 5 of 9 cases are finished, 1 of them failed" in resumed.out
    assert "1 case failed before the run was resumed" in resumed.out
    rows = resumed.rows("results")
    assert len(rows) == 10
    outcomes = {name: row["outcome"] for name, row in counted(resumed).items()}
    assert outcomes == {
        **{f"test_case[{n}]": "failed" if n == 3 else "passed" for n in range(8)},
        "test_skipped": "skipped",
    }
    crashed = next(row for row in rows if row["outcome"] == "crashed")
    again = counted(resumed)["test_case[5]"]
    assert (crashed["attempt"], crashed["counted"], again["attempt"]) == (0, False, 1)
    assert len({row["trace_id"] for row in rows}) == 10
    assert {row["session_id"] for row in rows} == {resumed.runs[0].name}
    (board,) = resumed.rows("leaderboard")
    assert (board["run_status"], board["run_stop_reason"]) == ("completed", "completed")
    assert board["planned_tests"] == 9
    # Seven cases ran once and one twice, cut off before its first call.
    assert board["total_tokens"] == 8 * 220


def test_the_figures_are_those_of_a_run_that_was_not_disturbed(trouble):
    whole = trouble("")
    figures = {name: figures_of(row) for name, row in counted(whole).items()}
    (board,) = whole.rows("leaderboard")
    subprocess.run(["rm", "-r", str(whole.runs[0])], check=True)
    trouble("kill")
    resumed = trouble("", "--smoltrace-resume=last")
    assert {name: figures_of(row) for name, row in counted(resumed).items()} == figures
    (again,) = resumed.rows("leaderboard")
    same = ("success_rate", "suite_hash", "planned_tests", "total_tests", "successful_tests")
    assert {name: again[name] for name in same} == {name: board[name] for name in same}
    assert resumed.ret == whole.ret == 1


def figures_of(row):
    return {name: row[name] for name in ("success", "error_type", "total_tokens", "steps")}


def test_wall_time_leaves_the_gap_out(trouble):
    trouble("stop")
    (first,) = trouble("", "--smoltrace-resume=last", "--collect-only").runs
    subprocess.run(["sleep", "1.5"], check=True)
    resumed = trouble("", "--smoltrace-resume=last")
    assert resumed.runs == [first]
    roots = [span_times(trace) for trace in resumed.rows("traces")]
    gap_begins = max(end for start, end in roots if start < min(s for s, _ in roots) + 10**9)
    before = [one for one in roots if one[1] <= gap_begins]
    after = [one for one in roots if one[0] > gap_begins]
    assert len(before) == 6
    assert len(after) == 4
    wall = sum(max(e for _, e in part) - min(s for s, _ in part) for part in (before, after))
    (board,) = resumed.rows("leaderboard")
    assert board["wall_time_s"] == pytest.approx(wall / 1e9, abs=1e-6)
    assert max(e for _, e in roots) - min(s for s, _ in roots) > wall + 1.4e9


def span_times(trace):
    root = next(span for span in trace["spans"] if not span["parent_span_id"])
    return int(root["start_time"]), int(root["end_time"])


def test_an_interrupted_case_is_run_again(trouble):
    assert trouble("stop", "-k", "case").ret == 2
    resumed = trouble("", "-k", "case", "--smoltrace-resume=last")
    assert resumed.ran == names(5, 6, 7)
    attempts = [r["outcome"] for r in resumed.rows("results") if "[5]" in r["nodeid"]]
    assert attempts == ["interrupted", "passed"]


def test_trouble_with_the_infrastructure_is_run_again_and_a_failure_is_not(trouble):
    first = trouble("infra")
    assert counted(first)["test_case[2]"]["error_category"] == "infra"
    resumed = trouble("", "--smoltrace-resume=last")
    assert resumed.ran == names(2) | {"test_plain": 1}  # a plain test leaves no trace
    row = counted(resumed)["test_case[2]"]
    assert (row["attempt"], row["outcome"]) == (1, "passed")
    (board,) = resumed.rows("leaderboard")
    assert board["run_stop_reason"] == "completed"


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize(("failed", "status"), [("", 0), ("3", 1)])
def test_nothing_left_gives_the_verdict_of_the_run(trouble, workers, failed, status):
    source = SOURCE if failed else SOURCE.replace('!= "3"', '!= "x"')
    selection = ("-k", "case")
    trouble("", *selection, source=source)
    journal = read_journal(trouble("", "--collect-only", source=source))
    again = trouble("", *selection, "--smoltrace-resume=last", *workers, source=source)
    assert again.ran == {}
    assert again.ret == status
    assert "8 of 8 cases are finished" in again.out
    assert read_journal(again) == journal  # a session that did nothing is no part of the run


def test_a_run_is_resumed_as_often_as_needed(trouble):
    run_id = "--smoltrace-run-id=night"
    trouble("kill", "-k", "case", run_id)
    trouble("kill", "-k", "case", run_id, "--smoltrace-resume=night")
    trouble("stop", "-k", "case", "--smoltrace-resume=nig", "-n", "1")
    last = trouble("", "-k", "case", "--smoltrace-resume=last")
    assert last.ran == names(5, 6, 7)
    attempts = [(r["attempt"], r["outcome"]) for r in last.rows("results") if "[5]" in r["nodeid"]]
    assert attempts == [(0, "crashed"), (1, "crashed"), (2, "interrupted"), (3, "passed")]
    lines = [json.loads(line) for line in read_journal(last).splitlines()]
    assert [line["k"] for line in lines].count("session") == 3
    assert [line["k"] for line in lines].count("plan") == 1


def read_journal(run):
    (folder,) = run.runs
    return (folder / "journal.jsonl").read_bytes()


DIFFERENT = {
    "a case less": (("-k", "not skipped and not 7"), "had another suite: case 'test_it.py::"),
    "model": (("--smoltrace-model=scripted:other",), "--smoltrace-model (scripted:m and "),
    "agent": (("--smoltrace-agent-type=code",), "--smoltrace-agent-type (tool and code)"),
    "setting": (("--smoltrace-temperature=0.5",), "--smoltrace-temperature (unset and 0.5)"),
    "limit": (("--smoltrace-case-timeout=9",), "--smoltrace-case-timeout (unset and 9"),
    "shard": (("--smoltrace-shard=1/2",), "--smoltrace-shard (unset and 1/2)"),
    "id": (("--smoltrace-run-id=other",), "--smoltrace-run-id ("),
    "unknown": (("--smoltrace-resume=nope",), "no run 'nope' in "),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_another_run_is_refused(trouble, what):
    args, word = DIFFERENT[what]
    journal = read_journal(trouble("kill"))
    refused = trouble("", "--smoltrace-resume=last", *args)
    assert refused.ran == {}
    said = refused.refused("--smoltrace-resume")
    assert word in said
    assert read_journal(refused) == journal


def test_another_suite_is_refused_before_a_worker_gets_a_case(trouble):
    journal = read_journal(trouble("kill"))
    refused = trouble("", "--smoltrace-resume=last", "-n", "2", "-k", "not 7")
    assert (refused.ret, refused.ran) == (4, {})
    assert "case 'test_it.py::test_case[7]' (m, tool) is only in that run" in refused.err
    assert "INTERNALERROR" not in refused.out + refused.err
    assert read_journal(refused) == journal


def test_a_case_that_demands_more_is_another_suite(trouble):
    trouble("kill")
    harder = SOURCE.replace(
        '@pytest.mark.parametrize("n"',
        '@pytest.mark.smoltrace(max_steps=3)\n@pytest.mark.parametrize("n"',
    )
    refused = trouble("", "--smoltrace-resume=last", source=harder)
    assert "test_case[0]' (m, tool) has another max_steps" in refused.refused()
    assert "5 more" in refused.err


def test_a_run_that_still_runs_is_refused(trouble):
    killed = trouble("kill")
    (folder,) = killed.runs
    with (folder / "journal.jsonl").open("rb+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        trouble("", "--smoltrace-resume=last").refused("still runs")
    assert trouble("", "--smoltrace-resume=last").ran == names(5, 6, 7) | {
        "test_skipped": 1,
        "test_plain": 1,
    }


@pytest.mark.parametrize("cut", ["in the last line", "before its line end"])
def test_a_torn_journal_is_resumed(trouble, cut):
    trouble("infra", "-k", "case")
    (folder,) = trouble("", "--collect-only").runs
    journal = folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.startswith(b'{"k":"case"'))
    whole = b"".join(lines[: last + 1])
    journal.write_bytes(whole[:-1] if cut == "before its line end" else whole[:-40])
    resumed = trouble("", "-k", "case", "--smoltrace-resume=last")
    assert resumed.ran == names(2) if cut == "before its line end" else names(2, 7)
    assert {row["outcome"] for row in counted(resumed).values()} == {"passed", "failed"}
    assert len(counted(resumed)) == 8
    if cut == "before its line end":
        assert [r["attempt"] for r in resumed.rows("results") if "[7]" in r["nodeid"]] == [0]


def test_a_run_killed_before_its_plan_begins_anew(trouble):
    trouble("kill")
    (folder,) = trouble("", "--collect-only").runs
    journal = folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    resumed = trouble("", "-k", "case", "--smoltrace-resume=last")
    assert resumed.ran == names(*range(8))
    (board,) = resumed.rows("leaderboard")
    assert (board["planned_tests"], board["run_status"]) == (8, "completed")


def test_another_environment_is_said(trouble):
    trouble("kill")
    (folder,) = trouble("", "--collect-only").runs
    journal = folder / "journal.jsonl"
    header, rest = journal.read_bytes().split(b"\n", 1)
    data = json.loads(header)
    data["environment"]["package_versions"]["smolagents"] = "1.0.0"
    journal.write_bytes(json.dumps(data).replace('": ', '":').encode() + b"\n" + rest)
    resumed = trouble("", "--smoltrace-resume=last")
    assert "resumed with another environment: smolagents 1.0.0, now " in resumed.out


def test_secrets_and_hidden_content_do_not_hide_what_is_done(trouble, monkeypatch):
    monkeypatch.setenv("ACME_API_KEY", "sk-1234567890abcdef1234567890abcdef")
    source = SOURCE.replace(
        "range(8)", 'range(8), ids=lambda n: f"{n}-" + os.environ["ACME_API_KEY"]'
    )
    for flags in ((), ("--smoltrace-hide-content",)):
        name = f"--smoltrace-run-id=r{len(flags)}"
        first = trouble("kill", name, *flags, "-k", "case", source=source)
        assert len(first.ran) == 6
        again = trouble(
            "", f"--smoltrace-resume=r{len(flags)}", *flags, "-k", "case", source=source
        )
        assert len(again.ran) == 3, again.out


def test_one_process_ends_with_its_lock(suite, pytester):
    """A resumed journal can be resumed again in the same interpreter."""
    suite("--co", source="def test_a(ask):\n    ask('fail 500')\n")
    args = ["-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "--smoltrace-model=scripted:m"]
    script = (
        "import sys, pytest\n"
        f"args = {args!r} + ['--smoltrace-max-retries=0', 'test_it.py']\n"
        "print([int(pytest.main(args + more)) for more in ([], ['--smoltrace-resume=last'] , "
        "['--smoltrace-resume=last'])])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=pytester.path,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().splitlines()[-1] == "[1, 1, 1]"


def test_a_plan_without_an_attempt_is_checked_too(trouble):
    plain = 'def test_plain_first():\n    assert not trouble("plain")\n\n'
    source = SOURCE.replace("@pytest.mark.parametrize", f"{plain}@pytest.mark.parametrize")
    stopped = trouble("plain", "-x", source=source)
    assert stopped.rows("results") == []
    refused = trouble("", "-k", "not 7", "--smoltrace-resume=last", source=source)
    assert "test_case[7]' (m, tool) is only in that run" in refused.refused()
    resumed = trouble("", "--smoltrace-resume=last", source=source)
    (board,) = resumed.rows("leaderboard")
    assert (board["planned_tests"], board["run_status"]) == (9, "completed")
    assert [line.count(b'"k":"plan"') for line in read_journal(resumed).splitlines()].count(1) == 1


def test_a_module_that_cannot_be_imported_hides_no_plan_from_workers(trouble, pytester):
    pytester.makepyfile(test_zz="import nope")
    first = trouble("infra", "-n", "2")
    assert first.ret == 1
    assert b'"k":"plan"' in read_journal(first)
    resumed = trouble("", "-n", "2", "--smoltrace-resume=last")
    assert resumed.ret == 1
    assert resumed.ran == names(2) | {"test_plain": 1}
    assert counted(resumed)["test_case[2]"]["attempt"] == 1
    assert b'"k":"session"' in read_journal(resumed)


VERDICTS = """
import os, signal
import pytest

@pytest.mark.xfail(strict=True)
def test_strict(ask):
    ask("answer 1")

def test_again(ask):
    ask("answer 1")
    if not os.path.exists("seen"):
        open("seen", "w").close()
        assert 0

def test_last(ask):
    if os.environ["TROUBLE"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("only", "status"), [("again or last", 0), ("strict or last", 1)])
def test_the_verdict_is_that_of_pytest(trouble, only, status):
    flags = ("-k", only, "--reruns=1")
    assert trouble("", *flags, "--smoltrace-run-id=whole", source=VERDICTS).ret == status
    subprocess.run(["rm", "-f", "seen"], check=True)
    assert trouble("kill", *flags, "--smoltrace-run-id=night", source=VERDICTS).ret == -9
    resumed = trouble("", *flags, "--smoltrace-resume=night", source=VERDICTS)
    assert resumed.ret == status, resumed.out


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "workers"])
def test_a_run_is_named_by_its_path(suite, pytester, monkeypatch, workers):
    source = """
        import os, signal

        def test_one(ask, smoltrace_session, tmp_path):
            ask("answer 1")
            assert (smoltrace_session.directory / "journal.jsonl").is_file()
            if os.environ["TROUBLE"]:
                os.kill(os.getpid(), signal.SIGKILL)
            os.chdir(tmp_path)
    """
    monkeypatch.setenv("TROUBLE", "kill")
    suite("--smoltrace-dir=other", "--smoltrace-run-id=night", source=source)
    monkeypatch.setenv("TROUBLE", "")
    resumed = suite("--smoltrace-resume=other/runs/night", *workers)
    assert resumed.ret == 0, resumed.out
    assert (pytester.path / "other/runs/night/summary.json").is_file()
    assert resumed.runs == []


def test_workers_call_no_model_when_their_controller_has_died(trouble, pytester):
    source = """
        import os, signal, time
        import pytest

        @pytest.mark.parametrize("n", range(2))
        def test_case(ask, n):
            for _ in range(30):
                ask("answer 1")
                with open(os.environ["RAN"], "a") as stream:
                    stream.write(f"{time.time()}\\n")
                if n and time.sleep(1) is None:
                    os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(0.3)
    """
    assert trouble("", "-n", "2", source=source).ret == -9
    died = time.time()
    time.sleep(5)
    calls = [float(line) for line in (pytester.path / "ran.txt").read_text().split()]
    assert len(calls) >= 2
    assert max(calls) < died + 2
