"""Which GPUs the workers of real sessions see, at the moment when the first module is imported."""

import json
import socketserver
import sys
import threading

import pytest

from tests.gpu.conftest import uuid

TORCH = """
# Reads the variable once, when it is imported, as torch does when it first counts GPUs.
import os

VISIBLE = os.environ.get("CUDA_VISIBLE_DEVICES")
"""
EARLY = """
# The first code of a worker that is not pytest's or xdist's: `-p early` comes before conftests.
import json, os, pathlib

import torch

names = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
seen = {name: os.environ.get(name) for name in names} | {"torch": torch.VISIBLE}
worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
folder = pathlib.Path(os.environ["SEEN"])
folder.mkdir(exist_ok=True)
with (folder / worker).open("x") as file:  # a worker starts once
    json.dump(seen | {"pid": os.getpid()}, file)
"""
CASES = """
import os, pytest, torch

@pytest.mark.parametrize("n", range(8))
def test_case(ask, n):
    assert torch.VISIBLE == os.environ.get("CUDA_VISIBLE_DEVICES")
    ask("answer yes")
"""
# Every worker meets the others once, so that each runs a case.
CRASH = """
import os, pathlib, signal, time, pytest, torch

ME = os.environ["PYTEST_XDIST_WORKER"]

@pytest.mark.parametrize("n", range(12))
def test_case(ask, n):
    pathlib.Path(f"{ME}.up").touch()
    deadline = time.monotonic() + 60
    while not pathlib.Path("gw1.up").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    if ME == "gw1":
        os.kill(os.getpid(), signal.SIGKILL)
    while not pathlib.Path(f"{NEW}.up").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    ask("answer yes")
"""
PCI = "PCI_BUS_ID"


class Session:
    """An inner session and what its processes saw."""

    def __init__(self, run, folder):
        self.run = run
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        self.seen = {file.name: json.loads(file.read_text()) for file in files}

    @property
    def visible(self):
        """Return worker -> what a torch-like module read at its import, workers alone."""
        return {name: seen["torch"] for name, seen in self.seen.items() if name != "main"}

    @property
    def config(self):
        (row,) = self.run.rows("leaderboard")
        return json.loads(row["config"])

    @property
    def leaderboard(self):
        (row,) = self.run.rows("leaderboard")
        return row

    @property
    def recorded(self):
        """Return worker -> GPUs of its rows in the results."""
        rows = self.run.rows("results")
        return {row["worker_id"]: row["gpu_uuids"] for row in rows}


@pytest.fixture
def session(suite, pytester, monkeypatch):
    """Return a function that runs pytest with the torch-like module and the early plugin."""
    pytester.makepyfile(torch=TORCH, early=EARLY)
    monkeypatch.setenv("PYTHONPATH", str(pytester.path), prepend=":")
    folder = pytester.path / "seen"
    monkeypatch.setenv("SEEN", str(folder))

    def run(*args, source=CASES, **kwargs):
        return Session(suite("-p", "early", *args, source=source, **kwargs), folder)

    return run


@pytest.mark.parametrize("number", [2, 4])
def test_each_worker_sees_its_own_gpu_before_any_import(session, driver, number):
    uuids = driver.has_equal(number)
    done = session("-n", str(number), "-v")
    assert done.run.ret == 0, done.run.out
    expected = {f"gw{place}": one for place, one in enumerate(uuids)}
    assert done.visible == expected
    assert done.seen["main"]["torch"] is None
    assert {seen["CUDA_DEVICE_ORDER"] for name, seen in done.seen.items() if name != "main"} == {
        PCI
    }
    bindings = {worker: [one] for worker, one in expected.items()}
    assert done.config["gpu_bindings"] == bindings
    for worker, one in expected.items():
        done.run.result.stdout.fnmatch_lines(f"smoltrace: {worker} on GPU {one}")
    assert done.recorded.items() <= bindings.items()
    assert done.leaderboard["gpu_count"] == len(done.recorded)


