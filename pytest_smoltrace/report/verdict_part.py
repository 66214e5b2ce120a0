"""The verdict of a session in Markdown: headline, gates, and why they are undecided."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.formats import UNKNOWN, cases_by_trials, count
from pytest_smoltrace.gates.units import format_value
from pytest_smoltrace.gates.verdicts import Status
from pytest_smoltrace.report import figures
from pytest_smoltrace.report.escaping import code, named, one_line, prose, span
from pytest_smoltrace.report.fitting import Block

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_GREEN = {Status.PASS, Status.SKIPPED}


def headline(summary: Mapping[str, Any]) -> Block:
    """Return the title and the line below it: what it comes to, and which run it is."""
    gates = summary["gates"]
    title = f"### {_title(gates)}" if gates else f"### smoltrace: {_passed(summary)}"
    lines = [title, _overview(summary, with_passed=bool(gates))]
    if gates:
        lines += _notes(gates)
    return Block(head="\n\n".join(filter(None, lines)))


def _title(gates: Mapping[str, Any]) -> str:
    results = gates["results"]
    blocking = [result for result in results if result["blocks"]]
    if blocking:
        what = f"{count(len(blocking))} of {_gates(len(results))} failed"
        return f"✗ smoltrace: {what}"
    others = [result for result in results if result["status"] not in _GREEN]
    if others:
        return f"! smoltrace: no gate failed, {count(len(others))} of {len(results)} not green"
    return f"✓ smoltrace: {_gates(len(results))} passed"


def _gates(number: int) -> str:
    return f"{count(number)} gate{'s' * (number != 1)}"


def _passed(summary: Mapping[str, Any]) -> str:
    passed, scored = (
        sum(run[name] for run in summary["runs"]) for name in ("successful_tests", "num_tests")
    )
    if not scored:
        return "no case was scored"
    runs = summary["runs"]
    alone = len(runs) == 1 and (runs[0].get("pass_attempts") or 1) == 1
    return f"{count(passed)} of {count(scored)} {'cases' if alone else 'attempts'} passed"


def _overview(summary: Mapping[str, Any], *, with_passed: bool) -> str:
    """Return the figures of the session in one line."""
    runs = summary["runs"]
    parts = [_passed(summary)] if with_passed else []
    if len(runs) == 1:
        run = runs[0]
        parts += [f"success rate {figures.rate(run)}", *_trials(run)]
        parts += [f"{span(named(run['model']))}, {run['agent_type']} agent"]
    if runs:
        tokens = sum(run["total_tokens"] for run in runs)
        parts += [f"{count(tokens)} tokens", _cost(runs)]
    if summary["stop_reason"] != "completed":
        parts.append(f"**ended early: {prose(one_line(summary['stop_reason']))}**")
    return f"{', '.join(parts)}. Run {span(named(summary['session_id']))}."


def _trials(run: Mapping[str, Any]) -> Iterator[str]:
    """Yield how many cases were tried how often, where any was repeated."""
    trials, cases = run.get("pass_attempts") or 1, run.get("evaluated_prompts")
    if trials > 1 and cases:
        yield cases_by_trials(cases, trials, run["num_tests"])


def _cost(runs: Sequence[Mapping[str, Any]]) -> str:
    keys = ("total_cost_usd", "cost_unknown_attempts", "executed_attempts")
    return figures.cost({key: sum(run[key] for run in runs) for key in keys})


def _notes(gates: Mapping[str, Any]) -> Iterator[str]:
    """Yield what holds for all gates: the baseline and what is compared with it."""
    used = gates["baseline"]
    if used:
        yield _baseline(used, gates["compared"])
    if gates["partial"]:
        yield f"**Only part of the suite was compared:** {prose(one_line(gates['partial']))}."


def _baseline(used: Mapping[str, Any], compared: Mapping[str, int]) -> str:
    line = f"Baseline {span(named(used['reference']))}"
    if used["missing"]:
        return f"{line}: **none**, {prose(one_line(used['missing']))}."
    if used["session_id"] and used["session_id"] != used["reference"]:
        line += f", run {span(named(used['session_id']))}"
    if compared:
        both, new, old = (compared.get(key, 0) for key in ("both", "candidate", "baseline"))
        cases = f"{count(new)} here, {count(old)} there"
        line += f"; {count(both)} cases in both" + (f" ({cases})" if {new, old} != {both} else "")
    for title, key in (("differs in", "mismatches"), ("allowed to differ in", "allowed")):
        if used[key]:
            line += f"; {title} {prose(one_line(', '.join(used[key])))}"
    return f"{line}."


def gate_table(summary: Mapping[str, Any], most: int) -> Block | None:
    """Return the gates with their figures, those that fail the session first."""
    gates = summary["gates"]
    if not gates or not gates["results"]:
        return None
    results = sorted(gates["results"], key=_urgency)
    several = len({(r["model"], r["agent_type"]) for r in results if r["model"]}) > 1
    paired = any(r["baseline"] is not None or r["comparison"] for r in results)
    names = ["", "Gate", *(["Run"] if several else [])]
    numbers = ["Value", "Limit", *(["Baseline", "Difference"] if paired else [])]
    columns = (
        f"{_line([*names, *numbers])}\n{_line(['---'] * len(names) + ['---:'] * len(numbers))}"
    )
    rows = [_row(result, several=several, paired=paired) for result in results]
    return Block(head="#### Gates, with 95 % intervals", columns=columns, rows=rows, most=most)


def _urgency(result: Mapping[str, Any]) -> tuple[bool, bool]:
    return not result["blocks"], result["status"] in _GREEN


def _row(result: Mapping[str, Any], *, several: bool, paired: bool) -> str:
    cells = [_kept(f"{sign(result)} {result['status']}".replace("_", " ")), _gate(result)]
    if several:
        known = result["model"] is not None
        cells.append(run_name(result["model"], result["agent_type"]) if known else "all")
    cells += [_stacked(figures.measured(result)), _kept(_limit(result))]
    if paired:
        cells.append(_kept(format_value(result["baseline"], result["unit"])))
        cells.append(_stacked(figures.difference(result["comparison"])))
    return _line(cells)


def _limit(result: Mapping[str, Any]) -> str:
    seen, margin = result["comparison"], result["margin"]
    if result["limit"] is None and margin is not None and seen and seen["kind"] == "difference":
        return figures.points(-margin)
    return format_value(result["limit"], result["unit"])


def _kept(text: str) -> str:
    """Return a text that is not parted at the end of a line."""
    return text.replace(" ", "\u00a0")


def _stacked(text: str) -> str:
    """Return a figure with its interval below it."""
    return _kept(text.replace(" (", "<br>").removesuffix(")"))


def _gate(result: Mapping[str, Any]) -> str:
    """Return what a gate asks for, with its name where that says more."""
    name, text = named(result["name"]), named(result["expression"])
    shown = code(text) if text.startswith(name) else f"{prose(name)}: {code(text)}"
    notes = ["warns only"] if result["level"] == "warn" else []
    notes += [f"{count(result['cases'])} cases"] if result["cases"] else []
    return "<br>".join([shown, ", ".join(notes)] if notes else [shown])


def run_name(model: str | None, agent_type: str | None) -> str:
    """Return model and agent type as a cell."""
    return f"{code(named(model or UNKNOWN, 60))} {prose(agent_type or '')}".rstrip()


def sign(result: Mapping[str, Any]) -> str:
    """Return the sign of a result, a plain character."""
    if result["status"] in _GREEN:
        return "✓" if result["status"] == Status.PASS else "·"
    if result["blocks"]:
        return "✗"
    return "?" if result["status"] == Status.INCONCLUSIVE else "!"


def reasons(summary: Mapping[str, Any], most: int) -> Block | None:
    """Return why gates are not green, and what would be enough where they are inconclusive."""
    results = sorted((summary["gates"] or {}).get("results", ()), key=_urgency)
    rows = [_why(r) for r in results if r["status"] != Status.PASS and _is_explained(r)]
    return Block(head="#### Why", rows=rows, most=most) if rows else None


def _is_explained(result: Mapping[str, Any]) -> bool:
    return bool(result["reason"] or result["comparison"])


def _why(result: Mapping[str, Any]) -> str:
    of = f" of {span(named(result['model'], 60))}" if result["model"] else ""
    start = f"- {sign(result)} {span(named(result['name']))}{of}: "
    if result["status"] == Status.INCONCLUSIVE and result["comparison"]:
        return start + _undecided(result)
    reason = result["reason"] or figures.difference(result["comparison"])
    return start + prose(one_line(reason))


def _undecided(result: Mapping[str, Any]) -> str:
    """Return what a comparison of this size can tell, and what would be enough."""
    seen = result["comparison"]
    trials = min(seen["candidate_trials"], seen["baseline_trials"])
    size = f"{count(seen['cases'])} cases ({count(trials)} trials)"
    is_rate = seen["kind"] == "difference"
    line = f"{figures.difference(seen)} over {size}: neither a regression nor its absence. "
    line += (
        f"{_detectable(seen['detectable'], is_rate=is_rate)}{_margin(result, is_rate=is_rate)}. "
    )
    return line + _needs(seen)


def _detectable(worsening: float | None, *, is_rate: bool) -> str:
    """Return the smallest worsening that a comparison sees; JSON has none for one without end."""
    if worsening is None or not math.isfinite(worsening):
        return "They show no worsening, however large"
    shown = figures.points(-worsening) if is_rate else figures.change(worsening)
    return f"The smallest worsening that they show is {shown}"


def _margin(result: Mapping[str, Any], *, is_rate: bool) -> str:
    margin = result["margin"]
    if margin is None:
        return ""
    return f", the margin {figures.points(-margin) if is_rate else figures.change(margin)}"


def _needs(seen: Mapping[str, Any]) -> str:
    """Return what would be enough."""
    enough = []
    if seen["needs_cases"]:
        enough.append(f"{count(seen['needs_cases'])} cases")
    if seen["needs_trials"]:
        enough.append(f"{count(seen['needs_trials'])} trials of each case")
    if not enough:
        return "No number of trials is enough; add cases or allow a larger margin."
    return f"Enough would be **{' or '.join(enough)}**."


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
