"""A signal that stops a session: what was finished stays, and the datasets are there."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
import uuid
from pathlib import Path

import pytest

from pytest_smoltrace.dist import Role
from pytest_smoltrace.signals import Signals
from tests.plugin.conftest import Run
from tests.truth.scripted_server import Reply, ScriptedServer, ToolCall

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")

INT, TERM = (pytest.param(n, id=n.name) for n in (signal.SIGINT, signal.SIGTERM))
BOTH = pytest.mark.parametrize("signum", [INT, TERM])
CAUSE = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
COMMAND = "from pytest_smoltrace.cli import main; raise SystemExit(main())"
START_S = 60.0
END_S = 60.0
GONE_S = 10.0
TOKEN = "SMOLTRACE_TEST_TOKEN"

# What the inner sessions import: a tool and a function that say where they are and hang there.
HANGS = '''

import pathlib as _pathlib, time as _time

def hang(name):
    _pathlib.Path(name).touch()
    deadline = _time.monotonic() + 60
    while _time.monotonic() < deadline:
        _time.sleep(60)

@tool
def wait_for_it(city: str) -> str:
    """Wait.

    Args:
        city: Its name.
    """
    hang("here" if city == "Bern" else city)
    return city

@pytest.fixture
def waits(smoltrace_agent):
    return lambda script, **kw: smoltrace_agent(tools=[look, wait_for_it], **kw).run(script)
'''


class Session(Run):
    """A pytest process that runs, and what it left once it has ended."""

    def __init__(self, folder, command):
        self.folder, self.directory = folder, folder / ".smoltrace"
        self.token = uuid.uuid4().hex
        self.streams = [(folder / name).open("w+") for name in ("stdout.txt", "stderr.txt")]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, TOKEN: self.token},
            stdin=subprocess.DEVNULL,
            stdout=self.streams[0],
            stderr=self.streams[1],
            start_new_session=True,
            # Whoever runs these tests in the background made them ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        self.pid = self.process.pid

    def reaches(self, *names):
        """Wait until the files are there."""
        deadline = time.monotonic() + START_S
        while not all((self.folder / name).exists() for name in names):
            assert time.monotonic() < deadline, f"{names}\n{self.texts()}"
            assert self.process.poll() is None, self.texts()
            time.sleep(0.02)
        time.sleep(0.1)  # from the file to the place that is meant

    def signal(self, signum, *, group=False):
        (os.killpg if group else os.kill)(self.pid, signum)
        return self

    def ends(self):
        """Wait for the end of the process and of all that it started."""
        try:
            self.ret = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            pytest.fail("it goes on\n" + "\n".join(self.texts()), pytrace=False)
        self.out, self.err = self.texts()
        deadline = time.monotonic() + GONE_S
        while left := alive(self.token):
            assert time.monotonic() < deadline, f"{left} still run\n{self.out}\n{self.err}"
            time.sleep(0.05)
        return self

    def texts(self):
        for stream in self.streams:
            stream.seek(0)
        return tuple(stream.read() for stream in self.streams)

    @property
    def board(self):
        (row,) = self.rows("leaderboard")
        return row

    def kill(self):
        for pid in alive(self.token):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for stream in self.streams:
            stream.close()


def alive(token):
    """Return the processes that have the token in their environment, zombies left out."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{TOKEN}={token}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture
def start(suite, pytester):
    """Return a function that starts pytest with the plugin and comes back at once."""
    sessions = []
    own = (pytester.path / "conftest.py").read_text() + HANGS

    def run(source, *args, conftest="", model="scripted:m", before=()):
        (pytester.path / "conftest.py").write_text(own + conftest)
        pytester.makepyfile(test_it=source)
        off = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:randomly")
        command = [*before, sys.executable, "-m", "pytest", *off, f"--smoltrace-model={model}"]
        sessions.append(Session(pytester.path, [*command, *args]))
        return sessions[-1]

    yield run
    for session in sessions:
        session.kill()


