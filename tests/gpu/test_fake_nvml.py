"""The driver library of the tests against closed forms, asked by the vendor's own client."""

import ctypes
import importlib.metadata
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pynvml
import pytest

from tests.gpu.curves import Constant, Linear, Sine, Square, Steps
from tests.gpu.driver import DRAW, FLAGS, HERE, NAME, SOURCES
from tests.truth.suite import ROOT

CLIENT = """
import json, mmap, os, struct, sys
import pynvml

pynvml.nvmlInit()
handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
gpu = handles[0] if handles else None

def at(ns):
    clock[:] = struct.pack("=Q", ns)

def field(number, handle=None):
    (value,) = pynvml.nvmlDeviceGetFieldValues(handle or gpu, [number])
    if value.nvmlReturn:
        return [value.nvmlReturn]
    return value.value.ullVal if value.valueType == 3 else value.value.uiVal

def error(function, *args):
    try:
        return function(*args)
    except pynvml.NVMLError as problem:
        return type(problem).__name__

if "FAKE_NVML_CLOCK" in os.environ:
    with open(os.environ["FAKE_NVML_CLOCK"], "r+b") as file:
        clock = mmap.mmap(file.fileno(), 8)
given = json.loads(sys.argv[1])
told = None
"""
CURVES = {
    "constant": Constant(300.0),
    "sine": Sine(350.0, 250.0, 1.3),
    "square": Square(90.0, 650.0, 0.7, 0.3),
    "lines": Linear((0, 100), (1, 400), (1, 50), (2.5, 700), (9, 20)),
    "steps": Steps((0.05, 60), (1.05, 500), (1.3, 90), (7.77, 300)),
}
SENSORS = {
    "fast": {"power_refresh": 0.02, "power_window": 0.01, "energy_refresh": 0.02},
    "partial": {"power_refresh": 0.1, "power_window": 0.025, "energy_refresh": 0.1},
    "slow": {"power_refresh": 0.1, "power_window": 1.0, "energy_refresh": 0.05},
    "shifted": {"power_refresh": 0.1, "power_window": 0.1, "energy_refresh": 0.1, "phase": 0.037},
}


