"""A machine with GPUs that do not exist: a driver library built here, asked by the real client."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.plugin.conftest import environment, installed, suite

__all__ = ["environment", "installed", "suite"]

SOURCE = Path(__file__).with_name("fake_nvml.c")
VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    "PYTEST_XDIST_AUTO_NUM_WORKERS",
)


class Driver:
    """The driver that processes find which are started from here on."""

    def __init__(self, folder, monkeypatch):
        self._file = folder / "scenario"
        self._log = folder / "calls"
        self._log.mkdir()
        monkeypatch.setenv("FAKE_NVML", str(self._file))
        monkeypatch.setenv("FAKE_NVML_LOG", str(self._log))
        self._uuids = []

    def has(self, *names, mib=16384, lines=()):
        """Let the machine have these GPUs; return their UUIDs in PCI order."""
        self._uuids = [uuid(place) for place in range(len(names))]
        gpus = [f"gpu {i} {self._uuids[i]} {mib} {name}" for i, name in enumerate(names)]
        self._file.write_text("\n".join([*gpus, *lines, ""]))
        return self._uuids

    def has_equal(self, number):
        """Let the machine have so many GPUs of one kind."""
        return self.has(*["Fake H100"] * number)

    @property
    def calls(self):
        """Return pid -> function -> how often that process called it, as the library saw it."""
        return {
            int(file.name): Counter(line.split()[0] for line in file.read_text().splitlines())
            for file in self._log.iterdir()
        }


def uuid(place):
    """Return the UUID of a GPU; those of two differ from their first digit on."""
    return f"GPU-{place + 1:x}{place:07x}-aaaa-bbbb-cccc-{place:012x}"


def mig_uuid(place):
    return f"MIG-{place + 1:x}{place:07x}-dddd-eeee-ffff-{place:012x}"


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """Return the folder of the driver library."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler for the driver library of the tests")
    folder = tmp_path_factory.mktemp("driver")
    flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    name = "libnvidia-ml.so.1"
    command = (compiler, *flags, f"-Wl,-soname,{name}", "-o", folder / name, SOURCE)
    subprocess.run(command, check=True)
    return folder


@pytest.fixture
def no_driver(monkeypatch):
    """Leave no variable that chooses GPUs."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def driver(library, no_driver, tmp_path_factory, monkeypatch):
    """Return the driver of a machine, without GPU at first."""
    old = os.environ.get("LD_LIBRARY_PATH")
    monkeypatch.setenv("LD_LIBRARY_PATH", os.pathsep.join([str(library), *([old] if old else [])]))
    made = Driver(tmp_path_factory.mktemp("machine"), monkeypatch)
    made.has()
    return made
