"""A hosts file, its mistakes, and the placements that it stands for."""

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import execnet
import pytest

from pytest_smoltrace import dist, gateways, host_check, host_facts, host_gpus, hosts
from pytest_smoltrace.errors import ConfigError
from pytest_smoltrace.host_check import Answer, Questions
from pytest_smoltrace.hosts import Host, Placement, forwarded, is_remote, load, moved, placements

PROJECT = Path("/home/me/project")


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "hosts.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_what_a_file_says(write):
    path = write(
        """
        forward_env = ["OPENAI_API_KEY", "HF_TOKEN", "HF_TOKEN"]
        [[host]]
        ssh = "-p 2222 user@gpu-box"
        workers = 4
        chdir = "~/project"
        python = "~/venv/bin/python"
        ssh_config = "~/.ssh/other"
        env = { CUDA_VISIBLE_DEVICES = "0,1" }
        start_timeout_s = 5
        [[host]]
        launch = "/usr/bin/srun --ntasks=1 python"
        [[host]]
        launch = "srun --ntasks=2 python"
        name = "two tasks"
        [[host]]
        launch = "srun --ntasks=3 python"
        [[host]]
        local = true
        workers = 2
        """
    )
    file = load(path)
    assert file.forward_env == ("OPENAI_API_KEY", "HF_TOKEN")
    assert [(host.name, host.workers) for host in file.hosts] == [
        ("gpu-box", 4),
        ("srun", 1),
        ("two tasks", 1),
        ("srun-2", 1),
        ("local", 2),
    ]
    assert file.hosts[0] == Host(
        name="gpu-box",
        ssh="-p 2222 user@gpu-box",
        workers=4,
        chdir="~/project",
        python="~/venv/bin/python",
        ssh_config="~/.ssh/other",
        env={"CUDA_VISIBLE_DEVICES": "0,1"},
        start_timeout_s=5,
    )


