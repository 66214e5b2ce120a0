"""What a person reads on the terminal: header and summary of a run, as lines."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.comparing.leaderboard import comparison_lines
from pytest_smoltrace.formats import (
    UNKNOWN,
    aligned,
    amount,
    cases_by_trials,
    count,
    duration,
    line,
    usd,
)
from pytest_smoltrace.shortfall import exit_reason, failures, ranked, unscored_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pytest

    from pytest_smoltrace.config import RunConfig
    from pytest_smoltrace.pipeline import Outcome

_SHOWN_CASES = 3
_SHOWN_CASES_VERBOSE = 10


def header_lines(
    config: RunConfig, *, session_id: str, directory: Path | None, verbose: int
) -> Iterator[str]:
    """Yield what is evaluated and where it is recorded; under -v every option with its origin."""
    models = ", ".join(map(str, config.models))
    place = f" at {config.shown['base_url']}" if config.base_url else ""
    how = "streaming" if config.stream else "not streaming"
    yield f"smoltrace: {models}{place}, {' and '.join(config.agent_types)} agents, {how}"
    prices = _near(config.prices) if config.prices else "bundled table"
    folder = directory or config.directory
    folder = folder.parent if folder.name == session_id else folder
    yield f"smoltrace: run {session_id} in {_near(folder)}, prices: {prices}"
    if verbose > 0:
        from pytest_smoltrace.options import origin_lines

        yield from origin_lines(config)


def write_summary(
    reporter: pytest.TerminalReporter, outcome: Outcome | None, problems: Sequence[str]
) -> None:
    """Write the summary of a run and what went wrong with recording it."""
    verbose = reporter.config.get_verbosity()
    if verbose >= 0:
        reporter.write_sep("=", "smoltrace")
    if outcome is not None:
        for line in summary_lines(outcome.summary, verbose=verbose, directory=outcome.directory):
            reporter.write_line(line)
        for warning in outcome.warnings:
            reporter.write_line(f"smoltrace: {warning}", yellow=True)
    for problem in problems:
        reporter.write_line(f"smoltrace: {problem}", red=True)


def print_metrics() -> None:
    """Print the metrics that gates can be about, in lines that the terminal has room for."""
    from shutil import get_terminal_size

    from pytest_smoltrace.gates.listing import metric_lines

    for text in metric_lines(get_terminal_size().columns):
        print(text)


def summary_lines(
    summary: Mapping[str, Any], *, verbose: int, directory: Path | None = None
) -> Iterator[str]:
    """Yield the summary of a run from the value of summary.json; one line when verbose < 0."""
    runs, cases = summary.get("runs") or [], summary.get("cases") or []
    where = _near(directory) if directory else summary.get("session_id", UNKNOWN)
    if verbose < 0:
        yield _one_line(runs, where)
        return
    if len(runs) == 1:
        yield from _details(runs[0])
    elif runs:
        yield from aligned((_HEAD, *map(_row, runs)))
        yield from comparison_lines(summary)
        for run in runs:
            yield from energy_lines(run, of=f"{run['model']}, {run['agent_type']} agent: ")
        yield from _rest_lines(runs)
    else:
        yield "no case was evaluated"
    yield from _incomplete(runs)
    yield from failures(cases, runs, summary.get("cases_left_out") or 0)
    yield from exit_reason(summary.get("exit_status"), runs)
    shown = _SHOWN_CASES_VERBOSE if verbose else _SHOWN_CASES
    for name, key, write in (("slowest", "duration_ms", duration), ("dearest", "cost_usd", usd)):
        # A long run stores only some of its cases, but always these extremes of all.
        pool = summary[name] if summary.get("cases_left_out") else cases
        yield from _extremes(name, pool, key, write, shown)
    yield line("run", where)


def run_cost(run: Mapping[str, Any]) -> str:
    """Return the cost of a run; a part that is unknown is said, never counted as nothing."""
    unknown, executed = run["cost_unknown_attempts"], run["executed_attempts"]
    if unknown and unknown >= executed:
        return "unpriced"
    known = usd(run["total_cost_usd"])
    return f"{known} + {unknown} unpriced" if unknown else known


def _details(run: Mapping[str, Any]) -> Iterator[str]:
    """Yield the figures of the only run."""
    yield line("passed", f"{_passed(run)}{_interval(run)}{_trials(run)}")
    yield line("model", f"{run['model']}, {run['agent_type']} agent")
    prompt, completion = count(run["total_prompt_tokens"]), count(run["total_completion_tokens"])
    yield line("tokens", f"{prompt} prompt + {completion} completion{_tokens_unknown(run)}")
    yield line("cost", run_cost(run))
    others = run.get("total_non_agent_cost_usd")
    if others:
        yield line(
            "other calls", f"{usd(others)} for judges, simulators and fixtures, not in the cost"
        )
    yield line("latency", _quantiles(run["p50_duration_ms"], run["p95_duration_ms"]))
    ttft = (_ms(run["p50_ttft_seconds"]), _ms(run["p95_ttft_seconds"]))
    yield line("first token", _quantiles(*ttft))
    yield from energy_lines(run)


def energy_lines(run: Mapping[str, Any], *, of: str = "") -> Iterator[str]:
    """Yield what the GPUs took and did during a run, where they were measured."""
    energy_wh = run.get("total_gpu_energy_wh")
    if energy_wh is not None:
        yield _energy_line(run, energy_wh, of)
    if any(run.get(f"gpu_{name}") is not None for name in _READINGS):
        yield _gpu_line(run, of)


_READINGS = ("power_avg_w", "utilization_avg", "memory_max_mib")


def _energy_line(run: Mapping[str, Any], energy_wh: float, of: str) -> str:
    emitted = amount(run["co2_emissions_g"], "g CO2e")
    intensity = amount(run["co2_intensity_g_per_kwh"], "g/kWh")
    # Of several runs, the rest of their session is said once, behind them.
    rest = "" if of else f" ({_outside(run)})"
    paid = f"{usd(run['electricity_cost_usd'])} of electricity"
    emitted += f" ({intensity}, {run['co2_source']})"
    return line("energy", f"{of}{amount(energy_wh, 'Wh')}{rest}, {emitted}, {paid}")


def _gpu_line(run: Mapping[str, Any], of: str) -> str:
    watts = f"{amount(run['gpu_power_avg_w'], 'W')} (most {amount(run['gpu_power_max_w'], 'W')})"
    busy = amount(run["gpu_utilization_avg"], "%")
    used, size = _whole(run["gpu_memory_max_mib"]), _whole(run["gpu_memory_total_mib"])
    memory = f"at most {used} of {size} MiB"
    return line("gpu", f"{of}{run['gpu_count']} x, {watts}, {busy} busy, {memory}")


def _rest_lines(runs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what the GPUs took beside the cases of all runs, where they were measured."""
    measured = (run for run in runs if run.get("total_gpu_energy_wh") is not None)
    for run in islice(measured, 1):
        yield line("energy", _outside(run))


