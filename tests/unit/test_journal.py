"""The journal: its codec takes any value, its writer survives a kill, its reader any cut."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import types
import zoneinfo
from collections import Counter, OrderedDict, UserDict, deque, namedtuple
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from pytest_smoltrace.codec import Plan, decode_footer, decode_header, decode_plan, decode_spans
from pytest_smoltrace.errors import ConfigError, JournalError, UnwrittenError
from pytest_smoltrace.facts import (
    AgentRun,
    CaseRecord,
    CostParts,
    Declared,
    ErrorFact,
    LLMCall,
    PhaseFact,
    SpanTable,
    ToolCall,
)
from pytest_smoltrace.journal import (
    JournalWriter,
    decode_case,
    encode_case,
    read_journal,
    run_directory,
)
from pytest_smoltrace.session_facts import Footer, Header

TOOLS = '[{"name": "query"}]'
HEADER = Header(
    session_id="s1",
    started_unix_ns=1_790_000_000_000_000_000,
    plugin_version="1.0",
    config={"model": "local"},
    environment={"python": "3.11"},
)
FOOTER = Footer(
    ended_unix_ns=1_790_000_100_000_000_000,
    stop_reason="completed",
    exit_status=0,
    not_applied={"m": {"seed": "unsupported"}},
)


def spans(start: int = 1_790_000_000_000_000_000) -> SpanTable:
    return SpanTable(
        span_id=["a" * 16, "b" * 16],
        parent_id=[None, "a" * 16],
        name=["case", "chat m"],
        kind=["INTERNAL", "CLIENT"],
        start_unix_ns=[start, start + 5],
        end_unix_ns=[start + 100, start + 50],
        status=["OK", "ERROR"],
        description=[None, "it broke"],
        scope=["pytest_smoltrace", "x"],
        attributes=[{}, {"input.value": {"s": 0}, "n": 3, "f": 0.5, "ok": True}],
        events={"1": [{"name": "exception", "timestamp": start, "attributes": {"a": 1}}]},
        links={},
        orphans=[1],
        roles={"1": "judge"},
        strings=["a long text \u2028 with \x00 and \U0001f600"],
    )


def record(name: str = "c1", **changes) -> CaseRecord:
    call = LLMCall(
        span_id="b" * 16,
        start_unix_ns=5,
        duration_ms=0.1 + 0.2,
        prompt_tokens=7,
        cost=CostParts(
            prompt_usd=1e-9,
            completion_usd=2e-9,
            reasoning_usd=None,
            cache_read_usd=0.0,
            cache_write_usd=None,
        ),
        tools=TOOLS,
    )
    other = dataclasses.replace(call, tools=None, cost=None)
    third = dataclasses.replace(call, tools="[]")
    full = CaseRecord(
        declared=Declared(
            case_id=name, nodeid=f"t.py::{name}", tags=("x", "y"), expected_keywords=("k",)
        ),
        attempt=0,
        trace_id="0" * 31 + "1",
        root_span_id="a" * 16,
        outcome="failed",
        error=ErrorFact(type="wrong_answer", category="agent", message="no", http_status=None),
        phases=(
            PhaseFact(
                when="call", start_unix_ns=1, start_mono_ns=2, end_mono_ns=3, outcome="failed"
            ),
        ),
        runs=(AgentRun(agent_type="tool", answer="42"),),
        calls=(call, other, call, third),
        tool_calls=(ToolCall(name="query", start_unix_ns=1, duration_ms=2.5, failed=True),),
        scores={"s": {"value": 0.5, "passed": True}},
        extra={"deep": {"list": [1, None, "x"]}},
        tags=("late",),
        pid=12,
        spans=spans(),
    )
    return dataclasses.replace(full, **changes)


def write(directory: Path, *records: CaseRecord, footer: Footer | None = FOOTER) -> Path:
    writer = JournalWriter(run_directory(directory, "s1") / "journal.jsonl")
    writer.create(HEADER)
    writer.plan(Plan(tuple(each.declared for each in records)))
    for each in records:
        writer.open_case(each.declared.nodeid, "main", 17)
        writer.append(encode_case(each))
    writer.close(footer)
    return writer.path


def bundle(encoded: str) -> tuple[bytes, bytes]:
    span_line, case_line = encoded.encode().split(b"\n")
    return span_line, case_line


def test_a_record_comes_back_equal():
    span_line, case_line = bundle(encode_case(record()))
    assert decode_case(case_line, spans=decode_spans(span_line)) == record()


def test_a_record_without_spans_is_one_line():
    bare = record(spans=None, error=None, tool_calls=None)
    encoded = encode_case(bare)
    assert "\n" not in encoded
    assert decode_case(encoded.encode()) == bare


def test_the_lines_are_json_for_any_reader():
    span_line, case_line = bundle(encode_case(record()))
    assert json.loads(span_line)["strings"] == spans().strings
    assert json.loads(case_line)["calls"][0]["duration_ms"] == 0.1 + 0.2
    assert case_line.startswith(b'{"k":"case"')


def test_equal_tool_definitions_stand_once():
    assert encode_case(record(spans=None)).count("query") == 2  # the tool call and one set


def test_every_field_of_every_fact_survives():
    """A field that the codec drops would come back as its default."""
    distinct = iter(range(1000, 2000))

    def fill(kind, **given):
        names = [f.name for f in dataclasses.fields(kind) if f.name not in given]
        return kind(**{name: next(distinct) for name in names}, **given)

    full = fill(
        CaseRecord,
        declared=fill(Declared, tags=("1",), expected_keywords=("2",)),
        error=fill(ErrorFact),
        phases=(fill(PhaseFact),),
        runs=(fill(AgentRun),),
        calls=(fill(LLMCall, cost=fill(CostParts), tools="[]"),),
        tool_calls=(fill(ToolCall),),
        tags=("3",),
        ticks=((4, 5.5, 6.5), (7, 8.5, None)),
        gpu_uuids=("9",),
        spans=fill(SpanTable),
    )
    span_line, case_line = bundle(encode_case(full))
    assert decode_case(case_line, spans=decode_spans(span_line)) == full


def test_a_field_of_a_later_minor_version_takes_its_default():
    data = json.loads(encode_case(record(spans=None)))
    del data["truncated"]
    data["declared"]["not_yet_known"] = 1
    assert decode_case(json.dumps(data).encode()) == record(spans=None)


class Colour(enum.Enum):
    RED = "red"


class Text(str, enum.Enum):  # noqa: UP042 - both kinds exist in the wild
    A = "a"


class Number(enum.IntEnum):
    ONE = 1


class Hostile:
    """Raises wherever user code can."""

    def __repr__(self):
        raise ValueError("no repr")

    __str__ = __repr__

    @property
    def __class__(self):
        raise RuntimeError("no class")


class HostileDict(dict):
    def items(self):
        raise RuntimeError("no items")


class HostileMapping(UserDict):
    def keys(self):
        raise RuntimeError("no keys")

    def __iter__(self):
        raise RuntimeError("no iter")


class HostileZone(dt.tzinfo):
    def utcoffset(self, _when):
        raise RuntimeError("no offset")


@dataclasses.dataclass
class HostileData:
    x: int = 0

    def __getattribute__(self, name):
        raise RuntimeError("no attribute")


Point = namedtuple("Point", "x y")  # noqa: PYI024


def cyclic():
    found: list = [1]
    found += [found, found, {"again": found}]
    return found


def nested(depth):
    found: object = "end"
    for _ in range(depth):
        found = [found]
    return found


EXPECTED = [
    (np.float64(0.5), 0.5),
    (np.float32(0.5), 0.5),
    (np.float16(0.5), 0.5),
    (np.longdouble(0.5), 0.5),
    (np.int64(-3), -3),
    (np.uint8(3), 3),
    (np.bool_(True), True),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.datetime64("2026-01-02"), "2026-01-02"),
    (np.str_("s"), "s"),
    (np.float64("nan"), None),
    (Colour.RED, "red"),
    (Text.A, "a"),
    (Number.ONE, 1),
    (Path("a/b"), "a/b"),
    (PurePosixPath("a/b"), "a/b"),
    (b"bytes \xff", "bytes \\xff"),
    (bytearray(b"x"), "x"),
    (float("nan"), None),
    (float("inf"), None),
    (-float("inf"), None),
    (2**63 - 1, 2**63 - 1),
    (-(2**63), -(2**63)),
    (-(2**31) - 1, -(2**31) - 1),
    (2**127, str(2**127)),
    (-(2**200), str(-(2**200))),
    (1 << 20000, hex(1 << 20000)),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"a"}), ["a"]),
    ((1, 2), [1, 2]),
    (Point(1, 2), [1, 2]),
    (OrderedDict(a=1), {"a": 1}),
    (types.MappingProxyType({"a": {1}}), {"a": [1]}),
    (UserDict(a=1), {"a": 1}),
    (Counter("aab"), {"a": 2, "b": 1}),
    (decimal.Decimal("0.10"), "0.10"),
    (fractions.Fraction(1, 3), "1/3"),
    (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "2026-01-02T00:00:00+00:00"),
    (dt.date(2026, 1, 2), "2026-01-02"),
    (dt.timedelta(seconds=90), "0:01:30"),
    ("lone \ud800 end", "lone \ufffd end"),
    ("pair \ud83d\ude00", "pair \U0001f600"),
    ({1: "a", None: "b", False: "c"}, {"1": "a", "null": "b", "false": "c"}),
    ({(1, 2): "a"}, {"[1,2]": "a"}),
    ({"\ud800": 1}, {"\ufffd": 1}),
    ({Colour.RED: 1}, {"red": 1}),
]

STRANGE = [
    object(),
    Hostile(),
    HostileDict(a=object()),
    HostileMapping(a=1),
    HostileData(),
    dt.datetime(2026, 1, 2, tzinfo=HostileZone()),
    dt.time(1, 2, tzinfo=zoneinfo.ZoneInfo("UTC")),
    np.array([object(), "\ud800"], dtype=object),
    np.array([1 + 2j]),
    np.longdouble("nan"),
    np.clongdouble(1 + 2j),
    np.ma.masked,
    np.add,
    deque([1]),
    cyclic(),
    nested(100),
    nested(2000),
    range(3),
    memoryview(b"x"),
    3 + 4j,
    len,
    type,
    Hostile,
    sys,
    (i for i in range(3)),
    ValueError("\ud800"),
    re.compile("x"),
    "x" * 100_000,
    {"\x00": "\x00"},
]


@pytest.mark.parametrize(("value", "expected"), EXPECTED, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("companion", ["fine", "\ud800"], ids=["fast", "fallback"])
def test_a_strange_value_has_one_form_on_both_paths(value, expected, companion):
    encoded = encode_case(record(extra={"v": value, "w": companion}, spans=None))
    assert decode_case(encoded.encode()).extra["v"] == expected


@pytest.mark.parametrize("index", range(len(STRANGE)))
def test_nothing_stops_a_record(index):
    value = STRANGE[index]  # pytest itself cannot take some of them as parameters
    for extra in ({"v": value}, {"v": [value, "\ud800"]}, {"v": {"k": value, 3: 2**70}}):
        encoded = encode_case(record(extra=extra, spans=None))
        found = json.loads(encoded)  # the standard parser is the witness
        assert found["declared"]["case_id"] == "c1"
        assert set(found["extra"]) == {"v"}
        encoded.encode("utf-8")


def test_random_mixtures_of_strange_values_never_raise():
    rng = random.Random(20)
    pool = [value for value, _ in EXPECTED] + [v for v in STRANGE if type(v) is not str]
    keys = ["a", "\ud800", 1, 2**70, None, (1,), Colour.RED, b"k", 0.5, float("nan")]

    def mix(depth):
        if depth == 0 or rng.random() < 0.4:
            return rng.choice(pool)
        if rng.random() < 0.5:
            return [mix(depth - 1) for _ in range(rng.randint(0, 3))]
        return {rng.choice(keys): mix(depth - 1) for _ in range(rng.randint(0, 3))}

    for _ in range(400):
        strange = dataclasses.replace(spans(), attributes=[{}, {"v": mix(3)}])
        text = encode_case(record(extra={"v": mix(4)}, scores={"s": {"v": mix(2)}}, spans=strange))
        span_line, case_line = bundle(text)
        json.loads(span_line, parse_constant=pytest.fail)
        json.loads(case_line, parse_constant=pytest.fail)
        assert decode_case(case_line, spans=decode_spans(span_line)).declared == record().declared


def test_an_encoded_record_crosses_execnet():
    execnet = pytest.importorskip("execnet")
    encoded = encode_case(record(extra={"v": "\ud800", "w": np.float64(1), "x": -(2**40)}))
    assert execnet.loads(execnet.dumps(encoded)) == encoded


def test_a_journal_reads_back_in_order(tmp_path):
    path = write(tmp_path, record("c1"), record("c2", spans=None))
    lines = list(read_journal(path))
    kinds = [line.kind for line in lines]
    assert kinds == ["header", "plan", "open", "spans", "case", "open", "case", "end"]
    assert decode_header(lines[0].data) == HEADER
    assert decode_plan(lines[1].data).cases == (record("c1").declared, record("c2").declared)
    assert decode_footer(lines[-1].data) == FOOTER
    raw = path.read_bytes()
    for line in lines:
        assert raw[line.offset : line.offset + len(line.data)] == line.data


def test_every_event_is_one_write(tmp_path, monkeypatch):
    sizes = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: sizes.append(len(data)) or real(fd, data))
    path = write(tmp_path, record())
    assert len(sizes) == 5
    assert sum(sizes) == path.stat().st_size


def test_a_short_write_is_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:100]))
    path = write(tmp_path, record())
    assert [line.kind for line in read_journal(path)][-2:] == ["case", "end"]


@pytest.mark.parametrize(
    ("truncates", "kinds"), [(True, []), (False, ["spans", "torn"])], ids=["cut back", "marked"]
)
def test_a_failed_write_does_not_spoil_the_next_line(tmp_path, monkeypatch, truncates, kinds):
    path = write(tmp_path / "whole", record("c1"), record("c2"))
    writer = JournalWriter(run_directory(tmp_path, "s1") / "journal.jsonl")
    writer.create(HEADER)
    real = os.write

    def disk_full(fd, data):
        if len(data) < 300:
            raise OSError(28, "No space left on device")
        return real(fd, data[: len(data) // 2])

    def refuse(_fd, _size):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "write", disk_full)
    if not truncates:
        monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(JournalError, match=r"cannot write .*journal.jsonl: No space left"):
        writer.append(encode_case(record("c1")))
    monkeypatch.setattr(os, "write", real)
    writer.open_case("t.py::c2", "main", 17)
    writer.append(encode_case(record("c2")))
    writer.close(FOOTER)
    whole = [line for line in read_journal(path) if line.kind in ("spans", "case", "end")]
    found = list(read_journal(writer.path))
    # What found no room comes in front of what did.
    later = ["spans", "case", "spans", "case", "end"]
    assert [line.kind for line in found] == ["header", *kinds, *later]
    assert [line.data for line in found[-5:]] == [line.data for line in whole]


def test_a_cut_at_every_byte_of_the_last_bundle_loses_only_that_bundle(tmp_path):
    path = write(tmp_path, record("c1"), record("c2"), footer=None)
    raw = path.read_bytes()
    lines = list(read_journal(path))
    start = [line for line in lines if line.kind == "spans"][-1].offset
    case_start = lines[-1].offset
    for cut in range(start, len(raw) + 1):
        path.write_bytes(raw[:cut])
        found = list(read_journal(path))
        cases = [decode_case(line.data) for line in found if line.kind == "case"]
        assert len(cases) == (2 if cut >= len(raw) - 1 else 1), cut
        assert cases[0] == record("c1", spans=None)
        tail = [line for line in found if line.kind == "torn"]
        whole = {start, case_start - 1, case_start, len(raw) - 1, len(raw)}
        assert bool(tail) == (cut not in whole), cut
        assert sum(len(line.data) for line in found) == cut


def test_a_torn_header_is_an_error(tmp_path):
    path = write(tmp_path)
    raw = path.read_bytes()
    end = raw.index(b"\n")
    for cut in range(end):
        path.write_bytes(raw[:cut])
        with pytest.raises(JournalError, match=r"header line is torn|journal is empty"):
            list(read_journal(path))
    path.write_bytes(raw[:end])
    assert decode_header(next(read_journal(path)).data) == HEADER


def test_a_later_format_is_refused():
    with pytest.raises(JournalError, match="format 2 is not 1: upgrade"):
        decode_header(b'{"k":"header","format":2}')


def test_a_missing_journal_is_an_error(tmp_path):
    with pytest.raises(JournalError, match=r"cannot read .*: No such file"):
        list(read_journal(tmp_path / "journal.jsonl"))


def test_a_run_id_that_exists_is_one_clear_line(tmp_path):
    path = write(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"run 's1' exists already in .*runs; choose") as caught:
        JournalWriter(path).create(HEADER)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_directory_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "deeper", tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match="cannot write the run directory") as caught:
            JournalWriter(run_directory(root, "s1") / "journal.jsonl").create(HEADER)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", ["", "..", "a/b", "last", ".hidden", "x" * 129, "a\nb", "ä"])
def test_a_run_id_that_names_no_directory_is_refused(tmp_path, bad):
    with pytest.raises(ConfigError, match="cannot name a directory"):
        run_directory(tmp_path, bad)


def test_writing_after_the_end_is_an_error(tmp_path):
    writer = JournalWriter(run_directory(tmp_path, "s1") / "journal.jsonl")
    writer.create(HEADER)
    writer.close()
    writer.close(FOOTER)
    with pytest.raises(JournalError, match="is closed"):
        writer.append("x")


KILLED = """
import sys
from pathlib import Path
from pytest_smoltrace.journal import JournalWriter
from pytest_smoltrace.session_facts import Header
writer = JournalWriter(Path(sys.argv[1]))
writer.create(Header(session_id="s1", started_unix_ns=1, plugin_version="1", config={},
                     environment={}))
