"""Where gates and how they are judged may be written, and how a wrong one is refused."""

import shutil

import pytest

from pytest_smoltrace import pyproject
from pytest_smoltrace.errors import ConfigError
from tests.plugin import gated_session
from tests.plugin.conftest import CONFTEST
from tests.plugin.gated_session import SOURCE, result, statuses

judged, outside = gated_session.judged, gated_session.outside

CALLS = CONFTEST.replace(
    "        texts = [text_of(message)",
    '        print("MODEL CALLED")\n        texts = [text_of(message)',
)
"""The scripted model, which says that it is called."""
GATE = "tokens <= 200"


@pytest.fixture
def project(judged, pytester):
    """Run a session with two cases in a project with these files."""

    def run(*args, pyproject=None, ini=None, cases=2, **kwargs):
        for name, text in (("pyproject.toml", pyproject), ("pytest.ini", ini)):
            if text is not None:
                (pytester.path / name).write_text(text, encoding="utf-8")
        return judged(*args, cases=cases, **kwargs)

    return run


@pytest.fixture
def refused(suite, outside, pytester):
    """Return the line with which a session with these files is refused."""

    def run(*args, pyproject=None, workers=(), conftest="", **kwargs):
        if pyproject is not None:
            (pytester.path / "pyproject.toml").write_text(pyproject, encoding="utf-8")
        pytester.makeconftest(CALLS + conftest)
        found = suite("-s", *args, *workers, source=SOURCE, **kwargs)
        line = found.refused()
        assert not (pytester.path / ".smoltrace").exists()
        return line

    return run


def names(run):
    return [each["name"] for each in run.gates["results"]]


# Where gates are written.


def test_gates_of_pytests_own_configuration(project):
    run = project(ini=f"[pytest]\nsmoltrace_gate =\n    {GATE}\n    warn: steps <= 0\n")
    assert run.ret == 0
    assert statuses(run) == {"tokens": "PASS", "steps": "FAIL", "valid": "PASS"}


NATIVE = pytest.param(
    "tool.pytest",
    marks=pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest 9 has this table"),
)


@pytest.mark.parametrize("table", ["tool.pytest.ini_options", NATIVE])
def test_gates_of_pytests_table(project, table):
    run = project(
        "-v", pyproject=f'[{table}]\nsmoltrace_gate = ["few={GATE}"]\nsmoltrace_margin = "7pp"\n'
    )
    assert run.ret == 0
    assert names(run) == ["few", "valid"]
    assert "  margin: 0.07" in run.out or "  margin: 7pp" in run.out
    assert f"  gate: few={GATE} (ini)" in run.out


def test_gates_of_the_environment(project, monkeypatch):
    monkeypatch.setenv("SMOLTRACE_GATE", f"{GATE}\nsteps <= 9")
    assert names(project()) == ["tokens", "steps", "valid"]


TABLE = f"""
[tool.smoltrace]
gate_only = true
trials = 3
margin = "60pp"
power = 0.9
baseline = "kept/old"
allow_mismatch = ["settings", "hardware"]
inconclusive = "fail"

[tool.smoltrace.gates]
few = "{GATE}"
slow = {{ expr = "latency <= 1ms", level = "warn" }}
many = {{ expr = "steps <= 9", min_n = 3 }}
"""


def test_the_table_of_pyproject(project, pytester, monkeypatch):
    base = project(run_id="old", cases=3)
    shutil.copytree(base.folder, pytester.path / "kept" / "old")
    shutil.rmtree(base.folder)
    below = pytester.mkdir("below")
    monkeypatch.chdir(below)
    run = project(
        "-v", "..", "--smoltrace-dir=../.smoltrace", pyproject=TABLE, cases=2, trials=None
    )
    assert run.ret == 1
    assert statuses(run) == {
        "few": "PASS", "slow": "FAIL", "many": "TOO_FEW",
        "no_regressions": "INCONCLUSIVE", "valid": "PASS", "coverage": "SHRUNKEN",
    }  # fmt: skip
    assert result(run, "slow")["level"] == "warn"
    assert result(run, "few")["attempts"] == 2 * 3
    assert run.gates["power"] == 0.9
    assert run.gates["gate_only"]
    assert result(run, "no_regressions")["margin"] == 0.6
    for line in ("trials: 3", "gate_only: True", "baseline: kept/old",
                 "allow_mismatch: settings, hardware"):  # fmt: skip
        assert f"  {line} (pyproject)" in run.out


