"""The active plugin object: options, plan, journal and summary of one session."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_smoltrace import (
    binding,
    dist,
    gatekeeper,
    host_sampler,
    preflight,
    worker_servers,
)
from pytest_smoltrace.collected import Collected
from pytest_smoltrace.controller import Controller, ungrouped
from pytest_smoltrace.earlier import Earlier, earlier_runs
from pytest_smoltrace.errors import ConfigError, SmoltraceError, UnwrittenError
from pytest_smoltrace.fixtures import RUNNER
from pytest_smoltrace.gpu_monitor import GpuMonitor
from pytest_smoltrace.ledger import Ledger
from pytest_smoltrace.options import runs_nothing
from pytest_smoltrace.progress import Progress
from pytest_smoltrace.redaction import Redactor
from pytest_smoltrace.scrub import Scrubber
from pytest_smoltrace.services import Services
from pytest_smoltrace.shortfall import rest_lines, unmetered_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.pipeline import Outcome


class SmoltraceSession:
    """Hooks of an active session, in the part that this process has in it."""

    def __init__(self, config: pytest.Config, run_config: RunConfig) -> None:
        self.config = run_config
        self.role = dist.role_of(config)
        self.signals, self.coordination = dist.begin(config, self.role)
        self.services = Services(config, run_config)
        self.gpu = GpuMonitor(config, run_config)
        self._pytest = config
        told = dist.told_facts(config)
        earlier = Earlier() if told else earlier_runs(run_config, self.services.prices.version)
        self.resumed = earlier.resumed
        self._notes = earlier.notes
        self.facts = told or earlier.facts(dist.new_facts(run_config.run_id, self.coordination))
        given = {**run_config.model_args, "base_url": run_config.base_url}
        self.redactor = Redactor.from_environment(os.environ, given)
        self.scrubber = Scrubber(self.redactor, hide_content=run_config.hide_content)
        self._collected = Collected(config, run_config, self.facts, self.redactor)
        worker_servers.provide(config, run_config, self.facts, self.coordination, self._collected)
        host_sampler.provide(config, self)
        ledger = Ledger(run_config, self.facts, self.redactor, self.resumed)
        self.ledger = ledger if self.role.logs_reports else None
        session_id = self.facts.session_id
        make = gatekeeper.make if self.role.logs_reports else None
        self.gates = make and make(config, run_config, session_id, self.redactor)
        self.outcome: Outcome | None = None
        self.problems: list[str] = []
        self._controller = Controller(self)
        config.pluginmanager.register(self._controller, "smoltrace-controller")
        waits = self.coordination.waits if self.coordination else None
        self._progress = Progress(config, waits) if self.ledger is not None else None
        self._stopped: str | None = None
        self._untraced: list[str] = []

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        """Say what is evaluated and where it is recorded."""
        from pytest_smoltrace.terminal import header_lines

        lines = header_lines(
            self.config,
            session_id=self.facts.session_id,
            directory=self.ledger.directory if self.ledger else None,
            verbose=config.get_verbosity(),
        )
        gates = self.gates.header_lines() if self.gates else ()
        return [self.redactor.text(line) for line in (*lines, *self._notes, *gates)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Begin to observe, before a test module builds anything."""
        self.signals.install(session)
        session.config.pluginmanager.register(self.signals, "smoltrace-signals")
        session.config.pluginmanager.register(self.scrubber, "smoltrace-scrubber")
        self.scrubber.protect_logs(session.config)
        dist.listen(session.config, self.signals.interrupt)
        if self.role.runs_tests and not runs_nothing(session.config):
            from pytest_smoltrace.runner import CaseRunner

            runner = CaseRunner(session.config, self)
            session.config.pluginmanager.register(runner, RUNNER)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Send the plan of a worker, before it can be given a case."""
        # xdist's own hook tells the controller that the collection is complete.
        if self.role.name == "worker" and self._is_to_run(session):
            self.redactor.learn(os.environ)  # test modules may have set variables
            dist.send_plan(session.config, self._collected.encoded_plan(session.items))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Write the plan, once it is known that the models can be reached."""
        # Not when the collection finishes: other plugins may still refuse the session then.
        if self.role.name == "standalone" and self.ledger and self._is_to_run(session):
            self.redactor.learn(os.environ)
            if self._collected.has_cases(session.items):
                self.open()
                with self.usage():
                    self.write(self.ledger.plan, self._collected.encoded_plan(session.items))

    def _is_to_run(self, session: pytest.Session) -> bool:
        """Return whether the collected items are to be run: neither broken nor only shown."""
        broken = session.testsfailed and not session.config.option.continue_on_collection_errors
        broken = broken and self.role.name != "worker"  # xdist runs what could be collected
        return not (runs_nothing(session.config) or broken or self._collected.refused)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note that a case starts."""
        if self.role.name == "worker":
            dist.send_open(self._pytest, nodeid)
        if self.ledger is not None and self._progress is not None:
            worker = self._controller.place(nodeid) or self.role.worker_id
            nodeid = ungrouped(nodeid, self._pytest)
            self._progress.started(nodeid)
            self._controller.take_plan()
            self.write(self.ledger.case_open, nodeid, worker)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the bundle off the report and append it to the journal."""
        if self.ledger is None:
            return
        bundle, worker = dist.detach(report, dist.BUNDLE), dist.worker_of(report)
        self._stopped = dist.detach(report, dist.STOP) or self._stopped
        self._untraced += filter(None, [dist.detach(report, dist.UNTRACED)])
        if report.when in ("teardown", "???") and self._progress is not None:
            self._progress.finished(ungrouped(report.nodeid, self._pytest))
        if bundle is not None:
            self.open()
            self.write(self.ledger.append, bundle, worker)
        if str(report.when) == "???":  # xdist's report of a worker that died
            self._controller.lost(report, ungrouped(report.nodeid, self._pytest), worker)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Build the datasets and give everything back."""
        if self._progress is not None:
            self._progress.stop()
        directory = self.ledger.directory if self.ledger else None
        with self.signals.closing(session, directory) as problems:
            self._close(session, int(exitstatus))
        self.problems += problems

    def pytest_unconfigure(self) -> None:
        """Give back what a session holds that was stopped before it began."""
        self.services.stop()
        if self.ledger is not None:
            self._guard(self.ledger.discard)

    def _close(self, session: pytest.Session, status: int) -> None:
        if self.signals.cause is not None:
            self._controller.stop(session.config)
        self.problems += self.services.stop()
        if self.ledger is None:
            return
        if self._untraced:
            first = f"{len(self._untraced)} case(s) ran an agent and left no span of it"
            why = "is OTEL_SDK_DISABLED set, or does your TracerProvider drop spans?"
            self.problems.append(f"{first}, {self._untraced[0]} the first: {why}")
        if self._controller.refused:
            self.problems.append(self._controller.refused)
            status = session.exitstatus = pytest.ExitCode.USAGE_ERROR
        self.problems += unmetered_lines(self.coordination)
        if self._stopped and self._is_cut_short():
            self.problems.append(self._stopped.partition("\n")[2])
            status = session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif self.resumed is not None and self.ledger.opened:
            status, reasons = self.resumed.verdict(status)
            session.exitstatus = pytest.ExitCode(status)
            self.problems += reasons
        self.problems += self.gpu.stop()
        built = self._guard(self._build, session, status)
        gaps = self.ledger.gaps
        self.problems += [*self.ledger.notices, *gaps]
        if (gaps or not built) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the summary of the run."""
        from pytest_smoltrace.terminal import write_summary

        if self.outcome is not None or self.problems:
            problems = [self.redactor.text(problem) for problem in self.problems]
            write_summary(terminalreporter, self.outcome, problems)
        if self.gates is not None:
            self.gates.write(terminalreporter)

    def record(self, bundle: str) -> None:
        """Keep a bundle that no report carries: the session ended in the middle of a case."""
        if self.ledger is None:
            if bundle or self.signals.cause is not None:
                dist.send_cut(self._pytest, bundle)
        elif bundle:
            self.write(self.ledger.append, bundle, self.role.worker_id)

    def open(self, *, specs: Sequence[Any] = ()) -> None:
        """Begin the run, once: services first, then the header of the journal."""
        if self.ledger is None or self.ledger.opened:
            return
        with self.usage():
            preflight.check_hosts(specs, self.config.limits)
            self.facts.local_urls.update(self.services.start(specs))  # type: ignore[attr-defined]
            self.ledger.bindings = binding.bound(specs)
            environment = self.services.environment()
            environment["selection"] = gatekeeper.selection_of(self._pytest)
            self.ledger.open(
                environment, prices_version=self.services.prices.version, workers=len(specs) or 1
            )
            if self.resumed is not None:
                self.problems += self.resumed.environment_differences(environment)
            self.problems += self.gpu.start(self.ledger.directory, specs)
            self.tell(gpu=self.gpu.state, samples=self.gpu.file and str(self.gpu.file))

    def tell(self, **facts: Any) -> None:
        """Let this process know, and the workers that are not started yet."""
        self.facts = replace(self.facts, **facts)

    @contextmanager
    def usage(self) -> Iterator[None]:
        """End the session where what the user asked for cannot be."""
        try:
            yield
        except ConfigError as error:
            raise pytest.UsageError(self.redactor.text(str(error))) from None

    def _build(self, session: pytest.Session, status: int) -> None:
        assert self.ledger is not None
        stopped = self._stopped if self._is_cut_short() else None
        reason = (stopped or "").partition("\n")[0] or self.signals.stop_reason(session, status)
        if reason == "completed" and self._controller.has_lost and self.ledger.left_out:
            reason = "crash"  # xdist replaced no more workers
        self.outcome = self.ledger.finish(reason, status, self.services.not_applied)
        if self.outcome is not None:
            self.problems += self.services.refused_settings()
            self.problems += self.signals.stopped_lines(reason, self.outcome.summary)
            self.problems += rest_lines(reason, self.outcome.summary)
            self.outcome = self._judged(session, self.outcome)
            session.config.hook.pytest_smoltrace_finished(outcome=self.outcome)
        elif self.gates is not None and not self.ledger.gaps:
            self.gates.judge_nothing(session)
            self.problems += self.gates.problems

    def _judged(self, session: pytest.Session, outcome: Outcome) -> Outcome:
        """Return the outcome with what its gates came to."""
        if self.gates is None or self.ledger is None:
            return outcome
        whole = not self.ledger.gaps
        outcome = self.gates.judge(session, outcome, self.ledger.planned_cases, whole=whole)
        self.gates.report(outcome)
        self.problems += self.gates.problems
        return outcome

    def _is_cut_short(self) -> bool:
        """Return whether what stopped the session left cases out: a budget may just suffice."""
        reason = (self._stopped or "").partition("\n")[0]
        return reason != dist.BUDGET or (self.ledger is not None and self.ledger.left_out > 0)

    def write(self, action: Any, *args: Any, **kwargs: Any) -> None:
        """Write to the journal; a signal has to wait for it."""
        with self.signals.deferred():
            self._guard(action, *args, **kwargs)

    def _guard(self, action: Any, *args: Any, **kwargs: Any) -> bool:
        """Run what writes; a full disk is said at the end and does not end the session."""
        try:
            action(*args, **kwargs)
        except UnwrittenError:
            return False  # the ledger counts them
        except ConfigError:
            raise  # the session cannot be what it was asked to be
        except SmoltraceError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return False
        return True
