"""The driver library of the tests: how it is built, and the machine that it shows."""

import mmap
import os
import signal
import struct
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.gpu.curves import Constant, Sensor, Steps

HERE = Path(__file__).parent
SOURCES = [HERE / f"fake_{part}.c" for part in ("nvml", "sensors", "processes")]
NAME = "libnvidia-ml.so.1"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC")

NOT_SUPPORTED = 3
ROUTES = {
    "energy": ("nvmlDeviceGetTotalEnergyConsumption", "field:83"),
    "power": ("nvmlDeviceGetPowerUsage", "field:185", "field:186"),
    "power_average": ("field:185",),
    "power_instant": ("field:186",),
    "utilization": ("nvmlDeviceGetUtilizationRates",),
    "temperature": ("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"),
    "memory": ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2"),
    "processes": (
        "nvmlDeviceGetProcessUtilization",
        "nvmlDeviceGetProcessesUtilizationInfo",
        "nvmlDeviceGetComputeRunningProcesses_v2",
        "nvmlDeviceGetComputeRunningProcesses_v3",
    ),
}
"""All calls and fields that tell a quantity."""

DRAW = """
def draw(gpu, watts):
    # The power of a GPU whose power is live, from now on.
    import os, time
    with open(os.environ["FAKE_NVML_POWER"], "a") as file:
        file.write(f"{gpu} {time.monotonic_ns()} {watts}\\n")
"""
"""Source of a function for the cases of an inner session."""


class Call(NamedTuple):
    """A call as the library saw it: gpu is -1 where the call is about none."""

    pid: int
    function: str
    gpu: int
    ns: int


class Library:
    """The driver library, whole or without some of its functions."""

    def __init__(self, folder, compiler):
        self._folder, self._compiler = folder, compiler
        self._built = {}
        self._objects = [folder / f"{source.stem}.o" for source in SOURCES]
        for source, made in zip(SOURCES, self._objects, strict=True):
            subprocess.run((compiler, *FLAGS, "-c", source, "-o", made), check=True)

    def folder(self, *missing):
        """Return the folder of the library that lacks these functions."""
        key = frozenset(missing)
        if key not in self._built:
            self._built[key] = self._link(self._folder / str(len(self._built)), sorted(key))
        return self._built[key]

    def _link(self, folder, missing):
        folder.mkdir()
        script = folder / "exports"
        local = "".join(f" {name};" for name in missing)
        script.write_text(f"{{ global: nvml*; local:{local} *; }};\n")
        command = (
            *(self._compiler, "-shared", f"-Wl,-soname,{NAME}", f"-Wl,--version-script,{script}"),
            *("-o", folder / NAME, *self._objects, "-lm"),
        )
        subprocess.run(command, check=True)
        return folder


class Clock:
    """A clock that goes on only when a test says so."""

    def __init__(self, file, ns):
        file.write_bytes(struct.pack("=Q", ns))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 8)

    @property
    def ns(self):
        return struct.unpack("=Q", self._map)[0]

    @ns.setter
    def ns(self, value):
        self._map[:] = struct.pack("=Q", value)

    def advance(self, seconds):
        self.ns += round(seconds * 1e9)


