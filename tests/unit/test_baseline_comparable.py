"""What differs between a run and its baseline, and what that forbids to compare."""

import json
from dataclasses import replace
from itertools import count

import pyarrow as pa
import pytest

from pytest_smoltrace.baselines.comparable import match_run
from pytest_smoltrace.baselines.demands import DEMANDS_NAME, demands_of
from pytest_smoltrace.baselines.match import advice
from pytest_smoltrace.measured.load import load_directory, load_parquet, load_summary
from tests.unit.measured_factory import cases, run, session
from tests.unit.stored_run import store


@pytest.fixture
def pair(tmp_path):
    """Return a maker of a match between two stored runs."""

    calls = count()

    def match(ours=None, theirs=None, *, allow=(), load=load_directory, place=0):
        root = tmp_path / str(next(calls))
        base = load(store(root, "b", **(theirs or {})))
        candidate = load_directory(store(root, "c", **(ours or {})))
        return match_run(candidate.runs[place], candidate, base, allow)

    return match


def texts(mismatches):
    return [(each.word, each.text) for each in mismatches]


def summary(run):
    return load_summary(json.loads((run / "summary.json").read_bytes()))


def parquet(run):
    return load_parquet(run / "results" / "train-00000.parquet")


def summary_only(run):
    """Return a session whose directory is gone."""
    return replace(load_directory(run), directory=None)


def test_equal_runs_have_no_mismatch(pair):
    found = pair()
    assert found.run.run_id == "b"
    assert (found.mismatches, found.timing, found.allowed) == ((), (), ())
    assert found.changed == frozenset()
    assert advice(found.apart()) is advice(found.apart(timing=True)) is None


def test_runs_are_paired_by_model_and_agent_type(pair):
    models = {"models": ("m-1", "m-2")}
    for place, model in ((0, "m-1"), (1, "m-2")):
        assert pair(models, models, place=place).run.model == model


def test_another_model_is_incomparable_until_it_is_allowed(pair):
    ours, theirs = {"models": ("m-2",)}, {"models": ("m-1",)}
    found = pair(ours, theirs)
    assert found.run is None
    assert texts(found.mismatches) == [("model", "model (m-1 and m-2)")]
    assert advice(found.apart()) == (
        "model (m-1 and m-2); allow it with --smoltrace-allow-mismatch=model"
    )


def test_an_allowed_model_is_compared_and_said(pair):
    found = pair({"models": ("m-2",)}, {"models": ("m-1",)}, allow={"model"})
    assert found.run.model == "m-1"
    assert found.mismatches == ()
    assert texts(found.allowed) == [("model", "model (m-1 and m-2)")]


def test_an_allowed_model_takes_no_run_by_chance(pair):
    found = pair({"models": ("m-3",)}, {"models": ("m-1", "m-2")}, allow={"model"})
    assert found.run is None
    assert texts(found.mismatches) == [("model", "model (m-1, m-2 and m-3)")]


def test_a_prompt_that_changed_is_named(pair):
    found = pair({"demand": "do"}, {"demand": "make"})
    assert found.changed == {"c1", "c2", "c3"}
    assert texts(found.mismatches) == [
        ("suite", "suite (another prompt or expectation in c1, c2, c3)")
    ]
    assert pair({"demand": "really do"}, {"demand": "do"}, allow={"suite"}).mismatches == ()


def renamed(load):
    return getattr(load, "__name__", str(load))


@pytest.mark.parametrize("load", [load_directory, summary, parquet, summary_only], ids=renamed)
def test_cases_that_came_or_went_are_no_mismatch(pair, load):
    ours, theirs = {"c1": "P", "c2": "P", "new": "F"}, {"c1": "P", "c2": "P", "old": "F"}
    assert pair({"cases": ours}, {"cases": theirs}, load=load).mismatches == ()


@pytest.mark.parametrize("load", [load_directory, summary, parquet, summary_only], ids=renamed)
def test_a_changed_case_is_found_though_others_came(pair, load):
    ours = {"cases": {"c1": "P", "new": "F"}, "demand": "do"}
    found = pair(ours, {"cases": {"c1": "P", "old": "P"}, "demand": "make"}, load=load)
    assert texts(found.mismatches) == [("suite", "suite (another prompt or expectation in c1)")]


def with_prompts(session, prompts, suite_hash):
    """Return a session of one run that knows nothing but the prompts of its attempts."""
    run = session.runs[0]
    place = run.attempts.column_names.index("prompt")
    column = pa.array(prompts, pa.string())
    changed = replace(
        run,
        attempts=run.attempts.set_column(place, "prompt", column),
        row={**run.row, "suite_hash": suite_hash},
    )
    return replace(session, runs=(changed,), directory=None, summary={})


