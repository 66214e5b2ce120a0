"""Values of summary.json, as a session and its gates make them."""

from pytest_smoltrace.comparing.divergence import Divergence
from pytest_smoltrace.comparing.flips import Flip, Side
from pytest_smoltrace.comparison import Comparison
from pytest_smoltrace.gates.verdicts import BaselineUsed, GateResult, Judgement, Status

NASTY = (
    "a|b `tick` ``two`` <img src=x onerror=alert(1)> </details><script>alert(1)</script> @octocat "
    "#1 [link](https://evil.example) https://evil.example www.evil.example mail@evil.example "
    "![i](https://evil.example/i.png) <!-- --> --> **bold** _it_ $x$ :smile: \n\n## title\n"
    "| a | b |\n| - | - |\r\n```\n\x1b[31mred\u202eoved\u2028 ::error::x &lt;b&gt; \\| \\"
)


def run(model="openai:gpt-5-mini", passed=52, scored=60, **facts):
    rate = 100 * passed / scored if scored else 0.0
    known = {
        "run_id": f"nightly-7-{model}",
        "model": model,
        "agent_type": "tool",
        "success_rate": rate,
        "success_rate_ci_low": max(0.0, rate - 9.1) if scored else None,
        "success_rate_ci_high": min(100.0, rate + 8.3) if scored else None,
        "successful_tests": passed,
        "failed_tests": scored - passed,
        "num_tests": scored,
        "errored_tests": 0,
        "error_types": {},
        "pass_hat_k": 0.7,
        "total_tokens": 184_302,
        "llm_call_count": 201,
        "total_tool_calls": 96,
        "avg_steps": 3.35,
        "total_cost_usd": 0.4213,
        "cost_known_tests": scored,
        "cost_unknown_attempts": 0,
        "executed_attempts": scored,
        "p50_duration_ms": 2_310.4,
        "p95_duration_ms": 8_120.9,
        "p50_ttft_seconds": 0.31,
        "p95_ttft_seconds": None,
        "total_gpu_energy_wh": None,
    }
    return known | facts


def case(name="evals/test_geo.py::test_capital[Bern]", **facts):
    known = {
        "run_id": "nightly-7-m",
        "nodeid": name,
        "case_id": name,
        "trial": 0,
        "attempt": 0,
        "outcome": "passed",
        "counted": True,
        "scored": True,
        "duration_ms": 2_310.4,
        "cost_usd": 0.00702,
        "tokens": 3_071,
        "success": True,
        "demands": "0123456789abcdef",
        "error_type": None,
        "error_category": None,
        "error": None,
    }
    return known | facts


def failed_case(name="evals/test_geo.py::test_river[Aare]", **facts):
    known = {
        "outcome": "failed",
        "success": False,
        "error_type": "wrong_answer",
        "error_category": "agent",
        "error": "'Bern' is not in the answer \"It is Zurich\"",
    }
    return case(name, **(known | facts))


def side(passed=3, trials=3, **facts):
    known = {
        "passed": passed,
        "trials": trials,
        "trial": 0,
        "trace_id": "0" * 32,
        "error_type": None if passed else "wrong_answer",
        "error": None,
        "tokens": 1000.0,
        "cost_usd": 0.002,
        "duration_ms": 1500.0,
    }
    return Side(**(known | facts))


def flip(name="evals/test_geo.py::test_capital[Bern]", kind="newly failing", **facts):
    fails = kind in ("newly failing", "worse")
    text = 'step 2: called search with query="capital of Germany" instead of "capital of Bern"'
    known = {
        "case_id": name,
        "nodeid": name,
        "run_id": "nightly-7-m",
        "model": "openai:gpt-5-mini",
        "agent_type": "tool",
        "kind": kind,
        "baseline": side(3 if fails else 0),
        "candidate": side(0 if fails else 3, tokens=1420.0, cost_usd=0.0031, duration_ms=2100.0),
        "divergence": Divergence(what="arguments", text=text, step=2, same_steps=1),
    }
    return Flip(**(known | facts)).as_dict()


def comparison(estimate=-0.033, **facts):
    known = {
        "kind": "difference",
        "estimate": estimate,
        "low": estimate - 0.05,
        "high": estimate + 0.05,
        "interval_method": "bootstrap",
        "worst": estimate - 0.04,
        "p_value": 0.04,
        "method": "sign-flip",
        "detectable": 0.071,
        "cases": 60,
        "baseline_trials": 3,
        "candidate_trials": 3,
        "baseline_value": 0.9,
        "candidate_value": 0.9 + estimate,
    }
    return Comparison(**(known | facts))


def gate(name="quality", expression="success_rate >= 80%", status=Status.PASS, **facts):
    known = {
        "level": "fail",
        "blocks": status in (Status.FAIL, Status.REGRESSION, Status.NOT_MEASURED),
        "run_id": "nightly-7-m",
        "model": "openai:gpt-5-mini",
        "agent_type": "tool",
        "unit": "%",
        "value": 86.7,
        "low": 75.8,
        "high": 93.1,
        "limit": 80.0,
        "cases": 60,
        "attempts": 180,
    }
    return GateResult(name=name, expression=expression, status=status, **(known | facts))


NO_REGRESSIONS = {"name": "no_regressions", "expression": "no_regressions", "limit": None}


