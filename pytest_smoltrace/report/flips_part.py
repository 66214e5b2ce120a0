"""The cases that flipped between baseline and candidate in Markdown, and where traces part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_smoltrace.comparing.lines import moved
from pytest_smoltrace.formats import count
from pytest_smoltrace.report.escaping import named, one_line, prose, span
from pytest_smoltrace.report.fitting import Block

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NEWLY_FAILING = "newly failing"
_OPEN = 10
"""Newly failing cases that are not folded."""
_TITLES = {
    NEWLY_FAILING: "Newly failing",
    "worse": "Passing less often",
    "newly passing": "Newly passing",
    "better": "Passing more often",
}


def flips_of(summary: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """Return the flips of a judged session that are of one kind."""
    flips = (summary["gates"] or {}).get("flips", ())
    return [flip for flip in flips if flip["kind"] == kind]


def flips(summary: Mapping[str, Any], most: int) -> Iterator[Block]:
    """Yield the flipped cases, a folded block for each kind of flip."""
    for kind, title in _TITLES.items():
        found = flips_of(summary, kind)
        if not found:
            continue
        several = len({(flip["model"], flip["agent_type"]) for flip in found}) > 1
        state = " open" if kind == NEWLY_FAILING and len(found) <= _OPEN else ""
        head = f"<details{state}>\n<summary>{title} ({count(len(found))})</summary>"
        rows = [_item(flip, several=several) for flip in found]
        yield Block(head=head, rows=rows, tail="</details>", most=most)


def _item(flip: Mapping[str, Any], *, several: bool) -> str:
    """Return a flip as an item of a list: the case, its rates, and where the traces part."""
    name = span(named(flip["case_id"]))
    of = f" {span(named(flip['model'], 60))} {prose(flip['agent_type'] or '')}" if several else ""
    before, now = (_passes(flip[side]) for side in ("baseline", "candidate"))
    moves = "".join(f", {each}" for each in moved(flip))
    lines = [f"- {name}{of}<br>{before} → **{now}**{_error(flip['candidate'])}{moves}"]
    parted, reason = flip["divergence"], flip["reason"]
    if parted is not None:
        lines.append(_parting(str(parted["text"])))
    elif reason:
        lines.append(f"<sub>{prose(one_line(reason))}</sub>")
    return "<br>".join(lines)


def _parting(text: str) -> str:
    """Return where the traces part; the place of the step stands before what differs."""
    place, colon, what = one_line(text, 400).partition(": ")
    if colon and place.startswith("step "):
        return f"{prose(place)}: {span(what)}"
    return span(one_line(text, 400))


def _passes(side: Mapping[str, Any]) -> str:
    """Return how often a case passed."""
    passed, trials = side["passed"], side["trials"]
    if trials == 1:
        return "passed" if passed else "failed"
    return f"{count(passed)} of {count(trials)} passed"


def _error(side: Mapping[str, Any]) -> str:
    return f" ({prose(one_line(side['error_type']))})" if side["error_type"] else ""
