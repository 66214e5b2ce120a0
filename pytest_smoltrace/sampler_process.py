"""The child process that lists and reads the GPUs of this host, seen from its owner."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import platform
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from pytest_smoltrace.devices import GpuDevice, MigDevice

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROGRAM = Path(__file__).with_name("sampler") / "__main__.py"
LIST_S: Final = 15.0
"""A driver that is loaded for the first time may take seconds."""
READY_S: Final = 2.0
STOP_S: Final = 5.0
_UNSUPPORTED = (
    *("NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "DEPRECATED", "INVALID_ARGUMENT"),
    *("ARGUMENT_VERSION_MISMATCH", "NOT_YET_IMPLEMENTED", "N/A", "the card has that of both"),
)
"""Reasons for a value that is missing on every run, on this card with this driver."""
_NVIDIA = "libnvidia-ml.so.1"
_AMD = Path("/dev/kfd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What the driver of this host says."""

    gpus: tuple[GpuDevice, ...] | None = None
    """None without a driver that answers."""
    vendor: str | None = None
    driver: str | None = None
    """Version of the driver."""
    problem: str | None = None
    """Why GPUs that may be there cannot be listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be sampled, and where to."""

    file: Path
    uuids: Sequence[str]
    period_s: float
    clock: str
    host: str | None
    processes: bool
    """Whether several workers share a GPU, so that the use by each process is of interest."""
    members: Path | None = None
    """File that every process which is to be sampled for holds a lock on: the child then ends
    after the last of them, not with its parent."""


class SamplerProcess:
    """Lists the GPUs when it starts, then waits for an order; ends when its input is closed.

    It is the only process of the session that asks the driver, so that a driver that hangs
    can hang nothing else.
    """

    def __init__(self) -> None:
        self._outlives = False
        self._stop_s = STOP_S
        self.samples_to: Path | None = None
        """File of samples; None before `sample` or when that failed."""
        self.unsupported: list[str] = []
        """Lines on what these cards never tell, known in the end."""
        self._process = subprocess.Popen(  # noqa: S603 - this Python, a file of this package
            (sys.executable, "-P", str(_PROGRAM)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self._said: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._listener = threading.Thread(target=self._listen, name="smoltrace-gpu", daemon=True)
        self._listener.start()
        self.listing = self._listed()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._said.put(json.loads(line))
            except ValueError:
                continue
        self._said.put(None)

    def _hear(self, timeout_s: float) -> dict[str, Any] | None:
        """Return the next line of the child; None when it says nothing in time, or no more."""
        try:
            return self._said.get(timeout=timeout_s)
        except Empty:
            return None

    def _listed(self) -> Listing:
        told = self._hear(LIST_S)
        if told is None:
            alive = self._process.poll() is None
            self._process.kill()
            why = f"did not answer within {LIST_S:.0f} s" if alive else "could not be asked"
            return Listing(problem=f"the driver of the GPUs {why}")
        devices = told["devices"]
        return Listing(
            gpus=None if devices is None else tuple(map(_gpu, devices)),
            vendor=told["vendor"],
            driver=told["driver"],
            problem=told["problem"],
        )

    def sample(self, order: Order) -> str | None:
        """Begin to sample; return why that cannot be, or None."""
        told = {
            "file": str(order.file),
            "uuids": list(order.uuids),
            "period_s": order.period_s,
            "clock": order.clock,
            "host": order.host,
            "processes": order.processes,
            "members": order.members and str(order.members),
        }
        self._outlives = order.members is not None
        # The last sample may be a whole period away.
        self._stop_s = STOP_S + order.period_s
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(told) + "\n")
            self._process.stdin.flush()
        except OSError:
            return "the sampler has ended"
        # Who shares a sampler must see it at work, or would start another.
        answer = self._hear(READY_S + order.period_s if order.members is None else LIST_S)
        if answer is None:
            # It may still come; what is missing until then shows as coverage.
            alive = self._process.poll() is None
            self.samples_to = order.file if alive else None
            return None if alive else "the sampler has ended"
        if answer.get("problem"):
            return str(answer["problem"])
        self.samples_to = order.file
        return None

    def stop(self) -> list[str]:
        """End the child after one more sample and return what went wrong, one line each."""
        process = self._process
        if process.stdin is None or process.stdin.closed:
            return []
        died = process.poll() is not None
        try:
            process.stdin.close()
        except OSError:
            died = True
        if self._outlives:
            return []
        try:
            process.wait(timeout=self._stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
            limit = f"{self._stop_s:.0f} s"
            return [f"the driver of the GPUs hangs: its sampler did not end within {limit}"]
        self._listener.join()
        assert process.stdout is not None
        process.stdout.close()
        return self._problems(died=died) if self.samples_to is not None else []

    def _problems(self, *, died: bool) -> list[str]:
        last: dict[str, Any] | None = None
        while (told := self._hear(0)) is not None:
            last = told
        said = [] if last is None else [str(line) for line in last.get("problems", ())]
        lines = [line for line in said if not _is_unsupported(line)]
        self.unsupported = [line for line in said if _is_unsupported(line)]
        if died and (last is None or "ticks" not in last):
            lines.append("the sampler of the GPUs died before the session ended")
        return lines


def _is_unsupported(line: str) -> bool:
    return line.startswith("no ") and line.endswith(_UNSUPPORTED)


def start() -> SamplerProcess | None:
    """Return the child process, where a driver is installed that it could ask."""
    return SamplerProcess() if _is_installed() else None


def _is_installed() -> bool:
    """Return whether a vendor's library can be found, which is cheaper than a process."""
    if platform.system() == "Windows":
        return True
    try:
        ctypes.CDLL(_NVIDIA)
    except OSError:
        return _AMD.exists() or _has_amd_client()
    return True


def _has_amd_client() -> bool:
    return bool(os.environ.get("ROCM_PATH")) and importlib.util.find_spec("amdsmi") is not None


def _gpu(told: dict[str, Any]) -> GpuDevice:
    mig = told["mig"]
    parts = None if mig is None else tuple(MigDevice(**part) for part in mig)
    return GpuDevice(**{**told, "mig": parts})
