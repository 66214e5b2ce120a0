"""Sessions whose workers a launcher starts: a stand-in for srun, which is a real command."""

import os
import shlex
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e import several_hosts as hosts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Takes its own options, gives the task a device and a variable, and becomes the rest.
SRUN = """#!/bin/sh
echo "srun: job queued" >&2
while [ "${1#--}" != "$1" ]; do shift; done
export CUDA_VISIBLE_DEVICES=7 LAUNCHED=yes
unset EVAL_TOKEN NOT_LISTED
cd /
exec "$@"
"""
SLOW = """
import os
import pathlib
import time

HERE = pathlib.Path(__file__).parent


@pytest.mark.parametrize("n", range(6))
def test_case(smoltrace_agent, n):
    smoltrace_agent(tools=[add]).run(f"[[case:c{n}]] Add.")
    (HERE / f"at-{n}").write_text(str(os.getpid()))
    if n == %(dies)r and not (HERE / "died").exists():
        (HERE / "died").touch()
        os._exit(3)
    deadline = time.monotonic() + 60
    while not (HERE / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
"""


@pytest.fixture
def server():
    with hosts.server() as running:
        yield running


@pytest.fixture
def srun(tmp_path):
    path = tmp_path / "a folder" / "srun"
    path.parent.mkdir()
    path.write_text(SRUN, encoding="utf-8")
    path.chmod(0o755)
    return f"{shlex.quote(str(path))} --ntasks=1 --gpus=1 {shlex.quote(sys.executable)}"


@pytest.fixture
def project(tmp_path, server):
    return hosts.project(tmp_path / "here", server.url)


def one(launch, **more):
    """Return a `[[host]]`."""
    lines = [f"launch = '''{launch}'''", *(f"{key} = {value}" for key, value in more.items())]
    return "\n".join(("[[host]]", *lines)) + "\n"


def test_every_case_once(project, server, srun):
    project.hosts(
        'forward_env = ["EVAL_TOKEN"]\n'
        + one(srun, workers=2, env='{ HOST_ONLY = "x" }')
        + '[[host]]\nlocal = true\nenv = { HOST_ONLY = "y" }\n'
    )
    finished = project.run(server, "test_generated.py", EVAL_TOKEN="value", NOT_LISTED="stays")
    hosts.check_all(finished)
    launched = [row for row in finished.results if row["worker_id"] in ("gw0", "gw1")]
    local = [row for row in finished.results if row["worker_id"] == "gw2"]
    assert launched
    assert hosts.seen(launched, "LAUNCHED") == {"yes"}
    assert hosts.seen(launched, "CUDA_VISIBLE_DEVICES") == {"7"}
    assert hosts.seen(launched, "HOST_ONLY") == {"x"}
    assert hosts.seen(launched, "EVAL_TOKEN") == {"value"}
    assert hosts.seen(launched, "NOT_LISTED") == {None}
    assert {hosts.extra(row)["cwd"] for row in finished.results} == {str(project.folder)}
    if local:
        assert hosts.seen(local, "LAUNCHED") == {None}
        assert hosts.seen(local, "HOST_ONLY") == {"y"}
    assert "smoltrace: gw0-gw1 on srun, no GPU" in finished.output
    assert "smoltrace: gw2 on local\n" in finished.output


def test_settings_of_the_environment(project, server, srun):
    """What configures pytest and this plugin by variables here does so there, too."""
    project.hosts(one(srun, chdir=f"'{project.folder}'"))
    (project.folder / "own_plugin.py").write_text(
        "import os, pathlib\npathlib.Path(f'loaded-{os.getpid()}').touch()\n"
    )
    settings = {"SMOLTRACE_MAX_TOKENS": "77", "PYTEST_PLUGINS": "own_plugin"}
    options = f"-k 'case and not 3' --rootdir={project.folder}"
    path = f"{project.folder}{os.pathsep}{hosts.suite.environment()['PYTHONPATH']}"
    finished = project.run(server, PYTEST_ADDOPTS=options, PYTHONPATH=path, **settings)
    assert finished.exit_code == 0, finished.output
    assert len(finished.results) == hosts.CASES - 1
    assert {one.body["max_tokens"] for one in finished.served} == {77}
    assert len(list(project.folder.glob("loaded-*"))) == 2


