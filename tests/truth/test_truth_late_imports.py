"""A client library that a case imports itself is counted from its first call on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.truth import scripted_server as ss
from tests.truth import suite

if TYPE_CHECKING:
    from pathlib import Path

CONFTEST = """
import json, sys

def pytest_smoltrace_providers():
    return ["own"]

def pytest_collection_finish():
    with open("loaded.json", "w") as stream:
        json.dump(sorted(sys.modules), stream)
"""
SOURCE = """
def messages(name):
    return [{"role": "user", "content": f"[[case:{name}]]"}]


def test_openai(smoltrace_case):
    from openai import OpenAI

    client = OpenAI(base_url=SERVER, api_key="none")
    client.chat.completions.create(model="scripted-model", messages=messages("openai"))


def test_inference(smoltrace_case):
    from huggingface_hub import InferenceClient

    client = InferenceClient(base_url=SERVER, api_key="none")
    client.chat_completion(model="scripted-model", messages=messages("inference"))
"""
LATE = ("openai", "genai_otel", "huggingface_hub.inference._client")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> suite.Finished:
    replies: dict[str, list[ss.Turn]] = {
        name: [ss.text("word", prompt_tokens=100 + n, completion_tokens=10 + n)]
        for n, name in enumerate(("openai", "inference"))
    }
    folder = tmp_path_factory.mktemp("late")
    with ss.ScriptedServer(cases=replies) as server:
        done = suite.run_pytest(folder, server, SOURCE, model="own:m", conftest=CONFTEST)
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.parametrize("name", ["openai", "inference"])
def test_numbers(finished: suite.Finished, name: str) -> None:
    (served,) = finished.of(name)
    row = finished.result(f"test_generated.py::test_{name}")
    assert row["llm_call_count"] == 1, finished.output
    tokens = suite.true_tokens([served])
    assert {column: row[column] for column in tokens} == tokens


def test_no_client_is_loaded_in_case_it_is_used(finished: suite.Finished) -> None:
    assert "smolagents" in loaded(finished.folder)
    assert not set(LATE) & loaded(finished.folder)


def loaded(folder: Path) -> set[str]:
    """Return the modules of the session when its cases began."""
    return set(json.loads((folder / "loaded.json").read_text()))
