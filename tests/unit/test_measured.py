"""Stored sessions as values: the same figures from datasets, a summary and a Parquet file."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pytest_smoltrace.errors import JournalError
from pytest_smoltrace.measured.load import load_directory, load_parquet, load_summary
from tests.unit.stored_run import store

duckdb = pytest.importorskip("duckdb")

CASES = {"c1": "PPF", "c2": "FES", "c3": "P"}
MODELS = ("m-1", "m-2")
FIGURES = (
    *("case_id", "trial", "outcome", "counted", "scored", "success", "execution_time_ms"),
    *("gen_ai.usage.cost.total", "gen_ai.usage.total_tokens", "steps", "tool_call_count"),
    *("difficulty", "tags", "error_type", "trace_id", "nodeid", "gpu_energy_wh"),
    *("gen_ai.server.ttft", "gen_ai.server.tbt"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run of two models whose cases ran twice."""
    return store(tmp_path_factory.mktemp("s"), cases=CASES, models=MODELS, rerun=True)


def summary_of(run):
    return json.loads((run / "summary.json").read_bytes())


def rows(table, names=FIGURES):
    return table.select([name for name in names if name in table.column_names]).to_pylist()


def parquet_of(run):
    return run / "results" / "train-00000.parquet"


def test_a_run_directory_holds_the_counted_rows_that_duckdb_finds(run):
    session = load_directory(run)
    assert [(each.model, each.agent_type) for each in session.runs] == [
        ("m-1", "tool"),
        ("m-2", "tool"),
    ]
    quoted = ", ".join(f'"{name}"' for name in FIGURES)
    for each in session.runs:
        found = duckdb.execute(
            f"select {quoted} from '{parquet_of(run)}' "
            "where counted and model = ? order by case_id, trial",
            [each.model],
        ).fetchall()
        got = [tuple(row.values()) for row in rows(each.attempts)]
        assert sorted(got, key=lambda row: row[:2]) == found
        assert len(found) == 7
        assert each.total_attempts.num_rows == 14
        assert each.row["run_id"] == each.run_id == each.attempts["run_id"][0].as_py()
        assert each.row["num_tests"] == 5
    assert session.session_id == "s-1"
    assert session.directory == run
    assert session.left_out == 0
    assert session.settings["temperature"] == 0.31
    assert session.summary["stop_reason"] == "completed"


def test_long_columns_that_no_figure_is_made_of_are_not_read(run):
    names = set(load_directory(run).runs[0].attempts.column_names)
    assert not names & {"enhanced_trace_info", "scores", "extra", "gpu_events"}
    assert {"error", "prompt", "response", "replay_mode"} <= names


def test_a_summary_alone_has_the_same_figures(run):
    whole, alone = load_directory(run), load_summary(summary_of(run), "there")
    assert alone.place == "there"
    assert alone.directory is None
    assert alone.settings == whole.settings
    names = alone.runs[0].attempts.column_names
    assert {*FIGURES} <= {*names}
    for one, other in zip(whole.runs, alone.runs, strict=True):
        assert rows(one.attempts) == rows(other.attempts)
        assert other.total_attempts.num_rows == 14
        assert other.row == one.row
        types = {field.name: field.type for field in one.attempts.schema}
        assert all(types[field.name] == field.type for field in other.attempts.schema)


def test_a_parquet_file_alone_has_the_same_figures(run):
    whole, alone = load_directory(run), load_parquet(parquet_of(run))
    from_bytes = load_parquet(parquet_of(run).read_bytes(), "bytes")
    assert alone.session_id == from_bytes.session_id == "s-1"
    for one, other, third in zip(whole.runs, alone.runs, from_bytes.runs, strict=True):
        assert other.row == {}
        assert (other.run_id, other.model, other.agent_type) == (
            *(one.run_id, one.model, one.agent_type),
        )
        assert rows(one.attempts) == rows(other.attempts) == rows(third.attempts)


def test_of_several_sessions_in_one_table_the_newest_run_of_a_model_is_taken(tmp_path):
    old = store(tmp_path, "zz-old", models=MODELS, cases={"c1": "F"})
    new = store(tmp_path, "aa-new", models=("m-2",), cases={"c1": "P"}, started_s=60)
    session = load_parquet([parquet_of(new), parquet_of(old)], "both")
    found = {each.model: rows(each.attempts, ("success", "session_id")) for each in session.runs}
    assert found == {
        "m-1": [{"session_id": "zz-old", "success": False}],
        "m-2": [{"session_id": "aa-new", "success": True}],
    }
    assert {*session.session_id.split(", ")} == {"zz-old", "aa-new"}


def test_an_older_summary_works_as_far_as_it_goes(run):
    value = summary_of(run)
    kept = ("run_id", "nodeid", "case_id", "trial", "attempt", "outcome", "scored", "duration_ms")
    value["cases"] = [{key: line[key] for key in kept} for line in value["cases"]]
    del value["gates"]
    whole, old = load_directory(run), load_summary(value)
    names = ("case_id", "trial", "success", "scored", "execution_time_ms")
    for one, other in zip(whole.runs, old.runs, strict=True):
        assert rows(one.attempts, names) == rows(other.attempts, names)
        assert "steps" not in other.attempts.column_names


