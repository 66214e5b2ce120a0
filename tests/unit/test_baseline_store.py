"""Baselines that are saved by name: copied whole, replaced only by what may be trusted."""

import argparse
import json
import shutil

import pytest

from pytest_smoltrace.baselines import store as baselines
from pytest_smoltrace.baselines.comparable import match_run
from pytest_smoltrace.baselines.reference import find
from pytest_smoltrace.baselines.saved import listed, saved_baselines
from pytest_smoltrace.commands.baseline import BASELINE
from pytest_smoltrace.errors import ConfigError, JournalError
from pytest_smoltrace.measured.load import load_directory
from tests.unit.stored_run import store

GOOD = {f"c{n:02}": "PPP" for n in range(30)}
WORSE = {f"c{n:02}": "PPP" if n % 3 else "FFF" for n in range(30)}
UNSCORED = {f"c{n:02}": "PPP" if n > 5 else "EEP" for n in range(30)}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "s"


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def names(root):
    """Return everything that lies in the folder of baselines, hidden leftovers too."""
    return sorted(path.name for path in (root / "baselines").iterdir())


def command(root, *words):
    parser = argparse.ArgumentParser()
    BASELINE.arguments(parser)
    args = parser.parse_args([*words, "--dir", str(root)])
    return BASELINE.run(args)


def test_a_saved_baseline_holds_what_comparisons_read(root):
    run = store(root, "one", cases=GOOD)
    folder = baselines.save(run, "v1", root)
    assert folder == root / "baselines" / "v1"
    assert names(root) == ["v1"]
    kept, had = files(folder), files(run)
    wanted = {name for name in had if name.split("/")[0] in ("results", "traces", "leaderboard")}
    assert set(kept) == wanted | {"summary.json", "demands.json"}
    assert len(wanted) >= 6
    assert all(kept[name] == had[name] for name in wanted | {"summary.json"})


def test_it_serves_when_its_run_is_gone(root, tmp_path):
    run = store(root, "one", cases=GOOD)
    baselines.save(run, "v1", root)
    shutil.rmtree(run)
    session = find("v1", directory=root, rootdir=tmp_path).session
    assert session.session_id == "one"
    assert session.runs[0].attempts.num_rows == 90
    other = load_directory(store(root, "two", cases=GOOD | {"new": "P"}, demand="make"))
    assert match_run(other.runs[0], other, session).changed == set(GOOD)


def test_a_name_in_use_is_not_overwritten(root):
    one, two = store(root, "one"), store(root, "two", started_s=9)
    before = files(baselines.save(one, "v1", root))
    with pytest.raises(ConfigError, match="baseline promote RUN v1"):
        baselines.save(two, "v1", root)
    assert files(root / "baselines" / "v1") == before
    assert names(root) == ["v1"]


@pytest.mark.parametrize("name", ["last", "last-green", "", "a/b", "..", ".x", "a:b", "con"])
def test_names_that_mean_something_else_are_refused(root, name):
    run = store(root, "one")
    for save in (baselines.save, baselines.promote):
        with pytest.raises(ConfigError) as caught:
            save(run, name, root)
        assert "\n" not in str(caught.value)
    assert not (root / "baselines").exists()


def test_a_run_without_datasets_is_not_saved(root):
    run = store(root, "one", built=False)
    with pytest.raises(JournalError, match="pytest-smoltrace build"):
        baselines.save(run, "v1", root)
    assert not (root / "baselines").exists()


