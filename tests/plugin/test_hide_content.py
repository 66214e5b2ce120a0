"""With --smoltrace-hide-content no prompt and no answer reaches what a run leaves or shows."""

import html
import json
import re

import pytest

PROMPT, ANSWER, MESSAGE = "zanzibar", "quetzal", "xylophone"

SOURCE = f"""
import pytest

def test_good(ask, smoltrace_case):
    ask("call look city={PROMPT}; answer {ANSWER}")
    smoltrace_case.check(keywords="{ANSWER}")

def test_code(smoltrace_model):
    from smolagents import CodeAgent
    from conftest import look
    CodeAgent(tools=[look], model=smoltrace_model).run("call look city={PROMPT}; answer {ANSWER}")

@pytest.mark.smoltrace(expected_keywords="Bern")
def test_wrong(ask):
    ask("answer {ANSWER} for {PROMPT}")

def test_wrong_check(ask, smoltrace_case):
    ask("answer {ANSWER} for {PROMPT}")
    smoltrace_case.check(keywords="Bern")

def test_wrong_number(ask, smoltrace_case):
    ask("answer 271828182845904 {ANSWER}")
    smoltrace_case.check(number=42)

def test_assertion(ask):
    assert ask("answer {ANSWER} for {PROMPT}") == "Bern"

def test_broken_tool(ask):
    ask("call broken city={PROMPT}; answer {ANSWER}")

@pytest.mark.smoltrace(max_steps=1)
def test_max_steps(ask):
    ask("call nothing city={PROMPT}; say {ANSWER}")

def test_bare(smoltrace_model):
    smoltrace_model.generate([{{"role": "user", "content": "say {ANSWER} {PROMPT}"}}])

def test_model_fails(smoltrace_model):
    class Parrot(type(smoltrace_model)):
        def generate(self, messages, **kwargs):
            raise ValueError("refused: {PROMPT}")
    Parrot(model_id="p").generate([{{"role": "user", "content": "{PROMPT}"}}])

@pytest.mark.smoltrace_tasks("tasks.jsonl")
def test_task(ask, smoltrace_task):
    ask(smoltrace_task.prompt)
"""


SHOWN = f"""
import logging
import sys
import unittest
import warnings

LOG = logging.getLogger("app")
CALLS = [("answer {ANSWER} for {PROMPT}", "{ANSWER}")]

@pytest.mark.parametrize(("task", "expected"), CALLS)
@pytest.mark.parametrize("number", [271828182845904])
@pytest.mark.smoltrace(expected_keywords="{ANSWER}", tags=["kept"])
def test_said(ask, task, expected, number, smoltrace_case, record_property):
    LOG.warning("will ask %s", task)
    said = ask(task)
    print(said)
    print(task, file=sys.stderr)
    LOG.error("said %s", said, stack_info=True)
    warnings.warn(said)
    record_property("said", said)
    smoltrace_case.extra["said"] = [said]
    smoltrace_case.extra["length"] = len(said)
    smoltrace_case.check(lambda answer: answer == expected)

def test_said_and_failed(ask, record_property):
    said = ask("answer {ANSWER} for {PROMPT}")
    record_property("said", said)
    print(said)
    LOG.error(said)
    raise LookupError(said) from ValueError("{PROMPT}")

def test_skipped(ask):
    pytest.skip("got " + ask("answer {ANSWER} for {PROMPT}"))

def test_xfailed(ask):
    pytest.xfail("got " + ask("answer {ANSWER} for {PROMPT}"))

@pytest.mark.xfail(reason="known")
def test_marked_xfail(ask):
    assert ask("answer {ANSWER} for {PROMPT}") == "Bern"

@pytest.fixture
def asked(ask):
    said = ask("answer {ANSWER} for {PROMPT}")
    yield said
    print(said)
    assert said == "Bern"

def test_fails_in_teardown(asked):
    pass

@pytest.fixture
def broken(ask):
    raise RuntimeError(ask("answer {ANSWER} for {PROMPT}"))

def test_fails_in_setup(broken):
    pass

def test_subtests(ask, subtests):
    said = ask("answer {ANSWER} for {PROMPT}")
    with subtests.test("of " + said, said=said):
        print(said)
        assert said == "Bern"

def test_undeclared(scripted):
    LOG.warning("will ask {PROMPT}")
    message = scripted.generate([{{"role": "user", "content": "say {ANSWER} {PROMPT}"}}])
    print(message.content)
    assert message.content == "Bern"

class TestOld(unittest.TestCase):
    def test_old(self):
        from conftest import Scripted
        said = Scripted(model_id="m").generate([{{"role": "user", "content": "say {ANSWER}"}}])
        self.assertEqual(said.content, "Bern")
"""
EVERYTHING_SHOWN = (
    *("-vv", "-l", "-rA", "--durations=0", "-o", "log_cli=true", "--log-level=DEBUG"),
    *("--log-file=log.txt", "--junitxml=junit.xml", "-o", "junit_logging=all"),
)
WORDS = (PROMPT, ANSWER, "271828182845904")