class Driver:
    """The driver that processes find which are started from here on.

    Times are seconds since the zero that `start_at` sets; `start` and `end` of a trouble are its
    period, all the time if not given.
    """

    def __init__(self, folder, monkeypatch, library):
        self._folder, self._monkeypatch, self._library = folder, monkeypatch, library
        self._file = folder / "scenario"
        self._log = folder / "calls"
        self._log.mkdir()
        self.processes_file = folder / "processes"
        self.processes_file.touch()
        self._live_file = folder / "power"
        self._live_file.touch()
        monkeypatch.setenv("FAKE_NVML", str(self._file))
        monkeypatch.setenv("FAKE_NVML_POWER", str(self._live_file))
        monkeypatch.setenv("FAKE_NVML_LOG", str(self._log))
        monkeypatch.setenv("FAKE_NVML_PROCS", str(self.processes_file))
        self._path = os.environ.get("LD_LIBRARY_PATH")
        self._clock = None
        self._t0 = 0
        self._uuids = []
        self.has()
        self.without()

    # The machine

    def has(self, *names, mib=16384, lines=()):
        """Let the machine have these GPUs and no more; return their UUIDs in PCI order."""
        self._uuids = [uuid(place) for place in range(len(names))]
        self._gpus = [f"gpu {i} {self._uuids[i]} {mib} {name}" for i, name in enumerate(names)]
        self._lines = dict.fromkeys(lines, "")
        self._power, self._sensor, self._counter = {}, {}, {}
        self._write()
        return self._uuids

    def has_equal(self, number):
        """Let the machine have so many GPUs of one kind."""
        return self.has(*["Fake H100"] * number)

    def partition(self, gpu, *mib):
        """Cut a GPU into compute instances of these sizes; return their UUIDs."""
        uuids = [mig_uuid(8 * gpu + place) for place in range(len(mib))]
        for place, size in enumerate(mib):
            self._say(f"mig {gpu} {uuids[place]} {size} {place + 1} 0")
        return uuids

    def without(self, *functions):
        """Let the library lack these functions, as one of an older driver does."""
        folders = [str(self._library.folder(*functions)), *([self._path] if self._path else [])]
        self._monkeypatch.setenv("LD_LIBRARY_PATH", os.pathsep.join(folders))

    # Time

    @property
    def clock(self):
        """The clock of the machine; from its first use on time goes on only through it."""
        if self._clock is None:
            file = self._folder / "clock"
            self._clock = Clock(file, self._t0 or 10**12)
            self._monkeypatch.setenv("FAKE_NVML_CLOCK", str(file))
            self.start_at(self._clock.ns)
        return self._clock

    def start_at(self, mono_ns):
        """Let this time of the monotonic clock be zero, for processes started from here on."""
        self._t0 = mono_ns
        self._write()

    def seconds(self, mono_ns):
        """Return a time of the monotonic clock in seconds since zero."""
        return (mono_ns - self._t0) / 1e9

    # What the GPUs do and how their sensors show it

    def power(self, gpu, curve):
        """Let a GPU take this power in W, a number or a curve; its energy is known then."""
        self._power[gpu] = self._curve("power", gpu, curve)

    def live_power(self, gpu, watts):
        """Let a GPU take this power in W until a process draws another one, see DRAW."""
        self._set("power", gpu, f"live {watts!r}")
        self._power[gpu] = watts

    def utilization(self, gpu, curve):
        self._curve("util", gpu, curve)

    def temperature(self, gpu, curve):
        self._curve("temp", gpu, curve)

    def memory(self, gpu, curve, *, instance=None):
        """Let so many MiB be in use, on a GPU or on one of its compute instances."""
        self._curve("used", gpu if instance is None else f"{gpu}/{instance}", curve)

    def sensor(self, gpu, power_refresh, power_window, energy_refresh, *, gain=1.0, phase=0.0):
        """Set the refreshes and the window in s; gain is that of power readings."""
        self._sensor[gpu] = Sensor(
            power_refresh=power_refresh,
            power_window=power_window,
            energy_refresh=energy_refresh,
            gain=gain,
            phase=phase,
        )
        self._set("sensor", gpu, self._sensor[gpu].text)

    def counter(self, gpu, start_j, gain=1.0):
        """Set what the energy counter shows at zero, and by how much it counts too much."""
        self._counter[gpu] = (start_j, gain)
        self._set("counter", gpu, f"{start_j!r} {gain!r}")

    def usage(self, gpu, means):
        """Say what nvmlDeviceGetPowerUsage means: "instant" or "average"."""
        self._set("usage", gpu, means)

    def architecture(self, gpu, code):
        self._set("arch", gpu, code)

    def process(self, gpu, pid, sm, *, start=-1e9, end=1e9, mib=0):
        """Let a process use so many percent of a GPU and so many MiB of it."""
        self._say(f"proc {gpu} {pid} {sm} {start!r} {end!r} {mib}")

    def processes(self, *found):
        """Let these (gpu, pid, sm) be on the GPUs from now on, also for running processes."""
        new = self.processes_file.with_suffix(".new")
        new.write_text("".join(f"{gpu} {pid} {sm}\n" for gpu, pid, sm in found))
        new.replace(self.processes_file)

    # Trouble

    def fault(self, function, code, gpu="*", start=None, end=None):
        """Let a function fail, or `field:ID`, one value of nvmlDeviceGetFieldValues."""
        self._say(f"fault {gpu} {function} {code}{_period(start, end)}")

    def lacks(self, quantity, gpu="*", code=NOT_SUPPORTED, start=None, end=None):
        """Let every call fail that tells a quantity, one of ROUTES."""
        for function in ROUTES[quantity]:
            self.fault(function, code, gpu, start, end)

    def lost(self, gpu, start=None, end=None):
        """Let a GPU be lost, until it is opened again after the end."""
        self._say(f"lost {gpu}{_period(start, end)}")

    def hang(self, function="*", gpu="*", start=None, end=None):
        """Let calls not return before the end; only SIGKILL ends them."""
        self._say(f"hang {gpu} {function}{_period(start, end)}")

    def reset(self, gpu, at):
        """Let the energy counter of a GPU restart at 0."""
        self._say(f"reset {gpu} {at!r}")

    def stuck(self, gpu, start, end):
        """Let the energy counter of a GPU stand still."""
        self._say(f"stuck {gpu}{_period(start, end)}")

    def latency(self, function, microseconds):
        self._say(f"latency {function} {microseconds}")

    # What is true, without asking the library

    def power_w(self, gpu, t):
        return self._power_of(gpu).at(t)

    def energy_j(self, gpu, t0, t1):
        """Return the energy that a GPU took between two times."""
        return self._power_of(gpu).integral(t0, t1)

    def instant_w(self, gpu, t):
        """Return what the sensor shows as the power of now."""
        return self._sensor_of(gpu).instant_w(self._power_of(gpu), t)

    def average_w(self, gpu, t):
        """Return what the sensor shows as the average power of the last second."""
        return self._sensor_of(gpu).average_w(self._power_of(gpu), t)

    def counter_mj(self, gpu, t):
        """Return what the energy counter shows while it was neither reset nor stuck."""
        start_j, gain = self._counter.get(gpu, (1e6, 1.0))
        sensor = self._sensor_of(gpu)
        shown = sensor.shown_at(t, sensor.energy_refresh)
        return int((start_j + gain * self.energy_j(gpu, 0.0, shown)) * 1000)

    def _power_of(self, gpu):
        found = self._power[gpu]
        if hasattr(found, "integral"):
            return found
        lines = [line.split() for line in self._live_file.read_text().splitlines()]
        drawn = [(self.seconds(int(ns)), float(w)) for at, ns, w in lines if int(at) == gpu]
        return Steps((-1e6, found), *drawn)

    def _sensor_of(self, gpu):
        return self._sensor.get(gpu, Sensor())

    # What was asked

    @property
    def log(self):
        """Return all calls in the order of each process."""
        return [
            Call(int(file.name), function, int(gpu), int(ns))
            for file in sorted(self._log.iterdir())
            for function, gpu, ns in map(str.split, file.read_text().splitlines())
        ]

    @property
    def calls(self):
        """Return pid -> function -> how often that process called it, as the library saw it."""
        counts = {}
        for call in self.log:
            counts.setdefault(call.pid, Counter())[call.function] += 1
        return counts

    @property
    def device_calls(self):
        """Return pid -> (function, gpu) -> how often that process called it for that GPU."""
        counts = {}
        for call in self.log:
            counts.setdefault(call.pid, Counter())[call.function, call.gpu] += 1
        return counts

    def close(self):
        """Kill the processes that hang in this driver."""
        mark = f"FAKE_NVML={self._file}".encode()
        for file in self._log.iterdir():
            with suppress(OSError):
                if mark in Path("/proc", file.name, "environ").read_bytes().split(b"\0"):
                    os.kill(int(file.name), signal.SIGKILL)

    def _curve(self, word, gpu, curve):
        found = curve if hasattr(curve, "integral") else Constant(float(curve))
        self._set(word, gpu, found.text)
        return found

    def _set(self, word, gpu, text):
        self._lines[f"{word} {gpu} "] = text
        self._write()

    def _say(self, line):
        self._lines[line] = ""
        self._write()

    def _write(self):
        lines = [f"{word}{text}" for word, text in self._lines.items()]
        self._file.write_text("\n".join([f"t0 {self._t0}", *self._gpus, *lines, ""]))


def _period(start, end):
    if start is None and end is None:
        return ""
    return f" {-1e9 if start is None else start!r} {1e9 if end is None else end!r}"


def uuid(place):
    """Return the UUID of a GPU; those of two differ from their first digit on."""
    return f"GPU-{place + 1:x}{place:07x}-aaaa-bbbb-cccc-{place:012x}"


def mig_uuid(place):
    return f"MIG-{place + 1:x}{place:07x}-dddd-eeee-ffff-{place:012x}"
