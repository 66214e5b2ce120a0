"""Drivers, GPUs and disks in trouble: what is blank in the samples, and what is said about it."""

import resource
import shutil
import signal
import time

import numpy as np
import pynvml
import pytest

from tests.gpu.driver import ROUTES
from tests.gpu.sampler_child import FAILED, FIELDS, REOPENED, Samples, file, sampled, start

__all__ = ["file", "sampled", "start"]

LOST = pynvml.NVML_ERROR_GPU_IS_LOST
UNKNOWN = pynvml.NVML_ERROR_UNKNOWN
VALUES = {"power": 250, "utilization": 40, "temperature": 60, "memory": 1000}


@pytest.fixture
def gpus(driver):
    """Let the machine have two GPUs that tell everything."""
    uuids = driver.has_equal(2)
    for gpu in range(2):
        driver.power(gpu, VALUES["power"])
        driver.utilization(gpu, VALUES["utilization"])
        driver.temperature(gpu, VALUES["temperature"])
        driver.memory(gpu, VALUES["memory"])
    return uuids


def blank(samples, slot):
    """Return the fields that no record of a device tells; the others are as they should be."""
    rows = samples.of(slot)
    assert len(rows) >= 2
    for field, value in VALUES.items():
        found = rows[field][~np.isnan(rows[field])]
        assert set(found) <= {value}
    return {field for field in FIELDS if np.isnan(rows[field]).all()}


def flags(samples, slot):
    """Return the flags and the codes of the records of a device."""
    found = samples.of(slot)["flags"]
    return found & 0xFF, found >> 8


def power_of(samples):
    return [entry["power"] for entry in samples.header["devices"]]


# Values that a device does not tell


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION])
@pytest.mark.parametrize("field", FIELDS)
def test_a_value_that_one_gpu_does_not_tell(driver, gpus, sampled, field, code):
    driver.lacks(field, 1, code)
    samples, child = sampled(gpus, 0.7)
    assert blank(samples, 0) == set()
    assert blank(samples, 1) == {field}
    assert not samples.records["flags"].any()
    assert power_of(samples) == ["instant", None if field == "power" else "instant"]
    name = {3: "NOT_SUPPORTED", 4: "NO_PERMISSION"}[code]
    assert child.heard[-1]["problems"] == [f"no {field} of GPU 1 (Fake H100): {name}"]
    asked = driver.device_calls[child.pid]
    for function in ROUTES[field]:
        # Once is enough; the driver's listing asks for the size of the memory too.
        assert asked[function, 1] <= (2 if field == "memory" else 1)


def test_one_line_for_a_cause_that_gpus_share(driver, gpus, sampled):
    driver.lacks("energy")
    driver.lacks("temperature", 0)
    _, child = sampled(gpus)
    assert child.heard[-1]["problems"] == [
        "no energy of GPU 0 (Fake H100), GPU 1 (Fake H100): NOT_SUPPORTED",
        "no temperature of GPU 0 (Fake H100): NOT_SUPPORTED",
    ]


SYMBOLS = {
    "nvmlDeviceGetFieldValues": set(),
    "nvmlDeviceGetPowerUsage": set(),
    "nvmlDeviceGetTotalEnergyConsumption": set(),
    "nvmlDeviceGetArchitecture": set(),
    "nvmlDeviceGetUtilizationRates": {"utilization"},
    "nvmlDeviceGetTemperatureV": set(),
    "nvmlDeviceGetTemperature": set(),
    "nvmlDeviceGetMemoryInfo_v2": set(),
    "nvmlDeviceGetMemoryInfo": set(),
    "nvmlDeviceGetName": set(),
    "nvmlDeviceGetMigMode": set(),
    "nvmlDeviceGetMaxMigDeviceCount": set(),
    "nvmlSystemGetDriverVersion": set(),
    "nvmlShutdown": set(),
    "nvmlErrorString": set(),
}
"""Function that an older driver lacks -> what is blank without it."""


@pytest.mark.parametrize(("symbol", "expected"), SYMBOLS.items(), ids=SYMBOLS)
def test_a_driver_that_lacks_a_function(driver, gpus, sampled, symbol, expected):
    driver.without(symbol)
    samples, child = sampled(gpus)
    assert blank(samples, 0) == blank(samples, 1) == expected
    assert not samples.records["flags"].any()
    names = {entry["name"] for entry in samples.header["devices"]}
    both = ", ".join(f"GPU {place} ({next(iter(names))})" for place in range(2))
    problems = [f"no {field} of {both}: FUNCTION_NOT_FOUND" for field in expected]
    assert child.heard[-1]["problems"] == problems
    # Readings of power then mean something else on this card.
    meaning = "average" if symbol == "nvmlDeviceGetFieldValues" else "instant"
    assert power_of(samples) == [meaning] * 2