def test_attempts_that_a_summary_leaves_out_are_told(run):
    value = summary_of(run)
    dropped = [line["case_id"] for line in value["cases"][20:]]
    value["cases"], value["cases_left_out"] = value["cases"][:20], len(dropped)
    session = load_summary(value)
    assert session.left_out == 8
    assert session.runs[0].total_attempts is None


def test_a_run_without_any_attempt_has_empty_tables(tmp_path):
    session = load_directory(store(tmp_path, cases={}))
    assert session.session_id == "s-1"
    assert [each.attempts.num_rows for each in session.runs] in ([], [0])


def test_a_run_whose_summary_is_gone_is_read_from_its_leaderboard(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "summary.json").unlink()
    one, other = load_directory(run), load_directory(copy)
    assert [each.row for each in other.runs] == [each.row for each in one.runs]
    assert other.settings == one.settings
    assert other.session_id == "s-1"


def test_a_model_that_is_unknown_is_none(run):
    value = summary_of(run)
    value["runs"][0] |= {"model": "none", "agent_type": "none"}
    assert (load_summary(value).runs[0].model, load_summary(value).runs[0].agent_type) == (
        None,
        None,
    )


def test_types_of_another_writer_are_those_of_the_contract(run, tmp_path):
    table = pq.read_table(parquet_of(run)).select(["run_id", "case_id", "success", "trial"])
    other = table.cast(
        pa.schema(
            [
                ("run_id", pa.large_string()),
                ("case_id", pa.dictionary(pa.int32(), pa.string())),
                ("success", pa.bool_()),
                ("trial", pa.int32()),
            ]
        )
    )
    pq.write_table(other, tmp_path / "t.parquet")
    found = load_parquet(tmp_path / "t.parquet")
    schema = found.runs[0].attempts.schema
    assert [field.type for field in schema] == [pa.string(), pa.string(), pa.bool_(), pa.int64()]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: [], "no list of runs"),
        (lambda value: {"a": 1}, "no list of runs"),
        (lambda value: value | {"runs": [1]}, "ids of session or runs"),
        (lambda value: {k: v for k, v in value.items() if k != "session_id"}, "ids of session"),
        (lambda value: value | {"cases": [{"nodeid": "x"}]}, "a case line is wrong"),
        (lambda value: value | {"cases": ["x"]}, "a case line is wrong"),
        (lambda value: value | {"cases": [{**value["cases"][0], "trial": "x"}]}, "a case line"),
        (lambda value: value | {"cases": [{**value["cases"][0], "case_id": None}]}, "no case_id"),
        (lambda value: value | {"schema_version": "2.0"}, "pip install -U pytest-smoltrace"),
    ],
)
def test_a_wrong_summary_is_told_in_one_line(run, change, words):
    with pytest.raises(JournalError) as caught:
        load_summary(change(summary_of(run)), "place.json")
    assert words in str(caught.value)
    assert str(caught.value).startswith("place.json")
    assert "\n" not in str(caught.value)


def test_a_later_minor_version_is_read(run):
    assert load_summary(summary_of(run) | {"schema_version": "1.9"}).runs


def test_wrong_parquet_files_are_told_in_one_line(run, tmp_path):
    path = tmp_path / "x.parquet"
    messages = []
    for write in (
        lambda: path.write_bytes(b"PAR1 but no more"),
        lambda: path.write_bytes(parquet_of(run).read_bytes()[:-100]),
        lambda: pq.write_table(pa.table({"a": [1]}), path),
        lambda: pq.write_table(pa.table({"case_id": ["a"], "success": ["maybe"]}), path),
        lambda: pq.write_table(
            pa.table({"case_id": ["a"], "success": [True], "schema_version": ["3.1"]}), path
        ),
        lambda: pq.write_table(pa.table({"case_id": ["a", None], "success": [True] * 2}), path),
    ):
        write()
        with pytest.raises(JournalError) as caught:
            load_parquet(path)
        messages.append(str(caught.value))
    assert all("\n" not in each and "x.parquet" in each for each in messages)
    assert "cannot read" in messages[0]
    assert "cannot read" in messages[1]
    assert "no column 'case_id'" in messages[2]
    assert "holds no results" in messages[3]
    assert "schema version 3.1" in messages[4]
    assert "a row has no case_id" in messages[5]


def test_a_directory_without_datasets_says_how_to_make_them(tmp_path):
    run = store(tmp_path, built=False)
    with pytest.raises(JournalError, match="pytest-smoltrace build"):
        load_directory(run)
    built = store(tmp_path, "s-2")
    parquet_of(built).unlink()
    with pytest.raises(JournalError, match="has no results; make them with"):
        load_directory(built)
    (built / "summary.json").write_bytes(b"{")
    with pytest.raises(JournalError, match="make it again with: pytest-smoltrace build"):
        load_directory(built)
