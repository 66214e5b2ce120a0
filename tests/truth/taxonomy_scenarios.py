"""One scripted scenario or more for each row of the error taxonomy of the field contract.

`TAXONOMY` and every expectation are written down from the contract, not taken from the package.
A scenario is the body of one test, what the server answers to it, and what its row must say.
"""

from __future__ import annotations

import importlib.util
import textwrap
from dataclasses import dataclass, replace
from typing import Any

from huggingface_hub import errors as hub

from tests.truth import scripted_server as ss

HTTPX = hub.HTTPError.__module__.partition(".")[0]
"""The HTTP library of the clients: httpx, or its successor under another name."""
HTTPCORE = HTTPX.replace("httpx", "httpcore")
STATUS_ERRORS = {
    400: "openai.BadRequestError",
    401: "openai.AuthenticationError",
    403: "openai.PermissionDeniedError",
    404: "openai.NotFoundError",
    408: "openai.APIStatusError",
    409: "openai.ConflictError",
    413: "openai.APIStatusError",
    422: "openai.UnprocessableEntityError",
    429: "openai.RateLimitError",
}
"""HTTP status -> what the client raises; 5xx is another one."""

AGENT, TOOL, TIMEOUT, BUDGET = "agent", "tool", "timeout", "budget"
INFRA, JUDGE, HARNESS = "infra", "judge", "harness"
TAXONOMY = {
    "wrong_answer": AGENT,
    "wrong_tool": AGENT,
    "no_answer": AGENT,
    "score_below_threshold": AGENT,
    "assertion": AGENT,
    "max_steps": AGENT,
    "parse_error": AGENT,
    "code_error": AGENT,
    "tool_not_found": AGENT,
    "tool_arguments": AGENT,
    "context_length": AGENT,
    "tool_error": TOOL,
    "tool_timeout": TOOL,
    "timeout": TIMEOUT,
    "budget_cost": BUDGET,
    "budget_tokens": BUDGET,
    "budget_steps": BUDGET,
    "llm_auth": INFRA,
    "llm_rate_limit": INFRA,
    "llm_server_error": INFRA,
    "llm_timeout": INFRA,
    "llm_connection": INFRA,
    "llm_bad_request": INFRA,
    "content_filter": INFRA,
    "llm_error": INFRA,
    "mcp_unavailable": INFRA,
    "gpu_oom": INFRA,
    "missing_dependency": INFRA,
    "judge_error": JUDGE,
    "setup_error": HARNESS,
    "teardown_error": HARNESS,
    "test_error": HARNESS,
    "worker_crash": HARNESS,
    "interrupted": HARNESS,
    "replay_miss": HARNESS,
    "config_error": HARNESS,
}
SCORED = {AGENT, TOOL, TIMEOUT, BUDGET}

HEADER = '''
import json
import os
import signal
import time

import pytest
from openai import OpenAI
from smolagents import CodeAgent, InferenceClientModel, LiteLLMModel, Model, OpenAIModel
from smolagents import ToolCallingAgent, tool

SERVER = @URL@
NO_RETRIES = {"max_retries": 0}


class Refused(Exception):
    status_code = 503


@tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: First number.
        b: Second number.
    """
    return a + b


@tool
def broken(kind: str) -> str:
    """Fail.

    Args:
        kind: How to fail.
    """
    if kind == "import":
        import no_such_package
    if kind == "memory":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    raise {"value": ValueError, "net": ConnectionError, "status": Refused}[kind]("the tool fails")


@tool
def sleepy(seconds: float) -> str:
    """Sleep.

    Args:
        seconds: How long.
    """
    time.sleep(seconds)
    return "awake"


@tool
def ask(question: str) -> str:
    """Ask a model without smolagents.

    Args:
        question: What to ask.
    """
    messages = [{"role": "user", "content": question}]
    with OpenAI(base_url=SERVER, api_key="none", max_retries=0) as client:
        done = client.chat.completions.create(model="scripted-model", messages=messages)
    return done.choices[0].message.content


def elsewhere(url, **kwargs):
    """A model of another server."""
    options = NO_RETRIES | kwargs
    return OpenAIModel("scripted-model", api_base=url, api_key="none", client_kwargs=options)


def of_the_hub(**kwargs):
    """The model with the Hub's client."""
    options = {"api_key": "none", "retry": False, **kwargs}
    return InferenceClientModel(model_id=None, base_url=SERVER, **options)


def of_litellm():
    """The model with LiteLLM's client."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    options = {"api_key": "none", "retry": False, "num_retries": 0, "max_retries": 0}
    return LiteLLMModel("openai/scripted-model", api_base=SERVER, **options)


def helper(model, kind=ToolCallingAgent):
    return kind(tools=[add], model=model, name="helper", description="Helps.", verbosity_level=0)
'''
"""What every generated test module begins with; @URL@ is the server's address."""

