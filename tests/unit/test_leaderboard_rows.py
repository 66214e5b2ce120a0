"""Runs of a session, which attempts count, and the leaderboard row of each run."""

import hashlib
import json
from dataclasses import replace

import pytest

from pytest_smoltrace.build import build
from pytest_smoltrace.schema import LEADERBOARD
from pytest_smoltrace.session_facts import Footer
from tests.unit.run_factory import (
    FOOTER,
    HEADER,
    SEARCH,
    START,
    FakeRun,
    agent_run,
    call,
    cost,
    declared,
    failure,
    phases,
    record,
    root_spans,
)


def tables(cases, **facts):
    found = {"results": [], "leaderboard": []}
    for name, batch in build(FakeRun(cases, **facts), batch=3).batches():
        found.setdefault(name, []).extend(batch.to_pylist())
    return found


def board(cases, **facts):
    return tables(cases, **facts)["leaderboard"]


def flags(cases, column):
    return [row[column] for row in tables(cases)["results"]]


def of_model(number, model, agent_type="tool", **facts):
    runs = (agent_run(model=model, agent_type=agent_type),) if model else ()
    case = declared(f"case-{number}", model=model, agent_type=agent_type if model else None)
    return record(number, declared=case, runs=runs, **facts)


def test_one_run_has_the_id_of_the_session():
    found = tables([of_model(1, "a"), of_model(2, "a")])
    assert {row["run_id"] for row in found["results"]} == {"session-1"}
    assert [row["run_id"] for row in found["leaderboard"]] == ["session-1"]


def test_several_runs_have_ids_of_their_own():
    found = tables([of_model(1, "a"), of_model(2, "a", "code"), of_model(3, "b")])
    expected = [
        "session-1-" + hashlib.sha256(text).hexdigest()[:8]
        for text in (b"a\ntool", b"a\ncode", b"b\ntool")
    ]
    assert [row["run_id"] for row in found["results"]] == expected
    assert [row["run_id"] for row in found["leaderboard"]] == expected
    assert [row["num_tests"] for row in found["leaderboard"]] == [1, 1, 1]


def test_rows_without_identity_join_the_only_run():
    found = tables([of_model(1, None), of_model(2, "a")])
    assert {row["run_id"] for row in found["results"]} == {"session-1"}
    assert found["results"][0]["model"] is None, "the row says that no agent was built"
    (row,) = found["leaderboard"]
    assert (row["model"], row["num_tests"], row["identity_known"]) == ("a", 2, True)


def test_rows_without_identity_stay_apart_from_several_runs():
    found = tables([of_model(1, None), of_model(2, "a"), of_model(3, "b")])
    unknown = found["leaderboard"][0]
    assert (unknown["model"], unknown["agent_type"]) == ("none", "none")
    assert unknown["identity_known"] is False
    assert len(found["leaderboard"]) == 3


def attempts(*outcomes, trial=0):
    kinds = {"infra": ("failed", failure("llm_server_error", "infra")),
             "agent": ("failed", failure()), "passed": ("passed", None),
             "skipped": ("skipped", None),
             "interrupted": ("interrupted", failure("interrupted", "harness"))}  # fmt: skip
    return [
        record(1, outcome=kinds[o][0], error=kinds[o][1], attempt=i,
               trace_id=f"{trial * 100 + i:032x}", declared=declared("case-1", trial=trial))
        for i, o in enumerate(outcomes)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outcomes", "counted", "scored"),
    [
        (("passed",), [1], [1]),
        (("agent", "passed"), [1, 0], [1, 0]),
        (("infra", "passed"), [0, 1], [0, 1]),
        (("infra", "agent", "passed"), [0, 1, 0], [0, 1, 0]),
        (("infra", "infra"), [0, 1], [0, 0]),
        (("interrupted", "passed"), [0, 1], [0, 1]),
        (("interrupted",), [1], [0]),
        (("skipped",), [1], [0]),
    ],
)
def test_a_rerun_never_raises_a_rate(outcomes, counted, scored):
    cases = attempts(*outcomes)
    assert flags(cases, "counted") == [bool(n) for n in counted]
    assert flags(cases, "scored") == [bool(n) for n in scored]
    assert flags(list(reversed(cases)), "counted") == [bool(n) for n in reversed(counted)]


