"""Other plugins beside ours: pytest reports what it reports without us, and each row is right."""

import html
import json
import random
import re
import xml.etree.ElementTree as ET
from collections import Counter

import pytest

from tests.plugin.conftest import CONFTEST, Run

ALSO = {"html": ("metadata", "html_fixtures")}
"""Further entry points of a plugin."""
FLAGS = {
    "rerunfailures": (),
    "timeout": (),
    "randomly": ("--randomly-seed=7",),
    "pytest_cov": ("--cov=.", "--cov-branch", "--cov-report=json:cov.json"),
    "asyncio": (),
    "html": ("--html=report.html", "--self-contained-html"),
    "pytest_reportlog": ("--report-log=log.jsonl",),
}
WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])

# Does what the model would be told, so that a suite runs without the plugin too.
STUB = """
import pytest

@pytest.fixture
def ask():
    def run(script):
        answer = None
        for word, _, rest in (part.strip().partition(" ") for part in script.split(";")):
            if word == "fail":
                raise RuntimeError(rest)
            answer = rest if word == "answer" else answer
        return answer
    return run

def pytest_configure(config):
    config.addinivalue_line("markers", "smoltrace(**declared)")
"""
# A session without its plugin does not see a file; nobody sees what kills a process unasked.
SELECTS = """
import os

NEEDS = {"test_async.py": "asyncio", "test_timed.py": "timeout", "test_dies.py": "timeout"}

def pytest_ignore_collect(collection_path, config):
    needed = NEEDS.get(collection_path.name)
    if needed and not config.pluginmanager.hasplugin(needed):
        return True
    if collection_path.name == "test_dies.py" and not os.environ.get("DIES"):
        return True
    return None
"""
INI = """
[pytest]
asyncio_default_fixture_loop_scope = function
markers =
    timeout(seconds, method)
    asyncio
    flaky(reruns)
"""
FILES = {
    "product.py": """
def price(amount):
    if amount > 2:
        return amount * 2
    return amount

def unused():
    return 1
""",
    "test_alpha.py": """
import os, pathlib
import pytest
import product

@pytest.fixture(scope="module")
def shared():
    yield os.getpid()

@pytest.mark.parametrize("n", range(4))
@pytest.mark.smoltrace(difficulty="easy", expected_keywords="Bern")
def test_city(ask, shared, n):
    assert shared == os.getpid()
    assert product.price(n) >= n
    ask("call look city=Bern; answer Bern")

def test_plain():
    assert product.price(1) == 1

def test_fails(ask):
    assert ask("answer Bern") == "Rome"

@pytest.mark.skip(reason="not today")
def test_skipped(ask):
    ask("answer Bern")

@pytest.mark.xfail(reason="known")
def test_known(ask):
    assert ask("answer Bern") == "Rome"

@pytest.mark.xfail(reason="mended")
def test_mended(ask):
    assert ask("answer Bern") == "Bern"

@pytest.mark.flaky(reruns=2)
def test_flaky(ask):
    first = not pathlib.Path("tried.txt").exists()
    pathlib.Path("tried.txt").touch()
    ask("fail 500" if first else "answer Bern")

@pytest.mark.flaky(reruns=1)
def test_never(ask):
    assert ask("answer Bern") == "Rome"
""",
    "test_beta.py": """
import pytest

class TestGroup:
    @pytest.fixture(scope="class")
    @classmethod
    def room(cls):
        yield object()

    def test_one(self, room, ask):
        ask("answer one")

    def test_two(self, room, ask):
        ask("call broken city=Bern; answer two")

    def test_wrong(self, room, ask):
        pytest.fail("no good")

@pytest.fixture
def poor():
    yield
    raise RuntimeError("the teardown is broken")

def test_teardown(ask, poor):
    ask("answer Bern")

@pytest.fixture
def missing():
    raise RuntimeError("there is none")

def test_setup(ask, missing):
    pass
""",
    "test_async.py": """
import asyncio
import pytest
import pytest_asyncio

@pytest_asyncio.fixture
async def answer():
    await asyncio.sleep(0)
    yield "Bern"

@pytest.mark.asyncio
async def test_async(ask, answer):
    await asyncio.sleep(0)
    assert ask(f"answer {answer}") == answer
""",
    "test_timed.py": """
import time
import pytest

@pytest.mark.timeout(1, method="signal")
def test_slow(ask):
    ask("answer Bern")
    time.sleep(60)
""",
    "test_dies.py": """
import time
import pytest

def test_before(ask):
    ask("answer Bern")

@pytest.mark.timeout(1, method="thread")
def test_dies(ask):
    ask("answer Bern")
    time.sleep(60)

def test_after(ask):
    ask("answer Bern")
""",
}
FAILED, PASSED = ("failed", "assertion"), ("passed", None)
# Name -> (outcome, error type, counted, LLM calls) of each attempt.
ROWS = {
    **{f"test_city[{n}]": [(*PASSED, True, 2)] for n in range(4)},
    "test_fails": [(*FAILED, True, 1)],
    "test_skipped": [("skipped", None, True, 0)],
    "test_known": [("xfailed", "assertion", True, 1)],
    "test_mended": [("xpassed", None, True, 1)],
    "test_flaky": [("failed", "llm_server_error", True, 1)],
    "test_never": [(*FAILED, True, 1)],
    "test_one": [(*PASSED, True, 1)],
    "test_two": [(*PASSED, True, 2)],
    "test_wrong": [(*FAILED, True, 0)],
    "test_teardown": [("error", "teardown_error", True, 1)],
    "test_setup": [("error", "setup_error", True, 0)],
}
RERUN_ROWS = {
    "test_flaky": [("failed", "llm_server_error", False, 1), (*PASSED, True, 1)],
    "test_never": [(*FAILED, True, 1), (*FAILED, False, 1)],
}
OWN_ROWS = {
    "rerunfailures": RERUN_ROWS,
    "asyncio": {"test_async": [(*PASSED, True, 1)]},
    "timeout": {"test_slow": [("failed", "timeout", True, 1)]},
}


