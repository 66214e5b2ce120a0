"""First pass over a run: which run each attempt belongs to, which attempts count."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_smoltrace.attempt import Standing
from pytest_smoltrace.attempt.ending import SUCCESSFUL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_smoltrace.facts import Declared
    from pytest_smoltrace.head import Head

NOT_ABOUT_THE_AGENT = frozenset({"infra", "judge", "harness"})
"""Error categories that leave an attempt out of every rate."""

NOT_COMPLETED = frozenset({"skipped", "interrupted"})
"""Outcomes of attempts that say nothing about the agent."""

Identity = tuple[str | None, str | None]
"""Model and agent type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One evaluated configuration of the session: one leaderboard row."""

    run_id: str
    model: str | None
    agent_type: str | None
    planned: tuple[Declared, ...]
    """Trials selected for it, those that only ran included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """What the first pass finds; attempts are known by their place in the journal."""

    groups: tuple[Group, ...]
    group_of: array[int]
    """Index of its group for each attempt."""
    counted: bytearray
    scored: bytearray
    first_scored: bytearray
    """1 on the scored attempt of the lowest trial of its case."""

    def standing(self, place: int, *, success: bool) -> Standing:
        """Return what the other attempts make of the attempt at this place."""
        return Standing(
            counted=bool(self.counted[place]),
            scored=bool(self.scored[place]),
            pass_at_1_passed=success if self.first_scored[place] else None,
        )


@dataclass(slots=True, kw_only=True)
class _Heads:
    """The few figures of each attempt that the first pass keeps."""

    identities: dict[Identity, int] = field(default_factory=dict)
    cases: dict[str, int] = field(default_factory=dict)
    identity: array[int] = field(default_factory=lambda: array("i"))
    case: array[int] = field(default_factory=lambda: array("i"))
    trial: array[int] = field(default_factory=lambda: array("i"))
    attempt: array[int] = field(default_factory=lambda: array("i"))
    eligible: bytearray = field(default_factory=bytearray)
    of_node: dict[str, int] = field(default_factory=dict)
    """Node id -> identity of its last attempt."""
    unplanned: dict[str, Declared] = field(default_factory=dict)

    def take(self, head: Head, planned: set[str]) -> None:
        """Note one attempt."""
        key = (head.model, head.agent_type)
        identity = self.identities.setdefault(key, len(self.identities))
        self.identity.append(identity)
        self.case.append(self.cases.setdefault(head.case_id, len(self.cases)))
        self.trial.append(head.trial)
        self.attempt.append(head.attempt)
        self.eligible.append(is_conclusive(head))
        self.of_node[head.nodeid] = identity
        if head.unplanned and head.nodeid not in planned:
            self.unplanned[head.nodeid] = head.unplanned


def is_conclusive(head: Head) -> bool:
    """Return whether the attempt says something about the agent."""
    if head.outcome in SUCCESSFUL:
        return True
    return head.outcome not in NOT_COMPLETED and head.error_category not in NOT_ABOUT_THE_AGENT


def group_attempts(heads: Iterable[Head], planned: Sequence[Declared], session_id: str) -> Grouping:
    """Assign every attempt and every planned trial to a run and mark the counted ones."""
    seen = _Heads()
    nodes = {case.nodeid for case in planned}
    for head in heads:
        seen.take(head, nodes)
    cases = (*planned, *seen.unplanned.values())
    identity_of_plan = list(_planned_identities(cases, seen))
    identities = list(dict.fromkeys((*identity_of_plan, *seen.identities)))
    joined = _joined(identities)
    kept = list(dict.fromkeys(joined.values()))
    index = {identity: kept.index(joined[identity]) for identity in identities}
    by_number = [index[identity] for identity in seen.identities]
    group_of = array("i", [by_number[number] for number in seen.identity])
    of_plan: list[list[Declared]] = [[] for _ in kept]
    for case, identity in zip(cases, identity_of_plan, strict=True):
        of_plan[index[identity]].append(case)
    groups = tuple(
        Group(
            run_id=run_id(session_id, identity, alone=len(kept) == 1),
            model=identity[0],
            agent_type=identity[1],
            planned=tuple(chosen),
        )
        for identity, chosen in zip(kept, of_plan, strict=True)
    )
    return _mark(groups, group_of, seen)


def run_id(session_id: str, identity: Identity, *, alone: bool) -> str:
    """Return the id of a run: that of the session when it has one run."""
    if alone:
        return session_id
    text = "\n".join(part or "none" for part in identity)
    return f"{session_id}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _planned_identities(cases: Iterable[Declared], seen: _Heads) -> Iterator[Identity]:
    """Yield the identity of each planned trial: that of its attempts, else as declared.

    A trial that never ran joins the run of the trials with the same declaration when they
    all ended up in one run.
    """
    names = list(seen.identities)
    cases = list(cases)
    ended_in: dict[Identity, set[Identity]] = {}
    for case in cases:
        number = seen.of_node.get(case.nodeid)
        if number is not None:
            ended_in.setdefault((case.model, case.agent_type), set()).add(names[number])
    for case in cases:
        number = seen.of_node.get(case.nodeid)
        declared = (case.model, case.agent_type)
        found = ended_in.get(declared, set())
        if number is not None:
            yield names[number]
        else:
            yield next(iter(found)) if len(found) == 1 else declared


def _joined(identities: Sequence[Identity]) -> dict[Identity, Identity]:
    """Map each identity to that of its run: what is not fully known joins the only run."""
    full = [one for one in identities if None not in one]
    known = full or [one for one in identities if one != (None, None)]
    if len(known) != 1:
        return {one: one for one in identities}
    return {one: one if one in known else known[0] for one in identities}


def _mark(groups: tuple[Group, ...], group_of: array[int], seen: _Heads) -> Grouping:
    """Find the counted attempt of each trial and the first scored one of each case."""
    number = len(group_of)
    counted, scored, first = bytearray(number), bytearray(number), bytearray(number)
    places = sorted(
        range(number),
        key=lambda i: (group_of[i], seen.case[i], seen.trial[i], seen.attempt[i], i),
    )
    last_case: tuple[int, int] | None = None
    for trial in _trials(places, group_of, seen):
        chosen = next((place for place in trial if seen.eligible[place]), trial[-1])
        counted[chosen] = 1
        scored[chosen] = seen.eligible[chosen]
        case = (group_of[chosen], seen.case[chosen])
        if scored[chosen] and case != last_case:
            first[chosen] = 1
            last_case = case
    return Grouping(
        groups=groups, group_of=group_of, counted=counted, scored=scored, first_scored=first
    )


def _trials(places: Iterable[int], group_of: array[int], seen: _Heads) -> Iterator[list[int]]:
    """Yield the places of the attempts of each trial, in order."""
    trial: list[int] = []
    for place in places:
        if trial and any(
            figures[place] != figures[trial[0]] for figures in (group_of, seen.case, seen.trial)
        ):
            yield trial
            trial = []
        trial.append(place)
    if trial:
        yield trial
