"""Whether the trials of a session told anything: a deterministic model repeats itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_smoltrace.redaction import HIDDEN_CONTENT

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pytest_smoltrace.attempt import Attempt

EQUAL = (
    "all trials of every case were equal in answer, steps and tokens: as it is asked, the model is "
    "deterministic, and further trials say nothing new (a temperature above 0 makes them differ)"
)


@dataclass(slots=True)
class EqualTrials:
    """Compares the scored trials of each case until two of them differ."""

    _seen: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """Run and case -> hash of what a trial did, and how many trials did so."""
    _differ: bool = False

    def take(self, attempt: Attempt) -> None:
        """Compare one attempt with the others of its case."""
        if self._differ or not attempt.standing.scored:
            return
        done = _signature(attempt)
        key = attempt.run_id, attempt.declared.case_id
        first, number = self._seen.get(key, (hash(done), 0))
        if done is None or first != hash(done):
            self._differ = True
            self._seen.clear()
            return
        self._seen[key] = first, number + 1

    @property
    def lines(self) -> tuple[str, ...]:
        """What a person should know of the trials; nothing where a case ran once."""
        if self._differ or not self._seen:
            return ()
        return (EQUAL,) if min(number for _, number in self._seen.values()) > 1 else ()


def _signature(attempt: Attempt) -> Hashable | None:
    """Return what a deterministic model repeats; None where it is not known."""
    answer, usage = attempt.agent.response, attempt.llm.usage
    if answer in (None, HIDDEN_CONTENT) or usage.completion_tokens is None:
        return None
    return answer, attempt.agent.steps, usage.prompt_tokens, usage.completion_tokens