PROMPT = "Do it. [[case:@]]"
RUN = "smoltrace_agent(tools=[add]).run(PROMPT)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Scenario:
    """One case and everything that its row, its session and the server's log must say."""

    name: str
    error_type: str | None
    body: str = RUN
    replies: tuple[ss.Reply, ...] = ()
    """What the server answers to the requests of the case, in order."""
    marks: str = ""
    """Keywords of the marker beside the id."""
    fixtures: str = "smoltrace_agent"
    above: str = ""
    """Module code before the test, e.g. decorators and fixtures."""
    options: tuple[str, ...] = ()
    outcome: str = "failed"
    exception: str | None = None
    status: int | None = None
    stop: str | None = None
    exit_code: int = 1
    """Exit code of a session that runs this case alone."""
    calls: int | None = 0
    """LLM calls on the agent's account."""
    others: int = 0
    """LLM calls of judges, simulators and fixtures."""
    unserved: int = 0
    """Calls whose request reached no server."""
    retries: int = 0
    statuses: tuple[int | None, ...] = ()
    """HTTP statuses that the server sent, in order; None where the connection ended before."""
    steps: int | None = None
    step_errors: int | None = None
    failed_tools: int | None = 0
    rejected: int | None = None
    lines: tuple[str, ...] = ()
    """Further lines of the terminal summary."""
    requires: str | None = None
    """Package without which the scenario cannot run."""
    alone: bool = False
    """True when it ends its session or needs one of its own."""

    @property
    def category(self) -> str | None:
        """Return the category of the contract."""
        return TAXONOMY[self.error_type] if self.error_type else None

    @property
    def scored(self) -> bool:
        """Return whether the row says something about the agent."""
        if self.outcome in ("skipped", "interrupted"):
            return False
        return self.category is None or self.category in SCORED

    def source(self) -> str:
        """Return the test function."""
        ident = self.name.replace("-", "_")
        marks = f'id="{self.name}"' + (f", {self.marks}" if self.marks else "")
        body = self.body.replace("PROMPT", repr(PROMPT)).replace("@", self.name)
        return (
            f"{textwrap.dedent(self.above).strip()}\n@pytest.mark.smoltrace({marks})\n"
            f"def test_{ident}({self.fixtures}):\n"
            f"{textwrap.indent(textwrap.dedent(body).strip(), '    ')}\n\n\n"
        )

    def script(self) -> tuple[ss.Reply, ...]:
        """Return the replies, those that make the agent ask again with the case's marker."""
        return tuple(_named(reply, self.name) for reply in self.replies)


def _named(reply: ss.Reply, name: str) -> ss.Reply:
    calls = [
        replace(call, arguments={key: _text(value, name) for key, value in call.arguments.items()})
        for call in reply.tool_calls
    ]
    return replace(reply, content=_text(reply.content, name), tool_calls=tuple(calls))


def _text(value: Any, name: str) -> Any:
    return value.replace("@", name) if isinstance(value, str) else value


def refused(name: str, error_type: str, sent: int, **more: object) -> Scenario:
    """Return a scenario in which the server answers the agent's first request with an error."""
    body = more.pop("error_body", None)
    reply = ss.Reply(status=sent, error_body=body)  # type: ignore[arg-type]
    values = {
        "replies": (reply,),
        "exception": STATUS_ERRORS.get(sent, "openai.InternalServerError"),
        "status": sent,
        "stop": "error",
        "calls": 1,
        "statuses": (sent,),
        "steps": 1,
        "step_errors": 0,
        "rejected": 0,
    }
    return Scenario(name=name, error_type=error_type, **{**values, **more})  # type: ignore[arg-type]


def answered(name: str, error_type: str | None, answer: object = "5", **more: object) -> Scenario:
    """Return a scenario in which the agent answers at once."""
    values = {
        "replies": (ss.final_answer(answer),),
        "stop": "final_answer",
        "calls": 1,
        "statuses": (200,),
        "steps": 1,
        "step_errors": 0,
        "rejected": 0,
    }
    return Scenario(name=name, error_type=error_type, **{**values, **more})  # type: ignore[arg-type]


