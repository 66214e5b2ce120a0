"""Budgets of a case and of the session, checked before each LLM call."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

from pytest_smoltrace.capture.limits import CaseStopped
from pytest_smoltrace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_smoltrace.capture.case import Case
    from pytest_smoltrace.capture.limits import Scope
    from pytest_smoltrace.config import Limits as Bounds
    from pytest_smoltrace.coordination import Coordination
    from pytest_smoltrace.counting import Pricer, Usage


class Budgets:
    """What the session and the running case may still spend."""

    def __init__(
        self,
        bounds: Bounds,
        price: Pricer,
        coordination: Coordination | None,
        case: Callable[[], Case | None],
        steps: Callable[[], int | None],
    ) -> None:
        self._bounds = bounds
        self._price = price
        self._coordination = coordination
        self._case = case
        self._steps = steps

    def check(self, scope: Scope | None) -> None:
        """Refuse an LLM call when a budget is spent.

        Args:
            scope: Scope of the case; it ends with the budget.

        Raises:
            CaseStopped: Says which budget, and what has been spent.
            ConfigError: A call without a price was made under a budget in USD.
        """
        for message, kind in (*self._session_spent(), *self._case_spent()):
            outer = scope
            while outer is not None and outer.parent is not None:
                outer = outer.parent
            raise CaseStopped(message, kind) if outer is None else outer.end(message, kind)

    def overspent(self, case: Case) -> tuple[str, str] | None:
        """Return message and error type when a case took more than it may; None otherwise."""
        return next(self._over(case, steps=sum(run.steps for run in case.notes.runs)), None)

    def session_message(self) -> str | None:
        """Return how the session's budget was spent; None while something is left."""
        return next((message for message, _ in self._session_spent()), None)

    def account(
        self, model: str | None, system: str | None
    ) -> Callable[[Usage | None, bool], None] | None:
        """Return what puts a call of a model on the account of the session; None without one."""
        if self._coordination is None or not self._has_session_budget:
            return None
        return functools.partial(self._spend, self._coordination, model, system)

    def _spend(
        self,
        account: Coordination,
        model: str | None,
        system: str | None,
        usage: Usage | None,
        failed: bool,  # noqa: FBT001 - the last argument of a callback
    ) -> None:
        if usage is None or (usage.prompt is None and usage.completion is None):
            if not failed:
                account.spend(None, None)
            return
        parts, _ = self._price(model, system, usage)
        if parts is None and self._bounds.budget_usd is not None:
            raise ConfigError(
                f"--smoltrace-budget-usd cannot be held: {model or 'a model'} has no price; "
                "give one with --smoltrace-prices or use --smoltrace-budget-tokens"
            )
        tokens = (usage.prompt or 0) + (usage.completion or 0)
        account.spend(parts.total_usd if parts is not None else None, tokens)

    @property
    def _has_session_budget(self) -> bool:
        return self._bounds.budget_usd is not None or self._bounds.budget_tokens is not None

    def _session_spent(self) -> Iterator[tuple[str, str]]:
        if self._coordination is None or not self._has_session_budget:
            return
        spent, usd, tokens = (
            self._coordination.spent(),
            self._bounds.budget_usd,
            self._bounds.budget_tokens,
        )
        if usd is not None and spent.cost_usd >= usd:
            of = f"{usd:g} USD (--smoltrace-budget-usd)"
            yield f"the session has spent {spent.cost_usd:.6g} of its {of}", "budget_cost"
        if tokens is not None and spent.tokens >= tokens:
            of = f"{tokens:,} tokens (--smoltrace-budget-tokens)"
            yield f"the session has used {spent.tokens:,} of its {of}", "budget_tokens"

    def _case_spent(self) -> Iterator[tuple[str, str]]:
        case = self._case()
        if case is not None and case.in_call and case.active_role() == "agent":
            steps = self._steps() if case.declared.max_total_steps is not None else None
            yield from self._over(case, steps=steps, reached=True)

    def _over(
        self, case: Case, *, steps: int | None, reached: bool = False
    ) -> Iterator[tuple[str, str]]:
        """Yield what the case has spent too much of; all of it counts when `reached`."""
        declared = case.declared

        def is_spent(amount: float, limit: float) -> bool:
            return amount >= limit if reached else amount > limit

        if declared.max_cost_usd is not None or declared.max_tokens is not None:
            calls = [call for call in case.count_so_far().calls if call.role == "agent"]
            cost = math.fsum(call.cost.total_usd for call in calls if call.cost is not None)
            tokens = sum((c.prompt_tokens or 0) + (c.completion_tokens or 0) for c in calls)
            if declared.max_cost_usd is not None and is_spent(cost, declared.max_cost_usd):
                of = f"{declared.max_cost_usd:g} USD (max_cost)"
                yield f"the case has spent {cost:.6g} of its {of}", "budget_cost"
            if declared.max_tokens is not None and is_spent(tokens, declared.max_tokens):
                of = f"{declared.max_tokens:,} tokens (max_tokens)"
                yield f"the case has used {tokens:,} of its {of}", "budget_tokens"
        limit = declared.max_total_steps
        if limit is not None and steps is not None and is_spent(steps, limit):
            yield (
                f"the case has made {steps} of its {limit} steps (max_total_steps)",
                "budget_steps",
            )
