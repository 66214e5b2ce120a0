"""What a reference to a baseline leads to: a session, nothing yet, or one clear line."""

import json
import os
import shutil
import subprocess

import pytest

from pytest_smoltrace.baselines.reference import find
from pytest_smoltrace.errors import ConfigError
from tests.unit.stored_run import store


@pytest.fixture
def runs(tmp_path):
    """Return a folder of runs, oldest first: green, then red, failed gates, cut off, unbuilt."""
    root = tmp_path / "s"
    store(root, "green-1", started_s=1)
    store(root, "green-2", started_s=2)
    store(root, "red-3", started_s=3, exit_status=1)
    judge(store(root, "gates-4", started_s=4), "failed")
    store(root, "cut-5", started_s=5, stop_reason="interrupted", exit_status=2)
    store(root, "killed-6", started_s=6, footer=False)
    store(root, "unbuilt-7", started_s=7, built=False)
    return root


def judge(run, status):
    path = run / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"gates": {"status": status}}))


@pytest.fixture
def look(runs, tmp_path):
    def look(reference, **given):
        return find(str(reference), **({"directory": runs, "rootdir": tmp_path} | given))

    return look


def refused(look, reference, *words, **given):
    with pytest.raises(ConfigError) as caught:
        look(reference, **given)
    message = str(caught.value)
    assert message.startswith(str(reference))
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


def test_last_is_the_newest_finished_run_with_datasets(look):
    assert look("last").session.session_id == "cut-5"
    assert look("last", leave_out="cut-5").session.session_id == "gates-4"


def test_last_green_is_complete_and_nothing_failed(look, runs):
    assert look("last-green").session.session_id == "green-2"
    assert look("last-green", leave_out="green-2").session.session_id == "green-1"
    judge(runs / "runs" / "green-2", "warned")
    assert look("last-green").session.session_id == "green-2"
    (runs / "runs" / "green-2" / "summary.json").write_bytes(b"{")
    assert look("last-green").session.session_id == "green-1"


@pytest.mark.parametrize("picked", ["-k c1", "evals --lf", "evals/test_a.py::test"])
def test_a_green_run_of_a_suite_comes_before_one_of_picked_cases(tmp_path, picked):
    store(tmp_path, "suite", started_s=1, environment={"selection": "evals -m smoke"})
    store(tmp_path, "part-2", started_s=2, environment={"selection": picked})
    store(tmp_path, "part-3", started_s=3, environment={"selection": picked})
    given = {"directory": tmp_path, "rootdir": tmp_path}
    assert find("last", **given).session.session_id == "part-3"
    assert find("last-green", **given).session.session_id == "suite"
    shutil.rmtree(tmp_path / "runs" / "suite")
    assert find("last-green", **given).session.session_id == "part-3"


@pytest.mark.parametrize("word", ["last", "last-green"])
def test_without_a_run_there_is_none_yet(look, tmp_path, word):
    found = look(word, directory=tmp_path / "none")
    assert found.session is None
    assert "no other" in found.missing
    only = tmp_path / "only"
    store(only, "me")
    assert look(word, directory=only, leave_out="me").session is None
    assert look(word, directory=only).session.session_id == "me"


def test_a_run_goes_by_its_id_or_a_unique_start(look):
    for reference in ("green-2", "red", "cut-5"):
        assert look(reference).session.session_id.startswith(reference)
        assert look(reference).reference == reference
    refused(look, "green", "several", "green-1", "green-2")
    assert look("green", leave_out="green-1").session.session_id == "green-2"


def test_the_session_itself_is_no_baseline(look, runs):
    refused(look, "green-2", "this session itself", leave_out="green-2")
    refused(look, "green-2", "this session itself", leave_out="green-2")
    refused(look, "gree", "this session", leave_out="green-2", directory=only_one(runs))
    path = runs / "runs" / "green-2"
    refused(look, path, "this session itself", leave_out="green-2")


def only_one(runs):
    folder = runs.parent / "one"
    shutil.copytree(runs / "runs" / "green-2", folder / "runs" / "green-2")
    return folder


def test_an_unknown_name_is_refused_with_what_was_probably_meant(look):
    assert "did you mean 'green-1'" in refused(look, "gren-1", "no run or saved baseline")
    assert "did you mean 'last-green'" in refused(look, "lastgreen")
    refused(look, "zzzzzz", "hub:OWNER/NAME")
    assert "did you mean" not in refused(look, "zzzzzz")
    with pytest.raises(ConfigError, match="''"):
        look("")


def test_a_run_without_datasets_says_how_to_make_them(look):
    refused(look, "unbuilt-7", "pytest-smoltrace build")


def test_a_saved_baseline_goes_by_its_name(look, runs):
    found = look("main")
    assert found.session is None
    assert "pytest-smoltrace baseline promote" in found.missing
    shutil.copytree(runs / "runs" / "red-3", runs / "baselines" / "main")
    assert look("main").session.session_id == "red-3"
    assert "did you mean 'main'" in refused(look, "mian")


