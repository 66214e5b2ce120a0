"""Where a session runs: machine, job, versions, repository and CI system."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_smoltrace.capture import machine
from pytest_smoltrace.redaction import redacted_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_smoltrace.config import RunConfig

    Named = tuple[str, int | None]

PACKAGES = (
    *("pytest", "pytest-xdist", "smoltrace", "openai", "litellm", "transformers", "torch"),
    *(
        "opentelemetry-sdk",
        "openinference-instrumentation",
        "openinference-instrumentation-litellm",
    ),
    *("openinference-instrumentation-openai", "openinference-instrumentation-smolagents"),
    *("openinference-semantic-conventions", "datasets", "pyarrow"),
)
_GIT_TIMEOUT_S = 5.0
_HF_JOB_ID = re.compile(r"[0-9a-f]{24}")
_SHA = re.compile(r"[0-9a-f]{40}")
_PULL_REQUEST = re.compile(r"(?:refs/pull/)?(\d+)(?:/\w+)?")

_AZURE_PROJECT = "{SYSTEM_TEAMFOUNDATIONCOLLECTIONURI}{SYSTEM_TEAMPROJECT}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CISystem:
    """How a CI system shows itself; every field is made of environment variables.

    A field has several forms, of which the first holds whose variables are all set.
    """

    name: str
    detect: str
    """Variable that is set by this system alone."""
    run_id: tuple[str, ...]
    url: tuple[str, ...] = ()
    ref: tuple[str, ...] = ()
    pr: tuple[str, ...] = ()
    head_sha: tuple[str, ...] = ()
    """Commit of a pull request where the checked-out one is a merge."""
    event_file: tuple[str, ...] = ()
    """JSON file with that commit under pull_request.head.sha."""


CI_SYSTEMS = (
    CISystem(
        name="github",
        detect="GITHUB_ACTIONS",
        run_id=("{GITHUB_RUN_ID}",),
        url=("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",),
        ref=("{GITHUB_HEAD_REF}", "{GITHUB_REF_NAME}"),
        pr=("{GITHUB_REF}",),
        event_file=("{GITHUB_EVENT_PATH}",),
    ),
    CISystem(
        name="gitlab",
        detect="GITLAB_CI",
        run_id=("{CI_JOB_ID}", "{CI_PIPELINE_ID}"),
        url=("{CI_JOB_URL}", "{CI_PIPELINE_URL}"),
        ref=("{CI_MERGE_REQUEST_SOURCE_BRANCH_NAME}", "{CI_COMMIT_REF_NAME}"),
        pr=("{CI_MERGE_REQUEST_IID}",),
        head_sha=("{CI_MERGE_REQUEST_SOURCE_BRANCH_SHA}",),
    ),
    CISystem(
        name="circleci",
        detect="CIRCLECI",
        run_id=("{CIRCLE_WORKFLOW_ID}", "{CIRCLE_BUILD_NUM}"),
        url=("{CIRCLE_BUILD_URL}",),
        ref=("{CIRCLE_BRANCH}", "{CIRCLE_TAG}"),
        pr=("{CIRCLE_PR_NUMBER}",),
    ),
    CISystem(
        name="buildkite",
        detect="BUILDKITE",
        run_id=("{BUILDKITE_BUILD_ID}",),
        url=("{BUILDKITE_BUILD_URL}",),
        ref=("{BUILDKITE_BRANCH}",),
        pr=("{BUILDKITE_PULL_REQUEST}",),
    ),
    CISystem(
        name="azure_pipelines",
        detect="TF_BUILD",
        run_id=("{BUILD_BUILDID}",),
        url=(f"{_AZURE_PROJECT}/_build/results?buildId={{BUILD_BUILDID}}",),
        ref=("{SYSTEM_PULLREQUEST_SOURCEBRANCH}", "{BUILD_SOURCEBRANCHNAME}"),
        pr=("{SYSTEM_PULLREQUEST_PULLREQUESTNUMBER}", "{SYSTEM_PULLREQUEST_PULLREQUESTID}"),
        head_sha=("{SYSTEM_PULLREQUEST_SOURCECOMMITID}",),
    ),
    CISystem(
        name="bitbucket",
        detect="BITBUCKET_BUILD_NUMBER",
        run_id=("{BITBUCKET_BUILD_NUMBER}",),
        url=("{BITBUCKET_GIT_HTTP_ORIGIN}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",),
        ref=("{BITBUCKET_BRANCH}", "{BITBUCKET_TAG}"),
        pr=("{BITBUCKET_PR_ID}",),
    ),
    CISystem(
        name="jenkins",
        detect="JENKINS_URL",
        run_id=("{BUILD_TAG}", "{BUILD_ID}"),
        url=("{BUILD_URL}",),
        ref=("{CHANGE_BRANCH}", "{BRANCH_NAME}", "{GIT_BRANCH}"),
        pr=("{CHANGE_ID}",),
    ),
    CISystem(
        name="slurm",
        detect="SLURM_JOB_ID",
        run_id=("{SLURM_ARRAY_JOB_ID}_{SLURM_ARRAY_TASK_ID}", "{SLURM_JOB_ID}"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """State of the git repository; None is unknown, or no repository."""

    sha: str | None = None
    branch: str | None = None
    """None when detached."""
    dirty: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machine as a leaderboard shows it; None is unknown."""

    label: str | None
    source: str | None
    """option, job or detected."""
    job_type: str | None
    job_id: str | None = None
    flavor: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)


