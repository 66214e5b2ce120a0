"""The process that reads GPUs: what it says and hears, what it writes, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pynvml
import pytest

from pytest_smoltrace.sampler import record
from tests.gpu.curves import Sine
from tests.gpu.sampler_child import (
    COMMAND,
    FIELDS,
    PROCESS,
    PROGRAM,
    RECORD,
    Samples,
    file,
    sampled,
    start,
)

__all__ = ["file", "sampled", "start"]

FARAWAY_PID = 2**22 + 7
"""No process of Linux has it."""


def is_running(pid):
    """Return whether a process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for_end(pid, within_s=3):
    deadline = time.monotonic() + within_s
    while is_running(pid):
        assert time.monotonic() < deadline, "the sampler goes on"
        time.sleep(0.02)


@pytest.fixture
def gpus(driver):
    """Let the machine have two GPUs that tell everything."""
    uuids = driver.has_equal(2)
    for gpu in range(2):
        driver.power(gpu, 100 * (gpu + 1))
        driver.utilization(gpu, 40 + gpu)
        driver.temperature(gpu, 60 + gpu)
        driver.memory(gpu, 1000 + gpu)
    return uuids


# Lines


def test_the_lines_of_a_session(driver, gpus, start, file):
    child = start()
    told = child.hear()
    assert told["vendor"] == "nvidia"
    assert told["driver"] == "570.00"
    assert told["problem"] is None
    assert [gpu["uuid"] for gpu in told["devices"]] == gpus
    before = time.monotonic_ns()
    child.order(file, gpus)
    ready = child.hear()
    assert before < ready["ready"] < time.monotonic_ns()
    assert len(file.read_bytes().partition(b"\n")[2]) >= 2 * RECORD.itemsize
    last = child.end()
    assert last == {"ticks": last["ticks"], "missed": last["missed"], "problems": []}
    assert last["ticks"] >= 2  # one at once, one after the end


def test_the_header(driver, gpus, sampled):
    before = time.monotonic_ns()
    samples, child = sampled(gpus, 0, period_s=0.25, clock="c", host=None)
    header = dict(samples.header)
    assert before < header.pop("started_mono_ns") < child.heard[1]["ready"]
    now = time.time_ns() - time.monotonic_ns()
    assert abs(header.pop("wall_offset_ns") - now) < 50_000_000
    assert header.pop("devices") == [
        {
            "uuid": one,
            "index": place,
            "name": "Fake H100",
            "memory_mib": 16384,
            "parent": None,
            "power": "instant",
        }
        for place, one in enumerate(gpus)
    ]
    assert header == {
        "format": 1,
        "clock": "c",
        "host": None,
        "vendor": "nvidia",
        "driver": "570.00",
        "period_ns": 250_000_000,
    }


def test_the_listing_of_a_partitioned_gpu(driver, start):
    driver.has("Fake H100", "Fake A100")
    parts = driver.partition(1, 10240, 20480)
    child = start()
    told = child.hear()
    assert [gpu["mig"] for gpu in told["devices"]] == [
        None,
        [
            {
                "uuid": part,
                "memory_bytes": mib * 2**20,
                "gpu_instance": place + 1,
                "compute_instance": 0,
            }
            for place, (part, mib) in enumerate(zip(parts, (10240, 20480), strict=True))
        ],
    ]
    child.process.stdin.close()
    assert child.process.wait(timeout=20) == 0


def test_no_order(driver, start, file):
    driver.has_equal(1)
    child = start()
    child.hear()
    child.process.stdin.write('{"file":')  # its parent died while it wrote
    child.process.stdin.close()
    assert child.process.wait(timeout=20) == 0
    assert child.process.stdout.read() == child.process.stderr.read() == ""
    (calls,) = driver.calls.values()
    assert calls["nvmlInitWithFlags"] == calls["nvmlShutdown"] == 1


