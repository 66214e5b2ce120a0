"""Limits that depend on the baseline, judged over the cases that both sides have."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_smoltrace.baselines.match import advice
from pytest_smoltrace.gates import reasons
from pytest_smoltrace.gates.draft import Draft, drafted
from pytest_smoltrace.gates.figures import of_one_trial
from pytest_smoltrace.gates.relative import (
    compared_rates,
    compared_values,
    rate_question,
    value_question,
)
from pytest_smoltrace.gates.threshold import holds, notes, too_few, unknown, why
from pytest_smoltrace.gates.verdicts import Status
from pytest_smoltrace.measured.population import Population

if TYPE_CHECKING:
    from pytest_smoltrace.comparison import Comparison
    from pytest_smoltrace.gates.figures import Figure
    from pytest_smoltrace.gates.matter import Matter
    from pytest_smoltrace.gates.relative import Question

_REPLAY = "replay"


def judged(matter: Matter) -> Draft:
    """Return what a limit relative to the baseline comes to."""
    apart = _without_partner(matter)
    if apart is not None:
        return apart
    if not matter.known(matter.ours):
        return unknown(matter)
    if not matter.known(matter.theirs):
        return unknown(matter, of_baseline=True)
    both = matter.known(matter.ours) & matter.known(matter.theirs)
    if not both:
        reason = "no case of this run is in the baseline"
        return drafted(matter.gate, matter.run, Status.INCOMPARABLE, reason)
    return _paired(matter, matter.ours.among(both), matter.theirs.among(both))


def _without_partner(matter: Matter) -> Draft | None:
    """Return the draft where there is nothing to compare with."""
    gate, run, match = matter.gate, matter.run, matter.match
    if match is None:
        missing = matter.found.missing if matter.found else None
        reason = missing or "there is no baseline"
        return drafted(gate, run, Status.NO_BASELINE, reason)
    if match.run is not None and matter.replayed and not matter.ours.table.num_rows:
        return unknown(matter)
    differs = incomparable(matter)
    return drafted(gate, run, Status.INCOMPARABLE, differs) if differs else None


def incomparable(matter: Matter) -> str | None:
    """Say why the figure cannot be compared and how to allow it, None where it can."""
    match, metric = matter.match, matter.gate.metric
    if match is None:
        return None
    found = [*match.apart(metric.column, timing=metric.timing)]
    if metric.live_only and match.run is not None:
        # Replayed attempts are left out, so that what is left was made in the same way.
        found = [each for each in found if each.word != _REPLAY]
    said = advice(found)
    return said and f"baseline and run differ in {said}"


def _paired(matter: Matter, ours: Population, theirs: Population) -> Draft:
    figure = matter.figure(ours)
    before = matter.figure(theirs, matter.other)
    if figure is None:
        return unknown(matter)
    if before is None:
        return unknown(matter, of_baseline=True)
    if figure.cases < matter.gate.min_n:
        return too_few(matter, figure)
    if matter.gate.metric.table == "results":
        return _values(matter, ours, theirs, figure, before)
    return _rates(matter, ours, theirs, figure, before)


def _rates(
    matter: Matter, ours: Population, theirs: Population, figure: Figure, before: Figure
) -> Draft:
    gate, policy = matter.gate, matter.policy
    if gate.metric.table == "leaderboard":
        return _of_whole_runs(matter, figure, before)
    question = rate_question(gate, before.value, policy)
    comparison = compared_rates(gate, (ours, theirs), matter.k, question, policy)
    if comparison is None:
        return _plain(matter, figure, before, "compared without a test")
    return _open(matter, figure, before, comparison, question)


def _of_whole_runs(matter: Matter, figure: Figure, before: Figure) -> Draft:
    """Return the draft of figures that are over all attempts of their runs, whatever is shared."""
    sizes = [(len(rows.cases), rows.table.num_rows) for rows in (matter.ours, matter.theirs)]
    if matter.ours.cases == matter.theirs.cases and sizes[0] == sizes[1]:
        said = "figures of whole runs are compared without a test"
        return _plain(matter, figure, before, said)
    (here, attempts), (there, earlier) = sizes
    reason = (
        f"{matter.gate.metric.column} is a figure of whole runs, and these are not of the same "
        f"attempts: {attempts} of {here} cases here, {earlier} of {there} in the baseline"
    )
    status = Status.PARTIAL if matter.partial else Status.INCOMPARABLE
    return drafted(matter.gate, matter.run, status, reason, notes=notes(matter))


def _values(
    matter: Matter, ours: Population, theirs: Population, figure: Figure, before: Figure
) -> Draft:
    metric = matter.gate.metric
    values, others = (rows.scored.values(metric.column) for rows in (ours, theirs))
    if metric.aggregate == "sum" and figure.attempts != before.attempts:
        figure, before = (
            replace(side, value=of_one_trial(those))
            for side, those in ((figure, values), (before, others))
        )
    else:
        figure = figure.with_interval(metric, values)
    question = value_question(matter.gate, before.value)
    if question is None:
        return _plain(matter, figure, before, "compared without a test")
    comparison = compared_values(matter.gate, values, others, question, matter.policy)
    if not comparison.cases:
        return _plain(matter, figure, before, "compared without a test")
    return _open(matter, figure, before, comparison, question)


def _open(
    matter: Matter, figure: Figure, before: Figure, comparison: Comparison, question: Question
) -> Draft:
    """Return the draft of a comparison, decided when all p-values are known."""
    return drafted(
        matter.gate,
        matter.run,
        notes=_notes(matter, figure.cases),
        min_effect=question.min_effect,
        value=figure.value,
        low=figure.low,
        high=figure.high,
        limit=None if matter.gate.is_no_regressions else matter.gate.limit.value(before.value),
        baseline=before.value,
        cases=figure.cases,
        attempts=figure.attempts,
        comparison=comparison,
        margin=question.margin,
    )


def _plain(matter: Matter, figure: Figure, before: Figure, said: str) -> Draft:
    """Return the draft of two figures that no test compares."""
    limit = matter.gate.limit.value(before.value)
    assert limit is not None
    passed = holds(figure.value, matter.gate.operator, limit)
    return drafted(
        matter.gate,
        matter.run,
        Status.PASS if passed else Status.FAIL,
        None if passed else why(matter),
        notes=(said, *_notes(matter, figure.cases)),
        value=figure.value,
        low=figure.low,
        high=figure.high,
        limit=limit,
        baseline=before.value,
        cases=figure.cases,
        attempts=figure.attempts,
    )


def _notes(matter: Matter, compared: int) -> tuple[str, ...]:
    """Return what has to be said beside the verdict, the numbers of cases first."""
    ours, theirs = len(matter.known(matter.ours)), len(matter.known(matter.theirs))
    found = [*notes(matter)]
    if not ours == theirs == compared:
        both = f"{compared} cases in both, of {ours} in this run and {theirs} in the baseline"
        found.insert(0, both)
    if matter.left_out_before:
        found.append(f"the baseline's summary leaves out {matter.left_out_before:,} attempts")
    return tuple(found)


def coverage(matter: Matter) -> Draft:
    """Return which cases of the baseline the run has too."""
    match, gate = matter.match, matter.gate
    if match is None or match.run is None:
        found = _without_partner(matter)
        assert found is not None
        return found
    wanted, here = matter.theirs.completed.cases, matter.ours.completed.cases
    if not wanted:
        return unknown(matter, of_baseline=True)
    missing = wanted - here
    if not missing and _is_cut(matter):
        unknown_cases = (
            f"the baseline's summary leaves out {matter.left_out_before:,} attempts, and with them "
            "cases that may be gone; take its run directory, or a saved baseline"
        )
        return drafted(gate, matter.run, Status.NOT_MEASURED, unknown_cases)
    limit = gate.limit.value(100.0)
    assert limit is not None
    value = 100 * len(wanted & here) / len(wanted)
    status, reason = _covered(
        matter, missing, len(wanted), passed=holds(value, gate.operator, limit)
    )
    gone = (f"not run here: {'; '.join(matter.gone)}",) if matter.gone else ()
    return drafted(
        gate, matter.run, status, reason, notes=gone, value=value, limit=limit, cases=len(wanted),
        attempts=len(wanted & here),
    )  # fmt: skip


def _is_cut(matter: Matter) -> bool:
    """Return whether the baseline has cases that its source does not hold."""
    if not matter.left_out_before or matter.other is None:
        return False
    known = Population(matter.other.attempts).scored.cases
    scored = matter.other.row.get("evaluated_prompts")
    return scored is None or len(known) < int(scored)


def _covered(
    matter: Matter, missing: frozenset[str], of: int, *, passed: bool
) -> tuple[Status, str | None]:
    if not missing:
        return (Status.PASS, None) if passed else (Status.FAIL, None)
    if passed:
        return Status.PASS, f"without {reasons.listed(sorted(missing))}"
    if matter.partial:
        here = f"{of - len(missing)} of {of} cases of the baseline"
        return Status.PARTIAL, f"{here}: {matter.partial}"
    return Status.SHRUNKEN, reasons.shrunken(missing, of)
