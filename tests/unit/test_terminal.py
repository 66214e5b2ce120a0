"""The lines of header and summary."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_smoltrace import terminal
from pytest_smoltrace.config import ModelSpec, RunConfig


def run(**changes):
    return {
        "model": "gpt-4o-mini",
        "agent_type": "tool",
        "planned_tests": 62,
        "completed_tests": 62,
        "executed_attempts": 62,
        "run_status": "completed",
        "run_stop_reason": "completed",
        "errored_tests": 4,
        "error_types": {"max_steps": 1, "llm_rate_limit": 2, "llm_auth": 1, "setup_error": 1},
        "num_tests": 60,
        "successful_tests": 52,
        "success_rate": 100 * 52 / 60,
        "success_rate_ci_low": 75.834,
        "success_rate_ci_high": 93.062,
        "total_tokens": 1_310_000,
        "total_prompt_tokens": 1_234_567,
        "total_completion_tokens": 75_433,
        "tokens_unknown_attempts": 0,
        "total_cost_usd": 0.24,
        "cost_unknown_attempts": 0,
        "p50_duration_ms": 1_234.5,
        "p95_duration_ms": 65_000.0,
        "p50_ttft_seconds": 0.2104,
        "p95_ttft_seconds": 1.5,
        **changes,
    }


def case(name, **changes):
    return {
        "run_id": "s1",
        "nodeid": f"test_a.py::{name}",
        "case_id": name,
        "trial": 0,
        "attempt": 0,
        "outcome": "passed",
        "counted": True,
        "scored": True,
        "duration_ms": 1000.0,
        "cost_usd": 0.001,
        "tokens": 240,
        "error_type": None,
        "error_category": None,
        "error": None,
        **changes,
    }


def failed(name, kind="wrong_answer", **changes):
    return case(name, outcome="failed", error_type=kind, error_category="agent", **changes)


def unscored(name, kind, category="infra"):
    nothing = {"scored": False, "duration_ms": None, "cost_usd": None}
    return case(name, outcome="failed", error_type=kind, error_category=category, **nothing)


CASES = [
    case("one", duration_ms=9_000.0),
    case("two", cost_usd=0.02, duration_ms=2_000.0),
    failed("three", duration_ms=1.0),
    failed("four", "max_steps"),
    failed("five"),
    unscored("six", "llm_rate_limit"),
    unscored("seven", "llm_rate_limit"),
    unscored("eight", "llm_auth"),
    unscored("nine", "setup_error", "harness"),
]


def summary(*runs, cases=CASES):
    return {"schema_version": "1.0", "session_id": "s1", "runs": list(runs), "cases": list(cases)}


def lines(value, verbose=0, **arguments):
    return list(terminal.summary_lines(value, verbose=verbose, **arguments))


def test_an_attempt_that_was_run_again_is_told_apart():
    again = [
        unscored("six", "llm_auth") | {"counted": False},
        unscored("ten", "worker_crash", "harness") | {"counted": False},
    ]
    found = lines(summary(run(), cases=[*CASES, *again]))
    assert (
        "infra errors   2 llm_rate_limit, 1 llm_auth (not scored), 1 llm_auth (run again)" in found
    )
    assert "harness errors 1 setup_error (not scored), 1 worker_crash (run again)" in found


def test_summary_of_one_run(tmp_path):
    assert lines(summary(run()), directory=tmp_path / "runs" / "s1") == [
        "passed         52 of 60 (86.7 %, 75.8 to 93.1 %)",
        "model          gpt-4o-mini, tool agent",
        "tokens         1,234,567 prompt + 75,433 completion",
        "cost           $0.240",
        "latency        p50 1.23 s, p95 1 min 05 s",
        "first token    p50 210 ms, p95 1.50 s",
        "failed         2 wrong_answer, 1 max_steps",
        "infra errors   2 llm_rate_limit, 1 llm_auth (not scored)",
        "harness errors 1 setup_error (not scored)",
        "slowest             9.00 s  test_a.py::one",
        "                    2.00 s  test_a.py::two",
        "                    1.00 s  test_a.py::four",
        "dearest            $0.0200  test_a.py::two",
        "                  $0.00100  test_a.py::one",
        "                  $0.00100  test_a.py::three",
        f"run            {tmp_path / 'runs' / 's1'}",
    ]


MEASURED = {
    "gpu_count": 2,
    "total_gpu_energy_wh": 10 / 6,
    "gpu_energy_unattributed_wh": 0.0421,
    "co2_emissions_g": 0.791666,
    "co2_source": "DEU 2024 Ember",
    "co2_intensity_g_per_kwh": 344.1,
    "electricity_cost_usd": 0.0002,
    "gpu_power_avg_w": 600.0,
    "gpu_power_max_w": 1234.5,
    "gpu_utilization_avg": 40.25,
    "gpu_memory_max_mib": 2048.4,
    "gpu_memory_total_mib": 163840.0,
}


def test_energy_of_the_gpus():
    found = lines(summary(run(**MEASURED)))
    rest = "0.792 g CO2e (344 g/kWh, DEU 2024 Ember), $0.000200 of electricity"
    energy = f"1.67 Wh (0.0421 Wh more outside of cases), {rest}"
    gpu = "2 x, 600 W (most 1,234 W), 40.2 % busy, at most 2,048 of 163,840 MiB"
    assert f"energy         {energy}" in found
    assert f"gpu            {gpu}" in found


def test_energy_outside_of_the_cases_of_several_runs_is_said_once():
    measured = (run(model=name, **MEASURED) for name in "bc")
    found = lines(summary(run(), *measured))
    energy = "1.67 Wh, 0.792 g CO2e (344 g/kWh, DEU 2024 Ember), $0.000200 of electricity"
    gpu = "2 x, 600 W (most 1,234 W), 40.2 % busy, at most 2,048 of 163,840 MiB"
    assert [one for one in found if one.startswith(("energy", "gpu "))] == [
        f"energy         b, tool agent: {energy}",
        f"gpu            b, tool agent: {gpu}",
        f"energy         c, tool agent: {energy}",
        f"gpu            c, tool agent: {gpu}",
        "energy         0.0421 Wh more outside of cases",
    ]


def test_what_a_card_does_not_tell_is_a_dash():
    unknown = dict.fromkeys(("gpu_power_avg_w", "gpu_power_max_w", "gpu_utilization_avg"))
    found = lines(summary(run(**MEASURED) | unknown))
    assert "gpu            2 x, - (most -), - busy, at most 2,048 of 163,840 MiB" in found
    found = lines(summary(run(**MEASURED) | {"total_gpu_energy_wh": None}))
    assert [one.split()[0] for one in found if "Wh" in one or "W (" in one] == ["gpu"]
    found = lines(summary(run(**MEASURED) | unknown | {"gpu_memory_max_mib": None}))
    assert not any(one.startswith("gpu ") for one in found)


def test_unknown_is_a_dash_and_never_a_zero():
    unknown = run(
        num_tests=0,
        successful_tests=0,
        success_rate=0.0,
        success_rate_ci_low=None,
        success_rate_ci_high=None,
        total_tokens=0,
        total_prompt_tokens=None,
        total_completion_tokens=None,
        tokens_unknown_attempts=62,
        total_cost_usd=0.0,
        cost_unknown_attempts=62,
        p50_duration_ms=None,
        p95_duration_ms=None,
        p50_ttft_seconds=None,
        p95_ttft_seconds=None,
    )
    found = lines(summary(unknown, cases=[]))
    assert found == [
        "passed         0 of 0",
        "model          gpt-4o-mini, tool agent",
        "tokens         - prompt + - completion, unknown for 62",
        "cost           unpriced",
        "latency        p50 -, p95 -",
        "first token    p50 -, p95 -",
        "run            s1",
    ]
    (row,) = lines(summary(unknown, run(), cases=[]))[1:2]
    assert row.split()[2:6] == ["0/0", "-", "-", "-"]
    assert "$" not in row
    assert "unpriced" in row


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"total_cost_usd": 0.0, "cost_unknown_attempts": 62}, "unpriced"),
        ({"total_cost_usd": 0.5, "cost_unknown_attempts": 2}, "$0.500 + 2 unpriced"),
        ({"total_cost_usd": 0.0, "cost_unknown_attempts": 0}, "$0.00"),
        ({"total_cost_usd": 0.0, "cost_unknown_attempts": 0, "executed_attempts": 0}, "$0.00"),
    ],
)
def test_cost_of_a_run(changes, expected):
    assert terminal.run_cost(run(**changes)) == expected


def test_quiet_is_one_line():
    (line,) = lines(summary(run()), verbose=-1)
    assert line == (
        "smoltrace: 52 of 60 passed (86.7 %, 75.8 to 93.1 %), 1,310,000 tokens, $0.240,"
        " 4 not scored (2 llm_rate_limit, 1 llm_auth, 1 setup_error), s1"
    )
    unpriced = run(total_cost_usd=0.0, cost_unknown_attempts=62)
    two = lines(summary(run(), unpriced, cases=[]), verbose=-2)
    assert two == [
        (
            "smoltrace: 104 of 120 passed, 2,620,000 tokens, $0.240 + 62 unpriced, "
            "8 not scored (4 llm_rate_limit, 2 llm_auth, 2 setup_error), s1"
        )
    ]


@pytest.mark.parametrize(
    ("figures", "rest"),
    [
        ({"num_tests": 20, "successful_tests": 20}, "all 20 evaluated cases passed"),
        ({"num_tests": 20, "successful_tests": 15}, "15 of 20 evaluated passed"),
        ({"num_tests": 1, "successful_tests": 1}, "1 of 1 evaluated passed"),
        ({"num_tests": 0, "successful_tests": 0}, "no other case was"),
    ],
)
def test_an_exit_code_without_a_failed_case_is_explained(figures, rest):
    value = summary(run(error_types={"llm_connection": 4, "llm_rate_limit": 6}, **figures))
    (found,) = [line for line in lines({**value, "exit_status": 1}) if line.startswith("exit")]
    assert found == (
        "exit code 1    10 cases could not be evaluated (6 llm_rate_limit, 4 llm_connection); "
        + rest
    )
    assert not any(line.startswith("exit") for line in lines({**value, "exit_status": 0}))


def test_an_exit_code_of_failed_cases_needs_no_explanation():
    value = summary(run(error_types={"max_steps": 3}, errored_tests=0))
    assert not any(line.startswith("exit") for line in lines({**value, "exit_status": 1}))


def test_one_case_that_could_not_be_evaluated():
    value = summary(run(error_types={"judge_error": 1}), run(error_types={}))
    (found,) = [line for line in lines({**value, "exit_status": 1}) if line.startswith("exit")]
    assert "1 case could not be evaluated (1 judge_error); 104 of 120" in found


def test_a_long_run_names_the_errors_of_all_its_cases():
    value = summary(run(error_types={"llm_auth": 12_000, "setup_error": 1}), cases=CASES[:1])
    found = lines({**value, "cases_left_out": 12_000, "slowest": [], "dearest": []})
    assert "infra errors   12,000 llm_auth (not scored)" in found
    assert "harness errors 1 setup_error (not scored)" in found


def test_several_runs_are_one_aligned_table():
    other = run(model="m", agent_type="code", successful_tests=7, total_cost_usd=12.5)
    found = lines(summary(run(), other))
    head, first, second = found[:3]
    assert head.startswith("model        agent  passed")
    assert head.endswith("TTFT p50  TTFT p95")
    assert len({len(line) for line in found[:3]}) == 1
    for name, value, other_value in [("passed", "52/60", "7/60"), ("cost", "$0.240", "$12.50")]:
        end = head.index(name) + len(name)
        assert first[:end].endswith(value)
        assert second[:end].endswith(other_value)
    assert found[3].startswith("failed")


def test_more_cases_under_v():
    many = [case(f"c{n:02d}", duration_ms=float(n + 1)) for n in range(20)]
    found = lines(summary(run(), cases=many), verbose=1)
    start = next(place for place, line in enumerate(found) if line.startswith("slowest"))
    slowest = found[start : start + 10]
    assert found[start + 10].startswith("dearest")
    assert [line.split("::")[1] for line in slowest] == [f"c{n:02d}" for n in range(19, 9, -1)]


def test_a_single_case_is_not_compared_with_itself():
    assert not any(line.startswith("slowest") for line in lines(summary(run(), cases=CASES[:1])))


def test_a_rerun_of_an_agent_failure_is_not_listed_twice():
    again = failed("three", scored=False)
    assert "failed         1 wrong_answer" in lines(summary(run(), cases=[failed("three"), again]))


def test_a_long_run_names_the_extremes_of_all_its_cases():
    value = summary(run(), cases=CASES[:3])
    value["cases_left_out"] = 90_000
    value["slowest"] = [case("late", duration_ms=60_000.0), CASES[0]]
    value["dearest"] = []
    found = lines(value)
    assert "failed         1 wrong_answer among the first 3 attempts" in found
    assert "slowest         1 min 00 s  test_a.py::late" in found
    assert not any(line.startswith("dearest") for line in found)


def test_incomplete_run():
    stopped = run(run_status="partial", run_stop_reason="interrupted", completed_tests=40)
    assert "incomplete     40 of 62 cases of gpt-4o-mini, tool agent (interrupted)" in lines(
        summary(stopped)
    )


def test_nothing_was_evaluated():
    assert lines(summary(cases=[])) == ["no case was evaluated", "run            s1"]
    assert lines(summary(cases=[]), verbose=-1) == [
        "smoltrace: 0 of 0 passed, 0 tokens, $0.00, s1",
    ]


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "-"),
        (0.0, "0 ms"),
        (0.25, "0.25 ms"),
        (12.4, "12 ms"),
        (999.4, "999 ms"),
        (999.6, "1.00 s"),
        (9_990.0, "9.99 s"),
        (59_940.0, "59.9 s"),
        (59_960.0, "1 min 00 s"),
        (3_599_000.0, "59 min 59 s"),
        (3_660_000.0, "1 h 01 min"),
    ],
)
def test_durations(ms, text):
    assert terminal.duration(ms) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "-"),
        (0.0, "$0.00"),
        (2.476e-05, "$0.0000248"),
        (0.009996, "$0.0100"),
        (0.0123, "$0.0123"),
        (0.5, "$0.500"),
        (0.9999, "$1.00"),
        (1.0, "$1.00"),
        (1234.5, "$1,234.50"),
    ],
)
def test_amounts(amount, text):
    assert terminal.usd(amount) == text


def test_counts():
    assert (terminal.count(None), terminal.count(0), terminal.count(12_345)) == ("-", "0", "12,345")


CONFIG = RunConfig(
    models=(ModelSpec(provider="openai", model_id="a"), ModelSpec(provider="local", model_id="")),
    agent_types=("tool", "code"),
    directory=Path("/srv/evals"),
)


def header(config, verbose=0, directory=None):
    arguments = {"session_id": "s1", "directory": directory, "verbose": verbose}
    return list(terminal.header_lines(config, **arguments))


def test_header(tmp_path, monkeypatch):
    assert header(CONFIG) == [
        "smoltrace: openai:a, local, tool and code agents, streaming",
        "smoltrace: run s1 in /srv/evals, prices: bundled table",
    ]
    monkeypatch.chdir(tmp_path)
    config = RunConfig(
        models=CONFIG.models[:1],
        stream=False,
        base_url="https://ann:hunter2@h/v1",
        prices=tmp_path / "p.toml",
        shown={"base_url": "https://***@h/v1"},
    )
    assert header(config, directory=tmp_path / ".smoltrace" / "runs" / "s1") == [
        "smoltrace: openai:a at https://***@h/v1, tool agents, not streaming",
        "smoltrace: run s1 in .smoltrace/runs, prices: p.toml",
    ]


def test_header_under_v_tells_every_origin():
    from pytest_smoltrace.options import OPTIONS

    names = [option.name for option in OPTIONS]
    shown = {**dict.fromkeys(names), "model": ["openai:a"], "max_steps": 3}
    config = RunConfig(
        models=CONFIG.models[:1], shown=shown, origins=dict.fromkeys(names, "ini"), max_steps=3
    )
    assert header(config, verbose=1)[2:] == ["  model: openai:a (ini)", "  max_steps: 3 (ini)"]


class Reporter:
    """Keeps what would be written."""

    def __init__(self, verbose):
        self.config = SimpleNamespace(get_verbosity=lambda: verbose)
        self.written = []

    def write_sep(self, sep, title):
        self.written.append(f"{sep} {title}")

    def write_line(self, line, **markup):
        self.written.append((line, markup) if markup else line)


def test_summary_is_written_with_warnings_and_problems(tmp_path):
    outcome = SimpleNamespace(
        summary=summary(run(), cases=[]), directory=tmp_path, warnings=("a torn line",)
    )
    reporter = Reporter(0)
    terminal.write_summary(reporter, outcome, ["disk full"])
    assert reporter.written[:2] == [
        "= smoltrace",
        "passed         52 of 60 (86.7 %, 75.8 to 93.1 %)",
    ]
    assert reporter.written[-3:] == [
        f"run            {tmp_path}",
        ("smoltrace: a torn line", {"yellow": True}),
        ("smoltrace: disk full", {"red": True}),
    ]
    quiet = Reporter(-1)
    terminal.write_summary(quiet, outcome, [])
    assert len(quiet.written) == 2
    assert quiet.written[0].startswith("smoltrace: 52 of 60 passed")


def test_problems_without_an_outcome():
    reporter = Reporter(0)
    terminal.write_summary(reporter, None, ["disk full"])
    assert reporter.written == ["= smoltrace", ("smoltrace: disk full", {"red": True})]
