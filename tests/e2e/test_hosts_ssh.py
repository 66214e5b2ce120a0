"""Sessions on two hosts that are reached through a real sshd on loopback."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e import several_hosts as hosts
from tests.e2e.sshd import missing, sshd

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

INTERRUPTED = """
import os
import pathlib
import time

HERE = pathlib.Path(__file__).parent


@pytest.mark.parametrize("n", range(6))
def test_case(smoltrace_agent, n):
    smoltrace_agent(tools=[add]).run(f"[[case:c{n}]] Add.")
    (HERE / f"at-{n}").write_text(str(os.getpid()))
    deadline = time.monotonic() + 60
    while not (HERE / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def ssh_config(tmp_path_factory):
    with sshd(tmp_path_factory.mktemp("ssh") / "sshd") as config:
        yield config


@pytest.fixture
def server():
    with hosts.server() as running:
        yield running


@pytest.fixture
def project(tmp_path, server):
    return hosts.project(tmp_path / "here", server.url)


def one(config, name="box-1", **more):
    """Return a `[[host]]`."""
    lines = [f'ssh = "{name}"', f'ssh_config = "{config}"']
    lines += [f"{key} = {value}" for key, value in more.items()]
    return "\n".join(("[[host]]", *lines)) + "\n"


def copy_of(project, name):
    """Return the folder of the project on another host."""
    there = project.folder.with_name(name)
    shutil.copytree(project.folder, there)
    return there


def test_two_hosts_run_every_case_once(project, server, ssh_config):
    there = copy_of(project, "there")
    project.hosts(
        'forward_env = ["EVAL_TOKEN", "NOT_SET_HERE"]\n'
        + one(ssh_config, workers=2, env='{ CUDA_VISIBLE_DEVICES = "0,1", HOST_ONLY = "a//b" }')
        + one(ssh_config, "box-2", chdir=f'"{there}"')
    )
    finished = project.run(
        server, "test_generated.py", EVAL_TOKEN="token-of-the-eval-4711", NOT_LISTED="stays"
    )
    hosts.check_all(finished)
    rows = {name: [r for r in finished.results if r["worker_id"] == name] for name in _workers(3)}
    assert all(rows.values())
    first, second = rows["gw0"] + rows["gw1"], rows["gw2"]
    assert {hosts.extra(row)["cwd"] for row in first} == {str(project.folder)}
    assert {hosts.extra(row)["cwd"] for row in second} == {str(there)}
    for of, folder in ((first, project.folder), (second, there)):
        assert {hosts.extra(row)["rootdir"] for row in of} == {str(folder)}
        assert {hosts.extra(row)["inipath"] for row in of} == {str(folder / "pytest.ini")}
    # What the host shows is shared out among its workers.
    assert hosts.seen(rows["gw0"], "CUDA_VISIBLE_DEVICES") == {"0"}
    assert hosts.seen(rows["gw1"], "CUDA_VISIBLE_DEVICES") == {"1"}
    assert hosts.seen(first, "HOST_ONLY") == {"a//b"}
    assert hosts.seen(second, "HOST_ONLY") == {None}
    assert hosts.seen(finished.results, "NOT_LISTED") == {None}
    lines = finished.output.splitlines()
    assert "smoltrace: gw0-gw1 on box-1, no GPU" in lines
    assert "smoltrace: gw2 on box-2, no GPU" in lines
    assert "smoltrace: forward_env: NOT_SET_HERE is not set here" in lines
    # The value was there, and was taken out of what is kept: it is a token.
    assert hosts.seen(finished.results, "EVAL_TOKEN") == {"***"}
    assert "token-of-the-eval-4711" not in finished.output
    # xdist copies nothing there.
    assert {path.name for path in there.iterdir()} <= {
        *("test_generated.py", "pytest.ini", "prices.toml", "__pycache__"),
    }


def _workers(count):
    return [f"gw{n}" for n in range(count)]


@pytest.mark.parametrize("dist", ["loadscope", "worksteal"])
def test_ways_to_distribute(project, server, ssh_config, dist):
    project.hosts(one(ssh_config) + one(ssh_config, "box-2"))
    finished = project.run(server, f"--dist={dist}")
    hosts.check_all(finished)
    workers = {row["worker_id"] for row in finished.results}
    assert workers == ({"gw0"} if dist == "loadscope" else workers)


@pytest.mark.parametrize("form", ["absolute", "node id", "from a folder below"])
def test_path_arguments(project, server, ssh_config, form):
    """The file of one host is not where it is on the other."""
    (project.folder / "sub").mkdir()
    shutil.move(project.folder / "test_generated.py", project.folder / "sub" / "test_generated.py")
    there = copy_of(project, "there")
    project.hosts(one(ssh_config, chdir=f'"{there}"', workers=2))
    file = project.folder / "sub" / "test_generated.py"
    options, cwd = [str(file), f"-c{project.folder / 'pytest.ini'}"], project.folder
    if form == "node id":
        options = [f"{file}::test_case[3]", f"sub/{file.name}::test_case[5]"]
    if form == "from a folder below":
        cwd = project.folder / "sub"
        options = [
            file.name,
            f"--smoltrace-hosts={project.folder / 'hosts.toml'}",
            f"--smoltrace-prices={project.folder / 'prices.toml'}",
        ]
    finished = project.run(server, *options, cwd=cwd)
    assert finished.exit_code == 0, finished.output
    cases = [3, 5] if form == "node id" else range(hosts.CASES)
    names = {f"sub/test_generated.py::test_case[{n}]" for n in cases}
    assert {row["test_id"] for row in finished.results} == names
    below = there / "sub" if form == "from a folder below" else there
    for row in finished.results:
        assert hosts.extra(row)["cwd"] == str(below)
        assert hosts.extra(row)["rootdir"] == str(there)


def test_a_worker_that_dies(tmp_path, server, ssh_config):
    source = INTERRUPTED.replace("        time.sleep(0.02)", "        time.sleep(0.02)\n") + (
        "    if n == 2 and not (HERE / 'died').exists():\n"
        "        (HERE / 'died').touch()\n"
        "        os._exit(3)\n"
    )
    project = hosts.project(tmp_path / "here", server.url, source)
    (project.folder / "go").touch()
    project.hosts(one(ssh_config) + one(ssh_config, "box-2"))
    finished = project.run(server)
    assert finished.exit_code == 1, finished.output
    outcomes = {row["test_id"][-2]: row["outcome"] for row in finished.results}
    assert len(finished.results) == 6
    assert outcomes.pop("2") == "crashed"
    assert set(outcomes.values()) == {"passed"}
    crashed = finished.result("test_generated.py::test_case[2]")["worker_id"]
    assert f"replacing crashed worker {crashed}" in finished.output


@pytest.mark.parametrize("whole_group", [False, True], ids=["one process", "as a terminal does"])
def test_ctrl_c(tmp_path, server, ssh_config, whole_group):
    project = hosts.project(tmp_path / "here", server.url, INTERRUPTED)
    project.hosts(one(ssh_config) + one(ssh_config, "box-2"))
    session = hosts.Session(project, token="none")
    wait_files = [project.folder / f"at-{n}" for n in range(6)]
    hosts.wait_until(
        lambda: sum(path.exists() for path in wait_files) >= 2 or session.has_ended,
        lambda: session.output,
    )
    pids = [int(path.read_text()) for path in wait_files if path.exists()]
    assert len(set(pids)) == 2, session.output
    send = os.killpg if whole_group else os.kill
    send(session.process.pid, signal.SIGINT)
    finished = session.ended(server)
    assert finished.exit_code == pytest.ExitCode.INTERRUPTED, finished.output
    outcomes = [row["outcome"] for row in finished.results]
    assert outcomes == ["interrupted"] * 2, finished.output
    # What the cases cut off had spent is known: their workers still said it.
    assert all(row["total_tokens"] > 0 for row in finished.results)
    hosts.wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_secrets_are_in_no_command_line(tmp_path, server, ssh_config):
    project = hosts.project(tmp_path / "here", server.url, INTERRUPTED)
    project.hosts(
        'forward_env = ["EVAL_TOKEN"]\n' + one(ssh_config, env='{ OWN_TOKEN = "own-secret-8888" }')
    )
    (project.folder / "conftest.py").write_text(
        "import os\nassert os.environ.get('EVAL_TOKEN') == 'forwarded-7777'\n"
    )
    os.environ["EVAL_TOKEN"] = "forwarded-7777"
    try:
        session = hosts.Session(project, "-v", token="none")
    finally:
        del os.environ["EVAL_TOKEN"]
    session.wait_for("at-0")
    lines = "\n".join(hosts.command_lines())
    (project.folder / "go").touch()
    finished = session.ended(server)
    assert finished.exit_code == 0, finished.output
    assert "box-1" in lines  # the connection was among them
    for secret in ("forwarded-7777", "own-secret-8888"):
        assert secret not in lines
        assert secret not in finished.output


@pytest.mark.parametrize("place", ["same folder", "other folder"])
def test_coverage(project, server, ssh_config, place):
    """pytest-cov knows early that the session is distributed; other folders are coverage's."""
    pytest.importorskip("pytest_cov")
    (project.folder / "lib.py").write_text(
        "def used():\n    return 1\n\n\ndef un():\n    return 2\n"
    )
    (project.folder / "test_generated.py").write_text(
        "import lib\n\n\ndef test_lib():\n    assert lib.used() == 1\n"
    )
    (project.folder / ".coveragerc").write_text("[paths]\nproject =\n    .\n    */there\n")
    there = copy_of(project, "there") if place == "other folder" else project.folder
    project.hosts(one(ssh_config, chdir=f'"{there}"'))
    finished = project.run(server, "--cov=lib", "--cov-report=term-missing")
    assert finished.exit_code == 0, finished.output
    (line,) = [line for line in finished.output.splitlines() if line.startswith("lib.py")]
    assert line.split() == ["lib.py", "4", "1", "75%", "6"]


MISTAKES = [
    ({"chdir": '"/no/such/folder"'}, "box-1: no folder /no/such/folder; set `chdir`"),
    ({"python": '"/no/such/python"'}, "box-1: no Python there: "),
    ({"ssh": '"-p 1 box-1"'}, "box-1: cannot be reached: ssh: connect to host 127.0.0.1 port 1: "),
    ({"python": '"echo noise; python3"'}, "box-1: something writes to standard output"),
    ({"python": '"sleep 60; python3"', "start_timeout_s": "1"}, "box-1: no answer within 1 s"),
]


@pytest.mark.parametrize(("given", "message"), MISTAKES, ids=lambda value: str(value)[:30])
def test_a_host_that_cannot_run_the_cases(project, ssh_config, given, message):
    table = {"ssh": '"box-1"', "ssh_config": f'"{ssh_config}"', **given}
    project.hosts("[[host]]\n" + "\n".join(f"{key} = {value}" for key, value in table.items()))
    assert project.refused().startswith(message)
    assert not Path("/no/such/folder").exists()


def test_a_python_without_the_package(project, ssh_config, tmp_path):
    import venv

    venv.create(tmp_path / "bare", symlinks=True, with_pip=False)
    python = tmp_path / "bare" / "bin" / "python"
    project.hosts(one(ssh_config, python=f'"{python}"'))
    line = project.refused()
    assert line.startswith(f"box-1: {python} has no pytest-smoltrace; install it there")


@pytest.mark.parametrize("left", ["nothing", "no test file", "no ini file"])
def test_a_folder_without_the_project(project, ssh_config, left):
    there = copy_of(project, "there")
    (there / "test_generated.py").unlink()
    project.hosts(one(ssh_config) + one(ssh_config, "box-2", chdir=f'"{there}"'))
    if left == "no test file":
        assert project.refused().startswith(f"box-2: no test files in {there}; copy the project")
        line = project.refused("test_generated.py::test_case")
        assert line.startswith(f"box-2: no test_generated.py in {there}; copy the project")
        return
    (there / "pytest.ini").unlink()
    if left == "nothing":
        shutil.rmtree(there)
        there.mkdir()
    assert project.refused().startswith(f"box-2: no pytest.ini in {there}; copy the project")


def test_another_version_of_the_package(project, ssh_config, tmp_path):
    fake = tmp_path / "fake" / "pytest_smoltrace"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text('__version__ = "0.0.1"\n')
    project.hosts(one(ssh_config, env=f'{{ PYTHONPATH = "{fake.parent}" }}'))
    line = project.refused()
    assert line.startswith("box-1: pytest-smoltrace is 0.0.1 there and ")


def test_differences_are_said(project, server, ssh_config):
    """Another commit, and another version of a package, are in the header; cases run."""
    there = copy_of(project, "there")
    info = project.folder.with_name("other") / "smolagents-0.0.7.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: smolagents\nVersion: 0.0.7\n")
    git = "git -c user.name=a -c user.email=a@b -c init.defaultBranch=main"
    os.system(f"cd {there} && {git} init -q && {git} add -A && {git} commit -qm x")
    (there / "pytest.ini").write_text("[pytest]\n# changed\n")
    project.hosts(one(ssh_config, chdir=f'"{there}"', env=f'{{ PYTHONPATH = "{info.parent}" }}'))
    finished = project.run(server)
    hosts.check_all(finished)
    lines = [line for line in finished.output.splitlines() if line.startswith("smoltrace: box-1:")]
    assert len(lines) == 2, finished.output
    assert lines[0].startswith("smoltrace: box-1: smolagents 0.0.7, here 1.")
    assert lines[1].startswith("smoltrace: box-1: commit ")
    assert lines[1].endswith(" with changes, here no git repository")


def test_no_budget_across_hosts(project, ssh_config):
    project.hosts(one(ssh_config))
    line = project.refused("--smoltrace-budget-usd=1")
    assert line.startswith("the session budget cannot be held across hosts: box-1 is not ")
