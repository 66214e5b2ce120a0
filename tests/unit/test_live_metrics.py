"""Live metrics: what an OTLP receiver gets, and what one that does not answer costs."""

import gzip
import json
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from opentelemetry import metrics
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc

from pytest_smoltrace.capture import live_metrics
from pytest_smoltrace.capture.live_metrics import LiveMetrics
from pytest_smoltrace.electricity import Electricity
from pytest_smoltrace.sampler.record import DEVICE, FAILED, PROCESS, RECORD

NAN = math.nan
S = 1_000_000_000
ELECTRICITY = Electricity(carbon_g_per_kwh=400.0, price_usd_per_kwh=0.25, pue=1.5)
SEED_UNITS = {
    "gen_ai.gpu.utilization": "%",
    "gen_ai.gpu.memory.used": "MiBy",
    "gen_ai.gpu.memory.total": "MiBy",
    "gen_ai.gpu.temperature": "Cel",
    "gen_ai.gpu.power": "W",
    "gen_ai.gpu.energy": "W.h",
    "gen_ai.co2.emissions": "g{CO2e}",
    "gen_ai.power.cost": "USD",
}
HW_UNITS = {
    "hw.gpu.utilization": "1",
    "hw.gpu.memory.usage": "By",
    "hw.gpu.memory.limit": "By",
    "hw.temperature": "Cel",
    "hw.power": "W",
    "hw.energy": "J",
}
COUNTERS = {"gen_ai.gpu.energy", "gen_ai.co2.emissions", "gen_ai.power.cost", "hw.energy"}
UP_DOWN = {"hw.gpu.memory.usage", "hw.gpu.memory.limit"}


class Samples:
    """A file of samples that a test writes as the sampler does."""

    def __init__(self, path, period_s=0.1):
        self.path = path
        self.now = time.monotonic_ns()
        self.tick = 0
        self.period_s = period_s

    def device(self, index, **changed):
        found = {"uuid": f"GPU-{index}", "index": index, "name": "Acme 9", "memory_mib": 1000.0}
        return {**found, "parent": None, "power": "instant", **changed}

    def begin(self, *devices):
        head = {
            "format": 1,
            "clock": "c",
            "host": None,
            "vendor": "nvidia",
            "driver": "570.1",
            "period_ns": int(self.period_s * S),
            "started_mono_ns": self.now,
            "wall_offset_ns": 0,
            "devices": devices or [self.device(0), self.device(1, memory_mib=None)],
        }
        self.path.write_text(json.dumps(head) + "\n")

    def add(self, slot, ago=0, flags=0, kind=DEVICE, **known):
        """Append a record; `ago` is its age in seconds."""
        at = self.now - int(ago * S)
        names = ("power", "energy", "use", "degrees", "memory")
        values = [known.pop(name, NAN) for name in names]
        assert known == {}
        self.raw(RECORD.pack(kind, slot, flags, self.tick, at, 0, *values))
        self.tick += 1

    def raw(self, data):
        with self.path.open("ab") as file:
            file.write(data)


