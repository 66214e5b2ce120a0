"""What one gate looks at: the attempts of one run, and those that they are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_smoltrace.gates.figures import OVER_COMPLETED, Figure, aggregate_figure, rate_figure
from pytest_smoltrace.gates.selecting import of_cases
from pytest_smoltrace.gates.selectors import RUN_KEYS
from pytest_smoltrace.measured.population import Population

if TYPE_CHECKING:
    import pyarrow as pa

    from pytest_smoltrace.baselines.match import Match
    from pytest_smoltrace.baselines.reference import Found
    from pytest_smoltrace.gates.expression import Gate
    from pytest_smoltrace.gates.policy import Policy
    from pytest_smoltrace.measured.session import MeasuredRun


@dataclass(frozen=True, kw_only=True)
class Matter:
    """One gate and one run, with the baseline's run where there is one."""

    gate: Gate
    policy: Policy
    run: MeasuredRun
    found: Found | None = None
    """None when no baseline is asked for."""
    match: Match | None = None
    """None without a baseline."""
    partial: str | None = None
    gone: tuple[str, ...] = ()
    """Runs of the baseline that nothing is compared with."""

    @property
    def other(self) -> MeasuredRun | None:
        """Run of the baseline that figures may be compared with."""
        return self.match.run if self.match else None

    @cached_property
    def ours(self) -> Population:
        """Attempts of the run that the gate is about."""
        return self._selected(self.run.attempts)

    @cached_property
    def theirs(self) -> Population:
        """Attempts of the baseline that the gate is about; none without one."""
        if self.other is None:
            return Population(self.run.attempts.slice(0, 0))
        return self._selected(self.other.attempts)

    @cached_property
    def spent(self) -> Population | None:
        """All attempts of the run that the gate is about, reruns too; None where not stored."""
        table = self.run.total_attempts
        return None if table is None else self._selected(table)

    @property
    def k(self) -> int:
        """K of pass@k."""
        stored = self.run.row.get("pass_k")
        return stored or max((n for _, n in self.ours.counts.values()), default=1)

    @property
    def row_selectors(self) -> list[str]:
        """Selectors that select cases, as they are written."""
        return [f"{key}={value}" for key, value in self.gate.where if key not in RUN_KEYS]

    def _selected(self, table: pa.Table) -> Population:
        rows = of_cases(self.gate.where, table)
        return rows.live if self.gate.metric.live_only else rows

    @property
    def replayed(self) -> int:
        """Attempts of the run that are left out because they were replayed."""
        return self._left_out(self.run, self.ours)

    @property
    def replayed_before(self) -> int:
        """Attempts of the baseline that are left out because they were replayed."""
        return self._left_out(self.other, self.theirs) if self.other else 0

    def _left_out(self, run: MeasuredRun, rows: Population) -> int:
        if not self.gate.metric.live_only:
            return 0
        every = of_cases(self.gate.where, run.attempts)
        return int(every.table.num_rows - rows.table.num_rows)

    @property
    def left_out_before(self) -> int:
        """Attempts of the baseline that its source does not hold."""
        session = self.found.session if self.found else None
        return session.left_out if session else 0

    def figure(self, rows: Population, of: MeasuredRun | None = None) -> Figure | None:
        """Return the metric over some attempts of the run, or of the baseline's; None unknown."""
        metric = self.gate.metric
        if metric.table == "leaderboard":
            return _of_run(metric.column, of or self.run)
        if metric.table == "results":
            return aggregate_figure(metric, rows.scored.values(metric.column))
        return rate_figure(metric, rows, self.k, not_run=0 if of else self.not_run)

    @property
    def not_run(self) -> int:
        """Trials of the run that were selected and not completed, 0 where selectors choose."""
        planned, skipped = (self.run.row.get(f"{n}_tests") for n in ("planned", "skipped"))
        if planned is None or self.row_selectors:
            return 0
        return max(0, int(planned) - int(skipped or 0) - int(self.ours.completed.table.num_rows))

    def known(self, rows: Population) -> frozenset[str]:
        """Return the cases that know the metric."""
        metric = self.gate.metric
        if metric.table == "results":
            return frozenset(rows.scored.values(metric.column))
        if metric.column in OVER_COMPLETED:
            return rows.completed.cases
        return frozenset(rows.counts)


def _of_run(column: str, run: MeasuredRun) -> Figure | None:
    """Return a stored figure of a whole run."""
    value = run.row.get(column)
    if not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN is unknown
        return None
    rows = Population(run.attempts).scored
    return Figure(value=float(value), cases=len(rows.cases), attempts=int(rows.table.num_rows))
