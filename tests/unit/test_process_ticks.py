"""Ticks of a case: when they come, how many are kept, and who is not in their way."""

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pytest_smoltrace.capture import process_ticks as pt
from pytest_smoltrace.presence import clock_id

ROOT = Path(__file__).parents[2]
SECOND_NS = 1_000_000_000
NAME = "smoltrace-ticks"


def threads():
    return [thread for thread in threading.enumerate() if thread.name == NAME]


@pytest.fixture
def ticks():
    ticks = pt.ProcessTicks()
    ticks.start()
    yield ticks
    ticks.stop()
    assert threads() == []


def often(monkeypatch):
    """Have a tick each 20 ms."""
    monkeypatch.setattr(pt, "_MOST_S", 0.02)
    use = pt.Use
    monkeypatch.setattr(pt, "Use", lambda began_ns, cpu: use(began_ns, cpu, SECOND_NS // 50))


def noted(use, *seconds):
    """Note ticks at these seconds after the beginning, as the thread does when they are due."""
    for second in seconds:
        now_ns = use.began_ns + round(second * SECOND_NS)
        if now_ns >= use.due_ns:
            use.tick(now_ns)
    return [(at - use.began_ns) / SECOND_NS for at, _, _ in use.ticks]


def test_a_tick_says_what_was_used():
    began_ns = time.monotonic_ns()
    use = pt.Use(began_ns, time.process_time())
    spin = time.process_time() + 0.1
    while time.process_time() < spin:
        pass
    use.tick(began_ns + SECOND_NS)
    ((at_ns, cpu_s, rss_mib),) = use.ticks
    assert at_ns == began_ns + SECOND_NS
    assert 0.1 <= cpu_s <= use.cpu_s()
    if sys.platform == "linux":
        pages = int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])
        assert rss_mib == pytest.approx(pages / 1024, rel=0.2)


def test_the_schedule_is_absolute():
    """A late tick does not put off the next one, and one that was missed is not made up for."""
    use = pt.Use(17, 0.0)
    seen = noted(use, 0.5, 0.999, 1.3, 1.9, 2.01, 6.7, 6.9, 7.0)
    assert seen == [1.3, 2.01, 6.7, 7.0]
    assert use.due_ns == 17 + 8 * SECOND_NS


@pytest.mark.parametrize("hours", [0.1, 1 / 6, 0.2, 1, 10])
def test_the_ticks_of_a_long_case_are_bounded(hours):
    whole = round(hours * 3600)
    use = pt.Use(5, 0.0)
    seen = noted(use, *range(1, whole + 1))
    assert min(whole, pt.MOST // 2) <= len(seen) <= pt.MOST
    (step,) = {round(b - a) for a, b in itertools.pairwise(seen)}
    assert seen[0] == step
    assert whole - step < seen[-1] <= whole


def test_a_short_case_has_no_tick(ticks):
    time.sleep(0.4)  # the thread wakes at other moments than the cases begin
    for _ in range(3):
        use = ticks.begin()
        time.sleep(0.7)
        assert ticks.end(use) == ()


def test_ticks_come_on_time(ticks):
    time.sleep(0.3)
    use = ticks.begin()
    time.sleep(2.5)
    seen = [(at - use.began_ns) / SECOND_NS for at, _, _ in ticks.end(use)]
    assert [int(at) for at in seen] in ([1, 2], [1], [2])  # a busy machine may hold one up
    time.sleep(1.2)
    assert len(use.ticks) == len(seen)


def test_the_clock_of_the_machine(ticks):
    assert ticks.clock == clock_id()


def test_only_who_has_begun_has_a_thread():
    ticks = pt.ProcessTicks()
    ticks.end(ticks.begin())
    assert threads() == []
    ticks.start()
    assert len(threads()) == 1
    ticks.stop()
    ticks.end(ticks.begin())
    assert threads() == []


def test_a_clock_that_stands_still_is_no_busy_loop(ticks, monkeypatch):
    looked = []
    use = pt.Use(time.monotonic_ns(), 0.0)
    monkeypatch.setattr(time, "monotonic_ns", lambda: looked.append(1) or use.due_ns - 1)
    ticks._case = use
    assert ticks._look() == pytest.approx(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="forks, reads /proc")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_ticks_come(ticks, monkeypatch):
    def threads():
        return len(list(Path("/proc/self/task").iterdir()))

    often(monkeypatch)
    child = os.fork()
    if child == 0:
        os._exit(threads())
    # Arrow starts the threads of its pool again in a child, where a test before used it.
    usual = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    use = ticks.begin()
    for _ in range(20):
        time.sleep(0.01)
        child = os.fork()
        if child == 0:
            alone = threads() == usual
            began = ticks.begin()
            deadline = time.monotonic() + 10
            while not began.ticks and time.monotonic() < deadline:
                time.sleep(0.02)
            os._exit(7 if alone and ticks.end(began) else 1 + alone)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    before = len(use.ticks)
    time.sleep(0.2)
    assert len(ticks.end(use)) > before > 0


ALONE = """
import os, threading, time, warnings
from pytest_smoltrace.capture import process_ticks as pt

pt._FORK_WARNS = True
warnings.simplefilter("error")
ticks = pt.ProcessTicks()
ticks.start()
use = ticks.begin()
company = threading.Thread(target=time.sleep, args=(1,))
{company}
counts = [threading.active_count()]
os.register_at_fork(after_in_parent=lambda: counts.append(threading.active_count()))
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
counts.append(threading.active_count())
ticks.end(use)
ticks.begin()
counts.append(threading.active_count())
print(counts)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("company", "counts"), [("pass", [2, 1, 1, 2]), ("company.start()", [3, 3, 3, 3])]
)
def test_nobody_is_warned_of_a_thread_because_of_ticks(company, counts):
    """Python says that a process with threads forks, where no other thread is."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE.replace("{company}", company)],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(counts)