class Sessions:
    """Runs the suite in one folder with ours and without."""

    def __init__(self, pytester):
        self.folder = pytester.path
        self._pytester = pytester
        for name, text in {**FILES, "pytest.ini": INI}.items():
            (self.folder / name).write_text(text)

    def run(self, *flags, ours=True, place=".smoltrace"):
        """Run pytest and read what the other plugins wrote."""
        (self.folder / "tried.txt").unlink(missing_ok=True)
        (self.folder / "conftest.py").write_text((CONFTEST if ours else STUB) + SELECTS)
        own = ("-p", "smoltrace", "--smoltrace-model=scripted:m", f"--smoltrace-dir={place}")
        mine = own if ours else ("-p", "no:smoltrace")
        result = self._pytester.runpytest_subprocess(
            *mine, "--junitxml=junit.xml", "-rA", *flags, timeout=120
        )
        run = Run(result, self.folder / place)
        assert "INTERNALERROR" not in run.out + run.err, run.out + run.err
        assert "Traceback" not in run.err, run.err
        run.counts = {k: v for k, v in result.parseoutcomes().items() if "warning" not in k}
        run.files = {name: read(self.folder / name) for name, read in READERS.items()}
        return run

    def both(self, *flags):
        """Run the suite without ours, then with it, and compare what everybody says."""
        plain, run = self.run(*flags, ours=False), self.run(*flags)
        same(plain, run)
        return run


def same(plain, run):
    assert run.files == plain.files, run.out
    assert run.counts == plain.counts, run.out
    assert run.ret == plain.ret, run.out


def removes(read):
    """Return a reader that reads a file and removes it; it returns None where there is none."""

    def reader(path):
        if not path.exists():
            return None
        text = path.read_text()
        path.unlink()
        return read(text)

    return reader


