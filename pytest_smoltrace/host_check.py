"""Ask every host, before a session, what would make its workers fail or differ."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pytest_smoltrace import devices, host_facts
from pytest_smoltrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_smoltrace.hosts import Placement

_OURS = "pytest-smoltrace"
_NEEDED = (_OURS, "pytest-xdist")
_BOOTSTRAP = "import sys;exec(eval(sys.stdin.readline()))"
"""What execnet gives a Python to begin with."""
_SSH_FAILED = 255
_NOT_FOUND = (126, 127)
_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What hosts are asked about."""

    project: str
    """Folder of the project here."""
    files: tuple[str, ...]
    """What has to be there besides, relative to the project."""
    paths: tuple[str, ...]
    """What is to be collected, relative to the project."""
    patterns: tuple[str, ...]
    """Names of test files."""
    packages: Mapping[str, str]
    """Distribution -> module."""
    keys: tuple[tuple[str, tuple[str, ...]], ...]
    """(model, variables of which it needs one)."""
    addresses: tuple[tuple[str, int], ...]
    """Where model servers listen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one host said."""

    host: str
    facts: Mapping[str, Any]
    differences: tuple[str, ...]
    """What is another there than here, a line each."""
    shares_loopback: bool
    """Whether 127.0.0.1 is the same there and here."""


def check(placements: Iterable[Placement], questions: Questions) -> tuple[Answer, ...]:
    """Return the answers of the remote hosts, which are asked at the same time.

    Raises:
        ConfigError: Workers on a host could not run the cases; says of the first such host why.
    """
    hosts = {place.host: place for place in placements if place.chdir is not None}
    here = host_facts.gather(_asked(questions, questions.project))
    if here["missing"]:
        raise ConfigError(f"file or directory not found: {here['missing'][0]}")
    answers = []
    for host, facts in _ask(hosts, questions).items():
        problem = _problem(facts, here, hosts[host], questions)
        if problem:
            raise ConfigError(f"{host}: {problem}")
        answers.append(
            Answer(
                host=host,
                facts=facts,
                differences=tuple(_differ(facts, here)),
                shares_loopback=facts["loopback"] == here["loopback"],
            )
        )
    return tuple(answers)


def answers(place: Placement) -> bool:
    """Return whether the command of a placement still starts a Python."""
    asking = _Asking(place, f"import sys; sys.stdout.write({host_facts.MARK!r} + '{{}}')")
    with _killed({place.host: asking}):
        try:
            asking.facts()
        except ConfigError:
            return False
        return True


def placed(place: Placement, answers: Iterable[Answer]) -> Placement:
    """Return the placement with its folder as the host resolved it."""
    roots = {answer.host: answer.facts["root"] for answer in answers}
    return replace(place, chdir=roots.get(place.host, place.chdir))


def _asked(questions: Questions, root: str) -> dict[str, Any]:
    return {
        "root": root,
        "files": questions.files,
        "paths": questions.paths,
        "patterns": questions.patterns,
        "packages": dict(questions.packages),
        "shown": (*devices.VARIABLES, devices.ORDER),
        "variables": [name for _, names in questions.keys for name in names],
        "addresses": questions.addresses,
    }


def _ask(hosts: Mapping[str, Placement], questions: Questions) -> dict[str, dict[str, Any]]:
    """Return the facts of each host."""
    started: dict[str, _Asking] = {}
    with _killed(started):
        for host, place in hosts.items():
            started[host] = _Asking(place, _source(place, questions))
        return {host: asking.facts() for host, asking in started.items()}


def _source(place: Placement, questions: Questions) -> str:
    """Return what a host runs to answer the questions."""
    asked = _asked(questions, str(place.chdir)) | {"env": dict(place.env)}
    return f"{Path(host_facts.__file__).read_text(encoding='utf-8')}\nanswer({asked!r})\n"


@contextmanager
def _killed(started: Mapping[str, _Asking]) -> Iterator[None]:
    """Leave no process behind, however the asking ends."""
    try:
        yield
    finally:
        for asking in started.values():
            asking.end()