class Receiver:
    """An OTLP/HTTP receiver on the loopback address."""

    def __init__(self, status=200, wait_s=0.0):
        self.status, self.wait_s = status, wait_s
        self.requests, self.paths, self.headers = [], [], []
        self.came = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {key.lower(): value for key, value in self.headers.items()}
                status = receiver.take(self.path, headers, body)
                time.sleep(receiver.wait_s)
                try:
                    self.send_response(status)
                    self.send_header("content-length", "0")
                    self.end_headers()
                except OSError:
                    pass

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def take(self, path, headers, body):
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        with self.came:
            self.paths.append(path)
            self.headers.append(headers)
            self.requests.append(metrics_service_pb2.ExportMetricsServiceRequest.FromString(body))
            self.came.notify_all()
            return self.status

    def wait_for(self, number):
        with self.came:
            assert self.came.wait_for(lambda: len(self.requests) >= number, timeout=30)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Sent:
    """One export as plain values."""

    def __init__(self, request):
        (resource,) = request.resource_metrics
        (scope,) = resource.scope_metrics
        self.scope = scope.scope.name
        self.resource = {one.key: one.value.string_value for one in resource.resource.attributes}
        self.units = {one.name: one.unit for one in scope.metrics}
        self.kinds = {one.name: one.WhichOneof("data") for one in scope.metrics}
        self.sums = {one.name: one.sum for one in scope.metrics if one.HasField("sum")}
        self.points = {}
        for one in scope.metrics:
            for point in getattr(one, one.WhichOneof("data")).data_points:
                attributes = {a.key: a.value.string_value for a in point.attributes}
                gpu = attributes.get("gpu_uuid") or attributes["hw.id"]
                value = getattr(point, point.WhichOneof("value"))
                self.points[one.name, gpu] = (value, attributes)

    def __getitem__(self, key):
        return self.points[key][0]

    def __contains__(self, key):
        return key in self.points


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def receiver(monkeypatch):
    found = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    yield found
    found.close()


@pytest.fixture
def samples(tmp_path):
    return Samples(tmp_path / "one.samples")


@pytest.fixture
def start(samples):
    running = []

    def start(**options):
        given = {"run_id": "night-1", "electricity": ELECTRICITY, "hw": False, **options}
        found = LiveMetrics.start(samples.path, **given)
        running.append(found)
        return found

    yield start
    for one in running:
        if one is not None:
            one.stop()


def last(receiver):
    return Sent(receiver.requests[-1])


def test_values_are_those_of_the_file(receiver, samples, start):
    live = start()
    samples.begin()
    samples.add(0, power=300.0, energy=5_000_000.0, use=80.0, degrees=61.0, memory=512.0, ago=2)
    samples.add(1, power=100.0, energy=0.0, use=5.0, degrees=40.0, memory=64.0, ago=2)
    samples.add(0, power=320.0, energy=5_600_000.0, use=90.0, degrees=62.0, memory=600.0, ago=0.1)
    samples.add(1, power=120.0, energy=216_000.0, use=7.0, degrees=41.0, memory=65.0, ago=0.1)
    assert live.stop() == []
    assert receiver.paths == ["/v1/metrics"]
    sent = last(receiver)
    assert sent.units == SEED_UNITS
    assert sent.kinds == {name: "sum" if name in COUNTERS else "gauge" for name in SEED_UNITS}
    assert (sent.scope, sent.resource["service.name"]) == ("genai.gpu", "pytest-smoltrace")
    assert sent.resource["run_id"] == "night-1"
    assert sent["gen_ai.gpu.utilization", "GPU-0"] == 90.0
    assert sent["gen_ai.gpu.memory.used", "GPU-0"] == 600.0
    assert sent["gen_ai.gpu.memory.total", "GPU-0"] == 1000.0
    assert sent["gen_ai.gpu.temperature", "GPU-1"] == 41.0
    assert sent["gen_ai.gpu.power", "GPU-1"] == 120.0
    assert ("gen_ai.gpu.memory.total", "GPU-1") not in sent
    # 600 J and 216 J; 400 g and 0.25 USD a kilowatt-hour, PUE 1.5.
    assert sent["gen_ai.gpu.energy", "GPU-0"] == pytest.approx(600 / 3600, rel=1e-12)
    assert sent["gen_ai.gpu.energy", "GPU-1"] == pytest.approx(0.06, rel=1e-12)
    assert sent["gen_ai.co2.emissions", "GPU-1"] == pytest.approx(0.06e-3 * 400 * 1.5, rel=1e-12)
    assert sent["gen_ai.power.cost", "GPU-1"] == pytest.approx(0.06e-3 * 0.25 * 1.5, rel=1e-12)
    for name in COUNTERS & set(SEED_UNITS):
        assert (sent.sums[name].is_monotonic, sent.sums[name].aggregation_temporality) == (True, 2)
    assert sent.points["gen_ai.gpu.power", "GPU-1"][1] == {
        "gpu_id": "1",
        "gpu_name": "Acme 9",
        "gpu_uuid": "GPU-1",
    }


