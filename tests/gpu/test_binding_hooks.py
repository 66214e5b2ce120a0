"""The hooks of the binding on real tx specs, without starting a worker."""

from types import SimpleNamespace

import execnet
import pytest

from pytest_smoltrace import binding, sampler_process
from pytest_smoltrace.binding import Gpus, auto_workers, bound
from pytest_smoltrace.capture import machine
from pytest_smoltrace.config import Limits, ModelSpec, RunConfig
from pytest_smoltrace.devices import GpuDevice, MigDevice
from tests.gpu.conftest import mig_uuid, uuid

CUDA, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
A, B, C, D = map(uuid, range(4))


class Screen:
    def __init__(self):
        self.lines = []

    def write_line(self, line, **_):
        self.lines.append(line)


@pytest.fixture
def listed(no_driver, monkeypatch):
    """Let the driver list so many GPUs, or these; return how often it was asked."""
    asked = []

    def listed(found):
        if isinstance(found, int):
            found = [gpu(place) for place in range(found)]
        gpus = None if found is None else tuple(found)
        process = SimpleNamespace(listing=sampler_process.Listing(gpus=gpus), stop=list)
        monkeypatch.setattr(sampler_process, "start", lambda: asked.append(1) or process)
        return asked

    listed(None)
    return listed


def gpu(place, name="H100", mig=None):
    return GpuDevice(index=place, uuid=uuid(place), name=name, memory_bytes=None, mig=mig)


def config(**facts):
    screen = Screen()
    return SimpleNamespace(
        stash=pytest.Stash(),
        add_cleanup=lambda _: None,
        screen=screen,
        pluginmanager=SimpleNamespace(getplugin=lambda name: screen),
        get_verbosity=lambda: 1,
        option=SimpleNamespace(numprocesses="auto"),
        hook=SimpleNamespace(
            pytest_xdist_auto_num_workers=SimpleNamespace(get_hookimpls=lambda: ())
        ),
        **facts,
    )


def specs(*texts):
    made = [execnet.XSpec(f"execmodel=main_thread_only//{text}") for text in texts]
    for place, spec in enumerate(made):
        spec.id = f"gw{place}"
    return made


def environments(made):
    return [spec.env.get(CUDA) for spec in made]


def bind(made, size=1):
    hooks = Gpus(config(), size)
    hooks.pytest_xdist_setupnodes(made)
    return hooks


@pytest.mark.parametrize(
    ("workers", "gpus", "size", "expected"),
    [
        (3, 2, 1, [A, B, A]),
        (2, 4, 1, [A, B]),
        (1, 1, 1, [A]),
        (3, 4, 2, [f"{A},{B}", f"{C},{D}", f"{A},{B}"]),
        (2, 3, 2, [f"{A},{B}", f"{A},{B}"]),
        (2, 4, 4, [f"{A},{B},{C},{D}"] * 2),
        (2, 4, 0, ["", ""]),
        (2, 0, 1, [None, None]),
        (2, None, 1, [None, None]),
        (2, None, 2, [None, None]),
        (2, None, 0, ["", ""]),
    ],
)
def test_round_robin(listed, workers, gpus, size, expected):
    listed(gpus)
    made = specs(*["popen"] * workers)
    bind(made, size)
    assert environments(made) == expected
    orders = {spec.env.get(ORDER) for spec in made}
    assert orders == ({"PCI_BUS_ID"} if expected[0] else {None})


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles", "0,0"])
def test_a_caller_without_gpus(listed, monkeypatch, value):
    listed(2)
    monkeypatch.setenv(CUDA, value)
    made = specs("popen", "popen")
    bind(made)
    assert environments(made) == [None, None]
    assert bound(made) == {}


def test_instances_of_a_partitioned_gpu(listed):
    parts = [
        MigDevice(uuid=mig_uuid(n), memory_bytes=None, gpu_instance=n, compute_instance=0)
        for n in range(2)
    ]
    listed([gpu(0, mig=tuple(parts)), gpu(1)])
    made = specs("popen", "popen", "popen")
    bind(made)
    assert environments(made) == [mig_uuid(0), mig_uuid(1), B]
    with pytest.raises(pytest.UsageError, match="MIG"):
        bind(specs("popen"), 2)


def test_only_workers_of_this_host_that_are_free(listed):
    listed(2)
    own = f"popen//env:{CUDA}=7"
    made = specs(
        *("ssh=host", "popen//python=srun --gpus=1 python", "popen//via=proxy", own),
        *("popen//python=/opt/my venv/bin/python3.12", "popen//chdir=/tmp", "socket=host:1"),
        f"popen//env:HIP_VISIBLE_DEVICES=1//env:{ORDER}=PCI_BUS_ID",
    )
    made[4].python = "'/opt/my venv/bin/python3.12'"
    bind(made)
    assert environments(made) == [None, None, None, "7", A, B, None, None]
    assert bound(made) == {"gw3": ["7"], "gw4": [A], "gw5": [B], "gw7": ["1"]}


def test_more_than_visible(listed):
    listed(2)
    with pytest.raises(pytest.UsageError) as caught:
        bind(specs("popen"), 3)
    assert "--smoltrace-gpus-per-worker=3, but 2 GPUs are visible" in str(caught.value)


