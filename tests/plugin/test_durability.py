"""Directories that vanish and disks that are full: what was recorded stays, what is lost is said."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

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
RENEWED = "the run directory .smoltrace/runs/r was removed while the session ran; it has been written again"


@pytest.mark.parametrize("workers", [(), ("-n", "2", "--dist", "loadfile")], ids=["one", "xdist"])
@pytest.mark.parametrize(
    "body", [REMOVED, MOVED, UNLINKED, COPIED], ids=["removed", "moved", "unlinked", "copied"]
)
def test_a_run_directory_that_vanishes_is_written_again(suite, body, workers):
    run = suite("--smoltrace-run-id=r", *workers, source=SIX, conftest=acting(body))
    run.result.assert_outcomes(passed=6)
    assert run.ret == pytest.ExitCode.OK
    assert names(run) == ALL
    assert run.out.count("it has been written again") == 1
    assert run.stop_reason == "completed"
    assert not list(run.directory.rglob(".*.tmp"))
