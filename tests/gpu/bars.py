"""Runs whose samples the package took in virtual time, and their tables as DuckDB reads them."""

import json
import math
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb

from pytest_smoltrace.build import build
from pytest_smoltrace.exporters import parquet
from pytest_smoltrace.run import load_run
from tests.gpu.curves import Linear, Sine, Square, Steps
from tests.gpu.sampler_child import PROGRAM, Samples
from tests.unit.run_factory import HEADER, START
from tests.unit.sample_factory import CLOCK, MONO, case, write_run

J_PER_WH = 3600.0
SENSORS = ((0.02, 0.01, 0.02), (0.1, 0.025, 0.1), (0.1, 1.0, 0.1))
"""Refresh and window of power and refresh of the counter, in s."""
LATE_S = 0.0005
TABLES = {
    "results": "results",
    "ticks": "metrics",
    "per_gpu": "metrics/per_gpu",
    "board": "leaderboard",
}


def figure(text):
    """Show a figure that a bar limits, where pytest is asked for what passed tests said (-rP)."""
    sys.stdout.write(f"{text}\n")


def curves(seconds):
    """Return four curves of power, each known in closed form."""
    return [
        Sine(300.0, 200.0, 1.3),
        Square(150.0, 450.0, 2.3, 0.4),
        _ramps(seconds),
        _tokens(seconds),
    ]


def _ramps(seconds):
    chance, t, points = random.Random(5), -30.0, []
    while t < seconds + 30:
        points.append((round(t, 3), float(chance.randrange(60, 700))))
        t += chance.uniform(0.2, 3.0)
    return Linear(*points)


def _tokens(seconds):
    """Return the load of a model server: idle, reading a prompt, then making tokens."""
    chance, t, points = random.Random(7), -30.0, []
    while t < seconds + 30:
        for low, high, shortest, longest in (
            (80, 100, 0.1, 1.5),
            (640, 660, 0.05, 0.3),
            (300, 420, 0.3, 4.0),
        ):
            end = t + chance.uniform(shortest, longest)
            while t < end:
                points.append((round(t, 4), round(chance.uniform(low, high), 1)))
                t += chance.uniform(0.05, 0.25)
    return Steps(*points)


def call_case(number, start_s, end_s, uuids, **facts):
    """Return an attempt whose call lasts from start to end; setup and teardown are around it."""
    return case(number, start_s - 0.03, end_s + 0.007, uuids, **facts)


def bare_case(number, start_s, end_s, uuids):
    """Return an attempt that is nothing but its call."""
    made = call_case(number, start_s, end_s, uuids)
    setup, call, teardown = made.phases
    setup = replace(setup, start_mono_ns=call.start_mono_ns)
    teardown = replace(teardown, end_mono_ns=call.end_mono_ns)
    return replace(made, phases=(setup, call, teardown))


def window_s(made):
    """Return start and end of the call of an attempt in seconds."""
    call = next(phase for phase in made.phases if phase.when == "call")
    return (call.start_mono_ns - MONO) / 1e9, (call.end_mono_ns - MONO) / 1e9


class Built:
    """A run that is written as Parquet."""

    def __init__(self, directory):
        self.directory = directory
        self.tables = build(load_run(directory))
        parquet.write(self.tables, directory)

    def rows(self, table, order=None):
        """Return the rows of a table, as DuckDB reads them."""
        file = self.directory / TABLES[table] / "train-00000.parquet"
        query = f"SELECT * FROM '{file}'{f' ORDER BY {order}' if order else ''}"
        with duckdb.connect() as db:
            return db.sql(query).to_arrow_table().to_pylist()

    @property
    def results(self):
        """Return the rows of the results by test."""
        return {row["nodeid"]: row for row in self.rows("results")}

    @property
    def board(self):
        (row,) = self.rows("board")
        return row


class VirtualRun:
    """A run on the GPUs of the driver; seconds count from when its sampler is started."""

    def __init__(self, driver, directory):
        self.driver, self.directory = driver, directory
        self._folder = directory.with_name("samples")
        self._folder.mkdir()
        self.said = []
        driver.start_at(MONO)
        driver.clock.ns = MONO

    def sample(self, uuids, end_s, *, stops=(), steps=(), late_s=LATE_S, seed=1, processes=False):
        """Let the sampler run for so long; return what it said last, None if it had no GPU."""
        plan = {
            "program": str(PROGRAM),
            "end_ns": _at(end_s),
            "late_ns": round(late_s * 1e9),
            "stops": [(_at(at), round(length * 1e9)) for at, length in stops],
            "steps": [(_at(at), round(by * 1e9)) for at, by in steps],
            "wall_ns": START - MONO,
            "seed": seed,
        }
        order = {
            "file": str(self._folder / "a.samples"),
            "uuids": list(uuids),
            "period_s": 0.1,
            "clock": CLOCK,
            "host": "h1",
            "processes": processes,
        }
        done = subprocess.run(
            (
                sys.executable,
                "-P",
                Path(__file__).with_name("virtual_sampler.py"),
                json.dumps(plan),
            ),
            input=json.dumps(order) + "\n",
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert not done.stderr
        self.said = [json.loads(line) for line in done.stdout.splitlines()]
        return self.said[-1]

    @property
    def samples(self):
        """Return what is in the file, read without the package."""
        return Samples(self._folder / "a.samples")

    def build(self, cases, header=HEADER):
        """Return the tables of these attempts."""
        write_run(self.directory, cases, header=header)
        shutil.copytree(self._folder, self.directory / "samples")
        return Built(self.directory)

    def truth_wh(self, start_s, end_s, *gpus):
        """Return what GPUs took between two times, in closed form."""
        joules = (self.driver.energy_j(gpu, start_s, end_s) for gpu in gpus)
        return math.fsum(joules) / J_PER_WH


def _at(seconds):
    return MONO + round(seconds * 1e9)