def test_directories_and_files_are_read_relative_to_the_root(look, runs, tmp_path):
    run = runs / "runs" / "green-1"
    shutil.copytree(run, tmp_path / "kept" / "run")
    shutil.copy(run / "summary.json", tmp_path / "kept" / "b.json")
    shutil.copy(run / "results" / "train-00000.parquet", tmp_path / "kept" / "b.parquet")
    data = tmp_path / "kept" / "dataset" / "data"
    data.mkdir(parents=True)
    shutil.copy(run / "results" / "train-00000.parquet", data / "train-00000-of-00001.parquet")
    for path in (
        *("kept/run", "kept/b.json", "kept/b.parquet", "kept/dataset", "kept/run/results"),
        tmp_path / "kept" / "run",
    ):
        session = look(path).session
        assert session.session_id == "green-1"
        assert session.runs[0].attempts.num_rows == 3
    assert look("kept/run").session.directory == tmp_path / "kept" / "run"


def test_a_file_that_is_not_there_may_come_later(look):
    for reference in ("evals/b.json", "b.json", "b.parquet", "acme/results", "./b"):
        found = look(reference)
        assert found.session is None
        assert "there is no" in found.missing
    assert "hub:OWNER/NAME" in look("acme/results").missing


def test_what_cannot_be_read_is_refused(look, runs, tmp_path):
    (tmp_path / "a.json").write_text("{")
    refused(look, "a.json", "neither Parquet nor JSON")
    (tmp_path / "b.json").write_text('{"x": 1}')
    refused(look, "b.json", "no list of runs")
    refused(look, runs / "runs" / "green-1" / "leaderboard" / "train-00000.parquet", "no results")
    (tmp_path / "empty").mkdir()
    refused(look, "empty", "neither a run directory nor")
    refused(look, runs / "runs" / "unbuilt-7", "pytest-smoltrace build")
    later = json.loads((runs / "runs" / "green-1" / "summary.json").read_bytes())
    (tmp_path / "c.json").write_text(json.dumps(later | {"schema_version": "2.0"}))
    refused(look, "c.json", "schema version 2.0", "pip install -U")


def git(folder, *words):
    names = {"NAME": "t", "EMAIL": "t@example.org"}
    who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER")
           for key, value in names.items()}  # fmt: skip
    return subprocess.run(
        ["git", "-c", "commit.gpgsign=false", *words],
        cwd=folder, env=os.environ | who, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


@pytest.fixture
def repository(tmp_path, runs):
    """Return a repository whose first commit has a summary, whose second has none."""
    root = tmp_path / "repo"
    (root / "pkg" / "evals").mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    run = runs / "runs" / "green-1"
    shutil.copy(run / "summary.json", root / "pkg" / "evals" / "b.json")
    shutil.copy(run / "results" / "train-00000.parquet", root / "b.parquet")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "one")
    git(root, "tag", "v1")
    git(root, "rm", "-q", "-r", "pkg/evals")
    (root / "pkg").mkdir(exist_ok=True)
    (root / "pkg" / "keep").write_text("x")
    (root / "pkg" / "lfs.json").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "two")
    return root


def test_a_file_of_a_git_revision(look, repository):
    for reference, rootdir in (
        ("git:v1:pkg/evals/b.json", repository),
        ("git:v1:./pkg/evals/b.json", repository),
        ("git:HEAD~1:evals/b.json", repository / "pkg"),
        ("git:main~1:pkg/evals/b.json", repository / "pkg"),
        ("git:v1:b.parquet", repository),
        ("git:v1:b.parquet", repository / "pkg"),
    ):
        session = look(reference, rootdir=rootdir).session
        assert session.session_id == "green-1"
        assert session.runs[0].attempts.num_rows == 3
        assert git(repository, "rev-parse", "v1")[:10] in session.place


def test_a_file_that_a_revision_lacks_may_come_later(look, repository):
    for path in ("pkg/evals/b.json", "nothing.json", "../outside.json", "-x"):
        found = look(f"git:main:{path}", rootdir=repository)
        assert found.session is None
        assert f"has no file {path}" in found.missing


def test_an_unknown_revision_says_how_to_fetch_it(look, repository):
    for revision in ("origin/main", "v9", "0" * 40, "--all", "-n1", "--since=1"):
        refused(look, f"git:{revision}:b.json", "fetch-depth: 0", rootdir=repository)


def test_a_shallow_clone_lacks_older_revisions(look, repository, tmp_path):
    git(tmp_path, "clone", "-q", "--depth=1", repository.as_uri(), "shallow")
    commit = git(repository, "rev-parse", "v1")
    refused(look, f"git:{commit}:b.parquet", "fetch-depth: 0", rootdir=tmp_path / "shallow")
    assert look(f"git:{commit}:b.parquet", rootdir=repository).session is not None


def test_wrong_git_references_are_told(look, repository, tmp_path, monkeypatch):
    for text in ("git:", "git:main", "git:main:", "git::b.json"):
        refused(look, text, "git:REVISION:PATH", rootdir=repository)
    refused(look, "git:v1:pkg", "a folder", rootdir=repository)
    refused(look, "git:main:pkg/keep", "neither Parquet nor JSON", rootdir=repository)
    refused(look, "git:main:pkg/lfs.json", "Git LFS", rootdir=repository)
    refused(look, "git:main:b.json", "git does not work", "not a git repository", rootdir=tmp_path)
    monkeypatch.setenv("PATH", "")
    refused(look, "git:main:b.json", "not installed", rootdir=repository)


def test_a_hub_reference_has_an_owner_and_a_name(look):
    for text in ("hub:", "hub:acme", "hub:acme/x/y", "hub:acme/x@"):
        refused(look, text, "hub:OWNER/NAME")