def test_a_file_that_cannot_be_made(driver, gpus, tmp_path, start, file):
    child = start()
    child.hear()
    file = tmp_path / "missing" / "a.samples"
    child.order(file, gpus)
    assert child.hear() == {"problem": f"cannot write {file}: No such file or directory"}
    assert child.process.wait(timeout=20) == 0


def test_a_file_of_somebody_else(driver, gpus, start, file):
    file.write_text("mine")
    child = start()
    child.hear()
    child.order(file, gpus)
    assert child.hear() == {"problem": f"cannot write {file}: it is not empty"}
    assert child.process.wait(timeout=20) == 0
    assert file.read_text() == "mine"


# Samples


def test_the_record_is_what_the_package_reads():
    assert record.RECORD.size == RECORD.itemsize == 64
    packed = record.RECORD.pack(1, 2, 3, 4, 5, 6, *range(7, 12))
    assert np.frombuffer(packed, RECORD)[0].item() == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)


def test_every_tick_is_in_the_file_and_in_the_log_of_the_driver(driver, gpus, sampled):
    samples, child = sampled(gpus, 3)
    last = child.heard[-1]
    header = samples.header
    end = samples.records["mono_ns"].max()
    due = (end - header["started_mono_ns"]) // header["period_ns"] + 1
    assert last["ticks"] + last["missed"] == due
    assert len(samples.ticks) == last["ticks"]
    assert samples.ticks[-1] == due - 1
    assert due in (31, 32, 33)
    for slot in range(2):
        rows = samples.of(slot)
        assert rows["tick"].tolist() == samples.ticks.tolist()
        # The first call finds out what the driver gives.
        asked = driver.device_calls[child.pid]["nvmlDeviceGetFieldValues", slot]
        assert asked == last["ticks"] + 1
        late = (
            rows["mono_ns"]
            - header["started_mono_ns"]
            - rows["tick"].astype(int) * header["period_ns"]
        )
        assert late.min() >= 0
        assert not rows["flags"].any()
    assert list(driver.calls) == [child.pid]


def test_the_values_are_those_of_the_driver(driver, gpus, start, file):
    driver.power(0, Sine(300, 100, 0.7))
    clock = driver.clock
    child = start()
    child.hear()
    child.order(file, gpus)
    child.hear()
    clock.advance(10.25)
    time.sleep(0.4)
    clock.advance(7.07)
    time.sleep(0.4)
    child.end()
    samples = Samples(file)
    seen = samples.known("energy", 0)
    # The clock of the driver stands still but for two leaps.
    expected = [driver.counter_mj(0, t) for t in (0, 10.25, 17.32)]
    assert sorted(set(seen["energy"])) == expected
    powers = {driver.counter_mj(0, t): driver.instant_w(0, t) for t in (0, 10.25, 17.32)}
    for row in seen:
        assert row["power"] == pytest.approx(powers[row["energy"]], abs=0.001)
    assert set(samples.of(1)["power"]) == {200}