class _Asking:
    """One process that runs the questions on a host, by the command that starts its workers."""

    def __init__(self, place: Placement, source: str) -> None:
        self._place = place
        self._deadline_s = time.monotonic() + place.start_timeout_s
        command = [*place.command, "-u", "-c", _BOOTSTRAP]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace"
        )
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, and says why
            _write(self._process.stdin, f"{source!r}\n")

    def facts(self) -> dict[str, Any]:
        """Return what the host says; ConfigError when it says nothing of use."""
        host, limit_s = self._place.host, self._place.start_timeout_s
        try:
            left_s = max(0.1, self._deadline_s - time.monotonic())
            output, errors = self._process.communicate(timeout=left_s)
        except subprocess.TimeoutExpired:
            raise ConfigError(
                f"{host}: no answer within {limit_s:g} s; start it, or set a longer "
                "start_timeout_s in the hosts file"
            ) from None
        noise, mark, text = output.partition(host_facts.MARK)
        if not mark:
            raise ConfigError(f"{host}: {_failure(self._process.returncode, errors, output)}")
        if noise:
            raise ConfigError(
                f"{host}: something writes to standard output before Python starts, which is "
                f"the connection to its workers: {_last(noise)!r}; silence it"
            )
        facts: dict[str, Any] = json.loads(text.splitlines()[0])
        return facts

    def end(self) -> None:
        """End the process if it still runs."""
        if self._process.poll() is None:
            # The session that `launch` made, with all that the command has started.
            with suppress(AttributeError, ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.communicate()


def _write(stream: IO[str], text: str) -> None:
    stream.write(text)
    stream.flush()


def _failure(status: int, errors: str, output: str) -> str:
    """Return why no Python answered."""
    said = _last(errors) or _last(output) or f"exit code {status}"
    if status == _SSH_FAILED:
        return f"cannot be reached: {said}; try the same ssh by hand: it must not ask anything"
    if status in _NOT_FOUND:
        return f"no Python there: {said}; set `python` of this host in the hosts file"
    return f"no Python answered: {said}"


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_SHOWN] if lines else ""


def _problem(
    facts: Mapping[str, Any], here: Mapping[str, Any], place: Placement, questions: Questions
) -> str | None:
    """Return why workers on a host could not run the cases; None when they can."""
    if facts["root"] is None:
        return f"no folder {place.chdir}; set `chdir` of this host to the project's folder there"
    found = (_packages(facts, here), _project(facts, here), _models(facts, questions))
    return next(filter(None, found), None)


def _packages(facts: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    there, own = facts["versions"], here["versions"]
    for name in (*_NEEDED, *there):
        if there[name] is None and own[name] is not None:
            return (
                f"{facts['executable']} has no {name}; install it there, or set `python` of this "
                "host in the hosts file to one that has"
            )
    if there[_OURS] != own[_OURS]:
        return f"{_OURS} is {there[_OURS]} there and {own[_OURS]} here; install the same version"
    return None


def _project(facts: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    way = "copy the project there, or set `chdir` of this host in the hosts file"
    if facts["missing"]:
        return f"no {facts['missing'][0]} in {facts['root']}; {way}"
    if here["has_tests"] and not facts["has_tests"]:
        return f"no test files in {facts['root']}; {way}"
    return None


def _models(facts: Mapping[str, Any], questions: Questions) -> str | None:
    for model, names in questions.keys:
        if set(names) <= set(facts["unset"]):
            return (
                f"{model} needs {' or '.join(names)}, which is not set there: "
                f'add it to forward_env in the hosts file (forward_env = ["{names[0]}"])'
            )
    for address, port in facts["unreachable"]:
        return (
            f"no model server answers at {address}:{port} from there; give "
            "--smoltrace-base-url an address that every host reaches"
        )
    return None


def _differ(facts: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is another on the host than here."""
    if facts["python"] != here["python"]:
        yield f"Python {facts['python']}, here {here['python']}"
    for name, version in facts["versions"].items():
        if version != here["versions"][name]:
            yield f"{name} {version}, here {here['versions'][name] or 'not installed'}"
    if facts["git"] != here["git"]:
        yield f"{_commit(facts['git'])}, here {_commit(here['git'])}"


def _commit(git: Mapping[str, Any] | None) -> str:
    if git is None:
        return "no git repository"
    return f"commit {git['sha']}{' with changes' if git['dirty'] else ''}"


def gpu_text(gpus: Sequence[Sequence[str]]) -> str:
    """Return the GPUs of a host in words: `2 x NVIDIA H100`."""
    names = [name for name, _ in gpus]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)) or "no GPU"