def test_one_process_asks_the_driver_and_closes_it(session, driver):
    driver.has_equal(2)
    done = session("-n", "2")
    (pid,) = driver.calls  # the child that lists and samples
    assert pid not in {seen["pid"] for seen in done.seen.values()}
    (calls,) = driver.calls.values()
    assert calls["nvmlInitWithFlags"] == calls["nvmlShutdown"] > 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2,0", [2, 0]),
        (f"{uuid(3)[:8]},{uuid(1)}", [3, 1]),
    ],
    ids=["numbers", "uuids"],
)
def test_the_list_of_the_caller_is_kept(session, driver, monkeypatch, value, expected):
    uuids = driver.has_equal(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    done = session("-n", "2")
    assert done.run.ret == 0
    assert done.visible == {f"gw{n}": uuids[place] for n, place in enumerate(expected)}
    assert done.seen["main"]["torch"] == value


def test_a_caller_without_gpus_gets_none(session, driver, monkeypatch):
    driver.has_equal(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    done = session("-n", "2", "-v")
    assert done.run.ret == 0
    assert set(done.visible.values()) == {"-1"}
    assert "on GPU" not in done.run.out
    assert "gpu_bindings" not in done.config
    assert set(done.recorded.values()) == {None}
    assert done.leaderboard["gpu_count"] == 0


@pytest.mark.parametrize(("number", "restricted"), [(2, False), (4, True)])
def test_a_replaced_worker_keeps_its_gpu(session, driver, monkeypatch, number, restricted):
    uuids = driver.has_equal(number)
    allowed = uuids
    if restricted:
        allowed = [uuids[-1], uuids[0]]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(allowed))
    new = f"gw{number}"
    done = session("-n", str(number), source=CRASH.replace("{NEW}", new))
    expected = {f"gw{place}": allowed[place % len(allowed)] for place in range(number)}
    assert done.visible == expected | {new: expected["gw1"]}
    assert done.seen[new]["CUDA_DEVICE_ORDER"] == PCI
    assert done.seen[new]["pid"] != done.seen["gw1"]["pid"]
    outcomes = [outcome for outcome, _ in done.run.outcomes.values()]
    assert outcomes.count("crashed") == 1
    assert outcomes.count("passed") == 11
    assert done.recorded[new] == [expected["gw1"]]
    (pid,) = driver.calls  # the child that lists and samples
    assert pid not in {seen["pid"] for seen in done.seen.values()}


def test_groups_of_gpus(session, driver):
    first, second, third, fourth = driver.has_equal(4)
    done = session("-n", "2", "--smoltrace-gpus-per-worker=2")
    assert done.visible == {"gw0": f"{first},{second}", "gw1": f"{third},{fourth}"}
    assert done.config["gpu_bindings"]["gw1"] == [third, fourth]
    assert done.leaderboard["gpu_count"] in (2, 4)  # of the workers that ran a case


def test_hidden_gpus(session, driver):
    driver.has_equal(2)
    done = session("-n", "2", "-v", "--smoltrace-gpus-per-worker=0")
    assert set(done.visible.values()) == {""}
    assert done.config["gpu_bindings"] == {"gw0": [], "gw1": []}
    assert "smoltrace: gw1 on GPU none" in done.run.out
    assert set(done.recorded.values()) == {None}


def test_more_gpus_than_there_are(session, driver):
    driver.has_equal(2)
    done = session("-n", "2", "--smoltrace-gpus-per-worker=3")
    done.run.refused("--smoltrace-gpus-per-worker=3", "2 GPUs are visible")
    assert done.visible == {}
    assert done.run.runs == []


def test_workers_that_are_left_alone(session, driver, pytester):
    uuids = driver.has_equal(2)
    launcher = pytester.path / "launch"
    launcher.write_text('#!/bin/sh\nexec "$@"\n')
    launcher.chmod(0o755)
    done = session(
        "--dist=load",
        f"--tx=popen//env:CUDA_VISIBLE_DEVICES={uuids[1]}",
        f"--tx=popen//python={launcher} {sys.executable}",
        f"--tx=popen//python={sys.executable}",
    )
    assert done.visible == {"gw0": uuids[1], "gw1": None, "gw2": uuids[0]}
    assert done.seen["gw0"]["CUDA_DEVICE_ORDER"] is None
    assert done.config["gpu_bindings"] == {"gw0": [uuids[1]], "gw2": [uuids[0]]}


def test_numbers_stand_as_they_are_where_gpus_differ(session, driver, monkeypatch):
    driver.has("Fake T4", "Fake H100", "Fake H100")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    done = session("-n", "2")
    assert done.visible == {"gw0": "1", "gw1": "0"}
    assert done.seen["gw0"]["CUDA_DEVICE_ORDER"] is None
    assert "set CUDA_DEVICE_ORDER=PCI_BUS_ID" in done.run.out
    assert set(done.recorded.values()) == {None}


def test_a_list_without_a_driver_is_divided_as_it_stands(session, driver, monkeypatch):
    driver.has("Fake H100", lines=("fault * nvmlInitWithFlags 9",))
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "3,1")
    done = session("-n", "2")
    seen = [done.seen[f"gw{place}"]["HIP_VISIBLE_DEVICES"] for place in range(2)]
    assert seen == ["3", "1"]
    assert done.visible == {"gw0": None, "gw1": None}
    assert done.seen["gw0"]["CUDA_DEVICE_ORDER"] is None
    assert done.config["gpu_bindings"] == {"gw0": ["3"], "gw1": ["1"]}
    assert set(done.recorded.values()) == {None}


