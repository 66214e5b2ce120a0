"""The Parquet files: read back by DuckDB and by `datasets`, never by what wrote them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pytest_smoltrace.exporters import parquet, staging

duckdb = pytest.importorskip("duckdb")

SPAN = pa.struct([("span_id", pa.string()), ("start_time", pa.int64()), ("note", pa.string())])
SCHEMAS = {
    "results": pa.schema(
        [
            pa.field("test_id", pa.string(), metadata={"doc": "id of the test"}),
            pa.field("gen_ai.usage.cost.total", pa.float64()),
            pa.field("start_time", pa.timestamp("us", tz="UTC")),
            pa.field("success", pa.bool_()),
            pa.field("never_known", pa.string()),
        ],
        metadata={"table": "results"},
    ),
    "traces": pa.schema([("trace_id", pa.string()), ("spans", pa.list_(SPAN))]),
    "metrics": pa.schema([("timestamp", pa.string()), ("co2", pa.float64())]),
    "metrics/points": pa.schema([("metric_name", pa.string()), ("value", pa.float64())]),
    "metrics/per_gpu": pa.schema([("gpu_uuid", pa.string()), ("power_w", pa.float64())]),
    "leaderboard": pa.schema([("run_id", pa.string()), ("num_tests", pa.int64())]),
}
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
START = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)


def rows(name: str, count: int) -> list[dict[str, Any]]:
    make = {
        "results": lambda i: {
            "test_id": f"t{i}",
            "gen_ai.usage.cost.total": None if i % 3 else i * 0.1,
            "start_time": START + dt.timedelta(seconds=i),
            "success": bool(i % 2),
            "never_known": None,
        },
        "traces": lambda i: {
            "trace_id": f"{i:032x}",
            "spans": [
                {"span_id": f"{j:016x}", "start_time": i * 10 + j, "note": "a \U0001f600 \x00 b"}
                for j in range(i % 4 + 1)
            ],
        },
        "metrics": lambda i: {"timestamp": f"2026-01-02T00:00:{i:02d}", "co2": 0.5},
        "metrics/points": lambda i: {"metric_name": "tests.steps", "value": float(i)},
        "metrics/per_gpu": lambda i: {"gpu_uuid": "GPU-1", "power_w": 300.0},
        "leaderboard": lambda i: {"run_id": f"r{i}", "num_tests": 7},
    }[name]
    return [make(i) for i in range(count)]


@dataclasses.dataclass(frozen=True)
class FakeTables:
    counts: dict[str, int]
    batch_rows: int = 100
    fails: bool = False
    summary: dict = dataclasses.field(default_factory=lambda: {"b": 1, "a": float("nan")})
    metrics_json: Any = dataclasses.field(
        default_factory=lambda: [{"run_id": "r0", "resourceMetrics": [{"b": 1, "a": [2]}]}]
    )
    credits: str = ""

    def batches(self):
        pending = {name: rows(name, count) for name, count in self.counts.items()}
        while any(pending.values()):
            for name, left in pending.items():
                batch, pending[name] = left[: self.batch_rows], left[self.batch_rows :]
                yield name, pa.RecordBatch.from_pylist(batch, schema=SCHEMAS[name])
        if self.fails:
            raise RuntimeError("the build failed")


FULL = {
    "results": 1300,
    "traces": 700,
    "metrics": 3,
    "metrics/points": 20_000,
    "metrics/per_gpu": 2,
    "leaderboard": 1,
}


@pytest.fixture(autouse=True)
def cards(monkeypatch):
    import types

    docs = types.ModuleType("pytest_smoltrace.schema.docs")
    docs.card = lambda name: f"---\nlicense: apache-2.0\n---\n# {name}\n\n| field | meaning |\n"
    monkeypatch.setitem(sys.modules, "pytest_smoltrace.schema.docs", docs)


def files(directory):
    found = (path for path in directory.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(directory)) for path in found)


def test_a_run_has_these_files(tmp_path):
    folders = parquet.write(FakeTables(FULL), tmp_path)
    assert folders == {
        name: tmp_path / name for name in ("results", "traces", "metrics", "leaderboard")
    }
    assert files(tmp_path) == [
        "leaderboard/README.md",
        "leaderboard/train-00000.parquet",
        "metrics/README.md",
        "metrics/metrics.json",
        "metrics/per_gpu/train-00000.parquet",
        "metrics/points/train-00000.parquet",
        "metrics/train-00000.parquet",
        "results/README.md",
        "results/train-00000.parquet",
        "summary.json",
        "traces/README.md",
        "traces/train-00000.parquet",
    ]


def test_duckdb_reads_the_values(tmp_path):
    parquet.write(FakeTables(FULL, batch_rows=33), tmp_path)
    with duckdb.connect() as db:
        path = f"{tmp_path}/results/train-00000.parquet"
        found = db.execute(
            f"SELECT * REPLACE (epoch_us(start_time) AS start_time) FROM '{path}' ORDER BY 3"
        ).fetchall()
        micros = dt.timedelta(microseconds=1)
        expected = [
            tuple((row | {"start_time": (row["start_time"] - EPOCH) // micros}).values())
            for row in rows("results", 1300)
        ]
        assert found == expected
        described = db.execute(f"DESCRIBE SELECT * FROM '{path}'").fetchall()
        types = {row[0]: row[1] for row in described}
        assert types["start_time"] == "TIMESTAMP WITH TIME ZONE"
        found = db.execute(f"SELECT * FROM '{tmp_path}/traces/train-00000.parquet'").fetchall()
        assert [{"trace_id": a, "spans": b} for a, b in found] == rows("traces", 700)
        total = db.execute(f"SELECT sum(value) FROM '{tmp_path}/metrics/points/*.parquet'")
        assert total.fetchone() == (sum(range(20_000)),)


def test_row_groups_are_bounded_and_compressed(tmp_path):
    parquet.write(FakeTables(FULL, batch_rows=70), tmp_path)
    with duckdb.connect() as db:
        for name, place in parquet.PLACES.items():
            groups = db.execute(
                "SELECT DISTINCT row_group_id, row_group_num_rows, compression "
                f"FROM parquet_metadata('{place.file(tmp_path)}') ORDER BY 1"
            ).fetchall()
            sizes = [size for _, size, _ in groups]
            assert {codec for _, _, codec in groups} == {"ZSTD"}
            assert sum(sizes) == FULL[name]
            assert set(sizes[:-1]) <= {place.group_rows}, name
            assert 0 < sizes[-1] <= place.group_rows


def test_a_row_group_of_large_rows_is_bounded_in_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_BYTES", 3000)
    parquet.write(FakeTables({"traces": 700}, batch_rows=50), tmp_path)
    meta = pq.ParquetFile(tmp_path / "traces" / "train-00000.parquet").metadata
    assert meta.num_rows == 700
    assert meta.num_row_groups > 20
    biggest = max(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    assert biggest < 6000


def test_files_carry_no_loader_metadata(tmp_path):
    parquet.write(FakeTables(FULL), tmp_path)
    for path in tmp_path.rglob("*.parquet"):
        assert not pq.ParquetFile(path).metadata.metadata, path


def test_an_empty_table_is_not_written(tmp_path):
    folders = parquet.write(FakeTables({"results": 1, "metrics/per_gpu": 0, "traces": 0}), tmp_path)
    assert list(folders) == ["results"]
    assert files(tmp_path) == ["results/README.md", "results/train-00000.parquet", "summary.json"]


def test_an_empty_batch_alone_writes_no_file(tmp_path):
    class Empty(FakeTables):
        def batches(self):
            yield "results", pa.RecordBatch.from_pylist([], schema=SCHEMAS["results"])

    assert parquet.write(Empty({}), tmp_path) == {}
    assert files(tmp_path) == ["summary.json"]


def test_a_rebuild_writes_the_same_bytes(tmp_path):
    parquet.write(FakeTables(FULL), tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    parquet.write(FakeTables(FULL), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_a_rebuild_removes_what_it_no_longer_has(tmp_path):
    parquet.write(FakeTables(FULL), tmp_path)
    fewer = {name: n for name, n in FULL.items() if name not in {"metrics/per_gpu", "traces"}}
    parquet.write(FakeTables(fewer), tmp_path)
    found = files(tmp_path)
    assert "metrics/per_gpu/train-00000.parquet" not in found
    assert not [name for name in found if name.startswith("traces/")]
    assert "per_gpu" not in (tmp_path / "metrics" / "README.md").read_text()


def test_a_failed_build_leaves_the_old_files_and_no_temporary_one(tmp_path):
    parquet.write(FakeTables({"results": 5}), tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    with pytest.raises(RuntimeError, match="the build failed"):
        parquet.write(FakeTables({"results": 9, "leaderboard": 1}, fails=True), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_a_build_that_fails_at_its_last_file_leaves_the_old_ones(tmp_path, monkeypatch):
    parquet.write(FakeTables({"results": 5, "metrics": 2}), tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    real = Path.write_bytes

    def full(path, data):
        if "summary.json" in path.name:
            real(path, data[:10])
            raise OSError(28, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        parquet.write(FakeTables({"results": 9, "leaderboard": 1}), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before
    assert not (tmp_path / "leaderboard").exists()


def test_what_a_killed_build_left_is_removed_by_the_next(tmp_path):
    with subprocess.Popen([sys.executable, "-c", BUILD_AND_DIE, str(tmp_path)]) as killed:
        assert killed.wait() == -9
    left = tmp_path / "results" / "train-00000.parquet"
    assert len(list((tmp_path / "results").iterdir())) == 1
    own = staging.temporary(left).name
    others = {
        f".{left.name}.elsewhere-{killed.pid}.tmp",  # may still run there
        own.replace(f"-{os.getpid()}.", f"-{os.getppid()}."),
    }
    for name in others:
        left.with_name(name).write_bytes(b"of another build")
    parquet.write(FakeTables({"results": 5}), tmp_path)
    found = {path.name for path in (tmp_path / "results").iterdir()}
    assert found == {"train-00000.parquet", "README.md"} | others


BUILD_AND_DIE = """
import os, pathlib, sys
from pytest_smoltrace.exporters.staging import Staging
with Staging() as staging:
    staging.add(pathlib.Path(sys.argv[1]) / "results" / "train-00000.parquet").write_bytes(b"half")
    os.kill(os.getpid(), 9)
