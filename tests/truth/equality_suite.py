"""A suite of 200 cases on a server that answers by the case, the model and the turn alone.

Where a case runs, and beside what, changes nothing of what the server sends: ids of replies and of
tool calls and the numbers of tokens follow from what is asked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.truth import scripted_server as ss
from tests.truth import suite

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MODELS = ("first", "second")
TASKS = 10
SUMS = 30
PAIRS = 5
STATUS = {
    "context": 400,
    "bad": 400,
    "missing": 404,
    "late": 408,
    "limit": 429,
    "broken": 500,
}
AGENT_ERRORS = ("tool-error", "max-steps", "unknown-tool", "parse-error", "code-error")
CASES = 200
ATTEMPTS = CASES + len(MODELS)
"""A rerun plugin runs one case a second time."""
SOURCE = '''
import pytest
from smolagents import tool


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: First number.
        b: Second number.
    """
    return a + b


@tool
def explode(a: int) -> int:
    """Fail.

    Args:
        a: A number.
    """
    raise ValueError(f"the tool is broken: {a}")


@pytest.fixture
def ask(smoltrace_agent):
    def run(name, prompt="Answer.", **options):
        return smoltrace_agent(tools=[add, explode], **options).run(f"{prompt} [[case:{name}]]")

    return run


@pytest.mark.parametrize("n", range(%(sums)d))
@pytest.mark.smoltrace(agent_type="both", expected_tool="add", expected_keywords="right")
@pytest.mark.smoltrace(tags=["sum", "easy"])
def test_sum(ask, smoltrace_case, n):
    answer = ask(f"sum-{n}", prompt=f"Add {n} and 1.")
    smoltrace_case.extra["n"] = n
    smoltrace_case.score("length", float(len(str(answer))))


@pytest.mark.parametrize("n", range(%(pairs)d))
@pytest.mark.smoltrace(agent_type="both", difficulty="hard", category="pairs")
def test_pair(ask, n):
    assert ask(f"pair-{n}", prompt="Add two pairs.") == "right"


@pytest.mark.parametrize("kind", %(status)r)
def test_refused(ask, kind):
    ask(f"refused-{kind}")


@pytest.mark.smoltrace(id="gone")
def test_gone(ask):
    ask("gone")


@pytest.mark.parametrize("kind", %(errors)r)
@pytest.mark.smoltrace(max_steps=1)
def test_agent_error(ask, kind):
    ask(kind)


@pytest.mark.smoltrace(max_steps=1, agent_type="code")
def test_code_error(ask):
    ask("code-error")


@pytest.mark.smoltrace_tasks("tasks.jsonl")
def test_task(ask, smoltrace_task):
    ask(f"task-{smoltrace_task.extra['n']}", prompt=smoltrace_task.prompt)


@pytest.fixture
def never():
    raise RuntimeError("no such place")


@pytest.fixture
def once():
    yield
    raise OSError("cannot be given back")


def test_setup(never, ask):
    ask("ending")


def test_teardown(once, ask):
    assert ask("ending") == "right"


def test_own_error(ask):
    ask("ending")
    raise LookupError("of the test itself")


def test_assertion(ask):
    assert ask("ending") == "another"


@pytest.mark.skip(reason="not today")
def test_skipped(ask):
    ask("ending")


@pytest.mark.xfail(reason="known", strict=True)
def test_xfail(ask):
    assert ask("ending") == "another"


@pytest.mark.xfail(reason="not any more")
def test_xpass(ask):
    assert ask("ending") == "right"


@pytest.mark.flaky(reruns=1)
def test_rerun(ask):
    assert ask("ending") == "another"


def test_without_agent():
    pass
