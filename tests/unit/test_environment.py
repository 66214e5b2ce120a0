"""Machine, job, CI system and repository, each in an environment of its own."""

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from pytest_smoltrace.capture import environment, machine
from pytest_smoltrace.config import RunConfig

CONFIG = RunConfig(models=())
JOB = {"JOB_ID": "0123456789abcdef01234567", "CPU_CORES": "4", "MEMORY": "16Gi"}
KEYS = {
    *("hardware", "hardware_detail", "hardware_source", "job_type", "hf_job_id", "hf_job_flavor"),
    *("python_version", "platform", "package_versions", "smolagents_version"),
    *("genai_otel_version", "git_sha", "git_branch", "git_dirty", "ci", "random_seed", "host"),
}
TIMES = "\N{MULTIPLICATION SIGN}"
GPU = machine.Gpu(name="NVIDIA A10G", memory_gb=22.49)


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """Leave only what a program needs to start."""
    for name in list(os.environ):
        if name not in {"PATH", "HOME", "SYSTEMROOT", "TMPDIR"}:
            monkeypatch.delenv(name)


@pytest.fixture
def describe(tmp_path):
    def describe(config=CONFIG, **arguments):
        return environment.describe(config, rootdir=tmp_path, **arguments)

    return describe


@pytest.fixture
def job(monkeypatch):
    def job(**variables):
        for name, value in {**JOB, **variables}.items():
            monkeypatch.setenv(name, value)

    return job


def git(folder, *arguments):
    settings = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ("git", *settings, *arguments), cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "a.txt").write_text("one")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-q", "-m", "One")
    return tmp_path


def test_keys_and_json(describe):
    found = describe(random_seed=11)
    assert set(found) == KEYS
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["random_seed"] == 11
    assert found["python_version"] == ".".join(map(str, sys.version_info[:3]))
    assert found["host"] == platform.node()
    assert found["smolagents_version"] == version("smolagents")
    assert found["genai_otel_version"] == version("genai-otel-instrument")


def test_nothing_known_is_none(describe):
    found = describe()
    for key in ("ci", "git_sha", "git_branch", "git_dirty", "hf_job_id", "hf_job_flavor"):
        assert found[key] is None
    assert found["random_seed"] is None


def test_package_versions_of_installed_packages_only(describe):
    found = describe()["package_versions"]
    assert found["pytest"] == pytest.__version__
    assert set(found) <= set(environment.PACKAGES)
    assert None not in found.values()


def test_machine_against_the_system(describe):
    detail = describe()["hardware_detail"]
    assert set(detail) == {"cpu_model", "logical_cores", "memory_gb", "os", "gpus"}
    assert 1 <= detail["logical_cores"] <= os.cpu_count()
    if sys.platform == "linux":
        total_kib = int(Path("/proc/meminfo").read_text().split()[1])
        assert 0 < detail["memory_gb"] <= total_kib / 2**20 + 0.01
    assert detail["gpus"] == []
    assert detail["os"].startswith(platform.system())


def test_detected_label(describe, monkeypatch):
    cpu = machine.Machine(cpu_model="X", logical_cores=2, memory_gb=23.6, os="L", gpus=())
    monkeypatch.setattr(machine, "detect", lambda gpus: cpu)
    found = describe()
    assert (found["hardware"], found["hardware_source"]) == ("CPU 2 vCPU · 24 GB", "detected")
    assert found["job_type"] == "cpu"


def test_label_of_the_option_goes_first(describe):
    found = describe(RunConfig(models=(), hardware="big iron"))
    assert (found["hardware"], found["hardware_source"]) == ("big iron", "option")


def test_unknown_machine(describe, monkeypatch):
    nothing = machine.Machine(cpu_model=None, logical_cores=None, memory_gb=None, os=None, gpus=())
    monkeypatch.setattr(machine, "detect", lambda gpus: nothing)
    found = describe()
    assert (found["hardware"], found["hardware_source"]) == (None, None)


def test_gpus_of_the_machine(describe, monkeypatch):
    other = machine.Gpu(name="Tesla T4", memory_gb=None)
    found = machine.Machine(
        cpu_model=None, logical_cores=8, memory_gb=64.0, os=None, gpus=(GPU, GPU, other)
    )
    monkeypatch.setattr(machine, "detect", lambda gpus: found)
    described = describe()
    assert described["hardware"] == f"NVIDIA A10G 22 GB {TIMES} 2 + Tesla T4 {TIMES} 1"
    assert described["job_type"] == "gpu_a10"
    assert described["hardware_detail"]["gpus"][0] == {"name": "NVIDIA A10G", "memory_gb": 22.49}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cpu-basic", "cpu"),
        ("a10g-small", "gpu_a10"),
        ("a10g-largex4", "gpu_a10"),
        ("h200x4", "gpu_h200"),
        ("l40sx8", "gpu_l40s"),
        ("l4x1", "gpu_l4"),
        ("t4-medium", "gpu_t4"),
        ("a100x8", "gpu_a100"),
        ("rtx-pro-6000x2", "gpu_rtx_pro_6000"),
        ("NVIDIA H100 80GB HBM3", "gpu_h100"),
        ("NVIDIA A100-SXM4-80GB", "gpu_a100"),
        ("NVIDIA GeForce RTX 4090", "gpu_rtx_4090"),
        ("Tesla T4", "gpu_t4"),
        ("AMD Instinct MI300X", "gpu_mi300x"),
    ],
)
def test_accelerator_types(name, expected):
    assert machine.accelerator_type(name) == expected