def client(program, *given):
    """Return what a program tells that asks the driver through the client."""
    source = f"{CLIENT}\n{program}\nprint(json.dumps(told))\n"
    done = subprocess.run(
        (sys.executable, "-c", source, json.dumps(given)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


READ = """
told = []
for ns in given[0]:
    at(ns)
    told.append([[
        pynvml.nvmlDeviceGetPowerUsage(handle), field(186, handle), field(185, handle),
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle), field(83, handle),
    ] for handle in handles])
"""


def moments(driver, until_s=12.0, number=400):
    """Return moments from before zero on, none of them at a refresh, as the clock shows them."""
    start = driver.clock.ns
    step = int((until_s + 1.5) * 1e9 / number)
    return [start - 1_500_000_000 + k * step + k % 7 * 1_000_003 for k in range(number)]


@pytest.mark.parametrize("curve", CURVES)
def test_the_sensors_show_what_the_closed_form_says(driver, curve):
    driver.has_equal(len(SENSORS))
    for gpu, sensor in enumerate(SENSORS.values()):
        driver.power(gpu, CURVES[curve])
        driver.sensor(gpu, **sensor)
    times = moments(driver)
    for ns, rows in zip(times, client(READ, times), strict=True):
        t = driver.seconds(ns)
        for gpu, (usage, instant, average, counter, field) in enumerate(rows):
            assert instant == pytest.approx(driver.instant_w(gpu, t) * 1000, abs=0.51)
            assert average == pytest.approx(driver.average_w(gpu, t) * 1000, abs=0.51)
            assert usage == average
            assert counter == field == pytest.approx(driver.counter_mj(gpu, t), abs=1)


@pytest.mark.parametrize("curve", CURVES)
def test_the_energy_of_a_period_is_the_integral_of_its_power(driver, curve):
    """The closed forms against a sum of the power, so that both witnesses are not wrong alike."""
    driver.has_equal(1)
    driver.power(0, CURVES[curve])
    step = 1e-4
    for start, end in [(-0.5, 0.5), (0.0, 3.7), (2.2, 11.1)]:
        number = round((end - start) / step)
        summed = sum(driver.power_w(0, start + (k + 0.5) * step) for k in range(number)) * step
        assert driver.energy_j(0, start, end) == pytest.approx(summed, rel=2e-4)


FUNCTIONS = """
nvmlInitWithFlags nvmlInit_v2 nvmlShutdown nvmlErrorString nvmlSystemGetDriverVersion
nvmlDeviceGetCount_v2 nvmlDeviceGetHandleByIndex_v2 nvmlDeviceGetHandleByUUID nvmlDeviceGetIndex
nvmlDeviceGetName nvmlDeviceGetUUID nvmlDeviceGetArchitecture nvmlDeviceGetPciInfo_v3
nvmlDeviceGetUtilizationRates nvmlDeviceGetMemoryInfo nvmlDeviceGetMemoryInfo_v2
nvmlDeviceGetTemperature nvmlDeviceGetTemperatureV nvmlDeviceGetPowerUsage
nvmlDeviceGetEnforcedPowerLimit nvmlDeviceGetTotalEnergyConsumption nvmlDeviceGetFieldValues
nvmlDeviceGetProcessUtilization nvmlDeviceGetProcessesUtilizationInfo
nvmlDeviceGetComputeRunningProcesses_v2 nvmlDeviceGetComputeRunningProcesses_v3
nvmlDeviceGetMigMode nvmlDeviceGetMaxMigDeviceCount nvmlDeviceGetMigDeviceHandleByIndex
nvmlDeviceIsMigDeviceHandle nvmlDeviceGetDeviceHandleFromMigDeviceHandle
nvmlDeviceGetGpuInstanceId nvmlDeviceGetComputeInstanceId
"""


def vendor_header():
    """Return nvml.h of the vendor, or skip."""
    try:
        files = importlib.metadata.files("nvidia-nvml-dev")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs the vendor's header, which nvidia-nvml-dev of the dev extra has")
    return next(Path(file.locate()) for file in files if file.name == "nvml.h")


def test_types_and_codes_are_those_of_the_vendor(library):
    """Assertions of the compiler compare them one by one."""
    include = vendor_header().parent
    command = ("cc", *FLAGS, "-fsyntax-only", "-isystem", include, HERE / "nvml_abi.c")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_functions_are_those_of_the_vendor(library):
    header = vendor_header().read_text()
    built = ctypes.CDLL(str(library.folder() / NAME))
    sources = "\n".join(source.read_text() for source in SOURCES)
    defined = re.findall(r"^(?:int |const char \*)(nvml\w+)\(", sources, re.MULTILINE)
    assert set(FUNCTIONS.split()) <= set(defined)
    for function in defined:
        assert re.search(rf"DECLDIR\s[\w* ]*\b{function} ?\(", header), function
        assert hasattr(built, function)


ERRORS = """
told = [pynvml.nvmlErrorString(code) for code in given[0]]
"""


def test_error_texts_are_those_of_the_client(driver):
    """The client knows them in part itself, so that the two can be compared."""
    codes = [1, 2, 3, 4, 6, 7, 9, 10, 13, 15, 999]
    known = pynvml.NVMLError._errcode_to_string
    assert client(ERRORS, codes) == [known[code] for code in codes]


ALL = """
told = {
    "usage": error(pynvml.nvmlDeviceGetPowerUsage, gpu),
    "limit": error(pynvml.nvmlDeviceGetEnforcedPowerLimit, gpu),
    "energy": error(pynvml.nvmlDeviceGetTotalEnergyConsumption, gpu),
    "fields": [field(83), field(185), field(186), field(190), field(12)],
    "utilization": error(lambda: pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
    "temperatures": [error(pynvml.nvmlDeviceGetTemperature, gpu, 0),
                     error(pynvml.nvmlDeviceGetTemperatureV, gpu, 0)],
    "memory": [pynvml.nvmlDeviceGetMemoryInfo(gpu).used >> 20,
               pynvml.nvmlDeviceGetMemoryInfo(gpu, pynvml.nvmlMemory_v2).used >> 20],
    "architecture": pynvml.nvmlDeviceGetArchitecture(gpu),
}
"""
REFUSED = "NVMLError_NotSupported"


def test_a_gpu_of_which_nothing_is_said_supports_nothing(driver):
    driver.has_equal(1)
    assert client(ALL) == {
        "usage": REFUSED,
        "limit": REFUSED,
        "energy": REFUSED,
        "fields": [[3], [3], [3], [3], [3]],
        "utilization": REFUSED,
        "temperatures": [REFUSED, REFUSED],
        "memory": [0, 0],
        "architecture": pynvml.NVML_DEVICE_ARCH_HOPPER,
    }


@pytest.mark.parametrize(
    ("architecture", "means", "usage", "average"),
    [
        (pynvml.NVML_DEVICE_ARCH_PASCAL, None, 600_000, [3]),
        (pynvml.NVML_DEVICE_ARCH_TURING, None, 600_000, [3]),
        (pynvml.NVML_DEVICE_ARCH_AMPERE, None, 150_000, 150_000),
        (pynvml.NVML_DEVICE_ARCH_AMPERE, "instant", 600_000, 150_000),
        (pynvml.NVML_DEVICE_ARCH_TURING, "average", 150_000, [3]),
    ],
)
def test_what_power_readings_mean(driver, architecture, means, usage, average):
    """The power has risen a quarter of a second ago."""
    driver.has_equal(1)
    driver.power(0, Steps((0, 0), (0.75, 600)))
    driver.sensor(0, 0.1, 0.1, 0.1)
    driver.architecture(0, architecture)
    if means:
        driver.usage(0, means)
    driver.clock.advance(1.0)
    counts = architecture >= pynvml.NVML_DEVICE_ARCH_VOLTA
    told = client(ALL)
    assert told["architecture"] == architecture
    assert told["usage"] == usage
    assert told["fields"][1:4] == [average, 600_000, 700_000]
    assert told["energy"] == (1_000_150_000 if counts else REFUSED)
    assert told["fields"][0] == (1_000_150_000 if counts else [3])
    assert told["limit"] == 700_000


STATES = """
told = []
for ns in given[0]:
    at(ns)
    told.append([
        pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
        pynvml.nvmlDeviceGetTemperatureV(gpu, 0), pynvml.nvmlDeviceGetTemperature(gpu, 0),
        pynvml.nvmlDeviceGetMemoryInfo(gpu).used / 2**20,
        pynvml.nvmlDeviceGetMemoryInfo(gpu, pynvml.nvmlMemory_v2).used / 2**20,
    ])
"""


def test_use_temperature_and_memory_over_time(driver):
    driver.has_equal(1)
    use, heat, memory = Square(5, 95, 2, 0.25), Linear((0, 40), (8, 80)), Steps((0, 512), (3, 4096))
    driver.utilization(0, use)
    driver.temperature(0, heat)
    driver.memory(0, memory)
    times = moments(driver, until_s=9.0, number=60)
    for ns, told in zip(times, client(STATES, times), strict=True):
        t = driver.seconds(ns)
        degrees = pytest.approx(heat.at(t), abs=0.51)
        assert told == [use.at(t), degrees, degrees, memory.at(t), memory.at(t)]


def test_readings_have_a_gain_and_the_counter_its_own(driver):
    driver.has_equal(1)
    driver.power(0, 400)
    driver.sensor(0, 0.1, 0.1, 0.1, gain=0.9)
    driver.counter(0, 50.0, gain=1.5)
    driver.clock.advance(2.0)
    told = client(ALL)
    assert (told["usage"], told["energy"]) == (360_000, 1_250_000)
    assert told["energy"] == driver.counter_mj(0, 2.0)


COUNTER = """
told = []
for ns in given[0]:
    at(ns)
    told.append(pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu))
"""


def counters(driver, *seconds):
    return client(COUNTER, [driver.clock.ns + round(s * 1e9) for s in seconds])


def test_a_counter_that_restarts(driver):
    driver.has_equal(1)
    driver.power(0, 200)
    driver.reset(0, 7.25)
    driver.reset(0, 3.05)
    told = counters(driver, 0, 3.04, 3.06, 3.16, 7.2, 7.26, 9.25)
    start = 1_000_000_000
    assert told == pytest.approx([start, start + 600_000, 0, 10_000, 830_000, 0, 390_000], abs=1)


def test_a_counter_that_stands_still(driver):
    driver.has_equal(1)
    driver.power(0, 100)
    driver.counter(0, 0.0)
    driver.stuck(0, 1.0, 4.0)
    assert counters(driver, 0.9, 1.5, 3.9, 4.0) == [90_000, 100_000, 100_000, 400_000]


PROCESSES = """
told = []
for ns, last in given[0]:
    at(ns)
    row = []
    for function in (pynvml.nvmlDeviceGetProcessUtilization,
                     pynvml.nvmlDeviceGetProcessesUtilizationInfo):
        found = error(function, gpu, last)
        if not isinstance(found, str):
            found = sorted([p.pid, p.smUtil, p.timeStamp] for p in found)
        row.append(found)
    row += [
        sorted([p.pid, p.usedGpuMemory >> 20] for p in function(gpu))
        for function in (pynvml.nvmlDeviceGetComputeRunningProcesses_v2,
                         pynvml.nvmlDeviceGetComputeRunningProcesses_v3)
    ]
    told.append(row)
"""
WALL_US = 1_700_000_000_000_000


def test_processes_over_time(driver):
    """Samples are taken at each 0.2 s, kept for 10 s, and told once to who feeds back the time."""
    driver.has_equal(2)
    driver.process(0, 11, 60, start=0, end=1, mib=100)
    driver.process(0, 11, 30, start=1, end=3, mib=100)
    driver.process(0, 22, 0, start=0, end=20, mib=200)  # has a context and does nothing
    driver.process(1, 33, 90)
    start = driver.clock.ns
    zero = start // 1000 + WALL_US

    def sample(s):
        return round(zero + s * 1e6)

    asked = [
        (0.5, 0),
        (0.59, sample(0.4)),  # nothing newer
        (0.6, sample(0.4)),
        (1.05, 0),
        (5.0, 0),  # gone, but its last sample is kept
        (5.0, sample(2.8)),
        (12.9, 0),
    ]
    told = client(PROCESSES, [(start + round(s * 1e9), last) for s, last in asked])
    samples = [row[0] for row in told]
    assert [row[1] for row in told] == samples
    assert [row[3] for row in told] == [row[2] for row in told]
    nothing = "NVMLError_NotFound"
    assert samples == [
        [[11, 60, sample(0.4)]],
        nothing,
        [[11, 60, sample(0.6)]],
        [[11, 30, sample(1.0)]],
        [[11, 30, sample(2.8)]],
        nothing,
        nothing,
    ]
    both, one = [[11, 100], [22, 200]], [[22, 200]]
    assert [row[2] for row in told] == [both, both, both, both, one, one, one]


PROTOCOL = """
import ctypes
library = pynvml.nvmlLib

def utilization(room, null=False):
    count = ctypes.c_uint(room)
    array = (pynvml.c_nvmlProcessUtilizationSample_t * 8)()
    last = ctypes.c_ulonglong(given[0])
    code = library.nvmlDeviceGetProcessUtilization(
        gpu, None if null else array, ctypes.byref(count), last)
    return [code, count.value, [p.pid for p in array]]

def info(room, null=False, version=0x1000018):
    array = (pynvml.c_nvmlProcessUtilizationInfo_v1_t * 8)()
    asked = pynvml.c_nvmlProcessesUtilizationInfo_v1_t(
        version, room, given[0], None if null else array)
    code = library.nvmlDeviceGetProcessesUtilizationInfo(gpu, ctypes.byref(asked))
    return [code, asked.processSamplesCount, [p.pid for p in array]]

def running(room, null=False):
    count = ctypes.c_uint(room)
    array = (pynvml.c_nvmlProcessInfo_v3_t * 8)()
    code = library.nvmlDeviceGetComputeRunningProcesses_v3(
        gpu, ctypes.byref(count), None if null else array)
    return [code, count.value, [p.pid for p in array]]

told = [[function(0, True), function(2), function(3), function(8), function(8, True)]
        for function in (utilization, info, running)] + [info(8, version=0x1000017)]
"""


def test_the_room_for_processes_is_asked_for_first(driver):
    driver.has_equal(1)
    for pid in (5, 6, 7):
        driver.process(0, pid, 20)
    driver.clock.advance(1.0)
    empty, full = [0] * 8, [5, 6, 7, 0, 0, 0, 0, 0]
    asked = [[7, 3, empty], [7, 3, empty], [0, 3, full], [0, 3, full], [7, 3, empty]]
    bad_argument = [*asked[:4], [2, 8, empty]]
    assert client(PROTOCOL, 0) == [asked, asked, bad_argument, [25, 8, empty]]
    driver.has_equal(1)
    nothing = [6, 0, empty], [6, 2, empty], [6, 3, empty], [6, 8, empty], [6, 8, empty]
    *samples, running, _ = client(PROTOCOL, 0)
    assert samples == [[*nothing], [*nothing]]
    assert running == [*[[0, 0, empty]] * 4, [2, 8, empty]]


RUNTIME = """
import time
told = [sorted(p.pid for p in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu))]
with open(os.environ["FAKE_NVML_PROCS"], "a") as file:
    file.write(f"0 {os.getpid()} 35\\n1 77 90\\n")
found = pynvml.nvmlDeviceGetProcessUtilization(gpu, 0)
now = time.time_ns() // 1000
told += [os.getpid(), [[p.pid, p.smUtil] for p in found], now - found[0].timeStamp]
"""


def test_processes_that_are_known_at_run_time_only(driver):
    driver.has_equal(2)
    driver.processes((0, 4242, 10), (1, 55, 5))
    before, pid, found, age_us = client(RUNTIME)
    assert before == [4242]
    assert found == [[4242, 10], [pid, 35]]
    assert -1_000 < age_us < 2_000_000  # the wall clock may be slewed
    (calls,) = driver.calls.values()
    assert calls["nvmlDeviceGetProcessUtilization"] == 2


FAULTS = """
second = handles[1]
told = []
for ns in given[0]:
    at(ns)
    told.append([
        error(pynvml.nvmlDeviceGetTotalEnergyConsumption, gpu), field(83), field(186),
        error(pynvml.nvmlDeviceGetTotalEnergyConsumption, second), field(83, second),
        field(186, second),
    ])
"""


def test_faults_have_a_period_a_function_and_a_gpu(driver):
    driver.has_equal(2)
    for gpu in range(2):
        driver.power(gpu, 0)
        driver.counter(gpu, 0.0)
    driver.lacks("energy", 0, start=1.0, end=2.0)
    driver.fault("field:186", 4, start=2.0, end=3.0)
    driver.fault("nvmlDeviceGetTotalEnergyConsumption", 999, 1, 3.0, 4.0)
    times = [driver.clock.ns + round(s * 1e9) for s in (0.99, 1.0, 1.99, 2.0, 3.0, 4.0)]
    lacking = [REFUSED, [3], 0, 0, 0, 0]
    assert client(FAULTS, times) == [
        [0] * 6,
        lacking,
        lacking,
        [0, 0, [4], 0, 0, [4]],
        [0, 0, 0, "NVMLError_Unknown", 0, 0],
        [0] * 6,
    ]


LOST = """
uuid = pynvml.nvmlDeviceGetUUID(gpu)
told = []
for ns in given[0]:
    at(ns)
    told.append([error(pynvml.nvmlDeviceGetName, gpu), error(pynvml.nvmlDeviceGetName, handles[1])])
again = error(pynvml.nvmlDeviceGetHandleByUUID, uuid)
told.append(error(pynvml.nvmlDeviceGetName, again))
at(given[0][1])
told.append(error(pynvml.nvmlDeviceGetHandleByUUID, uuid))
"""


def test_a_lost_gpu_has_to_be_opened_again(driver):
    driver.has_equal(2)
    driver.lost(0, 3.0, 5.0)
    times = [driver.clock.ns + round(s * 1e9) for s in (2.99, 3.0, 4.99, 5.0)]
    name, lost = "Fake H100", "NVMLError_GpuIsLost"
    assert client(LOST, times) == [[name, name], *[[lost, name]] * 3, name, lost]


HANG = """
import signal, threading, time

def let_go():
    os.kill(os.getpid(), signal.SIGTERM)  # waits too
    time.sleep(0.1)
    order.append("later")
    at(given[0])

order = []
signal.signal(signal.SIGTERM, lambda *args: order.append("signal"))
threading.Thread(target=let_go).start()
told = [pynvml.nvmlDeviceGetCount()]
pynvml.nvmlDeviceGetName(gpu)
order.append("answer")
told.append(order)
"""


def test_a_call_that_hangs(driver):
    driver.has_equal(1)
    driver.hang("nvmlDeviceGetName", start=-1.0, end=5.0)
    count, order = client(HANG, driver.clock.ns + 5_000_000_000)
    assert count == 1
    assert order.index("later") < order.index("answer")


def test_a_process_that_hangs_is_killed_at_the_end_only(driver):
    driver.has_equal(1)
    driver.hang("nvmlDeviceGetCount_v2")
    hung = subprocess.Popen((sys.executable, "-c", CLIENT, "[]"), cwd=ROOT)
    try:
        while not any(call.function == "nvmlDeviceGetCount_v2" for call in driver.log):
            assert hung.poll() is None
            time.sleep(0.02)
        time.sleep(0.1)  # from the log of the call to its hanging
        hung.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            hung.wait(0.3)
    finally:
        driver.close()
        assert hung.wait(30) == -9


MISSING = """
told = [error(pynvml.nvmlDeviceGetFieldValues, gpu, [186]) == "NVMLError_FunctionNotFound",
        error(pynvml.nvmlDeviceGetTemperatureV, gpu, 0),
        error(pynvml.nvmlDeviceGetTemperature, gpu, 0)]
"""


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ((), [False, 50, 50]),
        (("nvmlDeviceGetFieldValues",), [True, 50, 50]),
        (("nvmlDeviceGetTemperatureV",), [False, "NVMLError_FunctionNotFound", 50]),
        (
            ("nvmlDeviceGetFieldValues", "nvmlDeviceGetTemperature"),
            [True, 50, "NVMLError_FunctionNotFound"],
        ),
    ],
)
def test_a_library_without_functions(driver, missing, expected):
    driver.has_equal(1)
    driver.temperature(0, 50)
    driver.without(*missing)
    assert client(MISSING) == expected