def test_a_worker_that_dies(tmp_path, server, srun):
    project = hosts.project(tmp_path / "here", server.url, SLOW % {"dies": 2})
    (project.folder / "go").touch()
    project.hosts(one(srun, workers=2))
    finished = project.run(server)
    assert finished.exit_code == 1, finished.output
    outcomes = {row["test_id"][-2]: row["outcome"] for row in finished.results}
    assert len(finished.results) == 6
    assert outcomes.pop("2") == "crashed"
    assert set(outcomes.values()) == {"passed"}


def test_ctrl_c(tmp_path, server, srun):
    project = hosts.project(tmp_path / "here", server.url, SLOW % {"dies": None})
    project.hosts(one(srun, workers=2))
    session = hosts.Session(project, token="none")
    notes = [project.folder / f"at-{n}" for n in range(6)]
    hosts.wait_until(
        lambda: sum(note.exists() for note in notes) >= 2 or session.has_ended,
        lambda: session.output,
    )
    pids = [int(note.read_text()) for note in notes if note.exists()]
    os.killpg(session.process.pid, signal.SIGINT)
    finished = session.ended(server)
    assert finished.exit_code == pytest.ExitCode.INTERRUPTED, finished.output
    assert [row["outcome"] for row in finished.results] == ["interrupted"] * 2, finished.output
    hosts.wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


MISTAKES = [
    (
        "no-such-launcher --x python",
        "no-such-launcher: no Python answered: no-such-launcher: No such",
    ),
    ("sh -c 'echo not now >&2; exit 5'", "sh: no Python answered: not now"),
    ("sh -c 'exit 5'", "sh: no Python answered: exit code 5"),
]


@pytest.mark.parametrize(("launch", "message"), MISTAKES)
def test_a_launcher_that_starts_no_python(project, launch, message):
    project.hosts(f'[[host]]\nlaunch = "{launch}"\n')
    assert project.refused().startswith(message)


def test_no_budget_across_hosts(project, srun):
    """A launcher may start its Python anywhere."""
    project.hosts("[[host]]\nlocal = true\n" + one(srun))
    line = project.refused("--smoltrace-budget-tokens=9")
    assert line.startswith("the session budget cannot be held across hosts: srun is not a process")


def test_a_path_that_is_nowhere(project, srun):
    project.hosts(one(srun))
    assert project.refused("test_other.py") == "file or directory not found: test_other.py"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["-n", "2"], "-n"),
        (["-n0"], "-n"),
        (["--tx=popen", "--dist=load"], "--tx"),
        (["--dist", "no"], "--dist=no"),
        (["--dist=no"], "--dist=no"),
        (["--pdb"], "--pdb"),
    ],
)
def test_two_answers_to_one_question(project, srun, options, named):
    project.hosts(one(srun))
    line = project.refused(*options)
    assert line == (
        f"--smoltrace-hosts says where cases run, {named} does too: leave one of them out"
    )


def test_a_wrong_hosts_file(project):
    project.hosts('[[host]]\nlauch = "python"\n')
    line = project.refused()
    assert line.endswith("hosts.toml: [[host]] 1: unknown key 'lauch', did you mean 'launch'?")


def test_only_shown_things_start_nothing(project, srun):
    project.hosts(one(srun))
    done = hosts.run(project.folder, project.command("--collect-only", "-q"))
    assert done.returncode == 0, done.stdout
    assert "8 tests collected" in done.stdout
    assert "srun" not in done.stdout + done.stderr


def test_without_a_model_nothing_is_read(project):
    project.hosts("not TOML")
    command = [word for word in project.command() if "--smoltrace-model" not in word]
    done = hosts.run(project.folder, command)
    assert done.returncode == 0, done.stdout
    assert "8 skipped" in done.stdout


WORKER_FAILS = {
    "a conftest that fails": (
        "raise RuntimeError('no such GPU')",
        "srun: a worker did not start: _pytest.config.ConftestImportFailure: RuntimeError: no",
    ),
    "a usage error": (
        "import pytest\n    def pytest_configure(): raise pytest.UsageError('no such GPU')",
        "srun: a worker did not start: pytest.UsageError: no such GPU",
    ),
    "a crash": ("os._exit(5)", "srun: a worker did not start: Not properly terminated"),
}