def test_a_copy_that_fails_leaves_nothing_behind(root, monkeypatch):
    one, two = store(root, "one"), store(root, "two", started_s=9)
    before = files(baselines.save(one, "main", root))

    def fail(*_args, **_given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(baselines.shutil, "copyfile", fail)
    for act in (
        lambda: baselines.save(one, "v2", root),
        lambda: baselines.promote(two, "main", root),
    ):
        with pytest.raises(JournalError, match="No space left"):
            act()
    assert names(root) == ["main"]
    assert files(root / "baselines" / "main") == before


def test_a_replacement_that_fails_keeps_the_old_one(root, monkeypatch):
    one, two = store(root, "one"), store(root, "two", started_s=9)
    folder = baselines.save(one, "main", root)
    before, rename = files(folder), type(folder).rename

    def fail(self, target):
        if self.name.endswith(".new"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(type(folder), "rename", fail)
    with pytest.raises(JournalError, match="Input/output"):
        baselines.promote(two, "main", root)
    assert names(root) == ["main"]
    assert files(folder) == before


def test_promoting_replaces_a_baseline_by_a_run_that_is_no_worse(root):
    baselines.promote(store(root, "one", cases=GOOD), "main", root)
    folder, found = baselines.promote(store(root, "two", cases=GOOD, started_s=5), "main", root)
    assert (found.against, found.notes) == ((), ())
    assert load_directory(folder).session_id == "two"
    assert names(root) == ["main"]


def judged(run, status):
    path = run / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"gates": {"status": status}}))
    return run


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"cases": WORSE}, "a regression against the baseline that it would replace (-33.3pp"),
        ({"cases": UNSCORED}, "only 78 of 90 cases could be scored, fewer than 95%"),
        ({"stop_reason": "interrupted"}, "it did not come to its end (interrupted)"),
        ({"footer": False}, "it did not come to its end (crash)"),
        ({"cases": {"c00": "S"}}, "none of its cases was scored"),
        ({"gates": "failed"}, "its gates failed"),
    ],
)
def test_a_run_that_may_not_be_trusted_replaces_nothing_without_force(root, facts, reason):
    baselines.promote(store(root, "one", cases=GOOD), "main", root)
    gates = facts.get("gates")
    facts = {"cases": GOOD} | {key: value for key, value in facts.items() if key != "gates"}
    run = store(root, "two", started_s=5, **facts)
    if gates:
        judged(run, gates)
    with pytest.raises(JournalError) as caught:
        baselines.promote(run, "main", root)
    assert reason in str(caught.value)
    assert "--force" in str(caught.value)
    assert load_directory(root / "baselines" / "main").session_id == "one"
    folder, found = baselines.promote(run, "main", root, force=True)
    assert any(reason in each for each in found.against)
    assert load_directory(folder).session_id == "two"


def test_gates_that_warned_do_not_speak_against_a_run(root):
    run = judged(store(root, "one", cases=GOOD), "warned")
    assert baselines.promote(run, "main", root)[1].against == ()


def test_a_run_of_another_model_is_promoted_and_the_gap_is_told(root):
    baselines.promote(store(root, "one", cases=GOOD), "main", root)
    run = store(root, "two", cases=WORSE, models=("m-2",), started_s=5)
    _, found = baselines.promote(run, "main", root)
    assert found.against == ()
    assert found.notes == (
        "m-2, tool agent: not compared with the old baseline: model (m-1 and m-2)",
    )


def test_a_run_that_lacks_a_model_of_the_baseline_does_not_replace_it(root):
    both = store(root, "both", cases=GOOD, models=("m-1", "m-2"))
    baselines.promote(both, "main", root)
    run = store(root, "one", cases=GOOD, started_s=5)
    with pytest.raises(JournalError, match="m-2, tool agent: in the baseline that it would rep"):
        baselines.promote(run, "main", root)
    assert baselines.promote(run, "main", root, force=True)[1].against


def test_a_baseline_that_cannot_be_read_gives_way_to_force_alone(root):
    folder, _ = baselines.promote(store(root, "one", cases=GOOD), "main", root)
    (folder / "summary.json").write_bytes(b"{")
    run = store(root, "two", cases=GOOD)
    with pytest.raises(JournalError, match=r"cannot read .*summary\.json"):
        baselines.promote(run, "main", root)
    assert load_directory(baselines.promote(run, "main", root, force=True)[0]).session_id == "two"


def test_the_list_shows_each_run_of_each_baseline(root):
    baselines.save(store(root, "one", cases=GOOD, models=("m-1", "m-2")), "main", root)
    baselines.save(store(root, "two", cases={"a": "PF", "b": "P"}, started_s=60), "old", root)
    found = [
        (each.name, each.session_id, each.model, each.agent_type, each.cases, each.trials)
        for each in listed(root)
    ]
    assert found == [
        ("main", "one", "m-1", "tool", 30, 3.0),
        ("main", "one", "m-2", "tool", 30, 3.0),
        ("old", "two", "m-1", "tool", 2, 1.5),
    ]
    last = [*listed(root)][-1]
    assert last.rate == pytest.approx(200 / 3)
    assert last.low < last.rate < last.high
    assert last.started.startswith("2025-10-09T08:54:20")
    assert last.hardware == "CPU 3 vCPU"


