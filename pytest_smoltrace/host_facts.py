"""What a host is asked before a session: the same questions here and there.

Its source is sent to the host, whose Python may know nothing of this package: it imports the
standard library only.
"""

from __future__ import annotations

import fnmatch
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import socket
import subprocess
import sys
from typing import Any

MARK = "smoltrace-host:"
"""What the answer of a host begins with."""
_TIMEOUT_S = 20
_CONNECT_TIMEOUT_S = 5.0
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def answer(asked: dict[str, Any]) -> None:
    """Go to the folder, set the variables and write the facts to standard output."""
    os.environ.update(asked.pop("env"))
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    root = os.path.realpath(os.path.expanduser(asked["root"]))  # noqa: PTH111
    facts: dict[str, Any] = {
        "root": None,
        "python": platform.python_version(),
        "executable": sys.executable,
    }
    if os.path.isdir(root):  # noqa: PTH112
        os.chdir(root)
        facts = gather({**asked, "root": root})
    sys.stdout.write(MARK + json.dumps(facts) + "\n")


def gather(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of this host about the project in `asked["root"]`."""
    root = asked["root"]
    named = [*asked["files"], *asked["paths"]]
    return {
        "root": root,
        "hostname": socket.gethostname(),
        "loopback": _loopback(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "versions": {name: _version(name, module) for name, module in asked["packages"].items()},
        "git": _git(root),
        "gpus": _gpus(),
        "shown": {name: os.environ[name] for name in asked["shown"] if name in os.environ},
        "missing": [path for path in named if not os.path.exists(_in(root, path))],  # noqa: PTH110
        "has_tests": any(_has_tests(_in(root, path), asked["patterns"]) for path in asked["paths"]),
        "unset": [name for name in asked["variables"] if not os.environ.get(name)],
        "unreachable": [address for address in asked["addresses"] if not _answers(*address)],
    }


def _loopback() -> list[str] | None:
    """Name what 127.0.0.1 belongs to; None where that cannot be told."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:  # noqa: PTH123
            return [stream.read().strip(), os.readlink("/proc/self/ns/net")]  # noqa: PTH115
    except OSError:
        return None


def _in(root: str, path: str) -> str:
    return os.path.normpath(os.path.join(root, path))  # noqa: PTH118


def _version(name: str, module: str) -> str | None:
    """Return the version of a distribution, None where its module cannot be imported."""
    if importlib.util.find_spec(module) is None:
        return None
    if module == "pytest_smoltrace":  # one that is edited in place states an older version
        return str(importlib.import_module(module).__version__)
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _git(root: str) -> dict[str, Any] | None:
    """Return commit and whether tracked files differ from it; None outside a repository."""
    command = ("git", "-c", "safe.directory=*", "--no-optional-locks", "-C", root)
    sha = _output(*command, "rev-parse", "--short=12", "HEAD")
    if not sha:
        return None
    changed = _output(*command, "status", "--porcelain", "-uno", "--ignore-submodules=dirty")
    return {"sha": sha[0], "dirty": bool(changed)}


def _gpus() -> list[list[str]]:
    """Return (name, UUID) of the GPUs, none where nvidia-smi lists none."""
    found = []
    for line in _output("nvidia-smi", "-L"):
        head, _, uuid = line.partition("(UUID: ")
        if line.startswith("GPU "):
            found.append([head.partition(":")[2].strip(), uuid.rstrip(")")])
    return found


def _output(*command: str) -> list[str]:
    """Return the lines that a program writes, none where it fails or is missing."""
    environment = {key: text for key, text in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def _has_tests(path: str, patterns: list[str]) -> bool:
    """Return whether there is a test file, hidden folders and environments left out."""
    if os.path.isfile(path):  # noqa: PTH113
        return True
    for folder, folders, files in os.walk(path):
        if any(fnmatch.fnmatch(name, pattern) for name in files for pattern in patterns):
            return True
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))  # noqa: PTH110, PTH118
        ]
    return False


def _answers(host: str, port: int) -> bool:
    """Return whether somebody listens at an address; a proxy alone can tell."""
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return True
    try:
        socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True