def spent(name: str, error_type: str, first: ss.Reply, **more: object) -> Scenario:
    """Return a scenario in which the agent's only step fails and smolagents asks for a summary."""
    inner = more.pop("inner", None)
    replies = (first, *([inner] if isinstance(inner, ss.Reply) else []), ss.text("I gave up."))
    values = {
        "body": "smoltrace_agent(tools=[add, broken, sleepy, ask]).run(PROMPT)",
        "marks": "max_steps=1",
        "replies": replies,
        "stop": "max_steps",
        "calls": len(replies),
        "statuses": tuple(reply.status for reply in replies),
        "steps": 1,
        "step_errors": 1,
        "rejected": 0,
    }
    return Scenario(name=name, error_type=error_type, **{**values, **more})  # type: ignore[arg-type]


def coded(name: str, error_type: str, source: str, **more: object) -> Scenario:
    """Return a scenario in which the only step of a CodeAgent fails."""
    more = {"marks": 'max_steps=1, agent_type="code"', **more}
    return spent(name, error_type, ss.code(source), **more)


def recovered(name: str, *first: ss.Reply, **more: object) -> Scenario:
    """Return a scenario in which the agent gets over an error and answers."""
    served = len(first) + 1
    values = {
        "body": "assert smoltrace_agent(tools=[add, broken]).run(PROMPT) == '5'",
        "replies": (*first, ss.final_answer("5")),
        "outcome": "passed",
        "exit_code": 0,
        "stop": "final_answer",
        "calls": served,
        "statuses": (200,) * served,
        "steps": served,
        "step_errors": 1,
        "rejected": 0,
    }
    return Scenario(name=name, error_type=None, **{**values, **more})  # type: ignore[arg-type]


def unreachable(name: str, body: str, exception: str, **more: object) -> Scenario:
    """Return a scenario whose request reaches no server."""
    agent = f"model = {body}\nsmoltrace_agent(model=model).run(PROMPT)"
    values = {
        "body": agent,
        "exception": exception,
        "stop": "error",
        "calls": 1,
        "unserved": 1,
        "steps": 1,
        "step_errors": 0,
        "rejected": 0,
    }
    return Scenario(name=name, error_type="llm_connection", **{**values, **more})  # type: ignore[arg-type]


TOO_LONG = ss.error_json("This model's maximum context length is 4096 tokens.", "invalid", "x")
LLAMA_TOO_LONG = ss.error_json("the request is too large", "exceed_context_size_error")
FILTERED = ss.error_json("The response was filtered", "invalid", "content_filter")
NO_CHOICES = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": []}
LIMITED_LATE = ss.error_json("slow down", "rate_limit", "rate_limit_exceeded")
SILENT = ss.Reply(content=None, finish_reason="content_filter")
GO = ss.tool_call("helper", {"task": "Go. [[case:@]]"})
FAILING_TOOL = ss.tool_call("broken", {"kind": "value"})

VERDICTS = (
    answered("wrong-answer", "wrong_answer", "7", marks='expected_keywords="42"'),
    answered(
        "wrong-answer-by-check",
        "wrong_answer",
        "7",
        body=RUN + "\nsmoltrace_case.check(number=42)",
        fixtures="smoltrace_agent, smoltrace_case",
        exception="pytest_smoltrace.errors.CheckFailed",
    ),
    answered("wrong-tool", "wrong_tool", marks='expected_tool="add"'),
    answered("no-answer", "no_answer", ""),
    answered(
        "score-below-threshold",
        "score_below_threshold",
        body=RUN + '\nsmoltrace_case.score("f1", 0.2, threshold=0.5)',
        fixtures="smoltrace_agent, smoltrace_case",
        exception="pytest_smoltrace.errors.CheckFailed",
    ),
    answered("assertion", "assertion", body=f"assert {RUN} == '8'", exception="AssertionError"),
    answered(
        "assertion-by-pytest-fail",
        "assertion",
        body=f'pytest.fail("not " + {RUN})',
        exception="Failed",
    ),
)

