"""GPUs of hosts that workers are sent to: one process samples each host, for all of them."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.sshd import missing, sshd
from tests.gpu.conftest import driver, environment, installed, library, no_driver, suite
from tests.gpu.sampled_sessions import (
    CASES,
    gpus,
    samplers_alive,
    session,
    watt_hours,
)

__all__ = ["driver", "environment", "gpus", "installed", "library", "no_driver", "session", "suite"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
VARIABLES = ("LD_LIBRARY_PATH", "FAKE_NVML", "FAKE_NVML_LOG", "FAKE_NVML_POWER", "FAKE_NVML_PROCS")
LONG = CASES.replace("time.sleep(0.25)", "time.sleep(0.6)").replace("range(4)", "range(6)")
CRASH = LONG.replace(
    "    time.sleep(0.6)\n",
    """    time.sleep(0.6)
    if n == 1 and not pathlib.Path("died").exists():
        pathlib.Path("died").touch()
        os.kill(os.getpid(), 9)
""",
)


def isolated():
    """Return why no process can have a network of its own; None when one can."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-n", "true"], check=False).returncode:
        return "may not make a network of its own"
    return None


@pytest.fixture(scope="module")
def ssh_config(tmp_path_factory):
    with sshd(tmp_path_factory.mktemp("ssh") / "sshd") as config:
        yield config


@pytest.fixture
def there(gpus, monkeypatch, tmp_path_factory):
    """Have GPUs on the other host alone; return its temporary folder and its Python."""
    temporary = tmp_path_factory.mktemp("there")
    values = {name: os.environ[name] for name in VARIABLES} | {"TMPDIR": str(temporary)}
    for name in ("LD_LIBRARY_PATH", "FAKE_NVML"):
        monkeypatch.delenv(name)
    pairs = [f"{name}={value}" for name, value in values.items()]
    return temporary, shlex.join(["env", *pairs, sys.executable])


@pytest.fixture
def nvidia_smi(gpus, there, tmp_path_factory):
    """Have nvidia-smi on the other host; return its Python."""
    folder = tmp_path_factory.mktemp("bin")
    lines = [f"GPU {n}: Fake H100 (UUID: {one})" for n, one in enumerate(gpus)]
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\ncat <<END\n" + "\n".join(lines) + "\nEND\n")
    program.chmod(0o755)
    return there[1].replace("env ", f"env PATH={folder}:/usr/bin:/bin ", 1)


@pytest.fixture
def run(session, pytester):
    """Return a function that runs cases on the hosts of a file."""

    def start(hosts, *args, source=LONG, **kwargs):
        (pytester.path / "hosts.toml").write_text(hosts)
        flags = ("--smoltrace-hosts=hosts.toml", "-p", "no:rerunfailures")
        done = session(*flags, *args, source=source, **kwargs)
        nobody_is_left(pytester.path)
        return done

    return start


@pytest.fixture
def boxes(ssh_config, nvidia_smi):
    """Return a function for two workers on so many hosts that ssh reaches."""
    return lambda hosts: "".join(
        f'[[host]]\nssh = "box-{n + 1}"\nssh_config = "{ssh_config}"\n'
        f"python = '''{nvidia_smi}'''\nworkers = {2 // hosts}\n"
        for n in range(hosts)
    )