@pytest.mark.parametrize("accelerator", ["", "none"])
def test_hub_job_on_a_processor(describe, job, accelerator):
    job(ACCELERATOR=accelerator)
    found = describe()
    assert found["hf_job_id"] == JOB["JOB_ID"]
    assert (found["hf_job_flavor"], found["job_type"]) == (None, "cpu")
    assert (found["hardware"], found["hardware_source"]) == ("CPU 4 vCPU · 16 GB", "job")


def test_hub_job_on_a_gpu(describe, job, monkeypatch):
    job(ACCELERATOR="a10g-small")
    found = describe()
    assert (found["hf_job_flavor"], found["job_type"]) == ("a10g-small", "gpu_a10")
    assert (found["hardware"], found["hardware_source"]) == ("a10g-small", "job")
    seen = machine.Machine(cpu_model=None, logical_cores=4, memory_gb=15.0, os=None, gpus=(GPU,))
    monkeypatch.setattr(machine, "detect", lambda gpus: seen)
    assert describe()["hardware"] == f"NVIDIA A10G 22 GB {TIMES} 1"


@pytest.mark.parametrize(
    "variables",
    [
        {"ACCELERATOR": "t4-small", "SPACE_ID": "owner/space"},
        {"ACCELERATOR": "t4-small", "JOB_ID": "4711"},
        {},
    ],
)
def test_what_is_no_hub_job(describe, job, variables):
    job(**variables)
    found = describe()
    assert (found["hf_job_id"], found["hf_job_flavor"]) == (None, None)
    assert found["hardware_source"] == "detected"


CI = {
    "github": (
        {
            "GITHUB_ACTIONS": "true",
            "GITHUB_RUN_ID": "77",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "o/r",
            "GITHUB_HEAD_REF": "",
            "GITHUB_REF_NAME": "fix-12",
            "GITHUB_REF": "refs/heads/fix-12",
        },
        ("77", "https://github.com/o/r/actions/runs/77", "fix-12", None),
    ),
    "gitlab": (
        {
            "GITLAB_CI": "true",
            "CI_JOB_ID": "5",
            "CI_JOB_URL": "https://bot:pw@gitlab.example.com/o/r/-/jobs/5",
            "CI_COMMIT_REF_NAME": "main",
            "CI_MERGE_REQUEST_IID": "9",
        },
        ("5", "https://***@gitlab.example.com/o/r/-/jobs/5", "main", "9"),
    ),
    "circleci": (
        {"CIRCLECI": "true", "CIRCLE_BUILD_NUM": "3", "CIRCLE_BUILD_URL": "https://c/3"},
        ("3", "https://c/3", None, None),
    ),
    "buildkite": (
        {"BUILDKITE": "true", "BUILDKITE_BUILD_ID": "b", "BUILDKITE_PULL_REQUEST": "false"},
        ("b", None, None, None),
    ),
    "azure_pipelines": (
        {
            "TF_BUILD": "True",
            "BUILD_BUILDID": "8",
            "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI": "https://dev.azure.com/o/",
            "SYSTEM_TEAMPROJECT": "p",
            "BUILD_SOURCEBRANCHNAME": "main",
        },
        ("8", "https://dev.azure.com/o/p/_build/results?buildId=8", "main", None),
    ),
    "bitbucket": (
        {"BITBUCKET_BUILD_NUMBER": "4", "BITBUCKET_BRANCH": "b", "BITBUCKET_PR_ID": "6"},
        ("4", None, "b", "6"),
    ),
    "jenkins": (
        {"JENKINS_URL": "https://j", "BUILD_ID": "2", "BUILD_URL": "https://j/2", "CHANGE_ID": "1"},
        ("2", "https://j/2", None, "1"),
    ),
    "slurm": ({"SLURM_JOB_ID": "10", "SLURM_ARRAY_JOB_ID": "9"}, ("10", None, None, None)),
}


def test_every_ci_system_is_tested():
    assert [row.name for row in environment.CI_SYSTEMS] == list(CI)


@pytest.mark.parametrize("system", CI)
def test_ci_system(describe, monkeypatch, system):
    variables, expected = CI[system]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = describe()["ci"]
    assert found.pop("system") == system
    assert tuple(found.values()) == expected
    assert list(found) == ["run_id", "url", "ref", "pr"]


