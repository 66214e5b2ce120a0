"""Every summary.json that a session leaves follows its schema, and reports can be made of it."""

import json

import jsonschema
import pytest

from pytest_smoltrace import cli
from pytest_smoltrace.report.gitlab import open_metrics
from pytest_smoltrace.report.markdown import pr_comment, step_summary
from pytest_smoltrace.schema.summary import summary_schema

SOURCE = """
import os
import pytest

def test_good(ask):
    assert ask("call look city=Bern; answer Bern") == "Bern"

def test_flips(ask):
    said = os.environ.get("SAID", "Bern")
    assert ask(f"call look city={said}; answer {said}") == "Bern"

def test_infra(ask):
    ask("fail 400")

@pytest.mark.skip(reason="not now")
def test_skipped(ask):
    ask("answer Bern")
"""


def closed(node):
    """Return the schema with no room for keys that it does not describe, rows of runs apart."""
    if isinstance(node, list):
        return [closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {key: closed(one) for key, one in node.items()}
    is_run = "suite_hash" in node.get("properties", {})
    if "properties" in node and "additionalProperties" not in node and not is_run:
        made["additionalProperties"] = False
    return made


def check(directory):
    summary = json.loads((directory / "summary.json").read_bytes())
    jsonschema.Draft202012Validator(closed(summary_schema())).validate(summary)
    for text in (pr_comment(summary), step_summary(summary), open_metrics(summary)):
        assert summary["session_id"] in text or "# EOF" in text
        assert "None" not in text
    return summary


def test_a_plain_session(suite):
    summary = check(suite(source=SOURCE).runs[0])
    assert summary["gates"] is None


def test_several_models(suite):
    summary = check(suite("--smoltrace-model=scripted:n", source=SOURCE).runs[0])
    assert len(summary["runs"]) == 2


def test_gates_passed_and_failed_against_a_baseline(suite, monkeypatch):
    suite("--smoltrace-run-id=one", source=SOURCE)
    gates = ("--smoltrace-baseline=one", "--smoltrace-gate=success_rate >= 50%")
    same = suite(*gates, "--smoltrace-run-id=same")
    summary = check(same.directory / "runs" / "same")
    assert summary["gates"]["results"]
    monkeypatch.setenv("SAID", "Rome")
    worse = suite(*gates, "--smoltrace-gate=steps <= 1steps", "--smoltrace-run-id=worse")
    summary = check(worse.directory / "runs" / "worse")
    assert summary["gates"]["status"] == "failed"
    assert [flip["kind"] for flip in summary["gates"]["flips"]] == ["newly failing"]
    assert summary["exit_status"] == worse.ret == 1


def test_a_crashed_session(suite):
    run = suite(source=SOURCE)
    directory = run.runs[0]
    journal = directory / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))
    (directory / "summary.json").unlink()
    assert cli.main(["build", str(directory)]) == 0
    summary = check(directory)
    assert summary["stop_reason"] == "crash"
    assert summary["exit_status"] is None


@pytest.mark.parametrize("option", ["--collect-only", "--smoltrace-model=scripted:x"])
def test_a_session_without_cases_leaves_none(suite, option):
    run = suite(option, source="def test_no_case(): pass")
    assert run.runs == []