def test_what_is_appended_later_is_sent_next(receiver, samples, start, monkeypatch):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    live = start()
    samples.begin()
    samples.add(0, power=100.0, energy=1000.0, ago=1)
    receiver.wait_for(1)
    record = RECORD.pack(DEVICE, 0, 0, 9, samples.now, 0, 250.0, 4_601_000.0, NAN, NAN, NAN)
    samples.raw(record[:20])
    receiver.wait_for(len(receiver.requests) + 2)
    assert last(receiver)["gen_ai.gpu.power", "GPU-0"] == 100.0
    samples.raw(record[20:])
    samples.add(0, power=1.0, energy=0.0, kind=PROCESS)
    receiver.wait_for(len(receiver.requests) + 2)
    sent = last(receiver)
    assert sent["gen_ai.gpu.power", "GPU-0"] == 250.0
    assert sent["gen_ai.gpu.energy", "GPU-0"] == pytest.approx(4600 / 3600, rel=1e-12)
    assert live.stop() == []
    assert live.stop() == []


def test_hw_names_units_and_attributes(receiver, samples, start):
    live = start(hw=True)
    samples.begin(
        samples.device(3),
        samples.device(3, uuid="MIG-a", name="Acme 9 1g", memory_mib=250.0, parent=0),
    )
    samples.add(0, power=300.0, energy=1000.0, use=80.0, degrees=61.0, ago=1)
    samples.add(0, power=300.0, energy=31_000.0, use=25.0, degrees=60.0)
    samples.add(1, memory=200.0)
    assert live.stop() == []
    sent = last(receiver)
    assert sent.units == {**SEED_UNITS, **HW_UNITS}
    for name in HW_UNITS:
        assert sent.kinds[name] == ("sum" if name in COUNTERS | UP_DOWN else "gauge")
    assert sent.sums["hw.energy"].is_monotonic
    assert not sent.sums["hw.gpu.memory.usage"].is_monotonic
    assert sent["hw.gpu.utilization", "GPU-3"] == pytest.approx(0.25)
    assert sent["hw.temperature", "GPU-3"] == 60.0
    assert sent["hw.power", "GPU-3"] == 300.0
    assert sent["hw.energy", "GPU-3"] == pytest.approx(30.0, rel=1e-12)
    assert sent["hw.gpu.memory.usage", "MIG-a"] == 200 * 2**20
    assert sent["hw.gpu.memory.limit", "MIG-a"] == 250 * 2**20
    assert ("hw.energy", "MIG-a") not in sent
    common = {"hw.type": "gpu", "hw.vendor": "NVIDIA", "hw.driver_version": "570.1"}
    assert sent.points["hw.power", "GPU-3"][1] == {
        "hw.id": "GPU-3",
        "hw.name": "Acme 9",
        **common,
    }
    assert sent.points["hw.gpu.memory.usage", "MIG-a"][1] == {
        "hw.id": "MIG-a",
        "hw.name": "Acme 9 1g",
        "hw.parent": "GPU-3",
        **common,
    }