def test_a_typed_gate_replaces_the_one_of_its_name(project):
    table = f'[tool.smoltrace.gates]\nfew = "{GATE}"\nfast = "latency <= 60s"\n'
    run = project(
        "--smoltrace-gate=few=tokens <= 1", "--smoltrace-gate=steps <= 9", pyproject=table
    )
    assert run.ret == 1
    assert names(run) == ["few", "fast", "steps", "valid"]
    assert result(run, "few")["expression"] == "tokens <= 1tok"


def test_the_strongest_source_decides(project, monkeypatch):
    """Flag before environment before ini before pyproject.toml before default."""
    table = '[tool.smoltrace]\nmargin = "1pp"\npower = 0.6\ninconclusive = "fail"\n'
    table += 'baseline_missing = "fail"\n[tool.smoltrace.gates]\na = "steps <= 9"\n'
    ini = "[pytest]\nsmoltrace_margin = 2pp\nsmoltrace_power = 0.7\nsmoltrace_inconclusive = warn\n"
    monkeypatch.setenv("SMOLTRACE_MARGIN", "3pp")
    monkeypatch.setenv("SMOLTRACE_POWER", "0.75")
    run = project("-v", "--smoltrace-margin=4pp", pyproject=table, ini=ini)
    for line in (
        "margin: 0.04 (flag)", "power: 0.75 (environment)", "inconclusive: warn (ini)",
        "baseline_missing: fail (pyproject)", "ci: auto (default)",
    ):  # fmt: skip
        assert f"  {line}" in run.out


def test_gates_add_up_over_all_places(project, monkeypatch):
    table = f'[tool.smoltrace.gates]\na = "{GATE}"\nb = "{GATE}"\nc = "{GATE}"\n'
    ini = f"[pytest]\nsmoltrace_gate =\n    b=tokens <= 201\n    d={GATE}\n    e={GATE}\n"
    monkeypatch.setenv("SMOLTRACE_GATE", "c=tokens <= 202\nd=tokens <= 203")
    run = project("--smoltrace-gate=e=tokens <= 204", pyproject=table, ini=ini)
    assert {r["name"]: r["expression"] for r in run.gates["results"]} == {
        "a": "tokens <= 200tok", "b": "tokens <= 201tok", "c": "tokens <= 202tok",
        "d": "tokens <= 203tok", "e": "tokens <= 204tok", "valid": "valid >= 95%",
    }  # fmt: skip


def test_an_unnamed_gate_is_called_as_its_metric(project):
    table = '[tool.smoltrace.gates]\ntokens = "tokens <= 1"\n'
    ini = "[pytest]\nsmoltrace_gate = steps <= 0\n"
    run = project(
        "--smoltrace-gate=steps <= 9", f"--smoltrace-gate={GATE}", pyproject=table, ini=ini
    )
    assert statuses(run) == {"tokens": "PASS", "steps": "PASS", "valid": "PASS"}


def test_a_typed_baseline_is_found_from_where_one_types(project, pytester, monkeypatch):
    base = project(run_id="old")
    shutil.move(base.folder / "summary.json", pytester.mkdir("below") / "base.json")
    (pytester.path / "pytest.ini").touch()
    monkeypatch.chdir(pytester.path / "below")
    run = project(
        "..", "--smoltrace-dir=../.smoltrace", "--smoltrace-baseline=base.json",
        "--smoltrace-margin=100pp",
    )  # fmt: skip
    assert run.ret == 0
    assert statuses(run)["no_regressions"] in ("PASS", "INCONCLUSIVE")


def test_no_pyproject_is_no_problem(project, pytester):
    assert not (pytester.path / "pyproject.toml").exists()
    assert names(project(f"--smoltrace-gate={GATE}")) == ["tokens", "valid"]


# What is refused.

