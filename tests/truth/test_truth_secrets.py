"""What a real client sent, and a server repeated, is nowhere in what a run leaves."""

from __future__ import annotations

import base64
import json
import random
import string
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LETTERS = string.ascii_letters + string.digits
KEY = "".join(random.Random("key").choices(LETTERS, k=40))
HEADER = "".join(random.Random("header").choices(LETTERS, k=40))
PASSWORD = "".join(random.Random("password").choices(LETTERS, k=16))
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
SECRETS = {"key": KEY, "header": HEADER, "password": PASSWORD, "basic": BASIC}
SOURCE = """
import openai

@pytest.mark.smoltrace(id="fine")
def test_fine(smoltrace_agent):
    assert smoltrace_agent(tools=[add]).run("Add. [[case:fine]]") == "wrong"

@pytest.mark.smoltrace(id="refused")
def test_refused(smoltrace_agent):
    smoltrace_agent(tools=[add]).run("Add. [[case:refused]]")

@pytest.mark.smoltrace(id="shown")
def test_shown(smoltrace_model, smoltrace_agent):
    client = smoltrace_model.client
    try:
        smoltrace_agent(tools=[add]).run("Add. [[case:shown]]")
    except Exception as error:
        cause = error.__cause__ or error.__context__ or error
        request = getattr(cause, "request", None)
        sent = dict(request.headers) if request is not None else client.default_headers
        raise RuntimeError(f"{client.base_url} refused {sent} and {client.api_key}") from error
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[suite.Finished]:
    said = {"error": {"message": f"Incorrect API key: {KEY}; x-token: {HEADER}", "code": "no"}}
    refused = ss.Reply(status=400, error_body=said)
    cases = {"fine": [ss.final_answer(f"key {KEY}")], "refused": [refused], "shown": [refused]}
    folder = tmp_path_factory.mktemp("secrets")
    with ss.ScriptedServer(cases=cases) as server:
        url = server.url.replace("//", f"//me:{PASSWORD}@")
        yield suite.run_pytest(
            folder,
            server,
            SOURCE,
            f"--smoltrace-base-url={url}",
            f"--smoltrace-model-arg=api_key={KEY}",
            "--smoltrace-model-arg=client_kwargs="
            + json.dumps({"default_headers": {"x-token": HEADER}}),
            *("-vv", "-l", "-rA", "--full-trace", "--junitxml=junit.xml", "-o", "log_cli=true"),
            *("--log-level=DEBUG", "--log-file=log.txt"),
        )


def contents(folder: Path) -> Iterator[tuple[str, str]]:
    for path in [folder / "junit.xml", folder / "log.txt", *(folder / ".smoltrace").rglob("*")]:
        if path.is_file():
            yield path.name, path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".parquet":
            yield path.name, repr(pq.read_table(path).to_pylist())


def test_the_client_sent_them(finished: suite.Finished) -> None:
    # The HTTP client takes user and password of the address, rather than the key.
    assert {served.authorization for served in finished.served} == {f"Basic {BASIC}"}
    assert [finished.result(case)["outcome"] for case in ("fine", "refused", "shown")] == (
        ["failed"] * 3
    )


def test_what_the_run_leaves_holds_none_of_them(finished: suite.Finished) -> None:
    places = {"output": finished.output, **dict(contents(finished.folder))}
    assert {"junit.xml", "log.txt", "journal.jsonl", "summary.json"} <= places.keys()
    found = [
        (place, name)
        for place, text in [("output", finished.output), *contents(finished.folder)]
        for name, secret in SECRETS.items()
        if secret in text
    ]
    assert found == []
    assert "Incorrect API key: ***" in finished.output
    assert finished.result("fine")["response"] == "key ***"