@pytest.mark.parametrize(
    ("records", "energy_j"),
    [
        pytest.param([(3, 100, NAN), (2, 200, NAN), (1, 200, NAN)], 350.0, id="power alone"),
        pytest.param([(9, 100, NAN), (2, 200, NAN), (1, 200, NAN)], 200.0, id="gap in power"),
        pytest.param([(9, 100, 0), (2, 200, 9e5), (1, 200, 1e6)], 1000.0, id="gap, counter"),
        pytest.param(
            [(3, 100, 8e6), (2, 100, 8.1e6), (1, 300, 50e3), (0, 300, 350e3)], 600.0, id="reset"
        ),
        pytest.param([(9, 100, 8e6), (2, 100, 1e3), (1, 100, 101e3)], 100.0, id="reset in a gap"),
        pytest.param(
            [(4, 100, 7e6), (3, 100, 7e6), (2, 100, 7e6), (1, 100, 7e6)], 300.0, id="flat counter"
        ),
        pytest.param(
            [(5, NAN, 0), (4.5, NAN, 1e6), (4, 0, 1e6), (1, 0, 1e6)], 1000.0, id="work, then idle"
        ),
        pytest.param([(2, NAN, 7e6), (1, NAN, 7.5e6)], 500.0, id="counter alone"),
        pytest.param([(1, 100, 7e6)], 0.0, id="one sample"),
        pytest.param([(1, NAN, NAN)], None, id="nothing known"),
    ],
)
def test_energy(receiver, samples, start, records, energy_j):
    live = start(hw=True)
    samples.begin(samples.device(0))
    samples.now += S // 2
    for ago, power, energy in records:
        samples.add(0, power=power, energy=energy, ago=ago, degrees=50.0)
    assert live.stop() == []
    sent = last(receiver)
    if energy_j is None:
        assert ("hw.energy", "GPU-0") not in sent
        assert ("gen_ai.co2.emissions", "GPU-0") not in sent
    else:
        assert sent["hw.energy", "GPU-0"] == pytest.approx(energy_j, abs=1e-9)
        assert sent["gen_ai.co2.emissions", "GPU-0"] == pytest.approx(energy_j / 6000, abs=1e-12)


def test_a_lost_gpu_has_no_values_and_keeps_its_energy(receiver, samples, start):
    live = start()
    samples.begin()
    for slot in (0, 1):
        samples.add(slot, power=100.0, energy=0.0, use=50.0, degrees=50.0, memory=9.0, ago=1)
        samples.add(slot, power=100.0, energy=360_000.0, use=50.0, degrees=50.0, ago=0.5)
    samples.add(0, flags=FAILED | 15 << 8)
    assert live.stop() == []
    sent = last(receiver)
    gauges = [name for name in SEED_UNITS if name not in COUNTERS and "total" not in name]
    assert not any((name, "GPU-0") in sent for name in gauges)
    assert all((name, "GPU-1") in sent for name in gauges)
    assert sent["gen_ai.gpu.energy", "GPU-0"] == pytest.approx(0.1, rel=1e-12)


def test_an_old_sample_is_not_sent_as_a_new_one(receiver, samples, start):
    live = start()
    samples.begin()
    samples.add(0, power=100.0, energy=0.0, use=50.0, ago=60)
    samples.add(1, power=100.0, energy=0.0, ago=60)
    samples.add(1, power=70.0, energy=1.0, ago=0.5)
    assert live.stop() == []
    sent = last(receiver)
    assert ("gen_ai.gpu.power", "GPU-0") not in sent
    assert ("gen_ai.gpu.utilization", "GPU-0") not in sent
    assert sent["gen_ai.gpu.power", "GPU-1"] == 70.0


@pytest.mark.parametrize("period_s", [1.0, 10.0])
def test_a_sample_of_a_long_period_is_new_for_longer(receiver, samples, start, period_s):
    samples.period_s = period_s
    live = start()
    samples.begin()
    samples.add(0, power=100.0, ago=9)
    assert live.stop() == []
    if period_s == 10.0:
        assert last(receiver)["gen_ai.gpu.power", "GPU-0"] == 100.0
    else:
        assert ("gen_ai.gpu.power", "GPU-0") not in last(receiver)


@pytest.mark.parametrize("head", [None, "", '{"format": 1, "vend'])
def test_nothing_is_sent_before_there_are_samples(receiver, samples, start, head):
    if head is not None:
        samples.path.write_text(head)
    assert start().stop() == []
    assert receiver.requests == []


