"""Every way to distribute gives the rows of one process; a worker may die at any point."""

from types import SimpleNamespace

import pytest

from pytest_smoltrace.controller import ungrouped
from tests.plugin.test_xdist import stable

SOURCE = """
import pytest

@pytest.fixture(scope="module")
def shared():
    yield object()

@pytest.mark.xdist_group("cities")
@pytest.mark.parametrize("city", ["Bern", "a@b", "c]@d"])
@pytest.mark.smoltrace(expected_keywords="Bern")
def test_city(ask, shared, city):
    ask(f"call look city=Bern; answer {city}")

class TestGroup:
    pytestmark = pytest.mark.xdist_group("group")

    def test_one(self, ask):
        ask("answer one")

    @pytest.mark.smoltrace(id="second")
    def test_two(self, ask):
        pytest.fail("no good")

def test_plain():
    pass

@pytest.mark.skip(reason="not today")
def test_skipped(ask):
    pass

def test_last(ask):
    ask("fail 500")
"""
ROWS = {
    "test_city[Bern]": ("passed", None),
    "test_city[a@b]": ("failed", "wrong_answer"),
    "test_city[c]@d]": ("failed", "wrong_answer"),
    "test_one": ("passed", None),
    "test_two": ("failed", "assertion"),
    "test_skipped": ("skipped", None),
    "test_last": ("failed", "llm_server_error"),
}
MODES = [
    *(("-n", "2", f"--dist={mode}") for mode in ("load", "loadscope", "loadfile", "loadgroup")),
    ("-n", "2", "--dist=worksteal"),
    ("-d", "--tx", "2*popen"),
    ("-n", "3", "--maxprocesses=1"),
    ("-n", "0"),
    ("-n", "1"),
    ("--dist=loadscope",),  # as an ini file may have it: without workers it means nothing
]
NUMBERS = (
    *("num_tests", "successful_tests", "total_tokens", "avg_steps", "total_tool_calls"),
    *("error_types", "suite_hash", "planned_tests", "run_status", "run_stop_reason"),
)


@pytest.mark.parametrize("mode", MODES, ids=" ".join)
def test_a_mode(suite, pytester, mode):
    single = suite("--smoltrace-dir=one", source=SOURCE)
    single.directory = pytester.path / "one"
    run = suite(*mode)
    run.result.assert_outcomes(passed=3, failed=4, skipped=1)
    assert run.outcomes == ROWS
    assert {name: stable(row) for name, row in run.results.items()} == {
        name: stable(row) for name, row in single.results.items()
    }
    (row,), (board,) = single.rows("leaderboard"), run.rows("leaderboard")
    assert {name: board[name] for name in NUMBERS} == {name: row[name] for name in NUMBERS}
    workers = {row["worker_id"] for row in run.results.values()}
    distributed = "-n" in mode or "--tx" in mode
    assert workers == ({"main"} if not distributed or "0" in mode else workers - {"main"})
    assert len(run.rows("results")) == len(ROWS)


REFUSED = """
print("COLLECTED")

def test_one(ask):
    ask("answer Bern")
"""


@pytest.mark.parametrize(
    "flags",
    [("-n", "2", "--dist=each"), ("--tx", "2*popen", "--dist=each"), ("-f",), ("--looponfail",)],
    ids=" ".join,
)
def test_what_runs_cases_several_times_is_refused(suite, flags):
    run = suite(*flags, "-s", source=REFUSED)
    line = run.refused()
    assert ("--dist each" in line) == ("--dist=each" in flags)
    assert "use --dist load" in line or "run them again with --lf" in line
    assert "COLLECTED" not in run.out
    assert run.runs == []


def test_a_session_without_a_model_may_run_tests_several_times(suite):
    run = suite("-n", "2", "--dist=each", model=None, source="def test_it(): pass")
    run.result.assert_outcomes(passed=2)


DIES = """
import os

def in_worker():
    return os.environ.get("PYTEST_XDIST_WORKER") is not None

def die(where, nodeid=""):
    if os.environ["DIES"] == where and in_worker() and "[2]" in (nodeid or "[2]"):
        os._exit(9)

die("import")

def pytest_collection_modifyitems():
    die("collection")
    if os.environ["PYTEST_XDIST_WORKER"] == "gw0":
        die("first collection")

def pytest_runtest_logstart(nodeid):
    die("start", nodeid)

def pytest_runtest_logfinish(nodeid):
    die("end", nodeid)

def pytest_sessionfinish():
    die("last")

@pytest.fixture
def room(request):
    die("setup", request.node.nodeid)
    yield
    die("teardown", request.node.nodeid)
"""
CASES = """
import pytest
from conftest import die

@pytest.mark.parametrize("n", range(4))
def test_case(ask, room, request, n):
    ask("answer Bern")
    die("call", request.node.nodeid)
"""
PASSED = [("passed", None)]


@pytest.fixture
def dying(suite, monkeypatch):
    """Return a function that runs cases in workers that die somewhere."""

    def run(where, *flags):
        monkeypatch.setenv("DIES", where)
        found = suite("-n", "1", *flags, source=CASES, conftest=DIES)
        assert "INTERNALERROR" not in found.out + found.err, found.out
        assert "Traceback" not in found.out + found.err, found.out
        return found

    return run