STEPS = (
    spent("max-steps", "max_steps", ss.tool_call("add", {"a": 1, "b": 2}), step_errors=0),
    spent("parse-error", "parse_error", ss.text("I think it is 5."), exception="IndexError"),
    spent(
        "parse-error-of-code",
        "parse_error",
        ss.text("I think it is 5."),
        marks='max_steps=1, agent_type="code"',
        exception="ValueError",
    ),
    coded("code-error", "code_error", "1 / 0", exception="ZeroDivisionError"),
    coded(
        "code-error-forbidden-import",
        "code_error",
        "import subprocess",
        exception="smolagents.local_python_executor.InterpreterError",
    ),
    coded(
        "code-error-invented-module",
        "code_error",
        "import no_such_package",
        body='smoltrace_agent(additional_authorized_imports=["*"]).run(PROMPT)',
        exception="ModuleNotFoundError",
    ),
    coded(
        "code-error-unknown-function",
        "code_error",
        "subtract(3, 2)",
        exception="smolagents.local_python_executor.InterpreterError",
    ),
    spent(
        "tool-not-found",
        "tool_not_found",
        ss.tool_call("subtract", {"a": 3, "b": 2}),
        exception="smolagents.utils.AgentToolExecutionError",
        rejected=1,
    ),
    spent(
        "tool-arguments",
        "tool_arguments",
        ss.tool_call("add", {"a": 1, "c": 2}),
        exception="ValueError",
        rejected=1,
    ),
    coded(
        "tool-arguments-in-code",
        "tool_arguments",
        "add(1, c=2)",
        exception="TypeError",
        failed_tools=1,
    ),
    refused("context-length", "context_length", 400, error_body=TOO_LONG),
    refused("context-length-413", "context_length", 413, error_body=TOO_LONG),
    refused("context-length-by-type", "context_length", 400, error_body=LLAMA_TOO_LONG),
)

TOOLS = (
    spent("tool-error", "tool_error", FAILING_TOOL, exception="ValueError", failed_tools=1),
    coded(
        "tool-error-in-code",
        "tool_error",
        'broken("value")',
        exception="ValueError",
        failed_tools=1,
    ),
    spent(
        "tool-error-of-a-connection",
        "tool_error",
        ss.tool_call("broken", {"kind": "net"}),
        exception="ConnectionError",
        failed_tools=1,
    ),
    spent(
        "tool-error-of-a-service",
        "tool_error",
        ss.tool_call("broken", {"kind": "status"}),
        exception="test_generated.Refused",
        status=503,
        failed_tools=1,
    ),
    spent(
        "tool-timeout",
        "tool_timeout",
        ss.tool_call("sleepy", {"seconds": 20}),
        exception="pytest_smoltrace.errors.ToolTimeout",
        options=("--smoltrace-tool-timeout=0.4",),
        failed_tools=1,
    ),
    coded(
        "tool-timeout-in-code",
        "tool_timeout",
        "sleepy(20)",
        exception="pytest_smoltrace.errors.ToolTimeout",
        options=("--smoltrace-tool-timeout=0.4",),
        failed_tools=1,
    ),
)

LIMITS = (
    answered(
        "timeout",
        "timeout",
        body="smoltrace_agent(tools=[sleepy]).run(PROMPT)",
        marks="timeout=0.5",
        replies=(ss.tool_call("sleepy", {"seconds": 20}),),
        stop="timeout",
    ),
    answered(
        "timeout-by-option",
        "timeout",
        replies=(ss.final_answer("5", hang_s=20),),
        options=("--smoltrace-case-timeout=0.5",),
        stop="timeout",
        statuses=(None,),
    ),
    answered(
        "budget-cost",
        "budget_cost",
        marks="max_cost=0.0001",
        replies=(ss.tool_call("add", {"a": 1, "b": 2}),),
        stop="budget",
        steps=1,
    ),
    answered(
        "budget-tokens",
        "budget_tokens",
        marks="max_tokens=12",
        replies=(ss.tool_call("add", {"a": 1, "b": 2}),),
        stop="budget",
        steps=1,
    ),
    answered(
        "budget-steps",
        "budget_steps",
        marks="max_total_steps=1",
        replies=(ss.tool_call("add", {"a": 1, "b": 2}),),
        stop="budget",
        steps=1,
    ),
)

