"""A journal that was cut anywhere: what was before the cut stays, and the loss has a name.

The witness is the layout of the whole journal: which line every byte belongs to, and whose.
"""

from __future__ import annotations

import dataclasses
import json
import random
import re
from typing import TYPE_CHECKING, NamedTuple

import pyarrow.parquet as pq
import pytest

from pytest_smoltrace.cli import main
from pytest_smoltrace.codec import Plan
from pytest_smoltrace.errors import JournalError
from pytest_smoltrace.journal import JournalWriter, encode_case, read_journal, run_directory
from pytest_smoltrace.pipeline import finish
from pytest_smoltrace.run import load_run
from tests.unit.run_factory import FOOTER, HEADER, START, phases, rich_record

if TYPE_CHECKING:
    from pathlib import Path

SERIAL = (*("open a", "case a", "open b", "case b", "open c", "case c", "open d", "case d", "end"),)
PARALLEL = (
    *("open a", "open b", "case a", "open c", "case b", "open d", "case d", "case c", "end"),
)
LAYOUTS = {"serial": SERIAL, "parallel": PARALLEL}


def nodeid(name):
    return f"test_a.py::test_case[{name}]"


def case(name):
    """Return a realistic attempt: five spans, three model calls, a conversation."""
    rich = rich_record()
    number = ord(name)
    declared = dataclasses.replace(
        rich.declared,
        case_id=f"case-{name}",
        nodeid=nodeid(name),
        trial=0,
        trials=1,
        model="m-1",  # as its agent says
        agent_type="tool",
    )
    spans = dataclasses.replace(
        rich.spans,
        name=[f"case-{name}", *rich.spans.name[1:]],
        strings=[f"system prompt of {name} " * 8, *rich.spans.strings[1:]],
    )
    return dataclasses.replace(
        rich,
        declared=declared,
        trace_id=f"{number:032x}",
        phases=phases("failed", start_s=number),
        spans=spans,
    )


class Piece(NamedTuple):
    """One line of the whole journal."""

    kind: str
    name: str
    start: int
    end: int
    data: bytes

    @property
    def told_from(self):
        """Return how many bytes of the line it takes to read whose it is."""
        text = {
            "open": f'"nodeid":"{nodeid(self.name)}"',
            "case": f'"nodeid":"{nodeid(self.name)}"',
            "spans": f'"name":["case-{self.name}"',
        }.get(self.kind)
        return self.data.index(text.encode()) + len(text) if text else None


class Journal:
    """A whole journal and what it was made of."""

    def __init__(self, root: Path, events):
        self.directory = run_directory(root, "s1")
        self.path = self.directory / "journal.jsonl"
        writer = JournalWriter(self.path)
        writer.create(HEADER)
        names = sorted({event[-1] for event in events if event.startswith("case")} | {"c"})
        writer.plan(Plan(tuple(case(name).declared for name in names)))
        owners = ["", ""]
        for number, event in enumerate(events):
            kind, _, name = event.partition(" ")
            owners += [name, name] if kind == "case" else [name]
            if kind == "open":
                writer.open_case(nodeid(name), "gw0", START + number)
            elif kind == "case":
                writer.append(encode_case(case(name)))
        writer.close(FOOTER if events[-1] == "end" else None)
        self.raw = self.path.read_bytes()
        lines = read_journal(self.path)
        self.pieces = [
            Piece(line.kind, name, line.offset, line.offset + len(line.data), line.data)
            for line, name in zip(lines, owners, strict=True)
        ]
        # The lines of the last two cases, and what is around them.
        last = [p.name for p in self.pieces if p.kind == "case"][-2:]
        self.first = min(p.start for p in self.pieces if p.name in last)

    def cut(self, size):
        with self.path.open("r+b") as stream:
            stream.truncate(size)

    @property
    def offsets(self):
        return range(len(self.raw), self.first - 1, -1)

    @property
    def borders(self):
        around = {p.end + by for p in self.pieces for by in (-2, -1, 0, 1)}
        return sorted((at for at in around if self.first <= at <= len(self.raw)), reverse=True)


