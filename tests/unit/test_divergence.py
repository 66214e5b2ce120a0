"""The first step where two attempts part, and how it is told."""

import json

import pytest

from pytest_smoltrace.comparing.divergence import divergence
from pytest_smoltrace.comparing.steps import STEP_LIMIT, Step
from pytest_smoltrace.comparing.wording import LONGEST


def look(city, result="a city", **changes):
    return Step(kind="tool", name="look", arguments={"city": city}, result=result, **changes)


def answer(text, **changes):
    return Step(kind="answer", name="final_answer", result=text, **changes)


def code(text, result=None, error=None, **changes):
    return Step(kind="code", arguments=text, result=result, error=error, **changes)


def parted(baseline, candidate):
    found = divergence(baseline, candidate)
    return found.what, found.text


SAME = [look("Paris", number=1), answer("Paris", number=2)]


@pytest.mark.parametrize(
    ("baseline", "candidate", "what", "text"),
    [
        (
            [look("Paris"), answer("x")],
            [Step(kind="tool", name="find", arguments={"q": 1}), answer("x")],
            "tool",
            'step 1: called find(q=1) instead of calling look(city="Paris")',
        ),
        (
            [look("Paris")],
            [look("Rome")],
            "arguments",
            'step 1: called look with city="Rome" instead of city="Paris"',
        ),
        (
            [look("Paris", "old", number=1)],
            [look("Paris", "new", number=1)],
            "result",
            'step 1: the same call look(city="Paris") returned "new" instead of "old"',
        ),
        (
            SAME,
            [look("Paris", number=1), answer("Rome", number=2)],
            "answer",
            'step 2: answered "Rome" instead of "Paris"',
        ),
        (
            SAME,
            [answer("Paris", number=1)],
            "answer",
            'step 1: answered "Paris" instead of calling look(city="Paris")',
        ),
        (
            SAME,
            [SAME[0], look("Rome", number=2)],
            "tool",
            'step 2: called look(city="Rome") instead of answering "Paris"',
        ),
        (
            SAME,
            SAME[:1],
            "stopped",
            'step 2: stopped instead of answering "Paris"',
        ),
        (
            SAME[:1],
            SAME,
            "stopped",
            'step 2: answered "Paris" where the baseline had stopped',
        ),
        (
            SAME,
            [SAME[0], Step(kind="answer", name=STEP_LIMIT, result="?")],
            "stopped",
            'step 2: reached the step limit instead of answering "Paris"',
        ),
        (
            [SAME[0], Step(kind="answer", name=STEP_LIMIT, result="?")],
            SAME,
            "answer",
            'step 2: answered "Paris" instead of reaching the step limit',
        ),
        (
            [look("Paris")],
            [look("Paris", None, error="ValueError: broken")],
            "error",
            'step 1: look(city="Paris") failed with ValueError: broken, it did not before',
        ),
        (
            [look("Paris", None, error="ValueError: broken")],
            [look("Paris")],
            "error",
            'step 1: look(city="Paris") did not fail, it did before with ValueError: broken',
        ),
        (
            [look("Paris", None, error="ValueError: a")],
            [look("Paris", None, error="ValueError: b")],
            "error",
            'step 1: look(city="Paris") failed with "ValueError: b" instead of "ValueError: a"',
        ),
        (
            SAME,
            [Step(kind="error", name="AgentParsingError", error="no JSON", number=1)],
            "error",
            'step 1: failed with AgentParsingError: no JSON instead of calling look(city="Paris")',
        ),
        (
            [code("1 + 1", "2")],
            [code("1 + 2", "3")],
            "code",
            'step 1: other code gave "3" instead of "2"',
        ),
        (
            [code("now()", "9:00")],
            [code("now()  # again", "9:01")],
            "result",
            'step 1: the same code gave "9:01" instead of "9:00"',
        ),
        (
            [code("f()", "1")],
            [code("f()", error="line 'f()' due to: NameError")],
            "error",
            "step 1: the code failed with line 'f()' due to: NameError, it did not before",
        ),
        (
            [look("Rome")],
            [code("1", "1")],
            "code",
            'step 1: ran code that gave "1" instead of calling look(city="Rome")',
        ),
        (
            [Step(kind="llm", result="yes")],
            [Step(kind="llm", result="no")],
            "message",
            'step 1: said "no" instead of "yes"',
        ),
        (
            [look("Rome", agent="helper", number=1)],
            [look("Oslo", agent="helper", number=1)],
            "arguments",
            'step 1 of helper: called look with city="Oslo" instead of city="Rome"',
        ),
    ],
)
def test_what_parts_two_attempts(baseline, candidate, what, text):
    assert parted(baseline, candidate) == (what, text)


