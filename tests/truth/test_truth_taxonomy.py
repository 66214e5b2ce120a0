"""Each row of the error taxonomy happens for real: client, server, pytest, row, terminal, exit.

The witness of every number of calls is the server's log.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace.error_types import CATEGORY, UNSCORED, VERDICTS
from tests.truth import scripted_server as ss
from tests.truth import session_forks, suite
from tests.truth import taxonomy_scenarios as scenarios
from tests.truth.taxonomy_scenarios import SCORED, TAXONOMY, Scenario

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

OPTIONS = (
    "--tb=line",  # long tracebacks take longer than the cases
    f"--smoltrace-model=openai:{suite.MODEL}",
    "--smoltrace-prices=prices.toml",
    "--smoltrace-max-retries=0",
    "--smoltrace-model-arg=retry=false",
    '--smoltrace-model-arg=client_kwargs={"max_retries": 0}',
)
MIXED, RERUN = "mixed", "rerun"
EXTRA = {
    "test_infrastructure_is_never_the_agents_fault": MIXED,
    "test_a_rerun_replaces_what_the_infrastructure_spoiled_and_nothing_else": RERUN,
}
"""Test -> the further session that it looks at."""


class Ordered:
    """Serves the replies of each case in order, whatever the agent's memory holds."""

    def __init__(self, cases: Mapping[str, Sequence[ss.Reply]]) -> None:
        self._cases = cases
        self._asked: defaultdict[str, int] = defaultdict(int)

    def __call__(self, body: dict[str, Any]) -> ss.Reply | None:
        name = ss.case_of(body)
        if name is None:
            return None
        place, replies = self._asked[name], self._cases.get(name, ())
        self._asked[name] += 1
        return replies[place] if place < len(replies) else None


@dataclass(frozen=True)
class Suite:
    """A generated suite; of each server's cases no two suites have one in common."""

    name: str
    source: str
    options: tuple[str, ...]
    replies: Mapping[str, Sequence[ss.Reply]]
    scenarios: tuple[Scenario, ...] = ()

    def job(self, folder: Path, url: str) -> session_forks.Job:
        """Write the suite and return the session that runs it."""
        head = scenarios.HEADER.replace("@URL@", repr(url))
        (folder / "test_generated.py").write_text(f"{head}\n\n{self.source}", encoding="utf-8")
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (folder / "prices.toml").write_text(suite.price_file(), encoding="utf-8")
        base = f"--smoltrace-base-url={url}"
        arguments = (*suite.plugin_arguments(), *OPTIONS, base, *self.options)
        return session_forks.Job(name=self.name, folder=str(folder), arguments=arguments)

    def finished(self, folder: Path, exit_code: int, log: Sequence[ss.Served]) -> suite.Finished:
        """Return what the session left."""
        return suite.Finished(
            exit_code=exit_code,
            output=(folder / "output.txt").read_text(encoding="utf-8", errors="replace"),
            folder=folder,
            served=tuple(one for one in log if one.case in self.replies),
        )


@dataclass(frozen=True)
class Session:
    """A session that has ended, and the scenarios that it ran."""

    scenarios: tuple[Scenario, ...]
    finished: suite.Finished


def together(scenario: Scenario) -> str:
    """Return the name of the session that a scenario shares with those that can."""
    return alone(scenario) if scenario.alone else f"together {' '.join(scenario.options)}"


def alone(scenario: Scenario) -> str:
    """Return the name of a session of its own."""
    return f"alone {scenario.name}"


def suites_of(named: Iterable[tuple[str, Scenario]]) -> Iterator[Suite]:
    """Yield one suite for each name, with the scenarios that are called so."""
    groups: dict[str, dict[str, Scenario]] = {}
    for name, scenario in named:
        groups.setdefault(name, {})[scenario.name] = scenario
    for name, group in groups.items():
        chosen = tuple(group.values())
        source = "".join(one.source() for one in chosen)
        replies = {one.name: one.script() for one in chosen}
        yield Suite(name, source, chosen[0].options, replies, chosen)


INFRASTRUCTURE = (*[429] * 4, *[503] * 3, *[None] * 2, 404)
"""What ten of thirty cases meet: a status, or a connection that ends."""


def mixed_cases() -> dict[str, tuple[ss.Reply, ...]]:
    met = [
        ss.Reply(close=True) if status is None else ss.Reply(status=status)
        for status in INFRASTRUCTURE
    ]
    good = [ss.final_answer("5")] * 14 + [ss.final_answer("7")] * 6
    return {f"mixed-{n}": (reply,) for n, reply in enumerate([*good, *met])}