@pytest.mark.parametrize(
    ("missing", "field"),
    [
        (("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"), "temperature"),
        (("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMemoryInfo"), "memory"),
        (("nvmlDeviceGetFieldValues", "nvmlDeviceGetPowerUsage"), "power"),
        (("nvmlDeviceGetFieldValues", "nvmlDeviceGetTotalEnergyConsumption"), "energy"),
    ],
    ids=["temperature", "memory", "power", "energy"],
)
def test_a_driver_that_lacks_both_functions_of_a_value(driver, gpus, sampled, missing, field):
    driver.without(*missing)
    samples, child = sampled(gpus)
    assert blank(samples, 0) == blank(samples, 1) == {field}
    both = "GPU 0 (Fake H100), GPU 1 (Fake H100)"
    assert child.heard[-1]["problems"] == [f"no {field} of {both}: FUNCTION_NOT_FOUND"]


@pytest.mark.parametrize("symbol", ["nvmlInitWithFlags", "nvmlDeviceGetCount_v2"])
def test_a_driver_that_lacks_what_is_always_needed(driver, gpus, start, symbol):
    driver.without(symbol)
    told = start().hear()
    assert (told["vendor"], told["devices"]) == ("nvidia", None)
    assert "FUNCTION_NOT_FOUND" in told["problem"]


@pytest.mark.parametrize(
    ("name", "architecture", "expected"),
    [
        ("Tesla V100", 5, "instant"),
        ("Tesla T4", 6, "instant"),
        ("NVIDIA A100-SXM4-80GB", 7, "instant"),
        ("NVIDIA A30", 7, "instant"),
        ("NVIDIA A10", 7, "average"),
        ("NVIDIA RTX A3000", 7, "average"),
        ("NVIDIA GeForce RTX 3090", 7, "average"),
        ("NVIDIA L4", 8, "average"),
        ("NVIDIA H100", 9, "average"),
        ("NVIDIA B200", 10, "average"),
        ("a card that came later", 0xFFFFFFFF, "average"),
    ],
)
def test_what_power_readings_mean(driver, sampled, name, architecture, expected):
    uuids = driver.has(name)
    driver.power(0, 250)
    driver.memory(0, VALUES["memory"])
    driver.architecture(0, architecture)
    driver.lacks("power_instant")
    samples, child = sampled(uuids)
    assert power_of(samples) == [expected]
    assert "power" not in blank(samples, 0)
    assert not any(line.startswith("no power") for line in child.heard[-1]["problems"])


def test_a_value_that_fails_now_and_then(driver, gpus, sampled):
    """It is blank as long as it fails, never what it was before."""
    driver.start_at(time.monotonic_ns() + 2_000_000_000)
    driver.fault("field:83", UNKNOWN, 1, 0.0, 1.0)
    driver.fault("nvmlDeviceGetUtilizationRates", UNKNOWN, 1, 0.0, 1.0)
    samples, child = sampled(gpus, 4)
    rows = samples.of(1)
    assert not rows["flags"].any()
    assert not np.isnan(rows["power"]).any()
    times = driver_seconds(driver, rows)
    in_trouble = (times > 0.01) & (times < 0.99)
    assert 8 <= in_trouble.sum() <= 10
    assert np.isnan(rows["energy"][in_trouble]).all()
    assert np.isnan(rows["utilization"][in_trouble]).all()
    calm = (times < -0.05) | (times > 1.05)
    assert not np.isnan(rows["energy"][calm]).any()
    assert (rows["utilization"][times > 1.05] == VALUES["utilization"]).sum() >= 1
    assert child.heard[-1]["problems"] == [
        "no energy of GPU 1 (Fake H100): UNKNOWN",
        "no utilization of GPU 1 (Fake H100): UNKNOWN",
    ]


def driver_seconds(driver, rows):
    return np.array([driver.seconds(int(one)) for one in rows["mono_ns"]])


# Drivers that do not answer


