"""What a session notes of its process while cases run, and when it ends a phase."""

import itertools
import json
import sys

import pytest

from pytest_smoltrace.presence import clock_id

CASES = """
import os, time
import pytest

def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

@pytest.fixture
def slow():
    time.sleep(1.2)

@pytest.mark.smoltrace
def test_short():
    time.sleep(0.3)

@pytest.mark.smoltrace
def test_long(slow):
    burn(1.5)
    time.sleep(0.5)
"""
FAKE_TORCH = """
import os, sys, time, types

torch = types.ModuleType("torch")
torch.cuda = types.ModuleType("torch.cuda")
torch.cuda.initialized, torch.cuda.seen = False, []
torch.cuda.is_initialized = lambda: torch.cuda.initialized

def synchronize():
    torch.cuda.seen.append(os.environ.get("PYTEST_CURRENT_TEST", "teardown").rpartition("::")[2])
    time.sleep(0.4)
    raise RuntimeError("CUDA error: unspecified launch failure")

torch.cuda.synchronize = synchronize
sys.modules.update({"torch": torch, "torch.cuda": torch.cuda})

def pytest_unconfigure(config):
    print("WAITED", torch.cuda.seen)
"""
WITH_TORCH = """
import sys
import pytest

@pytest.mark.smoltrace
def test_a():
    pass

@pytest.mark.smoltrace
def test_b():
    sys.modules["torch.cuda"].initialized = True

@pytest.mark.smoltrace
def test_c():
    assert False
"""
LATER = """
import sys

def pytest_unconfigure(config):
    print("TORCH", [name for name in sys.modules if name.partition(".")[0] == "torch"])
"""


def records(run):
    """Return the records of the only run by name of the test."""
    (directory,) = run.runs
    lines = map(json.loads, (directory / "journal.jsonl").read_text().splitlines())
    return {
        line["declared"]["nodeid"].rpartition("::")[2]: line
        for line in lines
        if line["k"] == "case"
    }


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one", "xdist"])
def test_ticks_of_a_case(suite, workers):
    run = suite(*workers, source=CASES)
    assert run.outcomes == {"test_short": ("passed", None), "test_long": ("passed", None)}
    found = records(run)
    assert {one["clock"] for one in found.values()} == {clock_id()}
    assert found["test_short"]["ticks"] == []
    long = found["test_long"]
    began_ns = long["phases"][0]["start_mono_ns"]
    at_ns, cpu_s, rss_mib = zip(*long["ticks"], strict=True)
    # The case took 3.2 s or more; a thread that comes late comes in the same second mostly.
    seconds = [(one - began_ns + 50e6) // 1e9 for one in at_ns]
    assert len(seconds) >= 2
    assert seconds == sorted(set(seconds))
    assert seconds[0] >= 1
    assert long["cpu_s"] >= 1.5
    assert all(0 <= a <= b <= long["cpu_s"] for a, b in itertools.pairwise(cpu_s))
    if sys.platform == "linux":
        assert all(20 < one < 5000 for one in rss_mib)


def test_a_phase_ends_when_the_gpu_has_done_its_work(suite):
    run = suite("-s", source=WITH_TORCH, conftest=FAKE_TORCH)
    phases = ["test_b (call)", "teardown", "test_c (setup)", "test_c (call)", "teardown"]
    assert f"WAITED {phases}" in run.out
    assert {name: kind for name, (kind, _) in run.outcomes.items()} == {
        "test_a": "passed",
        "test_b": "passed",
        "test_c": "failed",
    }
    long = {
        (name, phase["when"]): phase["end_mono_ns"] - phase["start_mono_ns"] >= 0.4e9
        for name, one in records(run).items()
        for phase in one["phases"]
    }
    waited = {("test_b", "call"), ("test_b", "teardown")}
    waited |= {("test_c", when) for when in ("setup", "call", "teardown")}
    assert {key for key, is_long in long.items() if is_long} == waited


def test_torch_is_not_imported(suite):
    source = """
    import pytest

    @pytest.mark.smoltrace
    def test_it(ask):
        assert ask("answer 3") == "3"
    """
    run = suite("-s", source=source, conftest=LATER)
    assert run.outcomes == {"test_it": ("passed", None)}
    assert "TORCH []" in run.out
