"""The side that runs cases: opens, closes and bundles one attempt after the other."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from _pytest.outcomes import Failed  # pytest.fail.Exception, which type checkers do not know
from _pytest.unittest import TestCaseFunction

from pytest_smoltrace import short_traceback, taxonomy, verdict
from pytest_smoltrace.capture import Capture, Case, CaseStopped, LimitReached
from pytest_smoltrace.causes import is_caused_by
from pytest_smoltrace.counting import KIND, Count
from pytest_smoltrace.errors import CheckFailed
from pytest_smoltrace.facts import CaseRecord, Declared, ErrorFact
from pytest_smoltrace.redaction import HIDDEN_CONTENT
from pytest_smoltrace.selection import DECLARED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.coordination import Coordination
    from pytest_smoltrace.counting import Pricer

CASE = pytest.StashKey[Case]()
_OWN_ENDS = (
    *(KeyboardInterrupt, SystemExit, pytest.exit.Exception),
    *(pytest.skip.Exception, pytest.xfail.Exception),
)
"""What ends a test function for a reason of its own, also after a limit or a budget."""


class ExpectationFailed(CheckFailed, Failed):
    """A declared expectation does not hold; pytest shows its message without a traceback."""

    __module__ = "builtins"  # as pytest's own outcomes: its name is shown without a module

    def __init__(self, failed: CheckFailed) -> None:
        CheckFailed.__init__(self, str(failed), failed.error_type)
        self.exception_type, self.http_status = failed.exception_type, failed.http_status
        self.msg = str(failed)
        self.pytrace = False


class Recorder:
    """Records the attempts of one process."""

    def __init__(
        self,
        price: Pricer,
        config: RunConfig,
        coordination: Coordination | None,
        *,
        worker_id: str,
    ) -> None:
        self._hide = config.hide_content
        self.capture = Capture(
            price,
            bounds=config.limits,
            coordination=coordination,
            hide_content=config.hide_content,
            worker_id=worker_id,
        )
        self.auth_failed = False
        self._attempts: Counter[str] = Counter()
        self._item: pytest.Item | None = None
        self._answered = False

    def open(self, item: pytest.Item) -> Case:
        """Begin the next attempt of an item."""
        declared = item.stash.get(DECLARED, None)
        if declared is None:
            declared = Declared(case_id=item.nodeid, nodeid=item.nodeid)
        attempt = self._attempts[item.nodeid]
        self._attempts[item.nodeid] += 1
        self._item = item
        case = item.stash[CASE] = self.capture.open(declared, attempt)
        return case

    def is_case(self, item: pytest.Item) -> bool:
        """Return whether the item declares a case or has run an agent or a model so far."""
        if DECLARED in item.stash:
            return True
        case = item.stash[CASE]
        return bool(case.notes.runs or case.count_so_far().calls)

    @contextmanager
    def enforced(self, case: Case) -> Iterator[None]:
        """Fail the case when the test function ended well but not as the case declared.

        Raises:
            ExpectationFailed: The first expectation that does not hold.
        """
        try:
            yield
        finally:
            self.capture.end_streams()
            runs = case.top_runs()
            answer = runs[-1].answer if runs else None
            keywords = verdict.keyword_verdict(case.declared, answer)
            if keywords is not None:
                case.notes.answer_checks.append(keywords)
        over = self.capture.budgets.overspent(case)
        if over is not None:
            raise ExpectationFailed(CheckFailed(*over))
        declared = case.declared
        wanted = declared.expected_tool or any(verdict.is_unanswered(r, declared) for r in runs)
        seen = case.count_so_far() if wanted else Count(calls=(), tool_calls=(), roles={})
        found = verdict.problems(
            declared, runs, seen.tool_calls, seen.calls, hide_content=self._hide
        )
        for failed in found:
            raise ExpectationFailed(failed)

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Show a case that a limit or a budget stopped as one clear line.

        Raises:
            ExpectationFailed: What stopped it.
        """
        try:
            yield
        except BaseException as error:
            if isinstance(error, CaseStopped):
                self.capture.stopped = error
            stop = self.capture.stopped
            if stop is None or isinstance(error, _OWN_ENDS):
                raise
            failed = ExpectationFailed(CheckFailed(stop.message, stop.error_type))
            # A debugger stops where the limit met the test, not here.
            raise failed.with_traceback(error.__traceback__) from None

    @contextmanager
    def shown_shortly(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        """Let pytest render the test's own lines only where a model could not be reached."""
        case, excinfo = item.stash.get(CASE, None), call.excinfo
        short = None
        if case is not None and call.when == "call" and excinfo is not None:
            error = _fact(case, excinfo.value, call.when)
            if error.category in ("infra", "judge") and not _is_skip(excinfo.value):
                short = short_traceback.shorten(item, excinfo, error)
        with short_traceback.rendered_as(item, short):
            yield

    def take_over(self, item: pytest.Item) -> None:
        """Let what stopped a case come before what a `unittest.TestCase` has met by then."""
        if self.capture.stopped is not None and isinstance(item, TestCaseFunction):
            item.__dict__.pop("_excinfo", None)  # where pytest keeps it for its own report

    def report(
        self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
    ) -> None:
        """Note the outcome of one phase."""
        case = item.stash.get(CASE, None)
        if case is None or _is_interrupt(call):
            return
        error = None
        if call.excinfo is not None and not _is_skip(call.excinfo.value):
            error = _fact(case, call.excinfo.value, call.when)
            if self._hide:
                # It may repeat the prompt or the answer; type and status say what happened.
                error = replace(error, message=HIDDEN_CONTENT)
        case.note_report(report.when, report.outcome, error)
        decide(case, report, error)

    def finish(self, item: pytest.Item) -> CaseRecord | None:
        """End an attempt; None when the item turned out to be no eval case."""
        case = item.stash.get(CASE, None)
        if case is None:
            return None
        del item.stash[CASE]
        record = self._closed(case, item)
        if record is None:
            return None
        self._watch_authentication(record)
        return record

    def abandon(self) -> CaseRecord | None:
        """End the attempt that the end of the session cut off; None when there is none."""
        case, item = self.capture.current, self._item
        if case is None or item is None:
            return None
        case.interrupt()
        return self._closed(case, item)

    def _closed(self, case: Case, item: pytest.Item) -> CaseRecord | None:
        """Return the record of an attempt; None when the item turned out to be no eval case."""
        record = self.capture.close(case)
        is_case = DECLARED in item.stash or record.runs or record.calls
        return record if is_case else None

    def _watch_authentication(self, record: CaseRecord) -> None:
        self._answered |= any(call.error_type is None for call in record.calls)
        refused = any(call.error_type == "llm_auth" for call in record.calls)
        failed = record.error is not None and record.error.type == "llm_auth"
        self.auth_failed = failed and refused and not self._answered


def decide(case: Case, report: pytest.TestReport, error: ErrorFact | None) -> None:
    """Fold the outcome of a phase into the outcome of the attempt."""
    before = case.notes.outcome
    outcome = phase_outcome(report)
    undecided = before in (None, "passed") or (
        # A test that did not fail, and whose teardown does.
        before in ("xpassed", "skipped") and outcome == "error"
    )
    if outcome is not None and undecided:
        case.notes.outcome = outcome
        case.notes.error = None if outcome in ("passed", "xpassed", "skipped") else error


def phase_outcome(report: pytest.TestReport) -> str | None:
    """Return what a phase makes of its attempt; None when it decides nothing."""
    strict_xpass = isinstance(report.longrepr, str) and report.longrepr.startswith(
        "[XPASS(strict)]"
    )
    if report.when == "call":
        if strict_xpass or (report.passed and hasattr(report, "wasxfail")):
            return "xpassed"
        if report.skipped and hasattr(report, "wasxfail"):
            return "xfailed"
        return report.outcome
    if report.skipped:
        # xfail(run=False): nothing ran that could have failed.
        reason = getattr(report, "wasxfail", "[NOTRUN]")
        return "skipped" if "[NOTRUN]" in reason else "xfailed"
    return "error" if report.failed else None


def _is_interrupt(call: pytest.CallInfo[None]) -> bool:
    """Return whether a subtest met the interrupt of a limit: its test says which one."""
    return call.excinfo is not None and isinstance(call.excinfo.value, LimitReached)


def _is_skip(error: BaseException) -> bool:
    return isinstance(error, pytest.skip.Exception)


def _fact(case: Case, raised: BaseException, when: str) -> ErrorFact:
    """Return why a phase of the case failed."""
    from_model = is_caused_by(raised, case.notes.model_errors)
    judged = from_model and case.declared.role == "judge"
    fact = taxonomy.classify(
        raised,
        when,
        from_model=from_model,
        from_judge=judged or is_caused_by(raised, case.notes.judge_errors),
    )
    if not isinstance(raised, ExpectationFailed):
        return fact
    # It stands for what the agent met; its own class says nothing.
    return replace(fact, exception_type=raised.exception_type, http_status=raised.http_status)


def is_untraced(record: CaseRecord) -> bool:
    """Return whether a case ran an agent to its end and left no span of it."""
    kinds = (a.get(KIND) for a in record.spans.attributes) if record.spans else ()
    # A limit may fire before an agent's span has begun.
    ended = any(run.stop_reason not in ("timeout", "budget") for run in record.runs)
    return ended and not {"AGENT", "LLM"} & set(kinds)
