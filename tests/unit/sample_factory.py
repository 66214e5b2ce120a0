"""Run directories with samples of GPUs, whose energy is known in closed form."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_smoltrace.codec import Plan
from pytest_smoltrace.journal import JournalWriter, encode_case
from pytest_smoltrace.sampler import record as format_
from tests.unit.run_factory import (
    FOOTER,
    HEADER,
    START,
    declared,
    phases,
    record,
    root_spans,
)

CLOCK = "boot-1"
MONO = 5_000_000_000
"""Monotonic time of START, as in `phases`."""
JOULES_PER_WH = 3600.0


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU with a power of mean + amplitude * sin(2 pi t / period) at t seconds after START."""

    uuid: str
    index: int | None = 0
    name: str = "Card X"
    mean_w: float = 300.0
    amplitude_w: float = 0.0
    period_s: float = 7.0
    utilization: float = 50.0
    temperature: float = 40.0
    memory_mib: float = 1000.0
    total_mib: float | None = 8000.0
    counter: bool = True
    parent: int | None = None
    failed: tuple[float, float] = (math.inf, math.inf)
    """Seconds between which it cannot be read."""

    def power_w(self, t):
        return self.mean_w + self.amplitude_w * math.sin(2 * math.pi * t / self.period_s)

    def energy_j(self, t):
        """Return the energy since START."""
        turn = 2 * math.pi / self.period_s
        return self.mean_w * t + self.amplitude_w / turn * (1 - math.cos(turn * t))

    def wh(self, start, end):
        """Return the energy between two seconds: the truth."""
        return (self.energy_j(end) - self.energy_j(start)) / JOULES_PER_WH

    def fields(self, t):
        if self.parent is not None:
            return (math.nan, math.nan, math.nan, math.nan, self.memory_mib)
        energy = 1e6 + 1000 * self.energy_j(t) if self.counter else math.nan
        return (self.power_w(t), energy, self.utilization, self.temperature, self.memory_mib)


def write_samples(
    directory: Path,
    gpus,
    *,
    start_s=-0.5,
    end_s=60.0,
    period_s=0.1,
    clock=CLOCK,
    host="h1",
    step_s=0.0,
    name="a",
):
    """Write one file of samples; `step_s` is added to the wall clock."""
    folder = directory / format_.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    begun = MONO + round(start_s * 1e9)
    header = {
        "format": format_.FORMAT,
        "clock": clock,
        "host": host,
        "vendor": "nvidia",
        "driver": "999.1",
        "period_ns": round(period_s * 1e9),
        "started_mono_ns": begun,
        "wall_offset_ns": START - MONO + round(step_s * 1e9),
        "devices": [
            {"uuid": gpu.uuid, "index": gpu.index, "name": gpu.name, "memory_mib": gpu.total_mib,
             "parent": gpu.parent, "power": "instant"}
            for gpu in gpus
        ],
    }  # fmt: skip
    data = bytearray(json.dumps(header).encode() + b"\n")
    for tick in range(round((end_s - start_s) / period_s) + 1):
        mono = begun + tick * round(period_s * 1e9)
        at = (mono - MONO) / 1e9
        for slot, gpu in enumerate(gpus):
            failed = gpu.failed[0] <= at < gpu.failed[1]
            values = [math.nan] * 5 if failed else gpu.fields(at)
            flags = format_.FAILED if failed else 0
            data += format_.RECORD.pack(format_.DEVICE, slot, flags, tick, mono, 0, *values)
    (folder / f"{name}{format_.SUFFIX}").write_bytes(data)


def write_run(
    directory: Path, cases, *, header=HEADER, parts=(), footer=FOOTER, suite=None
) -> Path:
    """Write the journal of a run.

    Args:
        directory: Run directory.
        cases: Attempts in the order in which they ended.
        header: Its first line.
        parts: (number of attempts before it, further session).
        footer: Its last line.
        suite: All planned cases where the run has a shard of them.
    """
    writer = JournalWriter(directory / "journal.jsonl")
    writer.create(header)
    own = {case.declared.nodeid: case.declared for case in cases}
    planned = tuple(suite or own.values())
    left = frozenset(place for place, one in enumerate(planned) if one.nodeid not in own)
    writer.plan(Plan(planned, left, (header.shard or {}).get("division")))
    begins = dict(parts)
    for place, case in enumerate(cases):
        if place in begins:
            writer.part(begins[place])
        writer.append(encode_case(case))
    writer.close(footer)
    return directory


def case(number, start_s, end_s, gpus=("GPU-a",), **facts):
    """Return an attempt whose phases fill the time from start to end: 30 and 7 ms, and the call."""
    known = {
        "phases": phases(start_s=start_s, call_s=end_s - start_s - 0.037),
        "spans": root_spans(start_s, end_s),
        "clock": CLOCK,
        "host": "h1",
        "cpu_s": 0.5,
        "rss_mib": 100.0,
        "worker_id": f"gw{number}",
        "gpu_uuids": tuple(gpus) or None,
    }
    return record(number, **(known | facts))


def of_model(number, model, *args, **facts):
    """Return an attempt of a run of its own."""
    made = case(number, *args, **facts)
    run = replace(made.runs[0], model=model)
    return replace(made, declared=declared(f"case-{number}", model=model), runs=(run,))
