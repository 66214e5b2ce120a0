"""What runs of several roles have in common: replies, and whose account a request is on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.truth import scripted_server as ss
from tests.truth import suite

if TYPE_CHECKING:
    from collections.abc import Sequence

ADD = {"a": 2, "b": 3}
TOTAL = "gen_ai.usage.cost.total"


class Counts:
    """Gives every reply token counts of its own, so that no two sums agree by accident."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self, **more: Any) -> dict[str, Any]:
        self.number += 1
        n = self.number
        return {
            "prompt_tokens": 1000 + 7 * n * n,
            "completion_tokens": 50 + 3 * n,
            "cached_tokens": 100 + n,
            "reasoning_tokens": n % 5,
            **more,
        }


def agent_turns(n: Counts, kind: str, answer: str) -> list[ss.Reply]:
    if kind == "CodeAgent":
        return [ss.code(f"add(a=2, b=3)\nfinal_answer({answer!r})", **n())]
    return [ss.tool_call("add", ADD, **n()), ss.final_answer(answer, **n())]


def cost(served: Sequence[ss.Served]) -> Any:
    return suite.close(suite.true_cost(served)[TOTAL]) if served else 0.0


def check_whole(finished: suite.Finished) -> None:
    """Every served request is one counted call, and the totals are those of the server."""
    whole = [one for one in finished.served if one.prompt_tokens is not None]
    agent = sum(row["gen_ai.usage.total_tokens"] or 0 for row in finished.results)
    counted = [
        span["attributes"]
        for trace in finished.traces
        for span in trace["spans"]
        if span["attributes"]["smoltrace.counted_call"]
    ]
    assert len(counted) == len(finished.served)
    spent = sum(one["gen_ai.usage.total_tokens"] or 0 for one in counted)
    assert spent == suite.true_tokens(whole)["gen_ai.usage.total_tokens"]
    own = [one for one in counted if one["smoltrace.role"] == "agent"]
    assert agent == sum(one["gen_ai.usage.total_tokens"] or 0 for one in own)
