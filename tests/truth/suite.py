"""Real pytest runs of generated suites against a scripted server, and what the log makes true.

Expected numbers come from the server's log and from the price list alone, never through the
package under test.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import textwrap
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.truth.scripted_server import ScriptedServer, Served

ROOT = Path(__file__).resolve().parents[2]
MODEL = "scripted-model"
TOLERANCE_S = 0.020
PRICES = {"input": 3.0, "output": 15.0, "cache_read": 0.3, "cache_write": 3.75, "reasoning": 20.0}
PER_TOKEN = {kind: price / 1_000_000 for kind, price in PRICES.items()}
SETTINGS = {
    "temperature": 0.3,
    "top_p": 0.9,
    "max_tokens": 321,
    "frequency_penalty": 0.25,
    "presence_penalty": -0.5,
}
SETTING_FLAGS = tuple(
    f"--smoltrace-{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()
)
HEADER = '''
import time
from contextlib import contextmanager

import pytest
from smolagents import tool

SERVER = {url!r}


@contextmanager
def stopwatch(case):
    start = time.monotonic()
    try:
        yield
    finally:
        case.extra["stopwatch_ms"] = (time.monotonic() - start) * 1000


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: First number.
        b: Second number.
    """
    return a + b
'''
_DROPPED = ("HF_HUB_OFFLINE", "HF_TOKEN", "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "CI")
_SAME_IN_TRACES = (
    "gen_ai.usage.prompt_tokens",
    "gen_ai.usage.completion_tokens",
    "completion_tokens_details.reasoning_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "gen_ai.usage.cost.prompt",
    "gen_ai.usage.cost.completion",
    "gen_ai.usage.cost.reasoning",
    "gen_ai.usage.cost.cache_read",
    "gen_ai.usage.cost.cache_write",
    "gen_ai.server.ttft",
    "tool_call_count",
    "llm_call_count",
    "gen_ai.request.temperature",
    "gen_ai.request.top_p",
    "gen_ai.request.max_tokens",
    "gen_ai.response.id",
    "gen_ai.response.finish_reasons",
    "gen_ai.response.model",
    "model",
    "agent_type",
    "run_id",
    "test_id",
)


@dataclass(frozen=True, repr=False)
class Finished:
    """A pytest run that has ended, and the datasets that it left."""

    exit_code: int
    output: str
    folder: Path
    served: tuple[Served, ...]

    @property
    def run_directories(self) -> list[Path]:
        return sorted((self.folder / ".smoltrace" / "runs").iterdir())

    @cached_property
    def results(self) -> list[dict[str, Any]]:
        return self.table("results")

    @cached_property
    def traces(self) -> list[dict[str, Any]]:
        return self.table("traces")

    @cached_property
    def leaderboard(self) -> list[dict[str, Any]]:
        return self.table("leaderboard")

    def table(self, name: str) -> list[dict[str, Any]]:
        rows = []
        for directory in self.run_directories:
            for file in sorted((directory / name).glob("*.parquet")):
                rows += pq.read_table(file).to_pylist()
        return rows

    def result(self, case: str) -> dict[str, Any]:
        return self._only(self.results, case)

    def trace(self, case: str) -> dict[str, Any]:
        return self._only(self.traces, case)

    def of(self, *cases: str) -> list[Served]:
        """Return the completion requests whose prompt named one of the cases."""
        return [served for served in self.served if served.case in cases]

    def _only(self, rows: Sequence[dict[str, Any]], case: str) -> dict[str, Any]:
        found = [row for row in rows if row["test_id"] == case]
        assert len(found) == 1, f"{len(found)} rows of {case!r}\n{self.output}"
        return found[0]


def run_pytest(
    folder: Path,
    server: ScriptedServer,
    source: str,
    *options: str,
    model: str = f"openai:{MODEL}",
    conftest: str = "",
    script: str | None = None,
) -> Finished:
    """Run pytest with the plugin on a generated test file; a script replaces the command."""
    text = HEADER.format(url=server.url) + textwrap.dedent(source)
    (folder / "test_generated.py").write_text(text, encoding="utf-8")
    (folder / "conftest.py").write_text(textwrap.dedent(conftest), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "prices.toml").write_text(price_file(), encoding="utf-8")
    arguments = [
        *plugin_arguments(),
        f"--smoltrace-model={model}",
        f"--smoltrace-base-url={server.url}",
        "--smoltrace-prices=prices.toml",
        *options,
    ]
    command = [sys.executable, "-m", "pytest", *arguments]
    if script is not None:
        (folder / "session.py").write_text(textwrap.dedent(script), encoding="utf-8")
        command = [sys.executable, "session.py", *arguments]
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Finished(
        exit_code=done.returncode,
        output=done.stdout + done.stderr,
        folder=folder,
        served=tuple(server.completions),
    )


def plugin_arguments() -> list[str]:
    names = {entry.name for entry in entry_points(group="pytest11")}
    loaded = [] if "smoltrace" in names else ["-p", "pytest_smoltrace.plugin"]
    return [*loaded, "-p", "no:cacheprovider", "-p", "no:randomly"]


def environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _DROPPED and not name.startswith(("SMOLTRACE_", "OTEL_", "OPENAI_"))
    }
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": path, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def price_file() -> str:
    lines = [f"{kind} = {price}" for kind, price in PRICES.items()]
    prefixes = ("", "openai/", "custom-", "anthropic/", "ollama_chat/")
    tables = (f'[prices."{prefix}{MODEL}"]' for prefix in prefixes)
    return "\n".join(line for table in tables for line in (table, *lines))


def add_up(values: Sequence[int | float | None]) -> int | float | None:
    """Return the sum of the known values, None when none is known."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def true_tokens(served: Sequence[Served]) -> dict[str, Any]:
    """Return the token columns that the served replies make true."""
    whole = all(one.prompt_tokens is not None for one in served)
    prompt = sum(one.prompt_tokens or 0 for one in served) if whole else None
    completion = sum(one.completion_tokens or 0 for one in served) if whole else None
    return {
        "gen_ai.usage.prompt_tokens": prompt,
        "gen_ai.usage.completion_tokens": completion,
        "gen_ai.usage.total_tokens": prompt + completion if whole else None,
        "completion_tokens_details.reasoning_tokens": add_up([s.reasoning_tokens for s in served]),
        "cache_read_input_tokens": add_up([s.cached_tokens for s in served]),
        "cache_creation_input_tokens": add_up([s.cache_write_tokens for s in served]),
    }


def true_cost(served: Sequence[Served]) -> dict[str, float | None]:
    """Return the cost columns, from the formula of the field contract."""
    parts: dict[str, list[float | None]] = {}
    for one in served:
        for name, value in _cost_parts(one).items():
            parts.setdefault(name, []).append(value)
    summed = {name: add_up(values) for name, values in parts.items()}
    total = math.fsum(value for value in summed.values() if value is not None)
    columns = {**summed, "total": total}
    return {f"gen_ai.usage.cost.{name}": value for name, value in columns.items()}


def _cost_parts(one: Served) -> dict[str, float | None]:
    assert one.prompt_tokens is not None
    assert one.completion_tokens is not None
    read, written, reasoned = one.cached_tokens, one.cache_write_tokens, one.reasoning_tokens
    return {
        "prompt": (one.prompt_tokens - (read or 0) - (written or 0)) * PER_TOKEN["input"],
        "completion": (one.completion_tokens - (reasoned or 0)) * PER_TOKEN["output"],
        "cache_read": None if read is None else read * PER_TOKEN["cache_read"],
        "cache_write": None if written is None else written * PER_TOKEN["cache_write"],
        "reasoning": None if reasoned is None else reasoned * PER_TOKEN["reasoning"],
    }


def check_numbers(finished: Finished, case: str, served: Sequence[Served]) -> None:
    """Compare tokens, cost, ids and call counts of a case with the server's log."""
    row, trace = finished.result(case), finished.trace(case)
    assert row["llm_call_count"] == len(served), finished.output
    tokens = true_tokens(served)
    assert {name: row[name] for name in tokens} == tokens
    assert row["total_tokens"] == (tokens["gen_ai.usage.total_tokens"] or 0)
    check_cost(row, served)
    assert row["gen_ai.response.id"] == served[-1].response_id
    assert row["gen_ai.response.model"] == served[-1].model
    assert row["gen_ai.response.finish_reasons"] == [one.finish_reason for one in served]
    check_trace_row(row, trace)
    check_span_sums(trace, served)


def check_cost(row: Mapping[str, Any], served: Sequence[Served]) -> None:
    for name, value in true_cost(served).items():
        assert row[name] == close(value), name
    assert row["cost_usd"] == close(true_cost(served)["gen_ai.usage.cost.total"])
    assert row["cost_source"] == "custom"


def close(value: float | None) -> Any:
    """Return what a float equals up to the order of its additions."""
    return None if value is None else pytest.approx(value, rel=1e-12, abs=0)


def check_trace_row(row: Mapping[str, Any], trace: Mapping[str, Any]) -> None:
    """The trace row repeats the result row, and its spans are one whole tree."""
    assert {name: trace[name] for name in _SAME_IN_TRACES} == {
        name: row[name] for name in _SAME_IN_TRACES
    }
    assert trace["total_tokens"] == row["gen_ai.usage.total_tokens"]
    assert trace["total_prompt_tokens"] == row["gen_ai.usage.prompt_tokens"]
    assert trace["total_completion_tokens"] == row["gen_ai.usage.completion_tokens"]
    assert trace["total_cost_usd"] == row["gen_ai.usage.cost.total"]
    assert trace["avg_tbt"] == row["gen_ai.server.tbt"]
    assert trace["trace_id"] == row["trace_id"]
    check_tree(trace)


def check_tree(trace: Mapping[str, Any]) -> None:
    """One root, every parent present, nothing attached by guess."""
    spans = trace["spans"]
    ids = [span["span_id"] for span in spans]
    assert len(set(ids)) == len(ids) == trace["span_count"]
    roots = [span["span_id"] for span in spans if span["parent_span_id"] is None]
    assert roots == [trace["root_span_id"]]
    assert all(span["parent_span_id"] in ids for span in spans if span["parent_span_id"])
    assert trace["orphan_span_count"] == 0
    assert not any(span["orphan"] for span in spans)
    assert trace["complete"]


def check_span_sums(trace: Mapping[str, Any], served: Sequence[Served]) -> None:
    """A plain sum over the typed columns of all spans is the truth."""
    typed = [span["attributes"] for span in trace["spans"]]
    tokens = true_tokens(served)
    aliases = {
        "gen_ai.usage.input_tokens": "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt": "gen_ai.usage.prompt_tokens",
        "gen_ai.usage.output_tokens": "gen_ai.usage.completion_tokens",
        "llm.token_count.completion": "gen_ai.usage.completion_tokens",
        "llm.usage.total_tokens": "gen_ai.usage.total_tokens",
    }
    for name, true in [*((n, n) for n in tokens), *aliases.items()]:
        assert add_up([one[name] for one in typed]) == tokens[true], name
    for name, value in true_cost(served).items():
        assert add_up([one[name] for one in typed]) == close(value), name
    counted = [one for one in typed if one["smoltrace.counted_call"]]
    assert len(counted) == len(served)


def calls_of(trace: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the typed attributes of the counted calls by response id."""
    typed = [span["attributes"] for span in trace["spans"]]
    return {one["gen_ai.response.id"]: one for one in typed if one["smoltrace.counted_call"]}


def check_times(finished: Finished, case: str, served: Sequence[Served]) -> None:
    """TTFT of each call and the length of each stream are within 20 ms of the server's times."""
    row, calls = finished.result(case), calls_of(finished.trace(case))
    ttfts, streams, tokens = [], [], 0
    for one in served:
        assert one.response_id is not None
        call = calls[one.response_id]
        true_ttft = (one.chunk_ns[0] - one.received_ns) / 1e9
        assert call["gen_ai.server.ttft"] == pytest.approx(true_ttft, abs=TOLERANCE_S)
        ttfts.append(true_ttft)
        gaps = (one.completion_tokens or 0) - 1
        if gaps >= 1:
            stream = (one.chunk_ns[-1] - one.chunk_ns[0]) / 1e9
            assert call["gen_ai.server.tbt"] * gaps == pytest.approx(stream, abs=TOLERANCE_S)
            streams.append(stream)
            tokens += gaps
    assert row["streamed_call_count"] == len(served)
    mean = sum(ttfts) / len(ttfts)
    assert row["gen_ai.server.ttft"] == pytest.approx(mean, abs=TOLERANCE_S)
    assert row["gen_ai.server.tbt"] * tokens == pytest.approx(
        sum(streams), abs=TOLERANCE_S * len(streams)
    )


def check_times_of(
    finished: Finished,
    cases: Mapping[str, Callable[[Finished], Sequence[Served]]],
    again: Callable[[], Finished],
) -> None:
    """The times of each case hold in one of three runs: a busy machine holds single calls up."""
    late = dict(cases)
    for attempt in range(3):
        finished = again() if attempt else finished
        for case, served in tuple(late.items()):
            with suppress(AssertionError):
                check_times(finished, case, served(finished))
                del late[case]
        if not late:
            return
    for case, served in late.items():
        check_times(finished, case, served(finished))


def check_no_times(finished: Finished, case: str) -> None:
    row = finished.result(case)
    assert row["gen_ai.server.ttft"] is None
    assert row["gen_ai.server.tbt"] is None
    assert row["streamed_call_count"] == 0


def check_stopwatch(finished: Finished, case: str) -> None:
    """The duration equals that of a stopwatch around the test's body, within 20 ms."""
    row = finished.result(case)
    stopwatch_ms = json.loads(row["extra"])["stopwatch_ms"]
    assert row["execution_time_ms"] == pytest.approx(stopwatch_ms, abs=TOLERANCE_S * 1000)
    seconds = (row["end_time"] - row["start_time"]).total_seconds()
    assert seconds * 1000 == pytest.approx(row["execution_time_ms"], abs=0.001)


def check_settings(finished: Finished, case: str, served: Sequence[Served]) -> None:
    """The request columns hold what the server received."""
    row = finished.result(case)
    for name, value in SETTINGS.items():
        received = {one.body.get(name) for one in served}
        assert received == {value}, name
        assert row[f"gen_ai.request.{name}"] == value
    for one in served:
        assert one.response_id is not None
        call = calls_of(finished.trace(case))[one.response_id]
        for name in SETTINGS:
            assert call[f"gen_ai.request.{name}"] == one.body[name]