SSH = '[[host]]\nssh = "box"\n'
MISTAKES = {
    "": "names no host: write a [[host]] with ssh, launch or local = true",
    "host = []": "names no host: write a [[host]] with ssh, launch or local = true",
    "[host]\nssh = 'box'": "host must be written as [[host]], once for each host",
    "host = ['box']": "host must be written as [[host]], once for each host",
    "hosts = 1": "unknown key 'hosts', did you mean 'host'?",
    "zebra = 1": "unknown key 'zebra'; known: forward_env, host",
    f"forward_env = 'A'\n{SSH}": "forward_env must be a list of names of variables",
    f"forward_env = [1]\n{SSH}": "forward_env must be a list of names of variables",
    f"forward_env = ['A=b']\n{SSH}": "forward_env: 'A=b' is not the name of a variable",
    f"forward_env = ['OPENAI_*']\n{SSH}": "forward_env: 'OPENAI_*' is not the name of a variable",
    "[[host]]": "[[host]] 1: give one of ssh, launch and local = true; it has none of them",
    f"{SSH}launch = 'python'": (
        "[[host]] 1: give one of ssh, launch and local = true; it has ssh and launch"
    ),
    "[[host]]\nlocal = false": (
        "[[host]] 1: give one of ssh, launch and local = true; it has none of them"
    ),
    f"{SSH}[[host]]\nlocal = 1": "[[host]] 2: local must be true, not 1",
    f"{SSH}worker = 2": "[[host]] 1: unknown key 'worker', did you mean 'workers'?",
    f"{SSH}workers = 0": "[[host]] 1: workers must be 1 or more, not 0",
    f"{SSH}workers = -3": "[[host]] 1: workers must be 1 or more, not -3",
    f"{SSH}workers = '2'": "[[host]] 1: workers must be a whole number, not '2'",
    f"{SSH}workers = 2.0": "[[host]] 1: workers must be a whole number, not 2.0",
    f"{SSH}workers = true": "[[host]] 1: workers must be a whole number, not True",
    f"{SSH}start_timeout_s = 'long'": "[[host]] 1: start_timeout_s must be a number, not 'long'",
    f"{SSH}start_timeout_s = 0.5": "[[host]] 1: start_timeout_s must be 1 or more, not 0.5",
    "[[host]]\nssh = ['box']": "[[host]] 1: ssh must be text, not ['box']",
    "[[host]]\nssh = ' '": "[[host]] 1: ssh is empty",
    "[[host]]\nssh = 'a b\"'": "[[host]] 1: ssh: No closing quotation: 'a b\"'",
    "[[host]]\nlaunch = 'srun //x python'": (
        "[[host]] 1: launch must not contain '//', which parts the settings of execnet"
    ),
    f"{SSH}python = '//x/python'": (
        "[[host]] 1: python must not contain '//', which parts the settings of execnet"
    ),
    f"{SSH}name = 'a//b'": (
        "[[host]] 1: name must not contain '//', which parts the settings of execnet"
    ),
    f"{SSH}chdir = 'project'": (
        "[[host]] 1: chdir must be an absolute path, or begin with ~, not 'project'"
    ),
    f"{SSH}env = 'A=b'": "[[host]] 1: env must be a table, not 'A=b'",
    f"{SSH}env = {{ A = 1 }}": "[[host]] 1: env: A must be text in quotes",
    f"{SSH}env = {{ 'A B' = '1' }}": "[[host]] 1: env: 'A B' is not the name of a variable",
    f"{SSH}name = 'a'\n{SSH}name = 'a'": "[[host]] 2: name 'a' is already used",
    "[[host]]\nlaunch = 'python'\npython = 'x'": "[[host]] 1: python goes with ssh",
    "[[host]]\nlaunch = 'python'\nssh_config = 'x'": "[[host]] 1: ssh_config goes with ssh",
    "[[host]]\nlocal = true\npython = 'x'": "[[host]] 1: python goes with ssh",
    "[[host]]\nlocal = true\nchdir = '/x'": "[[host]] 1: chdir goes with ssh or launch",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_line(write, text):
    path = write(text)
    with pytest.raises(ConfigError) as error:
        load(path)
    assert str(error.value) == f"{path}: {MISTAKES[text]}"


def test_a_file_that_cannot_be_read(write, tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load(tmp_path)
    with pytest.raises(ConfigError, match=r"hosts\.toml: not TOML: .*line 2"):
        load(write("[[host]]\nssh = \n"))
    (tmp_path / "binary.toml").write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(byte 5\)"):
        load(tmp_path / "binary.toml")


def placed(**given):
    """Return the placements of one host, and how execnet reads the first."""
    host = Host(name="box", **given)
    found = placements([host], {"SHARED": "1", "OWN": "1"}, PROJECT)
    return found, execnet.XSpec(found[0].spec)


def test_a_worker_of_this_host():
    found, spec = placed(local=True, workers=2, env={"OWN": "2"})
    assert found == (Placement(spec="popen", host="box", env={"OWN": "2"}),) * 2
    assert not is_remote(spec)


def test_a_worker_behind_ssh():
    found, spec = placed(
        ssh="-p 22 me@box", ssh_config="/a b/config", python="nice ~/py", chdir="/x", workers=3
    )
    assert len(found) == 3
    assert found[0].env == {"SHARED": "1", "OWN": "1"}
    assert found[0].chdir == "/x"
    assert found[0].shares_gpus
    # xdist copies nothing to what it takes for a process of this host.
    assert (spec.popen, spec.chdir, spec.ssh, spec.host) == (True, None, None, "box")
    assert is_remote(spec)
    command = shlex.split(spec.python)
    assert command == found[0].command
    assert command[0] == sys.executable
    assert command[-7:] == ["-F", "/a b/config", "-p", "22", "me@box", "::", "nice ~/py"]


def test_a_worker_behind_ssh_has_the_python_and_folder_of_here():
    found, _ = placed(ssh="box")
    assert found[0].chdir == str(PROJECT)
    assert found[0].command[-3:] == ["box", "::", shlex.quote(sys.executable)]


def test_a_worker_that_a_launcher_starts():
    found, spec = placed(launch="srun '--comment=a b' python", env={"OWN": "2"})
    assert found[0].env == {"SHARED": "1", "OWN": "2"}
    assert found[0].command[-4:] == ["command", "srun", "--comment=a b", "python"]
    assert is_remote(spec)
    assert not found[0].shares_gpus


def test_values_are_not_shown():
    (place,) = placements([Host(name="b", ssh="b", env={"KEY": "secret"})], {}, PROJECT)
    assert "secret" not in repr(place)
    assert "secret" not in place.spec
    assert "secret" not in repr(Host(name="b", env={"KEY": "secret"}))


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("popen", False),
        ("popen//python=python3.12", False),
        ("popen//via=proxy", True),
        ("ssh=box", True),
        ("socket=127.0.0.1:1", True),
    ],
)
def test_specs_of_the_command_line(text, remote):
    assert is_remote(execnet.XSpec(text)) is remote


