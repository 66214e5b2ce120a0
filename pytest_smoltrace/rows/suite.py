"""The cases that a run was to execute."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from pytest_smoltrace.attempt import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_smoltrace.facts import Declared

EXPECTATIONS = (
    "expected_tool",
    "expected_tool_calls",
    "expected_keywords",
    "max_steps",
    "allow_max_steps",
    "timeout_s",
    "max_cost_usd",
    "max_tokens",
    "max_total_steps",
)
"""What a case demands, as part of the hash of the suite."""


_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The selected cases of one run."""

    planned: int
    """Trials."""
    run_status: str
    dataset: str | None
    revision: str | None
    hash: str


def suite_of(cases: Sequence[Declared], done: int) -> Suite:
    """Return the suite; `done` is the number of trials that were completed or skipped."""
    planned = len(cases)
    status = "completed" if done >= planned else "partial" if done else "failed"
    return Suite(
        planned=planned,
        run_status=status if planned else "failed",
        dataset=_listed(case.dataset for case in cases),
        revision=_listed(case.dataset_revision for case in cases),
        hash=suite_hash(cases),
    )


def suite_hash(cases: Iterable[Declared]) -> str:
    """Return the SHA-256 over what the cases ask for, whatever their order and trials."""
    digest = hashlib.sha256()
    ordered = sorted(cases, key=attrgetter("case_id"))
    for _, same in groupby(ordered, key=attrgetter("case_id")):
        for record in sorted({demands(case) for case in same}):
            digest.update(f"{record}\n".encode())
    return digest.hexdigest()


def demands(case: Declared) -> str:
    """Return what a case asks for as canonical JSON."""
    expected = {name: getattr(case, name) for name in EXPECTATIONS}
    return to_json({"case_id": case.case_id, "prompt": case.prompt} | expected)


def digest(case: Declared) -> str:
    """Return a short digest of what a case asks for, by which a changed case is told."""
    return hashlib.blake2b(demands(case).encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _listed(values: Iterable[str | None]) -> str | None:
    return ",".join(sorted({value for value in values if value})) or None
