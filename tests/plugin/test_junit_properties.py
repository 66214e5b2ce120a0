"""The report of each case carries its figures, for JUnit XML and whoever reads reports."""

import json
import xml.etree.ElementTree as ET

import pytest

SOURCE = """
import pytest

@pytest.mark.smoltrace(id="geo/bern")
def test_passed(ask):
    assert ask("call look city=Bern; answer zanzibar") == "zanzibar"

def test_failed(ask):
    assert ask("answer Bern") == "Rome"

def test_server_fails(ask):
    ask("fail 400")

@pytest.mark.skip(reason="not now")
def test_skipped(ask):
    ask("answer Bern")

def test_no_case():
    pass

def test_own(ask, record_property):
    record_property("mine", 1)
    ask("answer Bern")
"""


def junit(path):
    """Return name of the test -> property -> its values."""
    found = {}
    for case in ET.parse(path).iter("testcase"):
        given = found.setdefault(case.get("name"), {})
        for one in case.iter("property"):
            given.setdefault(one.get("name"), []).append(one.get("value"))
    return found


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_the_properties_are_those_of_the_results(suite, pytester, workers):
    run = suite(workers, "--junitxml=out.xml", "--report-log=log.jsonl", source=SOURCE)
    found = junit(pytester.path / "out.xml")
    results = run.results
    assert len(results) == 5
    for name, row in results.items():
        given = found[name]
        assert all(len(values) == 1 for values in given.values())
        own = {k.removeprefix("smoltrace."): v for k, (v,) in given.items() if "smoltrace" in k}
        assert own.pop("case_id") == row["case_id"]
        assert own.pop("trial") == str(row["trial"])
        assert own.pop("trace_id") == row["trace_id"]
        assert own.pop("model", None) == row["model"]
        assert own.pop("agent_type", None) == row["agent_type"]
        assert own.pop("error_type", None) == row["error_type"]
        success = str(row["success"]).lower() if row["scored"] else None
        assert own.pop("success", None) == success
        tokens = row["gen_ai.usage.total_tokens"]
        assert own.pop("tokens", None) == (None if tokens is None else str(tokens))
        cost = row["gen_ai.usage.cost.total"]
        assert own.pop("cost_usd", None) == (None if cost is None else str(cost))
        latency_s = own.pop("latency_s", None)
        if latency_s is not None:
            assert float(latency_s) * 1000 == pytest.approx(row["execution_time_ms"])
        else:
            assert name == "test_skipped"
        assert own == {}
    assert found["test_passed"]["smoltrace.case_id"] == ["geo/bern"]
    assert found["test_passed"]["smoltrace.tokens"] == ["220"]
    assert found["test_own"]["mine"] == ["1"]
    assert found["test_no_case"] == {}
    assert "zanzibar" not in (pytester.path / "out.xml").read_text()
    logged = [json.loads(line) for line in (pytester.path / "log.jsonl").read_text().splitlines()]
    carried = {
        report["nodeid"].rpartition("::")[2]: dict(map(tuple, report["user_properties"]))
        for report in logged
        if report.get("when") == "teardown"
    }
    assert carried["test_passed"]["smoltrace.tokens"] == 220
    assert carried["test_no_case"] == {}


def test_reruns_each_have_their_own(suite, pytester):
    source = """
    seen = []

    def test_flaky(ask):
        seen.append(1)
        assert ask("answer Bern") == ("Bern" if len(seen) == 2 else "Rome")
    """
    run = suite("--junitxml=out.xml", "--reruns=2", source=source)
    given = junit(pytester.path / "out.xml")["test_flaky"]
    last = max(run.rows("results"), key=lambda row: row["attempt"])
    assert last["success"]
    assert given["smoltrace.trace_id"][-1] == last["trace_id"]
    assert given["smoltrace.success"][-1] == "true"


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_no_secret_and_no_hidden_content(suite, pytester, monkeypatch, workers):
    secret = "tk-Zu6RkP0wq8ZxYv3LmN5bQ7dF"
    monkeypatch.setenv("MY_API_KEY", secret)
    source = f"""
    import pytest

    @pytest.mark.smoltrace(id="case {secret}")
    def test_it(ask, record_property):
        record_property("said", "quetzal")
        ask("answer quetzal")
    """
    suite(workers, "--junitxml=out.xml", "--smoltrace-hide-content", source=source)
    text = (pytester.path / "out.xml").read_text()
    (given,) = junit(pytester.path / "out.xml").values()
    assert given["smoltrace.case_id"] != []
    assert given["smoltrace.tokens"] == ["110"]
    assert given["smoltrace.success"] == ["true"]
    assert secret not in text
    assert "quetzal" not in text
