"""GPU columns of every table, read back by DuckDB, against energies in closed form."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from pytest_smoltrace.build import build
from pytest_smoltrace.errors import JournalError
from pytest_smoltrace.exporters import parquet
from pytest_smoltrace.merge import merge
from pytest_smoltrace.run import load_run
from pytest_smoltrace.session_facts import Part
from tests.unit.run_factory import HEADER, START
from tests.unit.sample_factory import Gpu, case, of_model, write_run, write_samples

duckdb = pytest.importorskip("duckdb")

A = Gpu(uuid="GPU-a", amplitude_w=200.0, memory_mib=1000.0, temperature=40.0, utilization=20.0)
B = Gpu(uuid="GPU-b", index=1, mean_w=150.0, memory_mib=3000.0, temperature=70.0, name="Card Y",
        utilization=100.0)  # fmt: skip
BOTH = ("GPU-a", "GPU-b")


class Built:
    """A run that is written as Parquet, and DuckDB on its tables."""

    def __init__(self, directory):
        self.directory = directory
        self.tables = build(load_run(directory))
        parquet.write(self.tables, directory)

    def sql(self, query):
        names = {
            "results": "results/train-00000.parquet",
            "ticks": "metrics/train-00000.parquet",
            "per_gpu": "metrics/per_gpu/train-00000.parquet",
            "points": "metrics/points/train-00000.parquet",
            "board": "leaderboard/train-00000.parquet",
        }
        with duckdb.connect() as db:
            for name, place in names.items():
                if (path := self.directory / place).exists():
                    db.execute(f"CREATE VIEW {name} AS SELECT * FROM '{path}'")
            return db.sql(query).to_arrow_table().to_pylist()

    def one(self, query):
        (row,) = self.sql(query)
        (value,) = row.values()
        return value


@pytest.fixture
def made(tmp_path):
    """Return a function that builds a run of cases with samples."""

    def make(cases, gpus=(A, B), also=None, sampling=None, **journal):
        write_run(tmp_path / "run-1", cases, **journal)
        if also:
            also(tmp_path / "run-1")
        if gpus:
            write_samples(tmp_path / "run-1", gpus, **(sampling or {}))
        return Built(tmp_path / "run-1")

    return make


OVERLAPPING = [
    case(1, 0.0, 10.0, BOTH),
    case(2, 4.0, 14.0, BOTH),
    case(3, 20.0, 30.0, ("GPU-b",)),
]


def test_two_gpus_at_300_w_for_10_s(made):
    """1.6667 Wh, 0.79167 g, 0.0002 USD at the default intensity, price and PUE."""
    gpus = [replace(B, uuid=uuid, mean_w=300.0) for uuid in BOTH]
    found = made([case(1, 0.0, 10.0, BOTH)], gpus)
    (row,) = found.sql("SELECT * FROM board")
    assert row["total_gpu_energy_wh"] == pytest.approx(6000 / 3600, rel=1e-9)
    assert row["co2_emissions_g"] == pytest.approx(0.7916666666, rel=1e-9)
    assert row["electricity_cost_usd"] == pytest.approx(0.0002, rel=1e-9)
    assert row["power_cost_total_usd"] == row["electricity_cost_usd"]
    known = (row["co2_method"], row["co2_source"], row["co2_intensity_g_per_kwh"], row["pue"])
    assert known == ("measured", "default", 475.0, 1.0)
    assert row["electricity_price_usd_per_kwh"] == 0.12
    assert row["gpu_power_avg_w"] == pytest.approx(600.0)
    assert row["gpu_memory_total_mib"] == 16000.0
    assert row["metrics_dataset"] == row["metrics_repo"] == "local:run-1"


def test_energy_of_tests_and_rest_is_that_of_the_devices(made):
    found = made(OVERLAPPING, sampling={"end_s": 31.0})
    tests = found.one("SELECT sum(gpu_energy_wh + gpu_energy_setup_wh) FROM results")
    (row,) = found.sql(
        "SELECT total_gpu_energy_wh AS w, gpu_energy_unattributed_wh AS u FROM board"
    )
    assert tests == pytest.approx(row["w"], rel=1e-12)
    devices = A.wh(-0.5, 31.0) + B.wh(-0.5, 31.0)
    assert row["w"] + row["u"] == pytest.approx(devices, rel=1e-9)
    truth = A.wh(0, 14) + B.wh(0, 14) + B.wh(20, 30)
    assert row["w"] == pytest.approx(truth, rel=1e-3), "no joule counts twice"


def test_ticks_end_with_the_totals_of_the_run(made):
    found = made(OVERLAPPING)
    ticks = found.sql("SELECT * FROM ticks ORDER BY timestamp_unix_nano")
    (board,) = found.sql("SELECT * FROM board")
    first, last = ticks[0], ticks[-1]
    assert first["timestamp_unix_nano"] == str(START)
    assert last["timestamp_unix_nano"] == str(START + 30 * 10**9)
    assert first["gpu_energy_wh"] == first["co2_emissions_gco2e"] == 0.0
    assert last["gpu_energy_wh"] == board["total_gpu_energy_wh"]
    assert last["co2_emissions_gco2e"] == board["co2_emissions_g"]
    assert last["power_cost_usd"] == board["electricity_cost_usd"]
    energy = [row["gpu_energy_wh"] for row in ticks]
    assert energy == sorted(energy)
    at = {(int(row["timestamp_unix_nano"]) - START) // 10**9: row for row in ticks}
    assert sorted(at) == list(range(31))
    for second, row in at.items():
        upto = min(second, 14)
        truth = A.wh(0, upto) + B.wh(0, upto) + B.wh(20, max(20, second))
        assert row["gpu_energy_wh"] == pytest.approx(truth, rel=1e-3, abs=1e-6), second
    assert [at[s]["active_tests"] for s in (0, 1, 5, 10, 15, 25, 30)] == [0, 1, 2, 1, 0, 1, 0]


def test_ticks_combine_the_gpus_of_a_host(made):
    found = made(OVERLAPPING)
    for row in found.sql("SELECT * FROM ticks"):
        second = (int(row["timestamp_unix_nano"]) - START) / 1e9
        assert (row["gpu_id"], row["gpu_name"], row["gpu_count"]) == ("all", "Card X + Card Y", 2)
        assert row["gpu_utilization_percent"] == 60.0, "mean"
        assert row["gpu_memory_used_mib"] == pytest.approx(4000.0), "sum"
        assert row["gpu_memory_total_mib"] == 16000.0
        assert row["gpu_temperature_celsius"] == 70.0, "hottest"
        spot = [second - 1 + (n + 1) / 10 for n in range(10) if second - 1 + (n + 1) / 10 > -0.51]
        mean = sum(A.power_w(t) for t in spot) / len(spot) + 150.0
        assert row["gpu_power_watts"] == pytest.approx(mean, rel=1e-6), second


def test_each_gpu_has_rows_of_its_own(made):
    found = made(OVERLAPPING)
    rows = found.sql("SELECT * FROM per_gpu ORDER BY gpu_uuid, timestamp_unix_nano")
    assert [row["gpu_uuid"] for row in rows] == ["GPU-a"] * 31 + ["GPU-b"] * 31
    for gpu, chosen in ((A, rows[:31]), (B, rows[31:])):
        for second, row in enumerate(chosen):
            assert (row["gpu_id"], row["gpu_name"], row["host"]) == (str(gpu.index), gpu.name, "h1")
            assert row["gpu_utilization_percent"] == gpu.utilization
            assert row["gpu_memory_used_mib"] == pytest.approx(gpu.memory_mib)
            assert row["gpu_energy_wh"] == pytest.approx(gpu.wh(0, second), rel=1e-3, abs=1e-9)


def test_leaderboard_averages_over_the_window_of_the_run(made):
    (row,) = made(OVERLAPPING).sql("SELECT * FROM board")
    assert row["gpu_power_avg_w"] == pytest.approx((A.wh(0, 30) + B.wh(0, 30)) * 120, rel=2e-3)
    assert row["gpu_power_max_w"] == pytest.approx(650.0, rel=1e-3)
    assert (row["gpu_utilization_avg"], row["gpu_utilization_max"]) == pytest.approx((60.0, 60.0))
    assert row["gpu_memory_avg_mib"] == pytest.approx(4000.0)
    assert (row["gpu_temperature_avg"], row["gpu_temperature_max"]) == pytest.approx((70.0, 70.0))
    assert (row["gpu_count"], row["gpu_memory_total_mib"]) == (2, 16000.0)


def test_points_are_the_ticks(made):
    found = made(OVERLAPPING)
    for metric, column in {
        "gen_ai.gpu.utilization": "gpu_utilization_percent",
        "gen_ai.gpu.memory.used": "gpu_memory_used_mib",
        "gen_ai.gpu.memory.total": "gpu_memory_total_mib",
        "gen_ai.gpu.temperature": "gpu_temperature_celsius",
        "gen_ai.gpu.power": "gpu_power_watts",
        "gen_ai.gpu.energy": "gpu_energy_wh",
    }.items():
        same = found.one(
            f"SELECT count(*) FROM points p JOIN per_gpu g ON p.gpu_uuid = g.gpu_uuid AND "
            f"p.time_unix_nano = g.timestamp_unix_nano::BIGINT AND p.value = g.{column} AND "
            f"p.gpu_id = g.gpu_id AND p.gpu_name = g.gpu_name AND p.host = g.host AND "
            f"p.point_kind = 'timeseries' AND p.metric_name = '{metric}'"
        )
        assert same == 62, metric
    for metric, column in {
        "gen_ai.co2.emissions": "co2_emissions_gco2e",
        "gen_ai.power.cost": "power_cost_usd",
        "process.cpu.utilization": "process_cpu_percent",
    }.items():
        rows = found.sql(
            f"SELECT p.value, t.{column} AS v FROM points p JOIN ticks t ON p.host = t.host AND "
            f"p.time_unix_nano = t.timestamp_unix_nano::BIGINT AND p.metric_name = '{metric}'"
        )
        assert len(rows) == 31 - (metric == "process.cpu.utilization")
        assert all(row["value"] == row["v"] for row in rows), metric
    scopes = found.sql(
        "SELECT DISTINCT metric_name, scope_name FROM points WHERE gpu_id IS NOT NULL"
    )
    assert {row["scope_name"] for row in scopes} == {"genai.gpu"}
    starts = "SELECT DISTINCT start_time_unix_nano FROM points WHERE metric_name IN "
    assert found.one(starts + "('gen_ai.gpu.energy', 'gen_ai.co2.emissions')") == START


def test_aggregate_points_are_the_totals(made):
    found = made(OVERLAPPING)
    (board,) = found.sql("SELECT * FROM board")
    values = {
        (row["metric_name"], row["gpu_uuid"]): row["value"]
        for row in found.sql(
            "SELECT * FROM points WHERE point_kind = 'aggregate' AND scope_name = 'genai.gpu'"
        )
    }
    assert values.pop(("gen_ai.co2.emissions", None)) == board["co2_emissions_g"]
    assert values.pop(("gen_ai.power.cost", None)) == board["electricity_cost_usd"]
    assert values == {
        ("gen_ai.gpu.energy", gpu.uuid): pytest.approx(gpu.wh(0, 30), rel=1e-3) for gpu in (A, B)
    }


def test_metrics_json_has_the_series_in_otlp_form(made):
    found = made(OVERLAPPING)
    (run,) = json.loads((found.directory / "metrics" / "metrics.json").read_text())
    (resource,) = run["resourceMetrics"]
    about = {one["key"]: one["value"]["stringValue"] for one in resource["resource"]["attributes"]}
    assert about == {"service.name": "service-1", "host.name": "h1"}
    scopes = {one["scope"]["name"]: one["metrics"] for one in resource["scopeMetrics"]}
    named = {metric["name"]: metric for metric in scopes["genai.gpu"]}
    assert {name: metric["unit"] for name, metric in named.items()} == {
        "gen_ai.gpu.utilization": "%",
        "gen_ai.gpu.memory.used": "MiB",
        "gen_ai.gpu.memory.total": "MiB",
        "gen_ai.gpu.temperature": "Cel",
        "gen_ai.gpu.power": "Watts",
        "gen_ai.gpu.energy": "Wh",
        "gen_ai.co2.emissions": "gCO2e",
        "gen_ai.power.cost": "USD",
    }
    points = named["gen_ai.gpu.power"]["gauge"]["dataPoints"]
    assert len(points) == 62
    labels = {one["key"]: one["value"]["stringValue"] for one in points[0]["attributes"]}
    assert labels == {"gpu_id": "0", "gpu_uuid": "GPU-a", "gpu_name": "Card X"}
    assert points[0]["timeUnixNano"] == str(START)
    sums = named["gen_ai.co2.emissions"]["sum"]
    assert (sums["aggregationTemporality"], sums["isMonotonic"]) == (2, True)
    assert sums["dataPoints"][-1]["startTimeUnixNano"] == str(START)
    total = found.one("SELECT co2_emissions_g FROM board")
    assert sums["dataPoints"][-1]["asDouble"] == pytest.approx(total, rel=1e-12)
    (aggregate,) = [one for one in run["aggregates"] if one["name"] == "gen_ai.co2.emissions"]
    assert aggregate["data_points"] == [{"value": pytest.approx(total), "attributes": {}}]
    assert aggregate["unit"] == "gCO2e"


def test_a_run_without_samples_says_nothing(made):
    found = made(OVERLAPPING, gpus=())
    (row,) = found.sql("SELECT * FROM board")
    assert (row["gpu_count"], row["metrics_dataset"], row["co2_method"]) == (2, "", "none")
    assert (row["total_gpu_energy_wh"], row["gpu_energy_unattributed_wh"]) == (None, None)
    assert not (found.directory / "metrics" / "per_gpu").exists()
    assert found.one("SELECT count(gpu_id) FROM ticks") == 0
    uuids = found.sql("SELECT gpu_uuids, gpu_energy_wh FROM results")
    assert uuids[0] == {"gpu_uuids": list(BOTH), "gpu_energy_wh": None}


def test_nothing_reads_samples_where_there_are_none(made):
    found = made(OVERLAPPING, gpus=())
    code = (
        "import sys; from pathlib import Path; from pytest_smoltrace.pipeline import finish; "
        "finish(Path(sys.argv[1])); "
        "print([name for name in sys.modules if name.startswith('pytest_smoltrace.') "
        "and name.rpartition('.')[2] in ('samples', 'attribution', 'energy', 'series', 'gpu')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(found.directory)],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert eval(done.stdout) == ["pytest_smoltrace.attempt.gpu"], "the value type alone"


def test_runs_of_one_session_share_its_rest(made):
    cases = [
        of_model(1, "m-1", 0.0, 10.0, BOTH),
        of_model(2, "m-2", 5.0, 15.0, BOTH),
    ]
    found = made(cases, sampling={"end_s": 16.0})
    rows = found.sql("SELECT * FROM board ORDER BY model")
    (one, two) = rows
    assert one["gpu_energy_unattributed_wh"] == two["gpu_energy_unattributed_wh"]
    whole = one["total_gpu_energy_wh"] + two["total_gpu_energy_wh"]
    rest = one["gpu_energy_unattributed_wh"]
    assert whole + rest == pytest.approx(A.wh(-0.5, 16) + B.wh(-0.5, 16), rel=1e-9)
    half = (A.wh(5, 10) + B.wh(5, 10)) / 2
    assert one["total_gpu_energy_wh"] == pytest.approx(A.wh(0, 5) + B.wh(0, 5) + half, rel=2e-3)
    for row in rows:
        last = found.one(
            f"SELECT last(gpu_energy_wh ORDER BY timestamp_unix_nano) FROM ticks "
            f"WHERE run_id = '{row['run_id']}'"
        )
        assert last == row["total_gpu_energy_wh"]
        times = found.sql(
            f"SELECT min(timestamp_unix_nano) AS a, max(timestamp_unix_nano) AS b FROM per_gpu "
            f"WHERE run_id = '{row['run_id']}'"
        )
        begun = START + (5 * 10**9 if row["model"] == "m-2" else 0)
        assert times == [{"a": str(begun), "b": str(begun + 10 * 10**9)}]


def test_a_resumed_run_goes_on_counting(made):
    later = Part(started_unix_ns=START + 999 * 10**9, plugin_version="9.8.7", environment={},
                 bindings={"gw2": ["GPU-b"]})  # fmt: skip
    cases = [case(1, 0.0, 10.0, BOTH), case(2, 1000.0, 1005.0, BOTH)]
    header = replace(HEADER, bindings={"gw1": ["GPU-a"]})
    found = made(
        cases,
        parts=[(1, later)],
        header=header,
        sampling={"end_s": 11.0},
        also=lambda run: write_samples(run, [A, B], start_s=999.5, end_s=1006.0, name="b"),
    )
    truth = A.wh(0, 10) + B.wh(0, 10) + A.wh(1000, 1005) + B.wh(1000, 1005)
    (row,) = found.sql("SELECT * FROM board")
    assert row["total_gpu_energy_wh"] == pytest.approx(truth, rel=1e-3)
    assert json.loads(row["config"])["gpu_bindings"] == {"gw1": ["GPU-a"], "gw2": ["GPU-b"]}
    ticks = found.sql("SELECT * FROM ticks ORDER BY timestamp_unix_nano")
    seconds = [(int(tick["timestamp_unix_nano"]) - START) // 10**9 for tick in ticks]
    assert seconds == [*range(11), *range(1000, 1006)], "none in the time between"
    assert ticks[10]["gpu_energy_wh"] == pytest.approx(A.wh(0, 10) + B.wh(0, 10), rel=1e-3)
    assert ticks[11]["gpu_energy_wh"] == pytest.approx(ticks[10]["gpu_energy_wh"], abs=1e-9)
    assert ticks[-1]["gpu_energy_wh"] == row["total_gpu_energy_wh"]
    last = found.one("SELECT max(gpu_energy_wh) FROM per_gpu WHERE gpu_uuid = 'GPU-b'")
    assert last == pytest.approx(B.wh(0, 10) + B.wh(1000, 1005), rel=1e-3)


def test_hosts_have_ticks_of_their_own(made):
    other = {"clock": "boot-2", "host": "h2"}
    cases = [case(1, 0.0, 10.0, ("GPU-a",)), case(2, 2.0, 12.0, ("GPU-b",), **other)]
    found = made(cases, gpus=[A], also=lambda run: write_samples(run, [B], name="b", **other))
    (row,) = found.sql("SELECT * FROM board")
    assert row["total_gpu_energy_wh"] == pytest.approx(A.wh(0, 10) + B.wh(2, 12), rel=1e-3)
    hosts = found.sql(
        "SELECT host, any_value(gpu_name) AS name, last(gpu_energy_wh ORDER BY timestamp_unix_nano)"
        " AS wh, count(*) AS n FROM ticks GROUP BY host ORDER BY host"
    )
    whole = row["total_gpu_energy_wh"]
    assert hosts == [
        {"host": "h1", "name": "Card X", "wh": whole, "n": 13},
        {"host": "h2", "name": "Card Y", "wh": whole, "n": 13},
    ], "the energy of the run, whichever host tells it"
    points = found.sql(
        "SELECT value FROM points WHERE metric_name = 'gen_ai.co2.emissions' "
        "AND point_kind = 'timeseries' ORDER BY time_unix_nano"
    )
    assert len(points) == 13, "told once"
    assert points[-1]["value"] == row["co2_emissions_g"]


def test_a_gpu_that_cannot_be_read_for_a_while(made):
    lost = replace(B, failed=(3.05, 7.05))
    found = made([case(1, 0.0, 10.0, BOTH)], [A, lost])
    ticks = found.sql("SELECT * FROM ticks ORDER BY timestamp_unix_nano")
    counts = [tick["gpu_count"] for tick in ticks]
    assert counts == [2, 2, 2, 2, 1, 1, 1, 1, 2, 2, 2]
    for tick, count in zip(ticks, counts, strict=True):
        assert (tick["gpu_power_watts"] is None) == (count == 1), "a GPU has no valid sample"
        assert (tick["gpu_memory_total_mib"] is None) == (count == 1)
        assert tick["gpu_utilization_percent"] == (60.0 if count == 2 else 20.0)
        assert tick["gpu_temperature_celsius"] == (70.0 if count == 2 else 40.0)


def test_a_partitioned_gpu_and_its_instance(made):
    instance = Gpu(uuid="MIG-1", index=None, parent=0, memory_mib=500.0, total_mib=4000.0)
    found = made([case(1, 0.0, 10.0, ("MIG-1",))], [A, instance])
    tick = found.sql("SELECT * FROM ticks ORDER BY timestamp_unix_nano")[5]
    assert (tick["gpu_count"], tick["gpu_memory_used_mib"]) == (1, 1000.0), "not counted twice"
    rows = found.sql("SELECT * FROM per_gpu WHERE gpu_uuid = 'MIG-1'")
    assert {row["gpu_memory_used_mib"] for row in rows} == {500.0}
    assert {row["gpu_energy_wh"] for row in rows} == {None}


def test_replayed_attempts_get_no_energy(made):
    cases = [case(1, 0.0, 10.0, BOTH), case(2, 12.0, 20.0, BOTH, replay_mode="replayed")]
    found = made(cases)
    one, two = found.sql("SELECT gpu_energy_wh, gpu_uuids FROM results ORDER BY test_id")
    assert one["gpu_energy_wh"] > 0
    assert (two["gpu_energy_wh"], two["gpu_uuids"]) == (None, list(BOTH))
    ticks = found.sql("SELECT gpu_energy_wh FROM ticks ORDER BY timestamp_unix_nano")
    assert ticks[-1]["gpu_energy_wh"] == pytest.approx(A.wh(0, 10) + B.wh(0, 10), rel=1e-3)


def test_electricity_of_the_session(made):
    electricity = {"carbon_g_per_kwh": 100.0, "source": "option", "country": None,
                   "price_usd_per_kwh": 0.3, "pue": 1.5}  # fmt: skip
    found = made([case(1, 0.0, 10.0, BOTH)], header=replace(HEADER, electricity=electricity))
    (row,) = found.sql("SELECT * FROM board")
    energy = row["total_gpu_energy_wh"]
    assert row["co2_emissions_g"] == pytest.approx(energy / 1000 * 100 * 1.5, rel=1e-12)
    assert row["electricity_cost_usd"] == pytest.approx(energy / 1000 * 0.3 * 1.5, rel=1e-12)
    assert (row["co2_source"], row["pue"], row["co2_intensity_g_per_kwh"]) == ("option", 1.5, 100.0)


@pytest.mark.parametrize(
    ("source", "sampled", "named"),
    [("DEU 2024 Ember", True, True), ("DEU 2024 Ember", False, False), ("option", True, False)],
)
def test_the_source_of_a_country_s_figure_is_named(made, source, sampled, named):
    electricity = {"carbon_g_per_kwh": 335.3, "source": source, "country": "DEU"}
    header = replace(HEADER, electricity=electricity)
    found = made([case(1, 0.0, 10.0, BOTH)], gpus=(A, B) if sampled else (), header=header)
    card = (found.directory / "leaderboard" / "README.md").read_text()
    assert ("The figure of DEU 2024 Ember is from Ember (2025)" in card) == named
    assert ("CC BY 4.0" in card) == named


LOAD = """
import json, sys
from datasets import load_dataset
found = {}
for dataset, config in [("results", "default"), ("traces", "default"), ("leaderboard", "default"),
                        ("metrics", "default"), ("metrics", "points"), ("metrics", "per_gpu")]:
    data = load_dataset(f"{sys.argv[1]}/{dataset}", config, split="train")
    column = {"per_gpu": "gpu_power_watts", "points": "value"}.get(config)
    column = column or {"metrics": "gpu_power_watts", "traces": "trace_id"}.get(dataset, "run_id")
    found[f"{dataset}/{config}"] = [len(data), str(data.features[column].dtype)]
