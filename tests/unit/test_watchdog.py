"""Interrupts that come in time, in the right thread, and never after the work has ended."""

import contextlib
import threading
import time

import pytest

from pytest_smoltrace.capture.limits import CaseStopped, Limits
from pytest_smoltrace.capture.watchdog import LimitReached

SHORT_S = 0.1


class LateError(Exception):
    def __init__(self, where):
        super().__init__(f"late in {where}")
        self.where = where


@pytest.fixture
def limits():
    limits = Limits()
    limits.watchdog.start()
    yield limits
    limits.watchdog.stop()


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize("wait", [time.sleep, spin, threading.Event().wait])
def test_whatever_the_main_thread_does_is_interrupted(limits, wait):
    began = time.monotonic()
    with pytest.raises(LateError) as caught, limits.limited(SHORT_S, LateError):
        wait(20)
    assert time.monotonic() - began < 5
    assert "test_watchdog.py" in caught.value.where


def test_work_that_ends_in_time_is_left_alone(limits):
    for _ in range(200):
        with limits.limited(SHORT_S, LateError):
            pass
    time.sleep(2 * SHORT_S)


def test_the_outer_limit_comes_before_the_inner_one(limits):
    with pytest.raises(KeyError), limits.limited(SHORT_S, lambda _: KeyError("outer")):  # noqa: SIM117
        with limits.limited(SHORT_S, lambda _: ValueError("inner")):
            time.sleep(20)


def test_the_inner_limit_leaves_the_outer_work_running(limits):
    inner = limits.limited(SHORT_S, lambda _: ValueError("inner"))
    with limits.limited(20, lambda _: KeyError("outer")):
        with pytest.raises(ValueError, match="inner"), inner:
            time.sleep(20)
        time.sleep(SHORT_S)
        limits.check()


def test_who_swallows_the_interrupt_is_interrupted_again(limits):
    met = []

    def stubborn():
        for _ in range(2):
            try:
                time.sleep(20)
            except BaseException as error:  # noqa: BLE001
                met.append(type(error))
        time.sleep(20)

    with pytest.raises(LateError), limits.limited(SHORT_S, LateError):
        stubborn()
    assert met == [LimitReached, LimitReached]


def test_who_swallows_it_and_ends_is_late_all_the_same(limits):
    swallowed = contextlib.suppress(LimitReached)
    with pytest.raises(LateError), limits.limited(SHORT_S, LateError), swallowed:
        time.sleep(20)


def test_a_thread_is_interrupted_when_it_runs_python_again(limits):
    met = []

    def work():
        try:
            with limits.limited(SHORT_S, LateError):
                for _ in range(400):
                    time.sleep(0.01)
        except LateError as error:
            met.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert len(met) == 1


class Guard:
    """A lock that is taken in Python, as the handlers of `logging` do it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.taken = False

    def acquire(self):
        self.lock.acquire()
        time.sleep(3 * SHORT_S)
        self.taken = True


def test_no_lock_is_lost_when_the_main_thread_is_interrupted(limits):
    guard = Guard()

    def work():
        guard.acquire()
        time.sleep(20)

    with pytest.raises(LateError), limits.limited(SHORT_S, LateError):
        work()
    assert guard.taken


def test_no_lock_is_lost_with_a_thread_that_is_ended(limits):
    guard = Guard()
    guard.lock.acquire()

    def work():
        with contextlib.suppress(LimitReached):
            guard.acquire()
            for _ in range(400):
                time.sleep(0.01)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    time.sleep(SHORT_S)
    limits.watchdog.end(thread)
    time.sleep(SHORT_S)
    guard.lock.release()
    thread.join(3)
    assert guard.taken
    assert not thread.is_alive()


def test_who_waits_at_a_lock_for_ever_is_interrupted_all_the_same(limits):
    guard = Guard()
    guard.lock.acquire()
    began = time.monotonic()
    with pytest.raises(LateError), limits.limited(SHORT_S, LateError):
        guard.acquire()
    assert time.monotonic() - began < 5


def test_what_is_below_an_ended_scope_is_refused(limits):
    refused = []

    def later():
        time.sleep(3 * SHORT_S)
        try:
            limits.check()
        except CaseStopped as stop:
            refused.append(stop.error_type)

    def work(scope):
        limits.enter(scope)
        later()

    threads = []

    def start(scope):
        threads.append(threading.Thread(target=work, args=(scope,)))
        threads[0].start()
        time.sleep(20)

    with pytest.raises(LateError), limits.limited(SHORT_S, LateError) as scope:
        start(scope)
    threads[0].join()
    assert refused == ["timeout"]
    limits.check()


def test_a_sleep_ends_with_its_scope(limits):
    began = time.monotonic()

    def end_soon(scope):
        threading.Timer(SHORT_S, scope.end, ("stop", "timeout")).start()
        limits.sleep(20)

    with pytest.raises(CaseStopped), limits.scope() as scope:
        end_soon(scope)
    assert time.monotonic() - began < 5


def test_two_watchdogs_follow_each_other():
    for _ in range(2):
        limits = Limits()
        limits.watchdog.start()
        with pytest.raises(LateError), limits.limited(SHORT_S, LateError):
            time.sleep(20)
        limits.watchdog.stop()


def test_a_paused_watchdog_interrupts_nobody(limits):
    with limits.limited(SHORT_S, LateError):
        limits.watchdog.paused = True
        time.sleep(3 * SHORT_S)
