"""The model server that the workers of a host share when none of them is its owner."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final

from pytest_smoltrace.capture import local_model
from pytest_smoltrace.capture.weights import model_id, resolve_weights
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.slots import digest, file_lock

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_smoltrace.coordination import Coordination

POLL_S: Final = 0.05
WAIT_S: Final = 2 * local_model.START_TIMEOUT_S
"""How long a worker waits for another one that starts the server, which may join the weights."""


class SharedServer:
    """Started by the first worker that needs it; ends itself after the last one of the host.

    Four files in the directory of the host: `.start` is locked by the worker that starts it,
    `.lock` by the server while it lives, `.json` holds its address or why there is none, and
    `.log` its last words. A new worker that finds it dead starts another.
    """

    def __init__(self, shared: Coordination, name_or_path: str) -> None:
        self._shared = shared
        self._name_or_path = name_or_path
        self._stem = shared.directory / f"server-{digest(name_or_path)}"

    def join(self) -> str:
        """Return the server's base URL and keep it alive from now on.

        Raises:
            ConfigError: It cannot be started; every worker of the host is told why.
        """
        from filelock import Timeout

        try:
            if not self._shared.presence.enter():
                raise _refused(f"cannot lock files in {self._shared.directory}; set TMPDIR")
            with file_lock(self._file("start"), timeout=WAIT_S):
                return f"{self._address() or self._started()}/v1"
        except Timeout:
            raise _refused(f"another worker has started it for {WAIT_S:.0f} s") from None
        except OSError as error:
            reason = error.strerror or error
            raise _refused(f"cannot write to {self._shared.directory}: {reason}") from error

    def death(self) -> str | None:
        """Return a line if the server has died; None while it lives."""
        if self.alive():
            return None
        return (
            f"local: the server of {model_id(self._name_or_path)} on {platform.node()} died "
            "before the session ended; what it did not answer is llm_connection"
        )

    def alive(self) -> bool:
        """Return whether the server holds its lock."""
        import fcntl

        try:
            descriptor = os.open(self._file("lock"), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
        finally:
            os.close(descriptor)
        return False

    def _file(self, kind: str) -> Path:
        return self._stem.with_suffix(f".{kind}")

    def _address(self) -> str | None:
        """Return the address once a living server has told it; None when there is no server."""
        deadline = time.monotonic() + local_model.START_TIMEOUT_S
        while self.alive():
            if url := self._note().get("url"):
                return url
            if time.monotonic() > deadline:
                self._kill()
            time.sleep(POLL_S)
        return None

    def _started(self) -> str:
        """Start the server and return its address, or leave word for the others why not."""
        note = self._note()
        if "error" in note:
            raise ConfigError(note["error"])
        self._file("json").unlink(missing_ok=True)  # of a server that has died
        try:
            return self._spawned()
        except ConfigError as error:
            refusal = _refused(str(error).removeprefix("local: "))
            self._tell({"error": str(refusal)})
            raise refusal from error

    def _spawned(self) -> str:
        local_model.require_runtime()
        weights = resolve_weights(self._name_or_path)
        self._spawn(weights)
        url = self._address()
        if url is None:
            raise ConfigError(f"local: the model server ended on {weights}: {self._words()}")
        return url

    def _spawn(self, weights: Path) -> None:
        threads = local_model.default_threads()
        command = local_model.server_command(weights, local_model.CONTEXT_TOKENS, threads)
        with self._file("log").open("wb") as log:
            # Ends once the server that it forks holds its lock, or has failed.
            subprocess.run(  # noqa: S603 - our own script and numbers
                [*command, str(self._stem)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=local_model.server_environment(),
                start_new_session=True,
                check=False,
            )

    def _note(self) -> dict[str, str]:
        with contextlib.suppress(FileNotFoundError):
            note: dict[str, str] = json.loads(self._file("json").read_text(encoding="utf-8"))
            return note
        return {}

    def _tell(self, note: dict[str, str]) -> None:
        new = self._file("new")
        new.write_text(json.dumps(note), encoding="utf-8")
        new.replace(self._file("json"))

    def _words(self) -> str:
        with self._file("log").open(encoding="utf-8", errors="replace") as log:
            return local_model.last_line(log)

    def _kill(self) -> None:
        """End a server that does not come up: nobody could use it."""
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(self._file("lock").read_text(encoding="ascii")), signal.SIGKILL)


def _refused(reason: str) -> ConfigError:
    return ConfigError(f"local: on {platform.node()}: {reason}")
