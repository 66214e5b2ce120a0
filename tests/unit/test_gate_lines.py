"""Lines that a person reads of a judgement, word for word."""

import json

import pytest

from pytest_smoltrace.encoding import dumps
from pytest_smoltrace.gates.flip_lines import flip_lines
from pytest_smoltrace.gates.lines import verdict_lines


def result(**facts):
    known = {
        "name": "quality",
        "expression": "success_rate >= 80%",
        "level": "fail",
        "status": "PASS",
        "blocks": False,
        "reason": None,
        "run_id": "run-1",
        "model": "m-1",
        "agent_type": "tool",
        "unit": "%",
        "value": 100 * 52 / 60,
        "low": 75.83,
        "high": 93.09,
        "limit": 80.0,
        "baseline": 90.0,
        "cases": 60,
        "attempts": 60,
    }
    return known | facts


def failed(**facts):
    return result(**({"status": "FAIL", "blocks": True, "value": 50.0} | facts))


def unmeasured(**facts):
    empty = dict.fromkeys(("value", "low", "high", "limit", "baseline"))
    return failed(**(empty | {"status": "NOT_MEASURED", "cases": 0, "attempts": 0} | facts))


def no_regressions(**facts):
    known = {"name": "no_regressions", "expression": "no_regressions", "limit": None}
    return result(**(known | facts))


def judgement(*results, **facts):
    status = "failed" if any(r["blocks"] for r in results) else "passed"
    return {"status": status, "results": results, "flips": (), "baseline": None} | facts


def lines(*results, verbose=0, **facts):
    return [line for line, _ in verdict_lines(judgement(*results, **facts), verbose=verbose)]


def flip(number, kind="newly failing", **facts):
    sides = {"passed": 0, "trials": 3, "error_type": "wrong_answer"}
    return {
        "case_id": f"case-{number}",
        "model": "m-1",
        "agent_type": "tool",
        "kind": kind,
        "candidate": sides,
        "baseline": sides | {"passed": 3, "error_type": None},
        "divergence": {"text": f"step {number}: called a instead of b"},
        "reason": None,
    } | facts


def test_a_gate_is_one_line():
    assert lines(result()) == [
        (
            "PASS quality  success_rate 86.7 % >= 80.0 %  (52/60, 95 % CI 75.8 to 93.1)  "
            "baseline 90.0 % (-3.3 pp)"
        ),
        "gates: 1 passed",
    ]


def test_a_gate_without_a_name_says_its_metric_once():
    (line, _) = lines(result(name="success_rate", baseline=None))
    assert line == "PASS success_rate 86.7 % >= 80.0 %  (52/60, 95 % CI 75.8 to 93.1)"


def test_a_limit_of_the_baseline_is_told_with_what_was_typed():
    (line, *_) = lines(
        result(
            name="speed", expression="p95(latency) <= baseline*1.2 for tag=web if n >= 20",
            unit="ms", value=2310.0, low=2100.0, high=2600.0, limit=2400.0, baseline=2000.0,
            cases=20, attempts=60,
        )
    )  # fmt: skip
    assert line == (
        "PASS speed  p95(latency) 2.31 s <= 2.40 s (baseline*1.2)  "
        "(60 attempts of 20 cases, 95 % CI 2.10 s to 2.60 s)  baseline 2.00 s (+15.5 %)"
    )


def test_what_is_not_measured_shows_what_was_asked():
    assert lines(unmeasured(name="e", expression="energy <= 5Wh", unit="W.h", reason="no GPU")) == [
        "NOT_MEASURED e  energy <= 5Wh",
        "     no GPU",
        "gates: 1 of 1 failed (exit code 1)",
    ]


def test_no_regressions_shows_both_rates():
    (line, _) = lines(no_regressions())
    assert line == (
        "PASS no_regressions  success_rate 86.7 %  (52/60, 95 % CI 75.8 to 93.1)  "
        "baseline 90.0 % (-3.3 pp)"
    )


def test_coverage_counts_cases():
    (line, *_) = lines(
        result(name="coverage", expression="coverage >= 100%", value=96.67, limit=100.0, low=None,
               high=None, baseline=None, attempts=58)
    )  # fmt: skip
    assert line == "PASS coverage 96.7 % >= 100.0 %  (58/60 cases)"


def test_a_gate_of_the_users_own_has_a_name_and_a_reason():
    own = unmeasured(name="mine", expression="check", run_id=None, model=None, agent_type=None,
                     status="ERROR", reason="KeyError: 'x'")  # fmt: skip
    assert lines(own)[:2] == ["ERROR mine  check", "     KeyError: 'x'"]


def test_several_runs_are_told_apart():
    shown = lines(result(), failed(model="m-2", run_id="run-2"))
    assert [line.split("  ")[0] for line in shown[:2]] == [
        "PASS quality [m-1, tool]",
        "FAIL quality [m-2, tool]",
    ]


def test_a_warning_is_told_as_one():
    shown = lines(failed(blocks=False, level="warn"), status="warned")
    assert shown[0].startswith("FAIL quality (warn)  success_rate 50.0 % >= 80.0 %")
    assert shown[-1] == "gates: none of 1 failed (1 fail)"
    assert lines(result(level="warn"))[0].startswith("PASS quality  success_rate")


def test_the_last_line_counts():
    assert lines(result(), failed())[-1] == "gates: 1 of 2 failed (exit code 1)"
    assert lines(failed(), exit_status=2)[-1] == "gates: 1 of 1 failed (exit code 2)"
    unsure = no_regressions(status="INCONCLUSIVE")
    assert lines(result(), unsure, status="warned")[-1] == (
        "gates: none of 2 failed (1 passed, 1 inconclusive)"
    )


