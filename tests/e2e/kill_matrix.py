"""One session of 100 cases on four workers, struck at a moment of chance, and what is left of it.

Witnesses that know nothing of the package: the controller writes a line for each teardown report
that it has logged (after the package has), a worker one for each that it has made, and the model
server one for each request.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.truth import equality, suite

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Collection

    from tests.e2e.forked_pytest import Forks, Processes

CASES = 100
WORKERS = 4
MOST_UNKNOWN = 2 * WORKERS
"""Cases that a controller had not written when it was killed: one that a worker runs, and one
whose report is on its way."""
START_S = 60.0
END_S = 60.0
GONE_S = 10.0
TOTALS = {
    "total_tokens": "gen_ai.usage.total_tokens",
    "total_prompt_tokens": "gen_ai.usage.prompt_tokens",
    "total_completion_tokens": "gen_ai.usage.completion_tokens",
    "llm_call_count": "llm_call_count",
    "total_tool_calls": "tool_call_count",
}
"""Column of the leaderboard -> column of the results that it adds up."""
BEFORE, AFTER = 12, 12
"""Moments before the first case has ended and after the last one, as if they were cases."""

SUITE = f"""
import pytest
from smolagents import tool


@tool
def add(a: int, b: int) -> int:
    \"\"\"Add two numbers.

    Args:
        a: First number.
        b: Second number.
    \"\"\"
    return a + b


@pytest.mark.parametrize("n", range({CASES}))
def test_case(smoltrace_agent, n):
    assert smoltrace_agent(tools=[add]).run(f"Answer. [[case:{{n}}]]") == "right"
"""

CONFTEST = """
import os
import pathlib

import pytest

HERE = pathlib.Path(__file__).parent


def note(name, *words):
    descriptor = os.open(HERE / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (" ".join(map(str, words)) + "\\n").encode())
    os.close(descriptor)


class Witness:
    outcomes = {}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.outcomes[report.nodeid] = report.outcome
        elif report.when == "teardown":
            note("logged", report.nodeid, self.outcomes.pop(report.nodeid, report.outcome))


def pytest_configure(config):
    if hasattr(config, "workerinput"):
        note("workers", config.workerinput["workerid"], os.getpid())
    else:
        config.pluginmanager.register(Witness())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "teardown":
        note("ended", item.nodeid)
    return report
"""


@dataclass(frozen=True, slots=True)
class Strike:
    """Who is struck by what."""

    target: str
    """worker, controller, group or server."""
    signum: signal.Signals

    def __str__(self) -> str:
        return f"{self.signum.name} to the {self.target}"

    @property
    def kills_controller(self) -> bool:
        """Whether the process that writes the journal can do nothing more."""
        return self.target in ("controller", "group") and self.signum == signal.SIGKILL

    @property
    def stops(self) -> bool:
        """Whether the session is asked to end in order."""
        return self.signum != signal.SIGKILL


STRIKES = (
    Strike("worker", signal.SIGKILL),
    Strike("controller", signal.SIGKILL),
    Strike("server", signal.SIGKILL),
    Strike("group", signal.SIGINT),
    Strike("controller", signal.SIGINT),
    Strike("group", signal.SIGTERM),
    Strike("controller", signal.SIGTERM),
    Strike("group", signal.SIGKILL),
)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long the undisturbed session took before its first and after its last report."""

    start_s: float
    end_s: float