'''


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A session that has ended and its only run."""

    exit_code: int
    output: str
    directory: Path


def server() -> ss.ScriptedServer:
    return ss.ScriptedServer(select=reply)


def reply(body: Mapping[str, Any]) -> ss.Reply:
    """Return the answer to a request by what it holds alone."""
    name, turn, model = ss.case_of(body) or "", ss.turn_of(body), str(body["model"])
    usage = _usage(f"{model} {name} {turn} {'tools' in body}")
    return _answer(name, turn, bool(body.get("tools")), f"{model}-{name}-{turn}", usage)


def _usage(of: str) -> dict[str, Any]:
    n = zlib.crc32(of.encode()) % 1000
    return {
        "prompt_tokens": 1000 + n,
        "completion_tokens": 40 + n % 7,
        "cached_tokens": n % 400,
        "reasoning_tokens": n % 5,
    }


def _answer(name: str, turn: int, tools: bool, key: str, usage: dict[str, Any]) -> ss.Reply:
    kind, _, what = name.rpartition("-")
    given = {**usage, "response_id": f"reply-{key}"}
    if kind == "refused":
        return _refusal(what)
    fixed = {
        "gone": ss.Reply(close=True),
        "parse-error": ss.text("I think that it is right.", **given),
        "code-error": ss.code("1 / 0", **given),
    }
    if name in fixed:
        return fixed[name]
    tool, arguments = _call(name, kind, what, turn)
    if tools:
        made = ss.ToolCall(name=tool, arguments=arguments, id=f"call-{key}")
        return ss.Reply(tool_calls=(made,), **given)
    shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return ss.code(f"{tool}({shown})", **given)


def _call(name: str, kind: str, what: str, turn: int) -> tuple[str, dict[str, Any]]:
    """Return the tool that the model calls in this turn, and its arguments."""
    failing = {
        "tool-error": ("explode", {"a": 1}),
        "unknown-tool": ("nothing", {"a": 1}),
        "max-steps": ("add", {"a": 1, "b": 1}),
    }
    if name in failing:
        return failing[name]
    if kind == "sum" and turn == 0:
        return "add", {"a": int(what), "b": 1}
    if kind == "pair" and turn < 2:
        return "add", {"a": turn, "b": int(what)}
    wrong = kind in ("sum", "task") and int(what) % 5 == 0
    return "final_answer", {"answer": "wrong" if wrong else "right"}


def _refusal(kind: str) -> ss.Reply:
    texts = {"context": ("maximum context length exceeded", "context_length_exceeded")}
    text, code = texts.get(kind, (f"refused: {kind}", kind))
    return ss.Reply(status=STATUS[kind], error_body=ss.error_json(text, "scripted", code))


def write(folder: Path) -> Path:
    """Write the suite into a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "sums": SUMS,
        "pairs": PAIRS,
        "status": tuple(STATUS),
        "errors": tuple(kind for kind in AGENT_ERRORS if kind != "code-error"),
    }
    (folder / "test_equal.py").write_text(SOURCE % values, encoding="utf-8")
    rows = (
        {"id": f"task-{n}", "prompt": f"Task {n}.", "expected_keywords": ["right"], "n": n}
        for n in range(TASKS)
    )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "tasks.jsonl").write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    names = "".join(f'[prices."{name}"]\n{_prices()}\n' for name in MODELS)
    (folder / "prices.toml").write_text(textwrap.dedent(names), encoding="utf-8")
    return folder


def _prices() -> str:
    return "\n".join(f"{kind} = {price}" for kind, price in suite.PRICES.items())


def arguments(url: str, *options: str) -> list[str]:
    """Return the arguments of a session of the suite."""
    return [
        *suite.plugin_arguments(),
        *("-p", "no:asyncio", "-q", "--tb=no"),
        *(f"--smoltrace-model=openai:{model}" for model in MODELS),
        *(f"--smoltrace-base-url={url}", "--smoltrace-max-retries=0"),
        *("--smoltrace-prices=prices.toml", "--smoltrace-temperature=0.3"),
        *options,
    ]


def environment() -> dict[str, str]:
    return suite.environment()


def run(folder: Path, url: str, *options: str, environ: Mapping[str, str] | None = None) -> Ended:
    """Run the suite that is in the folder, with a storage folder of its own."""
    place = folder / f"runs-{len(list(folder.glob('runs-*')))}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments(url, f"--smoltrace-dir={place}", *options)],
        check=False,
        cwd=folder,
        env=environment() | dict(environ or {}),
        capture_output=True,
        text=True,
        timeout=240,
    )
    output = done.stdout + done.stderr
    found = sorted((place / "runs").glob("*"))
    assert len(found) == 1, output
    return Ended(exit_code=done.returncode, output=output, directory=found[0])


def merge(directories: list[Path], to: Path) -> str:
    """Join the runs of shards with the command line and return what it said."""
    code = "from pytest_smoltrace.cli import main; raise SystemExit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "merge", *map(str, directories), "-o", os.fspath(to)],
        check=False,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
