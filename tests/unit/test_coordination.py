"""Processes of one host share spending, places at endpoints and waiting cases."""

import gc
import json
import os
import random
import shutil
import socketserver
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import pytest_smoltrace
from pytest_smoltrace import coordination
from pytest_smoltrace.coordination import Coordination, Spent, Wait
from pytest_smoltrace.errors import ConfigError, JournalError

ROOT = Path(pytest_smoltrace.__file__).parents[1]
HEAD = """
import random, socket, sys, threading, time
from pathlib import Path
from pytest_smoltrace.coordination import Coordination

directory, worker, *args = sys.argv[1:]
shared = Coordination(Path(directory), worker)
"""


@pytest.fixture
def processes():
    """Return a function that starts a Python process with what it shares; all end with the test."""
    started = []

    def start(source, directory, worker, *args):
        words = [sys.executable, "-c", HEAD + source, str(directory), worker, *map(str, args)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(words, cwd=ROOT, text=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def shared(tmp_path):
    return Coordination(tmp_path / "shared", "main")


def finished(processes):
    """Wait for all; each must end well."""
    for process in processes:
        assert process.wait(timeout=60) == 0


# Spending


SPENDS = """
number, calls = map(int, args)
for call in range(calls):
    cost = None if call % 10 == 0 else (number + 1) * 0.0001
    shared.spend(cost, None if call % 20 == 0 else call)
    if call % 7 == 0:
        assert shared.spent().calls > call
"""


def test_no_call_of_any_process_is_lost(shared, processes):
    workers = [processes(SPENDS, shared.directory, f"gw{n}", n, 200) for n in range(8)]
    seen = []
    while any(worker.poll() is None for worker in workers):
        seen.append(shared.spent().calls)
        time.sleep(0.01)
    finished(workers)
    ten_thousandths = sum((n + 1) * 180 for n in range(8))
    assert shared.spent() == Spent(
        cost_usd=ten_thousandths / 10_000,
        tokens=8 * (sum(range(200)) - sum(range(0, 200, 20))),
        calls=1600,
        unpriced=8 * 20,
        unmetered=8 * 10,
    )
    assert seen == sorted(seen)
    # One that comes late reads the same in one go.
    assert Coordination(shared.directory, "late").spent() == shared.spent()


def test_costs_add_up_to_the_cent_in_any_order(tmp_path):
    costs = [0.1, 0.2, 0.3, 1e-9, 3.75e-7, 123.456] * 50
    sums = set()
    for seed in range(3):
        shared = Coordination(tmp_path / str(seed), "main")
        random.Random(seed).shuffle(costs)
        for cost in costs:
            shared.spend(cost, 1)
        sums.add(shared.spent().cost_usd)
    assert sums == {6202.80001880}


def test_ten_calls_of_a_mill_are_a_cent(shared):
    for _ in range(10):
        shared.spend(0.001, 1)
        shared.spent()
    assert shared.spent().cost_usd == 0.01


def test_unknown_is_not_zero(shared):
    shared.spend(0.0, 0)
    shared.spend(None, None)
    shared.spend(float("nan"), 5)
    assert shared.spent() == Spent(calls=3, tokens=5, unpriced=2, unmetered=1)


def test_no_price_is_too_large(shared):
    shared.spend(float("inf"), 1)
    assert shared.spent().cost_usd > 1e6


def test_nothing_is_spent_at_first(shared):
    assert shared.spent() == Spent()


def test_half_a_record_is_read_when_it_is_whole(shared):
    shared.spend(1.0, 7)
    (file,) = shared.directory.iterdir()
    record = file.read_bytes()
    with file.open("ab") as stream:
        stream.write(record[:9])
        stream.flush()
        assert (shared.spent().calls, shared.spent().tokens) == (1, 7)
        stream.write(record[9:])
    assert (shared.spent().calls, shared.spent().tokens) == (2, 14)


def test_only_new_records_are_read(shared, monkeypatch):
    read = []

    def spy(path, offset):
        data = original(path, offset)
        read.append(len(data))
        return data

    original = coordination._read_from
    monkeypatch.setattr(coordination, "_read_from", spy)
    for _ in range(5):
        for _ in range(100):
            shared.spend(0.1, 1)
        assert shared.spent().calls == 100 * (len(read))
    assert read == [1600] * 5


def test_threads_record_where_the_kernel_does_not_append_whole(shared, monkeypatch):
    monkeypatch.setattr(coordination, "_APPENDS_WHOLE", False)
    locked = []
    original = coordination.file_lock
    monkeypatch.setattr(
        coordination, "file_lock", lambda *a, **k: locked.append(a) or original(*a, **k)
    )
    threads = [
        threading.Thread(target=lambda: [shared.spend(0.1, 1) for _ in range(20)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared.spent().calls == len(locked) == 80


@pytest.mark.parametrize("vanishes", ["directory", "file"])
def test_spending_that_cannot_be_recorded_is_said_in_one_line(shared, vanishes):
    shared.spend(0.5, 3)
    before = shared.spent()
    if vanishes == "directory":
        shutil.rmtree(shared.directory)
    else:
        next(shared.directory.iterdir()).unlink()
    with pytest.raises(JournalError) as caught:
        shared.spend(0.5, 3)
    assert str(shared.directory) in str(caught.value)
    assert "spent" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert shared.spent() == before


def test_reading_beside_spending_is_no_loss(shared):
    """A record that another thread has read already is not taken for a removed one."""
    ended = threading.Event()

    def read():
        while not ended.is_set():
            shared.spent()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(2000):
            shared.spend(0.1, 1)
    finally:
        ended.set()
        reader.join()
    assert shared.spent().calls == 2000


# Places at an endpoint


class Counter(socketserver.ThreadingTCPServer):
    """Counts who is inside: a client connects when it enters and hangs up when it leaves."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Visit)
        self.lock = threading.Lock()
        self.inside = self.most = self.visits = 0

    def enter(self):
        with self.lock:
            self.inside += 1
            self.visits += 1
            self.most = max(self.most, self.inside)

    def leave(self):
        with self.lock:
            self.inside -= 1


class Visit(socketserver.StreamRequestHandler):
    def handle(self):
        self.server.enter()
        self.wfile.write(b"in\n")
        self.rfile.readline()
        self.server.leave()
        self.wfile.write(b"out\n")


@pytest.fixture
def counter():
    with Counter() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


VISITS = """
port, threads, visits, limit = map(int, args)

def visit():
    while (slot := shared.try_slot("https://api.example.com/v1", limit)) is None:
        time.sleep(random.uniform(0.0005, 0.002))
    with socket.create_connection(("127.0.0.1", port)) as connection:
        file = connection.makefile("rwb")
        assert file.readline() == b"in\\n"
        time.sleep(random.uniform(0, 0.004))
        file.write(b"leave\\n")
        file.flush()
        assert file.readline() == b"out\\n"
    slot.release()

def visit_often():
    for _ in range(visits):
        visit()

crowd = [threading.Thread(target=visit_often) for _ in range(threads)]
for thread in crowd:
    thread.start()
for thread in crowd:
    thread.join()
"""


def test_no_more_than_the_limit_are_inside_at_any_time(shared, processes, counter):
    port = counter.server_address[1]
    workers = [processes(VISITS, shared.directory, f"gw{n}", port, 3, 15, 3) for n in range(4)]
    finished(workers)
    assert (counter.visits, counter.inside) == (4 * 3 * 15, 0)
    assert counter.most == 3


HOLDS = """
slots = [shared.try_slot("family", 2) for _ in range(2)]
print([slot is not None for slot in slots], flush=True)
time.sleep(60)
"""


def test_a_killed_process_gives_its_places_back(shared, processes):
    holder = processes(HOLDS, shared.directory, "gw0")
    assert holder.stdout.readline() == "[True, True]\n"
    assert shared.try_slot("family", 2) is None
    assert shared.try_slot("another family", 2) is not None
    holder.kill()
    holder.wait()
    slots = [shared.try_slot("family", 2) for _ in range(3)]
    assert [slot is not None for slot in slots] == [True, True, False]


FORKS = """
import os
shared.try_slot("e", 3).release()
held = shared.try_slot("e", 3)
if os.fork() == 0:
    mine = [shared.try_slot("e", 3) for _ in range(3)]
    print([slot is not None for slot in mine], flush=True)
    mine[0].release()
    mine[0] = shared.try_slot("e", 3)
    print(mine[0] is not None, flush=True)
    shared.spend(1.0, 1)
    os._exit(0)
assert os.wait()[1] == 0
others = [shared.try_slot("e", 3) for _ in range(3)]
print([slot is not None for slot in others])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_takes_its_own_places(shared, processes):
    parent = processes(FORKS, shared.directory, "gw0")
    output, _ = parent.communicate(timeout=60)
    assert output.splitlines() == ["[True, True, False]", "True", "[True, True, False]"]
    assert shared.spent().calls == 1


def test_a_place_is_given_back_once(shared):
    first, second = shared.try_slot("e", 2), shared.try_slot("e", 2)
    assert shared.try_slot("e", 2) is None
    first.release()
    first.release()
    third = shared.try_slot("e", 2)
    first.release()
    assert third is not None
    assert shared.try_slot("e", 2) is None
    second.release()
    third.release()


def test_another_thread_may_give_a_place_back(shared):
    slot = shared.try_slot("e", 1)
    thread = threading.Thread(target=slot.release)
    thread.start()
    thread.join()
    assert shared.try_slot("e", 1) is not None


def test_a_forgotten_place_is_free_again(shared):
    assert shared.try_slot("e", 1) is not None
    gc.collect()
    assert shared.try_slot("e", 1) is not None


def test_two_objects_of_one_process_see_each_other(shared):
    other = Coordination(shared.directory, "gw1")
    slot = shared.try_slot("e", 1)
    assert other.try_slot("e", 1) is None
    slot.release()
    assert other.try_slot("e", 1) is not None


def test_any_name_is_an_endpoint(shared):
    names = ["https://h:1/v1?a=b", "../up", "CON", "\udcff", "", "x" * 5000, "a/b\\c:*"]
    slots = [shared.try_slot(name, 1) for name in names]
    assert None not in slots
    assert [shared.try_slot(name, 1) for name in names] == [None] * len(names)
    assert {path.parent for path in shared.directory.iterdir()} == {shared.directory}


# Waiting cases


WAITS = """
shared.waiting(args[0], "rate limit", 2e9)
print("noted", flush=True)
time.sleep(60)
"""


def test_waiting_cases_of_all_workers(shared, processes):
    before = time.time()
    workers = [processes(WAITS, shared.directory, f"gw{n}", f"t.py::ä[{n}]") for n in range(3)]
    for worker in workers:
        assert worker.stdout.readline() == "noted\n"
    waits = shared.waits()
    assert sorted(waits) == [f"t.py::ä[{n}]" for n in range(3)]
    for wait in waits.values():
        assert (wait.why, wait.until_unix_s) == ("rate limit", 2e9)
        assert before <= wait.since_unix_s <= time.time()


def test_a_wait_that_goes_on_began_when_it_began(shared, monkeypatch):
    clock = iter([100.0, 200.0])
    monkeypatch.setattr(coordination.time, "time", lambda: next(clock))
    shared.waiting("a", "rate limit", 130.0)
    shared.waiting("a", "slot", None)
    assert shared.waits() == {"a": Wait(why="slot", since_unix_s=100.0)}
    shared.waiting("b", "slot", None)
    assert shared.waits() == {"b": Wait(why="slot", since_unix_s=200.0)}
    shared.resumed()
    assert shared.waits() == {}
    shared.resumed()


def test_a_case_waits_until_all_its_threads_go_on(shared):
    shared.waiting("a", "slot", None)
    noted, go = threading.Event(), threading.Event()

    def other():
        shared.waiting("a", "rate limit", None)
        noted.set()
        go.wait(10)
        shared.resumed()

    thread = threading.Thread(target=other)
    thread.start()
    noted.wait(10)
    assert shared.waits()["a"].why == "rate limit"
    go.set()
    thread.join()
    assert shared.waits()["a"].why == "slot"
    shared.resumed()
    assert shared.waits() == {}


@pytest.mark.parametrize(
    "torn",
    [b"", b'{"nodeid": "x"', b"5", b"null", b"[]", b"\xff", b'{"nodeid": "x"}', b'{"why": "x"}'],
)
def test_a_torn_note_is_no_note(shared, torn):
    shared.waiting("a", "slot", None)
    (shared.directory / "wait-torn.json").write_bytes(torn)
    (shared.directory / "wait-folder.json").mkdir()
    assert list(shared.waits()) == ["a"]


def test_a_note_is_a_small_file_and_leaves_nothing(shared):
    shared.waiting("t.py::" + "x" * 200 + "\udcff", "slot", None)
    (file,) = shared.directory.iterdir()
    assert file.stat().st_size < 1000
    json.loads(file.read_text(encoding="ascii"))
    shared.resumed()
    assert list(shared.directory.iterdir()) == []


# The directory


def test_a_vanished_directory_fails_no_case(shared):
    shared.waiting("a", "slot", None)
    held = shared.try_slot("e", 2)
    shutil.rmtree(shared.directory)
    assert shared.waits() == {}
    shared.waiting("a", "slot", None)
    shared.resumed()
    # The process holds to the limit, as it no longer sees the others.
    second = shared.try_slot("e", 2)
    assert second is not None
    assert shared.try_slot("e", 2) is None
    held.release()
    second.release()
    assert shared.try_slot("e", 2) is not None
    assert shared.spent() == Spent()
    assert not shared.directory.exists()
    shared.remove()


def test_create_and_remove():
    shared = Coordination.create()
    try:
        assert shared.directory.name.startswith("smoltrace-")
        if os.name == "posix":
            assert stat.S_IMODE(shared.directory.stat().st_mode) == 0o700
        shared.spend(1.0, 1)
        slot = shared.try_slot("e", 1)
        assert slot is not None
    finally:
        shared.remove()
    assert not shared.directory.exists()
    shared.remove()


def test_no_place_for_the_directory_is_said_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(coordination.tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match=r"temporary directory: No such file.*TMPDIR"):
        Coordination.create()


@pytest.fixture
def created(monkeypatch, tmp_path):
    """What the owner of a session makes."""
    monkeypatch.setattr(coordination.tempfile, "tempdir", str(tmp_path))
    return Coordination.create()


def test_a_worker_joins_what_the_owner_shares(created):
    created.spend(1.0, 1)
    joined = Coordination.join(str(created.directory), "gw0")
    assert joined.directory == created.directory
    assert joined.spent() == created.spent()
    created.remove()
    assert not created.directory.exists()


OWNER = """
made = Coordination.create()
print(made.directory, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs fcntl")
def test_the_directory_of_a_killed_owner_goes_with_its_last_worker(shared, processes):
    owner = processes(OWNER, shared.directory, "main")
    told = owner.stdout.readline().strip()
    workers = [processes(JOINS, shared.directory, f"gw{n}", told) for n in range(2)]
    for worker in workers:
        assert worker.stdout.readline() == "joined\n"
    owner.kill()
    owner.wait()
    for worker in workers:
        assert Path(told).is_dir()
        worker.communicate("\n", timeout=60)
    assert not Path(told).exists()


JOINS = """
joined = Coordination.join(args[0], worker)
print("joined", flush=True)
sys.stdin.readline()
joined.leave()
"""


def test_a_directory_that_two_hosts_see_is_not_the_owners(created, monkeypatch):
    monkeypatch.setattr(coordination, "host_id", lambda: "another host")
    joined = Coordination.join(str(created.directory), "gw0")
    assert joined.directory.name.startswith(created.directory.name)
    assert joined.directory != created.directory
    joined.leave()
    assert not joined.directory.exists()
    assert created.directory.is_dir()


@pytest.mark.parametrize("told", ["/nowhere/on/this/host/smoltrace-ab12", r"C:\T\smoltrace-ab12"])
def test_workers_of_another_host_share_a_directory_of_their_own(monkeypatch, tmp_path, told):
    monkeypatch.setattr(coordination.tempfile, "tempdir", str(tmp_path))
    one, two = (Coordination.join(told, worker) for worker in ("gw0", "gw1"))
    assert one.directory == two.directory
    assert one.directory.parent == tmp_path
    assert one.directory.name.startswith("smoltrace-ab12-")
    one.spend(1.0, 1)
    assert two.spent().calls == 1


def test_an_object_that_is_not_used_writes_nothing(tmp_path):
    Coordination(tmp_path / "a" / "b", "gw0")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_what_a_killed_session_left_is_swept_after_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = (
        "import os, signal\n"
        "from pytest_smoltrace.coordination import Coordination\n"
        "print(Coordination.create().directory, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = [sys.executable, "-c", script]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    old, young = (
        Path(subprocess.run(run, capture_output=True, text=True, check=False, env=env).stdout[:-1])
        for _ in range(2)
    )
    os.utime(old, (1, 1))
    alive = Coordination.create()
    os.utime(alive.directory, (1, 1))
    check = "from pytest_smoltrace.coordination import Coordination; Coordination.create().remove()"
    subprocess.run([sys.executable, "-c", check], check=True, env=env)
    assert [old.exists(), young.exists(), alive.directory.exists()] == [False, True, True]
    alive.remove()
