"""SIGTERM before a session has begun and after its last case: it leaves no file behind."""

import os
import signal

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")

SOURCE = """
def test_it(ask):
    ask("answer Bern")
"""
STRIKE = """
import os, pathlib, signal, tempfile

def strike():
    folder = pathlib.Path(tempfile.gettempdir())
    pathlib.Path("left").write_text(" ".join(p.name for p in folder.glob("smoltrace-*")))
    os.kill(os.getpid(), signal.SIGTERM)
"""
WHEN_MADE = """
from pytest_smoltrace.coordination import Coordination

genuine = Coordination.create

def create(worker_id):
    made = genuine(worker_id)
    strike()
    return made

Coordination.create = create
"""
WHEN_OVER = """
@pytest.hookimpl({order}=True)
def pytest_unconfigure():
    strike()
"""
MOMENTS = {
    "when it is made": WHEN_MADE,
    "first of all at the end": WHEN_OVER.format(order="tryfirst"),
    "last of all at the end": WHEN_OVER.format(order="trylast"),
}


@pytest.fixture
def temporary(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one", "xdist"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_shared_directory_goes_with_the_process(suite, temporary, pytester, moment, workers):
    controller = "\nif 'PYTEST_XDIST_WORKER' not in os.environ:"
    body = STRIKE + controller + MOMENTS[moment].replace("\n", "\n    ")
    run = suite(*workers, source=SOURCE, conftest=body)
    assert run.ret == -signal.SIGTERM, run.out + run.err
    # The directory was there when the signal came, or there was nothing to be shown.
    assert (pytester.path / "left").read_text().startswith("smoltrace-")
    assert list(temporary.glob("*smoltrace-*")) == []
    if moment != "when it is made":
        assert run.outcomes == {"test_it": ("passed", None)}
        assert run.stop_reason == "completed"
