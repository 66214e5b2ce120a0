"""Inner sessions of the plugin with a scripted model, so that no server is needed."""

import importlib.metadata
import json
import os
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import pytest_smoltrace
from pytest_smoltrace.config import PROVIDERS
from pytest_smoltrace.options import OPTIONS
from tests.warm import Warmed

ROOT = Path(pytest_smoltrace.__file__).parents[1]
WARMED = pytest.StashKey[Warmed | None]()

CONFTEST = '''
"""A model that does what the task tells it: `call TOOL KEY=VALUE; answer TEXT`."""
import pytest
from smolagents import Model, tool
from smolagents.models import (
    ChatMessage, ChatMessageToolCall, ChatMessageToolCallFunction, MessageRole, TokenUsage,
)


class Refused(Exception):
    def __init__(self, status):
        super().__init__(f"Error code: {status}")
        self.status_code = status


class Scripted(Model):
    """Step n of an agent does the n-th command of its task; 100 + 10 tokens a call."""

    def generate(self, messages, stop_sequences=None, response_format=None,
                 tools_to_call_from=None, **kwargs):
        texts = [text_of(message) for message in messages]
        task = next((t for t in reversed(texts) if "New task:" in t or "do:" in t), texts[-1])
        commands = task.partition("New task:")[2] or task.partition("do:")[2] or task
        commands = [c.strip() for c in commands.split(";")]
        done = sum(1 for m in messages if role_of(m) == "tool-response")
        word, _, rest = commands[min(done, len(commands) - 1)].partition(" ")
        if word == "fail":
            raise Refused(int(rest))
        if word == "interrupt":
            raise KeyboardInterrupt
        return self.answer(word, rest, tools_to_call_from)

    def answer(self, word, rest, tools):
        usage = TokenUsage(input_tokens=100, output_tokens=10)
        name, _, argument = rest.partition(" ")
        if word == "say":
            return ChatMessage(role=MessageRole.ASSISTANT, content=rest, token_usage=usage)
        if word == "answer":
            name, arguments = "final_answer", {"answer": rest}
        else:
            arguments = dict(pair.split("=") for pair in argument.split())
        if tools is None:
            given = ", ".join(f"{k}={v!r}" for k, v in arguments.items())
            code = f"Thought: go on\\n<code>\\n{name}({given})\\n</code>"
            return ChatMessage(role=MessageRole.ASSISTANT, content=code, token_usage=usage)
        function = ChatMessageToolCallFunction(name=name, arguments=arguments)
        call = ChatMessageToolCall(id="call-1", type="function", function=function)
        return ChatMessage(
            role=MessageRole.ASSISTANT, content=None, tool_calls=[call], token_usage=usage
        )


def role_of(message):
    role = message["role"] if isinstance(message, dict) else message.role
    return getattr(role, "value", role)


def text_of(message):
    content = message["content"] if isinstance(message, dict) else message.content
    if isinstance(content, str) or content is None:
        return content or ""
    return " ".join(part.get("text", "") for part in content)


@tool
def look(city: str) -> str:
    """Look a city up.

    Args:
        city: Its name.
    """
    return f"{city} is a city"


@tool
def broken(city: str) -> str:
    """Fail.

    Args:
        city: Its name.
    """
    raise ValueError("the tool is broken")


def pytest_smoltrace_providers():
    return ["scripted"]


def pytest_smoltrace_make_model(config, spec):
    if spec.provider == "scripted":
        return Scripted(model_id=spec.model_id)


@pytest.fixture
def ask(smoltrace_agent):
    """Run an agent on a script and return its answer."""
    def run(script, **kwargs):
        return smoltrace_agent(tools=[look, broken], **kwargs).run(script)
    return run


@pytest.fixture
def scripted():
    return Scripted(model_id="own")
'''