def test_no_library(no_driver, monkeypatch, start):
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    child = start()
    told = child.hear()
    if told["vendor"] is not None:
        pytest.skip("this machine has a driver of its own")
    assert told == {"vendor": None, "driver": None, "problem": None, "devices": None}
    child.process.stdin.close()
    assert child.process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("function", "code", "problem"),
    [
        ("nvmlInitWithFlags", 9, "the NVIDIA driver is not loaded"),
        ("nvmlInitWithFlags", 999, "the NVIDIA driver cannot be opened (UNKNOWN)"),
        (
            "nvmlInitWithFlags",
            18,
            "the NVIDIA driver was updated while it is loaded: restart the machine",
        ),
        ("nvmlDeviceGetCount_v2", 999, "the NVIDIA driver does not list its GPUs (UNKNOWN)"),
    ],
)
def test_a_driver_that_cannot_be_asked(driver, start, function, code, problem):
    driver.fault(function, code)
    told = start().hear()
    expected = {"vendor": "nvidia", "driver": None, "problem": problem, "devices": None}
    assert told == expected


def test_a_machine_without_a_gpu(driver, start):
    told = start().hear()
    assert (told["vendor"], told["problem"], told["devices"]) == ("nvidia", None, [])


# GPUs that are out of reach


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (LOST, "GPU_IS_LOST"),
        (pynvml.NVML_ERROR_RESET_REQUIRED, "RESET_REQUIRED"),
        (pynvml.NVML_ERROR_TIMEOUT, "TIMEOUT"),
        (UNKNOWN, "UNKNOWN"),
    ],
)
def test_a_gpu_that_fails_for_ever(driver, gpus, sampled, code, name):
    begin = time.monotonic_ns() + 1_500_000_000
    driver.start_at(begin)
    driver.fault("*", code, 1, 0.0, 1e9)
    samples, child = sampled(gpus, 3.5)
    untouched(samples)
    rows = samples.of(1)
    assert rows["tick"].tolist() == samples.ticks.tolist()
    state, codes = flags(samples, 1)
    failed = rows["mono_ns"] > begin
    assert failed.any()
    assert (state[failed] == FAILED).all()
    assert set(codes[failed]) == {min(code, 255)}
    assert not state[~failed].any()
    for field in FIELDS:
        assert np.isnan(rows[field][failed]).all()
    number = int((state == FAILED).sum())
    (line,) = child.heard[-1]["problems"]
    total = len(rows)
    expected = f"GPU 1 (Fake H100) could not be read in {number} of {total} samples: {name}"
    assert line == expected
    # A device that does not answer is not asked at each tick.
    late = [one for one in driver.log if one.gpu == 1 and driver.seconds(one.ns) > 0]
    assert len(late) <= 12


def untouched(samples):
    rows = samples.of(0)
    assert blank(samples, 0) == set()
    assert not rows["flags"].any()
    assert not np.isnan(rows["energy"]).any()
    assert rows["tick"].tolist() == samples.ticks.tolist()


def test_a_gpu_that_comes_back(driver, gpus, sampled):
    begin = time.monotonic_ns() + 1_500_000_000
    driver.start_at(begin)
    driver.lost(1, 0.0, 1.5)
    samples, child = sampled(gpus, 5)
    untouched(samples)
    rows = samples.of(1)
    state, codes = flags(samples, 1)
    times = driver_seconds(driver, rows)
    (failed,) = np.nonzero(state == FAILED)
    # Opened again at the first attempt of one a second after it is there again.
    assert 0 <= times[failed[0]] < 0.15
    assert 1.4 < times[failed[-1]] < 2.8
    assert failed.tolist() == list(range(failed[0], failed[-1] + 1))
    assert set(codes[failed]) == {LOST}
    (back,) = np.nonzero(state == REOPENED)
    assert back.tolist() == [failed[-1] + 1]
    # All is read at once when it is there again.
    for field, value in VALUES.items():
        assert rows[field][back] == value
    good = state != FAILED
    energy = rows["energy"][good]
    assert not np.isnan(energy).any()
    assert (np.diff(energy) >= 0).all()
    (line,) = child.heard[-1]["problems"]
    assert f"in {len(failed)} of {len(rows)} samples: GPU_IS_LOST" in line


def test_a_gpu_that_the_driver_does_not_list(driver, gpus, sampled):
    driver.fault("*", LOST, 1, -1e9, 1e9)
    # A handle by UUID is of no GPU yet for the driver.
    samples, child = sampled(gpus, 0.3)
    untouched(samples)
    assert [gpu["index"] for gpu in child.heard[0]["devices"]] == [0]
    entry = samples.header["devices"][1]
    assert (entry["uuid"], entry["index"], entry["power"]) == (gpus[1], None, None)
    state, codes = flags(samples, 1)
    assert set(state) == {FAILED}
    assert set(codes) == {LOST}
    assert blank(samples, 1) == set(FIELDS)
    (line,) = child.heard[-1]["problems"]
    assert line.startswith(f"GPU {gpus[1]} could not be read in ")