def check_stopped(session, signum, *, finished, cut, planned, agent_type="tool"):
    """The finished cases are there, the cut ones are marked, and no rate has them."""
    assert session.ret == pytest.ExitCode.INTERRUPTED, session.out + session.err
    results = session.results
    passed = {name for name, row in results.items() if row["outcome"] == "passed"}
    marked = {name for name, row in results.items() if row["outcome"] == "interrupted"}
    assert (passed, marked) == (set(finished), set(cut))
    for name in cut:
        row = results[name]
        assert (row["error_type"], row["error_category"]) == ("interrupted", "harness")
        assert (row["scored"], row["counted"]) == (False, True)
        assert (row["model"], row["agent_type"]) == ("m", agent_type)
    board = session.board
    assert (board["planned_tests"], board["completed_tests"]) == (planned, len(finished))
    assert (board["num_tests"], board["interrupted_tests"]) == (len(finished), len(cut))
    assert (board["run_status"], board["run_stop_reason"]) == ("partial", "interrupted")
    assert (board["success_rate"], board["error_rate"]) == (100.0, 0.0)
    assert board["avg_tokens_per_test"] == pytest.approx(110)
    assert session.stop_reason == "interrupted"
    assert "KeyboardInterrupt" in session.out
    assert "Traceback" not in session.out + session.err
    stopped = f"stopped by {CAUSE[signum]}: {len(finished)} of {planned} cases finished and kept"
    assert session.out.count(stopped) == 1, session.out


TEST = """
import pytest
from conftest import hang

def test_done(ask):
    ask("answer Bern")

{cut}

def test_never(ask):
    ask("answer Bern")
"""

CUT = {
    "in a tool": """
def test_cut(waits):
    waits("call look city=Bern; call wait_for_it city=Bern; answer Bern")
""",
    "in a fixture's setup": """
@pytest.fixture
def slow():
    hang("here")

def test_cut(ask, slow):
    ask("answer Bern")
""",
    "in a fixture's teardown": """
@pytest.fixture
def slow():
    yield
    hang("here")

def test_cut(slow, ask):
    ask("answer Bern")
""",
}


@BOTH
@pytest.mark.parametrize("place", CUT)
def test_a_signal_in_a_case(start, place, signum):
    session = start(TEST.format(cut=CUT[place]))
    session.reaches("here")
    session.signal(signum).ends()
    check_stopped(session, signum, finished=["test_done"], cut=["test_cut"], planned=3)

    # Both calls of the cut case had ended: what was spent was spent.
    if place == "in a tool":
        assert session.results["test_cut"]["gen_ai.usage.total_tokens"] == 2 * 110
        assert session.results["test_cut"]["tools_used"] == ["look", "wait_for_it"]
        assert session.board["total_tokens"] == 3 * 110


SILENT = """
def test_done(smoltrace_agent):
    smoltrace_agent().run("[[case:done]]")

def test_cut(smoltrace_agent):
    smoltrace_agent().run("[[case:cut]]")

def test_never(smoltrace_agent):
    smoltrace_agent().run("[[case:never]]")
"""


@BOTH
def test_a_signal_while_the_model_is_silent(start, signum):
    final = ToolCall(name="final_answer", arguments={"answer": "Bern"})
    answer = Reply(tool_calls=(final,), prompt_tokens=100, completion_tokens=10)
    cases = {"done": [answer], "cut": [Reply(hang_s=60)], "never": [answer]}
    with ScriptedServer(cases=cases) as server:
        session = start(SILENT, f"--smoltrace-base-url={server.url}", model="openai:m")
        deadline = time.monotonic() + START_S
        while server._started < 2:
            assert time.monotonic() < deadline, session.texts()
            time.sleep(0.02)
        time.sleep(0.2)
        session.signal(signum).ends()
        served = [one.case for one in server.completions]
    check_stopped(session, signum, finished=["test_done"], cut=["test_cut"], planned=3)
    assert served == ["done", "cut"]
    row = session.results["test_cut"]
    # One request was sent and never answered: what it cost is not known.
    assert (row["llm_call_count"], row["gen_ai.usage.total_tokens"]) == (1, None)
    assert session.board["total_tokens"] == 110
    assert session.board["tokens_unknown_attempts"] == 1


STREAMS = """
from conftest import hang

def test_cut(smoltrace_agent):
    for _ in smoltrace_agent().run("[[case:cut]]", stream=True):
        hang("here")
"""


