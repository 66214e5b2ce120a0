"""Points of attempts, of whole runs and of their ticks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pytest_smoltrace.rows.points import NO_LABELS, Labels, Owner, Points, histogram
from pytest_smoltrace.rows.tally import token_kinds
from pytest_smoltrace.schema.reductions import total

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_smoltrace.attempt import Attempt
    from pytest_smoltrace.rows.leaderboard import RunRows
    from pytest_smoltrace.schema.metrics import GpuTickRow, TickRow

COUNT_BOUNDS = (0, 1, 2, 3, 5, 10, 20, 50)
DURATION_BOUNDS = tuple(0.01 * 2**step for step in range(14))
TTFT_BOUNDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
TBT_BOUNDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)

_COST_PARTS = ("total", "prompt", "completion", "reasoning", "cache_read", "cache_write")
_TOKENS = "gen_ai.usage.total_tokens"

_OF_HOST: Mapping[str, str] = {
    "process.cpu.utilization": "process_cpu_percent",
    "process.memory.usage": "process_rss_mib",
}
"""Metric -> column of a tick of a host."""
_OF_RUN: Mapping[str, str] = {
    "gen_ai.co2.emissions": "co2_emissions_gco2e",
    "gen_ai.power.cost": "power_cost_usd",
}
"""Metric -> column of a tick of any host."""
_OF_GPU: Mapping[str, str] = {
    "gen_ai.gpu.utilization": "gpu_utilization_percent",
    "gen_ai.gpu.memory.used": "gpu_memory_used_mib",
    "gen_ai.gpu.memory.total": "gpu_memory_total_mib",
    "gen_ai.gpu.temperature": "gpu_temperature_celsius",
    "gen_ai.gpu.power": "gpu_power_watts",
    "gen_ai.gpu.energy": "gpu_energy_wh",
}
"""Metric -> column of a tick of a GPU."""


def attempt_points(attempts: Iterable[Attempt], session_id: str) -> Points:
    """Return the points of single attempts."""
    points = Points(session_id)
    for attempt in attempts:
        owner = points.owner(_owner(attempt))
        labels = Labels(model=attempt.agent.model)
        if (tokens := attempt.llm.usage.total_tokens) is not None:
            points.add("llm.token_count.total", owner, tokens, labels)
        cost = attempt.llm.cost
        if cost.total_usd is not None:
            for part in _COST_PARTS:
                if (value := getattr(cost, f"{part}_usd")) is not None:
                    points.add(f"gen_ai.usage.cost.{part}", owner, value, labels)
        for used, number in _tokens(attempt).items():
            points.add("gen_ai.client.token.usage", owner, number, used)
    return points


def _owner(attempt: Attempt) -> Owner:
    """Return an attempt as owner of points, its interval the call phase, else the root span."""
    times, root = attempt.times, attempt.root
    start, end = times.start_nano, times.end_nano
    return Owner(
        run_id=attempt.run_id,
        start_time_unix_nano=root.start_ns if start is None else int(start),
        time_unix_nano=root.end_ns if end is None else int(end),
        test_id=attempt.declared.case_id,
        trace_id=attempt.record.trace_id,
    )


def _tokens(attempt: Attempt) -> Counter[Labels]:
    used: Counter[Labels] = Counter()
    for call in attempt.record.calls:
        if call.role == "agent":
            for kind, tokens in token_kinds(call):
                used[Labels(call.model, call.provider, token_type=kind)] += tokens
    return used


def run_points(runs: Iterable[RunRows], session_id: str) -> Points:
    """Return the points of whole runs."""
    points = Points(session_id)
    for run in runs:
        start, end = run.window_ns
        owner = points.owner(Owner(run.run_id, start, end))
        labels = Labels(model=run.group.model)
        points.add("tests.successful", owner, run.size("successful"))
        _add_counts(points, owner, run)
        _add_totals(points, owner, run, labels)
        _add_calls(points, owner, run)
        _add_energy(points, owner, run)
    return points


def _add_energy(points: Points, owner: int, run: RunRows) -> None:
    gpu = run.gpu
    if gpu.total_energy_wh is None:
        return
    points.add("gen_ai.co2.emissions", owner, gpu.co2_emissions_g)
    points.add("gen_ai.power.cost", owner, gpu.electricity_cost_usd or 0.0)


def _add_counts(points: Points, owner: int, run: RunRows) -> None:
    for metric, column in (("tests.tool_calls", "tool_call_count"), ("tests.steps", "steps")):
        values = run.known(column, "scored")
        points.add_histogram(metric, owner, histogram(values, COUNT_BOUNDS))


def _add_totals(points: Points, owner: int, run: RunRows, labels: Labels) -> None:
    columns = {f"gen_ai.usage.cost.{part}": f"gen_ai.usage.cost.{part}" for part in _COST_PARTS}
    for metric, column in {"llm.token_count.total": _TOKENS, **columns}.items():
        if values := run.known(column, "all"):
            points.add(metric, owner, total(values), labels)


def _add_calls(points: Points, owner: int, run: RunRows) -> None:
    tally = run.tally
    for metric, counts in (
        ("gen_ai.client.token.usage", tally.tokens),
        ("gen_ai.requests", tally.requests),
        ("gen_ai.client.errors", tally.errors),
    ):
        for labels, number in sorted(counts.items(), key=str):
            points.add(metric, owner, number, labels)
    for labels, values in sorted(tally.duration_s.items(), key=str):
        found = histogram(values, DURATION_BOUNDS)
        points.add_histogram("gen_ai.client.operation.duration", owner, found, labels)
    for metric, observed, bounds in (
        ("gen_ai.server.ttft", tally.ttft_s, TTFT_BOUNDS),
        ("gen_ai.server.tbt", tally.tbt_s, TBT_BOUNDS),
    ):
        if observed:
            points.add_histogram(metric, owner, histogram(observed, bounds), NO_LABELS)


def device_points(run: RunRows, energy_wh: Iterable[tuple[Labels, float]]) -> Points:
    """Return the points of the energy of each GPU in a run."""
    points = Points(run.session.session_id)
    owner = points.owner(Owner(run.run_id, *run.window_ns))
    for labels, value in energy_wh:
        points.add("gen_ai.gpu.energy", owner, value, labels)
    return points


def tick_points(
    session_id: str,
    ticks: Iterable[TickRow],
    of_gpus: Iterable[GpuTickRow],
    *,
    start_ns: int,
    told_ns: int = 0,
) -> Points:
    """Return the points of ticks of one host.

    Args:
        session_id: Session of the points.
        ticks: Rows of the host.
        of_gpus: Rows of its GPUs at the same times.
        start_ns: Start of the run, from which the sums count.
        told_ns: Until when the sums of the run, which are those of all hosts, are told already.
    """
    points = Points(session_id)
    owners: dict[str, int] = {}
    for tick in ticks:
        time = int(tick.timestamp_unix_nano)
        about = Owner(tick.run_id, start_ns, time, point_kind="timeseries", host=tick.host)
        owners[tick.timestamp_unix_nano] = owner = points.owner(about)
        _add_row(points, owner, tick, _OF_HOST, NO_LABELS)
        if time > told_ns:
            _add_row(points, owner, tick, _OF_RUN, NO_LABELS)
    for row in of_gpus:
        labels = Labels(gpu_id=row.gpu_id, gpu_uuid=row.gpu_uuid, gpu_name=row.gpu_name)
        _add_row(points, owners[row.timestamp_unix_nano], row, _OF_GPU, labels)
    return points


def _add_row(
    points: Points, owner: int, row: object, columns: Mapping[str, str], labels: Labels
) -> None:
    for metric, column in columns.items():
        if (value := getattr(row, column)) is not None:
            points.add(metric, owner, value, labels)