@pytest.mark.parametrize("name", WORKER_FAILS)
def test_a_worker_that_cannot_start(project, srun, name):
    line, message = WORKER_FAILS[name]
    project.hosts(one(srun, workers=2))
    (project.folder / "conftest.py").write_text(
        f"import os\nif 'PYTEST_XDIST_WORKER' in os.environ:\n    {line}\n"
    )
    done = hosts.run(project.folder, project.command())
    assert done.returncode == 4, done.stdout + done.stderr
    assert f"ERROR: {message}" in done.stderr
    assert "INTERNALERROR" not in done.stdout


def test_a_node_id_that_is_nowhere(project, srun):
    project.hosts(one(srun, workers=2))
    done = hosts.run(project.folder, project.command("test_generated.py::test_other"))
    assert done.returncode == 4, done.stdout + done.stderr
    assert ": not found: " in done.stdout
    assert "test_generated.py::test_other" in done.stdout


def test_last_failed(tmp_path, server, srun):
    """What pytest's cache says here counts there, where there is none."""
    source = "@pytest.mark.parametrize('n', range(4))\ndef test_case(n):\n    assert n != 2\n"
    project = hosts.project(tmp_path / "here", server.url, source)
    there = tmp_path / "there"
    shutil.copytree(project.folder, there)
    project.hosts(one(srun, workers=2, chdir=f"'{there}'"))
    command = project.command()
    place = command.index("no:cacheprovider")
    del command[place - 1 : place + 1]
    first = hosts.run(project.folder, [*command, "-rA"])
    assert "1 failed, 3 passed" in first.stdout, first.stdout + first.stderr
    again = hosts.run(project.folder, [*command, "--lf"])
    assert "1 failed in" in again.stdout, again.stdout
    assert "test_case[2]" in again.stdout
    assert not (there / ".pytest_cache").exists()


@pytest.fixture
def cloud(tmp_path):
    """A launcher that works as long as the file `up` is there."""
    path = tmp_path / "cloud"
    path.write_text(f'#!/bin/sh\n[ -e {tmp_path}/up ] || exit 3\nLAUNCHED=yes exec "$@"\n')
    path.chmod(0o755)
    (tmp_path / "up").touch()
    return f"{path} {sys.executable}"


def started(project, count):
    """Start a session and return it with the processes of its cases when so many run."""
    session = hosts.Session(project, token="none")
    wait_for(session, count)
    return session, [int(path.read_text()) for path in project.folder.glob("at-*")]


def wait_for(session, count):
    hosts.wait_until(
        lambda: len(list(session.folder.glob("at-*"))) >= count or session.has_ended,
        lambda: session.output,
    )


def test_a_host_that_goes(tmp_path, server, cloud):
    """Its worker dies and cannot come back: the others finish the session."""
    project = hosts.project(tmp_path / "here", server.url, SLOW % {"dies": None})
    other = f"[[host]]\nname = 'next'\nlaunch = 'env {sys.executable}'\n"
    project.hosts(one(cloud) + other)
    session, pids = started(project, 2)
    (first,) = [pid for pid in pids if b"LAUNCHED=yes" in Path(f"/proc/{pid}/environ").read_bytes()]
    (tmp_path / "up").unlink()
    os.kill(first, signal.SIGKILL)
    # The worker that comes in its place has begun a case while the other one still runs its own.
    wait_for(session, 3)
    (project.folder / "go").touch()
    finished = session.ended(server)
    assert finished.exit_code == 1, finished.output
    assert "smoltrace: cloud no longer answers; its worker goes on on next" in finished.output
    outcomes = sorted(row["outcome"] for row in finished.results)
    assert outcomes == ["crashed", *["passed"] * 5], finished.output
    assert "gw2" in {row["worker_id"] for row in finished.results}


def test_the_only_host_goes(tmp_path, server, cloud):
    project = hosts.project(tmp_path / "here", server.url, SLOW % {"dies": None})
    project.hosts(one(cloud))
    session, (pid,) = started(project, 1)
    (tmp_path / "up").unlink()
    os.kill(pid, signal.SIGKILL)
    finished = session.ended(server)
    assert finished.exit_code == 2, finished.output
    assert "INTERNALERROR" not in finished.output
    assert "cloud no longer answers, and no other host is left" in finished.output
    assert [row["outcome"] for row in finished.results] == ["interrupted"], finished.output
    assert "--smoltrace-resume=" in finished.output
    assert finished.leaderboard[0]["run_stop_reason"] == "interrupted"


def test_an_empty_option(project):
    line = project.refused("--smoltrace-hosts=")
    assert line == "--smoltrace-hosts is empty; give it a value or leave it out"