PARTS = """
parts = [pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, place) for place in range(2)]
told = []
for handle in (gpu, *parts):
    told.append([
        error(pynvml.nvmlDeviceGetPowerUsage, handle),
        error(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle),
        field(83, handle), field(186, handle),
        error(pynvml.nvmlDeviceGetUtilizationRates, handle),
        error(pynvml.nvmlDeviceGetProcessUtilization, handle, 0),
        pynvml.nvmlDeviceGetMemoryInfo(handle).used >> 20,
        pynvml.nvmlDeviceGetMemoryInfo(handle).total >> 20,
        pynvml.nvmlDeviceIsMigDeviceHandle(handle).value,
        pynvml.nvmlDeviceGetUUID(handle),
    ])
same = pynvml.nvmlDeviceGetHandleByUUID(told[1][-1])
told.append(pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(same)))
"""


def test_compute_instances(driver):
    (gpu,) = driver.has_equal(1)
    first, second = driver.partition(0, 10240, 20480)
    driver.power(0, 0)
    driver.counter(0, 0.0)
    driver.utilization(0, 50)
    driver.process(0, 5, 50)
    driver.memory(0, 300)
    driver.memory(0, 100, instance=0)
    driver.memory(0, Linear((0, 200)), instance=1)
    no = REFUSED
    assert client(PARTS) == [
        [0, 0, 0, 0, no, no, 300, 16384, 0, gpu],
        [no, no, [3], [3], no, no, 100, 10240, 1, first],
        [no, no, [3], [3], no, no, 200, 20480, 1, second],
        gpu,
    ]


