"""Trials beside plugins that repeat, rerun and shuffle tests of their own accord."""

from collections import Counter
from importlib.util import find_spec

import pytest

from tests.plugin.test_trials import ONE, RETRY, STABLE, cases, collected, ids, into

needs_repeat = pytest.mark.skipif(not find_spec("pytest_repeat"), reason="no pytest-repeat")
needs_reruns = pytest.mark.skipif(
    not find_spec("pytest_rerunfailures"), reason="no pytest-rerunfailures"
)
needs_randomly = pytest.mark.skipif(not find_spec("pytest_randomly"), reason="no pytest-randomly")


def trials(run):
    return sorted((row["trial"], row["trials"]) for row in run.rows("results"))


@needs_repeat
def test_copies_of_pytest_repeat_are_trials(suite):
    run = suite("--count=3", source=ONE)
    assert ids(run) == {("test_it", n): f"test_it[{n + 1}-3]" for n in range(3)}
    assert trials(run) == [(0, 3), (1, 3), (2, 3)]
    (board,) = run.rows("leaderboard")
    assert (board["evaluated_prompts"], board["num_tests"], board["pass_k"]) == (1, 3, 3)


@needs_repeat
def test_copies_and_trials_multiply(suite):
    run = suite("--count=2", "--smoltrace-trials=3", source=ONE)
    assert trials(run) == [(n, 6) for n in range(6)]
    names = {row["trial"]: row["nodeid"].rpartition("::")[2] for row in run.rows("results")}
    assert [names[n] for n in range(6)] == [
        f"test_it[{copy}-2-t{trial}]" for trial in range(3) for copy in (1, 2)
    ]


@needs_repeat
@pytest.mark.parametrize("scope", ["function", "class", "module", "session"])
def test_the_scope_of_copies_changes_no_case(suite, scope):
    one = cases(into(suite, "one", source=STABLE))
    args = (f"--repeat-scope={scope}", "--count=2", "--smoltrace-agent-type=both")
    run = into(suite, "two", *args, source=STABLE)
    assert cases(run) == one
    number = Counter((r["case_id"], r["agent_type"], r["trial"]) for r in run.rows("results"))
    assert len(number) == len(one) * 4
    assert set(number.values()) == {1}


@needs_repeat
def test_the_marker_of_pytest_repeat(suite):
    source = """
    import pytest

    @pytest.mark.repeat(4)
    @pytest.mark.parametrize("x", ["1-4", "2-4"])
    def test_it(smoltrace_case, x): pass

    @pytest.mark.repeat(2)
    def test_plain(): pass
    """
    run = suite(source=source)
    rows = run.rows("results")
    found = Counter((row["case_id"].rpartition("::")[2], row["trials"]) for row in rows)
    assert found == {("test_it[1-4]", 4): 4, ("test_it[2-4]", 4): 4}


RERUN = """
import pathlib
import pytest

TRIES = {"a": "p", "b": "fp", "c": "xp", "d": "xxf"}

@pytest.mark.parametrize("name", TRIES)
def test_case(ask, smoltrace_case, name):
    path = pathlib.Path(f"{name}-{smoltrace_case.trial}.txt")
    attempt = len(path.read_text()) if path.exists() else 0
    path.write_text("." * (attempt + 1))
    fate = TRIES[name][attempt:] or "f"
    if fate[0] == "x":
        ask("fail 500")
    ask("answer yes")
    assert fate[0] == "p"
"""


def both(of_case):
    """Return what holds for each case in both of its trials."""
    return {(name, trial): value for name, value in of_case.items() for trial in (0, 1)}


@needs_reruns
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_reruns_are_attempts_of_their_trial(suite, workers):
    run = suite("--reruns=2", "--smoltrace-trials=2", RETRY, *workers, source=RERUN)
    rows = run.rows("results")
    attempts = Counter((row["case_id"][-2], row["trial"]) for row in rows)
    assert attempts == both({"a": 1, "b": 2, "c": 2, "d": 3})
    counted = {(row["case_id"][-2], row["trial"]): row for row in rows if row["counted"]}
    # An attempt after an agent's failure never counts; one after trouble with the server does.
    found = {key: (row["attempt"], row["success"]) for key, row in counted.items()}
    assert found == both({"a": (0, True), "b": (0, False), "c": (1, True), "d": (2, False)})
    (board,) = run.rows("leaderboard")
    assert (board["num_tests"], board["successful_tests"]) == (8, 4)
    assert (board["pass_k"], board["pass_hat_k"], board["pass_at_k"]) == (2, 0.5, 0.5)


@needs_repeat
@needs_reruns
def test_reruns_of_copies(suite):
    run = suite("--reruns=1", "--count=2", RETRY, source=RERUN)
    attempts = Counter((row["case_id"][-2], row["trial"]) for row in run.rows("results"))
    assert attempts == both({"a": 1, "b": 2, "c": 2, "d": 2})


@needs_randomly
def test_a_shuffled_session_has_the_same_trials(suite):
    source = """
    import pytest

    @pytest.mark.parametrize("n", range(6))
    def test_it(smoltrace_case, n): pass
    """
    plain = collected(suite, source, "--smoltrace-trials=3")
    mixed = collected(suite, source, "--smoltrace-trials=3", "-p", "pytest_randomly")
    assert sorted(mixed) == sorted(plain)
    assert mixed != plain


def test_a_users_own_order_comes_last(suite):
    """A conftest that sorts the items decides, whatever pytest made of the trials."""
    conftest = """
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.nodeid)
"""
    source = """
    import pytest

    @pytest.mark.parametrize("n", range(3))
    def test_it(smoltrace_case, n): pass
    """
    run = suite("--collect-only", "-q", "--smoltrace-trials=2", source=source, conftest=conftest)
    names = [line.partition("::")[2] for line in run.out.splitlines() if "::" in line]
    assert names == [f"test_it[{n}-t{trial}]" for n in range(3) for trial in range(2)]