class Run:
    """An inner session that has ended."""

    def __init__(self, result, directory):
        self.result = result
        self.ret = result.ret
        self.out = result.stdout.str()
        self.err = result.stderr.str()
        self.directory = directory

    @property
    def runs(self):
        """Return the run directories, if any."""
        folder = self.directory / "runs"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def rows(self, table):
        """Return the rows of one of the datasets of the only run."""
        (run,) = self.runs
        files = sorted((run / table).rglob("*.parquet"))
        return [row for file in files for row in pq.read_table(file).to_pylist()]

    @property
    def results(self):
        """Return the rows of the results by name of the test, parameters included."""
        return {row["nodeid"].rpartition("::")[2]: row for row in self.rows("results")}

    @property
    def outcomes(self):
        """Return name of the test -> (outcome, error_type)."""
        return {name: (row["outcome"], row["error_type"]) for name, row in self.results.items()}

    @property
    def stop_reason(self):
        """Return how the journal says that the session ended."""
        (run,) = self.runs
        lines = (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        return json.loads(lines[-1])["stop_reason"]

    def refused(self, *words):
        """Assert that the session was refused with one clear line before any case ran."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert self.ret == pytest.ExitCode.USAGE_ERROR, f"{self.ret}\n{self.out}\n{self.err}"
        errors = [line for line in lines if line.startswith("ERROR: ")]
        assert len(errors) == 1, self.err
        assert lines == errors, self.err
        assert "Traceback" not in self.out + self.err
        assert "INTERNALERROR" not in self.out + self.err
        for word in words:
            assert word in errors[0]
        assert "MODEL CALLED" not in self.out + self.err
        return errors[0]


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """Return the import path under which an inner session finds the plugin by its entry point."""
    path = [str(ROOT)]
    points = importlib.metadata.entry_points(group="pytest11", name="smoltrace")
    if not points:
        site = tmp_path_factory.mktemp("site")
        info = site / "pytest_smoltrace-0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: pytest-smoltrace\nVersion: 0\n"
        )
        (info / "entry_points.txt").write_text("[pytest11]\nsmoltrace = pytest_smoltrace.plugin\n")
        path.append(str(site))
    return path


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Hide the options, keys and addresses of whoever runs the tests."""
    for option in OPTIONS:
        monkeypatch.delenv(option.env, raising=False)
    for provider in PROVIDERS.values():
        for key in provider.api_key_env or ():
            monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


OWN_INTERPRETER = frozenset(
    {
        # What is imported is the question, or who the parent of a worker is.
        *("test_inactive.py", "test_inert.py"),
        "test_judge.py::test_an_inactive_session_may_make_judges",
        "test_process_ticks.py::test_torch_is_not_imported",
        "test_resume.py::test_workers_call_no_model_when_their_controller_has_died",
        # Witnesses that a session in a process of its own, and its workers, do the same.
        *("test_outcomes.py", "test_xdist.py"),
    }
)
"""Modules and tests whose sessions are no forks."""


def fork_sessions(pytester, config, monkeypatch):
    """Have pytester fork its sessions, where a fork is what a new process would be."""
    warmed = config.stash.setdefault(WARMED, None)
    if warmed is None:
        warmed = config.stash[WARMED] = Warmed()
        config.add_cleanup(warmed.close)
    popen = pytester.popen

    def start(cmdargs, stdout, stderr, stdin, **others):
        here, (*command, arguments) = Path.cwd(), (*cmdargs[:2], list(cmdargs[2:]))
        env = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{os.environ['PYTHONPATH']}"}
        is_pytest = command == [sys.executable, "-mpytest"] and stdin is pytester.CLOSE_STDIN
        process = warmed.process(here, env) if is_pytest else None
        if process is None:
            return popen(cmdargs, stdout=stdout, stderr=stderr, stdin=stdin, **others)
        with Path(os.devnull).open("rb") as nothing:
            files = (nothing.fileno(), stdout.fileno(), stderr.fileno())
            return process.start(arguments, cwd=here, env=env, files=files)

    monkeypatch.setattr(pytester, "popen", start)


@pytest.fixture
def suite(pytester, installed, monkeypatch, request):
    """Return a function that runs pytest with the plugin in a process of its own."""
    module = request.path.name
    if not OWN_INTERPRETER & {module, f"{module}::{request.node.originalname}"}:
        fork_sessions(pytester, request.config, monkeypatch)
    old = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([*installed, *([old] if old else [])])
    monkeypatch.setenv("PYTHONPATH", path)
    pytester.makeconftest(CONFTEST)

    def run(*args, source=None, model="scripted:m", conftest=""):
        if source is not None:
            pytester.makepyfile(test_it=source)
        if conftest:
            pytester.makeconftest(CONFTEST + conftest)
        flags = [f"--smoltrace-model={model}"] if model else []
        off = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:randomly")
        result = pytester.runpytest_subprocess(*off, *flags, *args)
        return Run(result, pytester.path / ".smoltrace")

    return run