MODEL = (
    refused("llm-auth-401", "llm_auth", 401, alone=True, lines=("the model refused the first",)),
    refused("llm-auth-403", "llm_auth", 403, alone=True, lines=("the model refused the first",)),
    Scenario(
        name="llm-auth-no-key",
        error_type="llm_auth",
        body='OpenAIModel("scripted-model")',
        exception="openai.OpenAIError",
    ),
    refused("llm-rate-limit", "llm_rate_limit", 429),
    refused(
        "llm-rate-limit-unstreamed",
        "llm_rate_limit",
        429,
        options=("--smoltrace-no-stream",),
    ),
    refused("llm-server-error", "llm_server_error", 500),
    refused("llm-server-error-502", "llm_server_error", 502),
    refused("llm-server-error-529", "llm_server_error", 529),
    refused(
        "llm-server-error-retried",
        "llm_server_error",
        500,
        body="smoltrace_agent(model=elsewhere(SERVER, max_retries=1)).run(PROMPT)",
        replies=(ss.Reply(status=500),) * 2,
        retries=1,
        statuses=(500, 500),
    ),
    refused(
        "llm-server-error-in-code",
        "llm_server_error",
        500,
        marks='agent_type="code"',
    ),
    refused(
        "llm-server-error-of-a-bare-call",
        "llm_server_error",
        500,
        body='smoltrace_model.generate([{"role": "user", "content": PROMPT}])',
        fixtures="smoltrace_model",
        stop=None,
        steps=None,
        step_errors=None,
        rejected=None,
    ),
    refused("llm-timeout-408", "llm_timeout", 408),
    refused("llm-timeout-504", "llm_timeout", 504),
    refused(
        "llm-timeout-of-the-client",
        "llm_timeout",
        200,
        replies=(ss.final_answer("5", hang_s=20),),
        body="smoltrace_agent(model=elsewhere(SERVER, timeout=0.3)).run(PROMPT)",
        exception=f"{HTTPCORE}.ReadTimeout",
        status=None,
        statuses=(None,),
    ),
    refused(
        "llm-timeout-of-the-request",
        "llm_timeout",
        200,
        replies=(ss.final_answer("5", hang_s=20),),
        options=("--smoltrace-request-timeout=0.4",),
        exception="pytest_smoltrace.errors.RequestTimeout",
        status=None,
        statuses=(None,),
    ),
    refused(
        "llm-timeout-of-a-stalled-stream",
        "llm_timeout",
        200,
        replies=(ss.text("one two", chunks=2, between_chunks_s=20),),
        body="smoltrace_agent(model=elsewhere(SERVER, timeout=0.3)).run(PROMPT)",
        exception="TimeoutError",
        status=None,
    ),
    unreachable(
        "llm-connection-refused", 'elsewhere("http://127.0.0.1:9/v1")', f"{HTTPCORE}.ConnectError"
    ),
    unreachable(
        "llm-connection-dns", 'elsewhere("http://nobody.invalid/v1")', f"{HTTPCORE}.ConnectError"
    ),
    unreachable(
        "llm-connection-tls",
        'elsewhere(SERVER.replace("http:", "https:"))',
        f"{HTTPCORE}.ConnectError",
    ),
    refused(
        "llm-connection-reset",
        "llm_connection",
        200,
        replies=(ss.text("one two three four", chunks=4, drop=True),),
        exception="h11._util.RemoteProtocolError",
        status=None,
    ),
    refused(
        "llm-connection-closed",
        "llm_connection",
        200,
        replies=(ss.Reply(close=True),),
        exception=f"{HTTPCORE}.RemoteProtocolError",
        status=None,
        statuses=(None,),
    ),
    refused("llm-bad-request-400", "llm_bad_request", 400),
    refused("llm-bad-request-404", "llm_bad_request", 404),
    refused("llm-bad-request-409", "llm_bad_request", 409),
    refused("llm-bad-request-413", "llm_bad_request", 413),
    refused("llm-bad-request-422", "llm_bad_request", 422),
    refused("content-filter-400", "content_filter", 400, error_body=FILTERED),
    spent("content-filter-of-the-answer", "content_filter", SILENT),
    spent(
        "content-filter-unstreamed",
        "content_filter",
        SILENT,
        options=("--smoltrace-no-stream",),
    ),
    refused(
        "llm-error",
        "llm_error",
        200,
        replies=(ss.Reply(body=NO_CHOICES),),
        options=("--smoltrace-no-stream",),
        exception="IndexError",
        status=None,
    ),
    refused(
        "llm-error-of-an-own-model",
        "llm_error",
        200,
        above="class Own(Model):\n    def generate(self, messages, **kwargs):\n"
        '        raise LookupError("no such prompt")',
        body='smoltrace_agent(model=Own(model_id="own")).run("Do it.")',
        replies=(),
        exception="LookupError",
        status=None,
        statuses=(),
        unserved=1,
    ),
    refused(
        "llm-rate-limit-in-the-stream",
        "llm_rate_limit",
        200,
        replies=(ss.text("one two three", chunks=3, stream_error=LIMITED_LATE),),
        exception="openai.APIError",
        status=None,
    ),
)

HUB = "smoltrace_agent(model=of_the_hub()).run(PROMPT)"
LITELLM = "smoltrace_agent(model=of_litellm(), stream_outputs=False).run(PROMPT)"