def test_one_process_keeps_all_it_sees(session, driver, monkeypatch):
    uuids = driver.has_equal(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    done = session()
    assert done.seen["main"]["torch"] == "3,1"
    assert done.recorded == {"main": [uuids[1], uuids[3]]}
    assert done.leaderboard["gpu_count"] == 2
    assert "gpu_bindings" not in done.config


def test_code_that_binds_its_workers_itself_is_recorded_as_it_is(session, driver):
    uuids = driver.has_equal(4)
    override = f"""
import os
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["CUDA_VISIBLE_DEVICES"] = "{uuids[3]}"
"""
    done = session("-n", "2", conftest=override, source=CASES.replace("assert ", ""))
    assert set(map(tuple, done.recorded.values())) == {(uuids[3],)}


NEEDS = """
import pytest

@pytest.mark.smoltrace(gpus=2)
def test_two(ask):
    print("MODEL CALLED")
    ask("answer yes")

@pytest.mark.smoltrace(gpus=1)
def test_one(ask):
    ask("answer yes")

def test_any(ask):
    ask("answer yes")
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_case_that_needs_more_than_the_machine_has_is_skipped(session, driver, workers):
    driver.has_equal(1)
    done = session(*workers, "-rs", source=NEEDS)
    assert done.run.ret == 0
    assert {name: outcome for name, (outcome, _) in done.run.outcomes.items()} == {
        "test_two": "skipped",
        "test_one": "passed",
        "test_any": "passed",
    }
    assert "needs 2 GPUs, 1 GPU is visible" in done.run.out


def test_a_case_that_needs_more_than_its_worker_has_is_refused(session, driver):
    driver.has_equal(4)
    done = session("-n", "2", source=NEEDS.replace("gpus=1", "gpus=2"))
    assert done.run.ret == pytest.ExitCode.USAGE_ERROR
    has = "test_it.py::test_two needs 2 GPUs and its worker has 1"
    words = f"{has}: give --smoltrace-gpus-per-worker=2"
    assert words in done.run.out
    assert "MODEL CALLED" not in done.run.out
    assert "INTERNALERROR" not in done.run.out + done.run.err
    assert done.run.runs == []


def test_a_case_with_what_it_needs(session, driver):
    driver.has_equal(4)
    done = session("-n", "2", "--smoltrace-gpus-per-worker=2", source=NEEDS)
    assert {outcome for outcome, _ in done.run.outcomes.values()} == {"passed"}


def test_a_deselected_case_refuses_nothing(session, driver):
    driver.has_equal(4)
    done = session("-n", "2", "-k", "not two", source=NEEDS)
    assert done.run.ret == 0


def test_one_process_has_all_for_a_case(session, driver, monkeypatch):
    driver.has_equal(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    done = session(source=NEEDS)
    assert done.run.outcomes["test_two"][0] == "passed"


def test_what_the_marker_does_not_take(session, driver):
    done = session(source=NEEDS.replace("gpus=2", "gpus=0"))
    done.run.refused("test_two", "gpus=0", "a whole number of at least 1")


# A model of this provider runs in the process; the package only has to be there.
ON_GPU = """
def pytest_smoltrace_make_model(config, spec):
    return Scripted(model_id=spec.model_id)
"""


def test_auto_is_the_number_of_gpus(session, driver, pytester):
    first, second, third, fourth, _ = driver.has_equal(5)
    pytester.makepyfile(transformers="")
    flag = "--smoltrace-gpus-per-worker=2"
    done = session("-n", "auto", flag, model="transformers:m", conftest=ON_GPU)
    assert done.run.ret == 0
    assert done.visible == {"gw0": f"{first},{second}", "gw1": f"{third},{fourth}"}
    assert "smoltrace: -n auto is 2: 5 GPUs are visible, 2 for each worker" in done.run.out


def test_auto_is_the_concurrency_of_the_endpoint(session, driver):
    done = session("-n", "auto", "--smoltrace-max-concurrency=1")
    assert sorted(done.visible) == ["gw0"]
    assert "smoltrace: -n auto is 1: --smoltrace-max-concurrency" in done.run.out


def test_auto_of_an_inactive_session_is_that_of_xdist(session, driver, monkeypatch):
    driver.has_equal(3)
    monkeypatch.setenv("SMOLTRACE_MAX_CONCURRENCY", "3")
    done = session("-n", "auto", model=None, source="def test_plain(): pass")
    assert done.run.ret == 0
    assert "-n auto is" not in done.run.out
    assert driver.calls == {}


SERVED = """
import pytest

@pytest.mark.smoltrace
@pytest.mark.parametrize("number", range(4))
def test_case(number):
    pass
"""


@pytest.mark.parametrize("given", [(), ("--smoltrace-gpus-per-worker=1",)], ids=["all", "one each"])
def test_workers_of_a_server_see_what_it_works_on(suite, driver, monkeypatch, given):
    uuids = driver.has_equal(2)
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}/v1"
        where = f"--smoltrace-base-url={address}"
        run = suite("-n", "2", where, *given, source=SERVED, model="openai:x")
        server.shutdown()
    assert run.ret == 0, run.out
    rows = run.rows("results")
    expected = [[one] for one in uuids] if given else [uuids]
    assert {tuple(row["gpu_uuids"]) for row in rows} <= {tuple(one) for one in expected}
    (board,) = run.rows("leaderboard")
    assert board["gpu_memory_total_mib"] == 2 * 16384
