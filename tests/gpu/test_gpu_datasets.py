"""The datasets of a session whose workers share GPUs, read by DuckDB, against the sample file."""

import json
import struct

import pytest

from pytest_smoltrace.sampler.record import DEVICE, RECORD

duckdb = pytest.importorskip("duckdb")

SLEEPS = """
import time
import pytest

@pytest.mark.parametrize("n", range(6))
def test_case(ask, n):
    time.sleep(0.9 + n / 10)
    ask("answer yes")
"""


def counted_wh(file):
    """Return UUID -> energy between the first and the last sample, read without the package."""
    line, _, data = file.read_bytes().partition(b"\n")
    slots = json.loads(line)["devices"]
    found = {}
    whole = data[: len(data) // RECORD.size * RECORD.size]
    for kind, slot, *_, energy_mj, _, _, _ in struct.iter_unpack(RECORD.format, whole):
        if kind == DEVICE:
            found.setdefault(slots[slot]["uuid"], []).append(energy_mj)
    return {uuid: (values[-1] - values[0]) / 3.6e6 for uuid, values in found.items()}


@pytest.mark.parametrize("workers", [0, 2, 4])
def test_all_tables_tell_one_energy(driver, suite, workers):
    uuids = driver.has_equal(2)
    driver.power(0, 300)
    driver.power(1, 500)
    run = suite(f"-n{workers}", "--smoltrace-gpu=on", source=SLEEPS)
    (directory,) = run.runs
    (file,) = (directory / "samples").glob("*.samples")
    devices = counted_wh(file)
    assert sorted(devices) == sorted(uuids)
    with duckdb.connect() as db:

        def ask(query, table):
            place = directory / table / "train-00000.parquet"
            return db.execute(query.replace("TABLE", f"'{place}'")).fetchone()

        (tests,) = ask("SELECT sum(gpu_energy_wh + gpu_energy_setup_wh) FROM TABLE", "results")
        whole, rest, co2, local = ask(
            "SELECT total_gpu_energy_wh, gpu_energy_unattributed_wh, co2_emissions_g, "
            "metrics_dataset FROM TABLE",
            "leaderboard",
        )
        assert tests == pytest.approx(whole, rel=1e-12)
        assert whole + rest == pytest.approx(sum(devices.values()), rel=1e-6)
        assert whole > 0.5 * sum(devices.values())
        assert co2 == pytest.approx(whole / 1000 * 475, rel=1e-12)
        assert local == f"local:{directory.name}"
        last = ask(
            "SELECT last(gpu_energy_wh ORDER BY timestamp_unix_nano), "
            "last(co2_emissions_gco2e ORDER BY timestamp_unix_nano), "
            "first(gpu_energy_wh ORDER BY timestamp_unix_nano), min(gpu_count), "
            "max(gpu_power_watts) FROM TABLE",
            "metrics",
        )
        assert last == (whole, co2, 0.0, 2, pytest.approx(800.0, rel=0.01))
        each = ask(
            "SELECT count(DISTINCT gpu_uuid), count(*) - 2 * count(DISTINCT timestamp_unix_nano) "
            "FROM TABLE",
            "metrics/per_gpu",
        )
        assert each == (2, 0)
