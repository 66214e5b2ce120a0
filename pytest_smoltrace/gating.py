"""Judges a finished run: its gates, its baseline, and what is written about them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from pytest_smoltrace.baselines.reference import Found, find, is_picked
from pytest_smoltrace.config import GateSpec
from pytest_smoltrace.encoding import dumps
from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.exporters.staging import Staging
from pytest_smoltrace.gates.evaluate import evaluate
from pytest_smoltrace.gates.own import OwnGate, evaluate_own
from pytest_smoltrace.gates.policy import Policy, policy_of
from pytest_smoltrace.measured.load import load_directory
from pytest_smoltrace.run import GATES_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from pytest_smoltrace.config import Judging
    from pytest_smoltrace.gates.verdicts import Judgement
    from pytest_smoltrace.measured.session import MeasuredSession

SUMMARY_NAME = "summary.json"
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A policy with the baseline that it names, found before the run began."""

    policy: Policy
    found: Found | None
    """None when no baseline is asked for."""
    own: Mapping[str, OwnGate]
    """Gates that are functions."""

    def header_lines(self) -> Iterator[str]:
        """Yield the gates and the baseline."""
        names = [*(gate.name for gate in self.policy.gates), *self.own]
        yield f"gates: {', '.join(names)}"
        if self.found is not None:
            yield f"baseline: {_described(self.found)}"

    def judge(self, directory: Path, *, partial: str | None = None) -> Judgement:
        """Judge a run directory with datasets.

        Args:
            directory: A run directory with datasets.
            partial: Why only part of the suite was run, None when all that was selected was.

        Raises:
            JournalError: The datasets cannot be read.
        """
        candidate = load_directory(directory)
        session = self.found.session if self.found is not None else None
        if partial is None and session is not None:
            partial = _narrowed(candidate, session)
        judgement = evaluate(self.policy, candidate, self.found, partial=partial)
        results = [
            evaluate_own(name, function, candidate, session) for name, function in self.own.items()
        ]
        return replace(judgement, results=(*judgement.results, *results))


def own_gates(hooked: Iterable[Mapping[str, Any] | None]) -> dict[str, str | OwnGate]:
    """Return the gates that implementations of the hook give, by name.

    Raises:
        ConfigError: Two have one name, or one is neither an expression nor a function.
    """
    found: dict[str, str | OwnGate] = {}
    for mapping in hooked:
        if not isinstance(mapping or {}, Mapping):
            raise ConfigError(
                f"pytest_smoltrace_gates: {_short(mapping)} is no dict of gates by name"
            )
        for name, gate in (mapping or {}).items():
            if not isinstance(name, str) or not name.strip():
                raise ConfigError(f"pytest_smoltrace_gates: {_short(name)} is no name of a gate")
            if name in found:
                raise ConfigError(f"pytest_smoltrace_gates: two gates are called {name!r}")
            if not isinstance(gate, str) and not callable(gate):
                raise ConfigError(
                    f"pytest_smoltrace_gates: gate {name!r} is {_short(gate)}, "
                    "neither an expression nor a function"
                )
            found[name] = gate
    return found


def _short(value: object) -> str:
    """Return a value of the user's own in one line."""
    return repr(value).partition("\n")[0][:_SHOWN]


def prepare(
    judging: Judging,
    *,
    directory: Path,
    rootdir: Path,
    leave_out: str = "",
    own: Mapping[str, str | OwnGate] | None = None,
    flag: str = "--smoltrace-baseline",
) -> Judge:
    """Return the judge of a session, its baseline loaded.

    Args:
        judging: The options.
        directory: Folder that runs are stored in.
        rootdir: Folder that relative paths and git revisions are of.
        leave_out: Id of the session itself, which is no baseline.
        own: Gates of the user's own hooks; those of the options replace the ones of their name.
        flag: How the baseline is called, for messages.

    Raises:
        ConfigError: A gate or the baseline is not what it can be; says what and where.
    """
    given = {spec.name for spec in judging.gates}
    own = {name: gate for name, gate in (own or {}).items() if name not in given}
    texts = {name: gate for name, gate in own.items() if isinstance(gate, str)}
    specs = [
        GateSpec(name=name, text=text, place="pytest_smoltrace_gates")
        for name, text in texts.items()
    ]
    judging = replace(judging, gates=(*judging.gates, *specs))
    policy = policy_of(judging, in_ci=bool(os.environ.get("CI")))
    found = None
    if policy.baseline is not None:
        try:
            found = find(policy.baseline, directory=directory, rootdir=rootdir, leave_out=leave_out)
        except ConfigError as error:
            raise ConfigError(f"{flag}: {error}") from None
    functions = {name: gate for name, gate in own.items() if not isinstance(gate, str)}
    for gate in policy.gates:
        if gate.name in functions:
            raise ConfigError(
                f"pytest_smoltrace_gates: there is a gate {gate.name!r} already; "
                "give the function another name"
            )
    return Judge(policy=policy, found=found, own=functions)


def _described(found: Found) -> str:
    """Return reference and session of a baseline, or why there is none."""
    if found.session is None:
        return f"{found.reference}: none yet ({found.missing})"
    runs = found.session.runs
    models = ", ".join(dict.fromkeys(f"{run.model}" for run in runs))
    session = found.session.session_id
    shown = "" if found.reference == session else f"{found.reference}: "
    return f"{shown}run {session} ({models})"


def _narrowed(candidate: MeasuredSession, baseline: MeasuredSession) -> str | None:
    """Return what of the suite was selected, where the baseline was selected in another way.

    Of a baseline that does not tell how it was selected, a run of whole folders is taken for
    the whole suite: else no case that is gone would ever be missed.
    """
    chosen, before = (side.summary.get("selection") for side in (candidate, baseline))
    if not chosen or chosen == before:
        return None
    known = "selection" in baseline.summary
    of_files = any(word.endswith(".py") for word in chosen.split())
    is_part = known or of_files or is_picked(chosen, marks=True)
    return f"selected by {chosen}" if is_part else None


def keep(
    directory: Path,
    judgement: Judgement,
    exit_status: int | None,
    redact: Callable[[str], str],
) -> dict[str, Any]:
    """Write a judgement into its run directory and return the new value of summary.json.

    Args:
        directory: The judged run.
        judgement: What its gates came to.
        exit_status: Exit code of the session, the gates taken into account; None to keep it.
        redact: Returns JSON without secrets.

    Raises:
        JournalError: It cannot be written.
    """
    path = directory / SUMMARY_NAME
    try:
        summary: dict[str, Any] = orjson.loads(path.read_bytes())
        status = summary.get("exit_status") if exit_status is None else exit_status
        found = {**judgement.as_dict(), "exit_status": status}
        value = orjson.loads(redact(dumps(found).decode()))
        summary |= {"gates": value, "exit_status": status}
        with Staging() as staging:
            staging.add(directory / GATES_NAME).write_bytes(_pretty(value))
            staging.add(path).write_bytes(_pretty(summary))
            staging.publish()
    except (OSError, ValueError) as error:
        message = f"cannot keep the verdict of the gates in {directory}: {error}"
        raise JournalError(message) from error
    return summary


def _pretty(value: Any) -> bytes:
    return dumps(value, orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n"
