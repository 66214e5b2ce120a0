"""Without a model nothing happens; collecting loads no model and writes nothing."""

import textwrap

import pytest

SOURCE = """
import pytest
import sys

def test_plain():
    heavy = {"smolagents", "opentelemetry", "pyarrow", "openai"} & set(sys.modules)
    assert not heavy

def test_fixture(smoltrace_agent):
    raise SystemExit(9)

@pytest.mark.smoltrace(id="x")
def test_marker():
    raise SystemExit(9)

@pytest.mark.smoltrace_tasks("there-is-none.jsonl")
def test_tasks(smoltrace_task):
    raise SystemExit(9)

def test_session(smoltrace_session):
    raise SystemExit(9)
"""


@pytest.fixture
def bare(suite, pytester):
    """Run without the scripted model's conftest, which imports smolagents itself."""

    def run(*args, **kwargs):
        pytester.makeconftest("")
        return suite(*args, **kwargs)

    return run


def test_inactive(bare, pytester):
    run = bare("-rs", "--strict-markers", "-W", "error", source=SOURCE, model=None)
    run.result.assert_outcomes(passed=1, skipped=4)
    assert run.ret == pytest.ExitCode.OK
    assert run.out.count("--smoltrace-model=SPEC") >= 1
    head = run.out.partition("test session starts")[2].partition("collected")[0]
    assert not any(line.startswith("smoltrace") for line in head.splitlines())
    assert not run.directory.exists()
    made = {path.name for path in pytester.path.iterdir()}
    assert made <= {
        *("conftest.py", "test_it.py", "__pycache__"),
        *("stdout", "stderr", "runpytest-0", "runpytest-current"),  # pytester's own
    }


def test_inactive_writes_nothing_under_xdist(bare):
    run = bare("-n", "2", source=SOURCE, model=None)
    run.result.assert_outcomes(passed=1, skipped=4)
    assert not run.directory.exists()


def test_switched_off(bare):
    run = bare("-p", "no:smoltrace", source="def test_one(smoltrace_agent): pass", model=None)
    run.result.assert_outcomes(errors=1)
    assert "fixture 'smoltrace_agent' not found" in run.out
    run = bare("-p", "no:smoltrace", source="def test_one(): pass")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    assert "unrecognized arguments: --smoltrace-model" in run.err


NO_MODEL = """
def pytest_smoltrace_make_model(config, spec):
    raise SystemExit("MODEL BUILT")
"""


def test_collect_only(bare, pytester):
    pytester.makeconftest(NO_MODEL)
    run = bare(
        "--collect-only",
        "-q",
        "--smoltrace-base-url=http://127.0.0.1:1/v1",
        model="openai:gpt-4o",
        source="""
        import sys

        def test_one(smoltrace_agent): pass
        def test_two(): pass
        assert not {"smolagents", "opentelemetry", "pyarrow", "openai"} & set(sys.modules)
        """,
    )
    assert run.ret == pytest.ExitCode.OK
    assert run.out.splitlines()[:2] == ["test_it.py::test_one", "test_it.py::test_two"]
    assert not run.directory.exists()


def test_no_cases_write_nothing(suite):
    run = suite(source="def test_one(): pass")
    run.result.assert_outcomes(passed=1)
    assert not run.directory.exists()
    assert "smoltrace ====" not in run.out
    run = suite("-n", "1", source="def test_one(): pass")
    run.result.assert_outcomes(passed=1)
    assert run.runs == []


def test_a_session_without_gates_imports_nothing_to_judge_by(suite, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    imported = """
        import sys

        def pytest_unconfigure():
            print("IMPORTED", *sorted(sys.modules))
    """
    run = suite(
        "-s", source="def test_one(ask): assert ask('answer Bern') == 'Bern'",
        conftest=textwrap.dedent(imported),
    )  # fmt: skip
    assert run.ret == 0
    (line,) = (line for line in run.out.splitlines() if line.startswith("IMPORTED"))
    modules = line.split()
    assert "pytest_smoltrace.gatekeeper" in modules
    parts = ("gates", "gating", "inference", "baselines", "measured", "report", "commands")
    heavy = (*(f"pytest_smoltrace.{part}" for part in parts), "scipy")
    assert [name for name in modules if name.startswith(heavy)] == []


@pytest.mark.parametrize(
    "typed", ["--smoltrace-gate=success_rate >= 80%", "--smoltrace-baseline=last"]
)
def test_typed_gates_without_a_model_are_refused(pytester, typed):
    pytester.makepyfile("def test_it(): pass")
    run = pytester.runpytest_subprocess(typed)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    flag = typed.partition("=")[0]
    run.stderr.fnmatch_lines([f"ERROR: {flag} has nothing to judge: give a --smoltrace-model"])


def test_gates_of_the_project_are_said_not_to_be_judged(pytester):
    pytester.makepyprojecttoml("""
        [tool.smoltrace.gates]
        quality = "success_rate >= 80%"
        [tool.pytest.ini_options]
        smoltrace_gate = ["valid >= 90%"]
    """)
    pytester.makepyfile("def test_it(smoltrace_case): pass")
    run = pytester.runpytest_subprocess()
    assert run.ret == 0
    said = "smoltrace: 2 gates were not judged: no model was given (--smoltrace-model)"
    run.stdout.fnmatch_lines([said])
    pytester.makepyfile("def test_it(): pass")
    run = pytester.runpytest_subprocess()
    run.stdout.no_fnmatch_line("*not judged*")