CLIENTS = (
    refused(
        "hub-client-rate-limit",
        "llm_rate_limit",
        429,
        body=HUB,
        exception=f"{HTTPX}.HTTPStatusError",
    ),
    refused(
        "hub-client-context-length",
        "context_length",
        400,
        error_body=TOO_LONG,
        body=HUB,
        exception=f"{HTTPX}.HTTPStatusError",
    ),
    refused(
        "hub-client-timeout",
        "llm_timeout",
        200,
        replies=(ss.final_answer("5", hang_s=20),),
        body="smoltrace_agent(model=of_the_hub(timeout=0.3)).run(PROMPT)",
        exception=f"{HTTPCORE}.ReadTimeout",
        status=None,
        statuses=(None,),
    ),
    refused("litellm-rate-limit", "llm_rate_limit", 429, body=LITELLM, requires="litellm"),
    refused("litellm-server-error", "llm_server_error", 529, body=LITELLM, requires="litellm"),
    refused(
        "litellm-context-length",
        "context_length",
        400,
        error_body=TOO_LONG,
        body=LITELLM,
        requires="litellm",
    ),
    refused(
        "litellm-connection-closed",
        "llm_connection",
        200,
        replies=(ss.Reply(close=True),),
        body=LITELLM,
        exception="httpcore.RemoteProtocolError",
        status=None,
        statuses=(None,),
        requires="litellm",
    ),
    refused(
        "litellm-error",
        "llm_error",
        200,
        replies=(ss.Reply(body={"id": "x"}),),
        body=LITELLM,
        exception="litellm.exceptions.APIError",
        status=None,
        requires="litellm",
    ),
)

WRAPPED = (
    spent(
        "llm-in-a-tool",
        "llm_rate_limit",
        ss.tool_call("ask", {"question": "[[case:@]]"}),
        inner=ss.Reply(status=429),
        exception="openai.RateLimitError",
        status=429,
        failed_tools=1,
    ),
    coded(
        "llm-in-a-tool-of-code",
        "llm_server_error",
        'ask("[[case:@]]")',
        inner=ss.Reply(status=500),
        exception="openai.InternalServerError",
        status=500,
        failed_tools=1,
    ),
    spent(
        "llm-of-a-managed-agent",
        "llm_server_error",
        GO,
        inner=ss.Reply(status=503),
        body="smoltrace_agent(managed_agents=[helper(smoltrace_model)]).run(PROMPT)",
        fixtures="smoltrace_agent, smoltrace_model",
        exception="openai.InternalServerError",
        status=503,
    ),
    coded(
        "llm-of-a-managed-code-agent",
        "llm_rate_limit",
        'helper("Go. [[case:@]]")',
        inner=ss.Reply(status=429),
        body="smoltrace_agent(managed_agents=[helper(smoltrace_model)]).run(PROMPT)",
        fixtures="smoltrace_agent, smoltrace_model",
        exception="openai.RateLimitError",
        status=429,
    ),
    refused(
        "llm-through-pytest-fail",
        "llm_rate_limit",
        429,
        body=f'try:\n    {RUN}\nexcept Exception as error:\n    pytest.fail(f"no: {{error}}")',
    ),
    refused(
        "llm-swallowed-without-an-answer",
        "llm_rate_limit",
        429,
        body=f"try:\n    {RUN}\nexcept Exception:\n    pass",
    ),
    refused(
        "llm-in-a-fixture",
        "llm_server_error",
        500,
        above="""
            @pytest.fixture
            def asked(smoltrace_model):
                prompt = "[[case:llm-in-a-fixture]]"
                return smoltrace_model.generate([{"role": "user", "content": prompt}])
            """,
        body="assert asked",
        fixtures="asked",
        outcome="error",
        stop=None,
        calls=0,
        others=1,
        steps=None,
        step_errors=None,
        rejected=None,
    ),
)

ENVIRONMENT = (
    Scenario(
        name="gpu-oom",
        error_type="gpu_oom",
        above="""
            class OutOfMemoryError(RuntimeError):
                pass

            class Local(Model):
                def generate(self, messages, **kwargs):
                    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            """,
        body='smoltrace_agent(model=Local(model_id="own")).run("Do it.")',
        exception="test_generated.OutOfMemoryError",
        stop="error",
        calls=1,
        unserved=1,
        steps=1,
        step_errors=0,
        rejected=0,
    ),
    spent(
        "gpu-oom-in-a-tool",
        "gpu_oom",
        ss.tool_call("broken", {"kind": "memory"}),
        exception="RuntimeError",
        failed_tools=1,
    ),
    Scenario(
        name="missing-dependency",
        error_type="missing_dependency",
        body="import no_such_package",
        exception="ModuleNotFoundError",
    ),
    Scenario(
        name="missing-dependency-of-a-fixture",
        error_type="missing_dependency",
        above="@pytest.fixture\ndef package():\n    import no_such_package",
        body="assert package",
        fixtures="package",
        outcome="error",
        exception="ModuleNotFoundError",
    ),
    spent(
        "missing-dependency-of-a-tool",
        "missing_dependency",
        ss.tool_call("broken", {"kind": "import"}),
        exception="ModuleNotFoundError",
        failed_tools=1,
    ),
    coded(
        "missing-dependency-of-a-tool-in-code",
        "missing_dependency",
        'broken("import")',
        exception="ModuleNotFoundError",
        failed_tools=1,
    ),
    Scenario(
        name="missing-dependency-of-generated-code",
        error_type="missing_dependency",
        body='smoltrace_agent(additional_authorized_imports=["no_such_package"]).run("Do it.")',
        marks='agent_type="code"',
        exception="smolagents.local_python_executor.InterpreterError",
    ),
)

