"""The process that reads GPUs, started and asked as its parent does it."""

import json
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import pytest_smoltrace

PROGRAM = Path(pytest_smoltrace.__file__).parent / "sampler" / "__main__.py"
COMMAND = (sys.executable, "-P", str(PROGRAM))
# Written down here once more, since what is read back is to be found without the package.
RECORD = np.dtype(
    [
        *(("kind", "u1"), ("slot", "u1"), ("flags", "<u2"), ("tick", "<u4")),
        *(("mono_ns", "<i8"), ("pid", "<i8")),
        *((name, "<f8") for name in ("power", "energy", "utilization", "temperature", "memory")),
    ]
)
FIELDS = ("power", "energy", "utilization", "temperature", "memory")
DEVICE, PROCESS = 1, 2
FAILED, REOPENED = 1, 2


class Child:
    """A process that reads GPUs."""

    def __init__(self, command=COMMAND, **popen):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, **popen
        )
        self.heard = []

    @property
    def pid(self):
        return self.process.pid

    def hear(self, timeout_s=20):
        """Return the next line that it says."""
        ready, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        assert ready, "the sampler says nothing"
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        self.heard.append(json.loads(line))
        return self.heard[-1]

    def order(self, file, uuids, **changes):
        """Give the order without waiting for its answer."""
        order = {
            "file": str(file),
            "uuids": list(uuids),
            "period_s": 0.1,
            "clock": "boot-1",
            "host": "here",
            "processes": False,
        }
        self.process.stdin.write(json.dumps(order | changes) + "\n")
        self.process.stdin.flush()

    def close(self):
        """End it if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(OSError):
                pipe.close()
        self.process.wait()

    def end(self):
        """Close its input and return what it says last."""
        self.process.stdin.close()
        return self.farewell()

    def farewell(self):
        last = self.hear()
        assert self.process.wait(timeout=20) == 0
        assert self.process.stdout.read() == self.process.stderr.read() == ""
        return last


class Samples:
    """A file of samples, read without the package."""

    def __init__(self, file):
        head, _, data = Path(file).read_bytes().partition(b"\n")
        assert len(data) % RECORD.itemsize == 0
        self.header = json.loads(head)
        self.records = np.frombuffer(data, RECORD)

    def of(self, slot=0, kind=DEVICE):
        return self.records[(self.records["kind"] == kind) & (self.records["slot"] == slot)]

    def known(self, field, slot=0):
        """Return the records of a device that tell a field."""
        found = self.of(slot)
        return found[~np.isnan(found[field])]

    @property
    def ticks(self):
        return np.unique(self.records["tick"])


@pytest.fixture
def start():
    """Return a function that starts a process that reads GPUs, which ends with the test."""
    started = []

    def run(command=COMMAND, **popen):
        started.append(Child(command, **popen))
        return started[-1]

    yield run
    for child in started:
        child.close()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "a.samples"


@pytest.fixture
def sampled(start, file):
    """Return a function that samples for so long and returns the file and the process."""

    def run(uuids, seconds=0, meanwhile=None, **changes):
        child = start()
        child.hear()
        child.order(file, uuids, **changes)
        assert "ready" in child.hear()
        if meanwhile is not None:
            meanwhile(child)
        time.sleep(seconds)
        child.end()
        return Samples(file), child

    return run
