"""The gates of a session: prepared before it begins, judged when its datasets are written."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace.controller import ungrouped
from pytest_smoltrace.errors import ConfigError, JournalError, SmoltraceError
from pytest_smoltrace.options import runs_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.gates.verdicts import Judgement
    from pytest_smoltrace.gating import Judge
    from pytest_smoltrace.pipeline import Outcome
    from pytest_smoltrace.redaction import Redactor

NAME = "smoltrace-gatekeeper"
_UNJUDGED = "gates are not judged for one shard: merge the shards, then run pytest-smoltrace gate"
_NO_CASE = "no case was run, so no gate could be judged"
_WHOLE = ("completed", "maxfail")
"""Ends of a session that failed cases alone explain."""


class Gatekeeper:
    """Judges what the session came to, in the process that logs its reports."""

    def __init__(
        self, config: pytest.Config, run_config: RunConfig, session_id: str, redactor: Redactor
    ) -> None:
        """Read the gates and find the baseline.

        Raises:
            ConfigError: One of them is wrong; says what, where and what to do.
        """
        self.problems: list[str] = []
        self.judgement: Judgement | None = None
        self._config = config
        self._judging = run_config.judging
        self._redactor = redactor
        self._origins = run_config.origins
        self._is_shard = run_config.shard is not None
        self._failed: set[str] = set()
        """Node ids of tests that failed."""
        self._locations: dict[str, tuple[str, int | None]] = {}
        """Node id -> file, relative to rootdir, and line, from 1."""
        self._lines: list[str] = []
        own = config.hook.pytest_smoltrace_gates(config=config)
        self._judge: Judge | None = None
        if self._judging.asked or (any(own) and self._judging.enabled):
            from pytest_smoltrace.gating import own_gates, prepare

            self._judge = prepare(
                self._judging,
                own=own_gates(own),
                directory=run_config.directory,
                rootdir=self._start,
                leave_out=session_id,
            )

    @property
    def _start(self) -> Path:
        """Folder that the path of a baseline is relative to, as those of other options are."""
        typed = self._origins.get("baseline") in ("flag", "environment")
        return self._config.invocation_params.dir if typed else self._config.rootpath

    def header_lines(self) -> Iterator[str]:
        """Yield what the session is judged by."""
        if self._judge is not None:
            yield from (f"smoltrace: {line}" for line in self._judge.header_lines())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note which tests failed, and where all of them stand."""
        nodeid = ungrouped(report.nodeid, self._config)
        if report.failed:
            self._failed.add(self._redactor.text(nodeid))
        if self._judge is not None:
            file, line, _ = report.location
            self._locations.setdefault(nodeid, (file, None if line is None else line + 1))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what could not be collected."""
        if report.failed:
            self._failed.add(report.nodeid)

    def judge(
        self,
        session: pytest.Session,
        outcome: Outcome,
        cases: Callable[[], Collection[str]],
        *,
        whole: bool,
    ) -> Outcome:
        """Judge a finished run and give the session its exit code; return its new outcome.

        Args:
            session: The session that ends.
            outcome: What was written of it.
            cases: Returns the node ids of its eval cases.
            whole: Whether the journal has all that it was to hold; else the session fails.
        """
        if self._judge is None or self._is_shard:
            if self._judge is not None:
                self.problems.append(_UNJUDGED)
            return outcome
        reason = outcome.summary["stop_reason"]
        cut = None if reason == "completed" else f"the session ended early: {reason}"
        try:
            judgement = self._judge.judge(outcome.directory, partial=cut)
        except (SmoltraceError, OSError) as error:
            self.problems.append(f"the gates could not be judged: {error}")
            _fail(session)
            return outcome
        self.judgement = judgement
        if not (judgement.passed and whole):
            _fail(session)
        elif judgement.gate_only and reason in _WHOLE and self._failed <= set(cases()):
            _pardon(session)
        from pytest_smoltrace.gating import keep

        try:
            summary = keep(
                outcome.directory, judgement, int(session.exitstatus), self._redactor.json
            )
        except JournalError as error:
            self.problems.append(str(error))
            return outcome
        return replace(outcome, summary=summary)

    def judge_nothing(self, session: pytest.Session) -> None:
        """Say that no case was run, which no gate passes; plain tests may be run on purpose."""
        ended = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if self._judge is None or self._is_shard or not ended or runs_nothing(self._config):
            return
        from pytest_smoltrace.baselines.reference import is_picked

        self.problems.append(_NO_CASE)
        typed = any(self._origins.get(name) == "flag" for name in ("model", "gate", "baseline"))
        chosen = selection_of(self._config)
        if not is_picked(chosen, marks=True) and (typed or chosen in ("", ".")):
            _fail(session)

    def report(self, outcome: Outcome) -> None:
        """Write the reports for people and CI systems."""
        if self.judgement is None and not os.environ.get("CI"):
            return
        from pytest_smoltrace.report.write import write_reports

        self.problems += write_reports(
            outcome.directory,
            outcome.summary,
            ci=self._judging.ci,
            environ=os.environ,
            annotate=self._annotate,
            locations=self._places() if outcome.summary.get("gates") else {},
        )

    def _places(self) -> dict[str, tuple[str, int | None]]:
        """Return node id, as the datasets have it -> file, as the CI system has it, and line."""
        repository = Path(os.environ.get("GITHUB_WORKSPACE") or self._config.rootpath)
        return {
            self._redactor.text(nodeid): (_within(repository, self._config.rootpath / file), line)
            for nodeid, (file, line) in self._locations.items()
        }

    def _annotate(self, line: str) -> None:
        self._lines.append(self._redactor.text(line))

    def write(self, reporter: pytest.TerminalReporter) -> None:
        """Write the section of the gates."""
        verbose = reporter.config.get_verbosity()
        if self.judgement is not None:
            from pytest_smoltrace.gates.lines import verdict_lines

            if verbose >= 0:
                reporter.write_sep("=", "smoltrace gates")
            for line, colour in verdict_lines(self.judgement.as_dict(), verbose=verbose):
                markup = {colour: True} if colour else {}
                reporter.write_line(self._redactor.text(line), **markup)
        for line in self._lines:
            reporter.write_line(line)


def selection_of(config: pytest.Config) -> str:
    """Return what of the suite was asked for, as one would type it; empty for all of it."""
    chosen: list[str] = []
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        chosen += [_shown(argument, config) for argument in config.args]
    options: Any = config.option
    for flag, name in (("-k", "keyword"), ("-m", "markexpr")):
        if text := getattr(options, name, ""):
            chosen += [flag, text]
    for name in ("deselect", "ignore", "ignore_glob"):
        for left_out in getattr(options, name, None) or ():
            chosen += [f"--{name.replace('_', '-')}", left_out]
    for flag, name in (("--lf", "lf"), ("--sw", "stepwise")):
        chosen += [flag] * bool(getattr(options, name, False))
    return shlex.join(chosen)


def _shown(argument: str, config: pytest.Config) -> str:
    """Return an argument relative to rootdir, so that it reads the same on another machine."""
    path, colons, rest = argument.partition("::")
    full = Path(os.path.normpath(config.invocation_params.dir / path))
    try:
        path = full.relative_to(config.rootpath).as_posix()
    except ValueError:
        path = Path(path).as_posix()
    return f"{path}{colons}{rest}"


def make(
    config: pytest.Config, run_config: RunConfig, session_id: str, redactor: Redactor
) -> Gatekeeper:
    """Return the registered gatekeeper of a session.

    Raises:
        pytest.UsageError: A gate or the baseline is wrong.
    """
    try:
        keeper = Gatekeeper(config, run_config, session_id, redactor)
    except ConfigError as error:
        raise pytest.UsageError(redactor.text(str(error))) from None
    config.pluginmanager.register(keeper, NAME)
    return keeper


def _within(folder: Path, file: Path) -> str:
    """Return a file relative to a folder that it is in, else as it is."""
    try:
        return file.resolve().relative_to(folder.resolve()).as_posix()
    except (ValueError, OSError):
        return file.as_posix()


def _fail(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _pardon(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.TESTS_FAILED:
        session.exitstatus = pytest.ExitCode.OK
