"""Runs in memory, whose every fact has a value of its own."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_smoltrace.attempt.agent import agent_totals
from pytest_smoltrace.facts import (
    AgentRun,
    CaseRecord,
    CostParts,
    Declared,
    ErrorFact,
    LLMCall,
    PhaseFact,
    SpanTable,
    ToolCall,
)
from pytest_smoltrace.head import Head
from pytest_smoltrace.session_facts import Footer, Header

START = 1_760_000_000_000_000_000
"""2025-10-09T08:53:20 UTC in nanoseconds."""

HEADER = Header(
    session_id="session-1",
    started_unix_ns=START + 123_456_789,
    plugin_version="9.8.7",
    config={"model": ["openai:m-1"], "temperature": 0.31, "seed": 5, "team": "blue", "notes": "n"},
    environment={
        "hardware": "CPU 3 vCPU",
        "hardware_detail": {
            "cpu_model": "cpu-x",
            "logical_cores": 3,
            "memory_gb": 7.5,
            "os": "os-x",
            "gpus": [],
        },
        "hardware_source": "detected",
        "job_type": "cpu",
        "hf_job_id": "0123456789abcdef01234567",
        "hf_job_flavor": "cpu-basic",
        "python_version": "3.11.7",
        "platform": "Linux-x",
        "package_versions": {"pytest": "9.0.0"},
        "smolagents_version": "1.26.0",
        "genai_otel_version": "1.40.2",
        "git_sha": "a" * 40,
        "git_branch": "main",
        "git_dirty": False,
        "ci": {"system": "ci-x"},
        "random_seed": 77,
    },
    prices_version="prices-1",
    service_name="service-1",
    workers=4,
)

FOOTER = Footer(
    ended_unix_ns=START + 99_000_000_000,
    stop_reason="completed",
    exit_status=1,
    not_applied={"m-1": {"seed": "the provider takes none"}},
)


def call(span_id="000000000000c001", start_ms=1000, **facts) -> LLMCall:
    known = {
        "duration_ms": 400.0,
        "model": "m-1",
        "system": "openai",
        "provider": "litellm",
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "cost": cost(),
        "cost_source": "custom",
        "requests": 1,
    }
    return LLMCall(span_id=span_id, start_unix_ns=START + start_ms * 10**6, **(known | facts))


def cost(prompt=0.01, completion=0.002, reasoning=None, cache_read=None, cache_write=None):
    return CostParts(
        prompt_usd=prompt,
        completion_usd=completion,
        reasoning_usd=reasoning,
        cache_read_usd=cache_read,
        cache_write_usd=cache_write,
    )


def phases(call_outcome="passed", start_s=0.0, call_s=2.5) -> tuple[PhaseFact, ...]:
    shift = int(start_s * 1e9)
    at, mono = START + shift, 5_000_000_000 + shift
    first, last = at + 30_000_000, mono + 30_000_000
    end = int(call_s * 1e9)
    return (
        PhaseFact(when="setup", start_unix_ns=at, start_mono_ns=mono, end_mono_ns=last,
                  outcome="passed"),
        PhaseFact(when="call", start_unix_ns=first, start_mono_ns=last, end_mono_ns=last + end,
                  outcome=call_outcome),
        PhaseFact(when="teardown", start_unix_ns=first + end, start_mono_ns=last + end,
                  end_mono_ns=last + end + 7_000_000, outcome="passed"),
    )  # fmt: skip


def root_spans(start_s=0.0, end_s=3.0, **columns) -> SpanTable:
    table = {
        "span_id": ["00000000000000aa"],
        "parent_id": [None],
        "name": ["case"],
        "kind": ["INTERNAL"],
        "start_unix_ns": [START + int(start_s * 1e9)],
        "end_unix_ns": [START + int(end_s * 1e9)],
        "status": ["UNSET"],
        "description": [None],
        "scope": ["pytest_smoltrace"],
        "attributes": [{}],
        "events": {},
        "links": {},
        "orphans": [],
        "roles": {},
        "strings": [],
    }
    return SpanTable(**(table | columns))


def declared(case_id="case-1", **facts) -> Declared:
    known = {"nodeid": f"test_a.py::test[{case_id}]", "model": "m-1", "agent_type": "tool"}
    return Declared(case_id=case_id, **(known | facts))


def agent_run(**facts) -> AgentRun:
    known = {
        "agent_type": "tool",
        "model": "m-1",
        "provider": "litellm",
        "stop_reason": "final_answer",
        "steps": 2,
        "rejected_tool_calls": 0,
    }
    return AgentRun(**(known | facts))


def record(number=1, outcome="passed", **facts) -> CaseRecord:
    known = {
        "declared": declared(f"case-{number}"),
        "attempt": 0,
        "trace_id": f"{number:032x}",
        "root_span_id": "00000000000000aa",
        "outcome": outcome,
        "error": None if outcome in ("passed", "skipped") else failure(),
        "phases": phases(),
        "runs": (agent_run(),),
        "calls": (call(),),
        "pid": 4321,
        "spans": root_spans(),
    }
    return CaseRecord(**(known | facts))


def failure(kind="wrong_answer", category="agent", **facts) -> ErrorFact:
    return ErrorFact(type=kind, category=category, message="not as expected", **facts)


@dataclass
class FakeRun:
    """A run whose journal is a list."""

    cases: list[CaseRecord]
    planned: tuple[Declared, ...] = ()
    header: Header = HEADER
    footer: Footer | None = FOOTER
    directory: Path = field(default_factory=lambda: Path("runs/dir-1"))
    parts: tuple = ()
    has_samples: bool = False
    gates: object = None

    def part_of(self, place):
        return 0

    def heads(self):
        yield from map(head, self.cases)

    def attempts(self):
        for case in self.cases:
            yield replace(case, spans=None), case.spans


def head(case: CaseRecord) -> Head:
    """Return what the first pass is to know of an attempt."""
    agent = agent_totals(case)
    return Head(
        nodeid=case.declared.nodeid,
        case_id=case.declared.case_id,
        trial=case.declared.trial,
        attempt=case.attempt,
        model=agent.model,
        agent_type=agent.agent_type,
        outcome=case.outcome,
        error_category=case.error.category if case.error else None,
        unplanned=case.declared,
        failed=any(phase.outcome == "failed" for phase in case.phases),
    )


SEARCH = ToolCall(name="search", start_unix_ns=START + 1_500_000_000, duration_ms=120.5)
"""A successful call."""


def rich_record() -> CaseRecord:
    """Return an attempt with a value of its own in every fact."""
    strings = ["a long prompt", '{"role":"user"}', '{"role":"assistant"}', "observation \u2713"]
    return CaseRecord(
        declared=Declared(
            case_id="case-rich",
            nodeid="test_r.py::test[rich-m-1-tool]",
            trial=6,
            trials=9,
            model="declared-model",
            agent_type="code",
            difficulty="hard",
            category="cat-1",
            tags=("zeta", "alpha"),
            prompt="declared prompt",
            expected_tool="search",
            expected_tool_calls=2,
            expected_keywords=("k1",),
            dataset="tasks.jsonl",
            dataset_revision="rev-1",
        ),
        attempt=0,
        trace_id="0af7651916cd43dd8448eb211c80319c",
        root_span_id="b7ad6b7169203331",
        outcome="failed",
        error=ErrorFact(
            type="wrong_answer",
            category="agent",
            message="expected 42,\n  got 41",
            exception_type="pkg.CheckFailed",
            http_status=418,
        ),
        phases=phases("failed"),
        runs=(
            AgentRun(
                agent_type="tool",
                agent_name="top",
                model="m-1",
                provider="litellm",
                prompt="what is it?",
                answer="41",
                stop_reason="final_answer",
                steps=4,
                step_errors=1,
                rejected_tool_calls=6,
                input_tokens=9000,
                output_tokens=800,
            ),
            AgentRun(
                agent_type="code",
                managed=True,
                model="m-2",
                stop_reason="max_steps",
                steps=5,
                step_errors=12,
                rejected_tool_calls=1,
            ),
        ),
        calls=(
            LLMCall(
                span_id="00000000000000c1",
                start_unix_ns=START + 100_000_000,
                duration_ms=410.0,
                model="m-1",
                system="openai",
                provider="litellm",
                temperature=0.3,
                top_p=0.9,
                max_tokens=512,
                frequency_penalty=0.11,
                presence_penalty=0.22,
                response_id="resp-1",
                response_model="m-1-2026",
                finish_reason="tool_calls",
                prompt_tokens=100,
                completion_tokens=21,
                reasoning_tokens=8,
                cache_read_tokens=30,
                cache_write_tokens=12,
                cost=cost(1e-5, 7e-6, 5e-6, 2e-6, 3e-6),
                cost_source="custom",
                ttft_s=0.25,
                stream_s=0.4,
                requests=15,
                tools='[{"b":1,"a":2},{"name":"t2"}]',
            ),
            LLMCall(
                span_id="00000000000000c2",
                role="judge",
                start_unix_ns=START + 900_000_000,
                duration_ms=55.0,
                prompt_tokens=7,
                completion_tokens=3,
                cost=cost(0.5, 0.25),
                cost_source="table",
            ),
            LLMCall(
                span_id="00000000000000c9",
                role="fixture",
                start_unix_ns=START,
                duration_ms=1.0,
                prompt_tokens=0,
                completion_tokens=9,
                cost=cost(0.0, 0.125),
                cost_source="table",
            ),
        ),
        tool_calls=(
            SEARCH,
            ToolCall(name="search", start_unix_ns=START, duration_ms=10.25, failed=True),
            ToolCall(name="calc", start_unix_ns=START, duration_ms=1.0),
        ),
        response_correct=False,
        scores={"exact": {"value": 0.5, "passed": False, "kind": "metric"}},
        extra={"note": "x"},
        tags=("late",),
        worker_id="gw3",
        host="host-1",
        pid=4321,
        truncated=True,
        cpu_s=0.75,
        rss_mib=210.5,
        spans=SpanTable(
            span_id=["b7ad6b7169203331", "00000000000000c1", "00000000000000d1",
                     "00000000000000e1", "00000000000000c2"],
            parent_id=[None, "b7ad6b7169203331", "00000000000000c1", "b7ad6b7169203331",
                       "b7ad6b7169203331"],
            name=["case-rich", "chat m-1", "ChatCompletion", "search", "judge"],
            kind=["INTERNAL", "CLIENT", "CLIENT", "INTERNAL", "INTERNAL"],
            start_unix_ns=[START, START + 10, START + 20, START + 30, START + 40],
            end_unix_ns=[START + 3_000_000_000, START + 1_500_010, START + 19, START + 31,
                         START + 41],
            status=["OK", "UNSET", "OK", "ERROR", "UNSET"],
            description=[None, None, None, "tool broke", None],
            scope=["pytest_smoltrace", "tap", "openinference", "smolagents", "tap"],
            attributes=[
                {},
                {
                    "openinference.span.kind": "LLM",
                    "gen_ai.operation.name": "chat",
                    "gen_ai.response.finish_reasons": ["tool_calls", "stop"],
                    "input.value": {"j": [1, 2]},
                    "output.value": 41,
                    "gen_ai.usage.input_tokens": 100,
                },
                {
                    "openinference.span.kind": "LLM",
                    "gen_ai.system": "litellm",
                    "llm.provider": "Azure",
                    "gen_ai.request.model": "m-1-inner",
                    "gen_ai.response.id": "inner-id",
                    "llm.invocation_parameters": '{"top_p": 0.5, "max_new_tokens": 64}',
                    "gen_ai.usage.input_tokens": 100,
                    "input.value": {"s": 0},
                },
                {
                    "openinference.span.kind": "TOOL",
                    "tool.parameters": '{"q":1}',
                    "output.value": {"s": 3},
                    "error.type": "tool_error",
                    "list": [{"s": 0}, "short"],
                },
                {"gen_ai.operation.name": "chat"},
            ],
            events={"3": [{"name": "exception", "timestamp": START + 31,
                           "attributes": {"exception.message": {"s": 0}}}]},
            links={"1": [{"trace_id": "f" * 32, "span_id": "e" * 16, "attributes": {}}]},
            orphans=[4],
            roles={"4": "judge"},
            strings=strings,
        ),
    )  # fmt: skip