def test_commands_save_promote_list_and_remove(root, capsys):
    run = store(root, "one", cases=GOOD)
    assert command(root, "save", "v1", "one") == 0
    assert capsys.readouterr().out == f"one is saved as {root / 'baselines' / 'v1'}\n"
    store(root, "two", cases=GOOD, started_s=5)
    store(root, "three", started_s=9, footer=False)
    assert command(root, "promote") == 0
    assert capsys.readouterr().out == (f"two is the baseline main: {root / 'baselines' / 'main'}\n")
    assert command(root, "promote", str(run), "other") == 0
    assert "one is the baseline other" in capsys.readouterr().out
    assert command(root, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["baseline", "main", "other", "v1"]
    assert "100.0 %" in lines[1]
    assert "30 x 3" in lines[1]
    assert "2025-10-09 08:53" in lines[1]
    assert "CPU 3 vCPU" in lines[1]
    assert all(line.index("m-1") == lines[0].index("model") for line in lines[1:])
    assert command(root, "remove", "other") == 0
    assert names(root) == ["main", "v1"]
    with pytest.raises(ConfigError, match="did you mean 'main'"):
        command(root, "remove", "mian")


def test_force_says_what_it_overrides(root, capsys):
    baselines.promote(store(root, "one", cases=GOOD), "main", root)
    store(root, "two", cases=WORSE, started_s=5)
    assert command(root, "promote", "two", "--force") == 0
    said = capsys.readouterr()
    assert "warning: forced: m-1, tool agent: a regression" in said.err
    assert "two is the baseline main" in said.out


def test_an_empty_list_and_an_unreadable_baseline_are_told(root, capsys):
    assert command(root, "list") == 0
    assert "no baseline is saved" in capsys.readouterr().err
    folder = baselines.save(store(root, "one"), "v1", root)
    (folder / "summary.json").write_bytes(b"{")
    assert command(root, "list") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "baseline 'v1': cannot read" in said.err
    assert saved_baselines(root) == (folder,)


def test_a_summary_alone_is_written_for_git(root, tmp_path, capsys):
    run, file = store(root, "one", cases=GOOD), tmp_path / "evals" / "b.json"
    assert command(root, "save", "main", "one", "--output", str(file)) == 0
    assert capsys.readouterr().out == f"one is saved as {file}\n"
    value = json.loads(file.read_bytes())
    assert value.pop("baseline")["name"] == "main"
    assert value == json.loads((run / "summary.json").read_bytes())
    assert [path.name for path in file.parent.iterdir()] == ["b.json"]
    assert not (root / "baselines").exists()
    assert find("evals/b.json", directory=root, rootdir=tmp_path).session.session_id == "one"
    with pytest.raises(ConfigError, match="exists already"):
        command(root, "save", "main", "one", "--output", str(file))


def test_a_summary_for_git_tells_which_cases_changed(root, tmp_path):
    file = tmp_path / "b.json"
    run = store(root, "one", cases={"a": "P", "old": "P"})
    baselines.write_summary(run, file, "main")
    baseline = find("b.json", directory=root, rootdir=tmp_path).session
    other = load_directory(store(root, "two", cases={"a": "P", "new": "P"}, demand="make"))
    assert match_run(other.runs[0], other, baseline).changed == {"a"}
    same = load_directory(store(root, "three", cases={"a": "P", "new": "P"}))
    assert match_run(same.runs[0], same, baseline).changed == set()


def test_a_summary_for_git_is_replaced_only_by_what_may_be_trusted(root, tmp_path, capsys):
    file = tmp_path / "b.json"
    store(root, "one", cases=GOOD)
    assert command(root, "promote", "one", "--output", str(file)) == 0
    store(root, "two", cases=WORSE, started_s=5)
    with pytest.raises(JournalError, match="a regression against"):
        command(root, "promote", "two", "--output", str(file))
    assert json.loads(file.read_bytes())["session_id"] == "one"
    store(root, "three", cases=GOOD, started_s=6)
    assert command(root, "promote", "three", "--output", str(file)) == 0
    assert json.loads(file.read_bytes())["session_id"] == "three"
    file.write_bytes(b"{")
    with pytest.raises(JournalError, match="replace it with --force"):
        command(root, "promote", "three", "--output", str(file))
    assert command(root, "promote", "three", "--output", str(file), "--force") == 0
    capsys.readouterr()