MIXED_SOURCE = """
@pytest.mark.parametrize("number", range(30))
def test_mixed(smoltrace_agent, number):
    assert smoltrace_agent().run(f"Do it. [[case:mixed-{number}]]") == "5"
"""
RERUN_CASES: dict[str, tuple[ss.Reply, ...]] = {
    "after-infra": (ss.Reply(status=429), ss.final_answer("5")),
    "after-agent": (ss.final_answer("7"), ss.final_answer("5")),
}
RERUN_SOURCE = """
@pytest.mark.parametrize("case", ["after-infra", "after-agent"])
def test_again(smoltrace_agent, case):
    assert smoltrace_agent().run(f"Do it. [[case:{case}]]") == "5"
"""


FURTHER = (
    Suite(MIXED, MIXED_SOURCE, (), mixed_cases()),
    Suite(RERUN, RERUN_SOURCE, ("--reruns=1",), RERUN_CASES),
)


def selected(request: pytest.FixtureRequest) -> tuple[list[Suite], list[Suite]]:
    """Return the suites that the selected tests of this module need: shared ones, single ones."""
    runnable, wanted = set(scenarios.runnable()), []
    named: list[tuple[str, Scenario]] = []
    for item in request.session.items:
        if item.module is request.module and isinstance(item, pytest.Function):
            wanted.append(EXTRA.get(item.originalname))
            scenario = item.callspec.params["scenario"] if hasattr(item, "callspec") else None
            if scenario in runnable:
                named.append((NAMES[item.originalname](scenario), scenario))
    built = list(suites_of(named))
    shared = [one for one in built if not one.name.startswith("alone")]
    single = [one for one in built if one.name.startswith("alone")]
    return [*shared, *(one for one in FURTHER if one.name in wanted)], single


@pytest.fixture(scope="module")
def sessions(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Session]:
    """Run the sessions of all selected tests, two at a time."""
    ended: dict[str, Session] = {}
    with ExitStack() as stack:
        places = []
        for group in selected(request):
            replies = {name: replies for one in group for name, replies in one.replies.items()}
            server = stack.enter_context(ss.ScriptedServer(select=Ordered(replies)))
            places += [(one, server, tmp_path_factory.mktemp("session")) for one in group]
        codes = session_forks.run([one.job(path, server.url) for one, server, path in places])
        for one, server, path in places:
            finished = one.finished(path, codes[one.name], server.completions)
            ended[one.name] = Session(one.scenarios, finished)
    return ended


def test_the_table_is_that_of_the_contract() -> None:
    assert TAXONOMY == CATEGORY
    assert set(TAXONOMY.values()) - set(UNSCORED) == SCORED
    assert len(TAXONOMY) == 36


def test_every_row_has_a_scenario() -> None:
    shown = {one.error_type for one in scenarios.ALL} - {None}
    assert shown | set(scenarios.SKIPPED) == set(TAXONOMY)
    assert shown.isdisjoint(scenarios.SKIPPED)


def test_replay_miss() -> None:
    pytest.skip(scenarios.SKIPPED["replay_miss"])


@pytest.mark.parametrize("scenario", scenarios.ALL, ids=lambda scenario: scenario.name)
def test_row_and_requests(scenario: Scenario, sessions: dict[str, Session]) -> None:
    if scenario.requires:
        pytest.importorskip(scenario.requires)
    finished = sessions[together(scenario)].finished
    check_row(scenario, finished)
    check_calls(scenario, finished)


@pytest.mark.parametrize("scenario", scenarios.of_each_kind(), ids=lambda scenario: scenario.name)
def test_exit_code_and_summary(scenario: Scenario, sessions: dict[str, Session]) -> None:
    if scenario.requires:
        pytest.importorskip(scenario.requires)
    finished = sessions[alone(scenario)].finished
    check_row(scenario, finished)
    check_calls(scenario, finished)
    assert finished.exit_code == scenario.exit_code, finished.output
    check_terminal(scenario, finished)


NAMES = {"test_row_and_requests": together, "test_exit_code_and_summary": alone}
"""Test -> the session that it looks at."""


def check_row(scenario: Scenario, finished: suite.Finished) -> None:
    row = finished.result(scenario.name)
    wanted = {
        "error_type": scenario.error_type,
        "error_category": scenario.category,
        "exception_type": scenario.exception,
        "http_status": scenario.status,
        "stop_reason": scenario.stop,
        "outcome": scenario.outcome,
        "success": scenario.outcome == "passed",
        "scored": scenario.scored,
        "counted": True,
        "timed_out": scenario.error_type == "timeout",
        "steps": scenario.steps,
        "failed_tool_calls": scenario.failed_tools,
        "rejected_tool_calls": scenario.rejected,
    }
    found = {name: row[name] for name in wanted}
    if scenario.exception == "@mcp" and str(row["exception_type"]).startswith("mcp."):
        found["exception_type"] = "@mcp"
    assert found == wanted, f"{row['error']}\n{finished.output}"
    assert (row["step_error_count"] or 0) == (scenario.step_errors or 0)
    assert (row["error"] is None) == (scenario.error_type is None)
    root = finished.trace(scenario.name)["spans"][0]
    failed = not row["success"] and scenario.outcome != "skipped"
    assert (root["status"]["code"] == "ERROR") == failed


