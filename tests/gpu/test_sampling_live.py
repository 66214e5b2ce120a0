"""Samples of a real session as live metrics, and what a session without a driver does not do."""

import json
import socket

import pytest

from tests.gpu.sampled_sessions import CASES, gone, gpus, session
from tests.unit.test_live_metrics import Receiver, Sent

__all__ = ["gpus", "session"]

LONG = CASES.replace("time.sleep(0.25)", "time.sleep(1)")
WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one", "two"])
SEED = {
    *("gen_ai.gpu.utilization", "gen_ai.gpu.memory.used", "gen_ai.gpu.memory.total"),
    *("gen_ai.gpu.temperature", "gen_ai.gpu.power", "gen_ai.co2.emissions"),
    *("gen_ai.power.cost", "gen_ai.gpu.energy"),
}
# Notes what the session has imported, and the programs that it has started.
WITNESS = """
import json, pathlib, sys
_started = []
sys.addaudithook(lambda event, given: _started.append(str(given[1]))
                 if event == "subprocess.Popen" else None)

@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        seen = {"modules": sorted(sys.modules), "started": _started}
        pathlib.Path("seen.json").write_text(json.dumps(seen))
"""


@pytest.fixture(autouse=True)
def no_forks(monkeypatch):
    """Let sessions import what they need themselves."""
    monkeypatch.setenv("SMOLTRACE_TESTS_FORK", "0")


@pytest.fixture
def endpoint(monkeypatch):
    """Return a function that names a receiver in the environment."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "300")
    return lambda url: monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)


@pytest.fixture
def receiver(endpoint):
    found = Receiver()
    endpoint(found.url)
    yield found
    found.close()


@WORKERS
def test_a_receiver_gets_what_the_gpus_show(session, gpus, receiver, workers):
    done = session(*workers, source=LONG)
    assert done.run.ret == 0, done.run.out
    assert done.lines == []
    metrics = [body for path, body in zip(receiver.paths, receiver.requests, strict=True)
               if path.endswith("/v1/metrics")]  # fmt: skip
    assert len(metrics) >= 3  # while the cases run, not only in the end
    last = Sent(metrics[-1])
    assert set(last.units) == SEED
    assert last.resource["run_id"] == done.folder.name
    for place, one in enumerate(gpus):
        assert last["gen_ai.gpu.power", one] == 100.0 * (place + 1)
        assert last["gen_ai.gpu.utilization", one] == 40 + place
        assert last["gen_ai.gpu.temperature", one] == 60 + place
    energies = [sum(Sent(one)["gen_ai.gpu.energy", gpu] for gpu in gpus) for one in metrics]
    assert energies == sorted(energies)
    whole = done.board["total_gpu_energy_wh"] + done.board["gpu_energy_unattributed_wh"]
    assert energies[-1] == pytest.approx(whole, rel=0.1)


def test_the_names_of_opentelemetry_on_demand(session, gpus, receiver):
    session("--smoltrace-hw-metrics", source=LONG)
    last = Sent(receiver.requests[-1])
    assert {"hw.power", "hw.energy", "gen_ai.gpu.power"} <= set(last.units)
    assert last["hw.power", gpus[1]] == 200.0


@WORKERS
def test_an_absent_receiver(session, gpus, endpoint, workers):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    endpoint(f"http://127.0.0.1:{port}")
    done = session(*workers)
    assert done.run.ret == 0, done.run.out
    (line,) = done.lines
    assert line.startswith("smoltrace: live GPU metrics: ")
    assert f"127.0.0.1:{port}" in line
    assert "connection refused" in line
    assert "Traceback" not in done.run.out + done.run.err
    assert done.row()["gpu_coverage"] == 1


@pytest.mark.parametrize("variable", [False, True], ids=["without", "with"])
def test_no_exporter_without_the_variable(session, gpus, endpoint, pytester, variable):
    if variable:
        endpoint("http://127.0.0.1:9")
    session(conftest=WITNESS)
    seen = json.loads((pytester.path / "seen.json").read_text())
    exporters = [one for one in seen["modules"] if one.startswith("opentelemetry.exporter")]
    live = [one for one in seen["modules"] if one.endswith("live_metrics")]
    assert bool(exporters) is bool(live) is variable


@WORKERS
def test_a_session_without_a_driver_does_nothing_for_gpus(
    session, driver, pytester, monkeypatch, workers
):
    monkeypatch.delenv("LD_LIBRARY_PATH")
    monkeypatch.delenv("FAKE_NVML")
    done = session(*workers, conftest=WITNESS)
    assert done.run.ret == 0, done.run.out
    assert done.lines == []
    seen = json.loads((pytester.path / "seen.json").read_text())
    assert not [one for one in seen["started"] if "sampler" in one]
    readers = {"samples", "energy", "attribution", "sweep", "board"}
    ours = {f"pytest_smoltrace.{name}" for name in readers}
    assert (ours | {"pynvml", "amdsmi"}) & set(seen["modules"]) == set()
    assert not [one for one in seen["modules"] if one.startswith("pytest_smoltrace.sampler.nvml")]
    assert gone(pytester.path)


def test_the_witness_sees_what_a_session_with_a_driver_does(session, gpus, pytester):
    done = session(conftest=WITNESS)
    assert done.run.ret == 0
    seen = json.loads((pytester.path / "seen.json").read_text())
    assert [one for one in seen["started"] if "sampler" in one]
    assert {"pytest_smoltrace.samples", "pytest_smoltrace.energy"} <= set(seen["modules"])