class Expected:
    """What a cut journal must say, from the layout alone."""

    def __init__(self, journal, cut):
        whole = [p for p in journal.pieces if p.end - 1 <= cut]
        self.done = [p.name for p in whole if p.kind == "case"]
        opened = [p.name for p in whole if p.kind == "open"]
        self.running = [name for name in opened if name not in self.done]
        self.ended = whole[-1].kind == "end"
        self.torn = next((p for p in journal.pieces if p.start < cut < p.end - 1), None)
        self.spans = whole[-1] if whole[-1].kind == "spans" else None
        self.left = (cut - self.torn.start if self.torn else 0) + (
            min(self.spans.end, cut) - self.spans.start if self.spans else 0
        )
        self.cut = cut

    @property
    def loss(self):
        """Return (who is named, whether for certain); None when nothing was lost."""
        torn = self.torn
        if self.spans:
            return [self.spans.name], True
        if torn is None:
            return None
        if torn.told_from and self.cut - torn.start >= torn.told_from:
            return [torn.name], True
        return self.running, False


def check(journal, cut):
    """Compare a cut journal with what it must say."""
    expected = Expected(journal, cut)
    run = load_run(journal.directory)
    outcomes = [(head.nodeid, head.outcome) for head in run.heads()]
    crashed = [] if expected.ended else [(nodeid(name), "crashed") for name in expected.running]
    done = [(nodeid(name), "failed") for name in expected.done]
    assert outcomes == done + crashed, cut
    check_warnings(journal, run.warnings, expected)
    return run, expected


def check_warnings(journal, warnings, expected):
    cut, loss = expected.cut, expected.loss
    killed = [w for w in warnings if "the session was killed before it ended" in w]
    assert len(killed) == (not expected.ended), cut
    count = f"{len(expected.running)} running case(s) are recorded as crashed"
    assert all((count in w) == bool(expected.running) for w in killed), cut
    (message,) = [w for w in warnings if w not in killed] or [None]
    if loss is None:
        assert message is None, cut
        return
    assert message.startswith(f"{journal.path}: "), cut
    assert f" was cut off ({expected.left} bytes left)" in message, cut
    check_names(message, expected, *loss)


def check_names(message, expected, names, certain):
    """Check who is named: for certain, as one of the running cases, or nobody."""
    cut, torn = expected.cut, expected.torn
    said = re.findall(r"test_case\[(.)\]", message)
    kind = torn.kind if torn and cut - torn.start >= len(f'{{"k":"{torn.kind}"') else None
    if kind == "end":
        assert ": how the session ended was cut off" in message, cut
    elif kind == "open":
        # The start of a case loses nothing that had ended.
        who = nodeid(torn.name) if certain else "a case"
        assert f": that {who} was started was cut off" in message, cut
    elif certain:
        assert said == names, cut
        assert f": the record of {nodeid(names[0])} was cut off" in message, cut
        assert "it is recorded as crashed" in message, cut
    elif names:
        assert ": a line, perhaps the record of" in message, cut
        assert said == sorted(names), cut
    else:
        assert ": a line was cut off" in message, cut


@pytest.fixture(params=["serial", "parallel"])
def journal(request, tmp_path):
    return Journal(tmp_path, LAYOUTS[request.param])


def test_a_cut_at_every_byte_of_the_last_two_cases_loses_no_earlier_one(journal):
    lost = set()
    for cut in journal.offsets:
        journal.cut(cut)
        _, expected = check(journal, cut)
        lost.add(4 - len(expected.done))
    assert len(lost) >= 3  # none, one and two of them
    assert len(journal.offsets) > 5_000


def test_the_datasets_of_a_cut_journal_have_the_rows_of_what_is_left(journal):
    draw = random.Random(4)
    offsets = {*journal.borders, *draw.sample(journal.offsets, 12)}
    for cut in sorted(offsets, reverse=True):
        journal.cut(cut)
        outcome = finish(journal.directory)
        expected = Expected(journal, cut)
        check_warnings(journal, outcome.warnings, expected)
        crashed = 0 if expected.ended else len(expected.running)
        assert {
            name: rows(outcome.datasets[name]) for name in ("results", "traces", "leaderboard")
        } == {
            "results": len(expected.done) + crashed,
            "traces": len(expected.done) + crashed,
            "leaderboard": 1,
        }, cut
        (file,) = outcome.datasets["leaderboard"].glob("*.parquet")
        (row,) = pq.read_table(file).to_pylist()
        whole = expected.ended
        assert row["run_stop_reason"] == ("completed" if whole else "crash"), cut
        assert row["planned_tests"] == 4, cut
        assert row["num_tests"] == len(expected.done), cut
        assert row["errored_tests"] == crashed, cut