def _outside(run: Mapping[str, Any]) -> str:
    return f"{amount(run['gpu_energy_unattributed_wh'], 'Wh')} more outside of cases"


def _whole(number: float | None) -> str:
    return count(None if number is None else round(number))


_HEAD = (
    *("model", "agent", "passed", "rate", "95 % interval", "prompt", "completion", "cost"),
    *("p50", "p95", "TTFT p50", "TTFT p95"),
)


def _row(run: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the figures of one of several runs, in the columns of the head."""
    return (
        run["model"],
        run["agent_type"],
        f"{run['successful_tests']}/{run['num_tests']}",
        f"{run['success_rate']:.1f} %" if run["num_tests"] else UNKNOWN,
        _range(run),
        count(run["total_prompt_tokens"]),
        count(run["total_completion_tokens"]),
        run_cost(run),
        duration(run["p50_duration_ms"]),
        duration(run["p95_duration_ms"]),
        duration(_ms(run["p50_ttft_seconds"])),
        duration(_ms(run["p95_ttft_seconds"])),
    )


def _one_line(runs: Sequence[Mapping[str, Any]], where: str) -> str:
    """Return everything that matters in one line."""
    passed = sum(run["successful_tests"] for run in runs)
    scored = sum(run["num_tests"] for run in runs)
    unscored = sum(run["errored_tests"] for run in runs)
    why = f" ({ranked(unscored_of(runs))})" if unscored else ""
    parts = [
        f"smoltrace: {passed} of {scored} passed{_interval(runs[0]) if len(runs) == 1 else ''}",
        f"{count(sum(run['total_tokens'] for run in runs))} tokens",
        run_cost({key: sum(run[key] for run in runs) for key in _COST_KEYS}),
        *([f"{unscored} not scored{why}"] if unscored else []),
        where,
    ]
    return ", ".join(parts)


_COST_KEYS = ("total_cost_usd", "cost_unknown_attempts", "executed_attempts")


def _incomplete(runs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the runs that did not come to their end."""
    for run in runs:
        if run["run_status"] != "completed" or run["run_stop_reason"] != "completed":
            done = f"{run['completed_tests']} of {run['planned_tests']} cases"
            name = f"{run['model']}, {run['agent_type']} agent"
            yield line("incomplete", f"{done} of {name} ({run['run_stop_reason']})")


def _extremes(
    name: str,
    cases: Sequence[Mapping[str, Any]],
    key: str,
    write: Callable[[float | None], str],
    shown: int,
) -> Iterator[str]:
    """Yield the cases with the largest values, where there is something to compare."""
    known = [case for case in cases if case[key]]
    if len(known) > 1:
        for case in sorted(known, key=lambda case: -float(case[key]))[:shown]:
            yield line(name, f"{write(case[key]):>11}  {case['nodeid'] or case['case_id']}")
            name = ""


def _passed(run: Mapping[str, Any]) -> str:
    """Return passed of scored cases."""
    return f"{run['successful_tests']} of {run['num_tests']}"


def _interval(run: Mapping[str, Any]) -> str:
    """Return rate and interval of a run, nothing when no case was scored."""
    return f" ({run['success_rate']:.1f} %, {_range(run)})" if run["num_tests"] else ""


def _trials(run: Mapping[str, Any]) -> str:
    """Return cases, trials and pass^k of a run, nothing when no case was repeated."""
    trials = run.get("pass_attempts") or 0
    if trials <= 1:
        return ""
    cases, always = run["evaluated_prompts"], run["pass_hat_k"]
    reliable = "" if always is None else f", pass^{run['pass_k']} {100 * always:.1f} %"
    return f", {cases_by_trials(cases, trials, run['num_tests'])}{reliable}"


def _range(run: Mapping[str, Any]) -> str:
    """Return the interval of the rate."""
    low, high = run["success_rate_ci_low"], run["success_rate_ci_high"]
    return UNKNOWN if low is None or high is None else f"{low:.1f} to {high:.1f} %"


def _tokens_unknown(run: Mapping[str, Any]) -> str:
    """Say how many attempts reported no tokens."""
    unknown = run["tokens_unknown_attempts"]
    return f", unknown for {unknown}" if unknown else ""


def _quantiles(p50_ms: float | None, p95_ms: float | None) -> str:
    """Return two percentiles."""
    return f"p50 {duration(p50_ms)}, p95 {duration(p95_ms)}"


def _ms(seconds: float | None) -> float | None:
    """Return milliseconds."""
    return None if seconds is None else 1_000 * seconds


def _near(path: Path) -> str:
    """Return the path as one would type it here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