@pytest.fixture
def tasks(pytester):
    task = {"id": "t1", "prompt": f"answer {ANSWER} for {PROMPT}"}
    (pytester.path / "tasks.jsonl").write_text(json.dumps(task))


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_nothing_of_it_is_stored_or_shown(suite, tasks, workers):
    run = suite("--smoltrace-hide-content", *EVERYTHING_SHOWN, *workers, source=SOURCE + SHOWN)
    assert run.results["test_good"]["outcome"] == "passed"
    assert len(run.results) == 21, run.out
    found = {
        (place, word) for place, text in written(run).items() for word in WORDS if word in text
    }
    assert found == set()
    said = next(row for name, row in run.results.items() if name.startswith("test_said["))
    assert json.loads(said["extra"]) == {
        "said": ["__REDACTED__"],
        "length": len(f"{ANSWER} for {PROMPT}"),
    }
    assert (said["outcome"], said["response_correct"], said["tags"]) == ("failed", False, ["kept"])
    row = run.results["test_good"]
    assert row["gen_ai.usage.total_tokens"] == 220
    assert (row["tools_used"], row["response_correct"]) == (["look"], True)
    errors = {name: row["error_type"] for name, row in run.results.items()}
    assert errors["test_wrong"] == errors["test_wrong_check"] == "wrong_answer"
    assert run.results["test_wrong"]["error"] is not None


def test_without_it_they_are_stored(suite):
    run = suite("-k", "test_good", source=SOURCE.rpartition("@pytest.mark.smoltrace_tasks")[0])
    (folder,) = run.runs
    stored = b"".join(uncompressed(path) for path in folder.rglob("*") if path.is_file())
    assert PROMPT.encode() in stored
    assert ANSWER.encode() in stored


def test_a_failure_says_what_may_be_said(suite, tasks):
    run = suite("--smoltrace-hide-content", "-k", "failed or wrong", source=SOURCE + SHOWN)
    hidden = "(content hidden by --smoltrace-hide-content)"
    lines = (SOURCE + SHOWN).splitlines()
    (place,) = [n for n, line in enumerate(lines) if "raise LookupError(said)" in line]
    # The test file begins where the source does, without its empty first line.
    assert f"LookupError at test_it.py:{place}: test_error {hidden}" in run.out
    # pytest repeats each line in its short summary, cut to the terminal unless CI is set.
    shown = run.out.partition("= short test summary info =")[0]
    said = rf"CheckFailed at test_it.py:\d+: wrong_answer {re.escape(hidden)}"
    assert len(re.findall(said, shown)) == 2
    assert shown.count(hidden) == 4


def test_a_plain_test_is_shown_as_ever(suite):
    source = "def test_plain():\n    print('printed')\n    assert 'shown' == 'other'\n"
    run = suite("--smoltrace-hide-content", source=source)
    assert "assert 'shown' == 'other'" in run.out
    assert "printed" in run.out


def written(run):
    """Return place -> text of everything that a run has left."""
    root = run.directory.parent
    (folder,) = run.runs
    files = [root / "junit.xml", root / "log.txt", *folder.rglob("*")]
    places = {p.name: uncompressed(p).decode("utf-8", "replace") for p in files if p.is_file()}
    places["junit.xml"] = html.unescape(places["junit.xml"])
    return places | {"stdout": run.out, "stderr": run.err}


def uncompressed(path):
    """Return the bytes of a file, those of a table as its values."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    import pyarrow.parquet as pq

    return repr(pq.read_table(path).to_pylist()).encode()
