"""What the driver's client reads from the library of the tests, and what the package reads."""

import ctypes
import json
import subprocess
import sys

import pynvml
import pytest

from tests.gpu.conftest import mig_uuid, uuid
from tests.truth.suite import ROOT

LIST = """
import json
from dataclasses import asdict
from pytest_smoltrace import sampler_process
process = sampler_process.start()
found = process and process.listing.gpus
process and process.stop()
print(json.dumps(found and [asdict(gpu) for gpu in found]))
"""
CLIENT = """
import json, pynvml
pynvml.nvmlInit()
handle = pynvml.nvmlDeviceGetHandleByUUID({uuid!r})
v2 = pynvml.nvmlDeviceGetMemoryInfo(handle, pynvml.nvmlMemory_v2)
print(json.dumps([
    pynvml.nvmlSystemGetDriverVersion(), pynvml.nvmlDeviceGetIndex(handle),
    pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle),
    pynvml.nvmlDeviceGetPciInfo(handle).busId, v2.total, v2.used, v2.free,
    pynvml.nvmlDeviceGetMemoryInfo(handle).used,
]))
"""
UNINITIALIZED = """
import pynvml
pynvml.nvmlInit()
pynvml.nvmlShutdown()
try:
    pynvml.nvmlDeviceGetCount()
except pynvml.NVMLError_Uninitialized as error:
    print(error)
"""


def python(program):
    done = subprocess.run(
        (sys.executable, "-c", program), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def listed():
    return json.loads(python(LIST))


@pytest.mark.parametrize(
    ("kind", "size"),
    [("c_nvmlMemory_t", 24), ("c_nvmlMemory_v2_t", 40), ("nvmlPciInfo_t", 68)],
)
def test_the_client_has_the_types_of_the_library(kind, size):
    """The library asserts the same sizes when it is compiled."""
    assert ctypes.sizeof(getattr(pynvml, kind)) == size


def test_the_client_reads_what_the_scenario_says(driver):
    driver.has("Fake A100", "Fake H100 NVL", mib=81920, lines=("used 1 512", "driver 575.1"))
    told = json.loads(python(CLIENT.format(uuid=uuid(1).encode())))
    mib = 2**20
    total, used = 81920 * mib, 512 * mib
    bus = "00000000:02:00.0"
    expected = ["575.1", 1, "Fake H100 NVL", uuid(1), bus, total, used, total - used, used]
    assert told == expected
    assert python(UNINITIALIZED) == "Uninitialized\n"


def test_the_gpus_of_a_machine(driver):
    first, second = driver.has("Fake H100", "Fake T4", mib=24576)
    memory = 24576 * 2**20
    assert listed() == [
        {"index": 0, "uuid": first, "name": "Fake H100", "memory_bytes": memory, "mig": None},
        {"index": 1, "uuid": second, "name": "Fake T4", "memory_bytes": memory, "mig": None},
    ]


def test_the_driver_is_closed_again(driver):
    driver.has_equal(2)
    listed()
    (calls,) = driver.calls.values()
    assert calls["nvmlInitWithFlags"] == calls["nvmlShutdown"] == 1


def test_a_partitioned_gpu(driver):
    parts = [f"mig 0 {mig_uuid(place)} 10240 {place + 1} 0" for place in range(2)]
    driver.has("Fake H100", lines=parts)
    (gpu,) = listed()
    assert gpu["mig"] == [
        {
            "uuid": mig_uuid(place),
            "memory_bytes": 10240 * 2**20,
            "gpu_instance": place + 1,
            "compute_instance": 0,
        }
        for place in range(2)
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("fault * nvmlInitWithFlags 9",), None),  # the driver is not loaded
        (("fault * nvmlDeviceGetCount_v2 999",), None),
        (("fault 0 nvmlDeviceGetHandleByIndex_v2 15",), [(uuid(1), 16384 * 2**20)]),  # GPU lost
        (("fault 0 nvmlDeviceGetMemoryInfo 3",), [(uuid(0), None), (uuid(1), 16384 * 2**20)]),
        (("fault * nvmlDeviceGetMigMode 13",), [(uuid(0), 2**34), (uuid(1), 2**34)]),
        (("fault 0 * 15 0 0",), [(uuid(0), 2**34), (uuid(1), 2**34)]),  # over before it begins
    ],
)
def test_a_driver_in_trouble(driver, lines, expected):
    driver.has("Fake H100", "Fake H100", lines=lines)
    gpus = listed()
    assert (gpus and [(gpu["uuid"], gpu["memory_bytes"]) for gpu in gpus]) == expected


def test_no_driver(no_driver):
    if listed() is not None:
        pytest.skip("this machine has a driver of its own")
