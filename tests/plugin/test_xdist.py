"""Two workers give what one process gives; reports leave as they came."""

import json

import pytest

SOURCE = """
import pytest

@pytest.mark.parametrize("n", range(6))
@pytest.mark.smoltrace(difficulty="easy", expected_keywords="Bern")
def test_case(ask, n):
    ask(f"call look city=Bern; answer {'Bern' if n % 3 else 'Rome'}")

def test_checked(ask, smoltrace_case):
    ask("answer Bern")
    smoltrace_case.score("words", 1)
    smoltrace_case.extra["n"] = 1

def test_plain():
    pass
"""

SEES_REPORTS = """
import json, pathlib

class Sees:
    def pytest_runtest_logreport(self, report):
        names = sorted(name for name in vars(report) if "smoltrace" in name)
        sizes = [len(str(value)) for _, value in report.user_properties]
        with pathlib.Path("seen.txt").open("a") as file:
            print(json.dumps([names, sizes]), file=file)

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Sees())
"""

# What depends on the place or the time of a run.
VARIES = (
    *("worker_id", "pid", "host", "trace_id", "run_id", "session_id", "attempt_id", "seq"),
    *("evaluation_date", "start", "end", "_ms", "_time", "time_", "ttft", "tbt", "cpu", "rss"),
    *("timestamp", "order", "enhanced_trace_info", "span", "process", "peak"),
)


def stable(row):
    return {
        key: value for key, value in row.items() if not any(part in key.lower() for part in VARIES)
    }


@pytest.fixture
def both(suite, pytester):
    """Run the suite in one process and with two workers."""
    single = suite("--smoltrace-dir=one", "--junitxml=one.xml", source=SOURCE)
    single.directory = pytester.path / "one"
    double = suite(
        *("-n", "2", "--smoltrace-dir=two", "--junitxml=two.xml"),
        source=SOURCE,
        conftest=SEES_REPORTS,
    )
    double.directory = pytester.path / "two"
    return single, double


def test_two_workers(both, pytester):
    single, double = both
    for run in both:
        run.result.assert_outcomes(passed=6, failed=2)
        assert run.ret == pytest.ExitCode.TESTS_FAILED
    one, two = single.results, double.results
    assert list(one) == [f"test_case[{n}]" for n in range(6)] + ["test_checked"]
    assert {name: stable(row) for name, row in one.items()} == {
        name: stable(row) for name, row in two.items()
    }
    assert len(stable(one["test_checked"])) > 40
    assert {row["worker_id"] for row in two.values()} <= {"gw0", "gw1"}
    assert {row["worker_id"] for row in one.values()} == {"main"}
    assert len({row["session_id"] for row in two.values()}) == 1
    (first,), (second,) = single.rows("leaderboard"), double.rows("leaderboard")
    numbers = ("num_tests", "successful_tests", "success_rate", "total_tokens", "avg_steps",
               "total_tool_calls", "error_types", "success_rate_ci_low")  # fmt: skip
    assert {name: first.get(name) for name in numbers} == {
        name: second.get(name) for name in numbers
    }
    assert first["num_tests"] == 7
    seen = (pytester.path / "seen.txt").read_text().splitlines()
    assert len(seen) == 3 * 8
    reports = [json.loads(line) for line in seen]
    assert all(names == [] for names, _ in reports)
    # The figures of a case for JUnit XML, on its teardown report, and nothing as long as a bundle.
    assert sum(bool(sizes) for _, sizes in reports) == 7
    assert max(size for _, sizes in reports for size in sizes) < 100
    names = [(pytester.path / name).read_text() for name in ("one.xml", "two.xml")]
    for text in names:
        assert 'tests="8"' in text
        assert "smoltrace_bundle" not in text
        assert text.count("<testcase") == 8


DIES = """
import os, pytest

def test_before(ask):
    ask("answer Bern")

@pytest.mark.smoltrace(id="dies")
def test_dies(ask):
    ask("answer Bern")
    os._exit(9)

def test_after(ask):
    ask("answer Bern")
"""


def test_a_worker_that_dies_loses_one_case(suite):
    run = suite("-n", "1", source=DIES)
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    assert run.outcomes == {
        "test_before": ("passed", None),
        "test_dies": ("crashed", "worker_crash"),
        "test_after": ("passed", None),
    }
    assert run.results["test_dies"]["case_id"] == "dies"
