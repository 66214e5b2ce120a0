"""What the first pass over a journal needs to know of an attempt."""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_smoltrace.codec import decode_declared, load_line
from pytest_smoltrace.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_smoltrace.facts import Declared


class Head(NamedTuple):
    """An attempt without what it did; those of all cases are held at once."""

    nodeid: str
    case_id: str
    trial: int
    attempt: int
    """0-based number among the attempts of its trial."""
    model: str | None
    agent_type: str | None
    outcome: str
    error_category: str | None
    unplanned: Declared | None
    """What the case said about itself where the plan does not name it."""
    failed: bool = False
    """Whether pytest reported a failed phase, as for a pass that a strict xfail forbids."""


class Outline(NamedTuple):
    """The head of a case line and when the case ran."""

    head: Head
    trace_id: str
    end_unix_ns: int | None
    """Latest end of a phase; None when no phase was executed."""


def decode_outline(line: bytes, planned: Mapping[str, Declared]) -> Outline:
    """Return the outline of a `case` line; texts that the plan holds are those of the plan."""
    data = load_line(line, "case")
    try:
        ends = [
            phase["start_unix_ns"] + phase["end_mono_ns"] - phase["start_mono_ns"]
            for phase in data["phases"]
        ]
        return Outline(_head(data, planned), data["trace_id"], max(ends, default=None))
    except (TypeError, KeyError, AttributeError) as error:
        raise JournalError(f"a case line is not what this version writes: {error}") from error


def _head(data: dict[str, Any], planned: Mapping[str, Declared]) -> Head:
    declared, error = data["declared"], data["error"]
    nodeid, case_id, trial = declared["nodeid"], declared["case_id"], declared.get("trial", 0)
    model, agent_type = _identity(declared, data.get("runs", ()))
    known = planned.get(nodeid)
    if known is not None:
        nodeid = known.nodeid
        case_id = known.case_id if known.case_id == case_id else case_id
    return Head(
        nodeid,
        case_id,
        trial,
        data["attempt"],
        model and intern(model),
        agent_type and intern(agent_type),
        intern(data["outcome"]),
        error and intern(error["category"]),
        decode_declared(declared) if known is None else None,
        any(phase["outcome"] == "failed" for phase in data["phases"]),
    )


def _identity(
    declared: Mapping[str, Any], runs: Iterable[Mapping[str, Any]]
) -> tuple[str | None, str | None]:
    """Return model and agent type as `attempt.agent.agent_totals` finds them."""
    first = next((run for run in runs if not run.get("managed")), None)
    if first is None:
        return declared.get("model"), declared.get("agent_type")
    model = first.get("model")
    return declared.get("model") if model is None else model, first["agent_type"]