def test_the_baseline_comes_first():
    compared = {"candidate": 50, "baseline": 60, "both": 48}
    used = {"reference": "last", "session_id": "s-9", "missing": None, "allowed": ("model (a, b)",)}
    shown = lines(result(), baseline=used, compared=compared, partial="-k web")
    assert shown[:3] == [
        "baseline last: run s-9, 48 cases in both, of 50 in this run and 60 in the baseline",
        "allowed to differ: model (a, b)",
        "only part of the suite: -k web",
    ]
    missing = {"reference": "last", "session_id": None, "missing": "no run is stored"}
    assert lines(result(), baseline=missing)[0] == "baseline last: no run is stored"


@pytest.mark.parametrize("verbose", [-1, -2])
def test_quiet_is_one_line_with_both_verdicts(verbose):
    shown = lines(failed(), no_regressions(status="INCONCLUSIVE"), verbose=verbose)
    assert shown == [
        "smoltrace gates: 1 of 2 failed (exit code 1); quality FAIL; no_regressions INCONCLUSIVE"
    ]
    assert lines(result(), no_regressions(), verbose=verbose) == [
        "smoltrace gates: 2 passed; no_regressions PASS"
    ]


def test_colours_say_what_fails():
    shown = list(
        verdict_lines(
            judgement(result(), failed(), failed(blocks=False), result(status="SKIPPED")), verbose=0
        )
    )
    assert [colour for _, colour in shown] == ["green", "red", "yellow", "yellow", "red"]


def test_changed_cases_are_named_and_cut():
    flips = [flip(n) for n in range(42)] + [flip(50, "newly passing")]
    shown = lines(failed(), flips=flips)
    assert shown[1:3] == [
        "newly failing: case-0, case-1, case-2, case-3, case-4 and 37 more",
        "newly passing: case-50",
    ]


def test_verbose_says_where_traces_part():
    shown = lines(failed(), flips=[flip(n) for n in range(12)], verbose=1)
    assert shown[1:4] == [
        "newly failing: 12 cases",
        "  case-0  0/3, was 3/3, wrong_answer",
        "    step 0: called a instead of b",
    ]
    assert shown[-2] == "  and 2 more"
    assert len(lines(failed(), flips=[flip(n) for n in range(12)], verbose=2)) == 27


def test_verbose_says_what_a_case_takes_more_or_less():
    spent = {"tokens_delta": 420.0, "cost_usd_delta": -0.0011, "duration_ms_delta": None}
    shown = lines(failed(), flips=[flip(1, **spent)], verbose=1)
    assert shown[2] == "  case-1  0/3, was 3/3, wrong_answer  (+420 tokens, -$0.00110)"


def test_the_same_reason_is_said_once():
    bare = {"divergence": None, "reason": "the baseline has no traces"}
    shown = lines(failed(), flips=[flip(1, **bare), flip(2, **bare)], verbose=1)
    assert shown[2:5] == [
        "  case-1  0/3, was 3/3, wrong_answer",
        "  case-2  0/3, was 3/3, wrong_answer",
        "  not compared step by step: the baseline has no traces",
    ]
    assert lines(failed(), flips=[flip(1, **bare)], verbose=1)[3] == (
        "    the baseline has no traces"
    )


def test_many_gates_are_cut_those_that_failed_last():
    many = [result(name=f"g{n}") for n in range(60)]
    shown = lines(*many, failed(name="last"))
    assert shown[-2:] == ["and 21 more (-v shows them)", "gates: 1 of 61 failed (exit code 1)"]
    assert shown[39].startswith("FAIL last")
    assert len(lines(*many, verbose=1)) == 61


def test_lines_are_the_same_from_the_stored_file():
    value = judgement(failed(), no_regressions(), flips=[flip(1)])
    stored = json.loads(dumps(value))
    for verbose in (-1, 0, 1):
        assert list(verdict_lines(stored, verbose=verbose)) == list(
            verdict_lines(value, verbose=verbose)
        )


def test_cases_of_several_models_are_told_apart_in_a_short_list():
    def moved(model, kind):
        return {"kind": kind, "case_id": "a", "model": model, "agent_type": "tool"}

    flips = [moved("m-1", "newly failing"), moved("m-2", "newly passing")]
    assert [line for line, _ in flip_lines(flips, verbose=0)] == [
        "newly failing: a [m-1, tool]",
        "newly passing: a [m-2, tool]",
    ]
    assert [line for line, _ in flip_lines(flips[:1], verbose=0)] == ["newly failing: a"]


def test_with_unequal_trials_the_difference_is_that_of_the_cases():
    facts = {"value": 22.2, "baseline": 88.9, "expression": "no_regressions"}
    shown = lines(failed(**facts, comparison={"kind": "difference", "estimate": -0.75}))[0]
    assert shown.endswith("baseline 88.9 % (-75.0 pp case by case)")
    shown = lines(failed(**facts, comparison={"kind": "difference", "estimate": -0.667}))[0]
    assert shown.endswith("baseline 88.9 % (-66.7 pp)")
    risen = {"value": 30.0, "baseline": 10.0, "expression": "error_rate <= baseline"}
    shown = lines(failed(**risen, comparison={"kind": "difference", "estimate": -0.25}))[0]
    assert shown.endswith("baseline 10.0 % (+25.0 pp case by case)")