def attempts(run):
    """Return number of the case -> (outcome, error type) of each attempt."""
    found = {}
    for row in sorted(run.rows("results"), key=lambda row: row["attempt"]):
        number = row["nodeid"].partition("[")[2].rstrip("]")
        assert row["attempt"] == len(found.setdefault(int(number), []))
        found[int(number)].append((row["outcome"], row["error_type"]))
    return found


@pytest.mark.parametrize("where", ["start", "setup", "call", "teardown"])
def test_a_worker_that_dies_in_a_case(dying, where):
    run = dying(where)
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    lost = [("crashed", "worker_crash")]
    assert attempts(run) == {0: PASSED, 1: PASSED, 2: lost, 3: PASSED}
    (board,) = run.rows("leaderboard")
    assert (board["planned_tests"], board["num_tests"]) == (4, 3)
    assert board["run_stop_reason"] == "completed"
    assert "exit code 1    1 case could not be evaluated (1 worker_crash)" in run.out


@pytest.mark.parametrize("where", ["end", "last"])
def test_a_worker_that_dies_after_a_case_costs_no_case(dying, where):
    run = dying(where)
    assert attempts(run) == dict.fromkeys(range(4), PASSED)
    assert run.ret == (where == "end")  # xdist takes the case before for lost
    (board,) = run.rows("leaderboard")
    assert (board["num_tests"], board["tokens_unknown_attempts"]) == (4, 0)


@pytest.mark.parametrize("where", ["import", "collection"])
def test_workers_that_die_before_they_have_cases(dying, where):
    run = dying(where, "--max-worker-restart=1")
    assert run.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "maximum crashed workers reached: 1" in run.out
    assert run.runs == []


def test_a_worker_that_dies_before_it_has_cases_is_replaced(dying):
    run = dying("first collection")
    assert run.ret == pytest.ExitCode.OK
    assert attempts(run) == dict.fromkeys(range(4), PASSED)
    (board,) = run.rows("leaderboard")
    assert board["planned_tests"] == 4


@pytest.mark.parametrize("where", ["call", "end"])
def test_a_session_without_workers_says_what_is_missing(dying, where):
    run = dying(where, "--max-worker-restart=0")
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    last = PASSED if where == "end" else [("crashed", "worker_crash")]
    assert attempts(run) == {0: PASSED, 1: PASSED, 2: last}
    (board,) = run.rows("leaderboard")
    assert (board["planned_tests"], board["completed_tests"]) == (4, 3)
    assert (board["run_status"], board["run_stop_reason"]) == ("partial", "crash")
    assert run.stop_reason == "crash"
    assert "incomplete     3 of 4 cases of m, tool agent (crash)" in run.out
    assert f"go on with it: --smoltrace-resume={run.runs[0].name}" in run.out


DIES_ONCE = """
import os, pathlib
import pytest

@pytest.mark.parametrize("n", range(4))
def test_case(ask, n):
    ask("answer Bern")
    if n == 1 and not pathlib.Path("died.txt").exists():
        pathlib.Path("died.txt").touch()
        os._exit(9)
"""


# From pytest 9.2 on xdist 3.8 does not see the groups, and it hangs when what is left of a
# worker that died are scopes of one test each: pytest-dev/pytest-xdist#1386 and #1327.
groups = pytest.mark.skipif(hasattr(pytest.Item, "id"), reason="xdist sees no group")


@pytest.mark.parametrize("mode", ["loadscope", "loadfile", pytest.param("loadgroup", marks=groups)])
def test_a_case_that_xdist_runs_again_has_a_row_for_each_attempt(suite, mode):
    mark = 'import pytest\n\npytestmark = pytest.mark.xdist_group("all")\n'
    run = suite("-n", "1", f"--dist={mode}", source=DIES_ONCE.replace("import pytest\n", mark))
    counts = run.result.parseoutcomes()
    rows = run.rows("results")
    outcomes = [row["outcome"] for row in rows]
    assert outcomes.count("crashed") == counts["failed"] == 1
    assert outcomes.count("passed") == counts["passed"]
    assert {row["nodeid"] for row in rows} == {f"test_it.py::test_case[{n}]" for n in range(4)}
    again = sorted((r["attempt"], r["outcome"]) for r in rows if r["nodeid"].endswith("[1]"))
    assert again in ([(0, "crashed"), (1, "passed")], [(0, "crashed")])


@pytest.mark.parametrize(
    ("mode", "nodeid", "plain"),
    [
        ("loadgroup", "test_a.py::test_b@group", "test_a.py::test_b"),
        ("loadgroup", "test_a.py::test_b[a@b]@group", "test_a.py::test_b[a@b]"),
        ("loadgroup", "test_a.py::test_b[a@b]", "test_a.py::test_b[a@b]"),
        ("loadgroup", "dir@1/test_a.py::test_b", "dir@1/test_a.py::test_b"),
        ("load", "test_a.py::test_b@group", "test_a.py::test_b@group"),
    ],
)
def test_the_group_of_a_node_id(mode, nodeid, plain):
    config = SimpleNamespace(option=SimpleNamespace(dist=mode))
    assert ungrouped(nodeid, config) == plain
