"""The files of samples, read."""

import struct

import numpy as np
import pytest

from pytest_smoltrace.sampler.record import DEVICE, FIELDS, RECORD
from pytest_smoltrace.samples import Device, load
from tests.unit.gpu_recording import (
    PERIOD,
    START,
    WALL,
    Card,
    S,
    at,
    header,
    record,
    write,
)


def only(directory):
    loaded = load(directory)
    assert loaded.warnings == ()
    assert len(loaded.series) == 1
    return loaded.series[0]


def test_a_run_without_samples_has_no_series(tmp_path):
    assert load(tmp_path).series == ()
    (tmp_path / "samples").mkdir()
    assert load(tmp_path).series == ()
    assert load(tmp_path).warnings == ()


def test_every_value_of_a_record_is_read(tmp_path):
    write(tmp_path, [Card()], 1.0)
    data = (tmp_path / "samples" / "a.samples").read_bytes()
    body = data[data.index(b"\n") + 1 :]
    expected = list(struct.iter_unpack(RECORD.format, body))
    series = only(tmp_path)
    assert len(expected) == len(series.seq) == 11
    assert series.seq.tolist() == [row[3] for row in expected]
    assert series.mono_ns.tolist() == [row[4] for row in expected]
    for place, name in enumerate(FIELDS, 6):
        assert getattr(series, name).tolist() == [row[place] for row in expected]
    assert not series.failed.any()
    assert not series.reopened.any()
    assert (series.period_ns, series.started_mono_ns) == (PERIOD, START)
    assert series.unix_ns(at(0.3)) == at(0.3) + WALL
    assert series.device == Device(
        clock="c",
        host="h",
        uuid="GPU-0",
        index=0,
        name="Fake",
        memory_mib=80.0 * 1024,
        power="instant",
        vendor="nvidia",
    )


def test_an_unknown_value_is_nan_and_a_failure_is_flagged(tmp_path):
    def edit(t, slot, values):
        if 0.25 < t < 0.55:
            return "failed"
        return {**values, "temperature": float("nan")}

    series = only(write(tmp_path, [Card()], 1.0, edit=edit))
    assert series.failed.tolist() == [False] * 3 + [True] * 3 + [False] * 5
    assert series.reopened.tolist() == [False] * 6 + [True] + [False] * 4
    assert np.isnan(series.temperature).all()
    assert np.isnan(series.power_w).tolist() == series.failed.tolist()


def test_devices_and_processes_are_told_apart(tmp_path):
    rows = [(7, 100, 40.0), (8, 0, 60.0)]
    cards = [Card(uuid="GPU-0"), Card(uuid="GPU-1", used_mib=5.0)]
    loaded = load(write(tmp_path, cards, 0.5, processes=[(0.3, 1, rows)]))
    first, second = loaded.series
    assert loaded.find("c", "GPU-1") is second
    assert loaded.find("d", "GPU-1") is None
    assert len(first.processes.pid) == 0
    assert second.processes.pid.tolist() == [7, 8]
    assert second.processes.owner.tolist() == [100, 0]
    assert second.processes.utilization.tolist() == [40.0, 60.0]
    assert second.processes.mono_ns.tolist() == [at(0.3)] * 2
    assert set(second.processes.tick.tolist()) == {3}
    assert set(first.memory_mib) == {1000.0}
    assert set(second.memory_mib) == {5.0}


@pytest.mark.parametrize("cut", [1, 33, 63])
def test_a_record_that_was_cut_off_is_left_out(tmp_path, cut):
    path = write(tmp_path, [Card()], 1.0) / "samples" / "a.samples"
    path.write_bytes(path.read_bytes()[:-cut])
    assert only(tmp_path).seq.tolist() == list(range(10))


def test_an_instance_knows_the_gpu_that_it_is_part_of(tmp_path):
    cards = [Card(uuid="GPU-0"), Card(uuid="MIG-1", parent=0, bare=True)]
    loaded = load(write(tmp_path, cards, 0.5))
    instance = loaded.find("c", "MIG-1")
    assert instance.device.parent == "GPU-0"
    assert instance.device.board == ("c", "GPU-0")
    assert loaded.find("c", "GPU-0").device.board == ("c", "GPU-0")


