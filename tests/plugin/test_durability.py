"""Directories that vanish and disks that are full: what is recorded stays, what is lost is said."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys

import pytest

from pytest_smoltrace.cli import main

SIX = """
import pytest

@pytest.mark.parametrize("n", range(6))
def test_case(ask, n):
    ask(f"answer Bern {n}")
"""

ACTS = """
import pytest

def act(n):
    raise NotImplementedError

@pytest.fixture(autouse=True)
def _acts(request):
    act(request.node.callspec.params["n"])
"""


def acting(body):
    """Return a conftest that does something before each case, by its number."""
    return ACTS.replace("    raise NotImplementedError", body.strip("\n"))


def names(run):
    return {name: outcome for name, (outcome, _) in run.outcomes.items()}


ALL = {f"test_case[{n}]": "passed" for n in range(6)}

REMOVED = """
    import shutil
    if n == 3:
        shutil.rmtree(".smoltrace")
"""
MOVED = """
    import os
    if n == 3:
        os.rename(".smoltrace", "elsewhere")
"""
UNLINKED = """
    import pathlib
    if n == 3:
        next(pathlib.Path(".smoltrace").rglob("journal.jsonl")).unlink()
"""
COPIED = """
    import os, shutil
    if n == 3:
        shutil.copytree(".smoltrace", "copy")
        shutil.rmtree(".smoltrace")
        os.rename("copy", ".smoltrace")
"""


@pytest.mark.parametrize(
    ("body", "workers"),
    [(REMOVED, []), (MOVED, []), (UNLINKED, []), (COPIED, []), (REMOVED, ["-n", "2"])],
    ids=["removed", "moved", "unlinked", "copied", "xdist"],
)
def test_a_run_directory_that_vanishes_is_written_again(suite, body, workers):
    run = suite("--smoltrace-run-id=r", *workers, source=SIX, conftest=acting(body))
    run.result.assert_outcomes(passed=6)
    assert run.ret == pytest.ExitCode.OK
    assert names(run) == ALL
    renewed = f"{run.directory}/runs/r was removed while the session ran; it has been written again"
    assert run.out.count(f"smoltrace: the run directory {renewed}") == 1
    assert run.stop_reason == "completed"
    assert not list(run.directory.rglob(".*.tmp"))


def mounted(folder, size_kib):
    """Mount a small file system of its own; skip where one cannot."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot mount: {made.stderr.strip()}")


@pytest.fixture
def disk(pytester):
    """Return a disk of 800 KiB."""
    folder = pytester.path / "disk"
    mounted(folder, 800)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


FILL = """
    import pathlib
    filler = pathlib.Path("disk/filler")
    if n in FULL and not filler.exists():
        with filler.open("wb", buffering=0) as stream:
            try:
                while stream.write(bytes(4096)):
                    pass
            except OSError:
                pass
    if n not in FULL:
        filler.unlink(missing_ok=True)
"""


def full_during(*cases):
    return acting(FILL.replace("FULL", str(cases)))


ARGS = ("--smoltrace-dir=disk", "--smoltrace-run-id=r", "-p", "no:randomly")


def test_a_disk_that_is_full_for_a_while_costs_nothing(suite, disk):
    run = suite(*ARGS, source=SIX, conftest=full_during(2, 3, 4))
    run.directory = disk
    run.result.assert_outcomes(passed=6)
    assert run.ret == pytest.ExitCode.OK
    assert names(run) == ALL
    assert run.stop_reason == "completed"
    assert "No space left" not in run.out + run.err


def test_a_disk_that_stays_full_costs_the_cases_that_do_not_fit(suite, disk):
    run = suite(*ARGS, source=SIX, conftest=full_during(3, 4, 5))
    run.directory = disk
    run.result.assert_outcomes(passed=6)
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    lost = f"3 cases could not be written to {disk}/runs/r/journal.jsonl: No space left on device"
    assert f"smoltrace: {lost}; run them again with --smoltrace-resume=r" in run.out
    build = f"pytest-smoltrace build {disk}/runs/r"
    line = f"cannot write the datasets in {disk}/runs/r: No space left on device"
    assert f"{line}; the journal is kept, make them later with: {build}" in run.out
    assert run.out.count("No space left") == 2
    assert "Traceback" not in run.out + run.err
    assert [path.name for path in run.runs[0].iterdir()] == ["journal.jsonl"]
    (disk / "filler").unlink()
    assert main(build.split()[1:]) == 0
    passed = [name for name, outcome in names(run).items() if outcome == "passed"]
    assert passed == [f"test_case[{n}]" for n in (0, 1, 2)]
    (row,) = run.rows("leaderboard")
    assert row["run_status"] == "partial"
    assert row["run_stop_reason"] == "error: 3 of the cases could not be written"
    assert (row["planned_tests"], row["num_tests"]) == (6, 3)
    go_on(suite, disk)


def go_on(suite, disk):
    """Run what is missing."""
    again = suite("--smoltrace-dir=disk", "--smoltrace-resume=r", source=SIX, conftest="\n")
    again.directory = disk
    again.result.assert_outcomes(passed=3, deselected=3)
    assert again.ret == pytest.ExitCode.OK
    (row,) = again.rows("leaderboard")
    assert (row["run_status"], row["planned_tests"], row["num_tests"]) == ("completed", 6, 6)


def test_a_disk_without_room_for_a_run_is_one_clear_line(suite, disk):
    with (disk / "filler").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(bytes(4096)):
            pass
    run = suite(*ARGS, source=SIX)
    run.directory = disk
    line = run.refused("cannot write the run directory", "No space left on device")
    assert "choose another one with --smoltrace-dir" in line
    assert run.runs == []