@dataclass(kw_only=True)
class Trial:
    """A folder with the suite, its model server and the sessions that ran in it."""

    folder: Path
    forks: Forks | Processes
    port: int = 0
    said: list[str] = field(default_factory=list)
    """What happened, for a person."""
    strikes: list[Strike] = field(default_factory=list)
    unsurvived: int = 0
    """Strikes after which no process of the session lived that could remove anything."""
    groups: list[int] = field(default_factory=list)
    server: int = 0
    logged: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(node id, outcome of the call) -> teardown reports that a controller has logged."""
    ended: Counter[str] = field(default_factory=Counter)
    """Node id -> teardown reports that workers have made."""

    def __post_init__(self) -> None:
        (self.folder / "tmp").mkdir(parents=True)
        (self.folder / "test_kill.py").write_text(SUITE, encoding="utf-8")
        (self.folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
        (self.folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")

    def serve(self) -> None:
        """Start the model server, at its old address when there was one."""
        deadline = time.monotonic() + START_S
        while True:
            self.server, port = self.forks.serve(self.folder / "served.jsonl", self.port)
            if port:
                self.port = port
                return
            # The one that was killed may not be gone yet.
            assert time.monotonic() < deadline, f"port {self.port} is taken"
            time.sleep(0.05)

    def start(self, *options: str) -> int:
        """Start a session and return the process id of its controller."""
        arguments = [
            *suite.plugin_arguments(),
            *("-p", "no:asyncio", "-p", "no:rerunfailures", "-q", "--tb=short"),
            *("-p", "no:warnings"),
            *("--smoltrace-model=openai:m", "--smoltrace-max-retries=0"),
            f"--smoltrace-base-url=http://127.0.0.1:{self.port}/v1",
            *options,
        ]
        environ = {"TMPDIR": str(self.folder / "tmp"), "PYTHONPATH": str(suite.ROOT)}
        self.groups.append(self.forks.pytest(self.folder, arguments, environ))
        return self.groups[-1]

    def reports(self) -> int:
        """Return how many teardown reports the session has logged."""
        return len(_lines(self.folder / "logged"))

    def reaches(self, pid: int, reports: int) -> bool:
        """Wait until the session has logged so many reports; False when it ended before."""
        deadline = time.monotonic() + START_S
        while self.reports() < reports:
            if self.forks.code(pid) is not None:
                return False
            assert time.monotonic() < deadline, self.story()
            time.sleep(0.002)
        return True

    def strike(self, pid: int, strike: Strike, rng: random.Random, pace: Pace) -> None:
        """Wait for a moment of chance, and strike."""
        cases = CASES - len({node for node, outcome in self.logged if outcome == "passed"})
        moment = rng.uniform(-BEFORE, cases + AFTER)
        self.reaches(pid, min(max(0, int(moment)), cases))
        if moment < 0:
            time.sleep((1 + moment / BEFORE) * pace.start_s)
        elif moment > cases:
            time.sleep((moment - cases) / AFTER * pace.end_s)
        else:
            time.sleep(rng.uniform(0, 0.03))
        victim = self._victim(pid, strike, rng)
        self.said.append(
            f"{strike} (process {victim}) at {moment:.1f}, {self.reports()} reports logged"
        )
        self.strikes.append(strike)
        if victim is not None:
            # Workers join after the controller and end before the datasets are built.
            alone = strike.target == "group" or not 0 < self.reports() < cases
            self.unsurvived += strike.kills_controller and alone
            _signal(victim, strike)

    def _victim(self, pid: int, strike: Strike, rng: random.Random) -> int | None:
        if strike.target == "server":
            return self.server
        if strike.target != "worker":
            return pid
        while self.forks.code(pid) is None:
            if living := self._workers(pid):
                return rng.choice(living)
            time.sleep(0.005)
        return None

    def _workers(self, pid: int) -> list[int]:
        """Return the living workers of a session."""
        pids = [int(line.split()[1]) for line in _lines(self.folder / "workers")]
        return [one for one in pids if _session_of(one) == pid]

    def wait(self, pid: int) -> int:
        """Wait for the end of a session and of all that it started; return the exit code."""
        code = self._until(lambda: self.forks.code(pid), END_S, "the session goes on")
        self._until(lambda: not members(pid) or None, GONE_S, "processes are left")
        for name, counts in (("logged", self.logged), ("ended", self.ended)):
            path = self.folder / name
            for line in _lines(path):
                node, _, outcome = line.partition(" ")
                counts[(node, outcome) if name == "logged" else node] += 1
            path.unlink(missing_ok=True)
        (self.folder / "workers").unlink(missing_ok=True)
        self.said.append(f"exit code {code}, {sum(self.logged.values())} reports logged so far")
        return int(code)

    def _until(self, found: Callable[[], Any], limit_s: float, problem: str) -> Any:
        deadline = time.monotonic() + limit_s
        while (value := found()) is None:
            left = {pid: name_of(pid) for group in self.groups for pid in members(group)}
            assert time.monotonic() < deadline, f"{problem}: {left}\n{self.story()}"
            time.sleep(0.01)
        return value

    @property
    def run_directory(self) -> Path | None:
        """The only run directory, None when the session was struck before it made one."""
        found = list((self.folder / ".smoltrace" / "runs").glob("*"))
        assert len(found) < 2, found
        return found[0] if found else None

    def story(self) -> str:
        """Return what happened, for a person."""
        output = self.folder / "output.txt"
        shown = output.read_text(errors="replace")[-6000:] if output.exists() else ""
        return "\n".join([f"in {self.folder}", *self.said, shown])

    def stop(self) -> None:
        """End the server and whatever is left."""
        for pid in {self.server, *(pid for group in self.groups for pid in members(group))}:
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _signal(victim: int, strike: Strike) -> None:
    with suppress(ProcessLookupError):
        (os.killpg if strike.target == "group" else os.kill)(victim, strike.signum)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _session_of(pid: int) -> int | None:
    """Return the session that a living process belongs to."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[3])


