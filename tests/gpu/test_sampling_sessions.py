"""When sessions sample GPUs, which ones, and what they say of it."""

import sys

import pytest

from pytest_smoltrace.config import ModelSpec, RunConfig
from pytest_smoltrace.gpu_monitor import reason_against
from tests.gpu.sampled_sessions import CASES, equip, gone, gpus, session, watt_hours

__all__ = ["gpus", "session"]

# A model of any provider, without its package, its key and its server.
ANY = """
@pytest.fixture(autouse=True)
def no_model(): pass

def pytest_smoltrace_make_model(config, spec):
    return Scripted(model_id=spec.model_id)
"""
GPUS = pytest.mark.usefixtures("gpus")
ELSEWHERE = "http://gpu-box.example:8000/v1"


# Whether


@pytest.mark.parametrize(
    ("provider", "model", "base_url", "sampled"),
    [
        ("local", "", None, False),
        ("transformers", "m", None, True),
        ("vllm", "m", None, True),
        ("ollama", "m", None, True),
        ("ollama", "m", "http://127.0.0.1:11434", True),
        ("ollama", "m", ELSEWHERE, False),
        ("mine", "m", None, True),
        ("mine", "m", ELSEWHERE, True),
        ("openai", "m", None, False),
        ("openai", "m", "http://localhost:8000/v1", True),
        ("openai", "m", "http://127.0.0.2:8000/v1", True),
        ("openai", "m", "http://[::1]:8000/v1", True),
        ("openai", "m", ELSEWHERE, False),
        ("azure", "m", None, False),
        ("bedrock", "m", None, False),
        ("inference", "m", None, False),
        ("litellm", "gpt-5", None, False),
        ("litellm", "ollama/m", None, True),
        ("litellm", "ollama/m", ELSEWHERE, False),
        ("litellm", "hosted_vllm/m", "http://0.0.0.0:8000", True),
    ],
)
def test_auto_is_for_models_that_may_run_here(provider, model, base_url, sampled):
    spec = ModelSpec(provider=provider, model_id=model)
    found = {
        gpu: reason_against(RunConfig(models=(spec,), base_url=base_url, gpu=gpu))
        for gpu in ("auto", "on", "off")
    }
    assert (found["auto"] is None) is sampled
    assert found["on"] is None
    assert found["off"] == "--smoltrace-gpu=off"


def test_auto_reads_the_address_among_the_arguments_of_models():
    spec = ModelSpec(provider="litellm", model_id="openai/m")
    here = RunConfig(models=(spec,), model_args={"api_base": "http://localhost:1"})
    assert reason_against(here) is None


def test_auto_is_for_sessions_of_which_one_model_may_run_here():
    models = tuple(ModelSpec(provider=name, model_id="m") for name in ("openai", "transformers"))
    assert reason_against(RunConfig(models=models)) is None
    assert reason_against(RunConfig(models=models[:1])) is not None


@GPUS
@pytest.mark.parametrize("gpu", ["auto", "on", "off"])
def test_a_hosted_model(session, driver, monkeypatch, gpu):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    done = session(f"--smoltrace-gpu={gpu}", model="openai:m", conftest=ANY)
    assert done.run.ret == 0, done.run.out
    assert done.lines == []
    if gpu == "on":
        assert len(done.samplers) == 1
        assert done.row()["gpu_energy_wh"] > 0
    else:
        assert done.samplers == []
        assert done.row()["gpu_energy_wh"] is None
        assert not (done.folder / "samples").exists()
    assert (driver.calls == {}) == (gpu == "off")


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one", "two"])
def test_off(session, driver, gpus, workers):
    done = session("--smoltrace-gpu=off", *workers)
    assert done.run.ret == 0, done.run.out
    assert done.lines == []
    assert done.samplers == []
    assert not (done.folder / "samples").exists()
    assert done.row()["gpu_energy_wh"] is None
    if not workers:  # those are bound to GPUs all the same
        assert driver.calls == {}
        assert done.row()["gpu_uuids"] is None


def test_off_leaves_cases_that_need_gpus_as_they_are(session, driver, gpus):
    source = CASES.replace("def test_case", "@pytest.mark.smoltrace(gpus=2)\ndef test_case")
    done = session("--smoltrace-gpu=off", source=source)
    assert {outcome for outcome, _ in done.run.outcomes.values()} == {"passed"}


