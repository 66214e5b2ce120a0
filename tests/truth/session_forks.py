"""Pytest sessions as forks of one process that has imported the heavy libraries once.

A session of its own for each of many scenarios would import for longer than it runs. Each fork is
a real process with its own exit code; nothing of a session lives on in the next one.

As a process, ``python -m tests.truth.session_forks`` reads one job a line from standard input,
``{"name", "folder", "arguments"}``, and writes ``{"name", "exit_code"}`` when its session ends.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.truth import suite

if TYPE_CHECKING:
    from collections.abc import Iterable

PARALLEL = 2
LIMIT_S = 120
_IMPORTS = (
    *("pytest_smoltrace.plugin", "pytest_smoltrace.runner", "pytest_smoltrace.session"),
    *("pytest_smoltrace.pipeline", "pytest_smoltrace.terminal", "smolagents", "pandas"),
    *("openai.resources.chat.completions.completions", "openai.resources.responses.responses"),
    *("openinference.instrumentation.smolagents", "genai_otel.instrumentors", "pyarrow.compute"),
    *("huggingface_hub.inference._client", "pyarrow.pandas_compat", "anyio.pytest_plugin"),
    *("xdist.plugin", "pytest_asyncio.plugin", "pytest_rerunfailures"),
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One session to run."""

    name: str
    folder: str
    arguments: tuple[str, ...]


def run(jobs: Iterable[Job]) -> dict[str, int]:
    """Run every session, two at a time, and return the exit codes by name."""
    lines = "".join(json.dumps(asdict(job)) + "\n" for job in jobs)
    done = subprocess.run(
        [sys.executable, "-m", "tests.truth.session_forks"],
        check=True,
        cwd=suite.ROOT,
        env=suite.environment(),
        input=lines,
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    ended = [json.loads(line) for line in done.stdout.splitlines()]
    return {one["name"]: one["exit_code"] for one in ended}


def main() -> None:
    """Fork one session for each line of standard input."""
    jobs = [json.loads(line) for line in sys.stdin]
    for name in _IMPORTS:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection would copy every page that the forks share
    running: dict[int, str] = {}
    for job in jobs:
        if len(running) == PARALLEL:
            _wait(running)
        pid = os.fork()
        if pid == 0:
            _be_session(job["folder"], job["arguments"])
        running[pid] = job["name"]
    while running:
        _wait(running)


def _wait(running: dict[int, str]) -> None:
    pid, status = os.wait()
    ended = {"name": running.pop(pid), "exit_code": os.waitstatus_to_exitcode(status)}
    sys.stdout.write(json.dumps(ended) + "\n")
    sys.stdout.flush()


def _be_session(folder: str, arguments: list[str]) -> None:
    import pytest

    code = 70
    try:
        signal.alarm(LIMIT_S)
        os.chdir(folder)
        output = os.open(Path(folder, "output.txt"), os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = int(pytest.main(arguments))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
