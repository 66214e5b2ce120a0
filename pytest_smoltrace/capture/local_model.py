"""The embedded model: a llama.cpp server in a child process, one for all workers of a host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

from pytest_smoltrace.capture.weights import INSTALL, model_id, resolve_weights
from pytest_smoltrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from pytest_smoltrace.capture.local_chat import LocalModel

__all__ = ["LocalServer", "build_local_model", "model_id", "resolve_weights"]

CONTEXT_TOKENS: Final = 8192
MAX_THREADS: Final = 4
START_TIMEOUT_S: Final = 300.0
STOP_TIMEOUT_S: Final = 10.0


def build_local_model(base_url: str, name_or_path: str = "local", **settings: Any) -> LocalModel:
    """Returns the smolagents model that talks to a running local server."""
    from pytest_smoltrace.capture.local_chat import LocalModel

    return LocalModel(model_id(name_or_path), base_url, **settings)


class LocalServer:
    """Runs the model server; the process that calls `start` owns it and hands its URL on."""

    def __init__(
        self,
        name_or_path: str = "local",
        *,
        context_tokens: int = CONTEXT_TOKENS,
        threads: int | None = None,
    ) -> None:
        self._name_or_path = name_or_path
        self._context_tokens = context_tokens
        self._threads = threads or default_threads()
        self._process: subprocess.Popen[str] | None = None
        self._base_url: str | None = None
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str | None:
        """Is the base URL for OpenAI clients, ending in `/v1`; None while nothing runs."""
        return self._base_url

    @property
    def pid(self) -> int | None:
        """Is the process id of the server; None while nothing runs."""
        return self._process.pid if self._process else None

    def start(self) -> str:
        """Starts the server if it does not run yet and returns its base URL."""
        with self._lock:
            if self._base_url is None:
                self._base_url = self._launch()
            return self._base_url

    def death(self) -> str | None:
        """Says how the server ended that nobody stopped; None while it runs or once stopped."""
        code = self._process.poll() if self._process else None
        if code is None:
            return None
        return (
            f"local: the server of {model_id(self._name_or_path)} died before the session ended "
            f"({_ending(code)}); what it did not answer is llm_connection"
        )

    def stop(self) -> None:
        """Ends the server; a second call does nothing."""
        with self._lock:
            process, self._process, self._base_url = self._process, None, None
        if process is not None:
            _end(process)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _launch(self) -> str:
        require_runtime()
        weights = resolve_weights(self._name_or_path)
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
            process = self._spawn(weights, log)
            try:
                url = _read_url(process)
            except BaseException:
                # A signal: while the weights are loaded, nobody reads the child's stdin.
                process.kill()
                _end(process)
                raise
            if url is None:
                _end(process)
                raise ConfigError(_failure(weights, process.returncode, log))
        self._process = process
        return f"{url}/v1"

    def _spawn(self, weights: Path, log: IO[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - our own script and numbers
            server_command(weights, self._context_tokens, self._threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=server_environment(),
            # Ctrl-C must end the cases first: the server leaves when its stdin closes.
            start_new_session=True,
        )


def server_command(weights: Path, context_tokens: int, threads: int) -> list[str]:
    """Returns the command of a server process."""
    script = str(Path(__file__).with_name("local_server.py"))
    # -P keeps the script's folder, full of modules of this package, off sys.path.
    return [sys.executable, "-P", script, str(weights), str(context_tokens), str(threads)]


def server_environment() -> dict[str, str]:
    """Returns the environment of a server process."""
    # Spinning OpenMP threads on shared cores bring generation down to 1 token/s.
    return {**os.environ, "OMP_WAIT_POLICY": "passive"}


def require_runtime() -> None:
    """Refuses with a ConfigError where the engine is not installed."""
    if find_spec("xllamacpp") is None:
        raise ConfigError(f"local: the package xllamacpp is not installed; run: {INSTALL}")


def default_threads() -> int:
    """Counts the cores this process may use, up to four."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cores, MAX_THREADS)


def _read_url(process: subprocess.Popen[str]) -> str | None:
    """Waits for the line with the server's address; None if it ended or took too long."""
    assert process.stdout is not None
    timer = threading.Timer(START_TIMEOUT_S, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            if line.startswith('{"url"'):
                return str(json.loads(line)["url"])
        return None
    finally:
        timer.cancel()


def _failure(weights: Path, code: int | None, log: IO[str]) -> str:
    log.seek(0)
    return f"local: the model server ended with {code} on {weights}: {last_line(log)}"


def last_line(log: Iterable[str]) -> str:
    """Returns the last words of a server."""
    lines = [line.strip() for line in log if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _ending(code: int) -> str:
    """Returns how a process ended, from its return code."""
    if code >= 0:
        return f"exit code {code}"
    name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
    # The kernel sends SIGKILL to whom it takes the memory from.
    return f"killed by {name}{': out of memory?' if name == 'SIGKILL' else ''}"


def _end(process: subprocess.Popen[str]) -> None:
    """Closes the server's stdin, which ends it, and kills it if it does not end."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
