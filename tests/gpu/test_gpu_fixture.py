"""What a test sees of the GPUs through the fixture `smoltrace_gpu`."""

import json

import pytest

from tests.gpu.sampled_sessions import gpus, session

__all__ = ["gpus", "session"]

SOURCE = """
import json, time
import pytest

@pytest.mark.parametrize("n", range(2))
def test_case(ask, smoltrace_case, smoltrace_gpu, n):
    time.sleep(1.2)
    now = time.monotonic_ns()
    seen = smoltrace_gpu.samples(1.0)
    fields = seen[0].__slots__ if seen else ()
    smoltrace_case.extra["gpu"] = {
        "state": smoltrace_gpu.state,
        "measures": smoltrace_gpu.is_measuring,
        "gpus": smoltrace_gpu.gpus,
        "age_s": [(now - one.monotonic_ns) / 1e9 for one in seen],
        "samples": [{name: getattr(one, name) for name in fields} for one in seen],
        "all": len(smoltrace_gpu.samples()),
        "none": len(smoltrace_gpu.samples(0)),
    }
    ask("answer yes")

def test_read_only(smoltrace_gpu):
    for name in ("state", "is_measuring", "gpus"):
        with pytest.raises(AttributeError):
            setattr(smoltrace_gpu, name, "mine")
    for one in smoltrace_gpu.samples():
        with pytest.raises(AttributeError):
            one.power_w = 0.0
"""
WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one", "two"])


def seen(done):
    """Return what each case saw."""
    rows = done.run.results.values()
    return [json.loads(row["extra"])["gpu"] for row in rows if "gpu" in (row["extra"] or "")]


@WORKERS
def test_samples_of_the_last_second(session, gpus, workers):
    done = session(*workers, source=SOURCE)
    assert done.run.ret == 0, done.run.out
    assert len(seen(done)) == 2
    for found in seen(done):
        assert found["state"] == "measuring"
        assert found["measures"] is True
        assert found["gpus"] == gpus
        # Two GPUs, ten times a second; a loaded machine may miss some.
        assert 8 <= len(found["samples"]) <= 22
        assert found["age_s"] == sorted(found["age_s"], reverse=True)
        assert found["age_s"][0] < 1.01
        assert found["age_s"][-1] < 0.6
        assert found["all"] >= len(found["samples"])
        assert found["none"] == 0
        for place, one in enumerate(gpus):
            mine = [sample for sample in found["samples"] if sample["gpu_uuid"] == one]
            assert {sample["gpu_id"] for sample in mine} == {place}
            assert {sample["gpu_name"] for sample in mine} == {"Fake H100"}
            assert {sample["power_w"] for sample in mine} == {100.0 * (place + 1)}
            energies = [sample["energy_mj"] for sample in mine]
            assert energies == sorted(energies)
            assert energies[0] < energies[-1]
            # What changes slowly is read twice a second.
            assert {sample["utilization_percent"] for sample in mine} == {None, 40 + place}
            assert {sample["temperature_celsius"] for sample in mine} == {None, 60 + place}
            assert {sample["memory_used_mib"] for sample in mine} == {None, 1000 + place}


@WORKERS
def test_off(session, gpus, workers):
    done = session("--smoltrace-gpu=off", *workers, source=SOURCE)
    assert done.run.ret == 0, done.run.out
    for found in seen(done):
        assert found == {
            "state": "off: --smoltrace-gpu=off",
            "measures": False,
            "gpus": [],
            "age_s": [],
            "samples": [],
            "all": 0,
            "none": 0,
        }


@WORKERS
def test_it_says_why_nothing_is_measured(session, driver, workers):
    done = session(*workers, source=SOURCE)
    assert {found["state"] for found in seen(done)} == {"off: the driver lists no GPU"}


def test_an_instance_of_a_partitioned_gpu(session, driver, monkeypatch):
    (whole,) = driver.has("Fake H100")
    (part,) = driver.partition(0, 4864)
    driver.power(0, 123)
    driver.memory(0, 321, instance=0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", part)
    done = session(source=SOURCE)
    assert done.run.ret == 0, done.run.out
    for found in seen(done):
        assert found["gpus"] == [whole, part]
        powers = {one["gpu_uuid"]: one["power_w"] for one in found["samples"]}
        assert powers == {whole: 123.0, part: None}
        memory = {one["memory_used_mib"] for one in found["samples"] if one["gpu_uuid"] == part}
        assert memory == {None, 321.0}


def test_a_gpu_that_fails_has_no_samples(session, driver, gpus):
    driver.fault("nvmlDeviceGetHandleByUUID", 15, 1)
    done = session(source=SOURCE)
    for found in seen(done):
        assert {one["gpu_uuid"] for one in found["samples"]} == {gpus[0]}
        assert found["gpus"] == gpus


def test_an_inactive_session_skips_it(suite, driver, gpus):
    run = suite("-rs", source="def test_one(smoltrace_gpu): pass", model=None)
    assert run.ret == 0
    assert "1 skipped" in run.out
    assert "--smoltrace-model" in run.out
    assert driver.calls == {}


ALONE = """
def test_alone(smoltrace_gpu):
    assert smoltrace_gpu.state.startswith("off: "), smoltrace_gpu.state
    assert not smoltrace_gpu.is_measuring
    assert smoltrace_gpu.samples() == ()
"""


@pytest.mark.usefixtures("gpus")
def test_a_session_without_a_case_says_why_nothing_is_measured(suite):
    done = suite(source=ALONE)
    assert done.ret == 0, done.out