LOG = """
import time
told = []
for handle in handles * 2 + handles[:1]:
    value = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    told.append([value, time.monotonic_ns()])
sys.stdout.flush()
child = os.fork()
if not child:
    pynvml.nvmlDeviceGetName(gpu)
    os._exit(0)
os.waitpid(child, 0)
told = [os.getpid(), child, told]
"""


def test_the_log_and_the_monotonic_clock(driver):
    """Each answer is what the counter showed between the logged time and that of its return."""
    driver.has_equal(2)
    for gpu in range(2):
        driver.power(gpu, 300 + 100 * gpu)
        driver.sensor(gpu, 0.1, 0.1, 0.001)
    driver.start_at(time.monotonic_ns())
    pid, child, told = client(LOG)
    function = "nvmlDeviceGetTotalEnergyConsumption"
    assert driver.calls[pid][function] == 5
    assert driver.device_calls[pid][function, 0] == 3
    assert driver.device_calls[pid][function, 1] == 2
    assert driver.calls[child] == {"nvmlDeviceGetName": 1}
    calls = [call for call in driver.log if call.function == function]
    for call, (value, after) in zip(calls, told, strict=True):
        assert call.ns <= after
        lowest, highest = (driver.counter_mj(call.gpu, driver.seconds(t)) for t in (call.ns, after))
        assert lowest - 1 <= value <= highest + 1