def judgement(*results, **facts):
    used = BaselineUsed(
        reference="git:origin/main:evals/baseline.json",
        session_id="nightly-6",
        place="evals/baseline.json at 1f0c3aa",
    )
    known = {"baseline": used, "compared": {"candidate": 60, "baseline": 60, "both": 60}}
    judged = Judgement(results=tuple(results), **(known | facts)).as_dict()
    return judged | {"exit_status": 0 if judged["status"] != "failed" else 1}


def summary(runs=None, cases=None, gates=None, **facts):
    cases = [case()] if cases is None else cases
    known = {
        "schema_version": "1.0",
        "summary_version": "1.0",
        "session_id": "nightly-7",
        "directory": "nightly-7",
        "stop_reason": "completed",
        "exit_status": 0,
        "runs": [run()] if runs is None else runs,
        "cases": cases,
        "cases_left_out": 0,
        "slowest": cases[:5],
        "dearest": cases[:5],
        "selection": None,
        "gates": gates,
    }
    return known | facts


def green():
    latency = {
        "unit": "ms",
        "value": 8120.9,
        "low": None,
        "high": None,
        "limit": 9840.0,
        "baseline": 8200.0,
    }
    ratio = comparison(kind="ratio", estimate=0.99, low=0.91, high=1.08, worse="higher")
    return summary(
        gates=judgement(
            gate(baseline=90.0, comparison=comparison(-0.033)),
            gate("latency", "p95(latency) <= baseline*1.2", **latency, comparison=ratio),
            gate("valid", "valid >= 95%", value=100.0, low=None, high=None, limit=95.0),
            gate("coverage", "coverage >= 100%", value=100.0, low=None, high=None, limit=100.0),
        )
    )


def regression():
    down = comparison(-0.117, p_value=0.002)
    dear = {"unit": "USD", "value": 0.0123, "low": None, "high": None, "limit": 0.01}
    flips = [flip(), flip("evals/test_geo.py::test_river[Aare]", reason=None)]
    flips += [flip("evals/test_math.py::test_sum", "worse", baseline=side(3), candidate=side(2))]
    flips += [flip("evals/test_math.py::test_root", "newly passing")]
    broken = {"scored": False, "error_type": "llm_server_error", "error_category": "infra"}
    return summary(
        runs=[run(passed=45, scored=60, errored_tests=2, error_types={"llm_server_error": 2})],
        cases=[
            case(),
            *(failed_case(f"evals/test_geo.py::test_river[{n}]") for n in range(15)),
            failed_case("evals/test_geo.py::test_lake", **broken, error="Error code: 503"),
        ],
        gates=judgement(
            gate(value=75.0, low=62.8, high=84.2, status=Status.FAIL, baseline=86.7),
            gate(**NO_REGRESSIONS, status=Status.REGRESSION, comparison=down, baseline=86.7,
                 value=75.0, low=62.8, high=84.2, margin=0.05,
                 reason="dropped by 11.7 pp over 60 cases, p = 0.002"),
            gate("cost", "cost <= 0.01usd", **dear, level="warn", status=Status.FAIL, blocks=False),
            gate("valid", "valid >= 95%", value=96.8, low=None, high=None, limit=95.0),
            flips=tuple(flips),
        ),
        exit_status=1,
    )  # fmt: skip


def inconclusive():
    seen = comparison(-0.033, needs_cases=132, needs_trials=4, detectable=0.092, cases=20,
                      baseline_trials=1, candidate_trials=1)  # fmt: skip
    return summary(
        gates=judgement(
            gate(**NO_REGRESSIONS, status=Status.INCONCLUSIVE, blocks=False, comparison=seen,
                 baseline=90.0, cases=20, margin=0.05,
                 reason="needs 132 cases or 4 trials of each case"),
            gate("valid", "valid >= 95%", value=100.0, low=None, high=None, limit=95.0),
            partial="-k geo selected 20 of 60 cases",
            compared={"candidate": 20, "baseline": 60, "both": 20},
        )
    )  # fmt: skip


def huge(cases=5_000, hostile=NASTY):
    names = [f"evals/{hostile}/test_{n}.py::test_{'long' * 100}[{n}]" for n in range(cases)]
    long = hostile * 20
    parted = Divergence(what="answer", text=f"step 3: answered {long}", step=3, same_steps=2)
    flips = [
        flip(name, "newly failing" if n % 2 else "newly passing", divergence=parted, model=long)
        for n, name in enumerate(names)
    ]
    failed = [failed_case(name, error=long) for name in names[: cases // 2]]
    broken = {"scored": False, "error_type": "llm_timeout", "error_category": "infra"}
    failed += [failed_case(name, error=long, **broken) for name in names[cases // 2 :]]
    runs = [
        run(f"model-{n}-{long}", cases // 2, cases, error_types={"llm_timeout": cases // 2})
        for n in range(60)
    ]
    seen = comparison(-0.03, needs_cases=9_000)
    results = [
        gate(f"{long}{n}", long, model=f"model-{n}-{long}", reason=long, comparison=seen,
             status=[Status.PASS, Status.FAIL, Status.INCONCLUSIVE, Status.TOO_FEW][n % 4])
        for n in range(400)
    ]  # fmt: skip
    used = BaselineUsed(reference=long, session_id=long, mismatches=(long,), allowed=(long,))
    gates = judgement(*results, flips=tuple(flips), partial=long, baseline=used)
    return summary(runs, failed, gates, stop_reason=long, session_id=long)
