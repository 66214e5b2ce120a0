"""The process that reads GPUs, with hours that pass in seconds: `python virtual_sampler.py PLAN`.

All of it is the package's own but its clocks and its waiting, which take the clock of the driver
library (FAKE_NVML_CLOCK) further. PLAN is JSON: `program`, the file to run; `end_ns`, when the end
comes; `late_ns`, how late the process wakes up on average, by chance; `stops`, (when, how long) in
ns it does not run at all; `wall_ns`, the wall clock less the other one; `steps`, (when, by how
much) in ns the wall clock is set.
"""

import json
import mmap
import os
import random
import runpy
import struct
import sys
import time
from importlib import import_module
from pathlib import Path


class Clock:
    """The clock of the driver library, which this process moves."""

    def __init__(self, path):
        with Path(path).open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)

    def __call__(self):
        return struct.unpack("=Q", self._map)[0]

    def set(self, ns):
        self._map[:] = struct.pack("=Q", ns)


class Waiting:
    """Stands for the package's `Ending`."""

    def __init__(self, clock, plan):
        self._clock, self._plan = clock, plan
        self._stops = [tuple(stop) for stop in plan["stops"]]
        self._chance = random.Random(plan["seed"])

    def on_sigterm(self):
        pass

    def wait(self, until_ns):
        at = max(until_ns, self._clock())
        if self._plan["late_ns"]:
            at += round(self._chance.expovariate(1 / self._plan["late_ns"]))
        while self._stops and at >= self._stops[0][0]:
            at = max(at, sum(self._stops.pop(0)))
        self._clock.set(at)
        return at >= self._plan["end_ns"]


def main(plan):
    clock = Clock(os.environ["FAKE_NVML_CLOCK"])
    time.monotonic_ns = clock
    time.time_ns = lambda: (
        clock() + plan["wall_ns"] + sum(by for at, by in plan["steps"] if clock() >= at)
    )
    # Its folder becomes a package, as when it is run.
    runpy.run_path(plan["program"])["_load_package"]()
    child = import_module("smoltrace_sampler.child")
    child.ending = lambda _members: Waiting(clock, plan)
    sys.exit(child.main())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
