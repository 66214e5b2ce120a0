"""A directory goes with the last process that is present in it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pytest_smoltrace
from pytest_smoltrace.presence import MEMBERS, Presence, host_id, remove

fcntl = pytest.importorskip("fcntl")
ROOT = Path(pytest_smoltrace.__file__).parents[1]
PROCESS = """
import os, sys
from pathlib import Path
from pytest_smoltrace.presence import Presence

one = Presence(Path(sys.argv[1]))
for word in map(str.strip, sys.stdin):
    if word == "enter":
        print("entering", flush=True)
        one.enter()
    elif word == "leave":
        one.leave()
    elif word == "fork" and os.fork() == 0:
        one.leave()
        os._exit(0)
    print(one.held, flush=True)
"""


@pytest.fixture
def process(tmp_path):
    """Return a function that starts a process, and one that tells it something."""
    started = []

    def start():
        words = [sys.executable, "-c", PROCESS, str(tmp_path / "shared")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        one = subprocess.Popen(words, cwd=ROOT, text=True, bufsize=1, **pipes)
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()
        one.wait()
        one.stdin.close()
        one.stdout.close()


def tell(one, word):
    one.stdin.write(f"{word}\n")
    answer = one.stdout.readline()
    return one.stdout.readline() if word == "enter" else answer


def test_the_last_one_removes_the_directory(process, tmp_path):
    shared = tmp_path / "shared"
    one, two = process(), process()
    assert tell(one, "enter") == tell(two, "enter") == "True\n"
    assert tell(one, "leave") == "False\n"
    assert shared.is_dir()
    assert tell(one, "leave") == "False\n"
    assert tell(two, "leave") == "False\n"
    assert list(tmp_path.iterdir()) == []


def test_who_comes_while_the_last_one_removes_it_gets_another(process, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    with (shared / MEMBERS).open("w") as last:
        fcntl.lockf(last, fcntl.LOCK_EX)
        late = process()
        late.stdin.write("enter\n")
        assert late.stdout.readline() == "entering\n"
        time.sleep(0.5)  # it waits for the lock
        remove(shared)
    assert late.stdout.readline() == "True\n"
    with (shared / MEMBERS).open("w") as seen, pytest.raises(BlockingIOError):
        fcntl.lockf(seen, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_fork_is_not_present_and_removes_nothing(process, tmp_path):
    one = process()
    tell(one, "enter")
    assert tell(one, "fork") == "True\n"
    time.sleep(0.2)
    with (tmp_path / "shared" / MEMBERS).open("w") as seen, pytest.raises(BlockingIOError):
        fcntl.lockf(seen, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert tell(one, "leave") == "False\n"
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_locked_nobody_is_present(tmp_path):
    file = tmp_path / "file"
    file.touch()
    one = Presence(file / "below")
    assert not one.enter()
    one.leave()
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_host_is_a_network_of_its_own(monkeypatch):
    assert host_id() == host_id()
    assert str(Path("/proc/self/ns/net").readlink()) in host_id()
    monkeypatch.setattr(Path, "readlink", lambda _: (_ for _ in ()).throw(OSError()))
    assert host_id() == os.uname().nodename
