"""What the process says, hears and does: one JSON object a line, in this order.

1. It says which devices there are: `vendor`, `driver`, `problem` and `devices`, null without a
   driver that answers.
2. It hears what to sample: `file`, `uuids`, `period_s`, `clock`, `host` and `processes`. With
   `members`, a file, the end comes when no process holds a lock on that any more.
3. It says `ready`, when the first sample was in the file, in monotonic ns; or `problem`.
4. When its input is closed, or at SIGTERM, it takes the next sample that is due and says how many
   `ticks` are in the file, how many it `missed`, and which `problems` there were.
"""

from __future__ import annotations

import json
import os
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import order as orders
from .amd_driver import problem_beside_nvidia
from .device import UnavailableError
from .ending import ending, order_line
from .sample_file import SampleFile
from .sampling import Sampling
from .schedule import Schedule

if TYPE_CHECKING:
    from .device import Driver

_OUTPUT = 1
_VENDORS = {"nvidia": "nvml_driver", "amd": "amd_driver"}
"""Vendor -> the module that opens its driver."""


def main() -> int:
    """Serve one order and return the status of the process."""
    driver, told = _listing()
    _say(told)
    line = order_line()
    if line and driver is not None:
        _serve(driver, told["devices"], json.loads(line))
    elif line:
        _say({"problem": "no driver of a GPU answers"})
    if driver is not None:
        driver.close()
    return 0


def _say(told: dict[str, Any]) -> None:
    try:
        os.write(_OUTPUT, (json.dumps(told) + "\n").encode())
    except OSError:  # nobody listens any more; the file is what counts
        return


def _listing() -> tuple[Driver | None, dict[str, Any]]:
    """Open the first driver that has a GPU, and return what it says."""
    told: dict[str, Any] = {"vendor": None, "driver": None, "problem": None, "devices": None}
    opened: Driver | None = None
    for vendor, module in _VENDORS.items():
        try:
            driver: Driver | None = import_module(f".{module}", __package__).open_driver()
            devices = None if driver is None else driver.listed()
        except UnavailableError as error:
            told["vendor"] = told["vendor"] or vendor
            told["problem"] = told["problem"] or str(error)
            continue
        if driver is not None and (devices or opened is None):
            opened = driver
            told |= {"vendor": vendor, "driver": driver.version, "devices": devices}
        if devices:
            break
    if told["devices"] and told["vendor"] == "nvidia":
        told["problem"] = told["problem"] or problem_beside_nvidia()
    return opened, told


def _serve(driver: Driver, gpus: list[dict[str, Any]], order: dict[str, Any]) -> None:
    """Sample what is ordered until the end comes."""
    end = ending(order.get("members"))
    end.on_sigterm()
    entries = orders.entries(gpus, order["uuids"])
    slots = orders.slots(driver, entries)
    header = orders.header(order, driver, entries)
    try:
        file = SampleFile(order["file"], header)
    except OSError as error:
        _say({"problem": f"cannot write {order['file']}: {error.strerror}"})
        return
    schedule = Schedule(header["started_mono_ns"], header["period_ns"])
    sampling = Sampling(slots, file, schedule, processes=bool(order["processes"]))
    sampling.tick()
    _say({"ready": time.monotonic_ns()})
    sampling.run(end)
    _say(sampling.summary())