@pytest.mark.parametrize("number", [1, 4])
def test_a_worker_is_told_what_it_was_given(listed, monkeypatch, number):
    asked = listed(4)
    made = specs("popen", "ssh=host")
    hooks = bind(made, number)
    nodes = [
        SimpleNamespace(workerinput={}, gateway=SimpleNamespace(spec=spec, id="gw9"))
        for spec in made
    ]
    for node in nodes:
        hooks.pytest_configure_node(node)
    assert len(asked) == 1
    listed(0)  # a worker does not ask
    for name, value in made[0].env.items():
        monkeypatch.setenv(name, value)
    worker = Gpus(config(workerinput=nodes[0].workerinput), number)
    assert worker.uuids == (A, B, C, D)[:number]
    assert nodes[1].workerinput == {}
    monkeypatch.delenv(CUDA)
    listed(3)
    assert Gpus(config(workerinput={}), number).uuids == (A, B, C)


class Item:
    def __init__(self, gpus=None):
        marks = [pytest.mark.smoltrace(gpus=gpus).mark] if gpus else []
        self.iter_markers = lambda name: iter(marks)
        self.nodeid = "test_x.py::test_x"
        self.skips = []

    def add_marker(self, mark):
        self.skips.append(mark.kwargs["reason"])


def check(told, *items):
    output = {}
    made = config(workerinput={"smoltrace_gpus": told}, workeroutput=output)
    left = list(items)
    Gpus(made, 1).pytest_collection_modifyitems(made, left)
    return left, output


def told(ids, visible):
    shown = {CUDA: ",".join(ids)}
    facts = {"variable": CUDA, "are_uuids": True, "ids": list(ids), "visible": visible}
    return facts | {"environment": shown}


@pytest.mark.parametrize(
    ("needed", "told_of", "skipped"),
    [
        (1, told([A], 1), None),
        (2, told([A, B], 4), None),
        (2, told([A], 1), "needs 2 GPUs, 1 GPU is visible"),
        (5, told([A], 4), "needs 5 GPUs, 4 GPUs are visible"),
        (1, told([], 0), "needs 1 GPU, 0 GPUs are visible"),
        (None, told([], 0), None),
    ],
)
def test_a_case_that_needs_more_than_there_is(listed, monkeypatch, needed, told_of, skipped):
    monkeypatch.setenv(CUDA, ",".join(told_of["ids"]))
    item = Item(needed)
    assert check(told_of, item) == ([item], {})
    assert item.skips == ([skipped] if skipped else [])


@pytest.mark.parametrize(
    ("needed", "ids", "said"),
    [
        (2, [A], "2 GPUs and its worker has 1: give --smoltrace-gpus-per-worker=2"),
        (1, [], "1 GPU and its worker has 0: give --smoltrace-gpus-per-worker=1"),
    ],
)
def test_a_case_that_needs_more_than_its_worker_has(listed, monkeypatch, needed, ids, said):
    monkeypatch.setenv(CUDA, ",".join(ids))
    item = Item(needed)
    left, output = check(told(ids, 2), item)
    assert (left, item.skips) == ([], [])
    assert list(output.values()) == [f"test_x.py::test_x needs {said}"]


def settings(*providers, size=1, slots=None):
    return RunConfig(
        models=tuple(ModelSpec(provider=name, model_id="m") for name in providers),
        gpus_per_worker=size,
        limits=Limits(max_concurrency=slots),
    )


@pytest.mark.parametrize(
    ("gpus", "given", "expected"),
    [
        (4, settings("transformers"), 4),
        (4, settings("vllm", size=2), 2),
        (5, settings("vllm", size=2), 2),
        (1, settings("vllm", size=2), 1),
        (4, settings("transformers", size=0), 1),
        (0, settings("transformers"), 1),
        (None, settings("transformers"), 1),
        (4, settings("transformers", "openai", slots=16), 4),
        (4, settings("local"), 1),
        (4, settings("local", "transformers"), 1),
        (4, settings("openai"), None),
        (4, settings("openai", slots=6), 6),
        (None, settings("my-own", slots=6), 6),
    ],
)
def test_auto(listed, monkeypatch, gpus, given, expected):
    listed(gpus)
    monkeypatch.setattr(machine, "available_memory_mib", lambda: 10_000)
    made = config()
    assert auto_workers(made, given) == expected
    header = Gpus(made, 1).pytest_report_header()
    assert len(header) == (expected is not None)
    assert all(line.startswith(f"smoltrace: -n auto is {expected}: ") for line in header)


@pytest.mark.parametrize(
    ("memory", "expected"), [(None, 64), (100_000, 64), (10, 1), (binding.WORKER_MIB * 5 + 1, 5)]
)
def test_memory_bounds_auto(listed, monkeypatch, memory, expected):
    monkeypatch.setattr(machine, "available_memory_mib", lambda: memory)
    made = config()
    assert auto_workers(made, settings("openai", slots=64)) == expected
    (line,) = Gpus(made, 1).pytest_report_header()
    assert ("carry no more" in line) is (expected < 64)
    assert "--smoltrace-max-concurrency" in line


def test_who_says_how_many_has_the_last_word(listed, monkeypatch):
    given = settings("local")
    own = SimpleNamespace(function=test_auto)
    others = config()
    others.hook.pytest_xdist_auto_num_workers.get_hookimpls = lambda: [own]
    assert auto_workers(others, given) is None
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "3")
    assert auto_workers(config(), given) is None


def test_available_memory_is_no_more_than_the_machine_has():
    available, whole = machine.available_memory_mib(), machine.detect().memory_gb
    assert available is None or 0 < available <= whole * 1024


@pytest.mark.parametrize(("size", "found", "said"), [(1, 0, 0), (3, 0, 1), (3, 4, 0)])
def test_a_number_of_gpus_without_any_is_said(listed, size, found, said):
    listed(found)
    lines = Gpus(config(), size).pytest_report_header()
    assert lines == ["smoltrace: --smoltrace-gpus-per-worker=3: no GPU is visible"] * said