WRONG_TABLES = {
    "margn = '5pp'": ("has no key 'margn'", "did you mean 'margin'"),
    "model = 'local'": ("cannot set model", "--smoltrace-model"),
    "gate = ['tokens <= 1']": ("has no key 'gate'", "[tool.smoltrace.gates]"),
    "trials = []": ("trials is []",),
    "trials = 0": ("trials (pyproject.toml)", "0"),
    "trials = 2.5": ("trials (pyproject.toml)", "2.5"),
    "margin = 5": ("margin (pyproject.toml)", "write it as 5pp"),
    "gate_only = 'perhaps'": ("gate_only (pyproject.toml)", "perhaps"),
    "allow_mismatch = ['modle']": ("allow_mismatch (pyproject.toml)", "modle"),
    "baseline = { path = 'x' }": ("baseline is {'path': 'x'}",),
    "baseline = 'nothing-like-it'": ("no run or saved baseline is called so",),
    "gates = ['tokens <= 1']": ("[tool.smoltrace.gates] is no table",),
    "gates.q = 5": ("tool.smoltrace.gates.q is no expression",),
    "gates.q = { exp = 'tokens <= 1' }": ("tool.smoltrace.gates.q is no expression",),
    "gates.q = { expr = 'tokens <= 1', lvl = 'warn' }": ("has no key 'lvl'", "did you mean"),
    "gates.q = { expr = 'tokens <= 1', level = 'soft' }": ("level is 'soft'",),
    "gates.q = { expr = 'tokens <= 1', min_n = 0 }": ("min_n is 0",),
    "gates.q = 'tokns <= 1'": ("tool.smoltrace.gates.q: ", "tokns", "did you mean"),
    "gates = ": ("pyproject.toml", "nvalid value (at line 2, column 9)"),
}


IN_OPTIONS = ("trials = 0", "trials = 2.5", "margin = 5", "gate_only = 'perhaps'",
              "allow_mismatch = ['modle']", "baseline = 'nothing-like-it'",
              "gates.q = 'tokns <= 1'", "gates = ")  # fmt: skip
"""Tables that are refused by what reads their values."""


@pytest.mark.parametrize("text", ["margn = '5pp'", *IN_OPTIONS])
def test_a_wrong_table_is_refused(refused, text):
    line = refused(pyproject=f"[tool.smoltrace]\n{text}\n")
    for word in WRONG_TABLES[text]:
        assert word in line


@pytest.mark.parametrize("text", sorted(set(WRONG_TABLES) - set(IN_OPTIONS)))
def test_a_wrong_table_is_told_in_one_line(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(f"[tool.smoltrace]\n{text}\n")
    with pytest.raises(ConfigError) as refusal:
        pyproject.read(tmp_path)
    assert "\n" not in str(refusal.value)
    for word in WRONG_TABLES[text]:
        assert word in str(refusal.value)


@pytest.mark.parametrize("text", ["[tool]\nsmoltrace = 3", "[[tool.smoltrace]]"])
def test_what_is_no_table_is_refused(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError, match="is no table"):
        pyproject.read(tmp_path)


WRONG = {
    ("--smoltrace-gate=success_rat >= 80%",): ("--smoltrace-gate: ", "did you mean"),
    ("--smoltrace-gate=success_rate >= 80",): ("80%",),
    ("--smoltrace-gate=no_regressions",): ("needs a baseline", "--smoltrace-baseline"),
    ("--smoltrace-gate=a=tokens <= 1", "--smoltrace-gate=a=steps <= 1"): ("'a' is given twice",),
    ("--smoltrace-baseline=unknown-run",): ("unknown-run", "no run or saved baseline"),
    ("--smoltrace-baseline=git:x",): ("git:REVISION:PATH",),
    ("--smoltrace-baseline=test_it.py",): ("neither Parquet nor JSON",),
    ("--smoltrace-margin=5",): ("5pp",),
    ("--smoltrace-power=1.5",): ("--smoltrace-power",),
    ("--smoltrace-allow-mismatch=weather",): ("--smoltrace-allow-mismatch",),
    ("--smoltrace-run-id=me", "--smoltrace-baseline=me"): ("itself",),
}


@pytest.mark.parametrize("flags", WRONG)
def test_a_wrong_gate_or_baseline_is_refused(refused, flags):
    line = refused(*flags)
    for word in WRONG[flags]:
        assert word in line


@pytest.mark.parametrize("flags", [("-n", "2"), ("--collect-only",), ("--setup-plan",)])
def test_it_is_refused_however_the_tests_are_run(refused, flags):
    assert "did you mean" in refused("--smoltrace-gate=success_rat >= 80%", workers=flags)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("['tokens <= 1']", "['tokens <= 1'] is no dict of gates by name"),
        ("{'q': 5}", "gate 'q' is 5, neither an expression nor a function"),
        ("{'q': 'tokns <= 1'}", "did you mean"),
        ("{3: 'tokens <= 1'}", "3 is no name of a gate"),
        ("{'valid': lambda a, b: (True, '')}", "there is a gate 'valid' already"),
        ("{'q': 'tokens <= baseline'}", "needs a baseline"),
    ],
)
def test_a_wrong_hook_is_refused(refused, returned, said):
    line = refused(conftest=f"\ndef pytest_smoltrace_gates(config):\n    return {returned}\n")
    assert said in line


