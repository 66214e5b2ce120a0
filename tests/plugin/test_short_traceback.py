"""What is shown of a case whose model could not be reached."""

import pytest

SOURCE = """
import pytest

class RateLimitError(Exception):
    status_code = 429

@pytest.fixture
def limited(scripted):
    def generate(*args, **kwargs):
        raise RateLimitError("slow down")
    scripted.generate = generate
    scripted.generate_stream = generate
    return scripted

def test_it(smoltrace_agent, limited):
    smoltrace_agent(model=limited).run("go")

def test_wrong(smoltrace_case):
    answer = "red"
    assert answer == "blue"
"""


def shown(run, name):
    start = run.out.index(f" {name} _")
    lines = run.out[start:].splitlines()[1:]
    ends = ("____", "====", "FAILED")
    end = next(n for n, line in enumerate(lines) if line.startswith(ends))
    return lines[:end]


def test_only_the_tests_own_lines_are_shown(suite):
    run = suite("--smoltrace-max-retries=0", source=SOURCE)
    lines = shown(run, "test_it")
    assert len(lines) <= 8, run.out
    assert "test_it.py:15: in test_it" in lines[0]
    assert any("slow down" in line for line in lines)
    assert lines[-1].startswith("llm_rate_limit (test_it.RateLimitError, HTTP 429), not scored")
    assert any('assert answer == "blue"' in line for line in shown(run, "test_wrong"))


@pytest.mark.parametrize("flag", ["--full-trace", "-vv", "--tb=native", "--tb=line"])
def test_who_asks_for_another_traceback_gets_it(suite, flag):
    run = suite("--smoltrace-max-retries=0", flag, source=SOURCE)
    assert "not scored; the whole traceback" not in run.out
    assert run.results["test_it"]["error_type"] == "llm_rate_limit"
