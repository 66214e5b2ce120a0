"""CPU and memory of the process that reads GPUs, on the driver library of the tests.

All processes of a round run at the same time, each for as long. The floor is a Python process that
waits and writes as often, and asks nothing. What a real driver takes for its answers is not in the
figures: the library of the tests answers in about a microsecond and keeps no log here.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest

import pytest_smoltrace
from tests.gpu.driver import Driver, Library

PROGRAM = Path(pytest_smoltrace.__file__).parent / "sampler" / "__main__.py"
SAMPLER = (sys.executable, "-P", str(PROGRAM))
FLOOR = """
import json, os, select, sys, time
print("{}", flush=True)
order = json.loads(sys.stdin.readline())
file = os.open(order["file"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
print("{}", flush=True)
due, data = time.monotonic(), bytes(64 * len(order["uuids"]))
while True:
    due += order["period_s"]
    if select.select([0], [], [], max(0, due - time.monotonic()))[0]:
        break
    os.write(file, data)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a process took."""

    start_cpu_s: float
    """Until its first sample was in the file."""
    share: float
    """Of one core from then on."""
    rss_mib: float


class Measured:
    """A process that samples."""

    def __init__(self, command: tuple[str, ...], order: dict[str, object]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._process.stdout.readline()
        self._begun = self._cpu_s(), time.monotonic()

    def _cpu_s(self) -> float:
        """Return the CPU time of the process by the scheduler, which counts nanoseconds."""
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def end(self) -> Cost:
        """End the process and return what it took."""
        start_cpu_s, begun = self._begun
        share = (self._cpu_s() - start_cpu_s) / (time.monotonic() - begun)
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        rss = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        self._process.communicate()
        return Cost(start_cpu_s=start_cpu_s, share=share, rss_mib=int(rss.split()[1]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--period", type=float, default=0.1)
    parser.add_argument("--processes", action="store_true", help="list processes once a second")
    arguments = parser.parse_args()
    compiler = shutil.which("cc")
    assert compiler, "needs a C compiler"
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        uuids = machine(Path(folder), patch, compiler)
        rounds = [one_round(Path(folder), uuids, arguments) for _ in range(arguments.rounds)]
    report(rounds, arguments)


def machine(folder: Path, patch: pytest.MonkeyPatch, compiler: str) -> list[str]:
    """Let this process and its children find eight GPUs and return their UUIDs."""
    for name in ("library", "machine"):
        (folder / name).mkdir()
    driver = Driver(folder / "machine", patch, Library(folder / "library", compiler))
    uuids: list[str] = driver.has_equal(8)
    for gpu in range(8):
        driver.power(gpu, 300)
        driver.utilization(gpu, 50)
        driver.temperature(gpu, 60)
        driver.memory(gpu, 1000)
    driver.processes(*((gpu, 1, 50) for gpu in range(8)))
    patch.delenv("FAKE_NVML_LOG")
    return uuids


def one_round(folder: Path, uuids: list[str], arguments: argparse.Namespace) -> dict[str, Cost]:
    """Let the sampler and the floor run side by side."""
    kinds = {
        "floor, 8 GPUs": ((sys.executable, "-c", FLOOR), 8),
        **{f"sampler, {number} GPUs": (SAMPLER, number) for number in (1, 4, 8)},
    }
    order = {
        "period_s": arguments.period,
        "clock": "here",
        "host": None,
        "processes": arguments.processes,
    }
    running = {}
    for kind, (command, number) in kinds.items():
        file = folder / f"{kind}-{time.monotonic_ns()}"
        running[kind] = Measured(command, order | {"file": str(file), "uuids": uuids[:number]})
    time.sleep(arguments.seconds)
    return {kind: one.end() for kind, one in running.items()}


def report(rounds: list[dict[str, Cost]], arguments: argparse.Namespace) -> None:
    print(f"Python {sys.version.split()[0]}, {arguments.rounds} rounds of {arguments.seconds:g} s,")
    print(f"a sample each {arguments.period:g} s, processes listed: {arguments.processes}; medians")
    floor = median(rounds, "floor, 8 GPUs", "share")
    for kind in rounds[0]:
        share, rss = median(rounds, kind, "share"), median(rounds, kind, "rss_mib")
        start = median(rounds, kind, "start_cpu_s")
        worst = max(one[kind].share for one in rounds)
        print(
            f"  {kind}: {share:.3%} of a core (at most {worst:.3%}), {share / floor:.2f} of the"
            f" floor, start {start * 1000:.0f} ms of CPU, RSS {rss:.1f} MiB"
        )


def median(rounds: list[dict[str, Cost]], kind: str, name: str) -> float:
    return statistics.median(getattr(one[kind], name) for one in rounds)


if __name__ == "__main__":
    main()
