"""Files of samples with known truth: closed forms of power seen through a model of the sensor."""

import bisect
import json
import math
import random
from dataclasses import dataclass, field

from pytest_smoltrace.attribution import Account, Window
from pytest_smoltrace.sampler.record import DEVICE, FAILED, PROCESS, RECORD, REOPENED
from pytest_smoltrace.samples import load

NAN = math.nan
S = 1_000_000_000
START = 5_000 * S
"""Monotonic clock at the start of every recording; `at` adds to it."""
WALL = 1_700_000_000 * S
PERIOD = S // 10


def at(seconds):
    return START + round(seconds * S)


class Constant:
    def __init__(self, watts):
        self.watts = watts

    def joules(self, t):
        return self.watts * t


class Sine:
    """mean + amplitude * sin(2 pi t / period)."""

    def __init__(self, mean, amplitude, period):
        self.mean, self.amplitude, self.turn = mean, amplitude, 2 * math.pi / period

    def joules(self, t):
        return self.mean * t + self.amplitude / self.turn * (1 - math.cos(self.turn * t))


class Steps:
    """Constant power between instants, the first one being 0."""

    def __init__(self, *steps):
        self.times = [time for time, _ in steps]
        self.watts = [watts for _, watts in steps]
        self.sums = [0.0]
        for k in range(1, len(steps)):
            self.sums.append(
                self.sums[-1] + self.watts[k - 1] * (self.times[k] - self.times[k - 1])
            )

    def joules(self, t):
        k = max(0, bisect.bisect_right(self.times, t) - 1)
        return self.sums[k] + self.watts[k] * (t - self.times[k])


def llm_load(seconds, seed):
    """90 W of idling, bursts of 650 W, and 300 to 420 W while tokens are made."""
    rng = random.Random(seed)
    steps, t = [(-10.0, 90.0)], 0.0
    while t < seconds + 10:
        for watts, low, high in ((90, 0.1, 1.5), (650, 0.05, 0.3)):
            steps.append((t, float(watts)))
            t += rng.uniform(low, high)
        for _ in range(rng.randint(1, 12)):
            steps.append((t, rng.uniform(300, 420)))
            t += rng.uniform(0.1, 0.4)
    return Steps(*steps)


@dataclass
class Card:
    """A device: its true power, and what its sensors make of it."""

    uuid: str = "GPU-0"
    load: object = field(default_factory=lambda: Constant(300.0))
    refresh: float = 0.02
    """Of the power reading, which is the mean of the last `window` seconds."""
    window: float = 0.02
    counter: float | None = 0.02
    """Refresh of the energy counter; None when there is none."""
    power: str | None = "instant"
    has_power: bool = True
    parent: int | None = None
    memory_mib: float = 80.0 * 1024
    used_mib: float = 1000.0
    utilization: float = 50.0
    temperature: float = 60.0
    bare: bool = False
    """An instance that can only tell its memory."""

    def read(self, t):
        """Return the values of a record at so many seconds."""
        values = {
            "power_w": NAN,
            "energy_mj": NAN,
            "utilization": NAN if self.bare else self.utilization,
            "temperature": NAN if self.bare else self.temperature,
            "memory_mib": self.used_mib,
        }
        if self.has_power and not self.bare:
            seen = math.floor(t / self.refresh + 1e-9) * self.refresh
            joules = self.load.joules(seen) - self.load.joules(seen - self.window)
            values["power_w"] = joules / self.window
        if self.counter and not self.bare:
            seen = math.floor(t / self.counter + 1e-9) * self.counter
            values["energy_mj"] = float(math.floor(1e7 + 1000 * self.load.joules(seen)))
        return values


def record(kind, slot, tick, mono_ns, values, *, flags=0, pid=0):
    names = ("power_w", "energy_mj", "utilization", "temperature", "memory_mib")
    return RECORD.pack(
        kind, slot, flags, tick, mono_ns, pid, *(values.get(name, NAN) for name in names)
    )


def header(cards, *, clock="c", period_ns=PERIOD, started=START, wall=WALL, vendor="nvidia"):
    devices = [
        {
            "uuid": card.uuid,
            "index": slot,
            "name": "Fake",
            "memory_mib": card.memory_mib,
            "parent": card.parent,
            "power": card.power,
        }
        for slot, card in enumerate(cards)
    ]
    whole = {
        "format": 1,
        "clock": clock,
        "host": "h",
        "vendor": vendor,
        "driver": "1",
        "period_ns": period_ns,
        "started_mono_ns": started,
        "wall_offset_ns": wall,
        "devices": devices,
    }
    return json.dumps(whole).encode() + b"\n"


def write(
    directory,
    cards,
    seconds,
    *,
    name="a",
    edit=None,
    jitter=None,
    start=0.0,
    period=0.1,
    processes=(),
    **of_header,
):
    """Write the file of a sampler that ran so many seconds from `start`.

    `edit(t, slot, values)` returns other values, "failed", or None for a tick that was missed;
    `processes` has (t, slot, [(pid, owner, utilization)]).
    """
    period_ns = round(period * S)
    folder = directory / "samples"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [header(cards, period_ns=period_ns, started=at(start), **of_header)]
    failed = set()
    for tick in range(round(seconds / period) + 1):
        t = start + tick * period + (jitter(tick) if jitter else 0.0)
        for slot, card in enumerate(cards):
            values = card.read(t)
            values = edit(t, slot, values) if edit else values
            if values == "failed":
                lines.append(record(DEVICE, slot, tick, at(t), {}, flags=FAILED | 15 << 8))
                failed.add(slot)
            elif values is not None:
                flags = REOPENED if slot in failed else 0
                failed.discard(slot)
                lines.append(record(DEVICE, slot, tick, at(t), values, flags=flags))
    for t, slot, rows in processes:
        tick = round((t - start) / period)
        for pid, owner, share in rows:
            values = {"energy_mj": float(owner), "utilization": float(share)}
            lines.append(record(PROCESS, slot, tick, at(t), values, pid=pid))
    (folder / f"{name}.samples").write_bytes(b"".join(lines))
    return directory


def window(place, start, end, **changes):
    """Return the call window of an attempt on GPU-0 between two times in seconds."""
    values = {
        "place": place,
        "run_id": "r",
        "phase": "call",
        "clock": "c",
        "devices": ("GPU-0",),
        "pid": 100 + place,
        **changes,
    }
    return Window(start_mono_ns=at(start), end_mono_ns=at(end), **values)


def account(directory, windows):
    loaded = load(directory)
    assert loaded.warnings == ()
    return Account.of(loaded.series, windows)
