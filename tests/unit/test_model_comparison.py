"""Several models of one session, compared with the best of them."""

import math
import random
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from pytest_smoltrace import terminal
from pytest_smoltrace.comparing.leaderboard import comparison_lines, scored_counts


def summary(table, **changes):
    """Return a summary; `table` maps (model, agent type) to the trials of each case."""
    runs, cases = [], []
    for number, ((model, kind), results) in enumerate(table.items()):
        runs.append({"run_id": f"r{number}", "model": model, "agent_type": kind})
        for case, trials in results.items():
            cases += [line(f"r{number}", case, trial, ok) for trial, ok in enumerate(trials)]
    return {"runs": runs, "cases": cases, "cases_left_out": 0, **changes}


def line(run_id, case, trial, success):
    return {
        "run_id": run_id,
        "case_id": case,
        "trial": trial,
        "counted": True,
        "scored": True,
        "success": success,
    }


def singles(pattern):
    """Return one trial a case: `1` passed, `0` failed, `-` not there."""
    return {f"c{n}": [mark == "1"] for n, mark in enumerate(pattern) if mark != "-"}


def lines(*patterns):
    table = {(f"m{n}", "tool"): singles(pattern) for n, pattern in enumerate(patterns)}
    return [" ".join(text.split()) for text in comparison_lines(summary(table))]


def mcnemar(one, other):
    """Return the two-sided exact p-value of two patterns over the cases of both."""
    both = [(a, b) for a, b in zip(one, other, strict=True) if "-" not in (a, b)]
    gained, lost = both.count(("0", "1")), both.count(("1", "0"))
    if not gained + lost:
        return 1.0
    return stats.binomtest(gained, gained + lost).pvalue


BEST = "1" * 28 + "00"
WORSE = "0" * 14 + "1" * 14 + "00"
CLOSE = "1" * 26 + "0010"


def test_models_against_the_best():
    head, worse, close = lines(WORSE, BEST, CLOSE)
    assert (
        head
        == "differences from m1, paired by case; p, not the intervals, adjusted for 3 pairs (Holm)"
    )
    raw = {
        "worse": mcnemar(BEST, WORSE),
        "close": mcnemar(BEST, CLOSE),
        "others": mcnemar(WORSE, CLOSE),
    }
    order = sorted(raw, key=raw.get)
    adjusted, largest = {}, 0.0
    for place, name in enumerate(order):
        largest = max(largest, min(1.0, raw[name] * (3 - place)))
        adjusted[name] = largest
    assert worse.startswith("m0: lower: -46.7 pp (")
    assert f", p {adjusted['worse']:.2g}, 30 shared cases" in worse
    assert adjusted["worse"] < 0.05 < adjusted["close"]
    assert close.startswith("m2: no difference shown: -3.3 pp (")
    assert f", p {adjusted['close']:.2g}, 30 shared cases" in close


def test_what_only_stands_without_the_correction_is_not_shown():
    best, lower = "1" * 30, "0" * 6 + "1" * 24
    assert mcnemar(best, lower) < 0.05 < 2 * mcnemar(best, lower)
    assert lines(best, lower)[1].startswith("m1: lower: -20.0 pp")
    assert lines(best, lower, best)[1].startswith("m1: no difference shown: -20.0 pp")


def test_the_interval_is_that_of_scipy():
    """A bootstrap over cases: its ends agree with an independent one within its noise."""
    (_, told) = lines(BEST, WORSE)
    low, high = (float(end) for end in told.partition("(")[2].partition(" pp)")[0].split(" to "))
    d = np.array([int(b) - int(a) for a, b in zip(BEST, WORSE, strict=True)], dtype=float)
    expected = stats.bootstrap((d,), np.mean, rng=np.random.default_rng(11)).confidence_interval
    assert low == pytest.approx(100 * expected.low, abs=4)
    assert high == pytest.approx(100 * expected.high, abs=4)


def test_two_models_need_no_correction():
    head, told = lines(BEST, WORSE)
    assert head.endswith("paired by case; two-sided p")
    p = mcnemar(BEST, WORSE)
    text = "<0.0001" if p < 0.0001 else f"{p:.2g}"
    assert f", p {text}, " in told


@pytest.mark.parametrize("seed", range(20))
def test_random_tables_of_single_trials(seed):
    draw = random.Random(seed)
    one, other = ("".join(draw.choice("0011-") for _ in range(40)) for _ in range(2))
    (_, told) = lines(one, other)
    both = sum("-" not in pair for pair in zip(one, other, strict=True))
    p = mcnemar(one, other)
    assert told.endswith(f", p {p:.2g}, {both} shared cases")
    assert ("no difference shown" in told) == (p > 0.05)


