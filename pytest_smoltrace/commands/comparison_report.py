"""What the comparison of two sessions found, as lines and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson

from pytest_smoltrace.baselines.comparable import match_run
from pytest_smoltrace.comparing import lines as text
from pytest_smoltrace.comparing.figures import (
    FIGURES,
    TIMING,
    Overlap,
    compared_figure,
    compared_rate,
    overlap,
)
from pytest_smoltrace.comparing.flips import flips
from pytest_smoltrace.encoding import dumps
from pytest_smoltrace.formats import aligned, counted, line
from pytest_smoltrace.inference.decision import decide
from pytest_smoltrace.option_values import MISMATCHES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_smoltrace.baselines.match import Match
    from pytest_smoltrace.comparing.flips import Flip
    from pytest_smoltrace.comparison import Comparison
    from pytest_smoltrace.measured.session import MeasuredRun, MeasuredSession

ALPHA, POWER = 0.05, 0.8
INCOMPARABLE = "INCOMPARABLE"
NOTHING = "NO SHARED CASES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A run of the candidate and what it is compared with."""

    now: MeasuredRun
    before: MeasuredRun | None
    match: Match
    cases: Overlap | None = None
    rate: Comparison | None = None
    figures: Mapping[str, Comparison]
    """Those that both sides know."""
    verdict: str
    """PASS, REGRESSION, INCONCLUSIVE, INCOMPARABLE or NO SHARED CASES."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Two sessions, compared."""

    baseline: MeasuredSession
    candidate: MeasuredSession
    pairs: tuple[Pair, ...]
    flips: tuple[Flip, ...]
    margin: float


def compared(
    candidate: MeasuredSession,
    baseline: MeasuredSession,
    *,
    margin: float,
    allow: frozenset[str] = frozenset(),
) -> Compared:
    """Compare two sessions run by run.

    What keeps figures apart is said and makes them no verdict; the figures are told all the same.

    Raises:
        JournalError: Traces that are there cannot be read.
    """
    pairs = tuple(_pair(run, candidate, baseline, margin, allow) for run in candidate.runs)
    matched = [(pair.now, pair.before) for pair in pairs if pair.before is not None]
    return Compared(
        baseline=baseline,
        candidate=candidate,
        pairs=pairs,
        flips=flips(matched, candidate, baseline),
        margin=margin,
    )


def _pair(
    run: MeasuredRun,
    candidate: MeasuredSession,
    baseline: MeasuredSession,
    margin: float,
    allow: frozenset[str],
) -> Pair:
    match = match_run(run, candidate, baseline, allow)
    before = match.run or match_run(run, candidate, baseline, MISMATCHES).run
    if before is None:
        return Pair(now=run, before=None, match=match, figures={}, verdict=INCOMPARABLE)
    cases = overlap(run, before)
    if not cases.both:
        return Pair(now=run, before=before, match=match, cases=cases, figures={}, verdict=NOTHING)
    rate = compared_rate(run, before, margin=margin, alpha=ALPHA, power=POWER)
    found = {name: compared_figure(run, before, name, alpha=ALPHA, power=POWER) for name in FIGURES}
    verdict = decide(rate, alpha=ALPHA, margin=margin).value
    return Pair(
        now=run,
        before=before,
        match=match,
        cases=cases,
        rate=rate,
        figures={name: each for name, each in found.items() if each is not None},
        verdict=INCOMPARABLE if match.mismatches else verdict,
    )


def report_lines(found: Compared, *, verbose: bool = False) -> Iterator[str]:
    """Yield the comparison for a terminal."""
    for name, session in (("A, baseline", found.baseline), ("B, candidate", found.candidate)):
        yield line(name, f"{session.session_id}, {session.place}")
    if not found.pairs:
        yield "nothing to compare: B has no run"
    for pair in found.pairs:
        yield ""
        yield from _pair_lines(pair, found.margin)
    if found.flips:
        yield ""
        dicts = [flip.as_dict() for flip in found.flips]
        yield from text.flip_lines(dicts, shown=None if verbose else text.SHOWN_FLIPS)
    elif any(pair.rate is not None for pair in found.pairs):
        yield ""
        yield "no case changed its rate of success"


def _pair_lines(pair: Pair, margin: float) -> Iterator[str]:
    yield f"{pair.now.model or 'no model'}, {pair.now.agent_type or 'no'} agent{_cases(pair)}"
    if pair.rate is not None:
        rows = [text.rate_cells(pair.rate, pair.verdict)]
        rows += [
            text.ratio_cells(name, each, _doubt(pair, name)) for name, each in pair.figures.items()
        ]
        yield from aligned((text.HEAD, *rows))
        yield from _needs(pair.rate, pair.verdict, margin)
    match = pair.match
    for said, why in (("differs", match.differences), ("allowed", match.allowed)):
        for each in why:
            yield line(said, f"{each.text}{_advice(said, each.word)}")


def _advice(said: str, word: str) -> str:
    return f"; allow it with --allow-mismatch={word}" if said == "differs" else ""


def _cases(pair: Pair) -> str:
    """Return how many cases are compared, and how many only one side has."""
    if pair.cases is None:
        return ": A has no run to compare it with"
    both = pair.cases.both
    only = [
        f"{number} only in {side}"
        for side, number in (("A", pair.cases.baseline - both), ("B", pair.cases.candidate - both))
        if number
    ]
    rest = f" ({', '.join(only)})" if only else ""
    return f": {counted(both, 'shared case')}{rest}"


def _doubt(pair: Pair, name: str) -> str:
    """Return why a ratio is not to be taken at its word, nothing where it is."""
    apart = pair.match.apart(FIGURES[name], timing=name in TIMING)
    return INCOMPARABLE if apart else ""


def _needs(rate: Comparison, verdict: str, margin: float) -> Iterator[str]:
    """Yield how many cases or trials would be enough, where a comparison sees too little."""
    if verdict == "INCONCLUSIVE":
        ways = []
        if rate.needs_cases is not None:
            ways.append(counted(rate.needs_cases, "case"))
        if rate.needs_trials is not None:
            ways.append(f"{counted(rate.needs_trials, 'trial')} a case")
        enough = f"; {' or '.join(ways)} would be enough" if ways else ""
        yield line(
            "inconclusive", f"a drop of {100 * margin:g} pp is too small for these runs{enough}"
        )


def as_json(found: Compared) -> str:
    """Return the comparison as JSON."""
    value = {
        "baseline": _session(found.baseline),
        "candidate": _session(found.candidate),
        "margin": found.margin,
        "alpha": ALPHA,
        "power": POWER,
        "pairs": [_pair_value(pair) for pair in found.pairs],
        "flips": [flip.as_dict() for flip in found.flips],
    }
    return dumps(value, orjson.OPT_INDENT_2).decode()


def _session(session: MeasuredSession) -> dict[str, Any]:
    return {"session_id": session.session_id, "place": session.place}


def _pair_value(pair: Pair) -> dict[str, Any]:
    match, before = pair.match, pair.before
    return {
        "verdict": pair.verdict,
        "candidate": _run(pair.now),
        "baseline": None if before is None else _run(before),
        "cases": None if pair.cases is None else asdict(pair.cases),
        "success_rate": None if pair.rate is None else asdict(pair.rate),
        **{name: asdict(each) for name, each in pair.figures.items()},
        "differs": [asdict(each) for each in match.differences],
        "allowed": [asdict(each) for each in match.allowed],
    }


def _run(run: MeasuredRun) -> dict[str, Any]:
    return {"run_id": run.run_id, "model": run.model, "agent_type": run.agent_type}
