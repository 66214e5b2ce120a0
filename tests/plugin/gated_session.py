"""Inner sessions with gates, and a baseline in which nothing fails."""

import json
import shutil

import pytest

SOURCE = """
import os, pytest

BAD = {int(n) for n in os.environ.get("BAD", "").split()}

@pytest.mark.parametrize("n", range(int(os.environ.get("CASES", "10"))))
@pytest.mark.smoltrace(expected_keywords="Bern")
def test_case(ask, n):
    ask("answer Bern")
    assert n not in BAD
"""
PLAIN = """
import os

def test_plain():
    assert not os.environ.get("PLAIN")
"""
OLD = "old"
STORED = {}


@pytest.fixture
def outside(monkeypatch):
    """Hide a CI system, which decides what a missing baseline means."""
    for name in ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "BAD", "CASES", "PLAIN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def judged(suite, outside, pytester, monkeypatch, tmp_path_factory):
    """Run a session with gates; return it, its gates.json as `gates`."""

    def run(
        *args, bad=(), cases=10, trials=1, base=False, source=SOURCE, run_id="new", broken=False,
        **kwargs,
    ):  # fmt: skip
        if base:
            keep_base(cases, trials)
        monkeypatch.setenv("BAD", " ".join(map(str, bad)))
        monkeypatch.setenv("CASES", str(cases))
        flags = [f"--smoltrace-run-id={run_id}"]
        flags += [f"--smoltrace-trials={trials}"] * bool(trials)
        return with_gates(suite(*args, *flags, source=source, **kwargs), run_id, broken=broken)

    def keep_base(cases, trials):
        """Have a run of this suite in which nothing fails; the same for all tests."""
        folder = pytester.path / ".smoltrace" / "runs" / OLD
        if (cases, trials) not in STORED:
            monkeypatch.setenv("BAD", "")
            monkeypatch.setenv("CASES", str(cases))
            found = suite(f"--smoltrace-trials={trials}", "--smoltrace-run-id=old", source=SOURCE)
            assert found.ret == 0
            kept = tmp_path_factory.mktemp("base") / OLD
            STORED[cases, trials] = shutil.copytree(folder, kept)
        elif not folder.exists():
            shutil.copytree(STORED[cases, trials], folder)

    run.base = keep_base
    return run


def with_gates(run, run_id, *, broken=False):
    """Let a run tell what its gates came to, after checking that all places agree on it."""
    folder = run.directory / "runs" / run_id
    run.folder = folder
    run.gates = run.summary = None
    if (folder / "summary.json").exists():
        run.summary = json.loads((folder / "summary.json").read_text())
    if (folder / "gates.json").exists():
        run.gates = json.loads((folder / "gates.json").read_text())
        assert run.gates == run.summary["gates"]
        assert run.gates["exit_status"] == run.summary["exit_status"] == run.ret
    assert broken == ("INTERNALERROR" in run.out + run.err)
    return run


def statuses(run):
    """Return name of the gate -> status; for several runs, a list."""
    found = {}
    for result in run.gates["results"]:
        found.setdefault(result["name"], []).append(result["status"])
    return {name: each[0] if len(each) == 1 else each for name, each in found.items()}


def result(run, name):
    return next(each for each in run.gates["results"] if each["name"] == name)