def rows(folder):
    return sum(pq.read_metadata(file).num_rows for file in folder.glob("*.parquet"))


def test_what_is_written_after_a_cut_joins_no_torn_line(tmp_path):
    """At every byte: the next lines are whole, and no line before the cut gains or loses."""
    journal = Journal(tmp_path, PARALLEL)
    again = encode_case(dataclasses.replace(case("x"), spans=None))
    for cut in journal.offsets:
        journal.cut(cut)  # what the round before has added is behind it
        writer = JournalWriter(journal.path)
        writer.reopen(cut)
        writer.append(again)
        writer.close()
        expected = Expected(journal, cut)
        run = load_run(journal.directory)
        heads = [head.nodeid for head in run.ended]
        assert heads == [nodeid(name) for name in [*expected.done, "x"]], cut
        if cut in journal.borders:
            # Spans without their case must not become those of the next one.
            records = list(run.records())
            assert len(records[len(expected.done)].spans.span_id) == 1, cut
            assert all(len(r.spans.span_id) == 5 for r in records[: len(expected.done)]), cut


def test_a_cut_header_is_one_clear_error(tmp_path):
    journal = Journal(tmp_path, SERIAL)
    for cut in range(journal.pieces[0].end - 2, -1, -1):
        journal.cut(cut)
        with pytest.raises(JournalError, match=r"header line is torn|is empty") as caught:
            load_run(journal.directory)
        assert "\n" not in str(caught.value)
        assert str(journal.path) in str(caught.value)


def test_zeros_that_a_failure_of_power_left_cost_the_cases_they_hit(tmp_path):
    """A disk may have grown a file without having written every block of it."""
    journal = Journal(tmp_path, SERIAL)
    hit = [p for p in journal.pieces if p.kind == "spans" and p.name in "bc"]
    raw = bytearray(journal.raw)
    raw[hit[0].start + 40 : hit[0].start + 90] = bytes(50)
    raw[hit[1].end - 30 : hit[1].end + 30] = bytes(60)
    journal.path.write_bytes(raw)
    run = load_run(journal.directory)
    assert [head.nodeid for head in run.ended] == [nodeid("a"), nodeid("b"), nodeid("d")]
    assert len(run.warnings) == 2
    assert len(list(run.records())) == 3


def test_the_end_of_a_session_that_lost_cases_does_not_hide_them(tmp_path):
    journal = Journal(tmp_path, (*PARALLEL[:-2], "end"))
    text = journal.path.read_text(encoding="utf-8").splitlines()
    end = json.loads(text[-1]) | {"stop_reason": "error: 1 of the cases could not be written"}
    text[-1] = json.dumps(end, separators=(",", ":"))
    journal.path.write_text("\n".join(text) + "\n", encoding="utf-8")
    *_, last = load_run(journal.directory).records()
    assert (last.declared.nodeid, last.outcome) == (nodeid("c"), "interrupted")
    assert "could not be written" in last.error.message


def test_spans_without_their_case_are_told_between_whole_lines_too(tmp_path):
    journal = Journal(tmp_path, PARALLEL)
    (gone,) = [p for p in journal.pieces if p.kind == "case" and p.name == "b"]
    journal.path.write_bytes(journal.raw[: gone.start] + journal.raw[gone.end :])
    run = load_run(journal.directory)
    assert [head.nodeid for head in run.ended] == [nodeid(name) for name in "adc"]
    (said,) = run.warnings
    assert f": the record of {nodeid('b')} was cut off (" in said
    records = list(run.records())
    assert [len(each.spans.span_id) for each in records] == [5, 5, 5]


def test_the_command_builds_what_is_left_and_names_the_loss(tmp_path, capsys):
    journal = Journal(tmp_path, PARALLEL)
    (last,) = [p for p in journal.pieces if p.kind == "case" and p.name == "c"]
    journal.cut(last.start + 100)
    assert main(["build", str(journal.directory)]) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    what = f"{journal.path}: the record of {nodeid('c')} was cut off"
    assert said[0].startswith(f"pytest-smoltrace: warning: {what} (")
    assert said[0].endswith(" bytes left); it is recorded as crashed")
    assert "the session was killed before it ended" in said[1]
