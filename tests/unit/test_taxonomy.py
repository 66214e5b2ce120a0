"""Every row of the error taxonomy, from the exceptions that libraries really raise."""

import importlib
import socket
import types

import openai
import pytest
import requests
from huggingface_hub import errors as hub
from smolagents import utils as smol

from pytest_smoltrace import error_types, signs, taxonomy
from pytest_smoltrace.errors import CheckFailed, ConfigError
from pytest_smoltrace.taxonomy import CATEGORY, VERDICTS, classify, error_type, step_error

# The HTTP library of the clients: httpx, or its successor under another name.
HTTPX = hub.HTTPError.__module__.partition(".")[0]
httpx = importlib.import_module(HTTPX)
REQUEST = httpx.Request("POST", "http://llm.example.com/v1/chat/completions")
LOGGER = types.SimpleNamespace(log_error=lambda message: None)


def chained(outer, cause):
    """Return the exception as `raise outer from cause` makes it."""
    try:
        raise outer from cause
    except type(outer) as error:
        return error


def generation(cause):
    """Return the error that smolagents makes of a failed model call."""
    message = f"Error while generating output:\n{cause}"
    return chained(smol.AgentGenerationError(message, LOGGER), cause)


def status_error(status, message="refused", body=None):
    """Return the error that the openai client makes of a response, its own cause included."""
    response = httpx.Response(status, json=body or {"error": {"message": message}}, request=REQUEST)
    client = openai.OpenAI(api_key="none", max_retries=0)
    with pytest.raises(httpx.HTTPStatusError) as cause:
        response.raise_for_status()
    return chained(client._make_status_error_from_response(response), cause.value)


@pytest.mark.parametrize(
    ("status", "wanted", "category"),
    [
        (400, "llm_bad_request", "infra"),
        (401, "llm_auth", "infra"),
        (403, "llm_auth", "infra"),
        (404, "llm_bad_request", "infra"),
        (408, "llm_timeout", "infra"),
        (409, "llm_bad_request", "infra"),
        (413, "llm_bad_request", "infra"),
        (422, "llm_bad_request", "infra"),
        (429, "llm_rate_limit", "infra"),
        (500, "llm_server_error", "infra"),
        (502, "llm_server_error", "infra"),
        (503, "llm_server_error", "infra"),
        (504, "llm_timeout", "infra"),
        (529, "llm_server_error", "infra"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda error: error, generation], ids=["bare", "smolagents"])
def test_a_status_of_the_openai_client(status, wanted, category, wrap):
    fact = classify(wrap(status_error(status)), "call", from_model=True)
    assert (fact.type, fact.category, fact.http_status) == (wanted, category, status)
    assert fact.exception_type == f"{HTTPX}.HTTPStatusError"


@pytest.mark.parametrize("status", [401, 429, 500, 504])
def test_a_status_of_the_hub_client(status):
    response = httpx.Response(status, request=REQUEST)
    error = hub.HfHubHTTPError("no", response=response)
    fact = classify(generation(error), "call")
    assert fact.type == error_type(status_error(status))
    assert fact.http_status == status
    assert fact.exception_type == "huggingface_hub.errors.HfHubHTTPError"


@pytest.mark.parametrize("status", [400, 413])
@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
        "the request exceeds the available context size, try increasing it",
        "request (5120 tokens) exceeds the available context size (4096 tokens)",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "Input is too long for requested model.",
        "The input token count (40000) exceeds the maximum number of tokens allowed (32768).",
        "code: context_length_exceeded",
        "Your input exceeds the context window of this model",
    ],
)
def test_a_context_that_is_too_long_is_the_agents_fault(status, message):
    fact = classify(generation(status_error(status, message)), "call")
    assert (fact.type, fact.category) == ("context_length", "agent")


def test_the_text_of_the_cause_counts_when_it_is_wrapped():
    cause = status_error(400, "maximum context length is 4096 tokens")
    assert error_type(chained(RuntimeError("agent gave up"), cause)) == "context_length"


def test_a_context_text_with_another_status_says_nothing():
    assert error_type(status_error(429, "maximum context length")) == "llm_rate_limit"


