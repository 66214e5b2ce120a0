"""Columns of leaderboard about steps, time, tokens, cost, latency and errors."""

from pytest_smoltrace.schema.columns import Json, column, ours, row, seed, smoltrace
from pytest_smoltrace.schema.leaderboard_verdict import VerdictColumns
from pytest_smoltrace.schema.reductions import Known, Mean, Option, Quantile, Size, Sum, Unknown
from pytest_smoltrace.schema.sources import Path


@row
class SpendColumns(VerdictColumns):
    """What the run took."""

    avg_steps: float = column(
        seed(Mean("steps", rest=0.0), "{step}"),
        "Mean of steps over scored rows where known; 0.0 when steps_known_tests is 0.",
    )
    steps_known_tests: int = column(
        ours(Known("steps"), "{test}"), "Scored rows with non-null steps."
    )
    avg_duration_ms: float = column(
        seed(Mean("execution_time_ms", rest=0.0, over="timed"), "ms"),
        "Mean of execution_time_ms over scored rows with non-null end_time; 0.0 when "
        "duration_known_tests is 0.",
    )
    total_duration_ms: float = column(
        seed(Sum("execution_time_ms", rest=0.0), "ms"),
        "Sum of execution_time_ms over all results rows (reruns included); exceeds wall_time_s "
        "when tests run in parallel.",
    )
    duration_known_tests: int = column(
        ours(Size("timed"), "{test}"), "Scored rows with non-null end_time."
    )
    p50_duration_ms: float | None = column(
        ours(
            Quantile("execution_time_ms", 0.5, over="timed"), "ms", null="duration_known_tests is 0"
        ),
        "50th percentile of execution_time_ms over scored rows with non-null end_time, linear "
        "interpolation (type 7).",
    )
    p95_duration_ms: float | None = column(
        ours(
            Quantile("execution_time_ms", 0.95, over="timed"),
            "ms",
            null="duration_known_tests is 0",
        ),
        "95th percentile of the same population.",
    )
    total_tokens: int = column(
        seed(Sum("gen_ai.usage.total_tokens", rest=0), "{token}"),
        "Sum of known gen_ai.usage.total_tokens over all results rows, complete only when "
        "tokens_unknown_attempts is 0.",
    )
    avg_tokens_per_test: int = column(
        seed(Mean("gen_ai.usage.total_tokens", rest=0, whole=True), "{token}"),
        "Mean of gen_ai.usage.total_tokens over scored rows where known, rounded half to even; 0 "
        "when tokens_known_tests is 0.",
    )
    tokens_known_tests: int = column(
        ours(Known("gen_ai.usage.total_tokens"), "{test}"),
        "Scored rows with non-null gen_ai.usage.total_tokens.",
    )
    tokens_unknown_attempts: int = column(
        ours(Unknown("gen_ai.usage.total_tokens"), "{test}"),
        "Executed attempts (all rows) with null gen_ai.usage.total_tokens.",
    )
    total_prompt_tokens: int | None = column(
        seed(Sum("gen_ai.usage.prompt_tokens"), "{token}", null="known on no row"),
        "Sum of known gen_ai.usage.prompt_tokens over all results rows.",
    )
    total_completion_tokens: int | None = column(
        seed(Sum("gen_ai.usage.completion_tokens"), "{token}", null="known on no row"),
        "Sum of known gen_ai.usage.completion_tokens over all results rows.",
    )
    avg_prompt_tokens: int | None = column(
        seed(
            Mean("gen_ai.usage.prompt_tokens", whole=True), "{token}", null="known on no scored row"
        ),
        "Mean of gen_ai.usage.prompt_tokens over scored rows where known, rounded half to even.",
    )
    avg_completion_tokens: int | None = column(
        seed(
            Mean("gen_ai.usage.completion_tokens", whole=True),
            "{token}",
            null="known on no scored row",
        ),
        "Mean of gen_ai.usage.completion_tokens over scored rows where known, rounded half to "
        "even.",
    )
    total_reasoning_tokens: int | None = column(
        seed(Sum("completion_tokens_details.reasoning_tokens"), "{token}", null="known on no row"),
        "Sum of known completion_tokens_details.reasoning_tokens over all results rows.",
    )
    total_cache_read_tokens: int | None = column(
        seed(Sum("cache_read_input_tokens"), "{token}", null="known on no row"),
        "Sum of known cache_read_input_tokens over all results rows.",
    )
    total_cache_write_tokens: int | None = column(
        seed(Sum("cache_creation_input_tokens"), "{token}", null="known on no row"),
        "Sum of known cache_creation_input_tokens over all results rows.",
    )
    total_cost_usd: float = column(
        seed(Sum("gen_ai.usage.cost.total", rest=0.0), "USD"),
        "Sum of known gen_ai.usage.cost.total over all results rows, complete only when "
        "cost_unknown_attempts is 0; electricity, judge and recorded costs excluded.",
    )
    avg_cost_per_test_usd: float = column(
        seed(Mean("gen_ai.usage.cost.total", rest=0.0), "USD"),
        "Mean of gen_ai.usage.cost.total over scored rows where known; 0.0 when cost_known_tests "
        "is 0.",
    )
    cost_known_tests: int = column(
        ours(Known("gen_ai.usage.cost.total"), "{test}"),
        "Scored rows with non-null gen_ai.usage.cost.total.",
    )
    cost_unknown_attempts: int = column(
        ours(Unknown("gen_ai.usage.cost.total"), "{test}"),
        "Executed attempts (all rows) with null gen_ai.usage.cost.total.",
    )
    cost_source: str = column(
        ours(Path("calls.cost_source")),
        'The one cost_source of the rows with a call, "mixed" when they differ, "no_call" '
        "when there is none.",
    )
    price_table_version: str | None = column(
        ours(Path("calls.price_table_version"), null="no price used"),
        "Date of the price table or sha256 of the custom prices.",
    )
    total_cost_prompt_usd: float | None = column(
        seed(Sum("gen_ai.usage.cost.prompt"), "USD", null="known on no row"),
        "Sum of known gen_ai.usage.cost.prompt over all results rows.",
    )
    total_cost_completion_usd: float | None = column(
        seed(Sum("gen_ai.usage.cost.completion"), "USD", null="known on no row"),
        "Sum of known gen_ai.usage.cost.completion over all results rows.",
    )
    total_cost_reasoning_usd: float | None = column(
        seed(Sum("gen_ai.usage.cost.reasoning"), "USD", null="known on no row"),
        "Sum of known gen_ai.usage.cost.reasoning over all results rows.",
    )
    total_cost_cache_read_usd: float | None = column(
        seed(Sum("gen_ai.usage.cost.cache_read"), "USD", null="known on no row"),
        "Sum of known gen_ai.usage.cost.cache_read over all results rows.",
    )
    total_cost_cache_write_usd: float | None = column(
        seed(Sum("gen_ai.usage.cost.cache_write"), "USD", null="known on no row"),
        "Sum of known gen_ai.usage.cost.cache_write over all results rows.",
    )
    avg_cost_prompt_per_test_usd: float | None = column(
        seed(Mean("gen_ai.usage.cost.prompt"), "USD", null="known on no scored row"),
        "Mean of gen_ai.usage.cost.prompt over scored rows where known.",
    )
    avg_cost_completion_per_test_usd: float | None = column(
        seed(Mean("gen_ai.usage.cost.completion"), "USD", null="known on no scored row"),
        "Mean of gen_ai.usage.cost.completion over scored rows where known.",
    )
    total_non_agent_cost_usd: float | None = column(
        ours(Sum("non_agent_cost_usd"), "USD", null="known on no row"),
        "Sum of known non_agent_cost_usd over all results rows.",
    )
    total_judge_cost_usd: float | None = column(
        ours(Sum("judge_cost_usd"), "USD", null="known on no row"),
        "Sum of known judge_cost_usd over all results rows.",
    )
    avg_ttft_seconds: float | None = column(
        seed(Path("calls.ttft_mean_s"), "s", null="no live streamed call"),
        "Arithmetic mean of time to first chunk over all live streamed agent-role LLM calls of "
        "all results rows (population: calls, not tests).",
    )
    p50_ttft_seconds: float | None = column(
        seed(Path("calls.ttft_p50_s"), "s", null="no live streamed call"),
        "50th percentile of the same calls, linear interpolation (type 7).",
    )
    p95_ttft_seconds: float | None = column(
        seed(Path("calls.ttft_p95_s"), "s", null="no live streamed call"),
        "95th percentile of the same calls.",
    )
    p99_ttft_seconds: float | None = column(
        seed(Path("calls.ttft_p99_s"), "s", null="no live streamed call"),
        "99th percentile of the same calls.",
    )
    avg_tbt_seconds: float | None = column(
        seed(Path("calls.tbt_s"), "s", null="no call with 2 or more completion tokens"),
        "Sum of (last - first chunk time) over sum of (completion tokens - 1) of those calls.",
    )
    streamed_call_count: int = column(
        ours(Path("calls.streamed"), "{call}"), "Size of the population of avg_ttft_seconds."
    )
    llm_call_count: int | None = column(
        ours(Sum("llm_call_count"), "{call}", null="known on no row"),
        "Sum of known llm_call_count over all results rows.",
    )
    common_temperature: float | None = column(
        seed(Path("calls.temperature"), "1", null="no call sent it"),
        "Most frequent value over all agent-role LLM calls that sent one, ties to the smallest.",
    )
    common_top_p: float | None = column(
        seed(Path("calls.top_p"), "1", null="no call sent it"), "As common_temperature, for top_p."
    )
    common_max_tokens: int | None = column(
        seed(Path("calls.max_tokens"), "{token}", null="no call sent it"),
        "As common_temperature, for max_tokens.",
    )
    generation_settings: Json | None = column(
        smoltrace(Path("generation_settings"), null="none requested"),
        "Object {requested, applied, not_applied: name -> reason}.",
    )
    task_timeout_s: float | None = column(
        smoltrace(Option("case_timeout"), "s", null="no limit"), "Default time limit per test."
    )
    request_timeout_s: float | None = column(
        smoltrace(Option("request_timeout"), "s", null="no limit set by us"),
        "Time limit per LLM request.",
    )
    tool_timeout_s: float | None = column(
        smoltrace(Option("tool_timeout"), "s", null="no limit"), "Time limit per tool call."
    )
    total_errors: int = column(
        seed(Size("errors"), "{test}"),
        "Counted completed rows whose error_type is not null and not a verdict type "
        "(wrong_answer, wrong_tool, no_answer, score_below_threshold, assertion), infra included.",
    )
    error_rate: float | None = column(
        seed(Path("rates.error_rate"), "%", null="completed_tests is 0"),
        "100 * total_errors / completed_tests, 0 to 100 like success_rate.",
    )
    error_types: Json = column(
        seed(Path("error_types")),
        "Object error_type -> number over the rows of total_errors, keys sorted, {} when none "
        "(JSON text because the loaders have no map type).",
    )
    scores: Json | None = column(
        ours(Path("scores"), null="no score recorded"),
        "Object score name -> {mean, n} over scored rows with a number.",
    )
    total_tool_calls: int | None = column(
        seed(Sum("tool_call_count"), "{call}", null="known on no row"),
        "Sum of known tool_call_count over all results rows.",
    )
    avg_tool_calls_per_test: float | None = column(
        seed(Mean("tool_call_count"), "{call}", null="known on no scored row"),
        "Mean of tool_call_count over scored rows where known.",
    )
    unique_tools_used: int | None = column(
        seed(Path("tools.unique"), "{tool}", null="tools_used known on no row"),
        "Number of distinct names in tools_used over all results rows.",
    )
    most_used_tool: str | None = column(
        seed(Path("tools.most_used"), null="no tool call, or unknown"),
        "Name with most entries in tools_used over all results rows, ties to the alphabetically "
        "first.",
    )
    failed_tool_calls: int | None = column(
        ours(Sum("failed_tool_calls"), "{call}", null="known on no row"),
        "Sum of known failed_tool_calls over all results rows.",
    )