BROKEN = {
    "empty": b"",
    "torn": header([Card()])[:-20],
    "no line": header([Card()])[:-1],
    "foreign": b"hello\n" + bytes(640),
    "list": b"[1]\n",
    "other format": header([Card()]).replace(b'"format": 1', b'"format": 2'),
    "no clock": header([Card()]).replace(b'"clock"', b'"tick"'),
    "no devices": header([Card()]).replace(b'"devices"', b'"device"'),
    "no period": header([Card()]).replace(b'"period_ns"', b'"period"')
    + record(DEVICE, 0, 0, START, {}),
    "devices of a wrong kind": b'{"format": 1, "clock": "c", "devices": 3}\n',
    "period of 0": header([Card()], period_ns=0),
    "foreign parent": header([Card(parent=4)]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_costs_one_line_and_nothing_else(tmp_path, name):
    write(tmp_path, [Card()], 1.0, name="good")
    (tmp_path / "samples" / "bad.samples").write_bytes(BROKEN[name])
    loaded = load(tmp_path)
    assert len(loaded.series[0].seq) == 11
    (warning,) = loaded.warnings
    assert "samples/bad.samples" in warning
    assert "\n" not in warning


def test_records_of_unknown_kinds_and_devices_are_left_out(tmp_path):
    path = write(tmp_path, [Card()], 1.0) / "samples" / "a.samples"
    odd = record(9, 0, 11, at(1.1), {}) + record(DEVICE, 200, 11, at(1.1), {})
    path.write_bytes(path.read_bytes() + odd)
    assert only(tmp_path).seq.tolist() == list(range(11))


def test_a_file_without_records_has_no_series(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "a.samples").write_bytes(header([Card()]))
    assert load(tmp_path) == type(load(tmp_path))((), ())


def test_samples_out_of_order_are_put_in_order(tmp_path):
    path = write(tmp_path, [Card()], 1.0) / "samples" / "a.samples"
    data = path.read_bytes()
    body = data.index(b"\n") + 1
    path.write_bytes(data[:body] + data[-64:] + data[body:-64])
    assert only(tmp_path).seq.tolist() == list(range(11))


def test_files_of_one_device_are_joined_in_the_order_of_time(tmp_path):
    write(tmp_path, [Card()], 1.0, name="b")
    write(tmp_path, [Card()], 1.0, name="a", start=20.0, wall=WALL + S)
    series = only(tmp_path)
    assert series.seq.tolist() == [*range(11), *range(11)]
    assert (np.diff(series.mono_ns) > 0).all()
    assert [(part.start, part.stop) for part in series.pieces] == [(0, 11), (11, 22)]
    assert len(set(series.tick.tolist())) == 22
    assert series.unix_ns(at(0.5)) == at(0.5) + WALL
    assert series.unix_ns(at(20.5)) == at(20.5) + WALL + S


def test_the_same_uuid_on_another_machine_is_another_device(tmp_path):
    write(tmp_path, [Card()], 1.0, name="a")
    write(tmp_path, [Card()], 1.0, name="b", clock="d")
    assert [one.device.clock for one in load(tmp_path).series] == ["c", "d"]


def test_of_two_files_at_one_time_the_better_one_stays(tmp_path):
    def half(t, slot, values):
        return values if t < 3 or round(t * 10) % 2 else "failed"

    rows = [(7, 100, 40.0)]
    write(tmp_path, [Card()], 5.0, name="a", edit=half, processes=[(1.0, 0, rows), (4.0, 0, rows)])
    other = [(8, 100, 40.0)]
    write(tmp_path, [Card()], 5.0, name="b", start=3.05, processes=[(4.05, 0, other)])
    series = only(tmp_path)
    assert not series.failed[series.mono_ns > at(3.06)].any()
    first, second = series.pieces
    assert series.mono_ns[first.stop - 1] == at(3.0)
    assert series.mono_ns[second.start] == at(3.05)
    assert (np.diff(series.mono_ns) > 0).all()
    assert series.processes.pid.tolist() == [7, 8]


def test_a_file_within_another_one_replaces_its_middle(tmp_path):
    write(
        tmp_path,
        [Card()],
        10.0,
        name="a",
        edit=lambda t, slot, values: values if t < 4 else "failed",
    )
    write(tmp_path, [Card()], 1.0, name="b", start=5.0)
    series = only(tmp_path)
    assert [part.file for part in series.pieces] == [0, 1, 0]
    assert series.failed[(series.mono_ns >= at(5)) & (series.mono_ns <= at(6))].sum() == 0
    assert len(series.seq) == 101
