"""No planted secret reaches the run directory, the terminal, the log or the junit file."""

import base64
import html
import json
import random
import string

import pyarrow.parquet as pq
import pytest

ODD = "quote\" apostrophe' back\\slash ünïcode ;&?="
"""Characters that every notation writes in its own way."""


def letters(seed, count, alphabet=string.ascii_letters + string.digits):
    return "".join(random.Random(seed).choices(alphabet, k=count))


def private_key(seed, kind):
    body = [letters(f"{seed}{n}", 64) for n in range(4)]
    return "\n".join(
        [f"-----BEGIN {kind}PRIVATE KEY-----", *body, f"-----END {kind}PRIVATE KEY-----"]
    )


def jwt(seed):
    parts = [json.dumps({"alg": "HS256", "n": seed}), json.dumps({"sub": letters(seed, 9)})]
    encoded = [base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, letters(f"jwt{seed}", 43)])


def basic(seed):
    return base64.b64encode(f"user{seed}:{letters(seed, 14)}".encode()).decode()


ENVIRONMENT = {
    "ACME_API_KEY": letters("acme", 40),
    "DB_PASSWORD": f"Xk9{ODD}tail7",
    "SIGNING_SECRET": letters("hex", 40, "0123456789abcdef"),
    "SERVICE_TOKEN_2": f"{letters('s', 20)}/+{letters('t', 18)}==",
    "SSH_PRIVATE_KEY": private_key("ssh", "OPENSSH "),
}
ENVIRONMENT_PARTS = {
    "DATABASE_URL": ("postgresql://app:{}@db.internal:5432/app", letters("db", 17)),
    "OTEL_EXPORTER_OTLP_HEADERS": ("x-team={},x-other=1", letters("otel", 24)),
    "STORAGE_CONNECTION_STRING": ("Endpoint=x.example;AccountKey={};", letters("az", 44) + "=="),
    "GOOGLE_CREDENTIALS": ('{{"type": "service_account", "private_key": "{}"}}', letters("g", 60)),
    "REDIS_URL": ("redis://:{}@cache:6379/0", letters("redis", 22)),
}  # fmt: skip
TOKENS = {
    name: (f"use {token} for it", token)
    for name, token in {
        "openai": f"sk-proj-{letters('oa', 48)}",
        "huggingface": f"hf_{letters('hf', 34)}",
        "github": f"ghp_{letters('gh', 36)}",
        "aws": f"AKIA{letters('aws', 16, string.ascii_uppercase + string.digits)}",
        "google": f"AIza{letters('google', 35)}",
    }.items()
}
BEARERS = {
    "bearer": (f"Authorization: Bearer {letters('b1', 32)}", letters("b1", 32)),
    "bearer-dict": (repr({"authorization": f"Bearer {letters('b2', 32)}"}), letters("b2", 32)),
    "bearer-bare": (f"sent with bearer {letters('b3', 32)}", letters("b3", 32)),
    "basic": (f"Authorization: Basic {basic(4)}", basic(4)),
    "jwt": (f"cookie or not, {jwt(5)} it is", jwt(5)),
}
HEADERS = {
    "x-api-key": (repr({"x-api-key": letters("h1", 24)}), letters("h1", 24)),
    "api-key": (json.dumps({"api-key": letters("h2", 24)}), letters("h2", 24)),
    "inner-json": (
        json.dumps({"body": json.dumps({"x-goog-api-key": letters("h3", 24)})}),
        letters("h3", 24),
    ),
    "raw": (f"POST / HTTP/1.1\nX-Auth-Token: {letters('h4', 24)}\nAccept: */*", letters("h4", 24)),
    "httpx": (repr([(b"api-key", letters("h5", 24).encode())]), letters("h5", 24)),
}
URLS = {
    "user": (f"https://me:{letters('u1', 12)}@host.example/v1", letters("u1", 12)),
    "token-user": (f"https://{letters('u2', 30)}@git.example/a.git", letters("u2", 30)),
    "query": (f"GET https://h.example/v1?a=1&api_key={letters('u3', 20)}&b=2", letters("u3", 20)),
    "signature": (f"https://b.example/o?sig={letters('u4', 40)}", letters("u4", 40)),
    "key": (f"<a href='https://m.example/?key={letters('u5', 30)}'>", letters("u5", 30)),
}
PRIVATE_KEYS = {
    f"pem-{kind}": (f"the key is\n{key}\nkeep it", key)
    for kind, key in (
        (kind, private_key(kind, kind)) for kind in ("RSA ", "EC ", "", "ENCRYPTED ", "DSA ")
    )
}
LATE = {
    name: (f"{name} is {letters(name, 28)}", letters(name, 28))
    for name in ("IMPORTED_KEY", "PATCHED_TOKEN", "FIXTURE_SECRET", "model_arg", "nested_arg")
}
"""Set by the test module, by a test, by a fixture, and as arguments of the model."""