@pytest.mark.parametrize(
    ("prompts", "suite_hash", "changed"),
    [
        (["today is Tuesday", "do c2", "do c3"], "h1", set()),  # what was declared is the same
        (["today is Tuesday", "do c2", "do c3"], "h2", {"c1"}),
        ([None, "do c2", "do 3"], "h2", {"c3"}),  # nothing is known of what never ran
    ],
)
def test_prompts_are_compared_where_they_are_known_and_may_have_changed(
    tmp_path, prompts, suite_hash, changed
):
    session = load_directory(store(tmp_path))
    candidate = with_prompts(session, prompts, suite_hash)
    baseline = with_prompts(session, ["do c1", "do c2", "do c3"], "h1")
    assert match_run(candidate.runs[0], candidate, baseline).changed == changed


def test_a_summary_alone_tells_which_cases_changed(pair):
    found = pair({"demand": "do"}, {"demand": "make"}, load=summary)
    expected = "suite (another prompt or expectation in c1, c2, c3)"
    assert texts(found.mismatches) == [("suite", expected)]


def test_of_an_old_summary_only_the_hash_of_equal_suites_tells(pair):
    def old(run):
        value = json.loads((run / "summary.json").read_bytes())
        cases = [{k: v for k, v in case.items() if k != "demands"} for case in value["cases"]]
        return load_summary({**value, "cases": cases})

    found = pair({"demand": "do"}, {"demand": "make"}, load=old)
    expected = "suite (the same cases with other prompts or expectations)"
    assert texts(found.mismatches) == [("suite", expected)]


def test_more_changed_cases_than_fit_are_counted(pair):
    cases = {f"c{n}": "P" for n in range(1, 8)}
    found = pair({"cases": cases}, {"cases": cases, "demand": "make"})
    assert (
        found.mismatches[0].text == "suite (another prompt or expectation in c1, c2, c3 and 4 more)"
    )


def test_demands_of_a_saved_baseline_are_those_of_its_journal(tmp_path):
    run = store(tmp_path)
    known = demands_of(load_directory(run))
    assert set(known) == {"c1", "c2", "c3"}
    (run / DEMANDS_NAME).write_text(json.dumps({k: sorted(v) for k, v in known.items()}))
    (run / "journal.jsonl").unlink()
    assert demands_of(load_directory(run)) == known
    (run / DEMANDS_NAME).unlink()
    assert demands_of(load_directory(run)) is None


def test_an_older_summary_does_not_tell_what_its_cases_asked_for(pair):
    def older(run):
        value = json.loads((run / "summary.json").read_bytes())
        for line in value["cases"]:
            del line["demands"]
        return load_summary(value)

    ours = {"cases": {"c1": "P", "new": "F"}, "demand": "do"}
    theirs = {"cases": {"c1": "P", "old": "P"}, "demand": "make"}
    assert pair(ours, theirs, load=older).changed == frozenset()


def test_settings_that_figures_depend_on_are_compared(pair):
    found = pair({"config": {"seed": 6, "temperature": 0.9}}, {"config": {"seed": 5}})
    assert texts(found.mismatches) == [
        ("settings", "--smoltrace-temperature (0.31 and 0.9)"),
        ("settings", "--smoltrace-seed (5 and 6)"),
    ]
    assert advice(found.apart()).endswith("--smoltrace-allow-mismatch=settings")


def test_settings_are_not_known_of_a_results_table_alone(pair):
    assert pair({"config": {"seed": 6}}, {"config": {"seed": 5}}, load=parquet).mismatches == ()


def test_names_and_places_are_no_settings(pair):
    ours = {"team": "red", "notes": "x", "purpose": "monitoring", "model": ["openai:m-1", "m-2"],
            "agent_type": "both", "provider": "openai", "hide_content": True, "trials": 5,
            "suite_version": "9", "use_case": "u", "baseline": "last", "gate": ["a"]}  # fmt: skip
    found = pair({"config": ours})
    assert (found.mismatches, found.timing) == ((), ())


def test_streaming_matters_to_timing_alone(pair):
    found = pair({"config": {"stream": False}})
    assert (found.mismatches, found.electricity) == ((), ())
    assert advice(found.apart()) is None
    assert texts(found.timing) == [("settings", "--smoltrace-stream (True and False)")]
    assert "--smoltrace-stream" in advice(found.apart("execution_time_ms", timing=True))


def test_electricity_matters_to_what_is_computed_with_it(pair):
    found = pair({"config": {"pue": 1.5}})
    assert (found.mismatches, found.timing) == ((), ())
    assert texts(found.electricity) == [("settings", "--smoltrace-pue (1.0 and 1.5)")]
    assert advice(found.apart("gpu_energy_wh", timing=True)) is None
    assert advice(found.apart("co2_emissions_g")) == (
        "--smoltrace-pue (1.0 and 1.5); allow it with --smoltrace-allow-mismatch=settings"
    )
    assert pair({"config": {"pue": 1.5}}, allow={"settings"}).electricity == ()


