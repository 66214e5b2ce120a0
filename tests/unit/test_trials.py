"""Which repetition an item is, and what trials are said to have told."""

import itertools
import types
from dataclasses import replace

import pytest

from pytest_smoltrace import terminal, trials
from pytest_smoltrace.build import build
from pytest_smoltrace.marker import TRIAL, VARIANT
from pytest_smoltrace.redaction import HIDDEN_CONTENT
from pytest_smoltrace.rows.equal_trials import EQUAL
from pytest_smoltrace.trials import REPEAT, Repetition
from tests.unit.run_factory import FakeRun, agent_run, call, declared, record
from tests.unit.test_terminal import run as row


def item(ids, **params):
    return types.SimpleNamespace(callspec=types.SimpleNamespace(params=params, _idlist=ids))


@pytest.mark.parametrize(
    ("ids", "params", "expected"),
    [
        ([], {}, (0, 1, "")),
        (["x"], {}, (0, 1, "x")),
        (["t3"], {}, (0, 1, "t3")),
        (["x", "t3"], {TRIAL: Repetition(3, 5)}, (3, 5, "x")),
        (["t3", "t3"], {TRIAL: Repetition(3, 5)}, (3, 5, "t3")),
        (["-t0", "a-tool", "t0"], {TRIAL: Repetition(0, 2), VARIANT: 1}, (0, 2, "-t0")),
        (["a-tool"], {VARIANT: 1}, (0, 1, "")),
        (["2-4"], {REPEAT: 1}, (1, 4, "")),
        (["2-4", "2-4"], {REPEAT: 1}, (1, 4, "2-4")),
        (["2-4", "x"], {REPEAT: 1}, (1, 4, "x")),
        (["x", "3-4", "a", "t1"], {REPEAT: 2, VARIANT: 1, TRIAL: Repetition(1, 2)}, (6, 8, "x")),
        (["odd"], {REPEAT: 2}, (2, 3, "odd")),
    ],
)
def test_which_repetition_an_item_is(ids, params, expected):
    found = trials.trial_of(item(ids, **params))
    assert (found.index, found.count, found.params) == expected


def test_an_item_without_parameters():
    found = trials.trial_of(types.SimpleNamespace())
    assert (found.index, found.count, found.params) == (0, 1, "")


def test_combined_repetitions_have_numbers_of_their_own():
    rows = itertools.product(range(3), range(4))
    found = [
        trials.trial_of(item([f"{copy + 1}-4", f"t{own}"],
                             **{REPEAT: copy, TRIAL: Repetition(own, 3)}))
        for own, copy in rows
    ]  # fmt: skip
    assert [trial.index for trial in found] == list(range(12))
    assert {trial.count for trial in found} == {12}


def passed(**changes):
    (line,) = (one for one in terminal.summary_lines({"runs": [row(**changes)]}, verbose=0)
               if one.startswith("passed"))  # fmt: skip
    return line


def test_the_summary_tells_cases_and_trials():
    told = {"pass_attempts": 3, "pass_k": 3, "evaluated_prompts": 20, "pass_hat_k": 0.7}
    assert passed(**told).endswith("75.8 to 93.1 %), 20 cases x 3 trials, pass^3 70.0 %")
    assert passed(**{**told, "evaluated_prompts": 21}).endswith(
        "21 cases x up to 3 trials, pass^3 70.0 %"
    )
    assert passed(**{**told, "pass_k": 9, "pass_hat_k": None}).endswith("20 cases x 3 trials")
    assert "trials" not in passed(**{**told, "pass_attempts": 1})


def attempts(*answers, cases=2, tokens=7):
    """Return records of trials with these answers, the same of each case."""
    return [
        record(case * 100 + trial, calls=(call(completion_tokens=tokens),),
               runs=(agent_run(answer=answer),),
               declared=declared(f"case-{case}", trial=trial, trials=len(answers)))
        for case in range(cases) for trial, answer in enumerate(answers)
    ]  # fmt: skip


def said(records):
    built = build(FakeRun(records))
    list(built.batches())
    return built.warnings


def test_equal_trials_are_said():
    assert said(attempts("Bern", "Bern", "Bern")) == (EQUAL,)


@pytest.mark.parametrize(
    "records",
    [
        attempts("Bern"),
        attempts("Bern", "Rome"),
        attempts(None, None),
        attempts(HIDDEN_CONTENT, HIDDEN_CONTENT),
        attempts("Bern", "Bern", tokens=None),
        [*attempts("Bern", "Bern", cases=1), *attempts("Bern", cases=2)[1:]],
    ],
    ids=["once", "other answers", "no answer", "hidden", "tokens unknown", "a case ran once"],
)
def test_trials_that_may_differ_are_not(records):
    assert said(records) == ()


def test_other_token_counts_are_a_difference():
    one, two = attempts("Bern", "Bern", cases=1)
    (used,) = two.calls
    two = replace(two, calls=(replace(used, completion_tokens=used.completion_tokens + 1),))
    assert said([one, two]) == ()