def test_two_plugins_with_one_name_are_refused(refused, pytester):
    pytester.makepyfile(more="def pytest_smoltrace_gates():\n    return {'q': 'tokens <= 1'}\n")
    hook = "\ndef pytest_smoltrace_gates():\n    return {'q': 'steps <= 1'}\n"
    assert "two gates are called 'q'" in refused("-p", "more", conftest=hook)


def test_an_option_replaces_a_gate_of_a_hook(project):
    hook = "\ndef pytest_smoltrace_gates():\n    return {'q': 'tokens <= 1', 'f': lambda a, b: 1}\n"
    run = project(
        "--smoltrace-gate=q=tokens <= 200", "--smoltrace-gate=f=steps <= 9", conftest=hook
    )
    assert run.ret == 0
    assert statuses(run) == {"q": "PASS", "f": "PASS", "valid": "PASS"}


def test_collecting_judges_nothing(project):
    run = project("--collect-only", "-q", f"--smoltrace-gate={GATE}")
    assert run.ret == 0
    assert run.gates is None
    assert "no case was run" not in run.out


def test_without_a_model_gates_of_a_project_are_inert(suite, outside, pytester, monkeypatch):
    (pytester.path / "pyproject.toml").write_text("[tool.smoltrace]\nnonsense = 1\n")
    more = """
def pytest_smoltrace_gates(config):
    raise RuntimeError("asked")
"""
    monkeypatch.setenv("SMOLTRACE_GATE", "nonsense")
    monkeypatch.setenv("SMOLTRACE_BASELINE", "nowhere")
    (pytester.path / "pytest.ini").write_text("[pytest]\nsmoltrace_gate = nonsense\n")
    run = suite(source="def test_plain(): pass", model=None, conftest=more)
    assert run.ret == 0
    assert "asked" not in run.out
    assert not run.directory.exists()


# What is printed, however little is asked for.

OUTPUTS = {
    ("-q",): "gates: 1 of 2 failed (exit code 1)",
    ("-qq",): "smoltrace gates: 1 of 2 failed (exit code 1); tokens FAIL",
    ("-v",): "FAIL tokens 110 tokens <= 1 token",
    ("-vv",): "FAIL tokens 110 tokens <= 1 token",
    ("--tb=no",): "FAIL tokens 110 tokens <= 1 token",
    ("--no-summary",): None,
    ("-p", "no:terminal"): None,
    ("--no-header",): "FAIL tokens 110 tokens <= 1 token",
}


@pytest.mark.parametrize("flags", OUTPUTS)
def test_the_verdict_is_printed(project, flags):
    run = project(*flags, "--smoltrace-gate=tokens <= 1")
    assert run.ret == 1
    assert statuses(run)["tokens"] == "FAIL"
    if OUTPUTS[flags]:
        assert OUTPUTS[flags] in run.out
    assert "Traceback" not in run.out + run.err


def test_finished_sees_the_gates(project):
    hook = """
def pytest_smoltrace_finished(outcome):
    import json
    stored = json.loads((outcome.directory / "summary.json").read_text())
    print("SEEN", outcome.summary["gates"]["status"], outcome.summary == stored)
"""
    run = project("--smoltrace-gate=tokens <= 1", conftest=hook)
    assert "SEEN failed True" in run.out


def test_secrets_are_in_no_file(project, monkeypatch):
    secret = "q7RzT0pLw93kfJx2"
    monkeypatch.setenv("ACME_API_KEY", secret)
    hook = """
def pytest_smoltrace_gates(config):
    def tells(candidate, baseline):
        import os
        return False, f"refused {os.environ['ACME_API_KEY']}"
    return {"tells": tells}
"""
    source = SOURCE.replace(
        'ask("answer Bern")', 'ask("answer Bern " + os.environ["ACME_API_KEY"])'
    )
    project(run_id="old", source=source)
    monkeypatch.setenv("CI", "true")
    run = project(
        f"--smoltrace-gate=tokens <= 1 for tag={secret}", "--smoltrace-baseline=old", "-v",
        conftest=hook, source=source, bad=[0, 1],
    )  # fmt: skip
    assert run.ret == 1
    assert len(run.gates["flips"]) == 2
    assert result(run, "tells")["reason"] == "refused ***"
    assert secret not in run.out + run.err
    for file in run.folder.rglob("*"):
        assert file.is_dir() or secret.encode() not in file.read_bytes(), file
