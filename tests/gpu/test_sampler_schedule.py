"""When samples are due, when a GPU that failed is tried again, and how the end is noticed."""

import os
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_smoltrace.sampler import ending, processes, slot
from pytest_smoltrace.sampler.device import FailedError
from pytest_smoltrace.sampler.ending import Ending, ThreadedEnding
from pytest_smoltrace.sampler.schedule import Every, Schedule
from tests.gpu.sampler_child import FAILED, RECORD, REOPENED

S = 10**9


@pytest.mark.parametrize("period_ns", [20_000_000, 100_000_000, 333_333_333])
def test_ticks_do_not_drift(period_ns):
    """However late each tick is, the next is due as if it had been in time."""
    schedule = Schedule(5 * S, period_ns)
    rng = np.random.default_rng(1)
    for number in range(1000):
        assert schedule.due_ns == 5 * S + number * period_ns
        late = int(rng.integers(0, period_ns))
        assert schedule.take(schedule.due_ns + late) == number
    assert schedule.missed == 0


@pytest.mark.parametrize(
    ("now", "tick", "missed"),
    [(1.0, 10, 0), (1.099, 10, 0), (1.1, 11, 1), (1.15, 11, 1), (3.0, 30, 20)],
)
def test_whole_periods_that_passed_are_missed(now, tick, missed):
    schedule = Schedule(0, S // 10)
    for number in range(10):
        assert schedule.take(number * S // 10) == number
    assert schedule.take(round(now * S)) == tick
    assert schedule.missed == missed
    assert schedule.due_ns == (tick + 1) * S // 10


def test_a_tick_is_taken_once():
    schedule = Schedule(0, S)
    assert [schedule.take(0), schedule.take(0)] == [0, 1]  # the second before it was due
    assert schedule.missed == 0


@pytest.mark.parametrize(
    ("period_ns", "expected"),
    [
        (S // 10, [0, 5, 10, 15]),
        (S // 50, [0]),
        (S // 4, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]),
        (S, list(range(20))),
        (10 * S, list(range(20))),
    ],
)
def test_twice_a_second_or_as_often_as_there_are_ticks(period_ns, expected):
    every = Every(S // 2, period_ns)
    assert [tick for tick in range(20) if every.is_due(tick)] == expected


def test_what_was_missed_is_made_up_for_at_the_next_tick():
    every = Every(S // 2, S // 10)
    ticks = [0, 1, 4, 7, 8, 9, 10, 12, 21, 22, 26]
    assert [tick for tick in ticks if every.is_due(tick)] == [0, 7, 10, 21, 26]


# A device that fails


class FakeDevice:
    """Fails from one time to another; the handle must be got again after that."""

    def __init__(self, clock, bad_from_s, bad_to_s):
        self.power, self.troubles = "instant", {}
        self._clock, self._bad_from, self._bad_to = clock, bad_from_s * S, bad_to_s * S
        self.opened = []

    def _check(self):
        if self._bad_from <= self._clock.now < self._bad_to:
            raise FailedError(999, "UNKNOWN")

    def open(self):
        self.opened.append(self._clock.now / S)
        self._check()

    def read(self, values, *, every):
        self._check()
        values[:] = (1, 2, 3, 4, 5) if every else (1, 2, *[float("nan")] * 3)
        return self._clock.now

    def processes(self):
        return []


@pytest.fixture
def clock(monkeypatch):
    made = SimpleNamespace(now=0)
    monkeypatch.setattr(slot, "time", SimpleNamespace(monotonic_ns=lambda: made.now))
    return made


def read_records(clock, device, seconds, whole=None):
    """Return the records of a device at 10 Hz."""
    one = slot.Slot(7, "GPU 0", device, whole)
    one.open()
    buffer = bytearray(RECORD.itemsize * 10 * seconds)
    for tick in range(10 * seconds):
        clock.now = tick * S // 10
        one.pack(buffer, tick * RECORD.itemsize, tick, every=tick % 5 == 0)
    return one, np.frombuffer(buffer, RECORD)


def test_a_device_is_tried_each_second_and_after_30_s_each_10(clock):
    device = FakeDevice(clock, 2.3, 65.35)
    one, rows = read_records(clock, device, 90)
    assert device.opened[0] == 0
    # The last of the frequent attempts is within 30 s of the failure.
    expected = [*(n + 0.3 for n in range(3, 33)), 42.3, 52.3, 62.3, 72.3]
    assert device.opened[1:] == pytest.approx(expected)
    failed = (rows["flags"] & FAILED).astype(bool)
    assert np.nonzero(failed)[0].tolist() == list(range(23, 723))
    assert one.failed_ticks == 700
    assert set(rows["flags"][failed] >> 8) == {255}
    assert np.nonzero(rows["flags"] == REOPENED)[0].tolist() == [723]
    for name in ("power", "energy", "utilization", "temperature", "memory"):
        assert np.isnan(rows[name][failed]).all()
        assert not np.isnan(rows[name][723])  # all is read at once, not only when it is due
    assert set(rows["slot"]) == {7}
    assert not one.has_failed


def test_a_short_failure_costs_a_second(clock):
    device = FakeDevice(clock, 2, 2.05)
    one, rows = read_records(clock, device, 5)
    assert one.failed_ticks == 10
    assert device.opened == [0, 3]
    # Patience starts anew with each failure.
    assert np.nonzero(rows["flags"] == REOPENED)[0].tolist() == [30]


def test_a_device_that_cannot_be_opened_at_first(clock):
    device = FakeDevice(clock, 0, 1.5)
    one, rows = read_records(clock, device, 4)
    assert device.opened == [0, 1, 2]
    assert one.failed_ticks == 20
    assert rows["flags"][20] == REOPENED


# The end


@pytest.fixture(params=[Ending, ThreadedEnding])
def pipe(request, monkeypatch):
    """Return what waits, on an input of its own, and the other end of that."""
    read, write = os.pipe()
    monkeypatch.setattr(ending, "_INPUT", read)
    made = request.param()
    yield made, write
    os.close(write) if is_open(write) else None
    time.sleep(0.05)  # the thread reads the end first
    os.close(read)


def is_open(file):
    try:
        os.fstat(file)
    except OSError:
        return False
    return True


def test_waiting_lasts_until_the_time_that_was_asked_for(pipe):
    made, write = pipe
    until = time.monotonic_ns() + S // 5
    os.write(write, b"something\n" * 3)
    assert made.wait(until) is False
    assert time.monotonic_ns() >= until
    assert made.wait(until) is False  # a time that has passed


def test_the_end_is_told_at_the_time_that_was_asked_for(pipe):
    made, write = pipe
    until = time.monotonic_ns() + S // 2
    threading.Timer(0.1, os.close, [write]).start()
    assert made.wait(until) is True
    assert time.monotonic_ns() >= until
    assert made.wait(until) is True


def test_the_end_of_the_parent(pipe, monkeypatch):
    made, _write = pipe
    assert made.wait(0) is False
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert made.wait(0) is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [(b"{}\n", b"{}\n"), (b"{}\nmore", b"{}\n"), (b"{", b""), (b"", b"")],
)
def test_the_order_is_one_whole_line(monkeypatch, text, expected):
    read, write = os.pipe()
    monkeypatch.setattr(ending, "_INPUT", read)
    os.write(write, text)
    os.close(write)
    assert ending.order_line() == expected
    os.close(read)


# Owners of processes


@pytest.fixture
def parents(monkeypatch):
    """Let processes have these parents."""
    found = {}
    monkeypatch.setattr(processes, "_parent", lambda pid: found.get(pid, 0))
    return found


def test_owners(parents):
    parents |= {10: 1, 20: 10, 21: 10, 30: 20, 40: 30, 50: 1, 60: 50}
    owners = processes.Owners(10)
    assert owners.of([10, 20, 21, 30, 40]) == [10, 20, 21, 20, 20]
    assert owners.of([50, 60, 1, 999]) == [0, 0, 0, 0]


def test_a_process_that_ended_keeps_its_owner(parents):
    parents |= {20: 10, 30: 20}
    owners = processes.Owners(10)
    assert owners.of([30]) == [20]
    parents.clear()
    assert owners.of([30]) == [20]
    assert owners.of([]) == []
    assert owners.of([30]) == [0]  # another process may have its number by now


def test_a_circle_of_parents(parents):
    parents |= {20: 30, 30: 20}
    assert processes.Owners(10).of([20]) == [0]


def test_a_parent_by_the_system(tmp_path):
    """Also where the name of the program looks like the fields that follow it."""
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    pid = os.posix_spawn(program, [str(program), "30"], os.environ)
    try:
        assert processes._parent(pid) == os.getpid()
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert processes._parent(2**22 + 7) == 0