def test_pass_at_1_is_the_lowest_scored_trial():
    cases = [*attempts("infra", trial=0), *attempts("agent", trial=1), *attempts("passed", trial=2)]
    assert flags(cases, "pass_at_1_passed") == [None, False, None]
    (row,) = board(cases)
    assert (row["evaluated_prompts"], row["passed_prompts"]) == (1, 0)


def trials(case, passed, number):
    return [
        record(outcome="passed" if i < passed else "failed", trace_id=f"{case}{i:031x}",
               declared=declared(f"case-{case}", trial=i, trials=number))
        for i in range(number)
    ]  # fmt: skip


def test_pass_at_k_of_the_contract_example():
    (row,) = board(trials(1, 3, 5), header=replace(HEADER, config={"pass_k": 2}))
    assert row["pass_k"] == 2
    assert row["pass_at_k"] == pytest.approx(0.9)
    assert row["pass_hat_k"] == pytest.approx(0.3)
    assert row["pass_at_1"] == pytest.approx(0.6)
    curve = json.loads(row["pass_curve"])
    assert curve["2"] == {"cases": 1, "pass_at": pytest.approx(0.9), "pass_hat": pytest.approx(0.3)}
    assert sorted(curve) == ["1", "2", "3", "4", "5"]


def test_interval_of_the_contract_example():
    cases = [record(n, outcome="passed" if n < 52 else "failed") for n in range(60)]
    (row,) = board(cases)
    assert row["success_rate"] == pytest.approx(100 * 52 / 60)
    assert row["success_rate_ci_low"] == pytest.approx(75.8, abs=0.05)
    assert row["success_rate_ci_high"] == pytest.approx(93.1, abs=0.05)
    assert row["success_rate_ci_method"] == "wilson"


def test_trials_cluster_the_interval():
    cases = [*trials(1, 3, 4), *trials(2, 1, 4), *trials(3, 4, 4)]
    assert board(cases)[0]["success_rate_ci_method"] == "cluster_t"
    assert board(cases)[0]["pass_attempts"] == 4


def mixed_cases():
    """Return six attempts of five cases with figures that are easy to add by hand."""
    return [
        record(1, phases=phases(call_s=1.0), tool_calls=(SEARCH, SEARCH)),
        record(2, outcome="failed", phases=phases(call_s=3.0), runs=(agent_run(steps=5),),
               calls=(call(prompt_tokens=301, completion_tokens=0, cost=cost(0.5, 0.25)),),
               tool_calls=(replace(SEARCH, name="calc"),)),
        record(3, outcome="failed", error=failure("llm_rate_limit", "infra"),
               calls=(call(prompt_tokens=None, completion_tokens=None, cost=None,
                           cost_source="unpriced", error_type="llm_rate_limit"),)),
        record(4, outcome="skipped", phases=phases()[:1], runs=(), calls=()),
        record(5, outcome="failed", error=failure("timeout", "timeout"), runs=(
            agent_run(stop_reason="timeout", steps=1),), tool_calls=None, calls=()),
        record(6, outcome="failed", error=failure("max_steps"), phases=phases(call_s=2.0),
               runs=(agent_run(stop_reason="max_steps", steps=10),)),
    ]  # fmt: skip


