"""One leaderboard row: what the result rows and the tally of a run come to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_smoltrace.attempt import to_json
from pytest_smoltrace.attempt.llm import mean
from pytest_smoltrace.rows.place import Place, place_of
from pytest_smoltrace.rows.rates import Rates, rates_of
from pytest_smoltrace.rows.suite import Suite, suite_of
from pytest_smoltrace.rows.ticks import naive_text
from pytest_smoltrace.schema.reductions import total
from pytest_smoltrace.stats import percentile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_smoltrace.attempt import Session
    from pytest_smoltrace.rows.gpu import SampledGpus
    from pytest_smoltrace.rows.groups import Group
    from pytest_smoltrace.rows.populations import ResultRows
    from pytest_smoltrace.rows.tally import Tally
    from pytest_smoltrace.run import Run
    from pytest_smoltrace.session_facts import Footer, Header

Value = TypeVar("Value", int, float)

NONE = "none"
"""Placeholder of an unknown model, agent type or provider; `identity_known` is then false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who was tested."""

    model: str
    agent_type: str
    provider: str
    known: bool
    system: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTimes:
    """When the run took place."""

    started_text: str
    ended_us: int | None
    wall_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFigures:
    """Figures over all LLM calls of the run."""

    cost_source: str
    price_table_version: str | None
    ttft_mean_s: float | None
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    ttft_p99_s: float | None
    tbt_s: float | None
    streamed: int
    temperature: float | None
    top_p: float | None
    max_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFigures:
    """Which tools were used."""

    unique: int | None
    most_used: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFigures:
    """GPU figures of a run; the defaults are those of a machine without samples."""

    count: int = 0
    sampled: bool = False
    """Whether there are samples of a GPU that its workers could use."""
    co2_emissions_g: float = 0.0
    co2_method: str = NONE
    co2_intensity_g_per_kwh: float | None = None
    co2_source: str | None = None
    pue: float | None = None
    total_energy_wh: float | None = None
    energy_unattributed_wh: float | None = None
    electricity_price_usd_per_kwh: float | None = None
    electricity_cost_usd: float | None = None
    utilization_avg: float | None = None
    utilization_max: float | None = None
    memory_avg_mib: float | None = None
    memory_max_mib: float | None = None
    memory_total_mib: float | None = None
    temperature_avg: float | None = None
    temperature_max: float | None = None
    power_avg_w: float | None = None
    power_max_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRows:
    """Everything that the leaderboard row of one run is read from."""

    run_id: str
    session: Session
    header: Header
    group: Group
    tally: Tally
    rows: ResultRows
    window_ns: tuple[int, int]
    """First start and last end of root spans, the start of the session when none ran."""
    identity: Identity
    times: RunTimes
    place: Place
    suite: Suite
    rates: Rates
    calls: CallFigures
    tools: ToolFigures
    stop_reason: str
    error_types: str
    scores: str | None
    generation_settings: str | None
    replay_mode: str
    gpu: GpuFigures = field(default_factory=GpuFigures)

    @property
    def environment(self) -> Mapping[str, Any]:
        """Description of machine and versions."""
        return self.header.environment

    @property
    def options(self) -> Mapping[str, Any]:
        """Effective options by name."""
        return self.header.config

    def size(self, population: str) -> int:
        """Return the number of rows of a population."""
        return self.rows.size(population)

    def known(self, column: str, population: str) -> Sequence[Any]:
        """Return the non-null values of a column over a population."""
        return self.rows.known(column, population)


def run_rows(
    run: Run,
    group: Group,
    tally: Tally,
    rows: ResultRows,
    session: Session,
    *,
    gpus: SampledGpus | None = None,
) -> RunRows:
    """Put together what the leaderboard row of a run is read from."""
    header, footer = run.header, run.footer
    start = header.started_unix_ns if tally.start_ns is None else tally.start_ns
    end = start if tally.end_ns is None else tally.end_ns
    done = rows.size("completed") + rows.size("skipped")
    trials = max((case.trials for case in group.planned), default=1)
    gpu = GpuFigures(count=len(tally.gpu_uuids))
    if gpus is not None:
        gpu = gpus.figures(group.run_id, tally, (start, end))
    return RunRows(
        run_id=group.run_id,
        session=session,
        header=header,
        group=group,
        tally=tally,
        rows=rows,
        window_ns=(start, end),
        identity=identity_of(group, tally),
        times=RunTimes(
            started_text=naive_text(session.started_us),
            ended_us=None if footer is None or tally.end_ns is None else end // 1000,
            wall_s=tally.wall_s(),
        ),
        place=place_of(run, tally.providers, sampled=gpu.sampled),
        suite=suite_of(group.planned, done),
        rates=rates_of(rows, header.config.get("pass_k") or trials),
        calls=call_figures(tally, header),
        tools=tool_figures(tally),
        stop_reason="crash" if footer is None else footer.stop_reason,
        error_types=to_json(Counter(rows.known("error_type", "errors"))),
        scores=_scores(tally),
        generation_settings=generation_settings(header, footer, group.model),
        replay_mode=_one(tally.replay_modes, "live"),
        gpu=gpu,
    )


def identity_of(group: Group, tally: Tally) -> Identity:
    """Return who was tested, placeholders where that is unknown."""
    provider = "+".join(sorted(tally.providers))
    return Identity(
        model=group.model or NONE,
        agent_type=group.agent_type or NONE,
        provider=provider or NONE,
        known=bool(group.model and group.agent_type and provider),
        system=",".join(sorted(tally.systems)) or None,
    )


def call_figures(tally: Tally, header: Header) -> CallFigures:
    """Return the figures over all LLM calls."""
    ttft = tally.ttft_s
    return CallFigures(
        cost_source=_one(tally.cost_sources - {"no_call"}, "no_call"),
        price_table_version=header.prices_version if tally.prices_used else None,
        ttft_mean_s=mean(ttft),
        ttft_p50_s=percentile(ttft, 0.5),
        ttft_p95_s=percentile(ttft, 0.95),
        ttft_p99_s=percentile(ttft, 0.99),
        tbt_s=total(tally.stream_s) / tally.gaps if tally.gaps else None,
        streamed=len(ttft),
        temperature=most_frequent(tally.temperature),
        top_p=most_frequent(tally.top_p),
        max_tokens=most_frequent(tally.max_tokens),
    )


def tool_figures(tally: Tally) -> ToolFigures:
    """Return which tools were used, ties to the alphabetically first."""
    if not tally.tools_known:
        return ToolFigures(unique=None, most_used=None)
    ordered = sorted(tally.tools.items(), key=lambda item: (-item[1], item[0]))
    return ToolFigures(unique=len(ordered), most_used=ordered[0][0] if ordered else None)


def generation_settings(header: Header, footer: Footer | None, model: str | None) -> str | None:
    """Return the requested settings as JSON, split into applied and not applied."""
    names = (
        *("temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty"),
        *("seed", "reasoning_effort"),
    )
    values = {name: header.config.get(name) for name in names}
    requested = {name: value for name, value in values.items() if value is not None}
    if not requested:
        return None
    refused = footer.not_applied.get(model, {}) if footer is not None and model else {}
    not_applied = {name: why for name, why in refused.items() if name in requested}
    applied = {name: value for name, value in requested.items() if name not in not_applied}
    return to_json({"requested": requested, "applied": applied, "not_applied": not_applied})


def most_frequent(counts: Counter[Value]) -> Value | None:
    """Return the most frequent value, ties to the smallest."""
    most = max(counts.values(), default=0)
    return min((value for value, count in counts.items() if count == most), default=None)


def _scores(tally: Tally) -> str | None:
    found = {
        name: {"mean": mean(values), "n": len(values)} for name, values in tally.scores.items()
    }
    return to_json(found) if found else None


def _one(values: set[str], rest: str) -> str:
    """Return the only value, `mixed` when they differ, `rest` when there is none."""
    if not values:
        return rest
    return next(iter(values)) if len(values) == 1 else "mixed"