"""


def test_json_files_are_sorted_and_strict(tmp_path):
    parquet.write(FakeTables(FULL), tmp_path)
    text = (tmp_path / "summary.json").read_text()
    assert text == '{\n  "a": null,\n  "b": 1\n}\n'
    made = (tmp_path / "metrics" / "metrics.json").read_text()
    assert made == (
        '[\n  {\n    "resourceMetrics": [{"a":[2],"b":1}],\n    "run_id": "r0"\n  }\n]\n'
    ), "time series on one line"


def test_cards_name_the_sources_that_ask_for_it(tmp_path):
    parquet.write(FakeTables(FULL, credits="## Source\n\nX, CC BY 4.0.\n"), tmp_path)
    named = {
        name: "\n## Source\n\nX, CC BY 4.0.\n" in (tmp_path / name / "README.md").read_text()
        for name in ("results", "traces", "metrics", "leaderboard")
    }
    assert named == {"results": True, "traces": False, "metrics": True, "leaderboard": True}


LOAD = """
import json, sys
from datasets import load_dataset
root = sys.argv[1]
out = {}
for name in ("results", "traces", "metrics", "leaderboard"):
    data = load_dataset(f"{root}/{name}", split="train")
    out[name] = [len(data), sorted(data.column_names)]
for config in ("default", "points", "per_gpu"):
    data = load_dataset(f"{root}/metrics", config, split="train")
    out[config] = [len(data), sorted(data.column_names)]