def figures_are_missing(done, gpu, why, *, always=False):
    """No GPU is sampled; the summary says why once if that was asked for or is a failure."""
    assert done.run.ret == 0, done.run.out
    assert done.samplers == []
    assert not (done.folder / "samples").exists()
    assert done.row()["gpu_energy_wh"] is None
    said = [f"smoltrace: GPU figures are missing: {why}"] if always or gpu == "on" else []
    assert done.lines == said


BOTH = pytest.mark.parametrize("gpu", ["auto", "on"])


@BOTH
@GPUS
@pytest.mark.parametrize("value", ["", "-1"])
def test_no_gpu_is_visible(session, monkeypatch, gpu, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    done = session(f"--smoltrace-gpu={gpu}")
    figures_are_missing(done, gpu, f"no GPU is visible (CUDA_VISIBLE_DEVICES={value})")


@BOTH
def test_no_worker_may_use_a_gpu(session, driver, gpus, gpu):
    done = session("-n", "2", "--smoltrace-gpus-per-worker=0", f"--smoltrace-gpu={gpu}")
    why = "no worker has a GPU (--smoltrace-gpus-per-worker=0)"
    figures_are_missing(done, gpu, why)


@BOTH
def test_a_driver_without_a_gpu(session, driver, gpu):
    figures_are_missing(session(f"--smoltrace-gpu={gpu}"), gpu, "the driver lists no GPU")


@BOTH
def test_no_driver(session, driver, monkeypatch, gpu):
    monkeypatch.delenv("LD_LIBRARY_PATH")
    monkeypatch.delenv("FAKE_NVML")
    done = session(f"--smoltrace-gpu={gpu}")
    figures_are_missing(done, gpu, "no driver of a GPU was found")


@BOTH
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one", "two"])
def test_a_driver_that_cannot_be_asked(session, driver, gpus, gpu, workers):
    driver.fault("nvmlInitWithFlags", 9)
    done = session(f"--smoltrace-gpu={gpu}", *workers)
    figures_are_missing(done, gpu, "the NVIDIA driver is not loaded", always=True)


def test_a_driver_that_cannot_be_asked_and_a_hosted_model(session, driver, gpus, monkeypatch):
    driver.fault("nvmlInitWithFlags", 9)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    done = session(model="openai:m", conftest=ANY)
    assert done.run.ret == 0
    assert done.lines == []


@BOTH
def test_a_list_that_may_mean_several_gpus(session, driver, monkeypatch, gpu):
    driver.has("Fake T4", "Fake H100", "Fake H100")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    done = session(f"--smoltrace-gpu={gpu}")
    why = (
        "CUDA counts GPUs of several kinds with the fastest first, so it is not known which ones "
        "CUDA_VISIBLE_DEVICES=1 shows; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name GPUs by UUID"
    )
    figures_are_missing(done, gpu, why, always=True)


def test_what_a_card_never_tells_is_said_only_in_detail(session, driver):
    driver.has_equal(2)
    driver.power(0, 100)
    driver.power(1, 100)
    plain, detailed = session(), session("-v")
    assert plain.lines == []
    cards = "GPU 0 (Fake H100), GPU 1 (Fake H100)"
    assert detailed.lines == [
        f"smoltrace: GPU figures: no {field} of {cards}: NOT_SUPPORTED"
        for field in ("utilization", "temperature")
    ]


def test_what_a_user_could_mend_is_always_said(session, driver, gpus):
    driver.fault("nvmlDeviceGetUtilizationRates", 4, 1)
    done = session()
    line = "GPU figures: no utilization of GPU 1 (Fake H100): NO_PERMISSION"
    assert done.lines == [f"smoltrace: {line}"]


def test_a_gpu_that_fails_is_always_said(session, driver, gpus):
    driver.fault("nvmlDeviceGetHandleByUUID", 15, 1)
    done = session()
    assert done.run.ret == 0
    (line,) = done.lines
    assert line.startswith("smoltrace: GPU figures: GPU 1 (Fake H100) could not be read in ")
    assert line.endswith(": GPU_IS_LOST")


# When


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one", "two"])
def test_samples_reach_from_before_the_first_case_to_after_the_last(session, driver, gpus, workers):
    done = session(*workers)
    assert done.run.ret == 0, done.run.out
    assert done.lines == []
    samples = done.samples
    at = samples.records["mono_ns"]
    assert at.min() < min(done.times("begins").values())
    assert at.max() > max(done.times("ends").values())
    ticks = samples.ticks.tolist()
    assert ticks == list(range(len(ticks)))
    assert len(done.samplers) == 1
    assert not set(done.samplers) & done.pids
    for n in range(4):
        name = f"test_case[{n}]"
        mine = done.row(n)["gpu_uuids"]
        begin, end = done.times("calls")[name], done.times("called")[name]
        places = [gpus.index(one) for one in mine]
        true = sum(watt_hours(driver, place, begin, end) for place in places)
        # The call is a little longer; a window of a quarter of a second is known to 20 ms.
        assert 0.9 * true < done.energies[name] < 1.4 * true


def test_the_header(session, driver, gpus):
    done = session("--smoltrace-gpu-interval=0.05")
    header = done.samples.header
    assert header["period_ns"] == 50_000_000
    assert [one["uuid"] for one in header["devices"]] == gpus
    assert header["driver"] == "570.00"
    assert header["vendor"] == "nvidia"
    assert header["clock"]
    at = sorted(set(done.samples.of(0)["mono_ns"].tolist()))
    assert (at[-1] - at[0]) / (len(at) - 1) < 80_000_000


@GPUS
def test_the_last_sample_is_waited_for_however_long_the_interval(session):
    done = session("--smoltrace-gpu-interval=10")
    assert done.lines == []
    assert len(done.samples.of(0)) == 2
    assert min(done.energies.values()) > 0


@pytest.mark.parametrize("value", ["0", "-1", "11", "often"])
def test_an_interval_that_cannot_be(session, driver, gpus, value):
    done = session(f"--smoltrace-gpu-interval={value}")
    done.run.refused("--smoltrace-gpu-interval")
    assert driver.calls == {}


# Which


@pytest.fixture
def four(driver):
    uuids = driver.has_equal(4)
    equip(driver, 4)
    return driver, uuids


def uuids_of(done):
    return [one["uuid"] for one in done.samples.header["devices"]]


@pytest.mark.parametrize(
    "case",
    [
        (None, (), [0, 1, 2, 3]),
        ("2,1", (), [1, 2]),
        ("3,1,0", ("-n", "2"), [1, 3]),
        (None, ("-n", "2"), [0, 1]),
        (None, ("-n", "1", "--smoltrace-gpus-per-worker=3"), [0, 1, 2]),
    ],
    ids=["all", "list", "list two", "two", "group"],
)
def test_the_gpus_that_cases_may_use(four, session, monkeypatch, case):
    (driver, uuids), (visible, workers, expected) = four, case
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    done = session(*workers)
    assert done.run.ret == 0, done.run.out
    assert uuids_of(done) == [uuids[place] for place in expected]
    asked = {gpu for counts in driver.device_calls.values() for name, gpu in counts
             if name == "nvmlDeviceGetFieldValues"}  # fmt: skip
    assert asked == set(expected)


def test_gpus_that_the_user_gives_to_workers(session, driver, monkeypatch):
    uuids = driver.has_equal(3)
    equip(driver, 3)
    # What the controller itself could not tell apart is of no concern.
    done = session(
        "--dist=load",
        f"--tx=popen//env:CUDA_VISIBLE_DEVICES={uuids[2]}",
        f"--tx=popen//env:CUDA_VISIBLE_DEVICES={uuids[0]}",
    )
    assert done.run.ret == 0, done.run.out
    assert uuids_of(done) == [uuids[0], uuids[2]]
    assert len(done.samplers) == 1
    assert done.lines == []


def test_a_worker_that_another_program_starts(session, driver, pytester):
    uuids = driver.has_equal(2)
    equip(driver, 2)
    launcher = pytester.path / "launch"
    launcher.write_text('#!/bin/sh\nexec "$@"\n')
    launcher.chmod(0o755)
    done = session("--dist=load", f"--tx=popen//python={launcher} {sys.executable}")
    assert done.run.ret == 0, done.run.out
    assert uuids_of(done) == uuids
    assert len(done.samplers) == 1


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one", "two"])
def test_instances_of_a_partitioned_gpu(session, driver, monkeypatch, workers):
    uuids = driver.has_equal(2)
    parts = driver.partition(1, 4864, 9856)
    equip(driver, 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(parts))
    done = session(*workers)
    assert done.run.ret == 0, done.run.out
    devices = done.samples.header["devices"]
    # An instance comes after its GPU; CUDA gives a process the first of several.
    assert devices[0]["uuid"] == uuids[1]
    assert [one["uuid"] for one in devices[1:]] == parts
    assert {one["parent"] for one in devices[1:]} == {0}
    assert done.row()["gpu_attribution"] == "mig_parent"
    assert done.row()["gpu_energy_wh"] > 0


# Who


def one_process_sampled(done, folder):
    assert len(done.samplers) == 1
    assert len(done.files) == 1
    assert gone(folder)


def test_one_process_asks_the_driver(session, driver, gpus, pytester):
    done = session()
    assert list(driver.calls) == done.samplers
    one_process_sampled(done, pytester.path)
    (calls,) = driver.calls.values()
    assert calls["nvmlInitWithFlags"] == calls["nvmlShutdown"] == 1
    # Each tick is in the log of the driver, and each call for a tick in the file.
    assert calls["nvmlDeviceGetFieldValues"] == 2 * (len(done.samples.ticks) + 1)


CRASH = CASES.replace(
    "    time.sleep(0.25)\n",
    """    if n == 1 and not pathlib.Path("died").exists():
        pathlib.Path("died").touch()
        os.kill(os.getpid(), 9)
    time.sleep(0.25)
""",
)


@pytest.mark.parametrize(
    ("args", "source"),
    [
        (("-n", "2"), CASES),
        (("-n", "2"), CRASH),
        (("-n", "1"), CASES),
    ],
    ids=["two", "crash", "one worker"],
)
@GPUS
def test_one_process_asks_the_driver_for_workers(session, driver, pytester, args, source):
    done = session(*args, source=source)
    assert list(driver.calls) == done.samplers
    one_process_sampled(done, pytester.path)
    finished = [row for row in done.run.results.values() if row["outcome"] == "passed"]
    assert len(finished) == (4 if source is CASES else 3)
    assert all(row["gpu_energy_wh"] > 0 and row["gpu_coverage"] == 1 for row in finished)


EMPTY = "def test_plain(): pass\n"
BROKEN = "import pytest\ndef test_case(ask): pass\nraise RuntimeError('no')\n"


@pytest.mark.parametrize(
    ("args", "source"),
    [
        (("--collect-only",), CASES),
        (("--collect-only", "-n", "2"), CASES),
        ((), EMPTY),
        (("-k", "nothing"), CASES),
        ((), BROKEN),
        (("--setup-plan",), CASES),
        (("--smoltrace-pue=0",), CASES),
        (("-n", "2", "--smoltrace-pue=0"), CASES),
        (("-p", "no:smoltrace", "-k", "plain"), EMPTY),
    ],
    ids=[
        *("collect", "collect two", "no case", "deselected", "broken", "plan"),
        *("usage", "usage two", "no plugin"),
    ],
)
@GPUS
def test_sessions_that_ask_nobody(session, driver, pytester, args, source):
    model = None if "no:smoltrace" in args else "scripted:m"
    conftest = "" if model else "\ndel pytest_smoltrace_providers, pytest_smoltrace_make_model\n"
    done = session(*args, source=source, model=model, conftest=conftest)
    assert "INTERNALERROR" not in done.run.out
    assert done.samplers == []
    assert driver.calls == {}
    assert done.run.runs == []
    assert gone(pytester.path)


def test_an_inactive_session_asks_nobody(session, driver, gpus, pytester):
    done = session("-n", "2", model=None, source=EMPTY + CASES)
    assert "1 passed, 4 skipped" in done.run.out
    assert driver.calls == {}


@pytest.mark.parametrize(
    ("args", "source"), [((), EMPTY), (("-k", "nothing"), CASES), ((), BROKEN)],
    ids=["no case", "deselected", "broken"],
)  # fmt: skip
@GPUS
def test_workers_without_a_case_leave_no_directory(session, pytester, args, source):
    done = session("-n", "2", *args, source=source)
    assert done.run.runs == []
    assert done.lines == []
    assert gone(pytester.path)