def test_llama_cpp_says_it_by_its_error_type():
    body = {"error": {"code": 400, "message": "no", "type": "exceed_context_size_error"}}
    assert error_type(status_error(400, body=body)) == "context_length"


def test_content_filter():
    body = {"error": {"message": "The response was filtered", "code": "content_filter"}}
    assert error_type(generation(status_error(400, body=body))) == "content_filter"
    finish = openai.ContentFilterFinishReasonError()
    assert error_type(finish, from_model=True) == "content_filter"


class _LiteLLMError(openai.BadRequestError):
    def __init__(self, message):
        super().__init__(message, response=httpx.Response(400, request=REQUEST), body=None)


class ContextWindowExceededError(_LiteLLMError):
    pass


class ContentPolicyViolationError(_LiteLLMError):
    pass


def test_litellm_says_it_by_its_class():
    assert error_type(generation(ContextWindowExceededError("no"))) == "context_length"
    assert error_type(generation(ContentPolicyViolationError("no"))) == "content_filter"


def connection(cause):
    return generation(chained(openai.APIConnectionError(request=REQUEST), cause))


def timeout(cause):
    return generation(chained(openai.APITimeoutError(request=REQUEST), cause))


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (timeout(httpx.ReadTimeout("slow")), "llm_timeout"),
        (timeout(chained(httpx.ReadTimeout("slow"), TimeoutError("timed out"))), "llm_timeout"),
        (generation(openai.APITimeoutError(request=REQUEST)), "llm_timeout"),
        (timeout(httpx.ConnectTimeout("slow")), "llm_connection"),
        (connection(httpx.ConnectError("refused")), "llm_connection"),
        (connection(chained(httpx.ConnectError(""), ConnectionRefusedError())), "llm_connection"),
        (connection(chained(httpx.ConnectError(""), socket.gaierror(-2, "x"))), "llm_connection"),
        (connection(httpx.RemoteProtocolError("gone")), "llm_connection"),
        (connection(chained(httpx.ReadError(""), ConnectionResetError())), "llm_connection"),
        (generation(openai.APIConnectionError(request=REQUEST)), "llm_connection"),
        (generation(requests.exceptions.ReadTimeout("slow")), "llm_timeout"),
        (generation(requests.exceptions.ConnectTimeout("slow")), "llm_connection"),
        (generation(requests.exceptions.ConnectionError("refused")), "llm_connection"),
        (generation(hub.InferenceTimeoutError("slow")), "llm_timeout"),
        (generation(TimeoutError("slow")), "llm_timeout"),
        (generation(ConnectionResetError("reset")), "llm_connection"),
        (generation(ValueError("the model returned nonsense")), "llm_error"),
    ],
)
def test_no_status_but_a_class(error, wanted):
    fact = classify(error, "call")
    assert (fact.type, fact.category, fact.http_status) == (wanted, "infra", None)


def test_an_error_of_a_bare_model_call_needs_no_wrapper():
    assert error_type(ValueError("x"), from_model=True) == "llm_error"
    assert error_type(ValueError("x")) == "test_error"
    assert error_type(requests.ConnectionError("x")) == "test_error"
    assert error_type(requests.ConnectionError("x"), from_model=True) == "llm_connection"


def test_device_out_of_memory():
    kind = type("OutOfMemoryError", (RuntimeError,), {})
    assert error_type(generation(kind("CUDA out of memory"))) == "gpu_oom"


def test_missing_dependency():
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module("no_such_package")
    fact = classify(caught.value, "setup")
    assert (fact.type, fact.category) == ("missing_dependency", "infra")
    assert error_type(chained(ValueError("x"), ImportError("y"))) == "missing_dependency"


@pytest.mark.parametrize(
    ("name", "wanted", "category"),
    [
        ("AgentMaxStepsError", "max_steps", "agent"),
        ("AgentParsingError", "parse_error", "agent"),
        ("AgentExecutionError", "code_error", "agent"),
        ("AgentToolCallError", "tool_arguments", "agent"),
        ("AgentToolExecutionError", "tool_error", "tool"),
    ],
)
def test_errors_of_agents(name, wanted, category):
    error = getattr(smol, name)("no", LOGGER)
    assert step_error(error).type == wanted
    fact = classify(error, "call")
    assert (fact.type, fact.category) == (wanted, category)
    assert fact.exception_type == f"smolagents.utils.{name}"


