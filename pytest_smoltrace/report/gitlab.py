"""Figures of a session as OpenMetrics text, which GitLab compares between branches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.gates.verdicts import Status
from pytest_smoltrace.report.flips_part import NEWLY_FAILING, flips_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class _Figure:
    """One metric family and the leaderboard column that it is read from."""

    name: str
    unit: str
    column: str
    meaning: str
    factor: float = 1.0


_FIGURES = (
    _Figure("success_ratio", "ratio", "success_rate", "Passed share of scored cases.", 0.01),
    _Figure("cases_passed", "", "successful_tests", "Scored cases that passed."),
    _Figure("cases_scored", "", "num_tests", "Cases in the success rate."),
    _Figure("cases_errored", "", "errored_tests", "Cases that could not be evaluated."),
    _Figure("pass_hat_k_ratio", "ratio", "pass_hat_k", "All of k trials of a case pass."),
    _Figure("tokens", "", "total_tokens", "Tokens of the agent's LLM calls."),
    _Figure("llm_calls", "", "llm_call_count", "LLM calls of the agent."),
    _Figure("tool_calls", "", "total_tool_calls", "Tool calls of the agent."),
    _Figure("steps_mean", "", "avg_steps", "Steps of an attempt, mean."),
    _Figure("cost_usd", "usd", "total_cost_usd", "Cost of the agent's priced LLM calls."),
    _Figure("duration_p50_seconds", "seconds", "p50_duration_ms", "Time of a case, median.", 1e-3),
    _Figure("duration_p95_seconds", "seconds", "p95_duration_ms", "Time of a case, 95th %.", 1e-3),
    _Figure("ttft_p50_seconds", "seconds", "p50_ttft_seconds", "Time to first token, median."),
    _Figure("ttft_p95_seconds", "seconds", "p95_ttft_seconds", "Time to first token, 95th %."),
    _Figure("gpu_energy_wh", "wh", "total_gpu_energy_wh", "Energy of the GPUs in cases."),
)
_PREFIX = "smoltrace_"


def open_metrics(summary: Mapping[str, Any]) -> str:
    """Return the figures of a session; what is unknown is left out, never 0."""
    lines: list[str] = []
    for figure in _FIGURES:
        rows = [(_labels(run), _known(run, figure)) for run in summary["runs"]]
        lines += _family(figure.name, figure.unit, figure.meaning, _once(rows))
    if summary["gates"]:
        lines += _gates(summary)
    return "\n".join([*lines, "# EOF", ""])


def _known(run: Mapping[str, Any], figure: _Figure) -> float | None:
    value = run[figure.column]
    unpriced = figure.column == "total_cost_usd" and not run["cost_known_tests"]
    unscored = figure.column == "success_rate" and not run["num_tests"]
    if value is None or unpriced or unscored:
        return None
    return value if figure.factor == 1 else float(value) * figure.factor


def _gates(summary: Mapping[str, Any]) -> Iterator[str]:
    gates = summary["gates"]
    rows = [
        ({"gate": result["name"], **_labels(result)}, _passes(result))
        for result in gates["results"]
    ]
    yield from _family("gate_passed", "", "Whether a gate is green.", _once(rows))
    verdict = 0 if gates["status"] == "failed" else 1
    yield from _family("gates_passed", "", "Whether no gate fails the session.", {(): verdict})
    flipped = len(flips_of(summary, NEWLY_FAILING))
    meaning = "Cases that passed in the baseline and fail."
    yield from _family("cases_newly_failing", "", meaning, {(): flipped})


def _passes(result: Mapping[str, Any]) -> int:
    return 1 if result["status"] in (Status.PASS, Status.SKIPPED) else 0


Labels = tuple[tuple[str, str], ...]


def _labels(about: Mapping[str, Any]) -> dict[str, str]:
    return {"model": about["model"] or "", "agent_type": about["agent_type"] or ""}


def _once(rows: Iterable[tuple[Mapping[str, str], float | None]]) -> dict[Labels, float]:
    """Return the known figures by labels; empty labels are left out, the last of equals stays."""
    return {
        tuple((name, text) for name, text in labels.items() if text): value
        for labels, value in rows
        if value is not None and math.isfinite(value)
    }


def _family(name: str, unit: str, meaning: str, samples: Mapping[Labels, float]) -> Iterator[str]:
    """Yield the lines of a metric family, none without a sample."""
    if not samples:
        return
    full = _PREFIX + name
    yield f"# TYPE {full} gauge"
    if unit:
        yield f"# UNIT {full} {unit}"
    yield f"# HELP {full} {_escaped(meaning)}"
    for labels, value in samples.items():
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
        yield f"{full}{f'{{{inner}}}' if inner else ''} {_number(value)}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(f"{value:.12g}"))


def _escaped(text: str) -> str:
    """Return a text as a label or a help line holds it."""
    safe = text.encode("utf-8", "replace").decode().replace("\\", "\\\\").replace('"', '\\"')
    return safe.replace("\n", "\\n").replace("\r", " ")