LIVE = (
    DRAW
    + """
import time

def read():
    before = time.monotonic_ns()
    told.append([before, pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu), time.monotonic_ns()])

told = []
read()
for watts in (500, 20, 700):
    draw(1, 9999)
    draw(0, watts)
    time.sleep(0.05)
    read()
"""
)


def test_power_that_a_process_decides_on(driver):
    driver.has_equal(2)
    driver.live_power(0, 100)
    driver.sensor(0, 0.1, 0.1, 0.001)
    driver.start_at(time.monotonic_ns())
    told = client(LIVE)
    for before, value, after in told:
        low, high = (driver.counter_mj(0, driver.seconds(ns)) for ns in (before, after))
        assert low - 1 <= value <= high + 1
    assert driver.energy_j(0, driver.seconds(told[0][0]), driver.seconds(told[-1][2])) > 0.05 * 1220


@pytest.mark.parametrize(
    "line",
    ["power 1 300", "power 0 sine 3", "power 0 pwl 1", "pwoer 0 3", "fault 0 nvmlX", "temp 0 hot"],
)
def test_a_scenario_with_a_mistake_is_refused(driver, line):
    driver.has("Fake H100", lines=(line,))
    done = subprocess.run(
        (sys.executable, "-c", CLIENT, "[]"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -6
    assert done.stderr.startswith("fake NVML: ")
    assert line in done.stderr
