"""The samples of a host whose workers the owner of the session reaches through a gateway."""

from __future__ import annotations

import contextlib
import platform
import secrets
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace import binding, dist
from pytest_smoltrace.gpu_listing import listing_of, sampler_of
from pytest_smoltrace.gpu_monitor import MEASURING, order_for, reason_against
from pytest_smoltrace.sampler.record import FOLDER, SUFFIX
from pytest_smoltrace.selection import DECLARED
from pytest_smoltrace.slots import file_lock

try:
    import fcntl
except ImportError:  # Windows, where nobody samples for others
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.coordination import Coordination
    from pytest_smoltrace.session import SmoltraceSession

_SHIP_S = 5.0
"""Samples that a host which is lost takes with it."""
_CHUNK = 1 << 20
_START_S = 20.0
_TROUBLE = "smoltrace_gpu_trouble"


def provide(config: pytest.Config, session: SmoltraceSession) -> None:
    """Let a worker of another host than its controller's see to the samples there."""
    shared, facts = session.coordination, session.facts
    if session.role.logs_reports:
        config.pluginmanager.register(Hearer(session), "smoltrace-samples")
    if shared is None or not facts.remote or fcntl is None:
        return
    if (shared.abroad or facts.samples is None) and not reason_against(session.config):
        config.pluginmanager.register(HostSampler(config, session, shared), "smoltrace-samples")


class HostSampler:
    """Hooks of a worker; the first of a host starts its sampler, all send what it writes.

    The sampler lives as long as a worker of its host does, whichever started it.
    """

    def __init__(
        self, config: pytest.Config, session: SmoltraceSession, shared: Coordination
    ) -> None:
        self._pytest = config
        self._session = session
        self._config: RunConfig = session.config
        self._directory = shared.directory
        self._members = shared.presence.file
        self._file: Path | None = None
        self._shipped_at = time.monotonic()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, Any, Any]:
        """Find or start the sampler of the host, before the first case begins."""
        result = yield
        if any(DECLARED in item.stash for item in items):
            with contextlib.suppress(OSError):
                self._join()
        return result

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Send what was sampled, every few seconds."""
        if report.when == "teardown" and time.monotonic() - self._shipped_at > _SHIP_S:
            self._ship()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Send the rest, one period after the last case."""
        if self._file is not None:
            time.sleep(2 * self._config.gpu_interval)
            self._ship()

    def _join(self) -> None:
        note = self._directory / "sampler.failed"
        with file_lock(self._directory / "sampler.start", timeout=_START_S):
            self._file = self._running()
            if self._file is None and not note.exists():
                self._file, why = self._started()
                if self._file is None:  # nobody else of the host has to try
                    note.write_text(why, encoding="utf-8")
        state = MEASURING if self._file else f"off: {note.read_text(encoding='utf-8')}"
        samples = str(self._file) if self._file else None
        self._session.tell(gpu=state, samples=samples)

    def _running(self) -> Path | None:
        """Return the file of the sampler that runs, which it keeps locked."""
        for path in sorted((self._directory / FOLDER).glob(f"*{SUFFIX}")):
            with path.open("r+b") as stream:
                try:
                    fcntl.lockf(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except (BlockingIOError, PermissionError):
                    return path
        return None

    def _started(self) -> tuple[Path | None, str]:
        """Start a sampler; return its file, or why there is none."""
        process, listing = sampler_of(self._pytest), listing_of(self._pytest)
        if process is None or not listing.gpus:
            why = listing.problem or "no GPU was found"
            if listing.problem or self._config.gpu == "on":
                self._complain(why)
            return None, why
        folder = self._directory / FOLDER
        folder.mkdir(exist_ok=True)
        order = order_for(
            folder / f"{time.time_ns():x}-{secrets.token_hex(4)}{SUFFIX}",
            binding.shown(self._pytest) or [one for gpu in listing.gpus for one in gpu.ids],
            self._config,
            # Workers are no children of this one, so nobody could tell whose a process is.
            processes=False,
            members=self._members,
        )
        why = process.sample(order) or ""
        if why:
            self._complain(why)
        return process.samples_to, why

    def _complain(self, why: str) -> None:
        """Leave word for the controller."""
        host = platform.node() or "a host"
        self._pytest.workeroutput[_TROUBLE] = (  # type: ignore[attr-defined]
            f"GPU figures of {host} are missing: {why}"
        )

    def _ship(self) -> None:
        """Send what nobody of this host has sent; the same bytes twice do no harm."""
        self._shipped_at = time.monotonic()
        if self._file is None:
            return
        note = self._file.with_suffix(".sent")
        with contextlib.suppress(OSError):
            sent = int(note.read_text(encoding="ascii")) if note.exists() else 0
            with self._file.open("rb") as stream:
                stream.seek(sent)
                while data := stream.read(_CHUNK):
                    packed = zlib.compress(data, 1)
                    dist.send_samples(self._pytest, self._file.name, sent, packed)
                    sent += len(data)
            note.write_text(str(sent), encoding="ascii")


class Hearer:
    """What the controller takes from workers that have ended."""

    def __init__(self, session: SmoltraceSession) -> None:
        self._session = session

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Say once why a host has no samples."""
        line = getattr(node, "workeroutput", {}).get(_TROUBLE)
        if line and line not in self._session.problems:
            self._session.problems.append(line)