def names_ours(text):
    """Return whether one of our attributes is named; pytest-timeout shows our thread, too."""
    return "_smoltrace" in text.replace("pytest_smoltrace/capture/", "")


def read_junit(text):
    """Return how often which verdict was given on which test."""
    assert not names_ours(text)
    return Counter(
        (
            *(test.get("classname"), test.get("name")),
            *sorted({child.tag for child in test} & {"failure", "error", "skipped"}),
        )
        for test in ET.fromstring(text).iter("testcase")
    )


def read_html(text):
    assert text.rstrip().endswith("</html>")
    assert not names_ours(html.unescape(text))
    (blob,) = re.findall(r'data-jsonblob="([^"]*)"', text)
    tests = json.loads(html.unescape(blob))["tests"]
    return Counter((name, one["result"]) for name, rows in tests.items() for one in rows)


def read_log(text):
    """Return the reports by test, phase and outcome, and the attributes that they have."""
    assert not names_ours(text)
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[0]["$report_type"] == "SessionStart"
    assert lines[-1]["$report_type"] == "SessionFinish"
    reports = [line for line in lines if line["$report_type"] == "TestReport"]
    return Counter(
        (line["nodeid"], line["when"], line["outcome"], *sorted(line)) for line in reports
    )


def read_coverage(text):
    files = json.loads(text)["files"]
    return {name: file for name, file in files.items() if name != "conftest.py"}


READERS = {
    "junit.xml": removes(read_junit),
    "report.html": removes(read_html),
    "log.jsonl": removes(read_log),
    "cov.json": removes(read_coverage),
}
WRITES = {"pytest_cov": "cov.json", "html": "report.html", "pytest_reportlog": "log.jsonl"}


def attempts(rows):
    """Return name of the test -> (outcome, error type, counted, LLM calls) by attempt."""
    found = {}
    for row in sorted(rows, key=lambda row: row["attempt"]):
        name = row["nodeid"].rpartition("::")[2]
        assert row["attempt"] == len(found.setdefault(name, []))
        found[name].append(
            (row["outcome"], row["error_type"], row["counted"], row["llm_call_count"])
        )
    return found


def check_rows(run, *plugins):
    """Compare the rows with what the tests do, and the totals with the calls that answered."""
    wanted = dict(ROWS)
    for plugin in plugins:
        wanted |= OWN_ROWS.get(plugin, {})
    rows, every = run.rows("results"), [one for each in wanted.values() for one in each]
    assert attempts(rows) == wanted
    answered = sum(calls for *_, calls in every)
    answered -= sum(error == "llm_server_error" for _, error, *_ in every)
    assert sum(row["gen_ai.usage.total_tokens"] or 0 for row in rows) == 110 * answered
    ids = {row["trace_id"] for row in rows}
    assert len(ids) == len(rows)
    assert {row["trace_id"] for row in run.rows("traces")} == ids
    (board,) = run.rows("leaderboard")
    assert board["planned_tests"] == len(wanted)
    assert board["total_tokens"] == 110 * answered
    scored = [
        outcome
        for outcome, error, counted, _ in every
        if counted and error in (None, "assertion", "timeout") and outcome != "skipped"
    ]
    passed = sum(outcome in ("passed", "xpassed") for outcome in scored)
    assert (board["num_tests"], board["successful_tests"]) == (len(scored), passed)


@pytest.fixture
def sessions(suite, pytester):
    return Sessions(pytester)


@pytest.fixture
def alone(monkeypatch):
    """Return the flags of a session that loads ours and one other plugin."""

    def flags(plugin, *more, cache=False):
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        names = (*(("xdist",) if "-n" in more else ()), plugin, *ALSO.get(plugin, ()))
        loaded = [word for name in names for word in ("-p", name)]
        off = () if cache else ("-p", "no:cacheprovider")
        return (*loaded, *off, *FLAGS.get(plugin, ()), *more)

    return flags