def test_forwarded_variables():
    assert forwarded(["A", "B"], {"A": "", "C": "3"}) == ({"A": ""}, ["B"])


@pytest.mark.parametrize(
    ("word", "there"),
    [
        ("/here/tests/test_a.py", "/there/tests/test_a.py"),
        ("/here/test_a.py::test[/here]", "/there/test_a.py::test[/here]"),
        ("/here", "/there"),
        ("/here/", "/there/"),
        ("/here::x", "/there::x"),
        ("--rootdir=/here", "--rootdir=/there"),
        ("--cov=/here/src", "--cov=/there/src"),
        ("-c/here/pytest.ini", "-c/there/pytest.ini"),
        ("/hereafter/x", "/hereafter/x"),
        ("tests/here/x", "tests/here/x"),
        ("-k=not /here", "-k=not /here"),
        ("x/here/y", "x/here/y"),
    ],
)
def test_words_of_the_command_line(word, there):
    assert moved(word, "/here", "/there") == there


def test_a_replacement_is_no_pattern():
    assert moved("/he.e/x", "/he.e", r"/a\1b") == r"/a\1b/x"
    assert moved("/heXe/x", "/he.e", "/there") == "/heXe/x"


def facts(folder, **asked):
    given = {
        "root": str(folder),
        "files": [],
        "paths": ["."],
        "patterns": ["test_*.py"],
        "packages": {},
        "shown": [],
        "variables": [],
        "addresses": [],
    }
    return host_facts.gather(given | asked)


def test_test_files_are_found(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / "venv" / "test_x.py").touch()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "test_x.py").touch()
    assert not facts(tmp_path)["has_tests"]
    (tmp_path / "a" / "b" / "test_x.py").touch()
    assert facts(tmp_path)["has_tests"]
    assert not facts(tmp_path, patterns=["check_*.py"])["has_tests"]
    assert facts(tmp_path, paths=["a/b/test_x.py"], patterns=[])["has_tests"]


def test_what_is_missing(tmp_path):
    (tmp_path / "there").touch()
    found = facts(tmp_path, files=["there", "a.ini"], paths=["../none"])
    assert found["missing"] == ["a.ini", "../none"]


def test_versions(monkeypatch, tmp_path):
    packages = {"pytest": "pytest", "no-such": "no_such_module", "sure": "json"}
    found = facts(tmp_path, packages=packages)["versions"]
    assert found == {"pytest": pytest.__version__, "no-such": None, "sure": "unknown"}