print(json.dumps(found))
"""


def test_datasets_loads_every_configuration(made, tmp_path):
    pytest.importorskip("datasets")
    found = made(OVERLAPPING)
    environ = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(found.directory)],
        env=environ, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert loaded.pop("metrics/points")[0] > 62 * 6
    assert loaded == {
        "results/default": [3, "string"],
        "traces/default": [3, "string"],
        "leaderboard/default": [1, "string"],
        "metrics/default": [31, "float64"],
        "metrics/per_gpu": [62, "float64"],
    }


def test_samples_that_cannot_be_read_are_named(made):
    def breaks(run):
        (run / "samples").mkdir()
        (run / "samples" / "broken.samples").write_bytes(b"{")

    found = made([case(1, 0.0, 10.0, BOTH)], also=breaks)
    (warning,) = found.tables.warnings
    assert "broken.samples" in warning
    assert found.one("SELECT total_gpu_energy_wh FROM board") > 0


def test_a_killed_session_keeps_what_is_known(made, tmp_path):
    """The journal has no end and a case in flight, the samples end within a record."""

    def kills(run):
        write_samples(run, [A, B], end_s=12.0)
        file = run / "samples" / "a.samples"
        file.write_bytes(file.read_bytes()[:-7])
        with (run / "journal.jsonl").open("ab") as journal:
            opened = {"k": "open", "nodeid": SUITE[1].nodeid, "worker": "gw1",
                      "unix_ns": START + 11 * 10**9}  # fmt: skip
            journal.write(json.dumps(opened, separators=(",", ":")).encode() + b"\n")

    found = made([case(1, 0.0, 10.0, BOTH)], gpus=(), also=kills, footer=None, suite=SUITE)
    one, two = found.sql("SELECT * FROM results ORDER BY test_id")
    assert one["gpu_energy_wh"] == pytest.approx(A.wh(0, 10) + B.wh(0, 10), rel=1e-2)
    assert (two["outcome"], two["gpu_energy_wh"], two["gpu_uuids"]) == ("crashed", None, None)
    (board,) = found.sql("SELECT * FROM board")
    assert board["total_gpu_energy_wh"] == one["gpu_energy_wh"] + one["gpu_energy_setup_wh"]


def test_samples_without_a_case(made):
    found = made([], suite=SUITE)
    (board,) = found.sql("SELECT * FROM board")
    assert board["total_gpu_energy_wh"] is None
    assert board["gpu_energy_unattributed_wh"] == pytest.approx(A.wh(-0.5, 60) + B.wh(-0.5, 60))
    assert found.one("SELECT count(*) FROM ticks") == 1


def test_a_slow_sampler_has_wider_ticks(made):
    found = made([case(1, 0.0, 10.0, BOTH)], sampling={"period_s": 2.5, "start_s": -5.0})
    ticks = found.sql("SELECT * FROM ticks ORDER BY timestamp_unix_nano")
    assert all(tick["gpu_count"] == 2 for tick in ticks)


def shard(directory, index, gpu, start_s):
    """Write one of two shards, on a machine of its own."""
    clock, worker = f"boot-{index}", f"gw{index}"
    cases = [case(index, start_s, start_s + 10.0, (gpu.uuid,), clock=clock, host=f"h{index}")]
    electricity = {"carbon_g_per_kwh": 200.0, "source": "option"}
    header = replace(
        HEADER, session_id=f"s{index}", config=HEADER.config | {"shard": f"{index}/2"},
        shard={"index": index, "count": 2, "division": "d"}, electricity=electricity,
        bindings={worker: [gpu.uuid]},
    )  # fmt: skip
    write_run(directory, cases, header=header, suite=SUITE)
    write_samples(directory, [gpu], clock=clock, host=f"h{index}", name=f"token-{index}")
    return directory


SUITE = (case(1, 0, 1).declared, case(2, 0, 1).declared)


def test_a_merged_run_has_the_samples_of_its_shards(tmp_path):
    parts = [shard(tmp_path / "one", 1, A, 0.0), shard(tmp_path / "two", 2, B, 5.0)]
    merge(parts, tmp_path / "both")
    found = Built(tmp_path / "both")
    (row,) = found.sql("SELECT * FROM board")
    assert row["total_gpu_energy_wh"] == pytest.approx(A.wh(0, 10) + B.wh(5, 15), rel=1e-3)
    assert row["co2_intensity_g_per_kwh"] == 200.0
    assert json.loads(row["config"])["gpu_bindings"] == {"gw1": ["GPU-a"], "gw2": ["GPU-b"]}
    assert found.one("SELECT count(DISTINCT host) FROM per_gpu") == 2
    merge([parts[0], tmp_path / "both"], tmp_path / "again")
    again = Built(tmp_path / "again").one("SELECT total_gpu_energy_wh FROM board")
    assert again == pytest.approx(row["total_gpu_energy_wh"], rel=1e-12), "no file counts twice"


def test_nothing_is_left_of_a_merge_without_room_for_samples(tmp_path, monkeypatch):
    parts = [shard(tmp_path / "one", 1, A, 0.0), shard(tmp_path / "two", 2, B, 5.0)]

    def full(source, target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(JournalError, match="No space left"):
        merge(parts, tmp_path / "both")
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize("second", [(-3.0, 40.0), (-0.55, 34.96), (5.0, 25.0)])
def test_two_samplers_of_one_machine_count_a_gpu_once(made, second):
    """As where each worker has a container of its own: their files overlap in time."""
    start_s, end_s = second
    steady = replace(A, amplitude_w=0.0)

    def also(directory):
        write_samples(directory, (steady, B), start_s=start_s, end_s=end_s, name="b")

    sampling = {"start_s": -0.5, "end_s": 35.0}
    built = made(OVERLAPPING, gpus=(steady, B), also=also, sampling=sampling)
    (board,) = built.sql("SELECT * FROM board")
    power = steady.mean_w + B.mean_w
    assert board["gpu_power_avg_w"] == pytest.approx(power)
    assert board["gpu_power_max_w"] == pytest.approx(power)
    assert board["gpu_memory_avg_mib"] == pytest.approx(4000.0)
    assert board["gpu_utilization_avg"] == pytest.approx(60.0)
    assert board["gpu_temperature_max"] == 70.0
