"""A session that is a fork finds what one in a process of its own finds."""

import json
import signal
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sessions are no forks")

FACTS = """
import sys
IS_WARM = "pyarrow" in sys.modules
import json, os, pathlib, signal, threading
main = sys.modules["__main__"]
spec = getattr(main, "__spec__", None)
# Of one session alone; the last two are set by readline, where it is loaded first.
LEFT_OUT = ("SMOLTRACE_TESTS_FORK", "PYTEST_XDIST_TESTRUNUID", "_", "COLUMNS", "LINES")
numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)
FACTS = {
    "warm": IS_WARM,
    "main": spec and spec.name,
    "cwd": os.getcwd(),
    "path": [place for place in sys.path if place],
    "environ": {k: v for k, v in os.environ.items() if k not in LEFT_OUT},
    "arguments": [a for a in sys.argv if not a.startswith("--basetemp")],
    "threads": threading.active_count(),
    "handlers": [str(signal.getsignal(number)) for number in numbers],
    "streams": [(s.encoding, s.isatty(), s.fileno()) for s in (sys.__stdin__, sys.__stdout__)],
    "input": None if "PYTEST_XDIST_WORKER" in os.environ else sys.__stdin__.read(),
    "umask": os.umask(0o22),
    "ours": sorted(name for name in sys.modules if name.partition(".")[0] == "tests"),
    "leader": os.getpgrp() == os.getpid(),
}
where = os.environ.get("PYTEST_XDIST_WORKER", "main")
pathlib.Path(f"facts-{where}").write_text(json.dumps(FACTS))
"""
SOURCE = """
def test_it(ask):
    ask("answer Bern")
"""
DIES = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"


@pytest.fixture
def facts(suite, pytester, monkeypatch):
    """Run a session and return what was found in its process and in its worker."""

    def run(*, fork, **kwargs):
        monkeypatch.setenv("SMOLTRACE_TESTS_FORK", str(int(fork)))
        ended = suite("-n", "1", source=SOURCE, conftest=FACTS, **kwargs)
        assert ended.ret == pytest.ExitCode.OK, ended.out + ended.err
        files = [pytester.path / f"facts-{name}" for name in ("main", "gw0")]
        return [json.loads(file.read_text()) for file in files]

    return run


def test_what_a_session_finds(facts):
    own = facts(fork=False)
    facts(fork=True)  # the first of its kind begins as a command
    forked = facts(fork=True)
    assert [one.pop("warm") for one in own] == [False, False]
    assert [one.pop("warm") for one in forked] == [True, True]
    for found, wanted in zip(forked, own, strict=True):
        for name in wanted:
            assert found[name] == wanted[name], name


def test_a_module_in_the_place_of_a_library_is_used(facts, pytester):
    facts(fork=True)
    pytester.makepyfile(sitecustomize="")
    assert [one["warm"] for one in facts(fork=True)] == [False, False]


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "OTEL_ANYTHING", "PYTHONWARNINGS"])
def test_what_is_read_at_the_start_is_read(facts, monkeypatch, name):
    facts(fork=True)
    monkeypatch.setenv(name, "ignore" if name == "PYTHONWARNINGS" else "/nowhere")
    assert [one["warm"] for one in facts(fork=True)] == [False, False]


def test_the_signal_that_ends_a_session_is_told(suite):
    for _ in range(2):
        assert suite(source=DIES).ret == -signal.SIGKILL
