"""GPUs of AMD through the sampling process, the vendor's client and the library of the tests."""

import importlib.util
import itertools
import json
import math
import shutil
import subprocess
import sys
import time

import pytest

from pytest_smoltrace.sampler.record import DEVICE, FAILED, FIELDS, RECORD, REOPENED
from tests.gpu.amd_machine import CHILD, AmdMachine, Child, build, unique_id, uuid
from tests.gpu.curves import Constant, Linear

if importlib.util.find_spec("amdsmi") is None:
    pytest.skip("needs the package amdsmi", allow_module_level=True)

MIB = 2**20
NOT_SUPPORTED, NO_PERMISSION, FILE_ERROR, BUSY, DRIVER_NOT_LOADED = 2, 10, 14, 30, 34
NO_DATA, NO_FILE = 40, 52
LIBRARY_NOT_FOUND = 12
FULL = ("used 0 4096", "activity 0 87", "edge 0 61", "power 0 500")
VALUES = {
    "power_w": 500.0,
    "utilization": 87.0,
    "temperature": 61.0,
    "memory_mib": 4096.0,
}
LOAD = f"""
import runpy
import sys
from importlib import import_module
runpy.run_path({str(CHILD)!r}, run_name="loaded")["_load_package"]()
amd = import_module("smoltrace_sampler.amd_driver")
"""
OPENED = (
    LOAD
    + """
from pathlib import Path
from smoltrace_sampler.device import UnavailableError
try:
    print(amd.open_driver(Path(sys.argv[1])))
except UnavailableError as error:
    print(error)
"""
)
SESSION = (
    LOAD
    + """
import json, mmap, struct
driver = amd.open_driver()
device = driver.device(driver.listed()[0]["uuid"], is_instance=False)
device.open()
with open(sys.argv[1], "r+b") as file, mmap.mmap(file.fileno(), 8) as clock:
    for tick in range(int(sys.argv[2])):
        clock[:] = struct.pack("=Q", tick * 100_000_000)
        values = [0.0] * 5
        device.read(values, every=tick % 5 == 0)
        print(json.dumps(values))
"""
)


@pytest.fixture(scope="session")
def compiler():
    found = shutil.which("cc")
    if sys.platform != "linux" or found is None:
        pytest.skip("needs Linux and a C compiler for the library of the tests")
    return found


@pytest.fixture(scope="session")
def rocm(compiler, tmp_path_factory):
    return build(tmp_path_factory.mktemp("rocm"), compiler)


@pytest.fixture
def machine(rocm, driver, tmp_path_factory, monkeypatch):
    """Return a machine without a driver of NVIDIA."""
    driver.has(lines=(f"fault * nvmlInitWithFlags {LIBRARY_NOT_FOUND}",))
    return AmdMachine(tmp_path_factory.mktemp("amd"), monkeypatch, rocm)


def sampled(path, uuids, seconds=0.3, *, period_s=0.02):
    """Sample for so long; return the header, the records of each device, and the last line."""
    child = Child()
    child.order(path, uuids, period_s)
    time.sleep(seconds)
    last = child.end()
    return (*parsed(path, uuids), last)


def parsed(path, uuids):
    """Return the header and the records of each device."""
    header, _, data = path.read_bytes().partition(b"\n")
    records = [record(found) for found in RECORD.iter_unpack(data)]
    assert all(one["kind"] == DEVICE for one in records)
    slots = [[one for one in records if one["slot"] == slot] for slot in range(len(uuids))]
    return json.loads(header), slots


def record(found):
    kind, slot, flags, tick, mono_ns, _, *values = found
    named = dict(zip(FIELDS, values, strict=True))
    return {"kind": kind, "slot": slot, "flags": flags, "tick": tick, "ns": mono_ns, **named}


def full(records):
    """Return the records with what is read at some ticks only."""
    return [one for one in records if not math.isnan(one["memory_mib"])]


