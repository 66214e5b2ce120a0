"""What goes wrong with the sampler of a session: tests, exit code and energies so far stand."""

import signal
import subprocess
import sys
import time

import pytest

from tests.gpu.sampled_sessions import CASES, Done, gone, gpus, session, watt_hours
from tests.plugin.test_signals import COMMAND, start

__all__ = ["gpus", "session", "start"]

HURRY = """
from pytest_smoltrace import sampler_process as _process
_process.LIST_S = 1.0
"""
WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one", "two"])
GPUS = pytest.mark.usefixtures("gpus")


def all_passed(done):
    assert done.run.ret == 0, done.run.out
    assert {outcome for outcome, _ in done.run.outcomes.values()} == {"passed"}
    assert "Traceback" not in done.run.out + done.run.err
    assert "Warning: " not in done.run.out


# The driver


@WORKERS
@GPUS
@pytest.mark.parametrize("gpu", ["auto", "on"])
def test_a_driver_that_hangs_when_it_is_asked(session, driver, pytester, workers, gpu):
    driver.hang("nvmlInitWithFlags")
    done = session(f"--smoltrace-gpu={gpu}", *workers, conftest=HURRY)
    all_passed(done)
    why = "the driver of the GPUs did not answer within 1 s"
    assert done.lines == [f"smoltrace: GPU figures are missing: {why}"]
    assert len(driver.calls) == 1
    assert gone(pytester.path)
    assert done.row()["gpu_uuids"] is None
    assert done.row()["gpu_energy_wh"] is None


LASTS = """
import time

def test_before(ask):
    time.sleep(0.25)
    ask("answer yes")

def test_long(ask):
    while time.monotonic_ns() < {until}:
        time.sleep(0.05)
    ask("answer yes")

def test_after(ask):
    ask("answer yes")
"""


@GPUS
def test_a_driver_that_hangs_while_cases_run(session, driver, pytester):
    now = time.monotonic_ns()
    driver.start_at(now)
    driver.hang("nvmlDeviceGetFieldValues", start=8.0)
    done = session(source=LASTS.format(until=now + 9 * 10**9))
    all_passed(done)
    hangs = "the driver of the GPUs hangs: its sampler did not end within 5 s"
    assert done.lines == [f"smoltrace: GPU figures: {hangs}"]
    assert gone(pytester.path)
    rows = done.run.results
    assert rows["test_before"]["gpu_coverage"] == 1
    assert rows["test_before"]["gpu_energy_wh"] > 0
    assert rows["test_long"]["gpu_coverage"] < 1
    assert rows["test_after"]["gpu_energy_wh"] is None


# The sampler

KILL = CASES.replace(
    "    time.sleep(0.25)\n",
    """    time.sleep(0.25)
    if n == 1:
        for pid in os.listdir(os.environ["FAKE_NVML_LOG"]):
            os.kill(int(pid), 9)
        time.sleep(0.5)
""",
)


@WORKERS
@GPUS
def test_a_sampler_that_is_killed(session, pytester, workers):
    done = session(*workers, source=KILL)
    all_passed(done)
    died = "the sampler of the GPUs died before the session ended"
    assert done.lines == [f"smoltrace: GPU figures: {died}"]
    assert done.row(1)["gpu_coverage"] < 1
    assert 0 < done.row(1)["gpu_energy_wh"] < done.row(0)["gpu_energy_wh"] * 5
    if not workers:
        assert done.row(3)["gpu_energy_wh"] is None
    assert gone(pytester.path)


FULL = CASES.replace(
    "    time.sleep(0.25)\n",
    """    if n == 2:
        import resource
        (file,) = pathlib.Path(".smoltrace").glob("runs/*/samples/*")
        size = file.stat().st_size
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            if is_sampler(entry):
                resource.prlimit(int(entry.name), resource.RLIMIT_FSIZE, (size, size))
    time.sleep(0.25)
""",
)

IS_SAMPLER = """
def is_sampler(entry):
    try:
        here = (entry / "cwd").readlink() == pathlib.Path.cwd()
        return here and b"sampler/__main__.py" in (entry / "cmdline").read_bytes()
    except OSError:
        return False
"""


@GPUS
def test_a_disk_that_is_full(session, monkeypatch):
    monkeypatch.delenv("FAKE_NVML_LOG")  # it would not fit either
    done = session(source=FULL + IS_SAMPLER)
    all_passed(done)
    (line,) = done.lines
    assert line.startswith("smoltrace: GPU figures: ")
    assert line.endswith(f" ticks could not be written to {done.files[0]}: File too large")
    assert done.row(0)["gpu_coverage"] == 1
    assert done.row(3)["gpu_energy_wh"] is None


REMOVE = CASES.replace(
    "    time.sleep(0.25)\n",
    """    if n == 2:
        import shutil
        (folder,) = pathlib.Path(".smoltrace").glob("runs/*/samples")
        shutil.rmtree(folder)
    time.sleep(0.25)
""",
)


@WORKERS
@GPUS
def test_a_folder_that_somebody_removes(session, pytester, workers):
    done = session(*workers, source=REMOVE)
    all_passed(done)
    (line,) = done.lines
    folder = done.folder / "samples"
    assert line.startswith(f"smoltrace: GPU figures: {folder}")
    assert line.endswith(" was removed while it was written")
    assert done.row(0)["gpu_energy_wh"] is None
    assert gone(pytester.path)


