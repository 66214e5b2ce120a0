"""What GitHub Actions takes from a step: its summary, outputs and annotations."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.gates.units import format_value
from pytest_smoltrace.gates.verdicts import Status
from pytest_smoltrace.report import figures
from pytest_smoltrace.report.escaping import named, one_line
from pytest_smoltrace.report.flips_part import NEWLY_FAILING, flips_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ANNOTATIONS = 10
"""Annotations of one kind that GitHub shows of a step."""
_OWN_GATES = 5
"""Annotations that gates may take while cases have some, too."""


def outputs(summary: Mapping[str, Any], directory: Path) -> dict[str, str]:
    """Return the outputs of the step."""
    gates, runs = summary["gates"], summary["runs"]
    passed, scored = (sum(r[name] for r in runs) for name in ("successful_tests", "num_tests"))
    rates = [run["success_rate"] for run in runs if run["num_tests"]]
    mean = rates[0] if len(rates) == 1 else 100 * passed / scored if scored else None
    return {
        "gate_status": gates["status"] if gates else "none",
        "success_rate": "" if mean is None else f"{mean:.2f}",
        "run_id": summary["session_id"],
        "run_dir": str(directory),
        "regression": _regression(gates),
        "newly_failing": str(len(flips_of(summary, NEWLY_FAILING))),
    }


def _regression(gates: Mapping[str, Any] | None) -> str:
    """Return the worst verdict of no_regressions over all runs; empty without such a gate."""
    found = [
        result["status"]
        for result in (gates or {}).get("results", ())
        if result["expression"].partition(" ")[0] == "no_regressions"
    ]
    order = (Status.REGRESSION, Status.INCONCLUSIVE, Status.PASS)
    others = [status for status in found if status not in order]
    ranked = [*[s for s in order[:1] if s in found], *others, *[s for s in order if s in found]]
    return str(ranked[0]) if ranked else ""


def heredocs(values: Mapping[str, str]) -> str:
    """Return outputs as $GITHUB_OUTPUT holds them; no value can end its own or name another."""
    lines = []
    for name, value in values.items():
        delimiter = f"smoltrace_{secrets.token_hex(16)}"
        text = value.replace("\r", " ")
        lines.append(f"{name}<<{delimiter}\n{text}\n{delimiter}\n")
    return "".join(lines)


def annotation_lines(
    summary: Mapping[str, Any], locations: Mapping[str, tuple[str, int | None]]
) -> list[str]:
    """Return the workflow commands that mark failed gates and newly failing cases.

    Args:
        summary: The value of summary.json.
        locations: Node id -> file and line of its test.
    """
    gates = list(_failed_gates(summary))
    cases = list(_newly_failing(summary, locations))
    kept = gates[: max(_OWN_GATES, ANNOTATIONS - len(cases))]
    return [*kept, *cases[: ANNOTATIONS - len(kept)]]


def _failed_gates(summary: Mapping[str, Any]) -> Iterator[str]:
    for result in (summary["gates"] or {}).get("results", ()):
        if not result["blocks"]:
            continue
        name, text = one_line(result["name"]), one_line(result["expression"])
        of = f" of {named(result['model'])}" if result["model"] else ""
        parts = [f"{result['status']}{of}: {text}", *_figures(result)]
        if result["reason"]:
            parts.append(one_line(result["reason"]))
        yield command("error", ", ".join(parts), title=f"Gate {name}")


def _figures(result: Mapping[str, Any]) -> Iterator[str]:
    if result["value"] is not None:
        yield f"is {figures.measured(result)}"
    if result["baseline"] is not None:
        yield f"was {format_value(result['baseline'], result['unit'])}"


def _newly_failing(
    summary: Mapping[str, Any], locations: Mapping[str, tuple[str, int | None]]
) -> Iterator[str]:
    kind = "error" if (summary["gates"] or {}).get("status") == "failed" else "warning"
    for flip in flips_of(summary, NEWLY_FAILING):
        side, parted = flip["candidate"], flip["divergence"]
        name = named(flip["case_id"])
        message = f"{name} {_told(side)}, {_told(flip['baseline'])} in the baseline"
        if side["error_type"]:
            message += f" ({one_line(side['error_type'])})"
        if parted is not None:
            message += f"; {one_line(parted['text'], 400)}"
        file, line = locations.get(flip["nodeid"] or "", (None, None))
        yield command(kind, message, title="Newly failing", file=file, line=line)


def _told(side: Mapping[str, Any]) -> str:
    if side["trials"] == 1:
        return "passed" if side["passed"] else "failed"
    return f"passed {side['passed']} of {side['trials']} trials"


def command(
    kind: str, message: str, *, title: str, file: str | None = None, line: int | None = None
) -> str:
    """Return a workflow command in one line."""
    given = {"file": file, "line": None if file is None or line is None else str(line)}
    properties = {**given, "title": title}
    told = ",".join(f"{k}={_property(v)}" for k, v in properties.items() if v is not None)
    return f"::{kind} {told}::{_data(message)}"


def _data(text: str) -> str:
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return re.sub(r"[\x00-\x1f\x7f]", " ", escaped)


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
