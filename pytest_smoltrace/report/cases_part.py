"""The cases of a session in Markdown: what flipped, failed, could not be judged, or took long."""

from __future__ import annotations

from collections import Counter
from shlex import quote
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.comparing.leaderboard import paired_differences
from pytest_smoltrace.error_types import CATEGORY, UNSCORED
from pytest_smoltrace.formats import count, duration, usd
from pytest_smoltrace.report import figures
from pytest_smoltrace.report.escaping import code, named, one_line, prose
from pytest_smoltrace.report.fitting import Block
from pytest_smoltrace.report.verdict_part import run_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_CLOSED = "</details>"
_ERRORS = "| Case | Error | Message |\n| --- | --- | --- |"
_MODELS = (
    "| Model | Passed | Success rate (95 % interval) | Tokens | Cost | p50 | p95 |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def leaderboard(summary: Mapping[str, Any], most: int) -> Block | None:
    """Return the runs of a session over several models, the best rate first."""
    runs = summary["runs"]
    if len(runs) < 2:  # noqa: PLR2004 - one run is in the headline
        return None
    ranked = sorted(runs, key=lambda run: -(run["success_rate"] if run["num_tests"] else -1.0))
    rows = [_run_row(run) for run in ranked]
    return Block(head="#### Models", columns=_MODELS, rows=rows, most=most)


def differences(summary: Mapping[str, Any], most: int) -> Block | None:
    """Return how the models of a session differ from the best of them, paired by case."""
    told = paired_differences(summary) if len(summary["runs"]) > 1 else None
    if told is None:
        return None
    head, sentences = told
    rows = [f"- {prose(sentence)}" for sentence in sentences]
    return Block(head=f"Differences {prose(head)}", rows=rows, most=most)


def _run_row(run: Mapping[str, Any]) -> str:
    cells = (
        run_name(run["model"], run["agent_type"]),
        f"{count(run['successful_tests'])} of {count(run['num_tests'])}",
        figures.rate(run),
        count(run["total_tokens"]),
        figures.cost(run),
        duration(run["p50_duration_ms"]),
        duration(run["p95_duration_ms"]),
    )
    return f"| {' | '.join(cells)} |"


def failed(summary: Mapping[str, Any], most: int) -> Block | None:
    """Return the scored cases that failed."""
    cases = [case for case in summary["cases"] if case["scored"] and case["error_type"]]
    if not cases:
        return None
    number = sum(run["failed_tests"] for run in summary["runs"])
    repeated = any((run.get("pass_attempts") or 1) > 1 for run in summary["runs"])
    what = "attempts" if repeated else "cases"
    head = _details(f"Failed {what} ({count(max(number, len(cases)))})")
    left_out = max(0, number - len(cases)) if summary["cases_left_out"] else 0
    rows = [_failed_row(case) for case in cases]
    return Block(head=head, columns=_ERRORS, rows=rows, tail=_CLOSED, most=most, left_out=left_out)


def _failed_row(case: Mapping[str, Any]) -> str:
    message = code(one_line(case["error"] or "", 160))
    return f"| {code(_name(case))} | {prose(case['error_type'])} | {message} |"


def unscored(summary: Mapping[str, Any], most: int) -> Block | None:
    """Return the cases that could not be judged: infrastructure, judges and the harness."""
    kinds: Counter[str] = Counter()
    for run in summary["runs"]:
        known = run["error_types"].items()
        kinds.update({kind: n for kind, n in known if CATEGORY.get(kind) in UNSCORED})
    if not kinds:
        return None
    total = count(sum(kinds.values()))
    said = ", ".join(f"{count(n)} {prose(kind)}" for kind, n in kinds.most_common())
    cases = [c for c in summary["cases"] if not c["scored"] and c["counted"] and c["error_type"]]
    head = _details(f"Not scored, in no rate ({total})")
    rows = [_failed_row(case) for case in cases]
    head += f"\n\n{said}"
    return Block(head=head, columns=_ERRORS, rows=rows, tail=_CLOSED, most=most)


def extremes(summary: Mapping[str, Any]) -> Block | None:
    """Return the slowest and the dearest cases."""
    rows = [
        *_extremes("slowest", summary["slowest"], "duration_ms", duration),
        *_extremes("dearest", summary["dearest"], "cost_usd", usd),
    ]
    if not rows:
        return None
    head = _details("Slowest and dearest cases")
    return Block(head=head, columns="|  |  | Case |\n| --- | ---: | --- |", rows=rows, tail=_CLOSED)


def _extremes(
    what: str,
    cases: Sequence[Mapping[str, Any]],
    key: str,
    write: Callable[[float | None], str],
) -> Iterator[str]:
    for case in cases:
        yield f"| {what} | {write(case[key])} | {code(_name(case))} |"
        what = ""


def _name(case: Mapping[str, Any]) -> str:
    return named(case["nodeid"] or case["case_id"])


def _details(title: str) -> str:
    """Return the opening of a part that is folded; the blank line lets Markdown begin."""
    return f"<details>\n<summary>{title}</summary>"


def reproduce(summary: Mapping[str, Any]) -> Block | None:
    """Return how to look at the comparison on one's own machine."""
    used = (summary["gates"] or {}).get("baseline")
    if not used or used["missing"]:
        return None
    old, new = (quote(one_line(text, 400)) for text in (used["reference"], summary["session_id"]))
    note = "With the run directories at hand (as artifacts of the job, say):"
    command = f"```console\npytest-smoltrace compare {old} {new}\n```"
    title = _details("Compare on your own machine")
    return Block(head=f"{title}\n\n{note}\n\n{command}", tail=_CLOSED)