def test_a_signal_between_two_pieces_of_an_answer(start):
    final = ToolCall(name="final_answer", arguments={"answer": "Bern"})
    with ScriptedServer(cases={"cut": [Reply(tool_calls=(final,))]}) as server:
        session = start(STREAMS, f"--smoltrace-base-url={server.url}", model="openai:m")
        session.reaches("here")
        session.signal(signal.SIGTERM).ends()
    row = session.results["test_cut"]
    # The server has answered, and the agent has not read how much that was.
    assert (row["outcome"], row["llm_call_count"]) == ("interrupted", 1)
    assert row["gen_ai.usage.total_tokens"] is None
    assert session.board["tokens_unknown_attempts"] == 1


BETWEEN = {
    "after the case": """
def pytest_runtest_logfinish(nodeid):
    if "test_done" in nodeid:
        hang("here")
""",
    "before the case": """
def pytest_runtest_logstart(nodeid):
    if "test_cut" in nodeid:
        hang("here")
""",
    "before its report is written": """
class Before:
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report):
        if "test_done" in report.nodeid and report.when == "teardown":
            hang("here")

@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session):
    session.config.pluginmanager.register(Before())
""",
    "after its report is written": """
@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    if "test_done" in report.nodeid and report.when == "teardown":
        hang("here")
""",
}


@pytest.mark.parametrize(
    ("place", "signum"),
    [*((place, signal.SIGTERM) for place in BETWEEN), ("after the case", signal.SIGINT)],
)
def test_a_signal_between_cases(start, place, signum):
    cut = "def test_cut(ask):\n    ask('answer Bern')\n"
    session = start(TEST.format(cut=cut), conftest=BETWEEN[place])
    session.reaches("here")
    session.signal(signum).ends()
    began = ["test_cut"] if place == "before the case" else []
    check_stopped(session, signum, finished=["test_done"], cut=began, planned=3)
    assert len(session.rows("results")) == 1 + len(began)


@BOTH
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_a_signal_while_tests_are_collected(start, workers, signum):
    session = start("from conftest import hang\nhang('here')\ndef test_one(): pass\n", *workers)
    session.reaches("here")
    session.signal(signum).ends()
    assert session.ret == pytest.ExitCode.INTERRUPTED
    assert session.runs == []
    assert "KeyboardInterrupt" in session.out
    assert "Traceback" not in session.out + session.err


BUILDS = """
import pathlib, time
from pytest_smoltrace.exporters import parquet

def slow(built, directory, write=parquet.write):
    pathlib.Path("here").touch()
    deadline = time.monotonic() + 60
    while not pathlib.Path("go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return write(built, directory)

parquet.write = slow
"""

PASSES = """
def test_done(ask):
    ask("answer Bern")
"""


@BOTH
def test_a_signal_while_the_datasets_are_built(start, signum):
    session = start(PASSES, conftest=BUILDS)
    session.reaches("here")
    session.signal(signum)
    time.sleep(0.3)
    assert session.process.poll() is None
    (session.folder / "go").touch()
    session.ends()
    assert session.ret == pytest.ExitCode.INTERRUPTED
    assert session.outcomes == {"test_done": ("passed", None)}
    assert session.stop_reason == "completed"  # no case was left to stop
    assert f"{CAUSE[signum]} came when all cases had ended" in session.out
    assert "Traceback" not in session.out + session.err


@BOTH
def test_a_second_signal_ends_the_building_of_datasets(start, signum):
    session = start(TEST.format(cut=CUT["in a tool"]), conftest=BUILDS.replace("here", "builds"))
    session.reaches("here")
    session.signal(signum)
    session.reaches("builds")
    time.sleep(1.1)  # signals in quick succession are one request
    session.signal(signum).ends()
    assert session.ret == pytest.ExitCode.INTERRUPTED
    (directory,) = session.runs
    assert f"make the datasets with: pytest-smoltrace build {directory}\n" in session.out
    assert "Traceback" not in session.out + session.err
    assert not (directory / "summary.json").exists()
    build = [sys.executable, "-c", COMMAND, "build", str(directory)]
    subprocess.run(build, check=True, cwd=session.folder, capture_output=True, timeout=60)
    assert session.outcomes == {
        "test_done": ("passed", None),
        "test_cut": ("interrupted", "interrupted"),
    }