def test_an_unknown_tool():
    error = smol.AgentToolExecutionError("Unknown tool serach, should be one of: search", LOGGER)
    assert step_error(error).type == "tool_not_found"
    assert error_type(error) == "tool_not_found"


def test_a_step_error_is_the_agents_whatever_the_tool_met():
    cause = status_error(401)
    error = chained(smol.AgentToolExecutionError("weather service refused", LOGGER), cause)
    assert step_error(error).type == "tool_error"
    assert error_type(error) == "tool_error"


@pytest.mark.parametrize(
    ("error", "when", "wanted", "category"),
    [
        (AssertionError("no"), "call", "assertion", "agent"),
        (ZeroDivisionError("no"), "call", "test_error", "harness"),
        (AssertionError("no"), "setup", "setup_error", "harness"),
        (ZeroDivisionError("no"), "setup", "setup_error", "harness"),
        (AssertionError("no"), "teardown", "teardown_error", "harness"),
        (KeyboardInterrupt(), "call", "interrupted", "harness"),
        (SystemExit(3), "call", "test_error", "harness"),
        (ConfigError("no"), "call", "config_error", "harness"),
        (pytest.fail.Exception("the answer is wrong"), "call", "assertion", "agent"),
        (
            pytest.fail.Exception("Timeout (>1.0s) from pytest-timeout."),
            "call",
            "timeout",
            "timeout",
        ),
    ],
)
def test_what_is_not_the_models(error, when, wanted, category):
    fact = classify(error, when)
    assert (fact.type, fact.category) == (wanted, category)


def test_a_refused_option_counts_through_pytest_fail():
    error = chained(pytest.fail.Exception("model x cannot be built"), ConfigError("no"))
    assert error_type(error) == "config_error"


@pytest.mark.parametrize(
    "kind", ["wrong_answer", "wrong_tool", "no_answer", "score_below_threshold", "max_steps"]
)
def test_a_failed_check_says_its_own_type(kind):
    fact = classify(CheckFailed("no", kind), "call")
    assert (fact.type, fact.category, fact.message) == (kind, "agent", "no")


def test_the_chain_is_walked_as_python_shows_it():
    inner, middle = ValueError("inner"), KeyError("middle")
    by_context = RuntimeError("outer")
    by_context.__context__ = middle
    middle.__cause__ = inner
    assert list(taxonomy.causes(by_context)) == [by_context, middle, inner]
    hidden = chained(RuntimeError("outer"), None)
    hidden.__context__ = middle
    assert list(taxonomy.causes(hidden)) == [hidden]


def test_a_chain_that_bites_its_tail_ends():
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert list(taxonomy.causes(first)) == [first, second]


def test_the_innermost_status_counts():
    error = chained(status_error(500), status_error(429))
    assert taxonomy.http_status(error) == 429
    assert error_type(error) == "llm_rate_limit"


def test_a_status_that_is_no_number_is_none():
    error = ValueError("x")
    error.status_code = "401"
    error.response = types.SimpleNamespace(status_code=True)
    assert taxonomy.http_status(error) is None


def test_the_message_is_one_line_of_at_most_4096_characters():
    assert taxonomy.one_line(ValueError("a\n  b\tc\r\n")) == "a b c"
    assert len(taxonomy.one_line("x" * 5000)) == 4096
    assert classify(ValueError(), "call").message == "ValueError"


def test_names_of_classes():
    assert taxonomy.qualified(ValueError()) == "ValueError"
    assert taxonomy.qualified(httpx.ConnectError("x")) == f"{HTTPX}.ConnectError"


def test_verdicts_are_faults_of_the_agent():
    assert {CATEGORY[kind] for kind in VERDICTS} == {"agent"}