LIMITED = """
    import pathlib, resource
    no_limit = resource.RLIM_INFINITY
    limit = no_limit
    if n in (4, 5):
        limit = pathlib.Path(".smoltrace/runs/r/journal.jsonl").stat().st_size + 800
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, no_limit))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_a_limit_of_the_file_size_costs_the_cases_beyond_it(suite):
    """As on a full disk, whoever runs it."""
    run = suite("--smoltrace-run-id=r", source=SIX, conftest=acting(LIMITED))
    run.result.assert_outcomes(passed=6)
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    assert "smoltrace: 2 cases could not be written to " in run.out
    assert run.out.count("File too large") == 1
    passed = [name for name, outcome in names(run).items() if outcome == "passed"]
    assert passed == [f"test_case[{n}]" for n in range(4)]


IN_THE_WAY = """
    import pathlib, shutil
    if n == 3:
        shutil.rmtree(".smoltrace")
        pathlib.Path(".smoltrace").write_text("in the way")
"""


def test_a_run_directory_that_cannot_come_back_is_one_clear_line(suite):
    run = suite("--smoltrace-run-id=r", source=SIX, conftest=acting(IN_THE_WAY))
    run.result.assert_outcomes(passed=6)
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    said = [line for line in run.out.splitlines() if line.startswith("smoltrace: the run")]
    directory = f"{run.directory}/runs/r"
    why = "was removed while the session ran and cannot be written again"
    assert len(said) == 1
    assert said[0].startswith(f"smoltrace: the run directory {directory} {why}: ")
    assert said[0].endswith("; lost: 6 cases")
    assert "Traceback" not in run.out + run.err
    assert "cannot read" not in run.out


COMES_BACK = """
    import pathlib, shutil
    if n == 2:
        shutil.rmtree(".smoltrace")
        pathlib.Path(".smoltrace").write_text("in the way")
    if n == 4:
        pathlib.Path(".smoltrace").unlink()
"""


def test_a_run_directory_that_comes_back_late_is_whole(suite):
    run = suite("--smoltrace-run-id=r", source=SIX, conftest=acting(COMES_BACK))
    assert run.ret == pytest.ExitCode.OK
    assert names(run) == ALL
    assert run.out.count("it has been written again") == 1


def test_a_build_without_room_leaves_the_old_datasets_whole(suite, tmp_path, capsys):
    """With any room from none to enough: all files are the old ones or all are the new ones."""
    run = suite("--smoltrace-run-id=r", source=SIX)
    (first,) = run.runs
    journal = (first / "journal.jsonl").read_bytes()
    shorter = journal[: journal.rindex(b'{"k":"open"')]  # one case less: other datasets
    disk = tmp_path / "disk"
    mounted(disk, 100)
    try:
        seen = sweep(disk, journal, shorter)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    said = capsys.readouterr().err
    assert said.count("make them later with: pytest-smoltrace build ") == seen.count(1)
    assert "Traceback" not in said
    assert {1, 0} == set(seen)


def sweep(disk, journal, shorter):
    """Build anew with more and more room; return the exit codes."""
    codes, steps = [], range(0, 400, 24)
    for room in steps:
        remount(disk, 4000)
        shutil.rmtree(disk / "r", ignore_errors=True)
        (disk / "r").mkdir()
        (disk / "r" / "journal.jsonl").write_bytes(shorter)
        assert main(["build", str(disk / "r")]) == 0
        old = digest(disk)
        (disk / "r" / "journal.jsonl").write_bytes(journal)
        remount(disk, used_kib(disk) + room)
        codes.append(main(["build", str(disk / "r")]))
        new = digest(disk)
        assert new.keys() == old.keys(), room
        same = {name for name in old if new[name] == old[name]}
        assert bool(same) == (codes[-1] == 1), room
        assert not same or same == set(old), room
    return codes


def remount(disk, size_kib):
    command = ["mount", "-o", f"remount,size={size_kib}k", str(disk)]
    subprocess.run(command, check=True)


def used_kib(disk):
    return shutil.disk_usage(disk).used // 1024


def digest(disk):
    files = (path for path in (disk / "r").rglob("*") if path.is_file())
    return {
        str(path.relative_to(disk)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name != "journal.jsonl"
    }


DIES = """
import os, shutil

def test_before(ask):
    ask("answer Bern")

def test_dies(ask):
    shutil.rmtree(".smoltrace")
    os._exit(9)

def test_after(ask):
    ask("answer Bern")
"""


def test_a_worker_that_dies_with_the_run_directory_is_recorded(suite):
    run = suite("-n", "1", "--smoltrace-run-id=r", source=DIES)
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    assert names(run) == {"test_before": "passed", "test_dies": "crashed", "test_after": "passed"}
    assert run.out.count("it has been written again") == 1


@pytest.mark.parametrize("fsync", ["off", "interval", "case"])
def test_the_policy_reaches_the_journal(suite, fsync):
    """Counted in the process that writes: syncs of the journal while six cases ran."""
    run = suite(f"--smoltrace-fsync={fsync}", source=SIX, conftest=COUNTS_SYNCS)
    assert run.ret == pytest.ExitCode.OK
    (line,) = (line for line in run.out.splitlines() if line.startswith("SYNCS "))
    syncs = int(line.split()[1])
    # Of the header, of each case under `case`, and at the end; `interval` depends on the clock.
    assert {"off": syncs == 0, "interval": 2 <= syncs <= 8, "case": syncs == 8}[fsync]


COUNTS_SYNCS = """
from pytest_smoltrace import journal_file

syncs = []
real = journal_file._force
journal_file._force = lambda fd: syncs.append(fd) or real(fd)


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"SYNCS {len(syncs)}")
"""