def describe(
    config: RunConfig, *, rootdir: Path, gpus: Iterable[Named] = (), random_seed: int | None = None
) -> dict[str, Any]:
    """Return the environment of a session, whose visible GPUs have a name and a size in bytes."""
    hardware = _hardware(config, gpus)
    system = next((row for row in CI_SYSTEMS if os.environ.get(row.detect)), None)
    git = repository(rootdir)
    return {
        "hardware": hardware.label,
        "hardware_detail": hardware.detail,
        "hardware_source": hardware.source,
        "job_type": hardware.job_type,
        "hf_job_id": hardware.job_id,
        "hf_job_flavor": hardware.flavor,
        "python_version": platform.python_version(),
        "platform": platform.platform(),
        "package_versions": _versions(PACKAGES),
        "smolagents_version": _version("smolagents"),
        "genai_otel_version": _version("genai-otel-instrument"),
        "git_sha": git.sha and ((system and _head_sha(system)) or git.sha),
        "git_branch": git.branch,
        "git_dirty": git.dirty,
        "ci": _ci(system) if system else None,
        "random_seed": random_seed,
        "host": platform.node() or None,
    }


def repository(rootdir: Path) -> Repository:
    """Return commit, branch and state of the repository around a folder."""
    if not any((folder / ".git").exists() for folder in (rootdir, *rootdir.parents)):
        return Repository()
    lines = _git_status(rootdir)
    told = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    sha, branch = told.get("branch.oid"), told.get("branch.head")
    if sha is None or not _SHA.fullmatch(sha):
        return Repository(branch=branch)
    dirty = any(not line.startswith("#") for line in lines)
    return Repository(sha=sha, branch=None if branch == "(detached)" else branch, dirty=dirty)


def _git_status(rootdir: Path) -> list[str]:
    """Return the lines of git status over tracked files, none when git cannot tell."""
    settings = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false", "--no-optional-locks")
    what = ("status", "--porcelain=v2", "--branch", "-uno", "--ignore-submodules=dirty")
    # A git hook that runs pytest names its own repository in GIT_*.
    environment = {key: text for key, text in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 (fixed arguments)
            ("git", *settings, *what),  # noqa: S607 (the user's git)
            cwd=rootdir,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def _hardware(config: RunConfig, gpus: Iterable[Named]) -> Hardware:
    """Return label and type of the machine: by option, by job, or as it was found."""
    found = machine.detect(gpus)
    environment = os.environ
    in_job = (
        _HF_JOB_ID.fullmatch(environment.get("JOB_ID", ""))
        and {"ACCELERATOR", "CPU_CORES"} <= environment.keys()
        and not environment.get("SPACE_ID")
    )
    flavor = environment["ACCELERATOR"] if in_job else ""
    flavor = "" if flavor.lower() == "none" else flavor
    kind = flavor or (found.gpus[0].name if found.gpus else "cpu")
    job_label = _job_label(flavor) if in_job and not found.gpus else None
    label = config.hardware or job_label or found.label
    source = "option" if config.hardware else "job" if job_label else "detected"
    return Hardware(
        label=label,
        source=source if label else None,
        job_type=machine.accelerator_type(kind),
        job_id=environment["JOB_ID"] if in_job else None,
        flavor=flavor or None,
        detail=found.as_dict(),
    )


def _job_label(flavor: str) -> str | None:
    """Return the label of a job by its flavor, else by the size that it was given."""
    if flavor:
        return flavor
    cores, memory = os.environ.get("CPU_CORES", ""), os.environ.get("MEMORY", "")
    size = re.fullmatch(r"(\d+(?:\.\d+)?)Gi?", memory)
    return machine.cpu_label(
        int(cores) if cores.isdecimal() else None, float(size[1]) if size else None
    )


def _ci(system: CISystem) -> dict[str, str | None]:
    """Return what identifies the run of a CI system."""
    url, pr = _first(system.url), _PULL_REQUEST.fullmatch(_first(system.pr) or "")
    return {
        "system": system.name,
        "run_id": _first(system.run_id),
        "url": redacted_url(url) if url else None,
        "ref": _first(system.ref),
        "pr": pr[1] if pr else None,
    }


def _head_sha(system: CISystem) -> str | None:
    """Return the head commit of the pull request that the CI system merged for its run."""
    sha = _first(system.head_sha)
    event_file = _first(system.event_file)
    if event_file:
        try:
            event = json.loads(Path(event_file).read_text(encoding="utf-8"))
            sha = event["pull_request"]["head"]["sha"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return sha if isinstance(sha, str) and _SHA.fullmatch(sha) else None


def _first(forms: Iterable[str]) -> str | None:
    """Return the first form whose variables are all set and not empty."""
    known = {key: text for key, text in os.environ.items() if text}
    for form in forms:
        try:
            return form.format_map(known)
        except KeyError:
            continue
    return None


def _versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed."""
    return {name: found for name in names if (found := _version(name)) is not None}


def _version(name: str) -> str | None:
    """Return the installed version of a distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
