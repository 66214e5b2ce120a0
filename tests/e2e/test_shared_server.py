"""One model server for the workers of a host that is not their controller's.

The processes are real; in place of the engine stands a module of its name that serves HTTP.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_smoltrace.capture.weights import CACHE_VARIABLE, SMALL, part_files
from pytest_smoltrace.coordination import Coordination
from tests.truth.suite import ROOT, Finished, environment, plugin_arguments

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, sends signals")

REAL = pytest.mark.skipif(
    find_spec("xllamacpp") is None or part_files(SMALL) is None,
    reason="needs pip install 'pytest-smoltrace[local-small]'",
)
TOKEN = "SMOLTRACE_TEST_TOKEN"
ELSEWHERE = "/not/on/this/host/smoltrace-ab12"
GONE_S = 10.0
WAIT_S = 60.0

ENGINE = '''
"""Serves chat completions that end any agent's run; named after the engine."""
import json, os, pathlib, threading, time, types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = '{"name": "final_answer", "arguments": {"answer": "done"}}'


class CommonParams:
    def __init__(self):
        self.model = types.SimpleNamespace()
        self.cpuparams, self.cpuparams_batch = types.SimpleNamespace(), types.SimpleNamespace()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer("text/plain", str(os.getpid()))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
        message = {"role": "assistant", "content": TEXT}
        whole = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "x", "model": "m", "choices": [whole], "usage": usage}
        if not body.get("stream"):
            return self.answer("application/json", json.dumps(answer))
        piece = {"index": 0, "delta": message, "finish_reason": "stop"}
        chunk = {**answer, "object": "chat.completion.chunk", "choices": [piece]}
        self.answer("text/event-stream", f"data: {json.dumps(chunk)}\\n\\ndata: [DONE]\\n\\n")

    def answer(self, kind, text):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


