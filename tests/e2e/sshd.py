"""A real sshd on a free port of loopback, with keys of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

START_S = 20.0
NEEDED = ("sshd", "ssh", "ssh-keygen")


def missing() -> str | None:
    """Return why no sshd can be started here; None when one can."""
    absent = [name for name in NEEDED if shutil.which(name, path=_path()) is None]
    return f"needs {', '.join(absent)}" if absent else None


@contextmanager
def sshd(folder: Path) -> Iterator[Path]:
    """Run a server and yield the configuration with which ssh reaches it as hosts `box-N`."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:  # sshd's own folder for its unprivileged part
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host_key", "user_key"):
        command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        subprocess.run(command, check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    port = _free_port()
    process = _started(folder, port)
    try:
        yield _client_config(folder, port)
    finally:
        process.terminate()
        process.wait(timeout=START_S)


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def _started(folder: Path, port: int) -> subprocess.Popen[bytes]:
    lines = (
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder / 'host_key'}",
        f"AuthorizedKeysFile {folder / 'authorized_keys'}",
        f"PidFile {folder / 'pid'}",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "StrictModes no",
        "UsePAM no",
        "UseDNS no",
    )
    config, log = folder / "sshd_config", folder / "sshd.log"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    program = shutil.which("sshd", path=_path())
    assert program is not None  # sshd wants to be called by its whole path
    process = subprocess.Popen((program, "-D", "-f", config, "-E", log))
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"sshd did not start: {log.read_text(encoding='utf-8')}")


def _client_config(folder: Path, port: int) -> Path:
    lines = (
        "Host box-*",
        "  HostName 127.0.0.1",
        f"  Port {port}",
        f"  User {getpass.getuser()}",
        f"  IdentityFile {folder / 'user_key'}",
        "  IdentitiesOnly yes",
        "  StrictHostKeyChecking no",
        f"  UserKnownHostsFile {folder / 'known_hosts'}",
        "  LogLevel ERROR",
    )
    path = folder / "ssh_config"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