bundle = sys.stdin.read()
number = 0
while True:
    writer.append(bundle.replace("NUMBER", str(number)))
    sys.stdout.write(f"{number}\\n"); sys.stdout.flush()
    number += 1
"""


def test_kill_9_of_the_writer_loses_no_acknowledged_case(tmp_path):
    big = dataclasses.replace(spans(), strings=["x" * 200_000])
    encoded = encode_case(record("NUMBER", spans=big))
    for trial in range(3):
        path = tmp_path / str(trial) / "s1" / "journal.jsonl"
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as child:
            child.stdin.write(encoded)
            child.stdin.close()
            for _ in range(20 + 7 * trial):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().split("\n")
        acknowledged = max([acknowledged, *[int(n) for n in rest if n]])
        assert child.returncode == -signal.SIGKILL
        lines = list(read_journal(path))
        found = [decode_case(x.data).declared.case_id for x in lines if x.kind == "case"]
        assert found[: acknowledged + 1] == [str(n) for n in range(acknowledged + 1)]


class Full:
    """A disk that takes nothing while it is full."""

    def __init__(self, monkeypatch):
        self.is_full = False
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd, data):
        if self.is_full:
            raise OSError(28, "No space left on device")
        return self._write(fd, data)


@pytest.fixture
def disk(monkeypatch):
    return Full(monkeypatch)


def started(tmp_path):
    writer = JournalWriter(run_directory(tmp_path, "s1") / "journal.jsonl")
    writer.create(HEADER)
    return writer


def refused(action, *args):
    with pytest.raises(UnwrittenError):
        action(*args)


@pytest.mark.parametrize(("number", "said"), [(1, "1 case"), (3, "3 cases")])
def test_cases_that_could_not_be_written_are_counted(tmp_path, disk, number, said):
    writer = started(tmp_path)
    writer.append(encode_case(record("whole")))
    disk.is_full = True
    for _ in range(number):
        refused(writer.append, encode_case(record()))
    assert writer.settle() == number
    disk.is_full = False
    writer.close(FOOTER)
    why = "No space left on device; run them again with --smoltrace-resume=s1"
    assert writer.gaps == [f"{said} could not be written to {writer.path}: {why}"]
    assert writer.notices == []
    kinds = [line.kind for line in read_journal(writer.path)]
    assert kinds == ["header", "spans", "case", "end"]


def test_what_found_no_room_is_written_in_order_when_there_is_some(tmp_path, disk):
    writer = started(tmp_path)
    disk.is_full = True
    refused(writer.plan, Plan((record().declared,)))
    for name in "ab":
        refused(writer.append, encode_case(record(name)))
        writer.open_case(f"t.py::{name}", "gw0", 3)
    disk.is_full = False
    writer.append(encode_case(record("c")))
    writer.open_case("t.py::d", "gw0", 3)
    assert writer.settle() == 0
    writer.close(FOOTER)
    assert writer.gaps == []
    lines = list(read_journal(writer.path))
    # Starts of cases are not worth the last room: without its end, a session counts as killed.
    bundles = ["spans", "case"] * 3
    assert [line.kind for line in lines] == ["header", "plan", *bundles, "open", "end"]
    cases = [decode_case(line.data) for line in lines if line.kind == "case"]
    assert [case.declared.case_id for case in cases] == ["a", "b", "c"]


def test_what_waits_for_room_is_bounded(tmp_path, disk, monkeypatch):
    encoded = encode_case(record("a"))
    monkeypatch.setattr("pytest_smoltrace.journal.WAITING_BYTES", 2 * len(encoded.encode()) + 2)
    writer = started(tmp_path)
    disk.is_full = True
    for name in "abcde":
        refused(writer.append, encode_case(record(name)))
    disk.is_full = False
    assert writer.settle() == 3
    writer.close(FOOTER)
    assert "3 cases could not be written" in writer.gaps[0]
    cases = [decode_case(x.data) for x in read_journal(writer.path) if x.kind == "case"]
    assert [case.declared.case_id for case in cases] == ["a", "b"]


def test_other_lines_that_could_not_be_written_are_named(tmp_path, disk):
    writer = started(tmp_path)
    disk.is_full = True
    refused(writer.open_case, "t.py::c1", "gw0", 3)
    assert writer.gaps == []  # nothing depends on it once the case is there
    refused(writer.plan, Plan((record().declared,)))
    refused(writer.close, FOOTER)
    lacks = f"{writer.path} lacks its plan and the end of the session"
    assert writer.gaps == [f"{lacks}: No space left on device"]
    assert writer.settle() == 0


def test_a_directory_that_cannot_come_back_loses_every_case(tmp_path):
    writer = started(tmp_path)
    writer.append(encode_case(record()))
    shutil.rmtree(tmp_path / "runs")
    (tmp_path / "runs").write_text("in the way")
    writer.append(encode_case(record("c2")))
    assert writer.is_gone
    assert writer.settle() == 2
    (gap,) = writer.gaps
    removed = f"the run directory {writer.path.parent} was removed while the session ran"
    assert gap.startswith(f"{removed} and cannot be written again: ")
    assert gap.endswith("; lost: 2 cases")
    (tmp_path / "runs").unlink()
    writer.close(FOOTER)
    assert (writer.gaps, writer.settle()) == ([], 0)
    assert writer.notices == [f"{removed}; it has been written again"]


def test_a_disk_that_reports_a_loss_is_said(tmp_path, monkeypatch):
    writer = JournalWriter(run_directory(tmp_path, "s1") / "journal.jsonl", fsync="case")
    writer.create(HEADER)

    def broken(_fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pytest_smoltrace.journal_file._force", broken)
    writer.append(encode_case(record()))
    writer.close(FOOTER)
    assert writer.gaps == [f"{writer.path} may not be whole on the disk: Input/output error"]
