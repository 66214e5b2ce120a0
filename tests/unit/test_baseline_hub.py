"""Baselines from a results dataset of the Hub, fetched by the real client from a stand-in."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_smoltrace.baselines.hub import fetch
from pytest_smoltrace.errors import ConfigError
from tests.unit.hub_fake import FakeHub, serve
from tests.unit.stored_run import store

REPOSITORY = Path(__file__).parents[2]
_PROGRAM = """
import json, sys
from pathlib import Path
from pytest_smoltrace.baselines.reference import find
from pytest_smoltrace.errors import ConfigError
try:
    found = find(sys.argv[1], directory=Path("runs"), rootdir=Path())
except ConfigError as error:
    print(json.dumps({"error": str(error)}))
else:
    session = found.session
    runs = [
        [run.run_id, run.model, run.attempts.select(["case_id", "success"]).to_pylist()]
        for run in (session.runs if session else ())
    ]
    print(json.dumps({
        "missing": found.missing,
        "place": session and session.place,
        "session_id": session and session.session_id,
        "runs": runs,
    }))
"""


@pytest.fixture
def hub():
    with serve(FakeHub()) as found:
        yield found
        assert found.unknown == []


@pytest.fixture
def look(hub, tmp_path):
    """Return what a reference leads to, in processes of their own: HF_ENDPOINT is read once."""

    def look(reference, **environment):
        given = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_TOKEN": "dummy",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": str(REPOSITORY),
            "NO_PROXY": "127.0.0.1",
        }
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, reference],
            cwd=tmp_path, env=given | environment, capture_output=True, text=True, check=False,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        found["stderr"] = done.stderr
        assert "Traceback" not in done.stderr
        return found

    return look


def refused(found, reference, *words):
    message = found["error"]
    assert message.startswith(f"{reference}: ")
    assert "\n" not in message
    for word in words:
        assert word in message, message


def parquet(root, session_id, **facts):
    return (store(root, session_id, **facts) / "results" / "train-00000.parquet").read_bytes()


def test_the_newest_run_of_each_model_in_a_dataset(hub, look, tmp_path):
    hub.files["acme/results"] = {
        "README.md": b"---\n---\n",
        "data/train-00000-of-00002.parquet": parquet(
            tmp_path, "new", models=("m-2",), cases={"c1": "P"}, started_s=60
        ),
        "data/train-00001-of-00002.parquet": parquet(
            tmp_path, "old", models=("m-1", "m-2"), cases={"c1": "F"}
        ),
    }
    found = look("hub:acme/results")
    assert found["missing"] is None
    assert found["place"] == "hub:acme/results"
    assert {model: rows for _, model, rows in found["runs"]} == {
        "m-1": [{"case_id": "c1", "success": False}],
        "m-2": [{"case_id": "c1", "success": True}],
    }
    assert found["stderr"] == ""
    assert not any("README" in each for each in hub.requests)


def test_a_revision_is_asked_for(hub, look, tmp_path):
    hub.files["acme/results"] = {"data/train-00000.parquet": parquet(tmp_path, "one")}
    assert look("hub:acme/results@v1")["session_id"] == "one"
    assert any("/v1" in each for each in hub.requests)
    refused(look("hub:acme/results@v9"), "hub:acme/results@v9", "has no revision 'v9'")


def test_a_dataset_without_parquet_may_get_some_later(hub, look):
    hub.files["acme/new"] = {"README.md": b"x"}
    found = look("hub:acme/new")
    assert found["missing"] == "the dataset has no Parquet file"
    assert found["runs"] == []


def test_a_dataset_that_holds_something_else_is_refused(hub, look):
    hub.files["acme/other"] = {"data/train-00000.parquet": b"PAR1 nothing"}
    refused(look("hub:acme/other"), "hub:acme/other", "cannot read hub:acme/other")


def test_errors_of_the_hub_are_one_line(hub, look):
    hub.errors |= {"acme/gated": (403, "GatedRepo"), "acme/down": (500, None)}
    refused(look("hub:acme/none"), "hub:acme/none", "no dataset acme/none", "HF_TOKEN")
    refused(look("hub:acme/gated"), "hub:acme/gated", "is gated", "HF_TOKEN")
    refused(look("hub:acme/down"), "hub:acme/down", "acme/down", "status 500")


def test_a_download_that_fails_is_one_line(hub, look, tmp_path):
    hub.files["acme/results"] = {"data/train-00000.parquet": parquet(tmp_path, "one")}
    hub.broken.add("data/train-00000.parquet")
    refused(look("hub:acme/results"), "hub:acme/results", "answered with status 500")


def test_offline_the_cache_serves(hub, look, tmp_path):
    hub.files["acme/results"] = {"data/train-00000.parquet": parquet(tmp_path, "one")}
    refused(
        look("hub:acme/results", HF_HUB_OFFLINE="1"),
        "hub:acme/results", "cannot be reached", "not in the cache",
    )  # fmt: skip
    assert hub.requests == []
    assert look("hub:acme/results")["session_id"] == "one"
    asked = len(hub.requests)
    assert look("hub:acme/results", HF_HUB_OFFLINE="1")["session_id"] == "one"
    assert len(hub.requests) == asked


def test_a_hub_that_cannot_be_reached_is_told(look):
    found = look("hub:acme/results", HF_ENDPOINT="http://127.0.0.1:9")
    refused(found, "hub:acme/results", "cannot be reached")


@pytest.mark.parametrize("name", ["", "acme", "acme/a/b", "acme/a@", "/a", "acme/", "a b/c"])
def test_names_of_no_dataset_are_refused(name):
    with pytest.raises(ConfigError, match="hub:OWNER/NAME"):
        fetch(name)