# With workers every plugin is in the session with all; only the slow tests give each its own.
@pytest.mark.parametrize(
    "workers",
    [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)],
    ids=["one process", "two workers"],
)
@pytest.mark.parametrize("plugin", FLAGS)
def test_beside_one(sessions, alone, plugin, workers):
    run = sessions.both(*alone(plugin, *workers))
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    check_rows(run, plugin)
    written = {name for name, found in run.files.items() if found}
    assert written == {"junit.xml", *filter(None, [WRITES.get(plugin)])}


@WORKERS
def test_beside_all(sessions, workers):
    flags = [word for name in FLAGS for word in FLAGS[name]]
    run = sessions.both("-p", "no:cacheprovider", *workers, *flags)
    check_rows(run, *FLAGS)
    assert all(run.files.values())


def test_a_worker_that_pytest_timeout_ends(sessions, monkeypatch):
    monkeypatch.setenv("DIES", "1")
    flags = [word for name in FLAGS if name != "pytest_cov" for word in FLAGS[name]]
    run = sessions.both("-p", "no:cacheprovider", "-n", "2", *flags, "test_dies.py")
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    assert attempts(run.rows("results")) == {
        "test_before": [(*PASSED, True, 1)],
        "test_dies": [("crashed", "worker_crash", True, None)],
        "test_after": [(*PASSED, True, 1)],
    }
    (board,) = run.rows("leaderboard")
    assert (board["planned_tests"], board["num_tests"], board["total_tokens"]) == (3, 2, 220)


@WORKERS
def test_pytest_split_divides_the_cases(sessions, alone, workers):
    found = {}
    for group in (1, 2):
        splits = ("-p", "pytest-split", "--splits=2", f"--group={group}")
        flags = alone("rerunfailures", *splits, *workers)
        plain = sessions.run(*flags, ours=False)
        run = sessions.run(*flags, place=f"group-{group}")
        same(plain, run)
        rows = attempts(run.rows("results"))
        assert not found.keys() & rows.keys()
        assert len(rows) > 3
        (board,) = run.rows("leaderboard")
        assert board["planned_tests"] == len(rows)
        assert board["run_status"] == "completed"
        found |= rows
    assert found == ROWS | RERUN_ROWS


def test_the_order_of_pytest_randomly_changes_no_case(sessions, alone):
    orders, facts, shares = [], [], []
    for seed in (1, 2):
        flags = alone("randomly", f"--randomly-seed={seed}")
        run = sessions.run(*flags, place=f"seed-{seed}")
        share = sessions.run(*flags, "--smoltrace-shard=1/2", place=f"shard-{seed}")
        rows = run.rows("results")
        orders.append([row["case_id"] for row in rows])
        (board,) = run.rows("leaderboard")
        ids = sorted((row["case_id"], row["outcome"], row["error_type"]) for row in rows)
        facts.append((board["suite_hash"], board["total_tokens"], ids))
        shares.append({row["case_id"] for row in share.rows("results")})
    assert orders[0] != orders[1]
    assert facts[0] == facts[1]
    assert shares[0] == shares[1]
    assert 0 < len(shares[0]) < len(ROWS)


STEPS = [
    (),
    ("--lf",),
    ("--ff",),
    ("-x",),
    ("--maxfail=2",),
    ("--sw",),
    ("--sw", "--sw-skip"),
    ("--nf", "--deselect=test_alpha.py::test_fails"),
    ("-p", "no:cacheprovider"),
]


def stepwise(sessions, steps, *flags):
    """Run one session after the other with a cache of its own for each side."""
    for number, step in enumerate(steps):
        words = (*flags, *step, "test_alpha.py", "test_beta.py")
        plain = sessions.run(*words, "-o", "cache_dir=plain-cache", ours=False)
        place = f"step-{number}"
        run = sessions.run(*words, "-o", "cache_dir=own-cache", place=place)
        same(plain, run)
        yield step, run