def test_every_type_that_can_be_returned_has_a_category():
    possible = {
        *signs.STATUS.values(),
        *signs.STEP_ERRORS.values(),
        *signs.CLASSES.values(),
        *signs.TRANSPORT.values(),
        *signs.CODES.values(),
        *signs.BEFORE_JUDGE,
    }
    assert possible <= set(CATEGORY)


def raised_in(module, error, name="call"):
    """Return the exception as code of another module raises it."""
    scope = {"__name__": module, "error": error}
    exec(f"def {name}():\n    raise error", scope)
    with pytest.raises(type(error)) as caught:
        scope[name]()
    return caught.value


def named(name, base=Exception, module="some_client", **attributes):
    return type(name, (base,), {"__module__": module, **attributes})("no")


def handled(outer, inner):
    """Return the exception as it is raised while another one is handled."""
    outer.__context__ = inner
    return outer


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (pytest.fail.Exception("Timeout (>1.0s) from pytest-timeout."), "timeout"),
        (KeyboardInterrupt(), "interrupted"),
        (CheckFailed("spent", "budget_cost"), "budget_cost"),
        (named("CaseStopped", BaseException, error_type="budget_tokens"), "budget_tokens"),
        (named("LimitReached", BaseException), "timeout"),
    ],
)
def test_what_stopped_the_case_decides_before_what_was_handled_then(error, wanted):
    assert error_type(handled(error, status_error(429)), from_model=True) == wanted


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (ValueError("not JSON"), "judge_error"),
        (status_error(500), "judge_error"),
        (AssertionError("bad"), "judge_error"),
        (KeyboardInterrupt(), "interrupted"),
        (CheckFailed("too late", "timeout"), "timeout"),
        (ImportError("no rouge"), "missing_dependency"),
        (ConfigError("no"), "config_error"),
    ],
)
def test_what_a_judge_is_to_blame_for(error, wanted):
    assert classify(error, "call", from_judge=True).type == wanted


def test_an_assertion_that_repeats_a_model_error_is_the_models():
    error = handled(pytest.fail.Exception("no answer"), generation(status_error(429)))
    assert error_type(error) == "llm_rate_limit"


def test_a_tool_that_says_unknown_tool_is_known():
    message = "Error executing tool 'look': ValueError: Unknown tool box"
    assert step_error(smol.AgentToolExecutionError(message, LOGGER)).type == "tool_error"


def in_tool(cause):
    return chained(smol.AgentToolExecutionError("it failed", LOGGER), cause)


def in_code(cause):
    return handled(smol.AgentExecutionError("it failed", LOGGER), cause)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (in_tool(ConnectionError("weather")), "tool_error"),
        (in_tool(ModuleNotFoundError("no")), "missing_dependency"),
        (in_tool(RuntimeError("CUDA out of memory. Tried")), "gpu_oom"),
        (in_tool(named("ToolTimeout", TimeoutError)), "tool_timeout"),
        (in_tool(raised_in("openai._base_client", status_error(429))), "llm_rate_limit"),
        (in_tool(generation(status_error(503))), "llm_server_error"),
        (in_code(ModuleNotFoundError("invented")), "code_error"),
        (in_code(RuntimeError("CUDA out of memory")), "code_error"),
        (in_code(raised_in("smolagents.tools", ValueError("x"), "__call__")), "tool_error"),
        (
            in_code(raised_in("smolagents.tools", ImportError("x"), "__call__")),
            "missing_dependency",
        ),
        (in_code(raised_in("smolagents.tools", TypeError("x"), "__call__")), "tool_arguments"),
        (in_code(named("ToolTimeout", TimeoutError)), "tool_timeout"),
        (in_code(generation(status_error(401))), "llm_auth"),
    ],
)
def test_the_innermost_cause_of_a_step_error(error, wanted):
    assert step_error(error).type == wanted
    assert error_type(error) == wanted


def test_a_model_error_of_a_step_that_only_the_case_knows():
    error = in_tool(LookupError("own model"))
    assert step_error(error).type == "tool_error"
    assert step_error(error, from_model=True).type == "llm_error"


def test_an_agent_error_without_a_type_of_its_own_is_max_steps():
    assert step_error(smol.AgentError("Check is_short failed", LOGGER)).type == "max_steps"