JUDGED = """with smoltrace_case.judge():
    said = smoltrace_model.generate([{"role": "user", "content": "[[case:@]]"}])
"""
JUDGE_FIXTURES = "smoltrace_agent, smoltrace_model, smoltrace_case"

JUDGES = (
    answered(
        "judge-error",
        "judge_error",
        body=f"{RUN}\n{JUDGED}",
        fixtures=JUDGE_FIXTURES,
        replies=(ss.final_answer("5"), ss.Reply(status=500)),
        exception="openai.InternalServerError",
        status=500,
        others=1,
        statuses=(200, 500),
    ),
    answered(
        "judge-error-unparsable",
        "judge_error",
        body=f'{RUN}\n{JUDGED}    assert json.loads(said.content)["good"]',
        fixtures=JUDGE_FIXTURES,
        replies=(ss.final_answer("5"), ss.text("well, hm")),
        exception="json.decoder.JSONDecodeError",
        others=1,
        statuses=(200, 200),
    ),
    answered(
        "judge-says-no",
        "assertion",
        body=f'{RUN}\n{JUDGED}    assert json.loads(said.content)["good"]',
        fixtures=JUDGE_FIXTURES,
        replies=(ss.final_answer("5"), ss.text('{"good": false}')),
        exception="AssertionError",
        others=1,
        statuses=(200, 200),
    ),
)

HARNESS_ERRORS = (
    Scenario(
        name="setup-error",
        error_type="setup_error",
        above="@pytest.fixture\ndef database():\n    raise OSError('no database')",
        body="assert database",
        fixtures="database",
        outcome="error",
        exception="OSError",
    ),
    answered(
        "teardown-error",
        "teardown_error",
        above="@pytest.fixture\ndef cleaned():\n    yield\n    raise OSError('cannot clean up')",
        fixtures="smoltrace_agent, cleaned",
        outcome="error",
        exception="OSError",
    ),
    answered("test-error", "test_error", body=f"{RUN}\n1 / 0", exception="ZeroDivisionError"),
    Scenario(
        name="worker-crash",
        error_type="worker_crash",
        body=f"{RUN}\nos.kill(os.getpid(), signal.SIGKILL)",
        replies=(ss.final_answer("5"),),
        options=("-n", "1"),
        outcome="crashed",
        calls=None,
        statuses=(200,),
        failed_tools=None,
        alone=True,
    ),
    answered(
        "interrupted",
        "interrupted",
        body=f"{RUN}\nraise KeyboardInterrupt",
        outcome="interrupted",
        exit_code=2,
        lines=("incomplete",),
        alone=True,
    ),
    Scenario(
        name="config-error",
        error_type="config_error",
        body="assert smoltrace_model",
        fixtures="smoltrace_model",
        options=('--smoltrace-model-arg=client_kwargs={"nonsense": 1}',),
        outcome="error",
        exception="TypeError",
        alone=True,
    ),
)

RECOVERED = (
    recovered("recovered-tool-error", FAILING_TOOL, failed_tools=1),
    recovered("recovered-tool-not-found", ss.tool_call("subtract", {"a": 3, "b": 2}), rejected=1),
    recovered("recovered-tool-arguments", ss.tool_call("add", {"c": 3}), rejected=1),
    recovered("recovered-parse-error", ss.text("I think it is 5.")),
    recovered(
        "recovered-parse-error-of-code",
        ss.text("I think it is 5."),
        marks='agent_type="code"',
        replies=(ss.text("I think it is 5."), ss.code('final_answer("5")')),
    ),
    recovered(
        "recovered-code-error",
        marks='agent_type="code"',
        replies=(ss.code("1 / 0"), ss.code('final_answer("5")')),
        calls=2,
        statuses=(200, 200),
        steps=2,
    ),
    recovered("recovered-content-filter", SILENT),
    recovered(
        "recovered-llm-error",
        body=f"""
            with pytest.raises(Exception, match="scripted error"):
                {RUN}
            assert smoltrace_agent().run("Again. [[case:@]]") == "5"
            """,
        replies=(ss.Reply(status=503), ss.final_answer("5")),
        calls=2,
        statuses=(503, 200),
        steps=2,
        step_errors=0,
    ),
    recovered(
        "recovered-managed-agent",
        GO,
        replies=(GO, ss.Reply(status=500), ss.final_answer("5")),
        body="""
            manager = smoltrace_agent(managed_agents=[helper(smoltrace_model)])
            assert manager.run(PROMPT) == "5"
            """,
        fixtures="smoltrace_agent, smoltrace_model",
        calls=3,
        statuses=(200, 500, 200),
    ),
)

