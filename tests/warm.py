"""Pytest sessions as forks of one process that has imported the heavy libraries once.

A session of its own imports for longer than most inner sessions run. A fork is a real process
with its own pid, exit code, directory, environment and import path; nothing of a session lives on
in the next one, and what execnet takes for ``python -c ...`` are such forks, too.

What an interpreter reads while it starts cannot be given to a fork: a session with other such
variables is forked from another process. One whose directories have a module in the place of a
library is to begin as a command; ``SMOLTRACE_TESTS_FORK=0`` has all sessions begin so.

As a process, ``python -m tests.warm DESCRIPTOR`` takes one request after the other.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[1]
STOPPED = (signal.SIGINT, signal.SIGTERM)
IMPORTS = (
    *("pytest_smoltrace.plugin", "pytest_smoltrace.runner", "pytest_smoltrace.session"),
    *("pytest_smoltrace.pipeline", "pytest_smoltrace.terminal", "smolagents", "pytest"),
    *("pytest_smoltrace.gating", "pytest_smoltrace.report.write"),
    *("openai.resources.chat.completions.completions", "openai.resources.responses.responses"),
    *("openinference.instrumentation.smolagents", "genai_otel.instrumentors", "pyarrow.compute"),
    *("huggingface_hub.inference._client", "pyarrow.parquet", "execnet", "scipy.stats"),
)
"""No plugin of pytest: each is rewritten by the session that loads it."""
_AT_START = ("PYTHON", "LD_", "HF_", "OTEL_", "OPENAI_", "OMP_", "ARROW_", "TRANSFORMERS_", "TZ")
"""Variables that an interpreter or one of the libraries reads when it starts."""
MOST = 2
"""Processes of one test run; a first session with other such variables has none of them yet."""
_NOT_AT_START = ("PYTHONPATH", "OPENAI_API_KEY", "HF_TOKEN")
_WORKER = [sys.executable, "-u", "-c", "import sys;exec(eval(sys.stdin.readline()))"]


class Process:
    """What `subprocess.Popen` is for a process of its own."""

    stdin = None

    def __init__(self, pid: int, told: Any) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._told = told

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code as soon as the session has ended."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("pytest", timeout or 0.0)
            self.returncode = int(self._told.readline())
        return self.returncode

    def kill(self) -> None:
        """End it by force."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