@pytest.mark.parametrize(
    ("baseline", "candidate"),
    [
        ([], []),
        (SAME, SAME),
        ([look("Paris", None)], [look("Paris", "known")]),  # hidden on one side
        ([Step(kind="tool", name="look")], [look("Rome", None)]),
        ([code("x = 1", "1")], [code("y = 1", "1")]),  # other names, the same work
        (
            [code("f(1)", error="failed at line 'f(1)' due to: ValueError: v")],
            [code("f(2)", error="failed at line 'f(2)' due to: ValueError: v")],
        ),
        ([look("Paris", tokens=1, duration_ms=9.0)], [look("Paris", tokens=2)]),
    ],
)
def test_what_parts_nothing(baseline, candidate):
    assert divergence(baseline, candidate) is None


def test_the_first_of_several_differences_counts():
    before = [look("A", number=1), look("B", number=2), answer("x", number=3)]
    now = [look("A", number=1), look("C", number=2), answer("y", number=3)]
    found = divergence(before, now)
    assert (found.step, found.same_steps, found.what) == (2, 1, "arguments")
    assert (found.baseline, found.candidate) == (before[1], now[1])


def test_all_differing_arguments_are_named():
    def call(**arguments):
        return Step(kind="tool", name="find", arguments=arguments)

    found = divergence([call(q="a", top=3, lang="en")], [call(q="b", top=3, page=2)])
    assert found.keys == ("q", "page", "lang")
    assert found.text == (
        'step 1: called find with q="b", page=2, no lang instead of q="a", no page, lang="en"'
    )


def test_arguments_that_are_no_object():
    one, other = (Step(kind="tool", name="f", arguments=text) for text in ("a", "b"))
    found = divergence([one], [other])
    assert (found.what, found.keys) == ("arguments", ())
    assert found.text == 'step 1: called f("b") instead of f("a")'


def test_sums_over_all_steps():
    before = [look("A", tokens=100, cost_usd=0.5, duration_ms=20.0), answer("x", tokens=10)]
    now = [look("B", tokens=50, cost_usd=0.25, duration_ms=50.0)]
    found = divergence(before, now)
    assert (found.tokens_delta, found.cost_usd_delta, found.duration_ms_delta) == (-60, -0.25, 30.0)


@pytest.mark.parametrize("side", [0, 1])
def test_an_unknown_part_makes_a_sum_unknown(side):
    steps = [[look("A", tokens=3, cost_usd=1.0)], [look("B", tokens=4, cost_usd=1.0)]]
    steps[side].append(answer("x", tokens=None, cost_usd=None))
    found = divergence(*steps)
    assert (found.tokens_delta, found.cost_usd_delta) == (None, None)


def test_long_values_are_cut_and_still_differ():
    start = "the same beginning " * 20
    what, text = parted([answer(start + "old end")], [answer(start + "new end")])
    assert what == "answer"
    assert "new end" in text
    assert "old end" in text
    assert len(text) < 2 * LONGEST + 60


@pytest.mark.parametrize("size", [1, LONGEST, LONGEST + 1, 100_000])
def test_a_line_is_one_short_line(size):
    text = parted([answer("a\nb\t\x1b[31m" * size)], [look("c" * size)])[1]
    assert len(text) < 3 * LONGEST + 60
    assert text.isprintable()


def test_as_dict_is_json():
    value = divergence(SAME, SAME[:1]).as_dict()
    assert json.loads(json.dumps(value)) == {
        "what": "stopped",
        "text": 'step 2: stopped instead of answering "Paris"',
        "step": 2,
        "same_steps": 1,
        "keys": [],
        "baseline": {
            "kind": "answer",
            "name": "final_answer",
            "arguments": None,
            "result": "Paris",
            "error": None,
            "number": 2,
            "agent": None,
            "tokens": 0,
            "cost_usd": 0.0,
            "duration_ms": 0.0,
        },
        "candidate": None,
        "tokens_delta": 0,
        "cost_usd_delta": 0.0,
        "duration_ms_delta": 0.0,
    }


def test_stored_steps_are_cut():
    huge = "x" * 50_000
    one = Step(kind="tool", name="f", arguments={"text": huge}, result=huge)
    other = Step(kind="tool", name="f", arguments={"text": "y"}, error=huge)
    value = divergence([one], [other]).as_dict()
    assert len(json.dumps(value)) < 10_000
    assert value["candidate"]["arguments"] == {"text": "y"}
    assert value["baseline"]["arguments"].startswith('{"text":"xxx')