def test_populations():
    (row,) = board(mixed_cases(), planned=tuple(declared(f"case-{n}") for n in range(1, 7)))
    sizes = {
        "planned_tests": 6, "completed_tests": 5, "skipped_tests": 1, "interrupted_tests": 0,
        "errored_tests": 1, "num_tests": 4, "total_tests": 4, "successful_tests": 1,
        "failed_tests": 3, "timed_out_tests": 1, "max_steps_tests": 1, "executed_attempts": 5,
        "total_errors": 3,
    }  # fmt: skip
    assert {name: row[name] for name in sizes} == sizes
    assert row["success_rate"] == 25.0
    assert row["error_rate"] == 60.0
    assert json.loads(row["error_types"]) == {"llm_rate_limit": 1, "max_steps": 1, "timeout": 1}
    assert row["run_status"] == "completed"


def test_sums_are_over_all_rows_and_averages_over_scored_ones():
    (row,) = board(mixed_cases())
    assert row["total_tokens"] == 120 + 301 + 120
    assert row["tokens_known_tests"] == 3
    assert row["tokens_unknown_attempts"] == 2, "the failed call and the untraced attempt"
    assert row["avg_tokens_per_test"] == 180, "541 / 3, rounded half to even"
    assert row["avg_prompt_tokens"] == 167, "501 / 3"
    assert row["total_cost_usd"] == pytest.approx(0.012 + 0.75 + 0.012)
    assert row["avg_cost_per_test_usd"] == pytest.approx(0.774 / 3)
    assert (row["cost_known_tests"], row["cost_unknown_attempts"]) == (3, 2)
    assert row["avg_steps"] == pytest.approx((2 + 5 + 1 + 10) / 4)
    assert row["avg_duration_ms"] == pytest.approx((1000 + 3000 + 2500 + 2000) / 4)
    assert row["total_duration_ms"] == pytest.approx(1000 + 3000 + 2500 + 2500 + 2000)
    assert row["p50_duration_ms"] == pytest.approx(2250.0)
    assert row["p95_duration_ms"] == pytest.approx(2500 + 0.85 * 500)
    assert row["total_tool_calls"] == 3
    assert row["avg_tool_calls_per_test"] == pytest.approx(1.0), "0, 1 and 2; one is unknown"
    assert (row["unique_tools_used"], row["most_used_tool"]) == (2, "search")
    assert row["cost_source"] == "mixed"


def test_order_of_the_attempts_changes_no_figure():
    cases = [record(n, calls=(call(cost=cost(0.1 * n, 0.3), ttft_s=0.1 * n),)) for n in range(9)]
    forward, backward = board(cases), board(list(reversed(cases)))
    assert forward == backward


def test_latency_is_over_calls():
    ttfts = [0.1, 0.2, 0.3, 0.4, 1.0]
    calls = tuple(call(ttft_s=t, stream_s=0.5, completion_tokens=6) for t in ttfts)
    judge = call(role="judge", ttft_s=9.0, stream_s=9.0)
    (row,) = board([record(1, calls=calls[:2]), record(2, calls=(*calls[2:], call(), judge))])
    assert row["streamed_call_count"] == 5
    assert row["avg_ttft_seconds"] == pytest.approx(0.4)
    assert row["p50_ttft_seconds"] == pytest.approx(0.3)
    assert row["p95_ttft_seconds"] == pytest.approx(0.4 + 0.8 * 0.6)
    assert row["avg_tbt_seconds"] == pytest.approx(0.1)
    assert row["llm_call_count"] == 6


def test_common_settings_take_the_smallest_of_equals():
    calls = tuple(call(temperature=t, max_tokens=m) for t, m in ((0.9, 5), (0.2, 5), (None, 7)))
    (row,) = board([record(1, calls=calls)])
    assert (row["common_temperature"], row["common_max_tokens"]) == (0.2, 5)
    assert row["common_top_p"] is None