@pytest.mark.parametrize("hook", ["pytest_configure", "pytest_terminal_summary"])
def test_sigterm_outside_of_the_session_leaves_nothing_behind(start, pytester, monkeypatch, hook):
    place = pytester.path / "tmp"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    session = start(
        PASSES,
        conftest=f"""
@pytest.hookimpl(trylast=True)
def {hook}():
    assert [path.name.startswith("smoltrace-") for path in _pathlib.Path("tmp").iterdir()]
    hang("here")
""",
    )
    session.reaches("here")
    session.signal(signal.SIGTERM).ends()
    assert session.ret == -signal.SIGTERM
    assert list(place.iterdir()) == []


SWALLOWS = """
from conftest import hang

def test_done(ask):
    ask("answer Bern")
    try:
        hang("here")
    except BaseException:
        pass

def test_never(ask):
    ask("answer Bern")
"""


def test_a_case_that_swallows_the_interrupt_is_the_last_one(start):
    session = start(SWALLOWS)
    session.reaches("here")
    session.signal(signal.SIGTERM).ends()
    assert session.ret == pytest.ExitCode.INTERRUPTED
    assert session.outcomes == {"test_done": ("passed", None)}
    assert session.stop_reason == "interrupted"


OWN_HANDLER = """
import pathlib, signal

def mine(signum, frame):
    pathlib.Path("mine").touch()

signal.signal(signal.SIGTERM, mine)
"""

OWN = """
import pathlib, signal, time
import conftest

def test_done(ask):
    pathlib.Path("here").touch()
    deadline = time.monotonic() + 60
    while not pathlib.Path("mine").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    ask("answer Bern")
    assert signal.getsignal(signal.SIGTERM) is conftest.mine
"""


def test_a_handler_of_the_user_stays_in_force(start):
    session = start(OWN, conftest=OWN_HANDLER)
    session.reaches("here")
    session.signal(signal.SIGTERM).ends()
    assert session.ret == pytest.ExitCode.OK
    assert session.stop_reason == "completed"
    assert (session.folder / "mine").exists()


FORKS = """
import multiprocessing, signal, time

def test_one(ask):
    ask("answer Bern")
    before = signal.getsignal(signal.SIGTERM)
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    time.sleep(0.5)
    child.terminate()
    child.join(20)
    assert child.exitcode == -signal.SIGTERM
"""

GIVES_BACK = """
import signal, pathlib

def after():
    pathlib.Path("after").write_text(str(signal.getsignal(signal.SIGTERM)))

@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    config.add_cleanup(after)  # of all cleanups, the first is the last to run
"""


def test_a_fork_dies_of_the_signal_and_the_handler_is_given_back(suite, pytester):
    run = suite("-W", "ignore", source=FORKS, conftest=GIVES_BACK)
    assert run.ret == pytest.ExitCode.OK, run.out
    assert run.stop_reason == "completed"
    assert (pytester.path / "after").read_text() in ("0", "Handlers.SIG_DFL")


def through_timeout(start, *flags):
    """Run pytest below `timeout`, whose time is up while a case runs."""
    before = ("nohup", "timeout", *flags, "60")
    session = start(TEST.format(cut=CUT["in a tool"]), before=before)
    session.reaches("here")
    # As its own clock would: it signals its child, then the whole process group.
    session.signal(signal.SIGALRM).ends()
    return session


@pytest.mark.skipif(not (shutil.which("timeout") and shutil.which("nohup")), reason="coreutils")
@pytest.mark.parametrize(("flags", "code"), [((), 124), (("--preserve-status",), 2)])
def test_the_command_timeout(start, flags, code):
    session = through_timeout(start, *flags)
    assert session.ret == code, session.out + session.err
    session.ret = 2
    check_stopped(session, signal.SIGTERM, finished=["test_done"], cut=["test_cut"], planned=3)


