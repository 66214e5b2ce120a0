"""The command line: right output and exit codes, one line for a user's mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from pytest_smoltrace import __version__, cli
from pytest_smoltrace.facts import CaseRecord, Declared, PhaseFact
from pytest_smoltrace.journal import JournalWriter, encode_case, run_directory
from pytest_smoltrace.session_facts import Footer, Header

T0 = 1_790_000_000_000_000_000


def store(root: Path, session_id: str = "s1", started: int = T0, *, footer: bool = True) -> Path:
    directory = run_directory(root, session_id)
    writer = JournalWriter(directory / "journal.jsonl")
    writer.create(
        Header(
            session_id=session_id,
            started_unix_ns=started,
            plugin_version="1.0",
            config={},
            environment={},
        )
    )
    phase = PhaseFact(
        when="call", start_unix_ns=T0, start_mono_ns=1, end_mono_ns=2, outcome="passed"
    )
    case = CaseRecord(
        declared=Declared(case_id="a", nodeid="t.py::a"),
        attempt=0,
        trace_id="1" * 32,
        root_span_id="2" * 16,
        outcome="passed",
        error=None,
        phases=(phase,),
        pid=1,
        spans=None,
    )
    writer.append(encode_case(case))
    end = Footer(ended_unix_ns=T0 + 5, stop_reason="completed", exit_status=0)
    writer.close(end if footer else None)
    return directory


@pytest.fixture
def fakes(monkeypatch):
    """Stand-ins for the modules that the commands only pass values through."""
    import pyarrow as pa

    class Built:
        def __init__(self, run):
            self.run = run
            self.metrics_json = []
            self.summary = {}
            self.credits = ""
            self.warnings = ()

        def batches(self):
            found = [{"test_id": r.declared.case_id, "spans": 1} for r in self.run.records()]
            self.summary = {"num_tests": len(found)}
            yield "results", pa.RecordBatch.from_pylist(found)

    build = types.ModuleType("pytest_smoltrace.build")
    build.build = Built
    docs = types.ModuleType("pytest_smoltrace.schema.docs")
    docs.card = lambda name: f"# {name}\n"
    terminal = types.ModuleType("pytest_smoltrace.terminal")
    terminal.summary_lines = lambda summary, *, verbose: iter(
        [f"{summary['num_tests']} tests", "more"][: 1 + verbose]
    )
    for module in (build, docs, terminal):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delitem(sys.modules, "pytest_smoltrace.pipeline", raising=False)
    yield
    sys.modules.pop("pytest_smoltrace.pipeline", None)


def run(capsys, *argv: object) -> tuple[int, list[str], list[str]]:
    try:
        code = cli.main([str(each) for each in argv])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def test_version(capsys):
    assert run(capsys, "--version") == (0, [f"pytest-smoltrace {__version__}"], [])


@pytest.mark.usefixtures("fakes")
def test_build_makes_the_datasets_and_names_them(capsys, tmp_path):
    import duckdb

    directory = store(tmp_path)
    code, out, err = run(capsys, "build", directory)
    assert (code, out, err) == (0, [str(directory / "results")], [])
    with duckdb.connect() as db:
        found = db.execute(f"SELECT test_id FROM '{directory}/results/*.parquet'").fetchall()
    assert found == [("a",)]
    assert json.loads((directory / "summary.json").read_text()) == {"num_tests": 1}


@pytest.mark.usefixtures("fakes")
def test_build_of_a_killed_run_warns_and_succeeds(capsys, tmp_path):
    directory = store(tmp_path, footer=False)
    code, out, err = run(capsys, "build", "s1", "--dir", tmp_path)
    assert (code, out) == (0, [str(directory / "results")])
    assert len(err) == 1
    assert "warning" in err[0]
    assert "killed" in err[0]


@pytest.mark.usefixtures("fakes")
def test_datasets_that_cannot_be_written_are_one_line(capsys, tmp_path):
    directory = store(tmp_path)
    (directory / "results").write_text("in the way")
    code, out, err = run(capsys, "build", directory)
    assert (code, out, len(err)) == (1, [], 1)
    assert "cannot write the datasets in" in err[0]


@pytest.mark.usefixtures("fakes")
def test_show_prints_the_summary(capsys, tmp_path):
    directory = store(tmp_path)
    (directory / "summary.json").write_text('{"num_tests": 12}')
    for name in ("s1", "s", "last", directory):
        assert run(capsys, "show", name, "--dir", tmp_path) == (0, ["12 tests"], [])
    assert run(capsys, "show", "last", "--dir", tmp_path, "-v")[1] == ["12 tests", "more"]


def test_show_lists_runs_newest_first(capsys, tmp_path):
    store(tmp_path, "older", T0)
    newer = store(tmp_path, "newer", T0 + 10**9 * 3600, footer=False)
    torn = tmp_path / "runs" / "torn"
    torn.mkdir()
    (torn / "journal.jsonl").write_bytes(b"")
    (newer / "summary.json").write_text("{}")
    code, out, err = run(capsys, "show", "--dir", tmp_path)
    assert (code, err) == (0, [])
    assert out[0] == "newer  2026-09-21 15:13:20 UTC  killed or still running"
    assert out[1] == "older  2026-09-21 14:13:20 UTC  completed, no datasets yet"
    assert out[2].startswith("torn  unreadable: ")
    assert len(out) == 3


def test_show_without_any_run_lists_nothing_and_says_so(capsys, tmp_path):
    assert run(capsys, "show", "--dir", tmp_path) == (0, [], [f"no run in {tmp_path}"])


def test_the_directory_comes_from_the_environment(capsys, tmp_path, monkeypatch):
    store(tmp_path)
    monkeypatch.setenv("SMOLTRACE_DIR", str(tmp_path))
    assert run(capsys, "show")[1][0].startswith("s1  ")


def mistakes(tmp_path: Path) -> dict[str, tuple[list[object], int, str]]:
    good = store(tmp_path)
    torn = tmp_path / "runs" / "torn"
    torn.mkdir()
    (torn / "journal.jsonl").write_bytes(b'{"k":"header","format":1,"sess')
    later = tmp_path / "runs" / "later"
    later.mkdir()
    (later / "journal.jsonl").write_bytes(b'{"k":"header","format":9}\n')
    plain = tmp_path / "plain"
    plain.mkdir()
    odd = store(tmp_path, "odd")
    (odd / "summary.json").write_text("[]")
    broken = store(tmp_path, "broken")
    (broken / "summary.json").write_text("{")
    where = ["--dir", tmp_path]
    return {
        "no command": ([], 2, "required: COMMAND"),
        "unknown command": (["bild"], 2, "invalid choice: 'bild'"),
        "no argument": (["build"], 2, "required: RUN_DIR"),
        "unknown option": (["show", "--frobnicate"], 2, "unrecognized arguments"),
        "missing directory": (["build", tmp_path / "nowhere", *where], 2, "no run '"),
        "not a run": (["build", plain, *where], 2, "is not a run directory: it has no journal"),
        "mistyped": (["build", "tron", *where], 2, "did you mean 'torn'?"),
        "torn header": (["build", torn], 1, "header line is torn"),
        "later format": (["build", later], 1, "upgrade pytest-smoltrace"),
        "no summary": (["show", good], 1, f"make it with: pytest-smoltrace build {good}"),
        "broken summary": (["show", broken], 1, "cannot read"),
        "odd summary": (["show", odd], 1, "is not a summary"),
        "no runs": (["show", "last", "--dir", plain], 2, "no run is stored in"),
    }


NAMES = [
    "no command",
    "unknown command",
    "no argument",
    "unknown option",
    "missing directory",
    "not a run",
    "mistyped",
    "torn header",
    "later format",
    "no summary",
    "broken summary",
    "odd summary",
    "no runs",
]


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_is_one_line(capsys, tmp_path, name):
    argv, expected, text = mistakes(tmp_path)[name]
    code, out, err = run(capsys, *argv)
    assert (code, out) == (expected, [])
    assert len(err) == 1, err
    assert err[0].startswith("pytest-smoltrace: error: ")
    assert text in err[0]


def test_every_mistake_is_tried(tmp_path):
    assert sorted(NAMES) == sorted(mistakes(tmp_path))


def command(*argv: object, **options) -> subprocess.CompletedProcess[str]:
    code = "import sys; from pytest_smoltrace.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code, *map(str, argv)],
        cwd=Path(__file__).parents[2],
        text=True,
        timeout=60,
        check=False,
        **{"capture_output": True, **options},
    )


def test_listing_runs_loads_no_heavy_package(tmp_path):
    store(tmp_path)
    done = command("show", "--dir", tmp_path)
    assert done.returncode == 0
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "orjson" in imported
    assert not imported & {"pyarrow", "datasets", "pytest", "smolagents", "opentelemetry"}


def test_a_reader_that_leaves_is_no_error(tmp_path):
    store(tmp_path)
    read, write = os.pipe()
    os.close(read)
    done = command("show", "--dir", tmp_path, capture_output=False, stdout=write, stderr=-1)
    os.close(write)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