def test_facts_of_the_session():
    cases = [
        record(1, spans=root_spans(2.0, 5.0)),
        record(2, spans=root_spans(1.0, 4.0), scores={"s": {"value": 0.25}}),
    ]
    (row,) = board(cases)
    assert row["timestamp"] == row["evaluation_date"] == "2025-10-09T08:53:20.123456"
    assert row["started_at"].isoformat() == "2025-10-09T08:53:20.123456+00:00"
    assert row["ended_at"].timestamp() == START / 1e9 + 5
    assert row["wall_time_s"] == 4.0
    assert row["results_dataset"] == row["metrics_repo"] == "local:dir-1"
    assert row["metrics_dataset"] == ""
    assert (row["submitted_by"], row["notes"], row["team"]) == ("local", "n", "blue")
    assert (row["provider"], row["gen_ai.system"]) == ("litellm", "openai")
    assert row["smoltrace_version"] == "pytest-smoltrace/9.8.7"
    assert row["hardware_detail"] == HEADER.environment["hardware_detail"]
    assert row["hardware_scope"] == "runner"
    assert (row["git_sha"], row["git_dirty"], row["random_seed"]) == ("a" * 40, False, 77)
    assert json.loads(row["package_versions"]) == {"pytest": "9.0.0"}
    assert json.loads(row["ci"]) == {"system": "ci-x"}
    assert json.loads(row["scores"]) == {"s": {"mean": 0.25, "n": 1}}
    assert json.loads(row["generation_settings"]) == {
        "requested": {"temperature": 0.31, "seed": 5},
        "applied": {"temperature": 0.31},
        "not_applied": {"seed": "the provider takes none"},
    }
    assert row["price_table_version"] == "prices-1"
    assert (row["workers"], row["run_stop_reason"]) == (4, "completed")


def test_killed_session():
    (row,) = board([record(1)], footer=None, planned=(declared("case-1"), declared("case-2")))
    assert (row["run_stop_reason"], row["run_status"]) == ("crash", "partial")
    assert row["ended_at"] is None
    assert row["planned_tests"] == 2


def test_run_that_never_started():
    planned = (declared("case-1"), declared("case-2", agent_type="code"))
    rows = board([], planned=planned, footer=replace(FOOTER, stop_reason="interrupted"))
    assert [(row["agent_type"], row["run_status"]) for row in rows] == [
        ("tool", "failed"), ("code", "failed")
    ]  # fmt: skip
    assert [row["num_tests"] for row in rows] == [0, 0]
    for row in rows:
        assert row["success_rate"] == 0.0
        assert row["success_rate_ci_low"] is None
        for column in LEADERBOARD.columns:
            assert column.nullable or row[column.name] is not None


def test_planned_case_joins_the_run_in_which_its_like_ended():
    ran = record(1, declared=declared("case-1", model="option"), runs=(agent_run(model="own"),))
    planned = (ran.declared, declared("case-2", model="option"))
    (row,) = board([ran], planned=planned)
    assert (row["model"], row["planned_tests"], row["run_status"]) == ("own", 2, "partial")


def test_runs_stand_in_the_order_of_the_plan():
    cases = [of_model(1, "a"), of_model(2, "b")]
    planned = tuple(case.declared for case in cases)
    for order in (cases, list(reversed(cases))):
        assert [row["model"] for row in board(order, planned=planned)] == ["a", "b"]


def test_suite_hash_ignores_order_and_trials_but_not_prompts():
    def hash_of(*cases):
        return board([], planned=cases)[0]["suite_hash"]

    one, two = declared("a", prompt="p"), declared("b", prompt="q")
    again = replace(one, trial=1, nodeid="other")
    assert hash_of(one, two) == hash_of(two, one, again)
    assert hash_of(one, two) != hash_of(one, replace(two, prompt="r"))


def test_datasets_of_the_cases_are_named():
    planned = (declared("a", dataset="x.jsonl", dataset_revision="r1"), declared("b", dataset="w"))
    (row,) = board([], planned=planned)
    assert (row["dataset_used"], row["dataset_revision"]) == ("w,x.jsonl", "r1")


def test_session_with_nothing_at_all():
    assert (
        board([], footer=Footer(ended_unix_ns=START, stop_reason="completed", exit_status=5)) == []
    )