def test_pull_request_of_github(repository, monkeypatch):
    head = "ab" * 20
    event = repository / "event.json"
    event.write_text(json.dumps({"pull_request": {"head": {"sha": head}}}))
    variables = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REF": "refs/pull/12/merge",
        "GITHUB_REF_NAME": "12/merge",
        "GITHUB_HEAD_REF": "feature",
        "GITHUB_EVENT_PATH": str(event),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = environment.describe(CONFIG, rootdir=repository)
    assert (found["ci"]["pr"], found["ci"]["ref"]) == ("12", "feature")
    assert found["git_sha"] == head


@pytest.mark.parametrize(
    "event", ["{}", "[]", "not json", '{"pull_request": {"head": {"sha": 1}}}']
)
def test_event_without_head_commit(repository, monkeypatch, event):
    path = repository / "event.json"
    path.write_text(event)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(path))
    found = environment.describe(CONFIG, rootdir=repository)
    assert found["git_sha"] == git(repository, "rev-parse", "HEAD")


def test_repository(repository):
    below = repository / "sub" / "dir"
    below.mkdir(parents=True)
    found = environment.repository(below)
    assert found.sha == git(repository, "rev-parse", "HEAD")
    assert (found.branch, found.dirty) == ("trunk", False)


def test_untracked_files_leave_a_repository_clean(repository):
    (repository / "new.txt").write_text("new")
    assert environment.repository(repository).dirty is False
    (repository / "a.txt").write_text("two")
    assert environment.repository(repository).dirty is True
    git(repository, "add", "a.txt")
    assert environment.repository(repository).dirty is True


def test_detached_head_has_no_branch(repository):
    git(repository, "checkout", "-q", "--detach")
    found = environment.repository(repository)
    assert found.sha == git(repository, "rev-parse", "HEAD")
    assert (found.branch, found.dirty) == (None, False)


def test_repository_without_commit(tmp_path):
    git(tmp_path, "init", "-q", "-b", "trunk")
    found = environment.repository(tmp_path)
    assert (found.sha, found.branch, found.dirty) == (None, "trunk", None)


def test_repository_of_a_git_hook_is_not_mistaken(repository, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "-q", "-b", "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert environment.repository(repository).branch == "trunk"


def test_no_git_program(repository, monkeypatch):
    monkeypatch.setenv("PATH", str(repository))
    assert environment.repository(repository) == environment.Repository()


def test_slow_git_is_not_waited_for(repository, monkeypatch):
    (repository / "git").write_text("#!/bin/sh\nexec /bin/sleep 20\n")
    (repository / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(repository))
    monkeypatch.setattr(environment, "_GIT_TIMEOUT_S", 0.2)
    start = time.monotonic()
    assert environment.repository(repository) == environment.Repository()
    assert time.monotonic() - start < 10


def test_no_repository_starts_no_git(tmp_path, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("git was started")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert environment.repository(tmp_path) == environment.Repository()


def groups(monkeypatch, root, membership, files):
    (root / "membership").write_text(membership)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(machine, "_MEMBERSHIP", root / "membership")
    monkeypatch.setattr(machine, "_CGROUPS", root)
    monkeypatch.setattr(machine, "_physical_memory", lambda: 64 * 2**30)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    found = machine.detect()
    return found.logical_cores, found.memory_gb


GIB = 2**30


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"memory.max": f"{2 * GIB}", "cpu.max": "150000 100000"}, (2, 2.0)),
        ("0::/\n", {"memory.max": "max", "cpu.max": "max 100000"}, (16, 64.0)),
        (
            "0::/a/b\n",
            {"a/memory.max": f"{4 * GIB}", "a/b/memory.max": "max", "a/b/cpu.max": "50000 100000"},
            (1, 4.0),
        ),
        # A container whose membership names a path that only the host can see.
        ("0::/host/path\n", {"memory.max": f"{8 * GIB}", "cpu.max": "400000 100000"}, (4, 8.0)),
        (
            "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n",
            {
                "memory/memory.limit_in_bytes": f"{3 * GIB}",
                "cpu/cpu.cfs_quota_us": "300000",
                "cpu/cpu.cfs_period_us": "100000",
            },
            (3, 3.0),
        ),
        (
            "4:memory:/\n3:cpu:/\n",
            {
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
            },
            (16, 64.0),
        ),
        ("", {}, (16, 64.0)),
    ],
)
def test_limits_of_containers(monkeypatch, tmp_path, membership, files, expected):
    assert groups(monkeypatch, tmp_path, membership, files) == expected


def test_description_is_cheap(describe):
    def once():
        start = time.perf_counter()
        describe()
        return time.perf_counter() - start

    assert min(once() for _ in range(5)) < 0.03