def test_a_uuid_that_nobody_has(driver, gpus, sampled):
    samples, _child = sampled([gpus[0], "GPU-nobody"], 0.3)
    untouched(samples)
    state, codes = flags(samples, 1)
    assert set(state) == {FAILED}
    assert set(codes) == {pynvml.NVML_ERROR_NOT_FOUND}


def test_instances_are_lost_with_their_gpu(driver, sampled):
    driver.has_equal(1)
    driver.power(0, 250)
    (part,) = driver.partition(0, 10240)
    begin = time.monotonic_ns() + 1_500_000_000
    driver.start_at(begin)
    driver.fault("nvmlDeviceGetFieldValues", LOST, 0, 0.0, 1e9)
    samples, _child = sampled([part], 2.5)
    for slot in range(2):
        rows = samples.of(slot)
        state, codes = flags(samples, slot)
        assert ((state == FAILED) == (rows["mono_ns"] > begin)).all()
        assert set(codes) == {0, LOST}


def test_a_counter_that_restarts_is_written_as_it_is(driver, gpus, sampled):
    driver.start_at(time.monotonic_ns() + 1_500_000_000)
    driver.reset(0, 0.0)
    samples, _child = sampled(gpus, 2.5)
    energy = samples.of(0)["energy"]
    assert (np.diff(energy) < 0).sum() == 1
    assert not samples.of(0)["flags"].any()


def test_a_driver_that_hangs_can_be_given_up(driver, gpus, start, file):
    driver.start_at(time.monotonic_ns() + 1_500_000_000)
    driver.hang("nvmlDeviceGetFieldValues", 0, 0.0, 1e9)
    child = start()
    child.hear()
    child.order(file, gpus)
    child.hear()
    time.sleep(2)
    child.process.stdin.close()
    time.sleep(0.5)
    assert child.process.poll() is None
    child.process.kill()
    child.process.wait(timeout=10)
    # What was written before is whole.
    samples = Samples(file)
    assert len(samples.ticks) >= 2
    assert not samples.records["flags"].any()


# The process and its file


def test_a_process_that_was_stopped(driver, gpus, sampled):
    def stop(child):
        child.process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        child.process.send_signal(signal.SIGCONT)

    samples, child = sampled(gpus, 0.5, meanwhile=stop)
    last = child.heard[-1]
    gaps = np.diff(samples.ticks) - 1
    assert 8 <= gaps.max() <= 10
    assert last["missed"] == gaps.sum()
    assert last["ticks"] + last["missed"] == samples.ticks[-1] + 1
    rows = samples.of(0)
    header = samples.header
    due = header["started_mono_ns"] + rows["tick"].astype(int) * header["period_ns"]
    assert (rows["mono_ns"] >= due).all()
    assert last["problems"] == []


def test_a_full_disk_at_the_start(driver, gpus, start):
    child = start()
    child.hear()
    child.order("/dev/full", gpus)
    assert child.hear() == {"problem": "cannot write /dev/full: No space left on device"}
    assert child.process.wait(timeout=20) == 0


def test_a_disk_that_fills_up(driver, gpus, start, file, monkeypatch):
    monkeypatch.delenv("FAKE_NVML_LOG")  # it would not fit either
    limit = 1500

    def restrict():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    child = start(preexec_fn=restrict)
    child.hear()
    child.order(file, gpus)
    child.hear()
    time.sleep(1.5)
    last = child.end()
    samples = Samples(file)  # whole records
    assert limit - 128 < file.stat().st_size <= limit
    assert last["ticks"] == len(samples.ticks)
    assert last["missed"] >= 3
    assert last["ticks"] + last["missed"] in (16, 17, 18)
    (line,) = last["problems"]
    assert f"could not be written to {file}: File too large" in line


def test_a_folder_that_is_removed(driver, gpus, start, tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    file = folder / "a.samples"
    child = start()
    child.hear()
    child.order(file, gpus)
    child.hear()
    shutil.rmtree(folder)
    time.sleep(0.2)
    assert child.end()["problems"] == [f"{file} was removed while it was written"]
