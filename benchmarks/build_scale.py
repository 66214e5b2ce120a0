"""CPU and peak memory of building the datasets of many cases, against zstd-1 over the journal.

The journal is made from the bundles of real cases: every copy gets ids, times and texts of its
own. Building and compressing run in processes of their own; imports are outside the clock.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import scripted
import sessions

from pytest_smoltrace.codec import Plan, decode_case, decode_footer, decode_header
from pytest_smoltrace.journal import JournalWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED_CASES = 60
WORDS = ("rain", "sun", "wind", "fog", "hail", "snow", "storm", "cloud", "heat", "frost", "mist")
CHUNK = 1 << 20
_IDS = re.compile(rb'(?<=")(?:[0-9a-f]{32}|[0-9a-f]{16})(?=")')
_TIMES = re.compile(rb"\b1[6-9]\d{17}\b")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--only", choices=("build", "zstd"), help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measured(arguments.only, arguments.run, profile=arguments.profile)))
        return
    print(sessions.conditions())
    with tempfile.TemporaryDirectory() as folder:
        run = journal_of(arguments.cases, Path(folder))
        size = (run / "journal.jsonl").stat().st_size
        print(f"{arguments.cases} cases, journal {size / 1e6:.0f} MB")
        compare(run, arguments.rounds)
        if arguments.profile:
            subprocess.run(
                _command("build", run, "--profile"), env=sessions.environment(), check=True
            )


def compare(run: Path, count: int) -> None:
    results: dict[str, list[dict[str, float]]] = {"build": [], "zstd": []}

    def cpu(name: str) -> float:
        output = subprocess.run(
            _command(name, run), env=sessions.environment(), check=True, stdout=subprocess.PIPE
        )
        results[name].append(json.loads(output.stdout))
        return results[name][-1]["cpu_s"]

    costs = sessions.rounds({"build": lambda: cpu("build"), "zstd": lambda: cpu("zstd")}, count)
    for name, values in costs.items():
        peak = max(one["peak_rss_mib"] for one in results[name])
        shown = " ".join(f"{value:.2f}" for value in values)
        print(f"  {name}: CPU s {shown}; peak {peak:.0f} MiB")
    before = max(one["rss_before_mib"] for one in results["build"])
    print(f"  build / zstd-1 {sessions.paired(costs['build'], costs['zstd'])}")
    print(f"  memory before the build, imports alone: {before:.0f} MiB")


def _command(name: str, run: Path, *more: str) -> list[str]:
    return [sys.executable, __file__, "--only", name, "--run", str(run), *more]


def measured(name: str, run: Path, *, profile: bool) -> dict[str, float]:
    """Do one thing in this process and return what it took."""
    import pyarrow as pa
    import pyarrow.parquet

    from pytest_smoltrace import pipeline

    before = peak_mib()
    started = time.process_time()
    if name == "zstd":
        codec = pa.Codec("zstd", compression_level=1)
        with (run / "journal.jsonl").open("rb") as stream:
            chunks = iter(lambda: stream.read(CHUNK), b"")
            assert sum(len(codec.compress(chunk)) for chunk in chunks)
    elif profile:
        import cProfile

        cProfile.runctx("pipeline.finish(run)", {"pipeline": pipeline, "run": run}, {}, None, 1)
    else:
        pipeline.finish(run)
    return {
        "cpu_s": time.process_time() - started,
        "peak_rss_mib": peak_mib(),
        "rss_before_mib": before,
    }


def peak_mib() -> float:
    """Return the peak of this program alone: getrusage counts that of the parent at its start."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) / 1024


def journal_of(cases: int, folder: Path) -> Path:
    """Return a run directory that holds nothing but a journal of that many cases."""
    bundles: list[bytes] = []
    for agent_type in ("tool", "code"):
        suite = scripted.write_suite(folder / agent_type, agent_type, SEED_CASES // 2)
        sessions.run(suite, folder / "out.json", traced=True)
        (seed,) = (suite / "runs" / "runs").iterdir()
        lines = (seed / "journal.jsonl").read_bytes().splitlines(keepends=True)
        bundles += [a + b for a, b in itertools.pairwise(lines) if _spans(a)]
    run = folder / "run"
    writer = JournalWriter(run / "journal.jsonl")
    writer.create(decode_header(lines[0]))
    declared = decode_case(bundles[0].splitlines()[1]).declared
    writer.plan(Plan(tuple(replace(declared, **_names(number)) for number in range(cases))))
    for number, bundle in enumerate(copies(bundles, cases)):
        writer.open_case(_names(number)["nodeid"], "main", time.time_ns())
        writer.append(bundle.decode().removesuffix("\n"))
    writer.close(decode_footer(lines[-1]))
    return run


def _names(number: int) -> dict[str, str]:
    name = f"test_weather.py::test_weather[{number}]"
    return {"case_id": name, "nodeid": name}


def _spans(line: bytes) -> bool:
    return line.startswith(b'{"k":"spans"')


def copies(bundles: list[bytes], cases: int) -> Iterator[bytes]:
    draw = random.Random(0)
    for number in range(cases):
        bundle = bundles[number % len(bundles)]
        ids = {
            old: b"%0*x" % (len(old), draw.getrandbits(len(old) * 4))
            for old in set(_IDS.findall(bundle))
        }
        delta = number * 10_000_000
        text = " ".join(draw.choices(WORDS, k=12)).encode()
        bundle = _IDS.sub(lambda found, ids=ids: ids[found[0]], bundle)
        bundle = _TIMES.sub(lambda found, delta=delta: b"%d" % (int(found[0]) + delta), bundle)
        bundle = re.sub(rb"on day \d+", b"on day %d (%s)" % (number, text), bundle)
        yield re.sub(rb"test_weather\[\d+\]", b"test_weather[%d]" % number, bundle)


if __name__ == "__main__":
    main()