# Each class goes to a worker of its own.
TWO_WORKERS = """
import os, pathlib
import pytest

class Cases:
    def test_done(self, ask):
        ask("answer Bern")

    @pytest.mark.smoltrace(difficulty="easy")
    def test_cut(self, waits):
        pathlib.Path(f"pid-{type(self).__name__}").write_text(str(os.getpid()))
        waits(f"call look city=Bern; call wait_for_it city={type(self).__name__}; answer Bern")

    def test_next(self, ask):
        ask("answer Bern")

class TestA(Cases):
    pass

class TestB(Cases):
    pass
"""
SPREAD = ("-n", "2", "--dist=loadscope")


def check_workers_stopped(session, signum, *, tokens):
    assert session.ret == pytest.ExitCode.INTERRUPTED, session.out + session.err
    rows = {row["nodeid"].partition("::")[2]: row for row in session.rows("results")}
    assert {name: row["outcome"] for name, row in rows.items()} == {
        **dict.fromkeys(("TestA::test_done", "TestB::test_done"), "passed"),
        **dict.fromkeys(("TestA::test_cut", "TestB::test_cut"), "interrupted"),
    }
    for name, row in rows.items():
        if name.endswith("test_done"):
            continue
        assert (row["error_type"], row["error_category"]) == ("interrupted", "harness")
        assert (row["scored"], row["counted"]) == (False, True)
        assert (row["model"], row["agent_type"], row["difficulty"]) == ("m", "tool", "easy")
        assert row["case_id"] == row["nodeid"] == f"test_it.py::{name}"
        assert row["worker_id"] in ("gw0", "gw1")
        assert row["gen_ai.usage.total_tokens"] == tokens
    board = session.board
    assert (board["planned_tests"], board["completed_tests"]) == (6, 2)
    assert (board["num_tests"], board["interrupted_tests"]) == (2, 2)
    assert (board["run_status"], board["run_stop_reason"]) == ("partial", "interrupted")
    assert board["success_rate"] == 100.0
    assert board["total_tokens"] == 2 * 110 + 2 * (tokens or 0)
    line = f"stopped by {CAUSE[signum]}: 2 of 6 cases finished and kept, 2 cut off"
    assert session.out.count(line) == 1, session.out
    assert "Traceback" not in session.out + session.err
    assert "INTERNALERROR" not in session.out + session.err


@pytest.mark.parametrize(
    ("to", "signum"),
    [
        ("group", signal.SIGINT),
        ("group", signal.SIGTERM),
        ("controller", signal.SIGINT),
        ("controller", signal.SIGTERM),
        ("controller and group", signal.SIGTERM),  # as `timeout` does
    ],
)
def test_a_signal_with_workers(start, to, signum):
    session = start(TWO_WORKERS, *SPREAD)
    session.reaches("TestA", "TestB")
    if "controller" in to:
        session.signal(signum)
    if "group" in to:
        session.signal(signum, group=True)
    session.ends()
    check_workers_stopped(session, signum, tokens=2 * 110)


DEAF = """
import conftest

def deaf(name, hang=conftest.hang):
    while True:
        try:
            hang(name)
        except BaseException:
            continue

conftest.hang = deaf
"""


@pytest.mark.slow
def test_workers_that_do_not_listen(start):
    session = start(DEAF + TWO_WORKERS, *SPREAD)
    session.reaches("TestA", "TestB")
    session.signal(signal.SIGTERM, group=True).ends()
    # What they did in their case is not known, that they were in it is.
    check_workers_stopped(session, signal.SIGTERM, tokens=None)
    # Where they ran is not known: that is no host of its own.
    ticks = [row for row in session.rows("metrics") if "process_cpu_percent" in row]
    assert {row["host"] for row in ticks} == {os.uname().nodename}


def worker_pid(session, name):
    return int((session.folder / f"pid-{name}").read_text())


ONE_CUT = TWO_WORKERS.replace('waits(f"call look', 'type(self) is TestB and waits(f"call look')