def check_calls(scenario: Scenario, finished: suite.Finished) -> None:
    """Every request is counted exactly once, on the right account."""
    row, trace = finished.result(scenario.name), finished.trace(scenario.name)
    served = finished.of(scenario.name)
    assert tuple(one.status for one in served) == scenario.statuses, finished.output
    assert row["llm_call_count"] == scenario.calls
    if scenario.calls is None:  # the process died before it could say
        return
    counted = [s for s in trace["spans"] if s["attributes"]["smoltrace.counted_call"]]
    assert len(counted) == scenario.calls + scenario.others
    if row["llm_retries"] is not None:
        assert row["llm_retries"] == scenario.retries
    sent = scenario.calls - scenario.unserved + scenario.retries + scenario.others
    assert sent == len(served)


def check_terminal(scenario: Scenario, finished: suite.Finished) -> None:
    lines = finished.output.splitlines()
    if scenario.error_type is None:
        assert not any(line.startswith(("failed  ", "exit code")) for line in lines)
    elif scenario.scored:
        assert f"failed         1 {scenario.error_type}" in lines, finished.output
        assert "passed         0 of 1 (0.0 %, 0.0 to 79.3 %)" in lines
        assert not any(line.startswith("exit code") for line in lines)
    else:
        said = f"{scenario.category} errors".ljust(14)
        assert f"{said} 1 {scenario.error_type} (not scored)" in lines, finished.output
        assert "passed         0 of 0" in lines
        why = f"1 case could not be evaluated (1 {scenario.error_type}); no other case was"
        assert (f"exit code 1    {why}" in lines) == (scenario.exit_code == 1)
    for part in scenario.lines:
        assert part in finished.output


def test_failures_in_one_session_add_up(sessions: dict[str, Session]) -> None:
    shared = [one for name, one in sessions.items() if name.startswith("together")]
    for session in shared:
        chosen, finished = session.scenarios, session.finished
        assert finished.exit_code == int(any(one.exit_code for one in chosen)), finished.output
        assert len(finished.results) == len(chosen)
        boards = finished.leaderboard  # one for each agent type and model
        errors = sum((Counter(json.loads(one["error_types"])) for one in boards), Counter())
        kinds = Counter(str(one.error_type) for one in chosen if one.error_type)
        assert errors == {kind: n for kind, n in kinds.items() if kind not in VERDICTS}
        assert sum(one["num_tests"] for one in boards) == sum(one.scored for one in chosen)
        for kind, number in kinds.items():
            assert f" {number} {kind}" in finished.output
    if not shared:
        pytest.skip("no scenario was selected")


def test_infrastructure_is_never_the_agents_fault(sessions: dict[str, Session]) -> None:
    finished = sessions[MIXED].finished
    (board,) = finished.leaderboard
    assert (board["num_tests"], board["successful_tests"], board["errored_tests"]) == (20, 14, 10)
    assert board["success_rate"] == pytest.approx(70.0)
    assert board["error_rate"] == pytest.approx(100 / 3)
    assert finished.exit_code == 1
    kinds = "4 llm_rate_limit, 3 llm_server_error, 2 llm_connection, 1 llm_bad_request"
    lines = finished.output.splitlines()
    assert f"infra errors   {kinds} (not scored)" in lines
    why = f"10 cases could not be evaluated ({kinds}); 14 of 20 evaluated passed"
    assert f"exit code 1    {why}" in lines
    assert "failed         6 assertion" in lines
    statuses = Counter(one.status for one in finished.served)
    assert statuses == Counter(INFRASTRUCTURE) + Counter({200: 20})
    assert sum(row["llm_call_count"] for row in finished.results) == len(finished.served) == 30


def test_a_rerun_replaces_what_the_infrastructure_spoiled_and_nothing_else(
    sessions: dict[str, Session],
) -> None:
    pytest.importorskip("pytest_rerunfailures")
    finished = sessions[RERUN].finished
    assert finished.exit_code == 0
    rows = {(row["test_id"].split("[")[1][:-1], row["attempt"]): row for row in finished.results}
    standing = {key: (row["counted"], row["scored"], row["success"]) for key, row in rows.items()}
    assert standing == {
        ("after-infra", 0): (False, False, False),
        ("after-infra", 1): (True, True, True),
        ("after-agent", 0): (True, True, False),
        ("after-agent", 1): (False, False, True),
    }
    (board,) = finished.leaderboard
    assert (board["num_tests"], board["successful_tests"], board["errored_tests"]) == (2, 1, 0)
    assert "infra errors   1 llm_rate_limit (run again)" in finished.output.splitlines()
    assert [one.status for one in finished.of("after-infra", "after-agent")] == [429, 200, 200, 200]
