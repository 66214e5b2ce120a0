"""Pytest sessions whose controller and workers are forks of one process.

A session with four workers would import for longer than it runs. Here the heavy libraries are
imported once; the controller and what execnet takes for `python -c ...` are forks with their own
pipes, process ids and exit codes, and nothing of a session lives on in the next one. A session has
a process group of its own, as one in a terminal has, so that signals reach who they would reach.

As a process, ``python -m tests.e2e.forked_pytest`` answers one JSON request a line:
``{"do": "pytest", "folder", "arguments", "environ"}`` with ``{"pid"}``, ``{"do": "serve", "port",
"log"}`` with ``{"pid", "port"}`` and ``{"do": "code", "pid"}`` with the exit code or null.
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
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from tests import warm
from tests.truth import scripted_server as ss
from tests.truth import session_forks, suite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType


class Forks:
    """The process that sessions and servers are forked from."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.forked_pytest"],
            cwd=suite.ROOT,
            env=suite.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        # Its end of file ends the process.
        self._process.communicate()

    def pytest(self, folder: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
        """Start a session in the folder and return its process id, which names its group too."""
        found = self._ask(
            do="pytest", folder=str(folder), arguments=list(arguments), environ=dict(environ)
        )
        return int(found["pid"])

    def serve(self, log: Path, port: int = 0) -> tuple[int, int]:
        """Start a model server and return its process id and its port, 0 if that is taken."""
        found = self._ask(do="serve", log=str(log), port=port)
        return int(found["pid"]), int(found["port"])

    def code(self, pid: int) -> int | None:
        """Return the exit code of a process that was started here, None while it runs."""
        code: int | None = self._ask(do="code", pid=pid)["code"]
        return code

    @property
    def processes(self) -> Processes:
        """Sessions that are no forks."""
        return Processes(self)

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


class Processes:
    """The same for sessions that begin as a command does, and import all they need."""

    def __init__(self, forks: Forks) -> None:
        self.serve = forks.serve
        self._forks = forks
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    def pytest(self, folder: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
        """Start a session in the folder and return its process id, which names its group too."""
        with (folder / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *arguments],
                cwd=folder,
                env=suite.environment() | environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Whoever runs these tests in the background made them ignore Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
            )
        self._started[process.pid] = process
        return process.pid

    def code(self, pid: int) -> int | None:
        """Return the exit code of a process that was started here, None while it runs."""
        process = self._started.get(pid)
        return self._forks.code(pid) if process is None else process.poll()


def reply(body: Mapping[str, Any]) -> ss.Reply:
    """Return the answer to a request: one case in four calls a tool first."""
    name, turn = ss.case_of(body) or "0", ss.turn_of(body)
    number = int(name)
    of = zlib.crc32(f"{number} {turn}".encode()) % 1000
    usage = {
        "prompt_tokens": 1000 + of,
        "completion_tokens": 20 + of % 7,
        "cached_tokens": of % 300,
        "reasoning_tokens": of % 5,
        "response_id": f"reply-{number}-{turn}",
        "first_chunk_delay_s": 0.002 * (number % 8),
    }
    tool, arguments = ("add", {"a": number, "b": 1}) if turn == 0 else ("final_answer", {})
    if number % 4 or turn:
        tool, arguments = "final_answer", {"answer": "right"}
    call = ss.ToolCall(name=tool, arguments=arguments, id=f"call-{number}-{turn}")
    return ss.Reply(tool_calls=(call,), **usage)


# The process itself.


def main() -> None:
    """Answer requests until standard input closes."""
    for name in session_forks._IMPORTS:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection would copy every page that the forks share
    codes: dict[int, int] = {}
    answers: dict[str, Callable[..., dict[str, Any]]] = {
        "pytest": _pytest,
        "serve": _serve,
        "code": lambda pid: {"code": _code(pid, codes)},
    }
    # Not by iterating: that would read ahead, and a fork would hold what was read.
    while line := sys.stdin.readline():
        request = json.loads(line)
        sys.stdout.write(json.dumps(answers[request.pop("do")](**request)) + "\n")
        sys.stdout.flush()


def _code(pid: int, codes: dict[int, int]) -> int | None:
    if pid not in codes:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            codes[pid] = os.waitstatus_to_exitcode(status)
    return codes.get(pid)


def _pytest(folder: str, arguments: list[str], environ: dict[str, str]) -> dict[str, Any]:
    pid = os.fork()
    if pid == 0:
        _be_session(Path(folder), arguments, environ)
    return {"pid": pid}


def _be_session(folder: Path, arguments: list[str], environ: dict[str, str]) -> NoReturn:
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        os.environ.update(environ)
        tempfile.tempdir = None
        output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in ((0, nothing), (1, output), (2, output)):
            os.dup2(descriptor, number)
        os.closerange(3, 64)
        warm.fork_workers()
        warm.as_at_the_start()
        import pytest

        code = int(pytest.main(arguments))
    finally:
        warm.leave(code)


def _serve(port: int, log: str) -> dict[str, Any]:
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reads)
        try:
            os.setsid()
            with (
                Path(log).open("a", encoding="utf-8") as log_file,
                ss.ScriptedServer(select=reply, log_file=log_file, port=port) as server,
            ):
                os.write(writes, server.url.encode())
                os.close(writes)
                signal.pause()
        finally:
            os._exit(1)
    os.close(writes)
    with os.fdopen(reads) as told:
        url = told.read()
    return {"pid": pid, "port": int(url.rpartition(":")[2].partition("/")[0] or 0)}


if __name__ == "__main__":
    main()