class Server:
    def __init__(self, params):
        gguf = params.model.path
        with open(gguf + ".started", "a") as log:
            log.write(f"{os.getpid()}\\n")
        if "broken" in gguf:
            raise ValueError("failed to load model")
        if "crash" in gguf:
            os.write(2, b"loading\\nGGML_ASSERT(ok) failed\\n")
            os.abort()
        while "slow" in gguf and not pathlib.Path(gguf + ".go").exists():
            time.sleep(0.01)
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.listening_address = f"http://127.0.0.1:{server.server_port}"
'''

MEMBER = """
import json, os, sys, time, urllib.request
from pytest_smoltrace.capture import local_model, shared_server
from pytest_smoltrace.coordination import Coordination
from pytest_smoltrace.errors import ConfigError

told, name, timeout_s = sys.argv[1:]
local_model.START_TIMEOUT_S = float(timeout_s)
resolve = shared_server.resolve_weights


def slow_weights(name):
    with open(name + ".resolved", "a") as log:
        log.write(f"{os.getpid()}\\n")
    time.sleep(0.5)
    return resolve(name)


shared_server.resolve_weights = slow_weights
shared = Coordination.join(told, f"gw{os.getpid()}")
server = shared_server.SharedServer(shared, name)
url = None
print('"here"', flush=True)
while line := sys.stdin.readline():
    try:
        if line == "join\\n":
            answer = url = server.join()
        elif line == "ask\\n":
            answer = int(urllib.request.urlopen(url, timeout=10).read())
        elif line == "death\\n":
            answer = server.death()
        elif line == "fork\\n":
            if os.fork() == 0:
                os.close(0), os.close(1)
                time.sleep(60)
                os._exit(0)
            answer = None
        elif line == "leave\\n":
            answer = shared.leave()
    except (ConfigError, OSError) as error:
        answer = [type(error).__name__, str(error)]
    print(json.dumps(answer), flush=True)
shared.leave()
"""


class Member:
    """A worker of the host, which does what it is told."""

    def __init__(self, process):
        self.process = process  # says one line at a time

    def begin(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def end(self):
        return json.loads(self.said().readline())

    def said(self):
        """Return what the member says, once it says or has closed something."""
        ready, _, _ = select.select([self.process.stdout], [], [], WAIT_S)
        assert ready, "it says nothing"
        return self.process.stdout

    def __call__(self, word):
        self.begin(word)
        return self.end()

    def kill(self):
        self.process.kill()
        self.process.wait()


class Host:
    """A host: a temporary directory, weights, and the processes that run there."""

    def __init__(self, folder):
        self.folder, self.token = folder, uuid.uuid4().hex
        self.temporary, self.gguf = folder / "tmp", folder / "m.gguf"
        self.temporary.mkdir()
        site = folder / "site"
        site.mkdir()
        (site / "xllamacpp.py").write_text(ENGINE)
        path = os.pathsep.join((str(site), str(ROOT)))
        own = {"PYTHONPATH": path, "TMPDIR": str(self.temporary), TOKEN: self.token}
        self.environ = environment() | own
        self.members = []

    def use(self, name):
        self.gguf = self.folder / name
        self.gguf.write_bytes(b"GGUF")

    def joining(self, count, told=ELSEWHERE, timeout_s=60):
        """Let so many members, all of them present, join at once."""
        words = [sys.executable, "-c", MEMBER, told, str(self.gguf), str(timeout_s)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": self.environ}
        members = [Member(subprocess.Popen(words, text=True, **pipes)) for _ in range(count)]
        self.members += members
        assert [member.end() for member in members] == ["here"] * count
        for member in members:
            member.begin("join")
        return members

    def joined(self, count):
        """Return members that have joined, and what each of them got."""
        members = self.joining(count)
        return members, [member.end() for member in members]

    def alive(self):
        """Return process -> command of the host's processes, zombies left out."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"{TOKEN}={self.token}".encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_text()
            except OSError:
                continue
        return found

    @property
    def servers(self):
        return [pid for pid, command in self.alive().items() if "local_server.py" in command]

    @property
    def started(self):
        return self.noted("started")

    def noted(self, what):
        log = self.gguf.with_name(f"{self.gguf.name}.{what}")
        return [int(line) for line in log.read_text().split()] if log.exists() else []

    @property
    def left(self):
        return sorted(path.name for path in self.temporary.glob("smoltrace-*"))

    def wait_until(self, condition, timeout_s=GONE_S):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, (self.alive(), self.left)
            time.sleep(0.02)

    def is_clear(self):
        return not self.servers and not self.left


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    host.use("m.gguf")
    yield host
    for member in host.members:
        member.process.kill()
        member.process.wait()
        member.process.stdin.close()
        member.process.stdout.close()
    for pid in host.alive():
        os.kill(pid, signal.SIGKILL)


def test_four_workers_at_once_start_one_server(host):
    members, urls = host.joined(4)
    assert len(set(urls)) == 1, urls
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", urls[0])
    assert host.servers == host.started == [members[0]("ask")]
    assert len(host.noted("resolved")) == 1  # which may take minutes, and a gigabyte of disk
    assert [member("death") for member in members] == [None] * 4
    for member in members[:3]:
        member("leave")
    assert members[3]("ask") == host.started[0]
    members[3]("leave")
    host.wait_until(host.is_clear)


def test_the_others_go_on_when_the_one_that_started_it_is_killed(host):
    (starter,), _ = host.joined(1)
    others, _ = host.joined(3)
    starter.kill()
    assert starter.said().read() == ""  # nobody else holds the pipe of an ssh session
    time.sleep(2.5)
    assert [other("ask") for other in others] == host.servers * 3
    late, _ = host.joined(1)
    assert late[0]("ask") == host.started[0]
    assert len(host.started) == 1


def test_nothing_is_left_when_all_are_killed(host):
    members, _ = host.joined(4)
    assert host.left
    for member in members:
        member.process.kill()
    host.wait_until(host.is_clear)


def test_nothing_is_left_when_all_are_killed_while_the_model_loads(host):
    host.use("slow.gguf")
    members = host.joining(3)
    host.wait_until(lambda: host.started)
    for member in members:
        member.process.kill()
    host.wait_until(host.is_clear)


def test_a_killed_starter_leaves_its_server_to_those_who_wait(host):
    host.use("slow.gguf")
    (starter,) = host.joining(1)
    host.wait_until(lambda: host.started)
    others = host.joining(3)
    starter.kill()
    host.gguf.with_name("slow.gguf.go").touch()
    assert len({other.end() for other in others}) == 1
    assert host.servers == host.started == [others[0]("ask")]


def test_a_worker_that_comes_after_the_servers_death_starts_another(host):
    (old, other), (url, _) = host.joined(2)
    os.kill(host.servers[0], signal.SIGKILL)
    host.wait_until(lambda: not host.servers)
    # Who has its address keeps it: a model does not move while a suite runs.
    assert old("ask")[0] == "URLError"
    assert "m on " in old("death")
    assert old("death").endswith("; what it did not answer is llm_connection")
    _, urls = host.joined(3)
    assert len(set(urls)) == 1
    assert urls[0] != url
    assert host.servers == host.started[1:]
    assert other("join") == urls[0]
    assert other("ask") == host.started[1]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken.gguf", "ValueError: failed to load model"),
        ("crash.gguf", "GGML_ASSERT(ok) failed"),
    ],
)
def test_a_model_that_does_not_load_is_one_line_for_every_worker(host, name, reason):
    host.use(name)
    _, said = host.joined(4)
    (kind, line) = said[0]
    assert said == [[kind, line]] * 4
    assert kind == "ConfigError"
    assert (
        line == f"local: on {os.uname().nodename}: the model server ended on {host.gguf}: {reason}"
    )
    assert len(host.started) == 1
    for member in host.members:
        member("leave")
    host.wait_until(host.is_clear)


def test_weights_that_are_not_there_are_one_line_for_every_worker(host):
    host.gguf.unlink()
    _, said = host.joined(3)
    assert said == [said[0]] * 3
    assert said[0][0] == "ConfigError"
    assert "no such file" in said[0][1]
    assert host.servers == []


def test_a_server_that_does_not_come_up_is_given_up(host):
    host.use("slow.gguf")
    members = host.joining(3, timeout_s=1)
    said = [member.end() for member in members]
    assert {kind for kind, _ in said} == {"ConfigError"}
    host.wait_until(lambda: not host.servers)
    assert len(host.started) == 1


def test_a_fork_of_a_killed_worker_keeps_nothing_alive(host):
    (member,), _ = host.joined(1)
    member("fork")
    assert member("ask") == host.servers[0]
    member.kill()
    host.wait_until(host.is_clear)


def test_on_the_controllers_host_the_controller_is_the_last_one(host, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(host.temporary))
    owner = Coordination.create()
    members = host.joining(2, str(owner.directory))
    assert len({member.end() for member in members}) == 1
    assert host.left == [owner.directory.name]
    for member in members:
        member("leave")
    assert host.left == [owner.directory.name]
    assert len(host.servers) == 1
    owner.remove()
    assert host.left == []
    host.wait_until(host.is_clear)


def test_workers_that_come_and_go_lose_no_server(host):
    """The last one removes the directory while the next one is about to join."""
    for _ in range(8):
        (member,), (url,) = host.joined(1)
        assert url.startswith("http"), url
        member.begin("leave")
        (late,), (url,) = host.joined(1)
        assert url.startswith("http"), url
        assert late("ask") in host.started
        late.begin("leave")
    host.wait_until(host.is_clear)


# Whole sessions


CONFTEST = """
import os
from pytest_smoltrace import coordination

if "FAKED_HOST" in os.environ:
    coordination.host_id = lambda: os.environ["FAKED_HOST"]
"""

SUITE = """
import os
from pathlib import Path
import pytest

@pytest.mark.parametrize("n", range(16))
def test_case(smoltrace_agent, n):
    agent = smoltrace_agent()
    port = agent.model.client.base_url.port
    with open("workers.txt", "a") as log:
        log.write(f"{os.environ.get('FAKED_HOST')} {os.getpid()} {port}\\n")
    assert agent.run(f"What is {n} + 1?")
"""
A, B = (f"2*popen//env:FAKED_HOST={name}" for name in "ab")


class Session:
    """A session of pytest whose controller runs on the given host."""

    def __init__(self, host, *options, model=None, suite=SUITE):
        (host.folder / "conftest.py").write_text(CONFTEST)
        (host.folder / "test_generated.py").write_text(suite)
        (host.folder / "pytest.ini").write_text("[pytest]\n")
        self.host = host
        plugins = (*plugin_arguments(), "-p", "no:asyncio", "-p", "no:cov")
        chosen = f"--smoltrace-model={model or f'local:{host.gguf}'}"
        with (host.folder / "output.txt").open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *plugins, chosen, *options],
                cwd=host.folder,
                env=host.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def end(self):
        code = self.process.wait(120)
        self.host.wait_until(self.host.is_clear)
        return Finished(exit_code=code, output=self.output, folder=self.host.folder, served=())

    @property
    def output(self):
        return (self.host.folder / "output.txt").read_text()

    @property
    def workers(self):
        """Return the (host, process, port) that cases ran with."""
        log = self.host.folder / "workers.txt"
        return {tuple(line.split()) for line in log.read_text().splitlines()}

    def ports(self):
        """Return host -> ports of its workers."""
        found = {}
        for name, _, port in self.workers:
            found.setdefault(name, set()).add(port)
        return found


@pytest.fixture
def session(host):
    started = []

    def start(*options, **kwargs):
        started.append(Session(host, *options, **kwargs))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def test_each_host_of_a_session_has_one_server(host, session):
    running = session("--dist=load", "--tx", "2*popen", "--tx", A, "--tx", B)
    finished = running.end()
    assert finished.exit_code == pytest.ExitCode.OK, finished.output
    assert [row["outcome"] for row in finished.results] == ["passed"] * 16
    ports = running.ports()
    assert set(ports) <= {"None", "a", "b"}
    assert all(len(one) == 1 for one in ports.values()), ports
    assert len(set.union(*ports.values())) == len(ports)
    assert len(host.started) == 3


def test_the_controller_starts_none_for_workers_of_other_hosts_alone(host, session):
    python = host.folder / "launcher"
    python.write_text(f'#!/bin/sh\nexport FAKED_HOST=c\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    running = session("--dist=load", "--tx", f"3*popen//python={python}")
    finished = running.end()
    assert finished.exit_code == pytest.ExitCode.OK, finished.output
    assert set(running.ports()) == {"c"}
    assert len(host.started) == 1


def test_a_launcher_on_the_controllers_host_shares_too(host, session):
    python = host.folder / "launcher"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    finished = session("--dist=load", "--tx", f"3*popen//python={python}").end()
    assert finished.exit_code == pytest.ExitCode.OK, finished.output
    assert len(host.started) == 1


@pytest.mark.parametrize("own", [(), ("--tx", "popen")], ids=["others alone", "and its own"])
def test_a_host_whose_server_does_not_start_refuses_the_session(host, session, own):
    # The controller's server starts: it is the second one that is broken.
    engine = ENGINE.replace('"broken" in gguf', '"FAKED_HOST" in os.environ')
    (host.folder / "site" / "xllamacpp.py").write_text(engine)
    finished = session("--dist=load", *own, "--tx", A).end()
    assert finished.exit_code == pytest.ExitCode.USAGE_ERROR, finished.output
    line = f"the model server ended on {host.gguf}: ValueError: failed to load model"
    assert finished.output.count(line) == 1, finished.output
    assert "INTERNALERROR" not in finished.output


SLOW_SUITE = (
    SUITE.replace("    assert agent", "    wait()\n    assert agent")
    + """
def wait():
    import time
    Path("reached").touch()
    deadline = time.monotonic() + 60
    while not Path("go").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""
)


def test_a_server_that_dies_on_another_host_is_said(host, session):
    running = session("--dist=load", "--tx", A, suite=SLOW_SUITE)
    host.wait_until((host.folder / "reached").exists, WAIT_S)
    (pid,) = [pid for pid in host.servers if b"FAKED_HOST" in environ_of(pid)]
    os.kill(pid, signal.SIGKILL)
    host.wait_until(lambda: pid not in host.servers)
    (host.folder / "go").touch()
    finished = running.end()
    assert finished.exit_code == pytest.ExitCode.TESTS_FAILED, finished.output
    assert {row["error_type"] for row in finished.results} == {"llm_connection"}
    death = f"smoltrace: local: the server of m on {os.uname().nodename} died before"
    assert finished.output.count(death) == 1, finished.output


def environ_of(pid):
    return Path(f"/proc/{pid}/environ").read_bytes()


def test_workers_and_controller_killed_at_once_leave_no_server(host, session):
    running = session("--dist=load", "--tx", "popen", "--tx", A, suite=SLOW_SUITE)
    host.wait_until((host.folder / "reached").exists, WAIT_S)
    assert len(host.servers) == 2
    for pid in host.alive():
        if pid not in host.servers:
            os.kill(pid, signal.SIGKILL)
    running.process.wait()
    host.wait_until(lambda: not host.servers)
    assert [name for name in host.left if name.count("-") > 2] == []


@pytest.mark.slow
@REAL
def test_eight_workers_of_one_host_share_the_real_model(host, session):
    """The kernel sees one server, whose weights are in memory once."""
    host.environ["PYTHONPATH"] = str(ROOT)
    cache = os.environ.get(CACHE_VARIABLE)
    host.environ |= {CACHE_VARIABLE: cache} if cache else {}
    running = session("-n", "8", model="local:small", suite=SLOW_SUITE)
    reached = (host.folder / "reached").exists
    host.wait_until(lambda: reached() and len(running.workers) == 8, 300)
    assert len(host.servers) == 1
    assert len({port for _, _, port in running.workers}) == 1
    (host.folder / "go").touch()
    code = running.process.wait(600)
    assert code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), running.output
    host.wait_until(host.is_clear)
    assert "16 items" in running.output or "[16 items]" in running.output