def test_a_worker_that_is_terminated_is_replaced(start):
    session = start(ONE_CUT, "-n", "2")  # loadscope would run the lost case once more
    session.reaches("pid-TestA", "TestB")
    os.kill(worker_pid(session, "TestB"), signal.SIGTERM)
    session.ends()
    assert session.ret == pytest.ExitCode.TESTS_FAILED, session.out + session.err
    rows = {row["nodeid"].partition("::")[2]: row for row in session.rows("results")}
    outcomes = {name: row["outcome"] for name, row in rows.items()}
    assert outcomes == {
        **{f"Test{c}::test_{n}": "passed" for c in "AB" for n in ("done", "cut", "next")},
        "TestB::test_cut": "crashed",
    }
    row = rows["TestB::test_cut"]
    assert (row["error_type"], row["error_category"]) == ("worker_crash", "harness")
    assert (row["scored"], row["counted"]) == (False, True)
    assert row["error"] == f"worker {row['worker_id']} was terminated in the case"
    # The calls that had ended are known, and were paid for.
    assert row["gen_ai.usage.total_tokens"] == 2 * 110
    assert session.board["total_tokens"] == 4 * 110 + 2 * 110
    assert session.stop_reason == "completed"
    assert session.board["run_status"] == "completed"
    assert "replacing crashed worker" in session.out


def test_ctrl_c_in_one_worker_stops_the_session_as_xdist_does(start):
    session = start(ONE_CUT, *SPREAD)
    session.reaches("pid-TestA", "TestB")
    os.kill(worker_pid(session, "TestB"), signal.SIGINT)
    session.ends()
    assert session.ret == pytest.ExitCode.INTERRUPTED, session.out + session.err
    rows = {row["nodeid"].partition("::")[2]: row for row in session.rows("results")}
    assert rows["TestB::test_cut"]["outcome"] == "interrupted"
    assert rows["TestB::test_cut"]["gen_ai.usage.total_tokens"] == 2 * 110
    assert rows["TestB::test_done"]["outcome"] == "passed"
    assert rows["TestA::test_cut"]["outcome"] == "passed"
    assert session.stop_reason == "interrupted"


IN_CODE = """
import pytest
pytestmark = pytest.mark.smoltrace(agent_type="code")

def test_done(waits):
    waits("answer Bern")

def test_cut(waits):
    waits("call look city=Bern; call wait_for_it city=Bern; answer Bern")

def test_never(waits):
    waits("answer Bern")
"""


@BOTH
def test_a_signal_while_generated_code_runs_a_tool(start, signum):
    session = start(IN_CODE)
    session.reaches("here")
    session.signal(signum).ends()
    check_stopped(
        session, signum, finished=["test_done"], cut=["test_cut"], planned=3, agent_type="code"
    )
    assert session.results["test_cut"]["gen_ai.usage.total_tokens"] == 2 * 110


LOCAL_SERVER = """
import pathlib, subprocess, sys
from pytest_smoltrace.capture import local_model

# A child that says where it is reached and then waits for the end of its stdin.
SAYS = 'import sys; print(\\'{"url": "http://127.0.0.1:9"}\\', flush=True); sys.stdin.read()'
# A child that is still loading its weights.
LOADS = 'import pathlib, time; pathlib.Path("here").touch(); time.sleep(60)'

def spawn(server, weights, log):
    code = LOADS if pathlib.Path("loads").exists() else SAYS
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True, start_new_session=True)
    pathlib.Path("server").write_text(str(process.pid))
    return process

local_model.LocalServer._spawn = spawn
local_model._require_runtime = lambda: None
local_model.resolve_weights = lambda name: pathlib.Path(name)
"""


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "xdist"])
def test_the_local_server_ends_with_the_session(start, workers):
    source = TEST.format(cut=CUT["in a fixture's setup"]).replace("ask(", "print(")
    session = start(source, *workers, conftest=LOCAL_SERVER, model="local")
    session.reaches("here")
    server = int((session.folder / "server").read_text())
    assert server in alive(session.token)
    session.signal(signal.SIGTERM).ends()  # all that it started has ended
    assert session.ret == pytest.ExitCode.INTERRUPTED
    assert session.stop_reason == "interrupted"