def test_a_status_that_no_server_sent():
    refused = chained(named("InternalServerError", status_code=500), httpx.ConnectError("refused"))
    fact = classify(generation(refused), "call")
    assert (fact.type, fact.http_status) == ("llm_connection", None)
    catch_all = named("APIConnectionError", module="litellm.exceptions", status_code=500)
    fact = classify(generation(chained(catch_all, KeyError("content"))), "call")
    assert (fact.type, fact.http_status) == ("llm_error", None)
    fact = classify(generation(chained(catch_all, status_error(529))), "call")
    assert (fact.type, fact.http_status) == ("llm_server_error", 529)


def test_where_a_status_stands():
    head = {"ResponseMetadata": {"HTTPStatusCode": 429}}
    assert taxonomy.http_status(named("ClientError", response=head)) == 429
    assert taxonomy.http_status(named("ClientResponseError", status=503)) == 503
    assert taxonomy.http_status(named("Job", status=3)) is None


@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [
        ({"code": "rate_limit_exceeded"}, "llm_rate_limit"),
        ({"code": 502}, "llm_server_error"),
        ({"code": "429"}, "llm_rate_limit"),
        ({"type": "overloaded_error"}, "llm_server_error"),
        ({"code": "whatever"}, "llm_error"),
    ],
)
def test_an_error_in_the_middle_of_a_stream(attributes, wanted):
    assert error_type(generation(named("APIError", **attributes))) == wanted


def test_the_first_of_a_group_is_the_cause():
    group = ExceptionGroup("unhandled", [chained(ValueError("x"), ImportError("y"))])
    assert error_type(group) == "missing_dependency"


@pytest.mark.parametrize(
    "error",
    [
        openai.OpenAIError("Missing credentials. Please pass an `api_key`"),
        ValueError("You must provide an api_key to work with together API"),
        chained(ConfigError("model x cannot be built"), openai.OpenAIError("Missing credentials")),
        named("NoCredentialsError"),
    ],
)
def test_a_missing_key(error):
    assert error_type(error, "setup") == "llm_auth"


def test_an_answer_about_keys_is_no_missing_key():
    assert error_type(AssertionError("assert 'Missing credentials' == '5'")) == "assertion"


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (ImportError("x"), "missing_dependency"),
        (chained(named("APIConnectionError", status_code=500), ImportError("x")), None),
        (ValueError("Non-installed authorized modules: numpy. Please install"), None),
        (RuntimeError("CUDA error: out of memory"), "gpu_oom"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "gpu_oom"),
        (RuntimeError("the shop is out of memory sticks"), "llm_error"),
    ],
)
def test_what_the_place_of_a_model_call_lacks(error, wanted):
    assert error_type(generation(error)) == (wanted or "missing_dependency")


def connection_closed(code):
    return named("McpError", module="mcp.shared", error=types.SimpleNamespace(code=code))


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (raised_in("mcp.shared.session", connection_closed(-32000)), "mcp_unavailable"),
        (raised_in("mcp.shared.session", connection_closed(-32602)), "test_error"),
        (raised_in("mcp.client.stdio", FileNotFoundError("npx")), "mcp_unavailable"),
        (raised_in("mcpadapt.core", TimeoutError("no server")), "mcp_unavailable"),
        (raised_in("mcp.client.streamable_http", status_error(503).__cause__), "mcp_unavailable"),
        (raised_in("mcp.client.session", named("ClosedResourceError")), "mcp_unavailable"),
        (raised_in("mcpretend", named("ClosedResourceError")), "test_error"),
        (FileNotFoundError("npx"), "test_error"),
    ],
)
def test_an_mcp_server_that_is_gone(error, wanted):
    assert error_type(error) == wanted
    in_a_tool = {"test_error": "tool_error"}.get(wanted, wanted)
    assert step_error(in_tool(error)).type == in_a_tool


def test_the_table_of_the_readme_has_every_type():
    rows = error_types.markdown().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(CATEGORY)
    assert "| `llm_auth` | infra | no |" in error_types.markdown()
    assert "| `tool_error` | tool | yes |" in error_types.markdown()
