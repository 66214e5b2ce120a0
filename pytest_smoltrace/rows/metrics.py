"""Points and ticks of a run without a GPU sampler."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pytest_smoltrace.rows.points import NO_LABELS, Labels, Owner, Points, histogram
from pytest_smoltrace.rows.tally import token_kinds
from pytest_smoltrace.schema.metrics import TickRow
from pytest_smoltrace.schema.reductions import total
from pytest_smoltrace.schema.version import CONTRACT_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_smoltrace.attempt import Attempt
    from pytest_smoltrace.rows.leaderboard import RunRows
    from pytest_smoltrace.rows.tally import HostUse

COUNT_BOUNDS = (0, 1, 2, 3, 5, 10, 20, 50)
DURATION_BOUNDS = tuple(0.01 * 2**step for step in range(14))
TTFT_BOUNDS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
TBT_BOUNDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)

_COST_PARTS = ("total", "prompt", "completion", "reasoning", "cache_read", "cache_write")
_TOKENS = "gen_ai.usage.total_tokens"


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
        for tick in ticks(run):
            _add_tick(points, tick)
    return points


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


def _add_tick(points: Points, tick: TickRow) -> None:
    time = int(tick.timestamp_unix_nano)
    owner = Owner(tick.run_id, time, time, point_kind="timeseries", host=tick.host)
    number = points.owner(owner)
    for metric, value in (
        ("process.cpu.utilization", tick.process_cpu_percent),
        ("process.memory.usage", tick.process_rss_mib),
    ):
        if value is not None:
            points.add(metric, number, value)


def ticks(run: RunRows) -> Iterator[TickRow]:
    """Yield the tick at the end of the run for each host that it used."""
    end, elapsed_s = run.window_ns[1], run.times.wall_s or 0.0
    hosts = run.tally.hosts or {None: None}
    for host, use in sorted(hosts.items(), key=lambda item: item[0] or ""):
        yield TickRow(
            schema_version=CONTRACT_VERSION,
            run_id=run.run_id,
            session_id=run.session.session_id,
            service_name=run.session.service_name,
            timestamp=naive_text(end // 1000),
            timestamp_unix_nano=str(end),
            gpu_id=None,
            gpu_name=None,
            gpu_count=0,
            gpu_utilization_percent=None,
            gpu_memory_used_mib=None,
            gpu_memory_total_mib=None,
            gpu_temperature_celsius=None,
            gpu_power_watts=None,
            gpu_energy_wh=None,
            co2_emissions_gco2e=None,
            power_cost_usd=None,
            process_cpu_percent=_cpu_percent(use, elapsed_s),
            process_rss_mib=run.tally.rss_mib(use) if use else None,
            active_tests=0,
            host=host,
        )


def _cpu_percent(use: HostUse | None, elapsed_s: float) -> float | None:
    if use is None or not use.complete or elapsed_s <= 0:
        return None
    return 100 * use.cpu_s / elapsed_s


def naive_text(unix_us: int) -> str:
    """Return an instant as UTC text with 6 decimals and no offset."""
    seconds, micros = divmod(unix_us, 1_000_000)
    at = datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=micros, tzinfo=None)
    return at.isoformat(timespec="microseconds")
