"""What a case costs on its way into the journal, against floors measured in the same rounds.

A case with 30 spans of 40 attributes is encoded by a worker, sent with its report as xdist sends
it, taken off the report and appended. Each step has a floor that does nothing but what it must:
orjson over ready values, execnet over ready bytes, `os.write` of ready bytes. `--sessions` runs
real sessions with two workers and compares the memory of the controller for few and many cases.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import execnet
import orjson
import pytest
import sessions

from pytest_smoltrace import dist
from pytest_smoltrace.codec import encode_case
from pytest_smoltrace.facts import CaseRecord, Declared, PhaseFact, SpanTable
from pytest_smoltrace.journal import JournalWriter
from pytest_smoltrace.session_facts import Header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NODEID = "test_weather.py::test_weather[17]"
ATTRIBUTES = 40
CASES = 300
"""Cases of one measurement."""
POLICIES = ("off", "interval", "case")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--spans", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--fsync", action="store_true", help="the policies at several rates")
    parser.add_argument("--sessions", type=int, nargs=2, metavar=("FEW", "MANY"))
    parser.add_argument("--dir", type=Path, help="a folder on the disk to measure")
    arguments = parser.parse_args()
    print(sessions.conditions())
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        if arguments.sessions:
            compare_sessions(Path(folder), *arguments.sessions)
        elif arguments.fsync:
            policies(Path(folder), arguments.spans[-1])
        else:
            for spans in arguments.spans:
                steps(Path(folder, str(spans)), spans, arguments.rounds)


def case(spans: int, number: int = 17) -> CaseRecord:
    """Return an attempt with this many spans of realistic attributes, about 3.4 KB each."""
    begun = 1_790_000_000_000_000_000
    texts = [f"{i}: the weather of a city on day {number} " * 2 for i in range(6)]
    attributes = [
        {f"gen_ai.attribute.{i}": texts[i % 6] if i % 4 else i * 1.5 for i in range(ATTRIBUTES)}
        for _ in range(spans)
    ]
    ids = [f"{number:08x}{i:08x}" for i in range(spans)]
    table = SpanTable(
        span_id=ids,
        parent_id=[None, *ids[:1] * (spans - 1)],
        name=["case", *["chat scripted-1"] * (spans - 1)],
        kind=["INTERNAL"] * spans,
        start_unix_ns=[begun + i for i in range(spans)],
        end_unix_ns=[begun + 10_000_000 + i for i in range(spans)],
        status=["OK"] * spans,
        description=[None] * spans,
        scope=["openinference.instrumentation.smolagents"] * spans,
        attributes=attributes,
        events={},
        links={},
        orphans=[],
        roles={},
        strings=[f"system prompt {number} " * 200],
    )
    phase = PhaseFact(
        when="call", start_unix_ns=begun, start_mono_ns=1, end_mono_ns=2, outcome="passed"
    )
    return CaseRecord(
        declared=Declared(case_id=NODEID, nodeid=NODEID),
        attempt=0,
        trace_id=f"{number:032x}",
        root_span_id=ids[0],
        outcome="passed",
        error=None,
        phases=(phase,),
        pid=1,
        spans=table,
    )


def steps(folder: Path, spans: int, count: int) -> None:
    """Print what each step of a case costs and its ratio to its floor."""
    bundle = encode_case(case(spans))
    line, record = bundle.encode().split(b"\n")
    ready = [orjson.loads(line), orjson.loads(record)]
    data = bundle.encode() + b"\n"
    plain, loaded = report(None), report(bundle)
    with writing(folder / "append") as writer, raw(folder / "floor") as fd:
        variants: dict[str, Callable[[], object]] = {
            "encode": lambda: encode_case(record_of),
            "encode floor": lambda: [orjson.dumps(each) for each in ready],
            "encode floor again": lambda: [orjson.dumps(each) for each in ready],
            "send": lambda: received(loaded),
            "send without": lambda: received(plain),
            "send floor": lambda: execnet.loads(execnet.dumps(data)),
            "send floor again": lambda: execnet.loads(execnet.dumps(data)),
            "append": lambda: writer.append(bundle),
            "append floor": lambda: os.write(fd, data),
            "append floor again": lambda: os.write(fd, data),
        }
        record_of = case(spans)
        costs = sessions.rounds({k: timed(v) for k, v in variants.items()}, count)
    costs["send"] = [a - b for a, b in zip(costs["send"], costs.pop("send without"), strict=True)]
    print(f"{spans} spans, bundle of {len(data) / 1000:.0f} KB, CPU us a case:")
    for name in ("encode", "send", "append"):
        floor, again = costs[f"{name} floor"], costs[f"{name} floor again"]
        print(
            f"  {name:7} {statistics.median(costs[name]):7.1f}"
            f"  floor {statistics.median(floor):7.1f}"
            f"  ratio {sessions.paired(costs[name], floor)}"
            f"  A/A {sessions.paired(again, floor)}"
        )
    whole = sum(statistics.median(costs[name]) for name in ("encode", "send", "append"))
    least = sum(statistics.median(costs[f"{n} floor"]) for n in ("encode", "send", "append"))
    print(f"  all     {whole:7.1f}  floor {least:7.1f}  ratio {whole / least:.2f}")


def report(bundle: str | None) -> dict[str, Any]:
    """Return a report as xdist hands it to execnet."""
    made = pytest.TestReport(
        NODEID, ("test_weather.py", 3, "test_weather"), {}, "passed", None, "teardown"
    )
    if bundle is not None:
        dist.attach(made, dist.BUNDLE, bundle)
    return {"data": made._to_json(), "item_index": 17}  # noqa: SLF001


def received(data: dict[str, Any]) -> str | None:
    """Return the bundle of a report that came through execnet, taken off as the controller does."""
    there = execnet.loads(execnet.dumps(("testreport", data)))[1]["data"]
    return dist.detach(pytest.TestReport._from_json(there), dist.BUNDLE)  # noqa: SLF001


def timed(step: Callable[[], object]) -> Callable[[], float]:
    """Return a function that measures the CPU time of a step in us."""

    def measure() -> float:
        begun = time.process_time_ns()
        for _ in range(CASES):
            step()
        return (time.process_time_ns() - begun) / CASES / 1000

    return measure


class writing:  # noqa: N801 - reads as what it does
    """A journal of its own while the block runs."""

    def __init__(self, folder: Path, fsync: str = "off") -> None:
        self._writer = JournalWriter(folder / "journal.jsonl", fsync=fsync)

    def __enter__(self) -> JournalWriter:
        header = Header(
            session_id="s", started_unix_ns=1, plugin_version="1", config={}, environment={}
        )
        self._writer.create(header)
        return self._writer

    def __exit__(self, *_: object) -> None:
        self._writer.close()


class raw:  # noqa: N801 - reads as what it does
    """A file that is appended to while the block runs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> int:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a case cost under one policy."""

    cpu_us: float
    wall_us: list[float]


def policies(folder: Path, spans: int) -> None:
    """Print what each fsync policy costs at several rates, the policies interleaved."""
    bundle = encode_case(case(spans))
    numbers = itertools.count()
    print(f"bundle of {len(bundle) / 1000:.0f} KB; append a case: CPU us, wall us p50, p99, max")
    for rate, seconds in ((1, 20), (10, 10), (100, 10), (None, 5)):
        for name in (*POLICIES, *reversed(POLICIES)):
            with writing(folder / str(next(numbers)), name) as writer:
                cost = paced(writer, bundle, rate, seconds)
            wall = sorted(cost.wall_us)
            p99 = wall[int(0.99 * len(wall))]
            print(
                f"  {f'{rate}/s' if rate else 'as fast as it goes':18} {name:8}"
                f" {cost.cpu_us:7.0f} {statistics.median(wall):7.0f} {p99:8.0f} {wall[-1]:8.0f}"
                f"  mean {statistics.mean(wall):7.0f}  ({len(wall)} cases)"
            )


def paced(writer: JournalWriter, bundle: str, rate: int | None, seconds: float) -> Cost:
    """Append bundles at a rate, each with the line that its case began with."""
    wall: list[float] = []
    cpu = 0
    for begun in ticks(rate, seconds):
        cpu -= time.process_time_ns()
        writer.open_case(NODEID, "gw0", int(begun * 1e9))
        writer.append(bundle)
        wall.append((time.monotonic() - begun) * 1e6)
        cpu += time.process_time_ns()
    return Cost(cpu_us=cpu / len(wall) / 1000, wall_us=wall)


def ticks(rate: int | None, seconds: float) -> Iterator[float]:
    """Yield the time at each tick."""
    start = time.monotonic()
    for number in itertools.count(1):
        now = time.monotonic()
        if now - start > seconds:
            return
        yield now
        if rate:
            time.sleep(max(0.0, start + number / rate - time.monotonic()))


CONFTEST = """
import os, resource, json, pathlib
import pytest