class Warm:
    """The process that sessions are forked from, one session at a time."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
            cwd=ROOT,
            env={**environ, "PYTHONPATH": str(ROOT)},
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        self._told = self._ours.makefile("rb", buffering=0)
        self._known = frozenset(json.loads(self._told.readline()))

    def close(self) -> None:
        """End the process."""
        self._told.close()
        self._ours.close()  # its end of file ends the process
        self._process.wait()

    def hides(self, place: Path) -> bool:
        """Return whether a folder has a module in the place of one that is imported here."""
        if not place.is_dir() or place.name.endswith("-packages"):
            return False
        found = {entry.name.partition(".")[0] for entry in place.iterdir()}
        return bool(found & (self._known | {"sitecustomize", "usercustomize"}))

    def start(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        files: tuple[int, int, int],
    ) -> Process:
        """Start `python -m pytest` with these descriptors as its standard ones."""
        request = {"arguments": list(arguments), "cwd": str(cwd), "environ": dict(env)}
        data = json.dumps(request).encode() + b"\n"
        socket.send_fds(self._ours, [b"+"], list(files))
        self._ours.sendall(data)
        return Process(int(self._told.readline()), self._told)


class Warmed:
    """The processes that the sessions of one test run are forked from."""

    def __init__(self) -> None:
        self._uses: Counter[frozenset[tuple[str, str]]] = Counter()
        self._made: dict[frozenset[tuple[str, str]], Warm] = {}

    def process(self, folder: Path, environ: Mapping[str, str]) -> Warm | None:
        """Return a process whose fork is what a new process would be there; None without one."""
        if sys.platform != "linux" or os.environ.get("SMOLTRACE_TESTS_FORK") == "0":
            return None
        early = frozenset(
            (name, value)
            for name, value in environ.items()
            if name.startswith(_AT_START) and name not in _NOT_AT_START
        )
        self._uses[early] += 1
        if early not in self._made and self._uses[early] > 1 and len(self._made) < MOST:
            self._made[early] = Warm(environ)
        warm = self._made.get(early)
        path = environ.get("PYTHONPATH", "").split(os.pathsep)
        places = {str(folder), *path} - {"", str(ROOT)}
        if warm is None or any(warm.hides(Path(place)) for place in places):
            return None
        return warm

    def close(self) -> None:
        """End all of them."""
        for warm in self._made.values():
            warm.close()
        self._made.clear()


# The process itself.


def main() -> None:
    """Fork a session for each request until nobody asks any more."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    with asked:
        for name in IMPORTS:
            importlib.import_module(name)
        own = {name for name in sys.modules if "." not in name} - {"__main__", "tests"}
        asked.sendall(json.dumps(sorted(own)).encode() + b"\n")
        _warn_of_no_import()
        gc.collect()
        gc.freeze()  # a collection would copy every page that the forks share
        for request, descriptors in _requests(asked):
            pid = os.fork()
            if pid == 0:
                asked.close()
                _be_pytest(request, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            asked.sendall(b"%d\n" % pid)
            _, status = os.waitpid(pid, 0)
            asked.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _warn_of_no_import() -> None:
    """Have no session warned that the libraries are there already."""
    from _pytest.assertion.rewrite import AssertionRewritingHook

    AssertionRewritingHook._warn_already_imported = lambda *_: None


def _requests(asked: socket.socket) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Yield what is asked for, and the descriptors that came with it."""
    while True:
        said, descriptors, _, _ = socket.recv_fds(asked, 1, 3)
        if not said:
            return
        data = b""
        while not data.endswith(b"\n"):
            data += asked.recv(1 << 16)
        yield json.loads(data), descriptors


def _be_pytest(request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Do what `python -m pytest` does."""
    code = 70
    try:
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        be_in(request["cwd"], request["environ"], request["cwd"])
        fork_workers()
        _be_main_of("pytest", request["arguments"])
        import pytest

        code = int(pytest.main(request["arguments"]))
    finally:
        leave(code)


def _be_main_of(package: str, arguments: Sequence[str]) -> None:
    """Leave no trace of this module in what a program may see of itself."""
    spec = importlib.util.find_spec(f"{package}.__main__")
    assert spec is not None
    assert spec.origin is not None
    sys.modules["__main__"] = importlib.util.module_from_spec(spec)
    sys.modules["__main__"].__name__ = "__main__"
    sys.modules.pop("tests", None)
    sys.argv = [spec.origin, *arguments]


def be_in(folder: str, environ: Mapping[str, str], first: str) -> None:
    """Have the directory, the environment and the import path of a process that starts there."""
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    rest = [place for place in sys.path[1:] if place not in before]
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    path = [place for place in environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.path[:] = [first, *dict.fromkeys([*path, *rest])]
    tempfile.tempdir = None
    time.tzset()
    as_at_the_start()


def as_at_the_start() -> None:
    """Have the handlers of signals that an interpreter has."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def leave(code: int) -> NoReturn:
    """End as the interpreter does, but for what only the process at the root may do."""
    with contextlib.suppress(BaseException):
        threading._shutdown()
        atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def fork_workers() -> None:
    """Let execnet get its Python processes from a nursery that lives as long as this process."""
    from execnet import gateway_base, gateway_io

    ours, nursery = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        _be_nursery(nursery)
    nursery.close()
    genuine: Callable[..., Any] = gateway_io.Popen2IOMaster

    class ForkedIO(gateway_base.Popen2IO):  # type: ignore[misc]
        def __init__(self, execmodel: Any) -> None:
            (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
            socket.send_fds(ours, [b"+"], [their_in, their_out])
            os.close(their_in)
            os.close(their_out)
            request = {"cwd": str(Path.cwd()), "environ": dict(os.environ)}
            ours.sendall(json.dumps(request).encode() + b"\n")
            self.pid = int.from_bytes(ours.recv(4), "little")
            super().__init__(os.fdopen(our_out, "wb"), os.fdopen(our_in, "rb"), execmodel)

        def wait(self) -> int | None:
            with contextlib.suppress(OSError):
                descriptor = os.pidfd_open(self.pid)
                select.select([descriptor], [], [])
                os.close(descriptor)
            return 0

        def kill(self) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def popen(args: Sequence[str], execmodel: Any) -> Any:
        return ForkedIO(execmodel) if list(args) == _WORKER else genuine(args, execmodel)

    gateway_io.Popen2IOMaster = popen


def _be_nursery(asked: socket.socket) -> NoReturn:
    """Fork a worker for each pair of descriptors that arrives, until the controller is gone."""
    for signum in STOPPED:
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody else reaps the workers
    with contextlib.suppress(OSError):
        for request, descriptors in _requests(asked):
            pid = os.fork()
            if pid == 0:
                asked.close()
                _be_worker(request, *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            asked.send(pid.to_bytes(4, "little"))
    os._exit(0)


def _be_worker(request: dict[str, Any], reads: int, writes: int) -> NoReturn:
    """Do what `python -u -c "import sys;exec(eval(sys.stdin.readline()))"` does."""
    try:
        be_in(request["cwd"], request["environ"], "")
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(reads, 0)
        os.dup2(writes, 1)
        os.close(reads)
        os.close(writes)
        sys.stdin = os.fdopen(0, "r", 1, closefd=False)
        sys.stdout = os.fdopen(1, "w", 1, closefd=False)
        sys.argv = ["-c"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
            del sys.modules[name]
        exec(eval(sys.stdin.readline()), sys.modules["__main__"].__dict__)
    except BaseException:  # noqa: BLE001 - as the interpreter would
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        leave(0)


if __name__ == "__main__":
    main()