def test_only_shared_cases_count():
    # Of the ten cases of both, one differs; the best has ten more that it passes.
    (_, told) = lines("1" * 20, "0" + "1" * 9 + "-" * 10)
    assert told.startswith("m1: no difference shown: -10.0 pp (")
    assert told.endswith("p 1, 10 shared cases")


def test_trials_are_one_case():
    table = {
        ("m0", "tool"): {f"c{n}": [True, True, True] for n in range(12)},
        ("m1", "tool"): {f"c{n}": [False, n % 2 == 0, True] for n in range(12)},
    }
    (_, told) = [" ".join(text.split()) for text in comparison_lines(summary(table))]
    assert told.startswith("m1: lower: -50.0 pp (")
    # All twelve signs are one way: 2 / 2**12, by trials it would be 1.5e-05.
    assert f", p {2 / 2**12:.2g}, 12 shared cases" in told
    d = np.array([-1 / 3 if n % 2 == 0 else -2 / 3 for n in range(12)])
    exact = stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    ).pvalue
    assert exact == pytest.approx(2 / 2**12)


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ([("a", "tool"), ("b", "tool")], ["a", "b"]),
        ([("a", "tool"), ("a", "code")], ["tool agent", "code agent"]),
        (
            [("a", "tool"), ("a", "code"), ("b", "tool")],
            ["a, tool agent", "a, code agent", "b, tool agent"],
        ),
        ([("a", "tool"), ("a", "tool")], ["a", "a (r1)"]),
    ],
)
def test_runs_are_named_by_what_tells_them_apart(keys, names):
    value = {
        "runs": [
            {"run_id": f"r{n}", "model": model, "agent_type": kind}
            for n, (model, kind) in enumerate(keys)
        ],
        "cases": [line(f"r{n}", "c", 0, success=True) for n in range(len(keys))],
    }
    assert list(scored_counts(value)) == names


def test_only_what_is_counted_and_scored():
    value = summary({("m0", "tool"): {"c": [True]}, ("m1", "tool"): {"c": [False]}})
    value["cases"] += [
        {**line("r0", "c", 1, success=False), "scored": False},
        {**line("r0", "c", 1, success=False), "counted": False},
        line("another run", "c", 1, success=False),
    ]
    assert scored_counts(value) == {"m0": {"c": (1, 1)}, "m1": {"c": (0, 1)}}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"runs": [], "cases": []},
        summary({("m0", "tool"): singles("11")}),
        summary({("m0", "tool"): singles("11"), ("m1", "tool"): {}}),
        summary({("m0", "tool"): singles("11--"), ("m1", "tool"): singles("--11")}),
    ],
)
def test_nothing_to_compare(value):
    assert list(comparison_lines(value)) == []


def test_a_summary_that_is_not_whole():
    table = {("m0", "tool"): singles("11"), ("m1", "tool"): singles("10")}
    (told,) = comparison_lines(summary(table, cases_left_out=1))
    assert told == "differences    not computed: the summary does not hold all cases"


def test_the_terminal_tells_it_under_the_table(monkeypatch):
    monkeypatch.setattr(terminal, "_row", lambda run: (run["model"], "tool", *["-"] * 10))
    for name in ("energy_lines", "_rest_lines", "_incomplete", "failures", "exit_reason"):
        monkeypatch.setattr(terminal, name, lambda *args, **kwargs: iter(()))
    table = {("m0", "tool"): singles(BEST), ("m1", "tool"): singles(WORSE)}
    value = summary(table)
    for case in value["cases"]:
        case |= {"duration_ms": None, "cost_usd": None, "nodeid": case["case_id"]}
    told = list(terminal.summary_lines(value, verbose=0))
    assert told[3:5] == list(comparison_lines(value))
    assert math.prod(len(text) > 0 for text in told)


def test_scipy_is_only_imported_to_compare():
    script = (
        "import sys; from pytest_smoltrace.comparing.leaderboard import comparison_lines as f; "
        "run = {'run_id': 'a', 'model': 'm', 'agent_type': 'tool'}; "
        "other = {**run, 'run_id': 'b', 'model': 'n'}; "
        "case = {'run_id': 'a', 'case_id': 'c', 'counted': True, 'scored': True, 'success': True}; "
        "list(f({'runs': [run, other], 'cases': [case]})); print('scipy' in sys.modules); "
        "both = [{**case, 'run_id': r, 'case_id': c, 'success': r < c} "
        "for r in 'ab' for c in 'abc']; "
        "list(f({'runs': [run, other], 'cases': both})); print('scipy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "True"]