def run(program, *arguments):
    done = subprocess.run(
        (sys.executable, "-P", "-c", program, *map(str, arguments)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SIZES = {
    "amdsmi_asic_info_t": 896,
    "amdsmi_power_info_t": 192,
    "amdsmi_engine_usage_t": 64,
    "amdsmi_driver_info_t": 768,
    "amdsmi_enumeration_info_t": 272,
}


def test_the_client_has_the_types_of_the_library(machine):
    """The library asserts the same sizes when it is compiled."""
    program = """
import ctypes, json, sys
from amdsmi import amdsmi_wrapper as types
print(json.dumps([ctypes.sizeof(getattr(types, name)) for name in sys.argv[1:]]))
"""
    assert json.loads(run(program, *SIZES)) == list(SIZES.values())


# What the process says at its start


def listed(expected_vendor="amd"):
    child = Child()
    child.end()
    assert child.listing["vendor"] == expected_vendor
    return child.listing


def test_the_gpus_are_listed_as_hip_counts_them(machine):
    machine.has("AMD Instinct MI300X", "AMD Radeon PRO W7900", mib=49152)
    machine.says("hip 0 1", "hip 1 0", "driver 6.10.5")
    memory = 49152 * MIB
    names = ("AMD Radeon PRO W7900", "AMD Instinct MI300X")
    assert listed() == {
        "vendor": "amd",
        "driver": "6.10.5",
        "problem": None,
        "devices": [
            {"index": i, "uuid": uuid(1 - i), "name": name, "memory_bytes": memory, "mig": None}
            for i, name in enumerate(names)
        ],
    }


@pytest.mark.parametrize(
    ("lines", "uuids", "indices"),
    [
        (("na 1 hip",), [uuid(0), uuid(1)], [0, 1]),
        (("hip 0 1",), [uuid(0), uuid(1)], [0, 1]),  # two of one number
        (("fault * amdsmi_get_gpu_enumeration_info 2",), [uuid(0), uuid(1)], [0, 1]),
        (("fault * amdsmi_get_gpu_asic_info 2",), [uuid(0), uuid(1)], [0, 1]),
    ],
)
def test_what_does_not_number_or_name_the_gpus(machine, lines, uuids, indices):
    machine.has("MI210", "MI210", lines=lines)
    gpus = listed()["devices"]
    assert [gpu["uuid"] for gpu in gpus] == uuids
    assert [gpu["index"] for gpu in gpus] == indices


def test_gpus_that_hip_has_no_name_for(machine):
    machine.has()
    machine.says("gpu 0 0 8192 RX 580", f"gpu 1 {unique_id(0)} 8192 A", f"gpu 2 {unique_id(0)} 1 B")
    found = [gpu["uuid"] for gpu in listed()["devices"]]
    assert found == ["00ff74a1-0000-1000-8000-000000000000", f"{uuid(0)}/1", f"{uuid(0)}/2"]


def test_what_is_not_said_of_a_gpu(machine):
    machine.has("MI210")
    machine.says(
        "fault * amdsmi_get_gpu_asic_info 2",
        "fault * amdsmi_get_gpu_memory_total 2",
        "fault * amdsmi_get_gpu_driver_info 2",
    )
    found = listed()
    assert found["driver"] is None
    assert (found["devices"][0]["name"], found["devices"][0]["memory_bytes"]) == ("GPU", None)


def test_no_gpu(machine):
    assert listed()["devices"] == []


@pytest.mark.parametrize("code", [DRIVER_NOT_LOADED, 18])
def test_a_driver_that_does_not_answer(machine, code):
    machine.has("MI210", lines=(f"fault * amdsmi_init {code}",))
    assert listed(None) == {"vendor": None, "driver": None, "problem": None, "devices": None}


def test_no_library(machine, tmp_path, monkeypatch):
    """The client prints then where the process would speak."""
    monkeypatch.setenv("ROCM_PATH", str(tmp_path))
    assert listed(None) == {"vendor": None, "driver": None, "problem": None, "devices": None}


def test_the_driver_of_nvidia_comes_first(machine, driver):
    machine.has("MI210")
    (gpu,) = driver.has_equal(1)
    found = listed("nvidia")
    assert [one["uuid"] for one in found["devices"]] == [gpu]
    assert machine.calls == {}


# What is said where the driver shows that it is there


WITHOUT_PACKAGE = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "amdsmi" else found(name)
"""


def test_a_driver_without_its_package(machine, tmp_path):
    assert "install the amdsmi" in run(WITHOUT_PACKAGE + OPENED, tmp_path)
    assert run(WITHOUT_PACKAGE + OPENED, tmp_path / "absent") == "None\n"


def test_gpus_beside_those_of_nvidia_are_left_out(tmp_path):
    asked = f"{LOAD}from pathlib import Path; print(amd.problem_beside_nvidia(Path(sys.argv[1])))"
    assert "not sampled" in run(asked, tmp_path)
    assert run(asked, tmp_path / "absent") == "None\n"
    assert run(WITHOUT_PACKAGE + asked, tmp_path) == "None\n"


def test_a_driver_without_its_library(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("ROCM_PATH", str(tmp_path))
    assert "set ROCM_PATH" in run(OPENED, tmp_path)
    assert run(OPENED, tmp_path / "absent") == "None\n"


def test_a_library_of_another_release(machine, compiler, tmp_path, monkeypatch):
    other = build(tmp_path, compiler, missing=["amdsmi_get_gpu_metrics_info"])
    monkeypatch.setenv("ROCM_PATH", str(other))
    said = run(OPENED, tmp_path)
    assert "another ROCm release" in said
    assert "amdsmi_get_gpu_metrics_info" in said


@pytest.mark.parametrize(
    ("code", "said"), [(DRIVER_NOT_LOADED, "None"), (18, "INIT_ERROR"), (NO_PERMISSION, "NO_PERM")]
)
def test_a_library_that_does_not_start(machine, tmp_path, code, said):
    machine.has("MI210", lines=(f"fault * amdsmi_init {code}",))
    assert said in run(OPENED, tmp_path)


# What is sampled


def test_the_records_are_the_closed_form(machine, tmp_path):
    curves = Linear((0, 100), (0.4, 700), (0.8, 300)), Constant(250)
    gpus = machine.has("MI300X", "MI300X")
    machine.says(f"t0 {time.monotonic_ns() + 200_000_000}", f"power 0 {curves[0].text}")
    machine.says("counter 0 15.3 1000000000", "power 1 250", "counter 1 15.259 1000000000")
    header, slots, last = sampled(tmp_path / "file", gpus, 1.5)
    t0 = int(machine.text().split("t0 ")[1].split()[0])
    assert header["vendor"] == "amd"
    assert [one["power"] for one in header["devices"]] == ["instant", "instant"]
    assert [one["uuid"] for one in header["devices"]] == gpus
    assert last["problems"] == ["no temperature of GPU 0 (MI300X), GPU 1 (MI300X): NOT_SUPPORTED"]
    for records, curve in zip(slots, curves, strict=True):
        assert len(records) == last["ticks"] > 30
        first, end = records[0], records[-1]
        t = [(one["ns"] - t0) / 1e9 for one in (first, end)]
        truth = curve.integral(*t)
        assert (end["energy_mj"] - first["energy_mj"]) / 1e3 == pytest.approx(truth, rel=0.005)
        powers = [one["power_w"] for one in records]
        assert powers == pytest.approx(
            [curve.at((one["ns"] - t0) / 1e9) for one in records], abs=0.5 + 700 / 0.4 * 0.005
        )


@pytest.mark.parametrize(
    ("curve", "resolution"),
    [
        (Constant(300.0), 15.3),
        (Linear((0, 90), (10, 90), (10.001, 650), (25, 400), (40, 90), (60, 750)), 15.259),
        (Linear((0, 90), (60, 690)), 1000.0),
    ],
)
def test_a_minute_is_the_closed_form(machine, curve, resolution):
    """The clock of the library goes on by a tick at a time."""
    machine.has("MI300X")
    text = curve.text.removeprefix("const ")
    machine.says(f"power 0 {text}", f"counter 0 {resolution}", "refresh 0 0.02")
    values = [json.loads(line) for line in run(SESSION, machine.clock, 601).splitlines()]
    powers, counter = [one[0] for one in values], [one[1] for one in values]
    truth = curve.integral(0, 60)
    assert (counter[-1] - counter[0]) / 1e3 == pytest.approx(truth, rel=0.005)
    between = itertools.pairwise(powers)
    assert sum((a + b) / 2 * 0.1 for a, b in between) == pytest.approx(truth, rel=0.005)


QUESTIONS = {
    "power_w": ("amdsmi_get_power_info", "power"),
    "energy_mj": ("amdsmi_get_energy_count", "energy"),
    "utilization": ("amdsmi_get_gpu_activity", "utilization"),
    "temperature": ("amdsmi_get_temp_metric", "temperature"),
    "memory_mib": ("amdsmi_get_gpu_memory_usage", "memory"),
}


def check_without(field, machine, path):
    """Sample, and return how often the function of a field was called that must be unknown."""
    (found,), last = sampled(path, [uuid(0)])[1:]
    rows = found[:1] + found[-1:]
    for one in rows:
        assert one["flags"] == 0
        assert [name for name in FIELDS if math.isnan(one[name])] == [field]
        assert {name: one[name] for name in VALUES if name != field} == {
            name: value for name, value in VALUES.items() if name != field
        }
    if field != "energy_mj":
        assert found[-1]["energy_mj"] > found[0]["energy_mj"]
    (calls,) = machine.calls.values()
    return calls[QUESTIONS[field][0]], last["problems"]


@pytest.mark.parametrize(
    ("field", "code"),
    [
        *((field, NOT_SUPPORTED) for field in QUESTIONS),
        ("energy_mj", NO_PERMISSION),
        ("temperature", NO_DATA),
        ("memory_mib", NO_FILE),
    ],
)
def test_a_field_that_is_not_supported_is_asked_for_once(machine, tmp_path, field, code):
    function, name = QUESTIONS[field]
    machine.has("MI300X", lines=(*FULL, f"fault 0 {function} {code}"))
    calls, problems = check_without(field, machine, tmp_path / "file")
    assert calls == (2 if field == "temperature" else 1)  # of two sensors
    names = {2: "NOT_SUPPORTED", 10: "NO_PERM", 40: "NO_DATA", 52: "FILE_NOT_FOUND"}
    assert problems == [f"no {name} of GPU 0 (MI300X): {names[code]}"]


@pytest.mark.parametrize(("field", "mark"), [("power_w", "power"), ("utilization", "activity")])
def test_a_field_that_is_marked_as_unknown(machine, tmp_path, field, mark):
    machine.has("MI300X", lines=(*FULL, f"na 0 {mark}"))
    calls, problems = check_without(field, machine, tmp_path / "file")
    assert calls == 1
    assert problems == [f"no {QUESTIONS[field][1]} of GPU 0 (MI300X): N/A"]


def test_power_that_is_an_average(machine, tmp_path):
    gpus = machine.has("MI210", lines=(*FULL, "average 0"))
    header, ((first, *_),), last = sampled(tmp_path / "file", gpus, 0.1)
    assert (header["devices"][0]["power"], first["power_w"]) == ("average", 500.0)
    assert last["problems"] == []


def test_an_accelerator_is_as_warm_as_its_hottest_spot(machine, tmp_path):
    gpus = machine.has("MI300X", lines=("power 0 500", "hotspot 0 77"))
    _, ((first, *_),), last = sampled(tmp_path / "file", gpus, 0.1)
    assert first["temperature"] == 77
    assert last["problems"] == []


@pytest.mark.parametrize(("chip", "is_known"), [("7408", False), ("740c", False), ("740f", True)])
def test_the_second_die_of_a_card_knows_no_power(machine, tmp_path, chip, is_known):
    """A GPU that has one die and takes no power says 0."""
    gpus = machine.has("MI250X", "MI250X", lines=(*FULL, "secondary 1", "edge 1 50"))
    machine.says(f"chip 0 {chip}", f"chip 1 {chip}")
    header, (first, second), last = sampled(tmp_path / "file", gpus, 0.1)
    assert [one["power"] for one in header["devices"]] == [
        "instant",
        "instant" if is_known else None,
    ]
    assert all(one["power_w"] == 500 for one in first)
    for one in second:
        assert (one["power_w"], one["energy_mj"]) == (0, 0) if is_known else True
        assert math.isnan(one["power_w"]) is math.isnan(one["energy_mj"]) is not is_known
    assert second[0]["temperature"] == 50
    assert len(last["problems"]) == (0 if is_known else 2)


# Faults


def sampled_by_steps(machine, path, uuids, steps):
    """Sample while the clock of the library goes from step to step: (its time, for so long)."""
    assert machine.clock.exists()
    child = Child()
    child.order(path, uuids, 0.02)
    for to, seconds in steps:
        machine.set_clock(to)
        time.sleep(seconds)
    last = child.end()
    _, slots = parsed(path, uuids)
    return slots, last


def test_a_gpu_that_is_lost_comes_back(machine, tmp_path):
    gpus = machine.has("MI300X", "MI300X", lines=(*FULL, "power 1 250"))
    machine.says(f"fault 0 * {FILE_ERROR} 1 2")
    steps = ((0, 0.1), (1, 0.2), (2, 1.2))
    (lost, other), last = sampled_by_steps(machine, tmp_path / "file", gpus, steps)
    flags = [one["flags"] for one in lost]
    bad = FAILED | FILE_ERROR << 8
    place = flags.index(REOPENED)
    first = flags.index(bad)
    assert flags[:first] == [0] * first
    assert flags[first:place] == [bad] * (place - first)
    assert flags[place + 1 :] == [0] * (len(flags) - place - 1)
    for one in lost:
        assert all(math.isnan(one[name]) for name in FIELDS) is (one["flags"] == bad)
    assert full(lost[place:])[0] == lost[place]
    # The fault may come in the middle of a sample, whose energy is unknown then.
    last_known = [one for one in lost[:first] if not math.isnan(one["energy_mj"])][-1]
    assert lost[place]["energy_mj"] - last_known["energy_mj"] == pytest.approx(1e6, abs=1)
    assert {one["flags"] for one in other} == {0}
    failed, temperature = last["problems"]
    assert failed.startswith("GPU 0 (MI300X) could not be read in")
    assert failed.endswith("FILE_ERROR")
    assert temperature == "no temperature of GPU 1 (MI300X): NOT_SUPPORTED"


def test_a_gpu_that_is_lost_from_the_start(machine, tmp_path):
    gpus = machine.has("MI300X", lines=FULL)
    machine.says(*(f"fault 0 {function} {FILE_ERROR} -1 1" for function, _ in QUESTIONS.values()))
    steps = ((0, 0.1), (1, 1.2))
    ((found,), last) = sampled_by_steps(machine, tmp_path / "file", gpus, steps)
    assert found[0]["flags"] == FAILED | FILE_ERROR << 8
    assert found[-1]["flags"] == 0
    assert {name: found[-1][name] for name in VALUES} == VALUES
    assert len(last["problems"]) == 1


def test_a_value_that_is_missing_for_a_while(machine, tmp_path):
    gpus = machine.has("MI300X", lines=FULL)
    machine.says(f"fault 0 amdsmi_get_energy_count {BUSY} 1 2", "na 0 power 2 3")
    steps = ((0, 0.1), (1, 0.1), (2, 0.1), (3, 0.1))
    ((found,), last) = sampled_by_steps(machine, tmp_path / "file", gpus, steps)
    assert {one["flags"] for one in found} == {0}
    unknown = [(math.isnan(one["energy_mj"]), math.isnan(one["power_w"])) for one in found]
    assert [key for key, _ in itertools.groupby(unknown)] == [
        (False, False),
        (True, False),
        (False, True),
        (False, False),
    ]
    assert last["problems"] == []


def test_a_value_that_is_no_longer_allowed(machine, tmp_path):
    gpus = machine.has("MI300X", lines=FULL)
    machine.says(f"fault 0 amdsmi_get_power_info {NO_PERMISSION} 1 2")
    steps = ((0, 0.1), (1, 0.1), (2, 0.1))
    ((found,), last) = sampled_by_steps(machine, tmp_path / "file", gpus, steps)
    known = [not math.isnan(one["power_w"]) for one in found]
    assert {one["flags"] for one in found} == {0}
    (calls,) = machine.calls.values()
    assert calls["amdsmi_get_power_info"] == sum(known) + 2  # when it is opened, and in vain
    assert known == sorted(known, reverse=True)
    assert last["problems"] == ["no power of GPU 0 (MI300X): NO_PERM"]


SLOW = ("amdsmi_get_gpu_activity", "amdsmi_get_temp_metric", "amdsmi_get_gpu_memory_usage")


@pytest.mark.parametrize("knows_power", [True, False])
def test_what_changes_slowly_fails_a_gpu_that_says_nothing_else(machine, tmp_path, knows_power):
    gpus = machine.has("MI300X", lines=FULL)
    machine.says(*(f"fault 0 {function} {BUSY} 1 2" for function in SLOW))
    if not knows_power:
        machine.says("na 0 power", f"fault 0 amdsmi_get_energy_count {NOT_SUPPORTED}")
    steps = ((0, 0.1), (1, 0.7))
    ((found,), _) = sampled_by_steps(machine, tmp_path / "file", gpus, steps)
    assert full(found)[0] == found[0]
    assert math.isnan(found[-1]["memory_mib"])
    assert math.isnan(found[-1]["power_w"]) is not knows_power
    assert found[-1]["flags"] == (0 if knows_power else FAILED | BUSY << 8)


def test_a_counter_that_stands_still_or_goes_back_is_handed_on(machine):
    """Whoever reads the samples tells; here nothing is made up."""
    machine.has("MI300X", lines=("power 0 500", "stuck 0 2 4", "reset 0 6", "refresh 0 0.02"))
    lines = run(SESSION, machine.clock, 81).splitlines()
    energy = [json.loads(line)[1] / 1e3 for line in lines]
    assert energy[:20] == pytest.approx([tick * 50 for tick in range(20)], abs=0.1)
    assert len(set(energy[20:40])) == 1
    assert energy[40] == pytest.approx(2000, abs=0.1)
    assert energy[60:] == pytest.approx([tick * 50 for tick in range(21)], abs=0.1)


def test_one_process_asks_the_library(machine, tmp_path):
    gpus = machine.has("MI300X", "MI300X", lines=FULL)
    _, (first, _), last = sampled(tmp_path / "file", gpus)
    ((_, calls),) = machine.calls.items()
    assert calls["amdsmi_init"] == calls["amdsmi_shut_down"] == 1
    assert len(first) == last["ticks"]
    # Each is asked when it is opened and at each tick.
    assert calls["amdsmi_get_power_info"] == calls["amdsmi_get_energy_count"]
    assert calls["amdsmi_get_power_info"] == 2 * (last["ticks"] + 1)


# Whole sessions

SLEEPS = """
import time
import pytest

@pytest.mark.parametrize("n", range({number}))
def test_case(ask, n):
    time.sleep({seconds})
    ask("answer yes")
"""


def used_by(run):
    """Return the rows of the cases and of the leaderboard."""
    (board,) = run.rows("leaderboard")
    return run.rows("results"), board


def test_the_energy_of_a_case_is_that_of_the_gpu_that_hip_shows(machine, suite, monkeypatch):
    machine.has("MI300X", "MI300X", "MI300X", lines=("power 0 100", "power 1 720", "power 2 200"))
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "2,1")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    run = suite("--smoltrace-gpu=on", source=SLEEPS.format(number=1, seconds=1))
    (row,), board = used_by(run)
    assert row["gpu_uuids"] == [uuid(1)]
    assert (row["gpu_energy_source"], row["gpu_attribution"]) == ("counter", "exclusive")
    assert row["gpu_power_avg_w"] == pytest.approx(720)
    assert row["gpu_energy_wh"] * 3600 == pytest.approx(0.72 * row["execution_time_ms"], rel=0.02)
    assert board["gpu_count"] == 1
    assert len(machine.calls) == 1


def test_workers_take_turns_in_what_rocr_shows(machine, suite, monkeypatch):
    machine.has("MI300X", "MI300X", "MI300X", lines=("power 0 100", "power 1 720", "power 2 200"))
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", f"2,{uuid(0)}")
    source = f"import os\n{SLEEPS.format(number=4, seconds=0.3)}"
    source = source.replace("    ask(", '    print(os.environ["HIP_VISIBLE_DEVICES"])\n    ask(')
    run = suite("-n2", "-rA", "--smoltrace-gpu=on", source=source)
    rows, board = used_by(run)
    found = {row["worker_id"]: (row["gpu_uuids"], row["gpu_power_avg_w"]) for row in rows}
    assert found == {
        "gw0": ([uuid(2)], pytest.approx(200)),
        "gw1": ([uuid(0)], pytest.approx(100)),
    }
    assert {"0", "1"} <= {line.strip() for line in run.result.outlines}
    assert board["gpu_count"] == 2
    assert len(machine.calls) == 1


def test_power_counts_where_the_counter_stands_still(machine, suite):
    machine.has("MI300X", lines=("power 0 720", "stuck 0 0 1e12"))
    run = suite("--smoltrace-gpu=on", source=SLEEPS.format(number=1, seconds=3))
    (row,), _ = used_by(run)
    assert row["gpu_energy_source"] == "power_instant"
    assert "energy_disagreement" in row["gpu_events"]
    assert row["gpu_energy_wh"] * 3600 == pytest.approx(0.72 * row["execution_time_ms"], rel=0.02)
