"""Goes on with a run that was stopped, killed or met trouble with the infrastructure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.rows.groups import is_conclusive
from pytest_smoltrace.run import load_run
from pytest_smoltrace.sameness import setting_differences, suite_differences
from pytest_smoltrace.stored_runs import find_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from pytest_smoltrace.codec import Plan
    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.run import Run
    from pytest_smoltrace.session_facts import Header

_FAILED = frozenset({"failed", "error"})
_CUT_SHORT = frozenset({"interrupted", "crashed"})
_OK, _FAILURES, _NO_TESTS = 0, 1, 5
"""Exit codes of pytest."""
_NOTED = {"git_sha": "git", "python_version": "Python", "platform": "platform"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """An earlier run and what of it is finished."""

    run: Run
    done: frozenset[str]
    """Node ids, as the journal has them, of cases with a conclusive attempt or a skip."""
    failed: int
    """Finished cases that did not pass."""

    @property
    def directory(self) -> Path:
        """Directory that the session goes on with."""
        return self.run.directory

    @property
    def header(self) -> Header:
        """Header of the run."""
        return self.run.header

    @property
    def knows_suite(self) -> bool:
        """Whether the run lived until its plan was written, whole."""
        run = self.run
        # What follows the plan was written after the whole of it.
        return bool(run.suite and (run.ended or run.unfinished or run.footer or run.parts))

    @property
    def is_complete(self) -> bool:
        """Whether the last session of the run came to its end."""
        return self.run.footer is not None and self.run.footer.stop_reason == "completed"

    @property
    def line(self) -> str:
        """What the header of the session says."""
        planned = len(self.run.planned) or "an unknown number of"
        failed = f", {self.failed} of them failed" if self.failed else ""
        return f"smoltrace: resumed: {len(self.done)} of {planned} cases are finished{failed}"

    def verdict(self, status: int) -> tuple[int, list[str]]:
        """Return the exit code of the whole run, and why it is not this session's.

        Args:
            status: Exit code of the session that ran the rest: 0, or 5 when there was no rest.
        """
        if status not in (_OK, _NO_TESTS):
            return status, []
        if self.failed:
            noun = "case" if self.failed == 1 else "cases"
            return _FAILURES, [f"{self.failed} {noun} failed before the run was resumed"]
        return _OK, []

    def check_suite(self, plan: Plan) -> None:
        """Check that a session selected what the run was to execute.

        Raises:
            ConfigError: It did not; names the first differences.
        """
        cases, division = plan.cases, (self.header.shard or {}).get("division")
        if not self.knows_suite:  # but maybe the beginning of its plan
            known = {case.nodeid for case in self.run.suite}
            cases = tuple(case for case in cases if case.nodeid in known)
            division = division or plan.division
        found = suite_differences(self.run.suite, cases, ("that run", "this session"))
        if not found and plan.division != division:
            found = ["its shard was divided by other durations"]
        if found:
            raise ConfigError(
                f"--smoltrace-resume: run {self.header.session_id!r} had another suite: "
                f"{'; '.join(found)}; give the selection of that run, or begin a new one"
            )

    def environment_differences(self, now: Mapping[str, Any]) -> list[str]:
        """Return a line for each part of the environment that is another one now."""
        parts = [part.environment for _, part in self.run.parts]
        then = parts[-1] if parts else self.header.environment
        pairs = [(name, then.get(key), now.get(key)) for key, name in _NOTED.items()]
        old, new = then.get("package_versions") or {}, now.get("package_versions") or {}
        pairs += [(name, old.get(name), new.get(name)) for name in sorted({*old, *new})]
        return [
            f"resumed with another environment: {name} {before or 'none'}, now {after or 'none'}"
            for name, before, after in pairs
            if before != after
        ]


def load(config: RunConfig, prices_version: str | None) -> Resumption:
    """Return the run that `--smoltrace-resume` names.

    Raises:
        ConfigError: There is none, it cannot be read, or its models or settings are others.
    """
    try:
        # A test may change the working directory.
        run = load_run(find_run(config.resume or "", config.directory).absolute())
    except (ConfigError, JournalError) as error:
        raise ConfigError(f"--smoltrace-resume: {error}") from None
    _check_settings(run.header, config, prices_version)
    done: set[str] = set()
    failed: dict[str, bool] = {}
    for head in run.heads():
        if head.outcome == "skipped" or is_conclusive(head):
            done.add(head.nodeid)
        if head.outcome not in _CUT_SHORT:  # of attempts in one session, pytest takes the last
            failed[head.nodeid] = head.failed or head.outcome in _FAILED
    return Resumption(run=run, done=frozenset(done), failed=sum(failed[nodeid] for nodeid in done))


def _check_settings(header: Header, config: RunConfig, prices_version: str | None) -> None:
    found = setting_differences(header.config, config.shown)
    shard = header.shard or {}
    before = f"{shard['index']}/{shard['count']}" if shard else None
    now = str(config.shard) if config.shard else None
    if before != now:
        found.append(f"--smoltrace-shard ({before or 'unset'} and {now or 'unset'})")
    if header.prices_version != prices_version:
        found.append(f"prices ({header.prices_version} and {prices_version})")
    if config.run_id not in (None, header.session_id):
        found.append(f"--smoltrace-run-id ({header.session_id} and {config.run_id})")
    if found:
        raise ConfigError(
            f"--smoltrace-resume: run {header.session_id!r} had other settings: "
            f"{', '.join(found)}; give those of that run, or begin a new one"
        )
