"""Pytest sessions in a process of their own, and the arithmetic of paired rounds."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HERE = Path(__file__).parent
PLUGIN = "pytest_smoltrace.plugin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one pytest session cost."""

    cpu_s: float
    """User and system time of the process, imports included."""
    peak_rss_mib: float
    report: Mapping[str, Any]
    """What the suite's conftest measured inside."""


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which pytest loads only what a session names."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SMOLTRACE", "PYTEST"))}
    path = os.pathsep.join((str(HERE), str(HERE.parent)))
    return {**clean, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **more}


def run(
    suite: Path,
    out: Path,
    *,
    traced: bool,
    model: str = "bench:scripted",
    more: Sequence[str] = (),
) -> Session:
    """Run a suite with or without the plugin; SystemExit when a case fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(suite), *more]
    if traced:
        command += ["-p", PLUGIN, f"--smoltrace-model={model}", f"--smoltrace-dir={suite / 'runs'}"]
    process = subprocess.Popen(
        command,
        cwd=suite,
        env=environment(BENCH_OUT=str(out)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{output}")
    return Session(
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_rss_mib=usage.ru_maxrss / 1024,
        report=json.loads(out.read_text()),
    )


def rounds(
    variants: Mapping[str, Callable[[], float]], count: int, seed: int = 0
) -> dict[str, list[float]]:
    """Measure every variant once a round, in an order that differs from round to round."""
    shuffle = random.Random(seed).shuffle
    measured: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(count):
        order = list(variants)
        shuffle(order)
        for name in order:
            measured[name].append(variants[name]())
    return measured


def paired(above: Sequence[float], below: Sequence[float]) -> str:
    """Return the median ratio of paired measurements with its range."""
    ratios = sorted(a / b for a, b in zip(above, below, strict=True))
    return f"{statistics.median(ratios):.3f} ({ratios[0]:.3f}-{ratios[-1]:.3f})"


def conditions() -> str:
    """Return what a reader must know about the machine."""
    import platform

    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, load average {load}"
