"""The side that runs cases: hooks around setup, call and teardown of every item."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace import binding, dist
from pytest_smoltrace.attempt.properties import properties_of
from pytest_smoltrace.capture.providers import preload
from pytest_smoltrace.case_view import CaseView
from pytest_smoltrace.codec import encode_case
from pytest_smoltrace.coroutines import held
from pytest_smoltrace.fixtures import SessionView
from pytest_smoltrace.models import Models
from pytest_smoltrace.recorder import CASE, Recorder, is_untraced
from pytest_smoltrace.scrub import failure_line, without_answers, without_texts
from pytest_smoltrace.spending import pricer

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_smoltrace.facts import CaseRecord
    from pytest_smoltrace.gpu_view import GpuView
    from pytest_smoltrace.session import SmoltraceSession


class CaseRunner:
    """Observes the cases of one process."""

    def __init__(self, config: pytest.Config, session: SmoltraceSession) -> None:
        self._session = session
        self._gpus = config.pluginmanager.getplugin(binding.NAME)
        self._hide = session.config.hide_content
        self._recorder = Recorder(
            pricer(session.config, session.services.prices, config.hook),
            session.config,
            session.coordination,
            worker_id=session.role.worker_id,
        )
        self._unlogged = ""
        """Bundle of a case that has ended, until a report of it has been logged."""
        self._carrier: pytest.TestReport | None = None
        """Report that carries what the case left, until a report of it is logged."""
        self._recorder.capture.clean = session.redactor.text
        session.scrubber.in_case = lambda: self._recorder.capture.current is not None
        self._is_last = False
        preload(session.config.models)
        self._recorder.capture.start()
        self._models = Models(
            session.config, config.hook, self._recorder.capture, session.facts.local_urls
        )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Open the case; its trace covers the fixtures."""
        case = self._recorder.open(item)
        with self._recorder.stoppable(), case.phase("setup"):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Run the test function and hold the case to what it declared."""
        case = item.stash[CASE]
        with case.phase("call"), self._recorder.enforced(case):
            try:
                with (
                    self._recorder.stoppable(),
                    self._recorder.capture.limited(case),
                    held(item, "obj", self._recorder.capture.in_phase),
                ):
                    result = yield
            except (Exception, pytest.fail.Exception):
                self._recorder.take_over(item)
                self._ask_for_results(item)
                raise
            self._ask_for_results(item)
            return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """Keep a coroutine fixture to the phase that runs it, its end included."""
        with held(fixturedef, "func", self._recorder.capture.in_phase):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, Any, Any]:
        """Close the trace before the teardown report is made."""
        case = item.stash[CASE]
        self._is_last = nextitem is None
        try:
            with case.phase("teardown"):
                try:
                    return (yield)
                finally:
                    self._recorder.capture.end_streams()
        finally:
            case.close_root()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fold the phase into the case; the teardown report carries the bundle."""
        with self._recorder.shown_shortly(item, call):
            report = yield
        self._recorder.report(item, call, report)
        if self._hide and CASE in item.stash and self._recorder.is_case(item):
            error = item.stash[CASE].notes.error
            line = failure_line(item, call, error.type if error else None)
            self._session.scrubber.hide(report, line)
        self._session.scrubber.report(report)
        if report.when == "teardown":
            with self._session.signals.deferred():
                self._finish(item, report)
        return report

    def pytest_enter_pdb(self) -> None:
        """Let no limit interrupt a person who debugs, for the rest of the case."""
        self._recorder.capture.limits.watchdog.paused = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(
        self, report: pytest.TestReport
    ) -> Generator[None, list[None], list[None]]:
        """Let the first report after a case carry the bundle, and forget it afterwards."""
        # pytest-rerunfailures logs an attempt when it has ended, up to 16.5 without its teardown.
        if self._carrier is not None and self._carrier is not report:
            for name in (dist.BUNDLE, dist.STOP, dist.UNTRACED):
                if name in self._carrier.__dict__:
                    setattr(report, name, self._carrier.__dict__.pop(name))
        self._carrier = None
        result = yield
        self._unlogged = ""
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Record the case that the end of the session cut off, and give everything back."""
        record = self._recorder.abandon()
        self._session.record(self._encoded(record) if record is not None else self._unlogged)
        self._recorder.capture.stop()

    def _ask_for_results(self, item: pytest.Item) -> None:
        """Let others add scores and tags, whether the test function passed or not."""
        if self._recorder.is_case(item):
            item.config.hook.pytest_smoltrace_result(item=item, case=self.case_view(item))

    def model_of(self, item: pytest.Item) -> Any:
        """Return the model of the item's configuration."""
        return self._models.model_of(item)

    def agent_of(self, item: pytest.Item, **kwargs: Any) -> Any:
        """Return an agent of the item's configuration."""
        return self._models.agent_of(item, **kwargs)

    def case_view(self, item: pytest.Item) -> CaseView:
        """Return what the test may see of its case."""
        return CaseView(item.stash[CASE], self._models.judge, hide_content=self._hide)

    def gpu_view(self) -> GpuView:
        """Return what a test may see of the GPUs."""
        from pytest_smoltrace.gpu_view import GpuView

        return GpuView(self._session.facts.gpu, self._session.facts.samples)

    def session_view(self) -> SessionView:
        """Return what a test may see of the session."""
        from pytest_smoltrace.journal import run_directory

        config, facts = self._session.config, self._session.facts
        resumed = facts.directory and Path(facts.directory)
        directory = resumed or run_directory(config.directory, facts.session_id)
        return SessionView(session_id=facts.session_id, directory=directory, config=config)

    def _finish(self, item: pytest.Item, report: pytest.TestReport) -> None:
        record = self._recorder.finish(item)
        if record is None:
            return
        report.user_properties += (
            (name, self._session.redactor.text(value) if isinstance(value, str) else value)
            for name, value in properties_of(record)
        )
        self._unlogged, self._carrier = self._encoded(record), report
        dist.attach_bundle(report, self._unlogged, self._session.facts)
        if is_untraced(record):
            dist.attach(report, dist.UNTRACED, item.nodeid)
        if self._recorder.auth_failed:
            message = f"stopped: the model refused the first call ({record.error.message})"  # type: ignore[union-attr]
            message = self._session.redactor.text(message)
            self._stop(item, report, f"error: {message}", message)
        spent = self._recorder.capture.budgets.session_message()
        if spent is not None:
            self._stop(item, report, dist.BUDGET, f"stopped: {spent}")

    def _stop(
        self, item: pytest.Item, report: pytest.TestReport, reason: str, message: str
    ) -> None:
        """Let no further case run, in any worker."""
        dist.attach(report, dist.STOP, f"{reason}\n{message}")
        if not self._is_last:
            item.session.shouldfail = message

    def _encoded(self, record: CaseRecord) -> str:
        """Return the bundle of an attempt as it may be stored."""
        if self._hide:
            declared = without_answers(record.declared)
            record = replace(record, declared=declared, extra=without_texts(record.extra))
        record = replace(record, gpu_uuids=self._gpus.uuids)
        return self._session.redactor.json(encode_case(record))