KINDS = {
    "environment": {name: (f"found {value} there", value) for name, value in ENVIRONMENT.items()},
    "part": {n: (f"({value})", value) for n, (_, value) in ENVIRONMENT_PARTS.items()},
    "token": TOKENS,
    "authorization": BEARERS,
    "header": HEADERS,
    "url": URLS,
    "private key": PRIVATE_KEYS,
    "late": LATE,
}
PLANTED = {name: found for kind in KINDS.values() for name, found in kind.items()}

CONFTEST = """
import json
import os
from pathlib import Path

import pytest

PLANTED = json.loads(Path("planted.json").read_text())


@pytest.fixture(autouse=True)
def set_late(monkeypatch):
    monkeypatch.setenv("FIXTURE_SECRET", PLANTED["FIXTURE_SECRET"][1])


def pytest_smoltrace_result(item, case):
    case.tag(item.name)
"""
UNPROTECTED = """
from pytest_smoltrace.redaction import Redactor
Redactor.text = Redactor.json = lambda self, text: text
"""
SOURCE = '''
import logging
import os
import sys
import warnings

import pytest
from conftest import PLANTED
from smolagents import LogLevel, Model, Tool, ToolCallingAgent
from smolagents.models import (
    ChatMessage, ChatMessageToolCall, ChatMessageToolCallFunction, MessageRole, TokenUsage,
)

os.environ["IMPORTED_KEY"] = PLANTED["IMPORTED_KEY"][1]
TEXTS = [text for text, _ in PLANTED.values()]
WAYS = ("prompt", "answer", "arguments", "result", "refusal", "failure", "comparison", "chain",
        "output", "warning", "extra", "setup")


class Fetch(Tool):
    name, description, output_type = "fetch", "Fetch a text.", "string"
    inputs = {"query": {"type": "string", "description": "What to fetch."}}
    result, error = "nothing", None

    def forward(self, query: str):
        if self.error:
            raise ValueError(self.error)
        return self.result


class Says(Model):
    def __init__(self, query="q", answer="done", error=None):
        super().__init__(model_id="says")
        self.query, self.said, self.error = query, answer, error

    def generate(self, messages, **kwargs):
        if self.error:
            raise RuntimeError(self.error)
        called = any(getattr(m.role, "value", m.role) == "tool-response" for m in messages)
        name, arguments = "fetch", {"query": self.query}
        if called:
            name, arguments = "final_answer", {"answer": self.said}
        function = ChatMessageToolCallFunction(name=name, arguments=arguments)
        return ChatMessage(
            role=MessageRole.ASSISTANT, content=None, token_usage=TokenUsage(10, 5),
            tool_calls=[ChatMessageToolCall(id="1", type="function", function=function)],
        )


def ask(prompt="look", *, result="nothing", tool_error=None, **says):
    tool = Fetch()
    tool.result, tool.error = result, tool_error
    agent = ToolCallingAgent([tool], Says(**says), verbosity_level=LogLevel.OFF, max_steps=3)
    return agent.run(prompt)


def fail(number, text):
    """Fail in an agent, which takes pytest long to show, or in the model itself."""
    if number % 8 == 0:
        ask(error=text)
    Says(error=text).generate([{"role": "user", "content": "do"}])


@pytest.fixture
def prepared(request):
    chosen = request.node.callspec.params
    if chosen["way"] == "setup":
        raise OSError(TEXTS[chosen["number"]])


@pytest.mark.smoltrace
@pytest.mark.parametrize("number", range(len(TEXTS)))
@pytest.mark.parametrize("way", WAYS)
def test_planted(number, way, prepared, smoltrace_case, monkeypatch, record_property):
    monkeypatch.setenv("PATCHED_TOKEN", PLANTED["PATCHED_TOKEN"][1])
    text = TEXTS[number]
    if way == "prompt":
        ask(f"Use this: {text}")
    elif way == "answer":
        ask(answer=text)
    elif way == "arguments":
        ask(query=text)
    elif way == "result":
        ask(result=text)
    elif way == "refusal":
        ask(tool_error=text)
    elif way == "failure":
        fail(number, f"refused: {text}")
    elif way == "comparison":
        assert ask(answer=text) == "Bern"
    elif way == "chain":
        try:
            fail(number, text)
        except Exception as error:
            raise LookupError({"said": text}) from error
    elif way == "output":
        print(text)
        print(text, file=sys.stderr)
        logging.getLogger("app").warning("sent %s", text)
        record_property("sent", text)
        pytest.fail("see the output")
    elif way == "warning":
        warnings.warn(text)
    elif way == "extra":
        smoltrace_case.extra["sent"] = {"inner": [text]}
        smoltrace_case.score(text, 0.5)
        smoltrace_case.tag(text)
        pytest.skip(f"no use for {text}")


@pytest.mark.smoltrace
@pytest.mark.parametrize("text", TEXTS[:20])
def test_named(text, smoltrace_case):
    assert not text
'''
EVERYTHING_SHOWN = (
    *("-v", "-l", "-rA", "-o", "log_cli=true", "--log-file=log.txt", "--junitxml=junit.xml"),
    *("-o", "junit_logging=all", "-o", "junit_family=xunit2"),
    f"--smoltrace-model-arg=api_key={LATE['model_arg'][1]}",
    "--smoltrace-model-arg=client_kwargs="
    + json.dumps({"default_headers": {"x-key": LATE["nested_arg"][1]}}),
)


