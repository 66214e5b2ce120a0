"""A suite that says where it runs, for sessions on several hosts, and what makes it true."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.truth import suite
from tests.truth.scripted_server import Reply, ScriptedServer, ToolCall

if TYPE_CHECKING:
    from collections.abc import Sequence

CASES = 8
TOKEN = "SMOLTRACE_TEST_TOKEN"
WAIT_S = 60.0
SHOWN = ("CUDA_VISIBLE_DEVICES", "HOST_ONLY", "EVAL_TOKEN", "NOT_LISTED", "LAUNCHED")
SOURCE = """
import os
import sys

SHOWN = %(shown)r
# Read while the module is imported: what is set later comes too late.
SEEN = {name: os.environ.get(name) for name in SHOWN}


def note(case, request):
    case.extra["seen"] = SEEN
    case.extra["cwd"] = os.getcwd()
    case.extra["rootdir"] = str(request.config.rootpath)
    case.extra["inipath"] = str(request.config.inipath)
    case.extra["argv"] = list(request.config.invocation_params.args)
    case.extra["pid"] = os.getpid()


@pytest.mark.parametrize("n", range(%(cases)d))
def test_case(smoltrace_agent, smoltrace_case, request, n):
    note(smoltrace_case, request)
    assert smoltrace_agent(tools=[add]).run(f"[[case:c{n}]] Add.") == f"right {n}"
"""


def server(cases: int = CASES) -> ScriptedServer:
    """Return a server that adds once and then answers, each case with tokens of its own."""
    return ScriptedServer(cases={f"c{n}": _turns(n) for n in range(cases)})


def _turns(n: int) -> list[Reply]:
    add = ToolCall(name="add", arguments={"a": n, "b": 1})
    end = ToolCall(name="final_answer", arguments={"answer": f"right {n}"})
    return [
        Reply(tool_calls=(add,), prompt_tokens=100 + n, completion_tokens=10 + n),
        Reply(tool_calls=(end,), prompt_tokens=200 + 3 * n, completion_tokens=20 + n),
    ]


@dataclass(frozen=True, kw_only=True)
class Project:
    """A suite in a folder, and what a session over it is started with."""

    folder: Path
    url: str

    def command(self, *options: str) -> list[str]:
        arguments = (
            f"--smoltrace-model=openai:{suite.MODEL}",
            f"--smoltrace-base-url={self.url}",
            "--smoltrace-prices=prices.toml",
            "--smoltrace-hosts=hosts.toml",
        )
        return [sys.executable, "-m", "pytest", *suite.plugin_arguments(), *arguments, *options]

    def hosts(self, text: str) -> None:
        (self.folder / "hosts.toml").write_text(textwrap.dedent(text), encoding="utf-8")

    def run(
        self, scripted: ScriptedServer, *options: str, cwd: Path | None = None, **env: str
    ) -> suite.Finished:
        """Run pytest to its end."""
        done = run(cwd or self.folder, self.command(*options), **env)
        return suite.Finished(
            exit_code=done.returncode,
            output=done.stdout + done.stderr,
            folder=self.folder,
            served=tuple(scripted.completions),
        )

    def refused(self, *options: str, **env: str) -> str:
        """Run what must end before anything starts, and return its only line."""
        done = run(self.folder, self.command(*options), **env)
        output = done.stdout + done.stderr
        assert done.returncode == pytest.ExitCode.USAGE_ERROR, output
        assert "INTERNALERROR" not in output
        assert "Traceback" not in output
        assert not (self.folder / ".smoltrace").exists()
        lines = [line for line in output.splitlines() if line.startswith("ERROR: ")]
        assert len(lines) == 1, output
        return lines[0].removeprefix("ERROR: ")


def run(folder: Path, command: Sequence[str], **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=suite.environment() | env,
        capture_output=True,
        text=True,
        timeout=180,
    )


def project(folder: Path, url: str, source: str | None = None) -> Project:
    """Write the suite into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    body = SOURCE % {"shown": SHOWN, "cases": CASES} if source is None else source
    text = suite.HEADER.format(url=url) + textwrap.dedent(body)
    (folder / "test_generated.py").write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "prices.toml").write_text(suite.price_file(), encoding="utf-8")
    return Project(folder=folder, url=url)


def extra(row: dict[str, Any]) -> dict[str, Any]:
    return json.loads(row["extra"])


def check_all(finished: suite.Finished, cases: int = CASES) -> None:
    """Every case is there once, with the numbers that the server's log makes true."""
    assert finished.exit_code == pytest.ExitCode.OK, finished.output
    names = [f"test_generated.py::test_case[{n}]" for n in range(cases)]
    assert sorted(row["test_id"] for row in finished.results) == sorted(names)
    assert len(finished.run_directories) == 1
    for n, name in enumerate(names):
        served = finished.of(f"c{n}")
        assert [one.prompt_tokens for one in served] == [100 + n, 200 + 3 * n]
        suite.check_numbers(finished, name, served)
    (line,) = finished.leaderboard
    assert line["total_tests"] == cases
    served = [one for one in finished.served if one.prompt_tokens is not None]
    assert line["total_tokens"] == sum(s.prompt_tokens + s.completion_tokens for s in served)


class Session:
    """A session that runs while its test does something to it."""

    def __init__(self, made: Project, *options: str, token: str) -> None:
        self.folder = made.folder
        self._streams = (made.folder / "output.txt").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            made.command(*options),
            cwd=made.folder,
            env=suite.environment() | {TOKEN: token},
            stdin=subprocess.DEVNULL,
            stdout=self._streams,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Whoever runs these tests in the background made them ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )

    def wait_for(self, *names: str) -> None:
        """Wait until the cases have made these files."""
        wait_until(
            lambda: all((self.folder / name).exists() for name in names) or self.has_ended,
            lambda: self.output,
        )
        assert not self.has_ended, self.output

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text(encoding="utf-8")

    def ended(self, scripted: ScriptedServer) -> suite.Finished:
        """Wait for the end of the session."""
        try:
            self.process.wait(timeout=WAIT_S)
        finally:
            self.process.kill()
            self._streams.close()
        return suite.Finished(
            exit_code=self.process.returncode,
            output=self.output,
            folder=self.folder,
            served=tuple(scripted.completions),
        )


def wait_until(holds: Any, tell: Any = str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.05)


def processes_with(text: str) -> list[int]:
    """Return the processes of this machine that have the text in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            # What a worker sets for itself is not there; what it was started with is.
            if text.encode() in environ and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def command_lines() -> list[str]:
    """Return the command lines of all processes."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return lines


def seen(rows: Sequence[dict[str, Any]], name: str) -> set[Any]:
    """Return the values that a variable had where the cases ran."""
    return {extra(row)["seen"][name] for row in rows}