def rss_mib():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines
            if line.startswith(("VmRSS", "VmHWM"))}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput"):
        return (yield)
    cases = rss_mib()
    try:
        return (yield)
    finally:
        after = rss_mib()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        pathlib.Path(os.environ["BENCH_OUT"]).write_text(json.dumps({
            "cases_rss_mib": cases["VmRSS"], "cases_peak_mib": cases["VmHWM"],
            "peak_mib": after["VmHWM"], "cpu_s": usage.ru_utime + usage.ru_stime,
        }))
"""
TESTS = """
import pytest

@pytest.mark.parametrize("n", range({cases}))
def test_case(n):
    pass
"""
TRACED_TESTS = """
import pytest

@pytest.mark.parametrize("n", range({cases}))
def test_case(n, smoltrace_case):
    smoltrace_case.extra["answer"] = f"{{n}} " * ({size} // (len(str(n)) + 1))
"""
PROVIDER = """

def pytest_smoltrace_providers():
    return ["bench"]
"""


def compare_sessions(folder: Path, few: int, many: int) -> None:
    """Print the memory of the controller of real sessions with two workers."""
    for size in (36_000, 100_000):
        for traced in (False, True):
            found = [controller(folder, n, size, traced=traced) for n in (few, many)]
            below, above = (each["cases_peak_mib"] for each in found)
            print(
                f"  {'traced' if traced else 'plain'}, {size // 1000} KB a case: controller at the"
                f" end of the cases {few}: {below:.0f} MiB, {many}: {above:.0f} MiB,"
                f" growth a case {(above - below) / (many - few) * 1024:.2f} KiB;"
                f" with the datasets {found[1]['peak_mib']:.0f} MiB"
            )


def controller(folder: Path, cases: int, size: int, *, traced: bool) -> dict[str, float]:
    """Return what the controller of one session took."""
    suite = folder / f"{cases}-{size}-{traced}"
    suite.mkdir()
    (suite / "conftest.py").write_text(CONFTEST + (PROVIDER if traced else ""))
    (suite / "pytest.ini").write_text("[pytest]\n")
    source = TRACED_TESTS if traced else TESTS
    (suite / "test_it.py").write_text(source.format(cases=cases, size=size))
    more = ("-p", "xdist.plugin", "-n", "2")
    report = sessions.run(suite, suite / "out.json", traced=traced, more=more).report
    return dict(report)


if __name__ == "__main__":
    main()
