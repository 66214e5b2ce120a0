"""What a person reads of a judgement on the terminal, as lines."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.gates.flip_lines import flip_lines
from pytest_smoltrace.gates.units import SHARES, format_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SHOWN = 40
_COMPARED = re.compile(r"(?P<metric>.+?) (?P<operator>>=|<=|==|>|<) (?P<limit>.+)")
_GREEN = ("PASS", "SKIPPED", "PARTIAL")
_NO_REGRESSIONS = "no_regressions"
_COUNTED = ("success_rate", "valid", "coverage", _NO_REGRESSIONS)
"""Figures that are a number of attempts, or cases, out of others."""


def verdict_lines(judgement: Mapping[str, Any], *, verbose: int) -> Iterator[tuple[str, str]]:
    """Yield (line, colour) of a judgement, as gates.json holds it; one line when verbose < 0."""
    results = judgement["results"]
    if verbose < 0:
        yield f"smoltrace gates: {_in_short(judgement)}", _overall_colour(judgement)
        return
    yield from ((line, "") for line in _head(judgement))
    shown = _most_telling(results, len(results) if verbose else _SHOWN)
    several = len({(r.get("model"), r.get("agent_type")) for r in results if r.get("run_id")}) > 1
    for result in shown:
        yield _line(result, several=several), colour_of(result)
        if result.get("reason"):
            yield f"     {result['reason']}", ""
    if len(shown) < len(results):
        yield f"and {len(results) - len(shown)} more (-v shows them)", ""
    yield from flip_lines(judgement.get("flips") or (), verbose=verbose)
    yield _last(judgement), _overall_colour(judgement)


def colour_of(result: Mapping[str, Any]) -> str:
    """Return the colour of a result: red fails the session, yellow is for a look."""
    if result["blocks"]:
        return "red"
    return "green" if result["status"] == "PASS" else "yellow"


def _most_telling(results: Sequence[Any], most: int) -> list[Any]:
    """Return the results in order, those that passed left out first where there are too many."""
    ranked = sorted(range(len(results)), key=lambda n: (results[n]["status"] == "PASS", n))
    return [results[n] for n in sorted(ranked[:most])]


def _head(judgement: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the run was compared with, and what of it."""
    baseline = judgement.get("baseline")
    if baseline:
        yield f"baseline {baseline['reference']}: {_found(baseline, judgement)}"
        if baseline.get("allowed"):
            yield f"allowed to differ: {'; '.join(baseline['allowed'])}"
    if judgement.get("partial"):
        yield f"only part of the suite: {judgement['partial']}"


def _found(baseline: Mapping[str, Any], judgement: Mapping[str, Any]) -> str:
    if baseline.get("session_id") is None:
        return baseline.get("missing") or "none"
    compared = judgement.get("compared") or {}
    ours, theirs, both = (compared.get(side) for side in ("candidate", "baseline", "both"))
    cases = f"{both} cases" if ours == theirs == both else (
        f"{both} cases in both, of {ours} in this run and {theirs} in the baseline"
    )  # fmt: skip
    return f"run {baseline['session_id']}, {cases}"


def _line(result: Mapping[str, Any], *, several: bool) -> str:
    """Return the line of a gate: `PASS quality  success_rate 86.7 % >= 80.0 %  (52/60, ...)`."""
    of = [str(result[key]) for key in ("model", "agent_type") if result.get(key)]
    where = f" [{', '.join(of)}]" if several and of else ""
    level = " (warn)" if result["level"] == "warn" and not _is_green(result) else ""
    what = [part for part in (_figure(result), _behind(result), _change(result)) if part]
    name = result["name"]
    start = f"{result['status']} {name}{where}{level}"
    if what and what[0].startswith(f"{name} "):
        # A gate without a name of its own is called as its metric.
        start += what.pop(0).removeprefix(name)
    return "  ".join([start, *what])


def _is_green(result: Mapping[str, Any]) -> bool:
    return result["status"] in _GREEN


def _metric(result: Mapping[str, Any]) -> str:
    found = _COMPARED.fullmatch(result["expression"])
    return found["metric"] if found else str(result["expression"])