OUTCOMES = (
    refused(
        "xfailed",
        "llm_rate_limit",
        429,
        above="@pytest.mark.xfail(strict=False)",
        outcome="xfailed",
        exit_code=0,
    ),
    answered(
        "skipped", None, body=f'{RUN}\npytest.skip("not here")', outcome="skipped", exit_code=0
    ),
)

MCP_SERVER = """
import json
import os
import sys

TOOL = {"name": "look", "inputSchema": {"type": "object", "properties": {}}}
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("method") == "tools/call":
        os._exit(1)
    if "id" not in asked:
        continue
    result = {"tools": [TOOL]}
    if asked["method"] == "initialize":
        result = {
            "protocolVersion": asked["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "dies", "version": "1"},
        }
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""
"""An MCP server that dies when its tool is called."""

MCP_TOOL = f'''
    MCP_SERVER = {MCP_SERVER!r}

    @tool
    def look() -> str:
        """Look around."""
        import asyncio
        import sys

        from mcp import ClientSession, StdioServerParameters
        from mcp.client.stdio import stdio_client

        async def call():
            server = StdioServerParameters(command=sys.executable, args=["-c", MCP_SERVER])
            async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
                await session.initialize()
                return await session.call_tool("look", {{}})

        return str(asyncio.run(call()))
    '''

MCP_CLIENT = f"""
    MCP_SERVER = {MCP_SERVER!r}

    def client():
        import sys

        from mcp import StdioServerParameters
        from smolagents import MCPClient

        server = StdioServerParameters(command=sys.executable, args=["-c", MCP_SERVER])
        limit = {{"connect_timeout": 5}}
        return MCPClient(server, structured_output=False, adapter_kwargs=limit)
    """

MCP = (
    spent(
        "mcp-unavailable",
        "mcp_unavailable",
        ss.tool_call("look", {}),
        above=MCP_TOOL,
        body="smoltrace_agent(tools=[look]).run(PROMPT)",
        exception="@mcp",
        failed_tools=1,
        requires="mcp",
    ),
    Scenario(
        name="mcp-unavailable-from-the-start",
        error_type="mcp_unavailable",
        above=MCP_TOOL.replace("sys.executable", '"/no/such/server"').replace("look(", "start("),
        body="start()",
        fixtures="smoltrace_case",
        exception="FileNotFoundError",
        failed_tools=1,
        requires="mcp",
    ),
    spent(
        "mcp-unavailable-through-smolagents",
        "mcp_unavailable",
        ss.tool_call("look", {}),
        above=MCP_CLIENT,
        body="with client() as tools:\n    smoltrace_agent(tools=tools).run(PROMPT)",
        exception="@mcp",
        failed_tools=1,
        requires="mcpadapt",
    ),
    Scenario(
        name="mcp-unavailable-through-smolagents-from-the-start",
        error_type="mcp_unavailable",
        above=MCP_CLIENT.replace("client(", "nobody(").replace(
            "sys.executable", '"/no/such/server"'
        ),
        body="nobody()",
        fixtures="smoltrace_case",
        exception="TimeoutError",
        requires="mcpadapt",
    ),
)

ALL = (
    *VERDICTS,
    *STEPS,
    *TOOLS,
    *LIMITS,
    *MODEL,
    *CLIENTS,
    *WRAPPED,
    *ENVIRONMENT,
    *JUDGES,
    *HARNESS_ERRORS,
    *RECOVERED,
    *OUTCOMES,
    *MCP,
)
SKIPPED = {"replay_miss": "no cassette can be recorded yet"}


def runnable() -> list[Scenario]:
    """Return the scenarios whose packages are installed."""
    return [one for one in ALL if not one.requires or importlib.util.find_spec(one.requires)]


def of_each_kind() -> list[Scenario]:
    """Return the first scenario of each error type, of each good ending, and all loners."""
    first: dict[str, Scenario] = {}
    for one in ALL:
        first.setdefault(one.error_type or one.outcome, one)
        if one.alone or one.outcome == "xfailed":
            first[one.name] = one
    return list(dict.fromkeys(first.values()))
