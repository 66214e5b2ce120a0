"""metrics.txt, read by a parser that is written from the OpenMetrics specification."""

import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pytest_smoltrace.gates.verdicts import Status
from pytest_smoltrace.report.gitlab import open_metrics
from tests.unit import summary_factory as make
from tests.unit.summary_factory import NASTY

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
ESCAPED = r'(?:[^"\\\n]|\\["\\n])*'
LABEL = re.compile(rf'(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)="(?P<value>{ESCAPED})"(?:,|$)')
SAMPLE = re.compile(rf"(?P<name>{NAME})(?:\{{(?P<labels>.*)\}})? (?P<value>[-+.0-9eE]+)")


def parse(text):
    """Return (family, labels) -> value, and check the rules on the way."""
    assert text.endswith("\n# EOF\n") or text == "# EOF\n"
    families, samples, current = {}, {}, None
    for line in text[: -len("# EOF\n")].split("\n")[:-1]:
        if line.startswith("#"):
            kind, name, rest = re.fullmatch(rf"# (TYPE|UNIT|HELP) ({NAME}) (.+)", line).groups()
            if name != current:
                assert name not in families, "a family is in one piece"
                current, families[name] = name, {}
            assert kind not in families[name]
            families[name][kind] = rest
            if kind == "TYPE":
                assert rest == "gauge"
            if kind == "UNIT":
                assert name.endswith(f"_{rest}")
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        assert found["name"] == current, "a sample follows the head of its family"
        labels = read_labels(found["labels"] or "")
        key = (current, tuple(sorted(labels.items())))
        assert key not in samples, "labels are unique"
        samples[key] = float(found["value"])
    assert all(set(head) >= {"TYPE", "HELP"} for head in families.values())
    return samples


def read_labels(text):
    found, at = {}, 0
    while at < len(text):
        one = LABEL.match(text, at)
        assert one, text[at:]
        assert one["name"] not in found
        value = one["value"].encode().decode()
        found[one["name"]] = re.sub(r'\\(["\\n])', lambda m: {"n": "\n"}.get(m[1], m[1]), value)
        at = one.end()
    return found


def of(samples, name, **labels):
    return samples["smoltrace_" + name, tuple(sorted(labels.items()))]


RUN = {"model": "openai:gpt-5-mini", "agent_type": "tool"}


def test_the_figures_of_a_run():
    samples = parse(open_metrics(make.summary()))
    assert of(samples, "success_ratio", **RUN) == pytest.approx(52 / 60)
    assert of(samples, "cases_passed", **RUN) == 52
    assert of(samples, "cases_scored", **RUN) == 60
    assert of(samples, "tokens", **RUN) == 184_302
    assert of(samples, "cost_usd", **RUN) == 0.4213
    assert of(samples, "duration_p95_seconds", **RUN) == pytest.approx(8.1209)
    assert of(samples, "ttft_p50_seconds", **RUN) == 0.31
    assert not any("gate" in name for name, _ in samples)


def test_what_is_unknown_is_left_out():
    nothing = make.run(passed=0, scored=0, total_cost_usd=0.0, cost_known_tests=0)
    samples = parse(open_metrics(make.summary(runs=[nothing])))
    names = {name for name, _ in samples}
    assert (
        not {"smoltrace_success_ratio", "smoltrace_cost_usd", "smoltrace_ttft_p95_seconds"} & names
    )
    assert "smoltrace_gpu_energy_wh" not in names
    assert of(samples, "cases_scored", **RUN) == 0
    assert open_metrics(make.summary(runs=[])) == "# EOF\n"
    infinite = make.run(p95_duration_ms=float("inf"), avg_steps=float("nan"))
    samples = parse(open_metrics(make.summary(runs=[infinite])))
    assert not {"smoltrace_steps_mean", "smoltrace_duration_p95_seconds"} & {n for n, _ in samples}


def test_gates():
    samples = parse(open_metrics(make.regression()))
    assert of(samples, "gates_passed") == 0
    assert of(samples, "gate_passed", gate="quality", **RUN) == 0
    assert of(samples, "gate_passed", gate="valid", **RUN) == 1
    assert of(samples, "cases_newly_failing") == 2
    assert of(parse(open_metrics(make.green())), "gates_passed") == 1
    skipped = make.judgement(make.gate(status=Status.SKIPPED, model=None, agent_type=None))
    assert of(parse(open_metrics(make.summary(gates=skipped))), "gate_passed", gate="quality") == 1


def test_labels_hold_any_text():
    runs = [make.run(text) for text in (NASTY, 'a"b\\n', "a\\", "\n", "{}", ",", "\ud800", "é")]
    samples = parse(open_metrics(make.summary(runs=runs)))
    models = {dict(labels).get("model") for name, labels in samples if name.endswith("_tokens")}
    assert {'a"b\\n', "a\\", "{}", ",", "é"} <= models
    assert NASTY.replace("\r", " ") in models


def test_equal_runs_are_told_once():
    runs = [make.run(passed=10), make.run(passed=20)]
    assert of(parse(open_metrics(make.summary(runs=runs))), "cases_passed", **RUN) == 20


def test_5000_hostile_cases():
    assert len(parse(open_metrics(make.huge()))) > 400


def test_the_library_of_prometheus_reads_the_same():
    summary = make.regression()
    summary["runs"].append(make.run('a"b\\n {x}'))
    text = open_metrics(summary)
    read = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert read == parse(text)
