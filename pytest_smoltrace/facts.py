"""What was observed: frozen values that travel from the test process to the datasets.

Times named `_unix_ns` are wall-clock nanoseconds, times named `_mono_ns` come from
`time.monotonic_ns` of the recording host; the two are never subtracted from each other.
None means unknown everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a case says about itself before it runs."""

    case_id: str
    nodeid: str
    trial: int = 0
    trials: int = 1
    model: str | None = None
    agent_type: str | None = None
    difficulty: str | None = None
    category: str | None = None
    tags: tuple[str, ...] = ()
    prompt: str | None = None
    expected_tool: str | None = None
    expected_tool_calls: int | None = None
    expected_keywords: tuple[str, ...] = ()
    max_steps: int | None = None
    allow_max_steps: bool = False
    timeout_s: float | None = None
    max_cost_usd: float | None = None
    max_tokens: int | None = None
    max_total_steps: int | None = None
    role: str | None = None
    dataset: str | None = None
    dataset_revision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseFact:
    """One executed phase of an attempt."""

    when: str
    """setup, call or teardown."""
    start_unix_ns: int
    start_mono_ns: int
    end_mono_ns: int
    outcome: str
    """passed, failed or skipped, as pytest reported it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFact:
    """Why an attempt did not succeed."""

    type: str
    """Taxonomy value."""
    category: str
    message: str
    exception_type: str | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRun:
    """One `run` of one agent."""

    agent_type: str
    """tool, code or custom."""
    agent_name: str | None = None
    model: str | None = None
    """model_id as the user wrote it."""
    provider: str | None = None
    """Family of the model class, e.g. openai or litellm."""
    managed: bool = False
    prompt: str | None = None
    answer: str | None = None
    """str() of what the run returned."""
    stop_reason: str | None = None
    """final_answer, max_steps, timeout, budget, error or run_stopped."""
    steps: int = 0
    step_errors: int = 0
    rejected_tool_calls: int | None = None
    """None when the memory was not readable."""
    last_error_type: str | None = None
    """Taxonomy value of the last executed step's error, or of what ended the run; None without."""
    last_error: str | None = None
    """One-line message of that error."""
    last_exception_type: str | None = None
    """Qualified class name of its innermost cause."""
    last_http_status: int | None = None
    """HTTP status that it carries."""
    input_tokens: int | None = None
    """Increment of the agent's own total in this run."""
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostParts:
    """Cost of one LLM call in USD; five disjoint parts."""

    prompt_usd: float
    completion_usd: float
    reasoning_usd: float | None
    cache_read_usd: float | None
    cache_write_usd: float | None

    @property
    def total_usd(self) -> float:
        """Sum of the known parts."""
        parts = (self.prompt_usd, self.cache_read_usd, self.cache_write_usd)
        return sum(p or 0.0 for p in (*parts, self.completion_usd, self.reasoning_usd))


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMCall:
    """One counted LLM call: the topmost LLM span of its path to the root."""

    span_id: str
    role: str = "agent"
    """agent, judge, simulator or fixture."""
    start_unix_ns: int
    duration_ms: float
    model: str | None = None
    """Requested model id."""
    system: str | None = None
    """Provider name, lower case."""
    provider: str | None = None
    """Family of the model class, as AgentRun.provider."""
    operation: str = "chat"
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    response_id: str | None = None
    response_model: str | None = None
    finish_reason: str | None = None
    """Finish reason of the first choice."""
    prompt_tokens: int | None = None
    """Cached tokens included."""
    completion_tokens: int | None = None
    """Reasoning tokens included."""
    reasoning_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost: CostParts | None = None
    """None when the call is unpriced or reported no usage."""
    cost_source: str = "unpriced"
    """custom, table, litellm, free or unpriced."""
    ttft_s: float | None = None
    """Request start to first content, reasoning or tool-call chunk; None when not streamed."""
    stream_s: float | None = None
    """First such chunk to the last one; None when not streamed."""
    requests: int | None = None
    """HTTP requests sent for the call; None when the client hides them."""
    error_type: str | None = None
    """Taxonomy value when the call ended with an error."""
    tools: str | None = None
    """JSON array of the tool definitions sent."""
    replayed: bool = False
    """True when a cassette answered; its time and cost are then not real."""

    @property
    def tbt_s(self) -> float | None:
        """Mean time between tokens; None below two completion tokens or unstreamed."""
        gaps = (self.completion_tokens or 0) - 1
        return None if self.stream_s is None or gaps < 1 else self.stream_s / gaps


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One counted tool call: a TOOL span below the call phase, `final_answer` excluded."""

    name: str
    start_unix_ns: int
    duration_ms: float
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanTable:
    """The spans of one trace, ordered by (start, span id), one list a field.

    `attributes[i]` maps names to values; a long text stands once in `strings` and is
    referred to as {"s": index}; a JSON array of texts as {"j": [index, ...]}.
    """

    span_id: list[str]
    parent_id: list[str | None]
    name: list[str]
    kind: list[str]
    start_unix_ns: list[int]
    end_unix_ns: list[int]
    status: list[str]
    description: list[str | None]
    scope: list[str]
    attributes: list[dict[str, Any]]
    events: dict[str, list[dict[str, Any]]]
    """Span index as text -> events {name, timestamp, attributes}; absent when none."""
    links: dict[str, list[dict[str, Any]]]
    orphans: list[int]
    """Indices of spans that were attached by time."""
    roles: dict[str, str]
    """Span index as text -> role; absent means agent."""
    strings: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """Everything known about one attempt of one case; the value of a journal `case` line."""

    declared: Declared
    attempt: int
    trace_id: str
    root_span_id: str
    outcome: str
    """passed, failed, error, skipped, xfailed, xpassed, interrupted or crashed."""
    error: ErrorFact | None
    phases: tuple[PhaseFact, ...]
    runs: tuple[AgentRun, ...] = ()
    calls: tuple[LLMCall, ...] = ()
    tool_calls: tuple[ToolCall, ...] | None = ()
    """None when tracing was off."""
    response_correct: bool | None = None
    """Verdict of the answer checks alone; None when there is none."""
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Score name -> {value, passed, threshold, kind, reason}."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    """Tags added while the case ran."""
    replay_mode: str = "live"
    replayed_calls: int = 0
    worker_id: str = "main"
    host: str | None = None
    pid: int
    complete: bool = True
    """False when the process ended before the root span did."""
    truncated: bool = False
    cpu_s: float | None = None
    """CPU time that the process used during the case."""
    rss_mib: float | None = None
    """Resident memory of the process at the end of the case."""
    ticks: tuple[tuple[int, float, float | None], ...] = ()
    """Monotonic ns, CPU s of the process since the case began and its resident MiB, about each
    second."""
    clock: str | None = None
    """What the monotonic clock of the process is shared with: one start of one machine."""
    gpu_uuids: tuple[str, ...] | None = None
    """GPUs that the process could use, sorted; None without GPU, or when unknown."""
    spans: SpanTable | None
    """None when tracing was off, the process died, or only heads are read."""