# The session

STOPPED = """
import pytest, time
from conftest import hang

def test_done(ask):
    time.sleep(0.3)
    ask("answer Bern")

def test_cut(ask):
    time.sleep(1.2)
    hang("here")

def test_never(ask):
    ask("answer Bern")
"""


def energies(run):
    return {name: row["gpu_energy_wh"] for name, row in run.results.items()}


@WORKERS
@GPUS
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("group", [False, True], ids=["alone", "group"])
def test_a_session_that_is_stopped(start, pytester, workers, signum, group):
    session = start(STOPPED, *workers)
    session.reaches("here")
    session.signal(signum, group=group).ends()  # and nothing that it started goes on
    assert session.ret == pytest.ExitCode.INTERRUPTED
    assert "GPU figures" not in session.out
    found = energies(session)
    assert found["test_done"] > 0
    assert found["test_cut"] > 0
    assert gone(pytester.path)


@WORKERS
def test_a_controller_that_is_killed(start, driver, gpus, pytester, workers):
    session = start(STOPPED, *workers)
    session.reaches("here")
    session.signal(signal.SIGKILL)
    session.process.wait()
    assert gone(pytester.path)
    (run,) = session.runs
    command = [sys.executable, "-c", COMMAND, "build", str(run)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (row,) = [row for name, row in session.results.items() if name == "test_done"]
    assert row["gpu_coverage"] == 1
    length_s = row["execution_time_ms"] / 1000
    watts = sum(100.0 * (gpus.index(one) + 1) for one in row["gpu_uuids"])
    assert row["gpu_energy_wh"] == pytest.approx(watts * length_s / 3600, rel=0.1)


# Several sessions of one run

BROKEN_OFF = CASES.replace(
    "    time.sleep(0.25)\n",
    """    time.sleep(0.25)
    if n == 2 and os.environ.get("STOP"):
        os.kill(os.getpid(), 2)
""",
)


def true_energies(done, driver, gpus):
    """Return case -> energy of its call by the closed form, in Wh."""
    begin, end = done.times("calls"), done.times("called")
    return {
        name: sum(
            watt_hours(driver, gpus.index(one), begin[name], end[name]) for one in row["gpu_uuids"]
        )
        for name, row in done.run.results.items()
        if name in end
    }


@WORKERS
def test_a_run_that_is_resumed(session, driver, gpus, monkeypatch, workers):
    monkeypatch.setenv("STOP", "yes")
    session(source=BROKEN_OFF)
    monkeypatch.delenv("STOP")
    time.sleep(1)
    done = session("--smoltrace-resume=last", *workers, source=BROKEN_OFF)
    assert done.run.ret == 0, done.run.out
    assert len(done.files) == 2
    assert len(done.samplers) == 2
    rows = [row for row in done.run.rows("results") if row["counted"]]
    assert len(rows) == 4
    true = true_energies(done, driver, gpus)
    for row in rows:
        name = row["nodeid"].rpartition("::")[2]
        assert row["gpu_coverage"] == 1
        assert 0.85 * true[name] < row["gpu_energy_wh"] < 1.5 * true[name]
    # What the GPUs took between the sessions is nobody's.
    board = done.board
    attempts = done.run.rows("results")
    parts = sum((row["gpu_energy_wh"] or 0) + (row["gpu_energy_setup_wh"] or 0) for row in attempts)
    whole = sum(
        watt_hours(driver, gpus.index(device["uuid"]), int(at[0]), int(at[-1]))
        for samples in map(samples_of, done.files)
        for slot, device in enumerate(samples.header["devices"])
        for at in [samples.of(slot)["mono_ns"]]
    )
    assert board["total_gpu_energy_wh"] == pytest.approx(parts, rel=1e-9)
    rest = board["gpu_energy_unattributed_wh"]
    assert parts + rest == pytest.approx(whole, rel=0.02)


def samples_of(file):
    from tests.gpu.sampler_child import Samples

    return Samples(file)


def test_shards_that_are_merged(session, gpus, pytester):
    parts = []
    for index in (1, 2):
        place = f"shard-{index}"
        done = session(f"--smoltrace-shard={index}/2", f"--smoltrace-dir={place}")
        done.run.directory = pytester.path / place
        parts.append(done)
    before = {name: value for done in parts for name, value in done.energies.items()}
    assert len(before) == 4
    assert all(value > 0 for value in before.values())
    folders = [str(done.folder) for done in parts]
    command = [sys.executable, "-c", COMMAND, "merge", *folders, "--output", "merged"]
    merged = subprocess.run(command, cwd=pytester.path, capture_output=True, text=True, check=False)
    assert merged.returncode == 0, merged.stdout + merged.stderr
    whole = Done(Merged(pytester.path / "merged"), None, pytester.path)
    assert whole.energies == pytest.approx(before, rel=1e-9)
    assert whole.board["total_gpu_energy_wh"] == pytest.approx(
        sum(done.board["total_gpu_energy_wh"] for done in parts), rel=1e-9
    )


class Merged:
    """A run directory that was merged."""

    def __new__(cls, folder):
        from tests.plugin.test_shards import Folder

        return Folder(folder)
