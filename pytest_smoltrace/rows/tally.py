"""What a run adds up to beyond the columns of its result rows; fed attempt by attempt."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_smoltrace.attempt.llm import is_replayed, stream_gaps
from pytest_smoltrace.rows.points import Labels

if TYPE_CHECKING:
    from pytest_smoltrace.attempt import Attempt
    from pytest_smoltrace.facts import CaseRecord, LLMCall


def _doubles() -> array[float]:
    return array("d")


@dataclass(slots=True, kw_only=True)
class Tally:
    """Populations of calls, names and scores of one run."""

    windows: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Session of the run -> start of its first and end of its last root span, unix ns."""
    providers: set[str] = field(default_factory=set)
    systems: set[str] = field(default_factory=set)
    cost_sources: set[str] = field(default_factory=set)
    """Of the attempts with an LLM call."""
    prices_used: bool = False
    replay_modes: set[str] = field(default_factory=set)
    temperature: Counter[float] = field(default_factory=Counter)
    top_p: Counter[float] = field(default_factory=Counter)
    max_tokens: Counter[int] = field(default_factory=Counter)
    ttft_s: array[float] = field(default_factory=_doubles)
    tbt_s: array[float] = field(default_factory=_doubles)
    stream_s: array[float] = field(default_factory=_doubles)
    gaps: int = 0
    tools: Counter[str] = field(default_factory=Counter)
    tools_known: bool = False
    scores: defaultdict[str, array[float]] = field(default_factory=lambda: defaultdict(_doubles))
    duration_s: defaultdict[Labels, array[float]] = field(
        default_factory=lambda: defaultdict(_doubles)
    )
    requests: Counter[Labels] = field(default_factory=Counter)
    errors: Counter[Labels] = field(default_factory=Counter)
    tokens: Counter[Labels] = field(default_factory=Counter)
    gpu_uuids: set[str] = field(default_factory=set)

    @property
    def start_ns(self) -> int | None:
        """Start of the first root span."""
        return min((start for start, _ in self.windows.values()), default=None)

    @property
    def end_ns(self) -> int | None:
        """End of the last root span."""
        return max((end for _, end in self.windows.values()), default=None)

    def wall_s(self) -> float | None:
        """Return the time in which a session ran, each moment once; None without attempts."""
        if not self.windows:
            return None
        total, until = 0, 0
        for start, end in sorted(self.windows.values()):
            total += max(0, end - max(start, until))
            until = max(until, end)
        return total / 1e9

    def take(self, attempt: Attempt, part: int) -> None:
        """Add one attempt of the session with this number."""
        self._take_window(attempt, part)
        record = attempt.record
        if attempt.agent.provider:
            self.providers.add(attempt.agent.provider)
        if attempt.llm.system:
            self.systems.update(attempt.llm.system.split(","))
        if record.calls or record.runs:
            self.cost_sources.add(attempt.llm.cost.source)
        self.replay_modes.add(record.replay_mode)
        if attempt.tools.names is not None:
            self.tools_known = True
            self.tools.update(attempt.tools.names)
        if attempt.standing.scored and record.scores:
            self._take_scores(record)
        for call in record.calls:
            self.prices_used = self.prices_used or call.cost is not None
            if call.role == "agent":
                self._take_call(call, live=not is_replayed(record, call))
        self.gpu_uuids.update(record.gpu_uuids or ())

    def _take_window(self, attempt: Attempt, part: int) -> None:
        start, end = attempt.root.start_ns, attempt.root.end_ns
        first, last = self.windows.get(part, (start, end))
        self.windows[part] = (min(start, first), max(end, last))

    def _take_scores(self, record: CaseRecord) -> None:
        for name, score in record.scores.items():
            value = score.get("value")
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self.scores[name].append(value)

    def _take_call(self, call: LLMCall, *, live: bool) -> None:
        for setting, value in (
            (self.temperature, call.temperature),
            (self.top_p, call.top_p),
            (self.max_tokens, call.max_tokens),
        ):
            if value is not None:
                setting[value] += 1  # type: ignore[index]
        labels = Labels(call.model, call.provider, call.operation)
        self.requests[labels] += 1
        if call.error_type is not None:
            self.errors[Labels(operation=call.operation, error_type=call.error_type)] += 1
        for kind, tokens in token_kinds(call):
            self.tokens[Labels(call.model, call.provider, token_type=kind)] += tokens
        if live:
            self.duration_s[labels].append(call.duration_ms / 1000)
            self._take_stream(call)

    def _take_stream(self, call: LLMCall) -> None:
        if call.ttft_s is not None:
            self.ttft_s.append(call.ttft_s)
        gaps = stream_gaps(call)
        if gaps is not None:
            self.stream_s.append(gaps[0])
            self.gaps += gaps[1]
            self.tbt_s.append(gaps[0] / gaps[1])


def token_kinds(call: LLMCall) -> tuple[tuple[str, int], ...]:
    """Return the known token counts of a call with their names."""
    counts = (("prompt", call.prompt_tokens), ("completion", call.completion_tokens))
    return tuple((kind, tokens) for kind, tokens in counts if tokens is not None)
