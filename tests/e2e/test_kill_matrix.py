"""Whoever is killed at whatever moment: what was finished is kept, and resuming gives the whole."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pytest_smoltrace.pipeline import finish
from tests.e2e import kill_matrix as km
from tests.e2e.forked_pytest import Forks
from tests.truth import equality

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, forks, kills")

ROUNDS = int(os.environ.get("SMOLTRACE_KILL_ROUNDS", "8"))
"""Times that each strike falls."""
SEED = "SMOLTRACE_KILL_SEED"
WORKERS = ("-n", str(km.WORKERS))
KILLED = [strike for strike in km.STRIKES if strike.kills_controller]
DISTS = ("--dist=load", "--dist=worksteal")
RESUME = ("--smoltrace-resume=last",)
COMPLETED, CRASH, INTERRUPTED = "completed", "crash", "interrupted"


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A session that nobody struck."""

    forks: Forks
    directory: Path
    tables: equality.Tables
    pace: km.Pace
    port: int


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    with Forks() as forks:
        trial = km.Trial(folder=tmp_path_factory.mktemp("whole") / "suite", forks=forks)
        try:
            trial.serve()
            began = time.monotonic()
            pid = trial.start(*WORKERS)
            trial.reaches(pid, 1)
            first = time.monotonic()
            trial.reaches(pid, km.CASES)
            last = time.monotonic()
            assert trial.wait(pid) == pytest.ExitCode.OK, trial.story()
            pace = km.Pace(start_s=first - began, end_s=time.monotonic() - last)
            assert trial.run_directory is not None
            tables = equality.read(trial.run_directory)
            km.check_rows(trial, tables)
            km.check_board(trial, tables, {COMPLETED})
            km.check_spent(trial, tables)
        finally:
            trial.stop()
        yield Undisturbed(
            forks=forks,
            directory=trial.run_directory,
            tables=tables,
            pace=pace,
            port=trial.port,
        )


@pytest.fixture
def trial(undisturbed, tmp_path):
    made = km.Trial(folder=tmp_path / "suite", forks=undisturbed.forks, port=undisturbed.port)
    made.serve()
    yield made
    made.stop()
    print("; ".join(made.said))  # noqa: T201 - of a test that failed


def seeded(strike: km.Strike, number: int, trial: km.Trial) -> random.Random:
    seed = os.environ.get(SEED) or str(random.randrange(10**6))
    trial.said.append(f"{SEED}={seed}, number {number}")
    return random.Random(f"{seed} {strike} {number}")


@pytest.mark.parametrize("strike", km.STRIKES, ids=str)
@pytest.mark.parametrize(
    "number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, ROUNDS))]
)
def test_a_strike(undisturbed, trial, strike, number):
    rng = seeded(strike, number, trial)
    struck(undisturbed, trial, strike, rng, *WORKERS, rng.choice(DISTS))
    if number % 3 == 2:
        struck(undisturbed, trial, rng.choice(km.STRIKES), rng, *WORKERS)
    check_whole(undisturbed, trial, *rng.choice([(), ("-n", "2"), WORKERS]))


@pytest.mark.slow
@pytest.mark.parametrize("strike", KILLED, ids=str)
def test_sessions_that_are_no_forks(undisturbed, trial, strike):
    rng = seeded(strike, 0, trial)
    trial.forks = undisturbed.forks.processes
    struck(undisturbed, trial, strike, rng, *WORKERS)
    if trial.run_directory is not None:
        command = "from pytest_smoltrace.cli import main; raise SystemExit(main())"
        build = [sys.executable, "-c", command, "build", "last"]
        done = subprocess.run(build, check=True, cwd=trial.folder, capture_output=True, text=True)
        assert "the session was killed before it ended" in done.stderr
        km.check_rows(trial, equality.read(trial.run_directory))
    check_whole(undisturbed, trial, *WORKERS)


def struck(undisturbed, trial, strike, rng, *options):
    """Run a session or go on with it, strike, and check what is left."""
    began = trial.run_directory is not None
    pid = trial.start(*options, *(RESUME * began))
    trial.strike(pid, strike, rng, undisturbed.pace)
    trial.wait(pid)
    if strike.target == "server":
        trial.serve()
    km.check_nothing_left(trial)
    if trial.run_directory is None:
        assert not trial.logged, trial.story()
        return
    built = None if strike.kills_controller else km.check_files(trial, undisturbed.directory)
    finish(trial.run_directory)
    tables = km.check_files(trial, undisturbed.directory)
    assert built in (None, tables), trial.story()
    passed = km.check_rows(trial, tables)
    found = equality.case_differences(undisturbed.tables, tables, passed)
    assert found == [], "\n".join([*found[:20], trial.story()])
    km.check_board(trial, tables, {COMPLETED, *map(ending, trial.strikes)})


def ending(strike):
    """Return how a session may have ended at the latest; a refused one left it as it was."""
    return CRASH if strike.kills_controller else INTERRUPTED if strike.stops else COMPLETED


def check_whole(undisturbed, trial, *options):
    """Go on undisturbed, and have what nobody disturbed."""
    began = trial.run_directory is not None
    pid = trial.start(*options, *(RESUME * began))
    assert trial.wait(pid) == pytest.ExitCode.OK, trial.story()
    km.check_nothing_left(trial)
    tables = km.check_files(trial, undisturbed.directory)
    km.check_rows(trial, tables)
    km.check_board(trial, tables, {COMPLETED})
    km.check_spent(trial, tables)
    found = equality.differences(undisturbed.tables, tables, counted=True)
    assert found == [], "\n".join([*found[:20], trial.story()])
