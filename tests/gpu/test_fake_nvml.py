"""The driver library of the tests against closed forms, asked by the vendor's own client."""

import json
import subprocess
import sys

import pytest

from tests.gpu.curves import Constant, Linear, Sine, Square, Steps
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
    told.append([
        pynvml.nvmlDeviceGetPowerUsage(gpu), field(186), field(185),
        pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu), field(83),
    ])
"""


def moments(driver, until_s=12.0, number=400):
    """Return moments from before zero on, none of them at a refresh, as the clock shows them."""
    start = driver.clock.ns
    step = int((until_s + 1.5) * 1e9 / number)
    return [start - 1_500_000_000 + k * step + k % 7 * 1_000_003 for k in range(number)]


@pytest.mark.parametrize("sensor", SENSORS)
@pytest.mark.parametrize("curve", CURVES)
def test_the_sensors_show_what_the_closed_form_says(driver, curve, sensor):
    driver.has_equal(1)
    driver.power(0, CURVES[curve])
    driver.sensor(0, **SENSORS[sensor])
    times = moments(driver)
    for ns, (usage, instant, average, counter, field) in zip(
        times, client(READ, times), strict=True
    ):
        t = driver.seconds(ns)
        assert instant == pytest.approx(driver.instant_w(0, t) * 1000, abs=0.51)
        assert average == pytest.approx(driver.average_w(0, t) * 1000, abs=0.51)
        assert usage == average
        assert counter == field == pytest.approx(driver.counter_mj(0, t), abs=1)


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
