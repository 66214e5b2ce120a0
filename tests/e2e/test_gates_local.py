"""Gates on the embedded models: the smaller one against the larger, and one against itself.

A model against itself at temperature 0 gives equal answers, so it cannot fail; how many builds of
an unchanged random agent do is what tests/unit/test_inference_errors.py counts.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_smoltrace.capture.weights import DEFAULT, SMALL, part_files

ROOT = Path(__file__).parents[2]
CASES = (
    "meal or holidays or lost-laptop or tool-sum or tool-percent or parcel or "
    "(arithmetic and product)"
)
"""Seven cases with a tool agent."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("xllamacpp") is None or part_files(SMALL) is None or part_files(DEFAULT) is None,
        reason="needs pip install 'pytest-smoltrace[local,local-small]'",
    ),
]


def evaluate(runs, model, name, *options):
    command = [
        *(sys.executable, "-m", "pytest", "example_evals", "-k", CASES, "-p", "no:randomly"),
        *(f"--smoltrace-model={model}", "--smoltrace-trials=3", "-p", "no:cacheprovider"),
        *(f"--smoltrace-dir={runs}", f"--smoltrace-run-id={name}", "--tb=no", "-v", *options),
    ]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=900
    )
    summary = json.loads((runs / "runs" / name / "summary.json").read_bytes())
    return done.returncode, done.stdout, summary


def test_the_smaller_model_regresses_and_the_same_does_not(tmp_path):
    code, _, summary = evaluate(tmp_path, "local", "base")
    assert (code, summary["runs"][0]["num_tests"]) == (0, 21)

    judged = ("--smoltrace-baseline=base", "--smoltrace-allow-mismatch=model")
    code, shown, summary = evaluate(tmp_path, "local:small", "small", *judged)
    gates = {gate["name"]: gate for gate in summary["gates"]["results"]}
    assert (code, gates["no_regressions"]["status"]) == (1, "REGRESSION"), shown
    assert gates["no_regressions"]["comparison"]["p_value"] == pytest.approx(2**-7)
    flips = summary["gates"]["flips"]
    assert {flip["kind"] for flip in flips} == {"newly failing"}
    assert len(flips) == 7
    assert all(flip["case_id"] in shown and flip["divergence"]["text"] in shown for flip in flips)

    code, shown, summary = evaluate(tmp_path, "local", "again", "--smoltrace-baseline=base")
    gates = {gate["name"]: gate for gate in summary["gates"]["results"]}
    assert code == 0, shown
    assert gates["no_regressions"]["status"] in ("PASS", "INCONCLUSIVE")
    assert summary["gates"]["flips"] == []