def test_names_of_the_environment_come_first(receiver, samples, start, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "my-evals")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=core,service.name=no")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{receiver.url}/own/path")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    live = start()
    samples.begin()
    samples.add(0, power=100.0)
    assert live.stop() == []
    assert receiver.paths == ["/own/path"]
    headers = receiver.headers[0]
    assert (headers["x-key"], headers["content-encoding"]) == ("abc", "gzip")
    resource = last(receiver).resource
    assert (resource["service.name"], resource["team"]) == ("my-evals", "core")


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_METRICS_EXPORTER": "none"},
        {"OTEL_METRICS_EXPORTER": "prometheus"},
    ],
    ids=lambda one: "=".join(*one.items()),
)
def test_off(receiver, start, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = threading.active_count()
    assert start() is None
    assert threading.active_count() == before


@pytest.mark.parametrize("exporters", ["otlp", "console, otlp", "otlp_proto_http"])
def test_on_where_otlp_is_among_the_exporters(receiver, samples, start, monkeypatch, exporters):
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", exporters)
    assert start() is not None


@pytest.mark.parametrize("interval", ["soon", "0", "-5", "inf", "nan"])
def test_a_wrong_interval_is_the_usual_one(monkeypatch, interval):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", interval)
    assert live_metrics.otlp.interval_s() == 5.0


def one_line(problems, *words):
    (line,) = problems
    assert "\n" not in line
    for word in words:
        assert word in line
    return line


@pytest.fixture
def said(capfd, caplog):
    """Return what was written and logged since the test began."""
    caplog.set_level(logging.DEBUG)
    return lambda: (*capfd.readouterr(), [record.getMessage() for record in caplog.records])


NOTHING = ("", "", [])


def test_a_receiver_that_answers_500(receiver, samples, start, monkeypatch, said):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    receiver.status = 500
    live = start()
    samples.begin()
    samples.add(0, power=100.0)
    receiver.wait_for(3)
    problems = live.stop()
    number = len(receiver.requests)
    host = receiver.url.removeprefix("http://")
    one_line(problems, f"{number} of {number} exports to {host}", "it answered 500", "datasets")
    assert said() == NOTHING


def test_a_receiver_that_recovers(receiver, samples, start, monkeypatch):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    receiver.status = 400
    live = start()
    samples.begin()
    samples.add(0, power=100.0)
    receiver.wait_for(1)
    receiver.status = 200
    receiver.wait_for(len(receiver.requests) + 3)
    one_line(live.stop(), "it answered 400")
    assert last(receiver)["gen_ai.gpu.power", "GPU-0"] == 100.0


def test_an_absent_receiver(samples, start, monkeypatch, said):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    secret = "hunter2"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://ann:{secret}@127.0.0.1:{port}")
    live = start()
    samples.begin()
    samples.add(0, power=100.0)
    began = time.monotonic()
    line = one_line(live.stop(), f"127.0.0.1:{port} (OTEL_EXPORTER_OTLP_ENDPOINT)")
    assert "connection refused" in line
    assert time.monotonic() - began < live_metrics.TIMEOUT_S + 5
    assert secret not in line
    assert said() == NOTHING


def test_a_slow_receiver_costs_no_more_than_the_limit(receiver, samples, start, monkeypatch):
    monkeypatch.setattr(live_metrics, "TIMEOUT_S", 0.5)
    receiver.wait_s = 30
    live = start()
    samples.begin()
    samples.add(0, power=100.0)
    began = time.monotonic()
    one_line(live.stop(), "1 of 1 exports", "no answer in time")
    assert time.monotonic() - began < 10


def test_an_address_that_is_none(samples, start, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere at all")
    live = start()
    samples.begin()
    samples.add(0, power=100.0)
    one_line(live.stop(), "1 of 1 exports")


def test_variables_that_the_exporter_cannot_use(start, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "nobody")
    one_line(start().stop(), "were not sent to 127.0.0.1:9", "nobody")


def test_log_records_of_others_are_left_alone(receiver, start, caplog):
    live = start()
    logging.getLogger("opentelemetry.exporter").warning("mine")
    assert [record.getMessage() for record in caplog.records] == ["mine"]
    assert live.stop() == []
    loggers = logging.Logger.manager.loggerDict.values()
    filters = [one for logger in loggers for one in getattr(logger, "filters", ())]
    quiet = [one for one in filters if isinstance(one, live_metrics.otlp.Quiet)]
    assert quiet == []


def test_the_global_meter_provider_is_left_alone(receiver, samples, start):
    before = metrics.get_meter_provider()
    live = start()
    samples.begin()
    samples.add(0, power=100.0)
    assert live.stop() == []
    assert metrics.get_meter_provider() is before
    assert last(receiver).points


GLOBAL = """
import sys, pathlib
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
mine = MeterProvider([reader])
metrics.set_meter_provider(mine)
from pytest_smoltrace.capture.live_metrics import LiveMetrics
from pytest_smoltrace.electricity import Electricity
live = LiveMetrics.start(
    pathlib.Path(sys.argv[1]), run_id="r", electricity=Electricity(), hw=True
)
assert live.stop() == []
assert metrics.get_meter_provider() is mine
assert reader.get_metrics_data() is None
metrics.get_meter("own").create_counter("own.count").add(1)
names = [
    metric.name
    for resource in reader.get_metrics_data().resource_metrics
    for scope in resource.scope_metrics
    for metric in scope.metrics
]
assert names == ["own.count"], names
"""


def test_a_global_provider_of_the_user_is_neither_used_nor_replaced(receiver, samples):
    samples.begin()
    samples.add(0, power=100.0)
    program = [sys.executable, "-c", GLOBAL, samples.path]
    ended = subprocess.run(program, capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert len(receiver.requests) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_sends_nothing(receiver, samples, start, monkeypatch):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    samples.begin()
    samples.add(0, power=100.0)
    program = """
import os, sys, pathlib, threading
from pytest_smoltrace.capture.live_metrics import LiveMetrics
from pytest_smoltrace.electricity import Electricity
live = LiveMetrics.start(pathlib.Path(sys.argv[1]), run_id="r", electricity=Electricity(), hw=True)
child = os.fork()
if child == 0:
    os._exit(threading.active_count() - 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert live.stop() == []
"""
    program = [sys.executable, "-c", program, samples.path]
    ended = subprocess.run(program, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stderr


class GrpcReceiver(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self):
        self.requests = []

    def Export(self, request, context):  # noqa: N802 - named by the protocol
        self.requests.append(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


@pytest.mark.parametrize(
    "variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"]
)
def test_grpc(samples, start, monkeypatch, variable):
    receiver = GrpcReceiver()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv(variable, "grpc")
        live = start()
        samples.begin()
        samples.add(0, power=123.0)
        assert live.stop() == []
    finally:
        server.stop(0).wait()
    assert Sent(receiver.requests[-1])["gen_ai.gpu.power", "GPU-0"] == 123.0


QUIET = """
import os, pathlib, sys
from pytest_smoltrace.capture.live_metrics import LiveMetrics
from pytest_smoltrace.electricity import Electricity
path = pathlib.Path(sys.argv[1])
live = LiveMetrics.start(path, run_id="r", electricity=Electricity(), hw=False)
assert "GRPC_VERBOSITY" not in os.environ
print(*live.stop())
"""


def test_an_absent_grpc_receiver(samples, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    samples.begin()
    samples.add(0, power=123.0)
    program = [sys.executable, "-c", QUIET, samples.path]
    ended = subprocess.run(program, capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    one_line(ended.stdout.splitlines(), "1 of 1 exports", "connection refused")