def test_gpus(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        "echo 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aa)'\n"
        "echo '  MIG 1g.10gb Device 0: (UUID: MIG-x)'\n"
        "echo 'GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bb)'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    name = "NVIDIA H100 80GB HBM3"
    assert facts(tmp_path)["gpus"] == [[name, "GPU-aa"], [name, "GPU-bb"]]
    assert host_check.gpu_text(facts(tmp_path)["gpus"]) == f"2 x {name}"
    assert host_check.gpu_text([]) == "no GPU"


def test_variables_and_addresses(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("SET", "1")
    monkeypatch.setenv("EMPTY", "")
    found = facts(tmp_path, variables=["SET", "EMPTY", "NOT"], addresses=[("127.0.0.1", 1)])
    assert found["unset"] == ["EMPTY", "NOT"]
    assert found["unreachable"] == [("127.0.0.1", 1)]


HERE = {
    "root": "/p",
    "python": "3.12.1",
    "executable": "/py",
    "versions": {"pytest-smoltrace": "1", "pytest-xdist": "3", "pytest": "9", "openai": None},
    "git": {"sha": "abc", "dirty": False},
    "gpus": [],
    "missing": [],
    "has_tests": True,
    "unset": [],
    "unreachable": [],
}
PLACE = Placement(spec="popen//python=x//host=box", host="box", chdir="/there")


def problem(**there):
    questions = Questions(
        project="/p",
        files=(),
        paths=(),
        patterns=(),
        packages={},
        keys=(("openai:m", ("A_KEY", "B_KEY")),),
        addresses=(),
    )
    versions = HERE["versions"] | there.pop("versions", {})
    return host_check._problem(HERE | {"versions": versions} | there, HERE, PLACE, questions)


def test_problems():
    assert problem() is None
    assert problem(versions={"pytest": "8", "openai": "1"}) is None
    assert problem(root=None).startswith("no folder /there; set `chdir`")
    assert problem(versions={"pytest-xdist": None}).startswith("/py has no pytest-xdist; install")
    assert problem(versions={"pytest-smoltrace": "2"}).startswith("pytest-smoltrace is 2 there")
    assert problem(missing=["x.ini"]).startswith("no x.ini in /p; copy")
    assert problem(has_tests=False).startswith("no test files in /p; copy")
    assert problem(unset=["A_KEY"]) is None
    assert problem(unset=["A_KEY", "B_KEY"]) == (
        "openai:m needs A_KEY or B_KEY, which is not set there: add it to forward_env in the "
        'hosts file (forward_env = ["A_KEY"])'
    )
    assert problem(unreachable=[("1.2.3.4", 80)]).startswith(
        "no model server answers at 1.2.3.4:80 from there"
    )


def test_differences():
    there = HERE | {
        "python": "3.11.0",
        "versions": HERE["versions"] | {"pytest": "8", "openai": "1"},
        "git": {"sha": "abd", "dirty": True},
    }
    assert list(host_check._differ(there, HERE)) == [
        "Python 3.11.0, here 3.12.1",
        "pytest 8, here 9",
        "openai 1, here not installed",
        "commit abd with changes, here commit abc",
    ]
    assert list(host_check._differ(HERE, HERE)) == []
    assert list(host_check._differ(HERE | {"git": None}, HERE)) == [
        "no git repository, here commit abc"
    ]


def place(host, *, ssh=True, **env):
    return Placement(
        spec="popen",
        host=host,
        env=env,
        chdir="/p" if ssh is not None else None,
        shares_gpus=bool(ssh),
    )


def answer(host, uuids=(), **shown):
    gpus = [["H100", uuid] for uuid in uuids]
    facts = {"gpus": gpus, "shown": shown}
    return Answer(host=host, facts=facts, differences=(), shares_loopback=True)


def ids(found):
    return [None if share is None else ",".join(share[1]) for share in found]


def test_workers_share_the_gpus_of_their_host():
    places = [place("a")] * 3 + [place("b")] * 2
    answers = [answer("a", ["GPU-0", "GPU-1"]), answer("b", ["GPU-7"])]
    found = host_gpus.shares(places, answers, 1)
    assert ids(found) == ["GPU-0", "GPU-1", "GPU-0", "GPU-7", "GPU-7"]
    assert ids(host_gpus.shares(places[:3], answers, 2)) == ["GPU-0,GPU-1"] * 3
    assert ids(host_gpus.shares(places, answers, 0)) == [""] * 5
    with pytest.raises(ConfigError, match=r"^b: --smoltrace-gpus-per-worker=2, but 1 GPU"):
        host_gpus.shares(places, answers, 2)


def test_the_variable_of_the_host_restricts_them():
    answers = [answer("a", ["GPU-0", "GPU-1", "GPU-2"], CUDA_VISIBLE_DEVICES="2,0")]
    assert ids(host_gpus.shares([place("a")] * 3, answers, 1)) == ["GPU-2", "GPU-0", "GPU-2"]
    unknown = [answer("a", CUDA_VISIBLE_DEVICES="2,0")]
    assert ids(host_gpus.shares([place("a")] * 3, unknown, 1)) == ["2", "0", "2"]
    assert ids(host_gpus.shares([place("a")], [answer("a")], 1)) == [None]


def test_a_launcher_binds_its_own_workers():
    answers = [answer("a", ["GPU-0", "GPU-1"])]
    assert ids(host_gpus.shares([place("a", ssh=False)] * 2, answers, 1)) == [None, None]


def test_workers_of_this_host_share_what_the_file_names():
    named = place("local", ssh=None, CUDA_VISIBLE_DEVICES="3,1")
    assert ids(host_gpus.shares([named] * 3, [], 1)) == ["3", "1", "3"]
    assert ids(host_gpus.shares([place("local", ssh=None)], [], 1)) == [None]


README = (Path(hosts.__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_example_of_the_guide(write):
    example = README.partition("```toml\n# hosts.toml\n")[2].partition("```")[0]
    file = load(write(example))
    assert file.forward_env == ("OPENAI_API_KEY",)
    assert [host.name for host in file.hosts] == ["gpu-box", "srun", "local"]


def test_the_guide_names_every_key():
    section = README.partition("\n## Several hosts\n")[2].partition("\n## ")[0]
    rows = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted([*hosts._TYPES, "forward_env"])


@pytest.mark.parametrize(("spec", "remote"), [("popen//host=box", True), ("popen", False)])
def test_bundles_are_compressed_where_they_leave_the_host(spec, remote):
    node = SimpleNamespace(gateway=SimpleNamespace(spec=execnet.XSpec(spec)), workerinput={})
    dist.tell_worker(node, dist.new_facts("run"))
    facts = dist.told_facts(SimpleNamespace(workerinput=node.workerinput))
    assert facts.remote is remote
    report, bundle = SimpleNamespace(), '{"text": "ß"}' * 100
    dist.attach_bundle(report, bundle, facts)
    sent = getattr(report, dist.BUNDLE)
    assert (isinstance(sent, bytes) and len(sent) < 100) if remote else sent == bundle
    assert dist.detach(report, dist.BUNDLE) == bundle
    assert not hasattr(report, dist.BUNDLE)


def test_workers_of_rerunfailures_need_the_same_loopback(pytestconfig):
    def config(name):
        return SimpleNamespace(pluginmanager=SimpleNamespace(hasplugin=lambda each: each == name))

    near = answer("near")
    far = replace(answer("far"), shares_loopback=False)
    gateways._check_plugins(config("rerunfailures"), [near])
    gateways._check_plugins(config("other"), [near, far])
    with pytest.raises(ConfigError, match=r"^far: workers of pytest-rerunfailures .* -p no:rerun"):
        gateways._check_plugins(config("rerunfailures"), [near, far])
    assert pytestconfig.pluginmanager.hasplugin("rerunfailures")  # it is called so


def test_another_network_namespace_has_another_loopback():
    source = "from pytest_smoltrace import host_facts as h, presence as p\n"
    code = f"{source}print(h._loopback()[1], p.host_id())"
    if subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        pytest.skip("no network namespace can be made")
    run = [sys.executable, "-c", code]
    here, again, there = (
        subprocess.run([*command, *run], check=True, capture_output=True).stdout
        for command in ([], [], ["unshare", "-n"])
    )
    assert here == again
    assert here.split()[0] != there.split()[0]
