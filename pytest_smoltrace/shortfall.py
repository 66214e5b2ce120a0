"""What the summary says of the cases that failed and of those that could not be evaluated."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.error_types import CATEGORY, UNSCORED
from pytest_smoltrace.formats import count, line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_smoltrace.coordination import Coordination


def failures(
    cases: Sequence[Mapping[str, Any]], runs: Iterable[Mapping[str, Any]], left_out: int
) -> Iterator[str]:
    """Yield why cases failed: what the agent did, then what kept it from being judged."""
    note = f" among the first {count(len(cases))} attempts" if left_out else ""
    failed = [case for case in cases if case["scored"] and case["error_type"]]
    if failed:
        yield line("failed", f"{ranked(Counter(case['error_type'] for case in failed))}{note}")
    unscored = [case for case in cases if not case["scored"]]
    # The cases that a long run leaves out are in its leaderboard rows.
    lasting = (
        unscored_of(runs) if left_out else _kinds(c for c in unscored if c.get("counted", True))
    )
    again = _kinds(case for case in unscored if not case.get("counted", True))
    for category in UNSCORED:
        told = [
            f"{ranked(errors)} ({what})"
            for kinds, what in ((lasting, "not scored"), (again, "run again"))
            if (errors := {k: n for k, n in kinds.items() if CATEGORY.get(k) == category})
        ]
        if told:
            yield line(f"{category} errors", ", ".join(told))


def _kinds(cases: Iterable[Mapping[str, Any]]) -> Counter[str]:
    return Counter(case["error_type"] for case in cases)


def exit_reason(status: int | None, runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield why the exit code is 1 though it may be that no evaluated case failed."""
    kinds = unscored_of(runs)
    number = sum(kinds.values())
    if status != 1 or not number:
        return
    passed, evaluated = (
        sum(run[name] for run in runs) for name in ("successful_tests", "num_tests")
    )
    cases = f"{count(number)} case{'s' * (number != 1)} could not be evaluated ({ranked(kinds)})"
    if not evaluated:
        rest = "no other case was"
    elif passed == evaluated > 1:
        rest = f"all {count(evaluated)} evaluated cases passed"
    else:
        rest = f"{count(passed)} of {count(evaluated)} evaluated passed"
    yield line("exit code 1", f"{cases}; {rest}")


def unscored_of(runs: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Return the error types of the cases that could not be evaluated, reruns left out."""
    kinds: Counter[str] = Counter()
    for run in runs:
        kinds.update({k: n for k, n in run["error_types"].items() if CATEGORY.get(k) in UNSCORED})
    return kinds


def ranked(kinds: Mapping[str, int]) -> str:
    """Return the error types with their numbers, the most frequent first."""
    ranked = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    return ", ".join(f"{count(number)} {kind}" for kind, number in ranked)


def rest_lines(reason: str, summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield how to go on with a run that something other than its own end stopped."""
    runs = summary.get("runs") or []
    partial = any(run["run_status"] != "completed" for run in runs)
    if partial and reason not in ("completed", "maxfail"):
        yield f"go on with it: --smoltrace-resume={summary['session_id']}"


def unmetered_lines(shared: Coordination | None) -> list[str]:
    """Return a line on the calls that the session's budget could not include."""
    calls = shared.spent().unmetered if shared is not None else 0
    return [f"{calls} LLM call(s) reported no usage; no budget includes them"] if calls else []