def members(session: int) -> list[int]:
    """Return the living processes of a session."""
    pids = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if _session_of(pid) == session]


def name_of(pid: int) -> str:
    """Return the command of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").replace("\0", " ")
    except OSError:
        return "gone"


# What has to hold.


def check_files(trial: Trial, whole: Path) -> equality.Tables:
    """Return the datasets: all files of an undisturbed run and no other, fewer without a case."""
    directory = trial.run_directory
    assert directory is not None
    found, wanted = files_of(directory), files_of(whole)
    tables = equality.read(directory)
    is_right = found == wanted if tables.results else found <= wanted
    assert is_right, f"{found ^ wanted}\n{trial.story()}"
    return tables


def check_nothing_left(trial: Trial) -> None:
    """No temporary file of ours outlives the processes of a session, where one can remove it."""
    left = sorted((trial.folder / "tmp").glob("*smoltrace*"))
    assert len(left) <= trial.unsurvived, f"{left}\n{trial.story()}"


def files_of(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def check_rows(trial: Trial, tables: equality.Tables) -> set[str]:
    """Every logged case is there as it was logged, once, and little that was not logged.

    That is: what each strike cut off, on the workers and on one that took a dead one's place; what
    the controller had written when it died and the witness not yet; and what workers that were
    stopped had finished and handed in without a report. Returns the node ids that passed.
    """
    rows, story = tables.results, trial.story()
    attempts = Counter((row["nodeid"], row["attempt"]) for row in rows)
    assert set(attempts.values()) <= {1}, story
    assert len({row["trace_id"] for row in rows}) == len(rows), story
    assert sorted(row["trace_id"] for row in rows) == sorted(t["trace_id"] for t in tables.traces)
    known = Counter((row["nodeid"], row["outcome"]) for row in rows)
    again = {key for key, n in known.items() if key[1] == "passed" and n > 1}
    assert not again, f"run again although they had passed: {again}\n{story}"
    lost = trial.logged - known
    assert not lost, f"{lost}\n{story}"
    more = known - trial.logged
    cut_off = {key: n for key, n in more.items() if key[1] in ("crashed", "interrupted")}
    assert sum(cut_off.values()) <= (WORKERS + 1) * len(trial.strikes), f"{cut_off}\n{story}"
    unseen = sum(s.kills_controller + WORKERS * s.stops for s in trial.strikes)
    assert sum(more.values()) - sum(cut_off.values()) <= unseen, f"{more}\n{story}"
    return {row["nodeid"] for row in rows if row["outcome"] == "passed"}


def check_board(trial: Trial, tables: equality.Tables, reasons: Collection[str]) -> None:
    """The leaderboard says how much was planned, how much is done and why the run ended."""
    if not tables.results:
        return  # struck before the first case
    (board,) = tables.leaderboard
    story = f"{board}\n{trial.story()}"
    counted = [row for row in tables.results if row["counted"]]
    done = sum(row["outcome"] not in ("skipped", "interrupted") for row in counted)
    assert (board["planned_tests"], board["completed_tests"]) == (CASES, done), story
    assert board["run_stop_reason"] in reasons, story
    status = "completed" if done == CASES else "partial" if done else "failed"
    assert board["run_status"] == status, story
    for total, name in TOTALS.items():
        assert (board[total] or 0) == sum(row[name] or 0 for row in tables.results), total


def check_spent(trial: Trial, tables: equality.Tables) -> None:
    """What the rows say was spent is what the server served, but for what nobody can know.

    That is: what was in flight when the controller died, or when the server did that logs it.
    """
    served: dict[str, int] = defaultdict(int)
    for line in _lines(trial.folder / "served.jsonl"):
        one = json.loads(line)  # without a case: the client died while it asked
        if one["case"] is not None and one["prompt_tokens"] is not None:
            served[one["case"]] += one["prompt_tokens"] + one["completion_tokens"]
    known: dict[str, int] = defaultdict(int)
    cut = set()
    for row in tables.results:
        case = row["nodeid"].rpartition("[")[2][:-1]
        known[case] += row["gen_ai.usage.total_tokens"] or 0
        if row["gen_ai.usage.total_tokens"] is None:
            cut.add(case)
    unlike = {
        case: (known[case], served[case])
        for case in {*served, *known} - cut
        if known[case] != served[case]
    }
    trial.said.append(f"tokens (known, served) that differ: {unlike}")
    deaths = sum(s.kills_controller or s.target == "server" for s in trial.strikes)
    assert len(unlike) <= MOST_UNKNOWN * deaths, trial.story()
    assert all(known[case] <= served[case] for case in cut), trial.story()