@pytest.fixture
def session(suite, pytester, monkeypatch):
    """Return a function that runs the cases and returns everything that was written."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name, (form, value) in ENVIRONMENT_PARTS.items():
        monkeypatch.setenv(name, form.format(value))
    (pytester.path / "planted.json").write_text(json.dumps(PLANTED), encoding="utf-8")

    def run(*args, conftest=""):
        done = suite(*EVERYTHING_SHOWN, *args, source=SOURCE, conftest=CONFTEST + conftest)
        return done, written(pytester.path, done)

    return run


def written(folder, done):
    """Return place -> text of everything that a run has left, tables as their values."""
    places = {"stdout": done.out, "stderr": done.err}
    files = [folder / "junit.xml", folder / "log.txt", *(folder / ".smoltrace").rglob("*")]
    for path in files:
        if path.is_file():
            places[str(path.relative_to(folder))] = path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".parquet":
            rows = pq.read_table(path).to_pylist()
            places[f"{path.relative_to(folder)} decoded"] = "\n".join(strings(rows))
    places["junit.xml decoded"] = html.unescape(places["junit.xml"])
    return places


def strings(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, str):
        yield value


def found(secret, text):
    """Return whether a text holds a secret, or a line of one, in any of the usual notations."""
    parts = [line for line in secret.split("\n") if not line.startswith("-----")]
    for part in parts:
        forms, layer = {part, repr(part)[1:-1], repr(part.encode())[2:-1], html.escape(part)}, part
        for _ in range(4):
            layer = json.dumps(layer)[1:-1]
            forms.add(layer)
        forms |= {json.dumps(part, ensure_ascii=False)[1:-1]}
        if any(form in text for form in forms):
            return True
    return False


def leaks(places):
    return {
        (name, place)
        for name, (_, secret) in PLANTED.items()
        for place, text in places.items()
        if found(secret, text)
    }


def test_forty_secrets_of_eight_kinds():
    assert [len(kind) for kind in KINDS.values()] == [5] * 8
    assert len({secret for _, secret in PLANTED.values()}) == 40


def test_none_of_them_is_found_after_500_cases(session):
    run, places = session()
    assert len(run.results) == 500
    assert len(places) > 10
    assert leaks(places) == set()
    outcomes = [row["outcome"] for row in run.results.values()]
    assert {kind: outcomes.count(kind) for kind in set(outcomes)} == {
        "passed": 6 * 40, "failed": 4 * 40 + 20, "skipped": 40, "error": 40
    }  # fmt: skip
    # What was said around the secrets is still there.
    assert "Use this: found *** there" in places[".smoltrace" + journal(places)]
    assert "RuntimeError: refused:" in places["junit.xml"]


def journal(places):
    (name,) = [name for name in places if name.endswith("journal.jsonl")]
    return name.removeprefix(".smoltrace")


def test_nor_with_workers(session):
    run, places = session("-n", "2", "-k", "result or comparison or output or named")
    assert len(run.results) == 140
    assert leaks(places) == set()


def test_without_protection_all_of_them_are_found(session):
    _, places = session("-k", "prompt or output", conftest=UNPROTECTED)
    seen = leaks(places)
    for place in ("stdout", "junit.xml decoded", "log.txt", ".smoltrace" + journal(places)):
        assert {name for name, where in seen if where == place} == set(PLANTED), place


SECRET_IDS = """
import os
import pytest

@pytest.mark.parametrize("n", range(3), ids=lambda n: f"{n}-" + os.environ["ACME_API_KEY"])
def test_case(ask, n):
    if n == 0 and os.environ.get("TROUBLE"):
        os.kill(os.getpid(), 9)
    ask(f"answer {n}")
"""


def test_a_case_with_a_secret_in_its_id_is_known_again(suite, monkeypatch):
    monkeypatch.setenv("ACME_API_KEY", "sk-1234567890abcdef1234567890abcdef")
    whole = suite("--smoltrace-budget-tokens=250", source=SECRET_IDS)
    # The budget was spent by the last case: it stopped nothing.
    assert (whole.ret, whole.stop_reason) == (0, "completed"), whole.out
    monkeypatch.setenv("TROUBLE", "yes")
    died = suite("-n", "1", "--smoltrace-dir=other", source=SECRET_IDS)
    assert "passed         2 of 2" in died.out
    assert "1 worker_crash (not scored)" in died.out