def test_what_changes_slowly_is_read_twice_a_second(driver, gpus, sampled):
    samples, child = sampled(gpus, 2.2)
    assert not np.isnan(samples.of()["power"]).any()
    for field, value in (("utilization", 40), ("temperature", 60), ("memory", 1000)):
        known = samples.known(field)
        assert set(known[field]) == {value}
        ticks = known["tick"].tolist()
        assert ticks[0] == 0
        assert ticks[-1] == samples.ticks[-1]
        # The first of every five ticks that is not missed, and the last.
        firsts = {tick // 5: tick for tick in reversed(samples.ticks.tolist())}
        assert set(ticks) == {*firsts.values(), ticks[-1]}
    calls = driver.device_calls[child.pid]
    assert calls["nvmlDeviceGetUtilizationRates", 1] == len(samples.known("utilization", 1))


def test_only_the_gpus_of_the_order_are_read(driver, gpus, sampled):
    samples, child = sampled(gpus[1:], 0)
    assert [entry["index"] for entry in samples.header["devices"]] == [1]
    assert set(samples.of(0)["power"]) == {200}
    assert driver.device_calls[child.pid]["nvmlDeviceGetFieldValues", 0] == 0


def test_instances_of_a_partitioned_gpu(driver, sampled):
    first, second = driver.has("Fake H100", "Fake H100")
    driver.power(1, 350)
    driver.lacks("utilization", 1)
    driver.temperature(1, 70)
    parts = driver.partition(1, 10240, 20480)
    for place in range(2):
        driver.memory(1, 100 + place, instance=place)
    samples, child = sampled([parts[1], first, parts[0]], 0)
    entries = [(one["uuid"], one["parent"], one["power"]) for one in samples.header["devices"]]
    # The GPU stands before the first of its instances.
    assert entries[:2] == [(second, None, "instant"), (parts[1], 0, None)]
    assert [one["memory_mib"] for one in samples.header["devices"]] == [16384, 20480, 16384, 10240]
    assert entries[3] == (parts[0], 0, None)
    assert set(samples.of(0)["power"]) == {350}
    for slot, used in ((1, 101), (3, 100)):
        rows = samples.of(slot)
        assert set(rows["memory"]) == {used}
        assert not rows["flags"].any()
        for field in ("power", "energy", "utilization", "temperature"):
            assert np.isnan(rows[field]).all()
    # That a partitioned GPU does not tell its utilization is as it should be.
    assert [line for line in child.heard[-1]["problems"] if "GPU 1" in line] == []


# Processes


@pytest.fixture
def worker():
    """Return a child of this process and a child of that: a worker and what it started."""
    program = "sleep 60 & echo $!; wait"
    with subprocess.Popen(
        ("sh", "-c", program), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        yield process.pid, int(process.stdout.readline())
        os.killpg(process.pid, signal.SIGKILL)


def used(samples, slot):
    """Return pid -> owner and percent, as the records of processes say."""
    rows = samples.of(slot, PROCESS)
    for field in ("power", "temperature", "memory"):
        assert np.isnan(rows[field]).all()
    return {int(row["pid"]): (int(row["energy"]), row["utilization"]) for row in rows}


@pytest.mark.parametrize(
    "trouble",
    [
        (),
        ("nvmlDeviceGetProcessUtilization", pynvml.NVML_ERROR_NOT_SUPPORTED),
        ("nvmlDeviceGetProcessUtilization", pynvml.NVML_ERROR_NOT_FOUND),
        ("nvmlDeviceGetProcessesUtilizationInfo", pynvml.NVML_ERROR_NOT_SUPPORTED),
    ],
    ids=["both calls", "the newer call", "nobody by the older call", "the older call"],
)
def test_the_processes_of_workers(driver, gpus, worker, trouble, sampled):
    pid, child_of_worker = worker
    if trouble:
        driver.fault(*trouble)
    driver.processes(
        (0, pid, 30), (0, child_of_worker, 50), (1, os.getpid(), 20), (1, FARAWAY_PID, 10)
    )
    samples, _ = sampled(gpus, 1.3, processes=True)
    assert used(samples, 0) == {pid: (pid, 30), child_of_worker: (pid, 50)}
    assert used(samples, 1) == {os.getpid(): (os.getpid(), 20), FARAWAY_PID: (0, 10)}
    rows = samples.of(0, PROCESS)
    assert set(rows["tick"]) <= set(samples.ticks)
    # Once a second and at the end; the first time shows what was before.
    assert [tick // 10 for tick in sorted(set(rows["tick"]))] == [1, 1]
    assert rows["tick"].max() == samples.ticks[-1]
    assert not rows["flags"].any()


def test_processes_only_while_they_are_busy(driver, gpus, sampled):
    """The driver keeps what it sampled for ten seconds."""
    driver.start_at(time.monotonic_ns() + 2_000_000_000)
    before, until_then, from_then = range(FARAWAY_PID, FARAWAY_PID + 3)
    driver.process(0, before, 60, start=-8.0, end=-2.5)
    driver.process(0, until_then, 50, start=-8.0, end=1.0)
    driver.process(0, from_then, 40, start=1.0, end=100.0)
    samples, _ = sampled(gpus, 4.5, processes=True)
    rows = samples.of(0, PROCESS)
    seen = {
        pid: [driver.seconds(int(row["mono_ns"])) for row in rows if row["pid"] == pid]
        for pid in (before, until_then, from_then)
    }
    assert seen[before] == []
    assert 1 <= len(seen[until_then]) <= 4
    assert max(seen[until_then]) < 2.2
    assert 1 <= len(seen[from_then]) <= 4
    assert min(seen[from_then]) > 1


def test_processes_only_where_asked_for(driver, gpus, sampled):
    driver.processes((0, os.getpid(), 30))
    samples, child = sampled(gpus, 0)
    assert samples.of(0, PROCESS).size == 0
    assert "nvmlDeviceGetProcessUtilization" not in driver.calls[child.pid]


@pytest.mark.parametrize("gone", ["not supported", "lacking"])
def test_processes_that_the_driver_does_not_tell(driver, gpus, gone, sampled):
    calls = ("nvmlDeviceGetProcessUtilization", "nvmlDeviceGetProcessesUtilizationInfo")
    if gone == "lacking":
        driver.without(*calls)
    else:
        driver.lacks("processes")
    samples, child = sampled(gpus, 1.3, processes=True)
    assert samples.of(0, PROCESS).size == 0
    assert not samples.of()["flags"].any()
    assert child.heard[-1]["problems"] == []
    if gone != "lacking":
        assert driver.device_calls[child.pid][calls[0], 0] == 1  # not asked again


# The process


def imported(*arguments):
    """Return the modules that a Python imports until it ends, as it says itself."""
    done = subprocess.run(
        (sys.executable, "-v", *arguments), input="", capture_output=True, text=True, check=True
    )
    return set(re.findall(r"^import '([\w.]+)' #", done.stderr, re.MULTILINE))


def test_it_imports_the_standard_library_and_the_client_of_the_driver(driver):
    driver.has_equal(1)
    own = imported(*COMMAND[1:]) - imported("-P", "-c", "")
    names = {name.partition(".")[0] for name in own}
    assert {"smoltrace_sampler", "pynvml"} <= names
    assert names - set(sys.stdlib_module_names) == {"smoltrace_sampler", "pynvml"}


def test_the_folder_it_starts_in_shadows_nothing(driver, tmp_path, start):
    driver.has_equal(1)
    for name in ("json", "pynvml", "record", "select"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')")
    child = start(cwd=tmp_path)
    assert child.hear()["vendor"] == "nvidia"
    child.process.stdin.close()
    assert child.process.wait(timeout=20) == 0


def test_an_old_package_in_front_of_the_client(driver, tmp_path, monkeypatch, start):
    driver.has_equal(1)
    package = tmp_path / "pynvml"
    package.mkdir()
    # As in pynvml 11.5.3, whose package comes before the module of nvidia-ml-py.
    (package / "__init__.py").write_text("from .nvml import *\n")
    (package / "nvml.py").write_text("def nvmlInit(): pass\ndef _nvmlGetFunctionPointer(): pass\n")
    info = tmp_path / "pynvml-11.5.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pynvml\nVersion: 11.5.3\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = start()
    assert child.hear() == {
        "vendor": "nvidia",
        "driver": None,
        "problem": "the package pynvml 11.5.3 hides nvidia-ml-py: pip uninstall pynvml",
        "devices": None,
    }
    child.order(tmp_path / "a.samples", [])
    assert child.hear() == {"problem": "no driver of a GPU answers"}
    assert child.process.wait(timeout=20) == 0
    assert "Traceback" not in child.process.stderr.read()


@pytest.mark.parametrize("warnings", ["", "error"])
def test_a_deprecated_package_warns_nobody(driver, tmp_path, monkeypatch, warnings, start):
    """pynvml 12 and 13 warn when the module is imported, and leave it as it is."""
    driver.has_equal(1)
    real = pynvml.__file__
    (tmp_path / "pynvml.py").write_text(
        "import warnings\n"
        "warnings.warn('The pynvml package is deprecated.', FutureWarning, stacklevel=2)\n"
        f"exec(compile(open({real!r}).read(), {real!r}, 'exec'))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", warnings)
    child = start()
    assert len(child.hear()["devices"]) == 1
    child.process.stdin.close()
    assert child.process.wait(timeout=20) == 0
    assert child.process.stderr.read() == ""


# Its end


def test_an_interrupt_of_the_terminal_does_not_end_it(driver, gpus, start, file):
    child = start()
    child.hear()
    child.process.send_signal(signal.SIGINT)
    child.order(file, gpus)
    child.hear()
    child.process.send_signal(signal.SIGINT)
    time.sleep(0.25)
    assert child.process.poll() is None
    assert child.end()["ticks"] >= 3


def test_sigterm_ends_it_after_a_last_sample(driver, gpus, start, file):
    child = start()
    child.hear()
    child.order(file, gpus, period_s=0.5)
    child.hear()
    signalled = time.monotonic_ns()
    child.process.terminate()
    last = child.farewell()
    samples = Samples(file)
    assert last["problems"] == []
    assert len(samples.ticks) == last["ticks"] == 2
    assert samples.of()["mono_ns"][-1] > signalled


@pytest.mark.parametrize("lacking", [("power_instant", "energy"), ("power_instant",)])
def test_averages_of_power_are_read_until_they_tell_of_the_end(driver, gpus, start, file, lacking):
    for quantity in lacking:
        driver.lacks(quantity)
    child = start()
    child.hear()
    child.order(file, gpus)
    child.hear()
    time.sleep(0.3)
    closed = time.monotonic_ns()
    child.end()
    samples = Samples(file).of()["mono_ns"]
    after = samples[samples > closed]
    if "energy" in lacking:
        assert after[-1] >= closed + 0.55e9
        assert len(after) >= 6
    else:
        assert 1 <= len(after) <= 3


PARENT = textwrap.dedent(
    """
    import json, os, subprocess, sys, time
    command, order, fork = json.loads(sys.argv[1])
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    child.stdout.readline()
    child.stdin.write(json.dumps(order) + "\\n")
    child.stdin.flush()
    child.stdout.readline()
    other = os.fork() if fork else 0
    if fork and not other:
        time.sleep(60)  # a process of a test that has inherited all pipes
        os._exit(0)
    print(child.pid, other, flush=True)
    time.sleep(60)
    """
)


@pytest.mark.parametrize("forked", [False, True], ids=["alone", "with a fork that lives on"])
def test_it_ends_when_its_parent_is_killed(driver, gpus, file, forked):
    order = {"file": str(file), "uuids": gpus, "period_s": 0.1, "clock": "c", "host": None}
    told = json.dumps([COMMAND, order | {"processes": False}, forked])
    with subprocess.Popen(
        (sys.executable, "-c", PARENT, told), stdout=subprocess.PIPE, text=True
    ) as parent:
        pid, other = map(int, parent.stdout.readline().split())
        assert is_running(pid)
        killed = time.monotonic_ns()
        parent.kill()
        try:
            wait_for_end(pid)
            assert not other or is_running(other)
        finally:
            if other:
                os.kill(other, signal.SIGKILL)
    samples = Samples(file)
    assert samples.of()["mono_ns"][-1] > killed


def test_the_program_is_a_file_of_the_package():
    assert PROGRAM.is_file()
    assert tuple(name.partition("_")[0] for name in record.FIELDS) == FIELDS
