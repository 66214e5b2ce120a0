"""Sessions whose GPUs are sampled, and what they leave behind."""

import time
from pathlib import Path

import pytest

from tests.gpu.sampler_child import Samples

PROGRAM = "sampler/__main__.py"
# Each case notes itself when its setup begins and its teardown has ended.
CASES = """
import os, pathlib, time
import pytest

NOTES = pathlib.Path(__file__).parent / "notes"

def note(name, what):
    with open(NOTES, "a") as file:
        file.write(f"{name} {what} {time.monotonic_ns()} {os.getpid()}\\n")

@pytest.fixture(autouse=True)
def noted(request):
    note(request.node.name, "begins")
    yield
    note(request.node.name, "ends")

@pytest.mark.parametrize("n", range(4))
def test_case(ask, noted, n):
    note(request_name(n), "calls")
    time.sleep(0.25)
    ask("answer yes")
    note(request_name(n), "called")

def request_name(n):
    return f"test_case[{n}]"
"""


class Done:
    """An inner session that has ended, on a machine with a fake driver."""

    def __init__(self, run, driver, folder):
        self.run, self._driver = run, driver
        self._notes = folder / "notes"

    @property
    def folder(self):
        (found,) = self.run.runs
        return found

    @property
    def files(self):
        """Return the files of samples of the only run, oldest first."""
        return sorted((self.folder / "samples").glob("*"))

    @property
    def samples(self):
        (file,) = self.files
        return Samples(file)

    @property
    def samplers(self):
        """Return the processes that asked the driver for more than what there is."""
        calls = self._driver.calls.items()
        return [pid for pid, count in calls if count["nvmlDeviceGetHandleByUUID"]]

    def times(self, what):
        """Return case -> when it noted this, in monotonic ns."""
        lines = [line.rsplit(maxsplit=3) for line in self._notes.read_text().splitlines()]
        return {name: int(ns) for name, noted, ns, _ in lines if noted == what}

    @property
    def pids(self):
        """Return the processes that ran a case."""
        return {int(line.split()[-1]) for line in self._notes.read_text().splitlines()}

    @property
    def lines(self):
        """Return what the session says about GPUs, without their figures."""
        words = ("GPU figures", "GPU metrics")
        return [line for line in self.run.out.splitlines() if any(map(line.__contains__, words))]

    def row(self, n=0):
        return self.run.results[f"test_case[{n}]"]

    @property
    def energies(self):
        """Return name -> energy of the call in Wh."""
        return {name: row["gpu_energy_wh"] for name, row in self.run.results.items()}

    @property
    def board(self):
        (row,) = self.run.rows("leaderboard")
        return row


@pytest.fixture
def gpus(driver):
    """Let the machine have two GPUs that tell everything; return their UUIDs."""
    uuids = driver.has_equal(2)
    equip(driver, 2)
    return uuids


def equip(driver, number):
    """Let GPUs tell everything."""
    for gpu in range(number):
        driver.power(gpu, 100.0 * (gpu + 1))
        driver.sensor(gpu, 0.02, 0.01, 0.02)
        driver.utilization(gpu, 40 + gpu)
        driver.temperature(gpu, 60 + gpu)
        driver.memory(gpu, 1000 + gpu)
    driver.start_at(time.monotonic_ns())


@pytest.fixture
def session(suite, driver, pytester):
    """Return a function that runs cases, a quarter of a second each, in a session."""

    def run(*args, source=CASES, **kwargs):
        return Done(suite(*args, source=source, **kwargs), driver, pytester.path)

    return run


def samplers_alive(folder):
    """Return the processes that sample for sessions in this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            place = (entry / "cwd").readlink()
        except OSError:
            continue
        if PROGRAM.encode() in command and place == folder:
            found.append(int(entry.name))
    return found


def gone(folder, within_s=10):
    """Return whether nobody samples for this folder any more, soon."""
    deadline = time.monotonic() + within_s
    while samplers_alive(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def watt_hours(driver, gpu, begin_ns, end_ns):
    """Return what a GPU took between two times, by the closed form."""
    return driver.energy_j(gpu, driver.seconds(begin_ns), driver.seconds(end_ns)) / 3600