def test_prices_matter_to_costs_of_calls_alone():
    def priced(session, version):
        runs = [
            replace(run, row={**run.row, "price_table_version": version}) for run in session.runs
        ]
        return replace(session, runs=tuple(runs))

    def found(ours, theirs, allow=()):
        now, before = (priced(one, version) for version in (ours, theirs))
        return match_run(now.runs[0], now, before, allow)

    one = session(run(cases(2, 2)))
    changed = found("2026-11-01", "2026-06-01")
    assert changed.mismatches == ()
    assert advice(changed.apart("gen_ai.usage.cost.total")) == (
        "prices (2026-06-01 and 2026-11-01); allow it with --smoltrace-allow-mismatch=settings"
    )
    for column in ("", "gen_ai.usage.total_tokens", "electricity_cost_usd", "cost_known_tests"):
        assert changed.apart(column, timing=True) == ()
    for ours, theirs in (("a", "a"), ("a", None), (None, "a")):
        assert found(ours, theirs).prices == ()
    assert found("a", "b", {"settings"}).prices == ()
    assert texts(found("a", "b", {"settings"}).allowed) == [("settings", "prices (b and a)")]


def test_every_kind_of_difference_has_its_own_flag(pair):
    found = pair({"config": {"seed": 6}}, {"environment": {"hardware": "CPU 64 vCPU"}})
    assert advice(found.apart(timing=True)).endswith(
        "allow it with --smoltrace-allow-mismatch=settings --smoltrace-allow-mismatch=hardware"
    )


def test_of_two_runs_of_a_model_the_one_of_its_provider_is_taken():
    def served(*providers):
        return session(
            *(run(cases(2, 2), run_id=name, row={"provider": name}) for name in providers)
        )

    now = served("openai", "litellm")
    for place in (0, 1):
        found = match_run(now.runs[place], now, served("litellm", "openai"))
        assert found.run.run_id == now.runs[place].run_id


def test_hardware_matters_to_timing_alone(pair):
    theirs = {"environment": {"hardware": "CPU 64 vCPU"}}
    found = pair(None, theirs)
    assert found.mismatches == ()
    assert texts(found.timing) == [("hardware", "hardware (CPU 64 vCPU and CPU 3 vCPU)")]
    assert advice(found.apart()) is None
    assert advice(found.apart(timing=True)).endswith("--smoltrace-allow-mismatch=hardware")


def test_allowed_hardware_is_said(pair):
    found = pair(None, {"environment": {"hardware": "CPU 64 vCPU"}}, allow={"hardware"})
    assert found.timing == ()
    assert texts(found.allowed) == [("hardware", "hardware (CPU 64 vCPU and CPU 3 vCPU)")]


def test_a_cpu_matters_where_the_model_runs_on_it(pair):
    detail = {"cpu_model": "cpu-y", "logical_cores": 3, "memory_gb": 7.5, "os": "o", "gpus": []}
    other = {"environment": {"hardware_detail": detail}}
    assert pair(other).timing == ()


def test_a_cpu_of_an_embedded_model_is_compared(pair):
    detail = {"cpu_model": "cpu-y", "logical_cores": 3, "memory_gb": 7.5, "os": "o", "gpus": []}
    local = {"config": {"model": ["local"]}}
    found = pair(local | {"environment": {"hardware_detail": detail}}, local)
    assert texts(found.timing) == [("hardware", "CPU (cpu-x and cpu-y)")]


def test_the_host_of_the_model_matters_to_timing(pair):
    ours, theirs = ({"base_url": f"http://{host}:8000/v1"} for host in ("a.test", "b.test"))
    found = pair({"config": ours}, {"config": theirs})
    assert found.mismatches == ()
    assert texts(found.timing) == [("hardware", "host of the model (b.test and a.test)")]


def with_replay(session, mode):
    runs = tuple(replace(run, row={**run.row, "replay_mode": mode}) for run in session.runs)
    return replace(session, runs=runs)


@pytest.mark.parametrize(
    ("ours", "theirs", "text"),
    [
        ("live", "replayed", "replay (replayed and live)"),
        ("mixed", "recorded", "replay (live and mixed)"),
        ("live", "recorded", None),
        ("replayed", "replayed", None),
    ],
)
def test_replayed_and_live_runs_are_apart(tmp_path, ours, theirs, text):
    session = load_directory(store(tmp_path))
    candidate, base = with_replay(session, ours), with_replay(session, theirs)
    found = match_run(candidate.runs[0], candidate, base)
    assert texts(found.mismatches) == ([] if text is None else [("replay", text)])
    assert match_run(candidate.runs[0], candidate, base, {"replay"}).mismatches == ()


def test_another_agent_type_is_incomparable_until_it_is_allowed(tmp_path):
    session = load_directory(store(tmp_path))
    run = replace(session.runs[0], agent_type="code")
    found = match_run(run, session, session)
    assert found.run is None
    assert texts(found.mismatches) == [("agent_type", "agent type (tool and code)")]
    allowed = match_run(run, session, session, {"agent_type"})
    assert allowed.run is session.runs[0]
    assert texts(allowed.allowed) == [("agent_type", "agent type (tool and code)")]


def test_a_baseline_without_a_run_says_so(tmp_path):
    session = load_directory(store(tmp_path))
    found = match_run(session.runs[0], session, replace(session, runs=()))
    assert found.run is None
    assert advice(found.apart()).startswith("model (none and m-1)")