@BOTH
@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "xdist"])
def test_a_signal_while_the_local_server_starts(start, workers, signum):
    (Path.cwd() / "loads").touch()
    session = start(PASSES, *workers, conftest=LOCAL_SERVER, model="local")
    session.reaches("here")
    session.signal(signum).ends()
    assert session.ret == pytest.ExitCode.INTERRUPTED
    assert session.runs == []
    assert "Traceback" not in session.out + session.err


COMMAND_HANGS = """
import pathlib, time
from pytest_smoltrace.exporters import parquet

def hang(*args):
    pathlib.Path("builds").touch()
    time.sleep(60)

parquet.write = hang
"""


@BOTH
def test_a_signal_in_the_command(start, signum):
    session = start(PASSES)
    session.ends()
    (directory,) = session.runs
    command = [sys.executable, "-c", COMMAND_HANGS + COMMAND, "build", str(directory)]
    build = Session(session.folder, command)
    try:
        build.reaches("builds")
        build.signal(signum).ends()
    finally:
        build.kill()
    assert build.ret == 128 + signum
    assert build.err == f"pytest-smoltrace: stopped by {CAUSE[signum]}\n"
    assert session.outcomes == {"test_done": ("passed", None)}


@BOTH
def test_a_write_is_not_cut_off(signum, request):
    session = types.SimpleNamespace(shouldstop=False)
    signals = Signals(Role(name="standalone"))
    before = signal.getsignal(signal.SIGTERM)
    signals.install(session)
    request.addfinalizer(signals.restore)
    written = []
    with pytest.raises(KeyboardInterrupt), signals.deferred():  # noqa: PT012 - the order is it
        signal.raise_signal(signum)
        written.append("whole")
    assert written == ["whole"]
    assert session.shouldstop == ("SIGTERM" if signum == signal.SIGTERM else False)
    signals.restore()
    assert signal.getsignal(signal.SIGTERM) is before


def test_signals_in_quick_succession_are_one_request(request, monkeypatch):
    signals = Signals(Role(name="standalone"))
    signals.install(types.SimpleNamespace(shouldstop=False))
    request.addfinalizer(signals.restore)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    session = types.SimpleNamespace(exitstatus=0)
    with signals.closing(session, Path("run")) as problems:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert (session.exitstatus, problems) == (0, [])
    monkeypatch.setattr("pytest_smoltrace.signals.REPEAT_S", 0.0)
    with signals.closing(session, Path("run")) as problems:
        signal.raise_signal(signal.SIGINT)
    assert session.exitstatus == pytest.ExitCode.INTERRUPTED
    assert problems[0].endswith("pytest-smoltrace build run")


MANY = """
import pathlib, pytest

@pytest.mark.parametrize("n", range(20))
def test_case(ask, n):
    ask("answer Bern")
    pathlib.Path(f"done-{n}").touch()
"""

BUSY = """
def pytest_runtest_logreport(report):
    if hasattr(report, "node") and "[0]" in report.nodeid and report.when == "teardown":
        hang("here")
"""


def test_reports_that_the_controller_has_not_seen_yet_are_kept(start):
    session = start(MANY, "-n", "1", conftest=BUSY)
    session.reaches("here", "done-3")
    time.sleep(0.5)
    session.signal(signal.SIGTERM).ends()
    done = {f"test_case[{n}]": ("passed", None) for n in range(4)}
    assert session.outcomes == done
    board = session.board
    assert (board["planned_tests"], board["completed_tests"]) == (20, 4)
    assert board["interrupted_tests"] == 0
    assert "4 of 20 cases finished and kept\n" in session.out
    assert "4 passed" in session.out


def test_a_worker_that_is_on_its_way_out_is_not_interrupted_again(request):
    signals = Signals(Role(name="worker", worker_id="gw0"))
    signals.install(types.SimpleNamespace(shouldstop=False))
    request.addfinalizer(signals.restore)

    def told():
        thread = threading.Thread(target=signals.interrupt)
        thread.start()
        thread.join()
        time.sleep(0.1)

    with pytest.raises(KeyboardInterrupt, match="its own"):  # noqa: PT012 - what is unwound
        try:
            raise KeyboardInterrupt("its own")
        finally:
            told()
    with pytest.raises(KeyboardInterrupt, match="the controller"):
        told()
    told()  # once is enough
