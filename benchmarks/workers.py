"""Memory and start of an xdist worker with an active session against a plain one.

The cases are equal: a stock tool-calling agent asks an OpenAI-compatible server on loopback once.
A worker is measured when its cases have ended, its start until its first case has ended, so that
what a plain worker imports in that case is in both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sessions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CASES_PER_WORKER = 4
USAGE = {"prompt_tokens": 1000, "completion_tokens": 40, "total_tokens": 1040}
CALL = {
    "id": "call_0",
    "type": "function",
    "function": {"name": "final_answer", "arguments": '{"answer": "done"}'},
}
REPLY = {
    "id": "chat-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": None, "tool_calls": [CALL]},
            "finish_reason": "tool_calls",
        }
    ],
    "usage": USAGE,
}
CONFTEST = """
import json, os, sys, time
import pytest

_started = []


def _memory_mib():
    sizes = {}
    with open("/proc/self/smaps_rollup") as lines:
        for words in map(str.split, lines):
            if words[0].endswith(":") and words[-1] == "kB":
                sizes[words[0][:-1]] = int(words[1]) / 1024
    uss = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return {"rss_mib": sizes["Rss"], "uss_mib": uss}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    try:
        return (yield)
    finally:
        if not _started:
            _started.append({"ready_unix_s": time.time(), "start_cpu_s": time.process_time()})


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    if not _started and os.environ.get("PYTEST_XDIST_WORKER"):
        return  # it ran no case
    seen = {**(_started[0] if _started else {}), **_memory_mib(), "modules": sorted(sys.modules)}
    name = os.environ.get("PYTEST_XDIST_WORKER", "controller")
    with open(os.path.join(os.environ["BENCH_OUT"], name + ".json"), "w") as stream:
        json.dump(seen, stream)
"""
SUITE = """
import os
import pytest
from smolagents import InferenceClientModel, OpenAIModel, ToolCallingAgent


@pytest.mark.parametrize("n", range(int(os.environ["BENCH_CASES"])))
def test_case(n):
    url = os.environ["BENCH_URL"]
    if os.environ["BENCH_CLIENT"] == "openai":
        model = OpenAIModel(model_id="gpt-4o-mini", api_base=url, api_key="none")
    else:
        model = InferenceClientModel(model_id=None, base_url=url, api_key="none")
    agent = ToolCallingAgent(tools=[], model=model, verbosity_level=0)
    assert agent.run("Say done.") == "done"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """What the workers of one session took, medians over them."""

    uss_mib: float
    rss_mib: float
    start_cpu_s: float
    """User and system time of a worker until its first case has ended."""
    ready_s: float
    """Wall time from the start of pytest until every worker has ended a case."""
    controller_rss_mib: float
    modules: frozenset[str]


class Handler(BaseHTTPRequestHandler):
    """Ends every run of an agent at once."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer with a call of the final tool."""
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(REPLY).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--client", choices=("openai", "inference"), default="openai")
    parser.add_argument("--modules", action="store_true", help="name what a traced worker adds")
    arguments = parser.parse_args()
    print(sessions.conditions())
    with serving() as url:
        for count in arguments.counts:
            plain, traced = measure(url, count, arguments.rounds, arguments.client)
            compare(count, plain, traced)
    if arguments.modules:
        print(*added(plain[-1], traced[-1]), sep="\n")


@contextmanager
def serving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def measure(url: str, count: int, rounds: int, client: str) -> tuple[list[Workers], list[Workers]]:
    """Return plain and traced sessions; who goes first alternates."""
    pairs: tuple[list[Workers], list[Workers]] = ([], [])
    for number in range(rounds):
        for traced in (bool(number % 2), not number % 2):
            pairs[traced].append(session(url, count, client, traced=traced))
    return pairs


def session(url: str, count: int, client: str, *, traced: bool) -> Workers:
    """Run one session; SystemExit when a case fails."""
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name), Path(name, "out")
        out.mkdir()
        (folder / "conftest.py").write_text(CONFTEST)
        (folder / "test_case.py").write_text(SUITE)
        (folder / "pytest.ini").write_text("[pytest]\n")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["-p", "xdist.plugin", "-n", str(count), "--dist=load", "--maxschedchunk=1"]
        if traced:
            command += ["-p", sessions.PLUGIN, f"--smoltrace-model={client}:gpt-4o-mini"]
            command += [f"--smoltrace-base-url={url}", f"--smoltrace-dir={folder}/runs"]
        own = {"BENCH_URL": url, "BENCH_CASES": str(CASES_PER_WORKER * count)}
        keys = {"OPENAI_API_KEY": "none", "HF_TOKEN": "none"}
        environ = sessions.environment(BENCH_OUT=str(out), BENCH_CLIENT=client, **keys, **own)
        began = time.time()
        done = subprocess.run(
            command, check=False, cwd=folder, env=environ, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        seen = {path.stem: json.loads(path.read_text()) for path in out.iterdir()}
    controller = seen.pop("controller")
    return summary(list(seen.values()), controller, began)


def summary(workers: list[dict[str, Any]], controller: dict[str, Any], began: float) -> Workers:
    def median(name: str) -> float:
        return statistics.median(worker[name] for worker in workers)

    return Workers(
        uss_mib=median("uss_mib"),
        rss_mib=median("rss_mib"),
        start_cpu_s=median("start_cpu_s"),
        ready_s=max(worker["ready_unix_s"] for worker in workers) - began,
        controller_rss_mib=controller["rss_mib"],
        modules=frozenset(workers[0]["modules"]),
    )


def compare(count: int, plain: Sequence[Workers], traced: Sequence[Workers]) -> None:
    print(f"-n {count}, a worker (median of {len(plain)} rounds):")
    for name, unit in (
        ("uss_mib", "MiB"),
        ("rss_mib", "MiB"),
        ("start_cpu_s", "CPU s"),
        ("ready_s", "s, all workers"),
        ("controller_rss_mib", "MiB"),
    ):
        below, above = ([getattr(one, name) for one in many] for many in (plain, traced))
        print(
            f"  {name.rpartition('_')[0]:15} plain {statistics.median(below):7.2f}, traced"
            f" {statistics.median(above):7.2f} {unit}, ratio {sessions.paired(above, below)}"
        )


def added(plain: Workers, traced: Workers) -> list[str]:
    """Return how many modules of which package a traced worker has more."""
    tops: dict[str, int] = {}
    for name in traced.modules - plain.modules:
        top = name.partition(".")[0]
        tops[top] = tops.get(top, 0) + 1
    ordered = sorted(tops.items(), key=lambda item: -item[1])
    return [f"  {number:4} modules of {top}" for top, number in ordered]


if __name__ == "__main__":
    main()