@pytest.fixture(scope="module")
def elsewhere():
    """Return the command that starts programs where this host's loopback is another's."""
    command = ["unshare", "-n", "sh", "-c", "echo up; exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"up\n"
            yield f"nsenter --net=/proc/{process.pid}/ns/net"
        finally:
            process.kill()


@pytest.fixture
def launched(elsewhere):
    """Return a function for a host that shares nothing with this one but its clock and files."""
    return lambda python, workers=2: (
        f"[[host]]\nlaunch = '''{elsewhere} {python}'''\nworkers = {workers}\n"
    )


def energies_are_true(done, driver, gpus, names):
    begin, end = done.times("calls"), done.times("called")
    for name in names:
        row = done.run.results[name]
        watts = [gpus.index(one) for one in row["gpu_uuids"]]
        true = sum(watt_hours(driver, gpu, begin[name], end[name]) for gpu in watts)
        assert row["gpu_coverage"] == 1
        assert row["gpu_energy_source"] == "counter"
        if row["gpu_attribution"] == "exclusive":
            assert 0.9 * true < row["gpu_energy_wh"] < 1.3 * true
        else:  # another case had its share of the same time
            assert 0.3 * true < row["gpu_energy_wh"] < 1.3 * true


def nobody_is_left(folder):
    deadline = time.monotonic() + 15
    while samplers_alive(folder):
        assert time.monotonic() < deadline, "a sampler goes on"
        time.sleep(0.1)


def shipped(done):
    """The file of samples is whole: one header, then every tick until the last case had ended."""
    (file,) = done.files
    assert file.name.endswith(".samples")
    ticks = done.samples.ticks.tolist()
    assert ticks == list(range(len(ticks)))
    at = done.samples.records["mono_ns"]
    assert at.min() < min(done.times("begins").values())
    assert at.max() > max(done.times("ends").values())


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
@pytest.mark.parametrize("hosts", [1, 2])
def test_workers_over_ssh(run, driver, gpus, boxes, hosts):
    """Two of these hosts are one machine, which one process samples."""
    done = run(boxes(hosts))
    assert done.run.ret == 0, done.run.out + done.run.err
    assert done.lines == []
    shipped(done)
    assert [one["uuid"] for one in done.samples.header["devices"]] == gpus
    assert list(driver.calls) == done.samplers  # nobody else asked
    assert len(done.samplers) == 1
    workers = {row["worker_id"]: row["gpu_uuids"] for row in done.run.results.values()}
    if hosts == 1:
        assert workers == {"gw0": gpus[:1], "gw1": gpus[1:]}
    energies_are_true(done, driver, gpus, done.run.results)


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_list_of_a_host_is_kept(run, gpus, boxes):
    done = run(boxes(1) + f'env = {{ CUDA_VISIBLE_DEVICES = "{gpus[1]}" }}\n')
    assert done.run.ret == 0, done.run.out + done.run.err
    assert [one["uuid"] for one in done.samples.header["devices"]] == gpus[1:]


ISOLATED = pytest.mark.skipif(isolated() is not None, reason=str(isolated()))


@ISOLATED
def test_a_host_that_shares_nothing(run, launched, driver, gpus, there):
    temporary, python = there
    done = run(launched(python))
    assert done.run.ret == 0, done.run.out + done.run.err
    assert done.lines == []
    shipped(done)
    assert len(done.samplers) == 1
    energies_are_true(done, driver, gpus, done.run.results)
    assert list(temporary.iterdir()) == []


@ISOLATED
def test_a_worker_that_dies(run, launched, driver, gpus, there):
    """The one that has started the sampler is the first to die; the others go on with it."""
    done = run(launched(there[1]), source=CRASH)
    outcomes = {name: outcome for name, (outcome, _) in done.run.outcomes.items()}
    assert outcomes.pop("test_case[1]") == "crashed"
    assert set(outcomes.values()) == {"passed"}
    assert done.lines == []
    assert len(done.files) == len(done.samplers) == 1
    energies_are_true(done, driver, gpus, outcomes)


@ISOLATED
@pytest.mark.parametrize("gpu", ["auto", "on"])
def test_a_host_whose_driver_cannot_be_asked(run, launched, driver, there, gpu):
    driver.fault("nvmlInitWithFlags", 9)
    done = run(launched(there[1]), f"--smoltrace-gpu={gpu}")
    assert done.run.ret == 0, done.run.out + done.run.err
    (line,) = done.lines
    assert line.startswith("smoltrace: GPU figures of ")
    assert line.endswith(" are missing: the NVIDIA driver is not loaded")
    assert done.row()["gpu_energy_wh"] is None


@ISOLATED
@pytest.mark.parametrize("gpu", ["auto", "on", "off"])
def test_a_host_without_gpus(run, launched, driver, monkeypatch, gpu):
    monkeypatch.delenv("LD_LIBRARY_PATH")
    done = run(launched(sys.executable, 1), f"--smoltrace-gpu={gpu}", source=CASES)
    assert done.run.ret == 0, done.run.out + done.run.err
    assert driver.calls == {}
    if gpu == "on":
        (line,) = done.lines
        assert line.endswith(" are missing: no GPU was found")
    else:
        assert done.lines == []
    assert Path(done.folder, "samples").exists() is False


@ISOLATED
def test_a_host_whose_samples_nobody_wants(run, launched, driver, there):
    done = run(launched(there[1], 1), "--smoltrace-gpu=off", source=CASES)
    assert done.run.ret == 0, done.run.out + done.run.err
    assert driver.calls == {}
    assert done.row()["gpu_energy_wh"] is None
