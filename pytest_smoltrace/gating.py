"""Judges a finished run: its gates, its baseline, and what is written about them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from pytest_smoltrace.baselines.reference import Found, find
from pytest_smoltrace.encoding import dumps
from pytest_smoltrace.errors import JournalError
from pytest_smoltrace.exporters.staging import Staging
from pytest_smoltrace.gates.evaluate import evaluate
from pytest_smoltrace.gates.policy import Policy, policy_of
from pytest_smoltrace.measured.load import load_directory
from pytest_smoltrace.run import GATES_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_smoltrace.config import Judging
    from pytest_smoltrace.gates.verdicts import Judgement

SUMMARY_NAME = "summary.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A policy with the baseline that it names, found before the run began."""

    policy: Policy
    found: Found | None
    """None when no baseline is asked for."""

    def judge(self, directory: Path, *, partial: str | None = None) -> Judgement:
        """Judge a run directory and keep the result in it: gates.json and summary.json.

        Args:
            directory: A run directory with datasets.
            partial: Why only part of the suite was run, None when all of it was.

        Raises:
            JournalError: The datasets cannot be read, or the result not written.
        """
        judgement = evaluate(self.policy, load_directory(directory), self.found, partial=partial)
        keep(directory, judgement)
        return judgement


def prepare(judging: Judging, *, directory: Path, rootdir: Path, leave_out: str = "") -> Judge:
    """Return the judge of a session, its baseline loaded.

    Args:
        judging: The options.
        directory: Folder that runs are stored in.
        rootdir: Folder that relative paths and git revisions are of.
        leave_out: Id of the session itself, which is no baseline.

    Raises:
        ConfigError: A gate or the baseline is not what it can be; says what and where.
    """
    policy = policy_of(judging, in_ci=bool(os.environ.get("CI")))
    found = None
    if policy.baseline is not None:
        found = find(policy.baseline, directory=directory, rootdir=rootdir, leave_out=leave_out)
    return Judge(policy=policy, found=found)


def keep(directory: Path, judgement: Judgement) -> None:
    """Write a judgement into its run directory.

    Raises:
        JournalError: It cannot be written.
    """
    path = directory / SUMMARY_NAME
    value = judgement.as_dict()
    try:
        summary: Mapping[str, Any] = orjson.loads(path.read_bytes())
        with Staging() as staging:
            staging.add(directory / GATES_NAME).write_bytes(_pretty(value))
            staging.add(path).write_bytes(_pretty({**summary, "gates": value}))
            staging.publish()
    except (OSError, ValueError) as error:
        raise JournalError(
            f"cannot keep the verdict of the gates in {directory}: {error}"
        ) from error


def _pretty(value: Any) -> bytes:
    return dumps(value, orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) + b"\n"