def _figure(result: Mapping[str, Any]) -> str:
    """Return metric, value and limit; the expression where there is no value."""
    value, limit, unit = result.get("value"), result.get("limit"), result["unit"]
    found = _COMPARED.fullmatch(result["expression"])
    if value is None:
        return "" if result["expression"] == result["name"] else str(result["expression"])
    if found is None or limit is None:
        metric = "success_rate" if _metric(result).startswith(_NO_REGRESSIONS) else _metric(result)
        return f"{metric} {format_value(value, unit)}"
    shown = f"{found['metric']} {format_value(value, unit)} {found['operator']} "
    typed = found["limit"].partition(" for ")[0].partition(" if n ")[0]
    relative = f" ({typed})" if "baseline" in typed else ""
    return f"{shown}{format_value(limit, unit)}{relative}"


def _behind(result: Mapping[str, Any]) -> str:
    """Return what is behind a figure, in brackets: `(52/60, 95 % CI 75.8 to 93.1)`."""
    if result.get("value") is None or not result.get("attempts"):
        return ""
    ends = [result.get("low"), result.get("high")]
    said = [_count(result)]
    if None not in ends:
        texts = [format_value(end, result["unit"]) for end in ends]
        if result["unit"] in SHARES:
            texts = [text.removesuffix(" %") for text in texts]
        said.append(f"95 % CI {texts[0]} to {texts[1]}")
    return f"({', '.join(said)})"


def _count(result: Mapping[str, Any]) -> str:
    attempts, cases = result["attempts"], result["cases"]
    metric = _metric(result).partition(" ")[0]
    if metric == "coverage":
        return f"{attempts}/{cases} cases"
    if metric in _COUNTED:
        return f"{round(result['value'] * attempts / 100)}/{attempts}"
    return f"{cases} cases" if attempts == cases else f"{attempts} attempts of {cases} cases"


def _change(result: Mapping[str, Any]) -> str:
    """Return the baseline's figure and how far from it this one is."""
    value, before, unit = result.get("value"), result.get("baseline"), result["unit"]
    if value is None or before is None:
        return ""
    shown = f"baseline {format_value(before, unit)}"
    if unit in SHARES:
        points = _signed(100 * (value - before) / SHARES[unit])
        paired = _paired(result)
        # With unequal trials the rates over attempts differ by another number than the cases.
        told = f"{points} pp" if paired in (None, points) else f"{paired} pp case by case"
        return f"{shown} ({told})"
    return f"{shown} ({_signed(100 * (value / before - 1))} %)" if before else shown


def _paired(result: Mapping[str, Any]) -> str | None:
    """Return the mean difference of the cases in points, None where no rates were compared."""
    comparison = result.get("comparison")
    if not comparison or comparison["kind"] != "difference":
        return None
    # Of a rate that has to be low, the comparison is that of what is left of it.
    return _signed(100 * comparison["estimate"] * (-1 if "<" in result["expression"] else 1))


def _signed(number: float) -> str:
    return f"{round(number, 1) + 0.0:+.1f}"


def _last(judgement: Mapping[str, Any]) -> str:
    """Return the line that says what all gates came to."""
    results = judgement["results"]
    failed = sum(result["blocks"] for result in results)
    if failed:
        code = judgement.get("exit_status") or 1
        return f"gates: {failed} of {len(results)} failed (exit code {code})"
    kinds = Counter(_word(result["status"]) for result in results)
    counts = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    if set(kinds) <= {"passed"}:
        return f"gates: {counts or 'none'}"
    return f"gates: none of {len(results)} failed ({counts})"


def _word(status: str) -> str:
    return "passed" if status == "PASS" else status.lower().replace("_", " ")


def _in_short(judgement: Mapping[str, Any]) -> str:
    """Return the overall verdict, what is behind it, and that of no_regressions."""
    results = judgement["results"]
    found = [
        f"{r['name']} {r['status']}"
        for r in results
        if r["blocks"] and not r["expression"].startswith(_NO_REGRESSIONS)
    ]
    rest = f" and {len(found) - 5} more" if len(found) > 5 else ""  # noqa: PLR2004 (names)
    verdicts = [
        f"{_NO_REGRESSIONS} {r['status']}"
        for r in results
        if r["expression"].startswith(_NO_REGRESSIONS)
    ]
    said = [*([", ".join(found[:5]) + rest] if found else []), *dict.fromkeys(verdicts)]
    return _last(judgement).removeprefix("gates: ") + "".join(f"; {one}" for one in said)


def _overall_colour(judgement: Mapping[str, Any]) -> str:
    if any(result["blocks"] for result in judgement["results"]):
        return "red"
    return "green" if judgement["status"] == "passed" else "yellow"
