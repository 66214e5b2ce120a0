"""Workers of one host share a directory, which is gone afterwards; a terminal says who waits."""

import json
import os
import re
import subprocess
import sys

import pytest
from execnet import XSpec

from pytest_smoltrace.config import Limits
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.preflight import check_hosts

SHARES = """
import json, os, pathlib, pytest

@pytest.fixture
def shared(request):
    return request.config.pluginmanager.get_plugin("smoltrace-session").coordination

@pytest.mark.parametrize("n", range(8))
@pytest.mark.smoltrace
def test_case(ask, shared, n):
    ask("answer Bern")
    shared.spend(0.25, n)
    place = shared.try_slot("endpoint", 3)
    assert place is not None
    place.release()
    spent = shared.spent()
    line = [str(shared.directory), os.getpid(), spent.calls, spent.tokens, spent.cost_usd]
    with pathlib.Path("shared.txt").open("a") as file:
        print(json.dumps(line), file=file)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Return the directory in which the inner session makes its temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("TEMP", str(folder))
    return folder


def left(temporary):
    return sorted(path.name for path in temporary.glob("smoltrace-*"))


@pytest.mark.parametrize(("flags", "processes"), [((), 1), (("-n", "2"), 2)])
def test_all_workers_share_one_directory(suite, pytester, temporary, flags, processes):
    run = suite(*flags, source=SHARES)
    run.result.assert_outcomes(passed=8)
    seen = [json.loads(line) for line in (pytester.path / "shared.txt").read_text().splitlines()]
    assert len({directory for directory, *_ in seen}) == 1
    assert len({pid for _, pid, *_ in seen}) == processes
    assert seen[0][0].startswith(str(temporary))
    assert max(numbers for _, _, *numbers in seen) == [8, sum(range(8)), 2.0]
    assert left(temporary) == []


def test_a_session_that_runs_nothing_makes_no_directory(suite, temporary, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(temporary / "missing"))
    run = suite("--collect-only", source=SHARES)
    assert run.ret == 0
    assert left(temporary) == []


@pytest.mark.parametrize("budget", ["usd", "tokens"])
@pytest.mark.parametrize("spec", ["ssh=nowhere.invalid", "socket=127.0.0.1:9"])
def test_a_budget_across_hosts_is_refused(suite, temporary, budget, spec):
    option = f"--smoltrace-budget-{budget}"
    run = suite("--dist=load", "--tx=popen", f"--tx={spec}", f"{option}=5", source=SHARES)
    run.refused("the session budget cannot be held across hosts", spec, option)
    assert run.runs == []
    assert left(temporary) == []


def test_a_budget_of_processes_of_this_host_is_held(suite, temporary):
    run = suite("--dist=load", "--tx=2*popen", "--smoltrace-budget-tokens=99999", source=SHARES)
    run.result.assert_outcomes(passed=8)
    assert left(temporary) == []


@pytest.mark.parametrize(
    ("spec", "refused"),
    [
        ("popen", False),
        ("popen//chdir=/tmp", False),
        ("execmodel=main_thread_only//popen//id=gw0", False),
        ("ssh=user@host//python=python3", True),
        ("socket=10.0.0.1:8888", True),
        ("vagrant_ssh=default", True),
        ("popen//via=proxy", True),
    ],
)
def test_which_workers_are_of_this_host(spec, refused):
    specs = [XSpec("popen"), XSpec(spec)]
    check_hosts(specs, Limits())
    if not refused:
        check_hosts(specs, Limits(budget_usd=1.0, budget_tokens=1))
        return
    with pytest.raises(ConfigError) as caught:
        check_hosts(specs, Limits(budget_usd=1.0, budget_tokens=1))
    assert f": {spec} is not" in str(caught.value)
    assert "--smoltrace-budget-usd and --smoltrace-budget-tokens" in str(caught.value)


WAITS = """
import time, pytest

@pytest.mark.smoltrace
def test_waits(request):
    shared = request.config.pluginmanager.get_plugin("smoltrace-session").coordination
    shared.waiting(request.node.nodeid, "rate limit", time.time() + 60)
    time.sleep(3)
    shared.resumed()

@pytest.mark.smoltrace
def test_runs():
    time.sleep(3)
"""
SOON = """
import pytest_smoltrace.progress as progress
progress.FIRST_AFTER_S, progress._TICK_S = 1.0, 0.1
"""


def on_a_terminal(pytester, *flags):
    """Return what pytest writes to a terminal."""
    import pty

    outside, inside = pty.openpty()
    off = ("-p", "no:cacheprovider", "-p", "no:randomly")
    words = [sys.executable, "-m", "pytest", *off, *flags]
    env = {name: text for name, text in os.environ.items() if name not in ("CI", "BUILD_NUMBER")}
    process = subprocess.Popen(words, cwd=pytester.path, env=env, stdout=inside, stderr=inside)
    os.close(inside)
    written = b""
    try:
        while data := os.read(outside, 4096):
            written += data
    except OSError:
        pass  # how Linux ends a terminal
    finally:
        os.close(outside)
        process.wait(timeout=60)
    return written.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("flags", [(), ("-n", "2")])
def test_a_waiting_case_is_shown_as_waiting(suite, pytester, flags):
    conftest = pytester.path / "conftest.py"
    conftest.write_text(conftest.read_text(encoding="utf-8") + SOON, encoding="utf-8")
    pytester.makepyfile(test_it=WAITS)
    text = on_a_terminal(pytester, "--smoltrace-model=scripted:m", *flags)
    assert "2 passed" in text
    assert re.search(
        r"^smoltrace: test_it\.py::test_waits(\[\S+\])? has been waiting for [12] s "
        r"\(rate limit, next request in 5[89] s\), running for [12] s in all\r?$",
        text,
        re.MULTILINE,
    )
    assert re.search(
        r"^smoltrace: test_it\.py::test_runs(\[\S+\])? has been running for [12] s\r?$",
        text,
        re.MULTILINE,
    )
