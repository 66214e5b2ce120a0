"""The signs by which a failure is known: statuses, class names, codes and phrases, as data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TRANSPORT: Mapping[str, str] = {
    "ConnectTimeout": "llm_connection",
    "ConnectTimeoutError": "llm_connection",
    "ConnectError": "llm_connection",
    "ConnectionError": "llm_connection",
    "ClientConnectionError": "llm_connection",
    "EndpointConnectionError": "llm_connection",
    "NetworkError": "llm_connection",
    "ProxyError": "llm_connection",
    "RemoteProtocolError": "llm_connection",
    "SSLError": "llm_connection",
    "gaierror": "llm_connection",
    "RequestTimeout": "llm_timeout",
    "ReadTimeout": "llm_timeout",
    "ReadTimeoutError": "llm_timeout",
    "ServerTimeoutError": "llm_timeout",
    "TimeoutException": "llm_timeout",
    "Timeout": "llm_timeout",
}
"""Class of an HTTP client or of a socket -> what it means for a model call."""

CATCH_ALL_STATUS = 500
"""Status of an error that litellm made of whatever it met, a response or none."""

STATUS = {
    401: "llm_auth",
    403: "llm_auth",
    429: "llm_rate_limit",
    408: "llm_timeout",
    504: "llm_timeout",
}
"""HTTP statuses that mean something else than their class, 4xx or 5xx, does."""

STEP_ERRORS = {
    "AgentMaxStepsError": "max_steps",
    "AgentParsingError": "parse_error",
    "AgentToolCallError": "tool_arguments",
    "AgentToolExecutionError": "tool_error",
    "AgentExecutionError": "code_error",
}
UNKNOWN_TOOL = "Unknown tool "
TOOLS = "smolagents.tools"

CLASSES = {
    "AuthenticationError": "llm_auth",
    "PermissionDeniedError": "llm_auth",
    "NoCredentialsError": "llm_auth",
    "RateLimitError": "llm_rate_limit",
    "InternalServerError": "llm_server_error",
    "ServiceUnavailableError": "llm_server_error",
    "APITimeoutError": "llm_timeout",
    "RequestTimeout": "llm_timeout",
    "ContentFilterFinishReasonError": "content_filter",
    "ContentPolicyViolationError": "content_filter",
    "ContextWindowExceededError": "context_length",
    "APIConnectionError": "llm_connection",
}
"""Classes of the providers' clients, which mean the same wherever they are raised."""

TELLING_CLASSES = ("ContextWindowExceededError", "ContentPolicyViolationError")
"""Classes that say more than the status 400 that they carry."""

CODES = {
    "rate_limit_exceeded": "llm_rate_limit",
    "insufficient_quota": "llm_rate_limit",
    "server_error": "llm_server_error",
    "overloaded_error": "llm_server_error",
    "invalid_api_key": "llm_auth",
}
"""Error code or type of a provider that sends it in a stream, after the status 200."""

CONTEXT_LENGTH = (
    *("context_length", "context length", "maximum context", "context window"),
    *("context size", "context_size", "prompt is too long", "input is too long"),
    *("maximum number of tokens", "too many tokens"),
)
CONTENT_FILTER = (
    *("content_filter", "content_policy", "content management policy"),
    "content filtering policy",
)
NO_KEY = ("missing credentials", "api_key client option must be set", "must provide an api_key")
NO_MODULE = "Non-installed authorized modules"
"""How smolagents says that a package which generated code may import is not there."""
OUT_OF_MEMORY = re.compile(r"\b(CUDA|HIP|MPS|XPU)\b.*out of memory", re.IGNORECASE | re.DOTALL)
MODEL_CLIENTS = ("openai", "litellm", "anthropic", "huggingface_hub.inference")
"""Modules that an exception has passed through when a call of a model met it."""
MCP = ("mcp", "mcpadapt", "fastmcp")
"""Modules that an exception has passed through when a client of an MCP server met it."""
MCP_CLOSED = -32000
"""Code of an MCP client's error: the connection is closed."""
GONE = frozenset(
    {"OSError", "HTTPError", "ClosedResourceError", "BrokenResourceError", "EndOfStream"}
)
"""Classes of errors of a connection that cannot be made or used any more."""
STOPPED = frozenset({"CaseStopped", "LimitReached"})
"""Classes of our own interrupts: a limit is over, or a budget is spent."""
BEFORE_JUDGE = frozenset(
    {
        *("interrupted", "timeout", "budget_cost", "budget_tokens", "budget_steps"),
        *("missing_dependency", "config_error"),
    }
)
"""Types that a judge is not to blame for, even where they met it."""