def test_what_pytest_remembers_of_failures(sessions, alone):
    found = {}
    for step, run in stepwise(sessions, STEPS, *alone("rerunfailures", cache=True)):
        (board,) = run.rows("leaderboard")
        rows = attempts(run.rows("results"))
        assert rows.items() <= (ROWS | RERUN_ROWS).items()
        found[step] = (list(rows), board["run_stop_reason"], board["planned_tests"])
    names = list(ROWS)
    failing = ["test_fails", "test_never", "test_wrong", "test_teardown", "test_setup"]
    assert found[()] == (names, "completed", len(ROWS))
    assert found["--lf",] == (failing, "completed", 5)
    assert found["--ff",] == ([*failing, *(n for n in names if n not in failing)], "completed", 15)
    assert found["-x",] == (names[:5], "maxfail", 15)
    assert found["--maxfail=2",] == (names[:10], "maxfail", 15)
    assert found["--sw",] == (names[:5], "interrupted", 15)
    assert found["--sw", "--sw-skip"][:2] == (names[4:10], "interrupted")
    assert "test_fails" not in found[STEPS[-2]][0]
    assert found[STEPS[-1]] == found[()]


def test_what_pytest_remembers_of_failures_in_workers(sessions, alone):
    steps = stepwise(sessions, STEPS[:3], *alone("rerunfailures", "-n", "2", cache=True))
    counts = {step: len(attempts(run.rows("results"))) for step, run in steps}
    assert counts == {(): 15, ("--lf",): 5, ("--ff",): 15}


SEEDED = """
import random
import pytest

@pytest.fixture(autouse=True)
def seeded():
    random.seed(7)

@pytest.mark.parametrize("n", range(4))
def test_case(ask, n, smoltrace_case):
    ask("call look city=Bern; answer Bern")
    smoltrace_case.extra["drawn"] = random.random()
"""
OWN_PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

trace.set_tracer_provider(TracerProvider())
"""


def test_a_seed_repeats_no_id_and_its_numbers_are_the_tests(suite):
    run = suite(source=SEEDED)
    rows, traces = run.rows("results"), run.rows("traces")
    assert len({row["trace_id"] for row in rows}) == 4
    spans = [span["span_id"] for trace in traces for span in trace["spans"]]
    assert len(set(spans)) == len(spans) > 16
    wanted = random.Random(7).random()
    assert [json.loads(row["extra"])["drawn"] for row in rows] == [wanted] * 4


def test_a_seed_repeats_no_trace_id_of_a_users_own_provider(suite):
    run = suite(source=SEEDED, conftest=OWN_PROVIDER)
    assert len({row["trace_id"] for row in run.rows("results")}) == 4


# pytest-rerunfailures up to 16.5: of an attempt that is run again the teardown is not logged.
LOGS_LITTLE = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    for attempt in range(2):
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in runtestprotocol(item, nextitem=nextitem, log=False):
            again = report.failed and not attempt
            report.outcome = "rerun" if again else report.outcome
            item.ihook.pytest_runtest_logreport(report=report)
            if again:
                break
        else:
            return True
    return True

def pytest_report_teststatus(report):
    return ("rerun", "R", "RERUN") if report.outcome == "rerun" else None
"""
RUN_AGAIN = """
tried = []

def test_flaky(ask):
    tried.append(1)
    assert ask("answer Bern") == ("Bern" if len(tried) > 1 else "Rome")

def test_after(ask):
    ask("answer Bern")
"""


@WORKERS
def test_an_attempt_whose_teardown_is_not_logged_is_kept(suite, workers):
    run = suite(*workers, source=RUN_AGAIN, conftest=LOGS_LITTLE)
    assert run.result.parseoutcomes() == {"passed": 2, "rerun": 1}
    assert attempts(run.rows("results")) == {
        "test_flaky": [(*FAILED, True, 1), (*PASSED, False, 1)],
        "test_after": [(*PASSED, True, 1)],
    }
    (board,) = run.rows("leaderboard")
    assert (board["successful_tests"], board["total_tokens"]) == (1, 330)
