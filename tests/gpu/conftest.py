"""A machine with GPUs that do not exist: a driver library built here, asked by the real client."""

import shutil
import sys

import pytest

from tests.gpu.driver import Driver, Library, mig_uuid, uuid
from tests.plugin.conftest import environment, installed, suite

__all__ = ["environment", "installed", "mig_uuid", "suite", "uuid"]

VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    "PYTEST_XDIST_AUTO_NUM_WORKERS",
)


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """Return the driver library."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler for the driver library of the tests")
    return Library(tmp_path_factory.mktemp("driver"), compiler)


@pytest.fixture
def no_driver(monkeypatch):
    """Leave no variable that chooses GPUs."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def driver(library, no_driver, tmp_path_factory, monkeypatch):
    """Return the driver of a machine, without GPU at first."""
    made = Driver(tmp_path_factory.mktemp("machine"), monkeypatch, library)
    yield made
    made.close()