data = load_dataset(f"{root}/traces", split="train")
out["span"] = data[5]["spans"][1]
data = load_dataset(f"{root}/results", split="train")
out["row"] = {k: str(v) for k, v in data[2].items()}
streamed = load_dataset(f"{root}/results", split="train", streaming=True)
out["streamed"] = sum(1 for _ in streamed)
print(json.dumps(out))
"""


def test_datasets_loads_every_folder_and_configuration(tmp_path):
    pytest.importorskip("datasets")
    run = tmp_path / "run"
    parquet.write(FakeTables(FULL), run)
    environ = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(run)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for name in ("results", "traces", "metrics", "leaderboard"):
        assert found[name] == [FULL[name], sorted(SCHEMAS[name].names)]
    assert found["default"] == found["metrics"]
    assert found["points"] == [20_000, sorted(SCHEMAS["metrics/points"].names)]
    assert found["per_gpu"] == [2, sorted(SCHEMAS["metrics/per_gpu"].names)]
    assert found["span"] == rows("traces", 6)[5]["spans"][1]
    assert found["row"] == {k: str(v) for k, v in rows("results", 3)[2].items()}
    assert found["streamed"] == 1300


LENGTHS = """
import sys
from datasets import load_dataset
for folder in sys.argv[1:]:
    print(len(load_dataset(folder, split="train")), len(load_dataset(folder, split="train")))
"""


def test_datasets_never_answers_with_another_run(tmp_path):
    """Its cache knows a local folder by the card's configurations alone."""
    pytest.importorskip("datasets")
    one, two = tmp_path / "one", tmp_path / "two"
    parquet.write(FakeTables({"results": 3}), one)
    parquet.write(FakeTables({"results": 5}), two)
    environ = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}

    def lengths():
        command = [sys.executable, "-c", LENGTHS, str(one / "results"), str(two / "results")]
        return subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=300, check=True
        ).stdout.split()

    assert lengths() == ["3", "3", "5", "5"]
    parquet.write(FakeTables({"results": 4}), one)  # built again, with a case more
    assert lengths() == ["4", "4", "5", "5"]
