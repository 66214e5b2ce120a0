"""Whose energy it was: shares by hand, a plain witness, and sums that close."""

import math
import random

import numpy as np
import pytest

from pytest_smoltrace.attribution import Account, Window
from pytest_smoltrace.electricity import Electricity
from pytest_smoltrace.samples import load
from tests.unit.gpu_recording import (
    WALL,
    Card,
    Constant,
    Sine,
    Steps,
    account,
    at,
    llm_load,
    window,
    write,
)

ELECTRICITY = Electricity()
NAN = math.nan
TWO = ("GPU-0", "GPU-1")


def wh(found, *places):
    return [found.use_of(place, ELECTRICITY).energy_wh for place in places]


def whole(found):
    return sum(float(board.curve.wh[-1]) for board in found.boards.values())


def closes(found, places, rel=1e-9):
    parts = [found.unattributed_wh]
    for place in places:
        use = found.use_of(place, ELECTRICITY)
        parts += [use.energy_wh or 0.0, use.energy_setup_wh or 0.0]
    assert sum(parts) == pytest.approx(whole(found), rel=rel)


def test_one_window_gets_all_and_the_rest_is_nobodys(tmp_path):
    write(tmp_path, [Card(load=Constant(360.0))], 20)
    found = account(tmp_path, [window(0, 5, 15)])
    assert wh(found, 0) == [pytest.approx(1.0, rel=1e-9)]
    assert found.unattributed_wh == pytest.approx(1.0, rel=1e-9)


def test_shares_of_overlapping_windows_are_those_worked_out_by_hand(tmp_path):
    """100 W: A 0-6, B 2-8, C 4-5 and 9-10 nobody.

    0-2 A alone 200 J, 2-4 A B 100 J each, 4-5 A B C 33 1/3 J each, 5-6 A B 50 J each, 6-8 B 200 J.
    """
    write(tmp_path, [Card(load=Constant(100.0))], 10)
    found = account(tmp_path, [window(0, 0, 6), window(1, 2, 8), window(2, 4, 5)])
    a, b, c = (value * 3600 for value in wh(found, 0, 1, 2))
    assert a == pytest.approx(200 + 100 + 100 / 3 + 50, rel=1e-9)
    assert b == pytest.approx(100 + 100 / 3 + 50 + 200, rel=1e-9)
    assert c == pytest.approx(100 / 3, rel=1e-9)
    assert found.unattributed_wh * 3600 == pytest.approx(200, rel=1e-9)
    labels = [found.use_of(place, ELECTRICITY).attribution for place in range(3)]
    assert labels == ["time_share"] * 3


def test_windows_that_touch_do_not_overlap(tmp_path):
    write(tmp_path, [Card()], 10)
    found = account(tmp_path, [window(0, 1, 4), window(1, 4, 6), window(2, 6, 6)])
    uses = [found.use_of(place, ELECTRICITY) for place in range(3)]
    assert [use.attribution for use in uses] == ["exclusive"] * 3
    assert uses[2].energy_wh == 0.0


def test_a_window_that_ends_before_it_starts_gets_nothing(tmp_path):
    write(tmp_path, [Card()], 10)
    found = account(tmp_path, [window(0, 4, 3), window(1, 3, 5)])
    assert wh(found, 0, 1) == [0.0, pytest.approx(600 / 3600)]
    closes(found, [0, 1])


def test_the_phases_of_an_attempt_are_told_apart(tmp_path):
    write(tmp_path, [Card(load=Constant(360.0))], 20)
    phases = [("setup", 1, 4), ("call", 4, 14), ("teardown", 14, 16)]
    found = account(tmp_path, [window(7, start, end, phase=name) for name, start, end in phases])
    use = found.use_of(7, ELECTRICITY)
    assert use.energy_wh == pytest.approx(1.0, rel=1e-9)
    assert use.energy_setup_wh == pytest.approx(0.5, rel=1e-9)
    assert use.co2_emissions_g == pytest.approx(1.5 / 1000 * 475, rel=1e-9)


def test_a_setup_window_shares_with_a_call_window(tmp_path):
    write(tmp_path, [Card(load=Constant(360.0))], 20)
    found = account(tmp_path, [window(0, 5, 15), window(1, 10, 15, phase="setup")])
    assert wh(found, 0) == [pytest.approx(0.75)]
    assert found.use_of(1, ELECTRICITY).energy_setup_wh == pytest.approx(0.25)
    assert found.use_of(1, ELECTRICITY).energy_wh == 0.0
    assert found.use_of(0, ELECTRICITY).attribution == "time_share"


def test_only_windows_of_the_same_device_share(tmp_path):
    cards = [Card(load=Constant(360.0)), Card(uuid="GPU-1", load=Constant(720.0))]
    write(tmp_path, cards, 20)
    windows = [
        window(0, 5, 15),
        window(1, 5, 15, devices=("GPU-1",)),
        window(2, 10, 15, devices=TWO),
    ]
    found = account(tmp_path, windows)
    assert wh(found, 0, 1, 2) == [
        pytest.approx(0.75),
        pytest.approx(1.5),
        pytest.approx(0.25 + 0.5),
    ]
    closes(found, range(3))


def test_the_same_uuid_on_two_machines_is_two_devices(tmp_path):
    write(tmp_path, [Card(load=Constant(360.0))], 10, name="a")
    write(tmp_path, [Card(load=Constant(720.0))], 10, name="b", clock="d")
    found = account(tmp_path, [window(0, 0, 10), window(1, 0, 10, clock="d")])
    assert wh(found, 0, 1) == [pytest.approx(1.0), pytest.approx(2.0)]
    assert found.use_of(0, ELECTRICITY).attribution == "exclusive"


def test_energy_of_windows_is_not_that_of_the_device_times_their_number(tmp_path):
    write(tmp_path, [Card(load=Constant(300.0))], 12)
    found = account(tmp_path, [window(place, 1, 11) for place in range(8)])
    assert sum(wh(found, *range(8))) == pytest.approx(3000 / 3600, rel=1e-9)


def witness(cards, windows, seconds, split=None):
    """Integrate at every millisecond, in plain Python."""
    got = {one.place: 0.0 for one in windows}
    free = 0.0
    for card in cards:
        mine = [one for one in windows if card.uuid in one.devices]
        energy = [card.load.joules(k / 1000) for k in range(seconds * 1000 + 1)]
        for k in range(seconds * 1000):
            now = at(0) + k * 1_000_000 + 500_000
            active = [one for one in mine if one.start_mono_ns <= now < one.end_mono_ns]
            joules = energy[k + 1] - energy[k]
            weights = split(card, now, active) if split else [1.0] * len(active)
            if not active:
                free += joules
            for one, weight in zip(active, weights, strict=True):
                got[one.place] += joules * weight / sum(weights)
    return got, free


@pytest.mark.parametrize("seed", range(4))
def test_the_sweep_agrees_with_a_plain_integration(tmp_path, seed):
    rng = random.Random(seed)
    cards = [
        Card(uuid=uuid, load=load_, counter=0.001, refresh=0.001, window=0.001)
        for uuid, load_ in zip(
            TWO, (Sine(300, 200, 1.3), Steps((0, 90), (3.1, 650), (5.2, 320))), strict=True
        )
    ]
    write(tmp_path, cards, 8, period=0.001 if seed == 0 else 0.002)
    windows = []
    for place in range(12):
        start = rng.randrange(500, 6500) / 1000
        end = start + rng.randrange(1, 3000) / 1000
        devices = rng.choice([("GPU-0",), ("GPU-1",), TWO])
        windows.append(window(place, start, min(end, 7.9), devices=devices))
    found = account(tmp_path, windows)
    got, free = witness(cards, windows, 8)
    for place, joules in got.items():
        assert wh(found, place)[0] * 3600 == pytest.approx(joules, rel=0.001, abs=0.05)
    assert found.unattributed_wh * 3600 == pytest.approx(free, rel=0.001, abs=0.05)
    closes(found, range(12))


@pytest.mark.parametrize("seed", range(12))
def test_sums_close_whatever_happens(tmp_path, seed):
    """Random windows, devices, faults, files and processes."""
    rng = random.Random(seed)
    cards = [
        Card(
            uuid=f"GPU-{k}",
            load=llm_load(40, seed * 10 + k),
            counter=rng.choice([0.02, 0.1, None]),
            power=rng.choice(["instant", "average"]),
            has_power=rng.random() < 0.8,
        )
        for k in range(3)
    ]
    down = [sorted(rng.uniform(0, 30) for _ in range(2)) for _ in cards]

    def edit(t, slot, values):
        if down[slot][0] < t < down[slot][1]:
            return rng.choice([None, "failed"])
        return None if rng.random() < 0.05 else values

    busy = [
        (t / 10, slot, [(1000 + k, 100 + k, rng.randrange(0, 60)) for k in range(3)])
        for t in range(5, 250, 11)
        for slot in range(3)
    ]
    write(tmp_path, cards, 25, edit=edit, processes=busy if seed % 2 else ())
    write(tmp_path, cards, 15, name="b", start=rng.choice([20.0, 30.0]), edit=edit)
    windows = []
    for place in range(40):
        t = rng.uniform(-3, 44)
        devices = tuple(sorted(rng.sample([card.uuid for card in cards], rng.randint(1, 3))))
        how = {"devices": devices, "pid": 100 + rng.randrange(4), "run_id": f"r{place % 3}"}
        for phase in ("setup", "call", "teardown"):
            end = t + rng.expovariate(1.0)
            windows.append(window(place, t, end, phase=phase, **how))
            t = end
    found = account(tmp_path, windows)
    closes(found, range(40))
    uses = [found.use_of(place, ELECTRICITY) for place in range(40)]
    for use in uses:
        assert use.energy_wh is None or use.energy_wh >= -1e-12
        assert use.coverage is None or 0 <= use.coverage <= 1
        assert use.sample_count >= 0
        assert use.missed_ticks >= 0
        if use.power_avg_w is not None:
            assert use.power_avg_w <= use.power_max_w
        if use.energy_active_wh is not None:
            assert 0 <= use.energy_active_wh <= use.energy_wh + 1e-12
    # The path of each run ends with the energy of its attempts.
    for number in range(3):
        times = np.array([*sorted(at(rng.uniform(-5, 60)) for _ in range(50)), at(999)])
        path = found.attributed_wh(f"r{number}", {"c": times})["c"]
        mine = uses[number::3]
        total = sum((use.energy_wh or 0) + (use.energy_setup_wh or 0) for use in mine)
        assert path[-1] == pytest.approx(total, rel=1e-9, abs=1e-12)
        assert (np.diff(path) >= -1e-12).all()


# By process


def shared(tmp_path, processes, seconds=10, **how):
    write(tmp_path, [Card(load=Constant(360.0))], seconds, processes=processes)
    return account(tmp_path, [window(0, 0, 10, **how), window(1, 0, 10, **how)])


def readings(rows, seconds=10):
    return [(float(t), 0, rows) for t in range(1, seconds)]


def test_processes_of_the_workers_split_the_energy(tmp_path):
    found = shared(tmp_path, readings([(7, 100, 60.0), (8, 101, 20.0), (9, 100, 0.0)]))
    assert wh(found, 0, 1) == [pytest.approx(0.75, rel=1e-9), pytest.approx(0.25, rel=1e-9)]
    for place in (0, 1):
        assert found.use_of(place, ELECTRICITY).attribution == "process"
    closes(found, [0, 1])


@pytest.mark.parametrize(
    "rows",
    [
        [(7, 100, 60.0), (8, 101, 20.0), (9, 0, 20.0)],
        [(7, 100, 60.0), (8, 102, 20.0)],
        [(7, 100, 0.0), (8, 101, 0.0)],
        [(7, 100, NAN), (8, 101, NAN)],
        [],
    ],
    ids=["a stranger", "a worker without window", "nobody busy", "not known", "no processes"],
)
def test_otherwise_time_is_shared(tmp_path, rows):
    found = shared(tmp_path, readings(rows))
    assert wh(found, 0, 1) == [pytest.approx(0.5), pytest.approx(0.5)]
    assert found.use_of(0, ELECTRICITY).attribution == "time_share"


def test_a_reading_is_believed_for_one_and_a_half_seconds(tmp_path):
    found = shared(tmp_path, [(4.0, 0, [(7, 100, 60.0)])])
    assert wh(found, 0, 1) == [pytest.approx(0.3 + 0.35), pytest.approx(0.35)]
    assert found.use_of(0, ELECTRICITY).attribution == "time_share"
    closes(found, [0, 1])


def test_the_nearest_reading_is_believed(tmp_path):
    mine, yours = [(7, 100, 50.0)], [(8, 101, 50.0)]
    found = shared(tmp_path, [(1.0, 0, mine), (3.0, 0, yours), (5.0, 0, mine)])
    # 0-2 and 4-6.5 are the first one's, 2-4 is the other one's, 6.5-10 is shared.
    assert wh(found, 0, 1) == [pytest.approx(0.45 + 0.175), pytest.approx(0.2 + 0.175)]


def test_readings_of_two_files_are_told_apart(tmp_path):
    card = Card(load=Constant(360.0))
    write(tmp_path, [card], 10, name="a", processes=readings([(7, 100, 60.0)]))
    after = [(t + 20, 0, rows) for t, _, rows in readings([(7, 100, 30.0), (8, 101, 30.0)])]
    write(tmp_path, [card], 10, name="b", start=20.0, processes=after)
    found = account(tmp_path, [window(0, 0, 30), window(1, 0, 30)])
    assert wh(found, 0, 1) == [pytest.approx(1.5), pytest.approx(0.5)]


def test_windows_of_one_worker_share_what_its_processes_did(tmp_path):
    write(
        tmp_path, [Card(load=Constant(360.0))], 10, processes=readings([(7, 9, 60.0), (8, 5, 20.0)])
    )
    windows = [window(0, 0, 10, pid=9), window(1, 0, 10, pid=9), window(2, 0, 10, pid=5)]
    found = account(tmp_path, windows)
    assert wh(found, 0, 1, 2) == [pytest.approx(0.375), pytest.approx(0.375), pytest.approx(0.25)]
    closes(found, range(3))


def test_a_window_that_is_alone_gets_all_whatever_processes_do(tmp_path):
    write(tmp_path, [Card(load=Constant(360.0))], 10, processes=readings([(7, 0, 60.0)]))
    found = account(tmp_path, [window(0, 0, 10)])
    assert wh(found, 0) == [pytest.approx(1.0)]
    assert found.use_of(0, ELECTRICITY).attribution == "exclusive"


@pytest.mark.parametrize("seed", range(3))
def test_the_split_by_processes_agrees_with_a_plain_integration(tmp_path, seed):
    rng = random.Random(seed)
    card = Card(load=Sine(300, 200, 1.3), counter=0.001, refresh=0.001, window=0.001)
    times = sorted(rng.sample(range(2, 100), 9))
    batches = {}
    for t in times:
        workers = [100 + k for k in range(4) if rng.random() < 0.6]
        stranger = [0] if rng.random() < 0.2 else []
        batches[at(t / 10)] = [(w + 5000, w, rng.randrange(1, 50)) for w in workers + stranger]
    processes = [((time - at(0)) / 1e9, 0, rows) for time, rows in batches.items()]
    write(tmp_path, [card], 10, period=0.002, processes=processes)
    windows = []
    for place in range(4):
        t = rng.randrange(0, 3000) / 1000
        windows += [window(place, t, t + rng.randrange(1000, 6000) / 1000)]
    found = account(tmp_path, windows)

    def split(_, now, active):
        known = [time for time, rows in batches.items() if rows]
        near = min(known, key=lambda time: abs(time - now))
        used = {one.pid: 0.0 for one in active}
        for _, owner, share in batches[near]:
            if owner not in used:
                return [1.0] * len(active)
            used[owner] += share
        if abs(near - now) > 1.5e9 or len(active) < 2:
            return [1.0] * len(active)
        return [used[one.pid] for one in active]

    got, _ = witness([card], windows, 10, split)
    for place, joules in got.items():
        assert wh(found, place)[0] * 3600 == pytest.approx(joules, rel=0.002, abs=0.5)
    closes(found, range(4))


# Instances of partitioned GPUs


def partitioned(tmp_path, windows):
    cards = [
        Card(uuid="GPU-0", load=Constant(360.0), used_mib=9000.0),
        Card(uuid="MIG-a", parent=0, bare=True, used_mib=100.0),
        Card(uuid="MIG-b", parent=0, bare=True, used_mib=200.0),
    ]
    write(tmp_path, cards, 20)
    return account(tmp_path, windows)


def test_an_instance_has_the_energy_of_its_gpu(tmp_path):
    found = partitioned(tmp_path, [window(0, 5, 15, devices=("MIG-a",))])
    use = found.use_of(0, ELECTRICITY)
    assert use.energy_wh == pytest.approx(1.0)
    assert use.attribution == "mig_parent"
    assert (use.power_avg_w, use.utilization_avg, use.temperature_max) == (
        pytest.approx(360),
        pytest.approx(50),
        60,
    )
    assert use.memory_max_mib == 100.0
    assert use.uuids == ["MIG-a"]
    assert use.coverage == 1.0
    assert found.curve("c", "MIG-a") is found.curve("c", "GPU-0")


def test_windows_on_two_instances_share_their_gpu(tmp_path):
    windows = [window(0, 5, 15, devices=("MIG-a",)), window(1, 10, 15, devices=("MIG-b",))]
    found = partitioned(tmp_path, windows)
    assert wh(found, 0, 1) == [pytest.approx(0.75), pytest.approx(0.25)]
    assert found.unattributed_wh == pytest.approx(1.0)
    closes(found, [0, 1])


def test_a_gpu_counts_once_for_a_window_with_two_of_its_instances(tmp_path):
    found = partitioned(tmp_path, [window(0, 5, 15, devices=("MIG-a", "MIG-b"))])
    use = found.use_of(0, ELECTRICITY)
    assert use.energy_wh == pytest.approx(1.0)
    assert use.power_avg_w == pytest.approx(360)
    assert use.memory_avg_mib == pytest.approx(300)
    assert use.coverage == 1.0


# Runs, files, readings of a whole run


def test_the_path_of_a_run_grows_with_its_windows(tmp_path):
    write(tmp_path, [Card(load=Constant(360.0))], 20)
    windows = [
        window(0, 2, 6, run_id="x"),
        window(1, 4, 8, run_id="y"),
        window(2, 10, 12, run_id="x", phase="setup"),
    ]
    found = account(tmp_path, windows)
    times = np.array([at(t) for t in (0, 2, 3, 5, 6, 9, 11, 13, 30)])
    x = found.attributed_wh("x", {"c": times})["c"] * 10
    y = found.attributed_wh("y", {"c": times})["c"] * 10
    assert x.tolist() == pytest.approx([0, 0, 1, 2.5, 3, 3, 4, 5, 5])
    assert y.tolist() == pytest.approx([0, 0, 0, 0.5, 1, 3, 3, 3, 3])
    assert found.attributed_wh("z", {"c": times})["c"].tolist() == [0.0] * 9
    assert found.attributed_wh("x", {"d": times})["d"].tolist() == [0.0] * 9


def test_a_run_that_was_resumed_counts_nothing_in_between(tmp_path):
    write(tmp_path, [Card(load=Constant(360.0))], 10, name="a")
    write(tmp_path, [Card(load=Constant(360.0))], 10, name="b", start=100.0)
    found = account(tmp_path, [window(0, 1, 6), window(1, 8, 102), window(2, 104, 109)])
    assert wh(found, 0, 1, 2) == [pytest.approx(0.5), pytest.approx(0.4), pytest.approx(0.5)]
    assert found.use_of(1, ELECTRICITY).coverage == pytest.approx(4 / 94)
    assert found.unattributed_wh == pytest.approx(0.6)
    closes(found, range(3))


def test_figures_of_a_run_combine_the_gpus_of_each_tick_first(tmp_path):
    cards = [
        Card(load=Steps((-9, 100), (5.0, 300)), utilization=20, temperature=50, used_mib=10),
        Card(
            uuid="GPU-1",
            load=Steps((-9, 400), (5.0, 100)),
            utilization=60,
            temperature=70,
            used_mib=30,
        ),
    ]
    write(tmp_path, cards, 10)
    found = account(tmp_path, [])
    figures = found.figures({"c": set(TWO)}, WALL + at(0), WALL + at(10))
    assert figures.power_max_w == pytest.approx(500)  # not 300 + 400
    assert figures.power_avg_w == pytest.approx(450, rel=0.01)
    assert (figures.utilization_avg, figures.utilization_max) == (pytest.approx(40), 40)
    assert (figures.memory_avg_mib, figures.memory_max_mib) == (pytest.approx(40), 40)
    assert (figures.temperature_avg, figures.temperature_max) == (pytest.approx(70), 70)
    one = found.figures({"c": ["GPU-0"]}, WALL + at(6), WALL + at(10))
    assert one.power_avg_w == pytest.approx(300)
    none = found.figures({"c": ["GPU-7"], "d": ["GPU-0"]}, WALL + at(0), WALL + at(10))
    assert none == type(none)()
    late = found.figures({"c": TWO}, WALL + at(11), WALL + at(12))
    assert late == type(none)()


def test_figures_of_two_sessions_need_only_the_gpus_of_each(tmp_path):
    write(tmp_path, [Card(load=Constant(100.0)), Card(uuid="GPU-1", load=Constant(200.0))], 10)
    write(tmp_path, [Card(load=Constant(100.0))], 10, name="b", start=20.0)
    found = account(tmp_path, [])
    figures = found.figures({"c": TWO}, WALL + at(0), WALL + at(40))
    assert figures.power_max_w == pytest.approx(300)
    assert figures.power_avg_w == pytest.approx(200)


def test_figures_of_two_machines_are_put_together(tmp_path):
    write(tmp_path, [Card(load=Constant(100.0), utilization=10, temperature=40)], 10)
    cards = [Card(load=Constant(200.0), utilization=40), Card(uuid="GPU-1", utilization=40)]
    write(tmp_path, cards, 10.0, name="b", clock="d", start=5.03)
    found = account(tmp_path, [])
    figures = found.figures({"c": ["GPU-0"], "d": TWO}, WALL + at(0), WALL + at(20))
    assert figures.power_max_w == pytest.approx(600)
    assert figures.utilization_max == pytest.approx(40)
    both = found.figures({"c": ["GPU-0"], "d": TWO}, WALL + at(6), WALL + at(9))
    assert both.power_avg_w == pytest.approx(600)
    assert both.utilization_avg == pytest.approx(30)
    assert both.temperature_avg == pytest.approx(60)
    assert both.memory_avg_mib == pytest.approx(3000)


def test_a_gap_of_one_machine_is_left_out_of_the_figures_of_both(tmp_path):
    edit = lambda t, slot, values: None if 3.05 < t < 5.95 else values  # noqa: E731
    load_ = Steps((-9, 100), (3.05, 900), (5.95, 100))
    write(tmp_path, [Card(load=load_)], 10)
    write(tmp_path, [Card(load=Constant(200.0))], 10, name="b", clock="d", edit=edit)
    found = account(tmp_path, [])
    figures = found.figures({"c": ["GPU-0"], "d": ["GPU-0"]}, WALL + at(0), WALL + at(10))
    assert figures.power_max_w == pytest.approx(300)
    assert figures.power_avg_w == pytest.approx(300)


def test_without_windows_all_energy_is_nobodys(tmp_path):
    write(tmp_path, [Card(load=Constant(360.0))], 10)
    assert account(tmp_path, []).unattributed_wh == pytest.approx(1.0)


def test_what_nobody_got_is_not_known_without_energy(tmp_path):
    assert account(tmp_path, []).unattributed_wh is None
    write(tmp_path, [Card(counter=None, has_power=False)], 10)
    assert account(tmp_path, [window(0, 1, 2)]).unattributed_wh is None


def test_attempts_may_come_in_any_order(tmp_path):
    write(tmp_path, [Card(load=Sine(300, 100, 3.0))], 20)
    windows = [window(place, place, place + 2.5) for place in range(12)]
    series = load(tmp_path).series
    random.Random(3).shuffle(windows)
    found = Account.of(series, iter(windows))
    windows.sort(key=lambda one: one.place)
    assert wh(Account.of(series, windows), *range(12)) == pytest.approx(wh(found, *range(12)))


def test_a_window_is_a_plain_value():
    assert window(1, 2, 3) == Window(
        place=1,
        run_id="r",
        phase="call",
        clock="c",
        devices=("GPU-0",),
        pid=101,
        start_mono_ns=at(2),
        end_mono_ns=at(3),
    )


@pytest.mark.parametrize("seed", range(5))
def test_what_nobody_got_is_never_below_zero(tmp_path, seed):
    rng = random.Random(seed)
    write(tmp_path, [Card(load=llm_load(20, seed))], 20)
    cuts = sorted([0.0, 20.0, *(rng.uniform(0, 20) for _ in range(200))])
    windows = [window(k, cuts[k], cuts[k + 1]) for k in range(len(cuts) - 1)]
    assert account(tmp_path, windows).unattributed_wh == 0.0


def test_a_window_meets_the_events_of_its_devices_only(tmp_path):
    edit = lambda t, slot, values: "failed" if slot and round(t * 2) % 4 == 1 else values  # noqa: E731
    write(tmp_path, [Card(), Card(uuid="GPU-1")], 20, edit=edit)
    windows = [
        window(0, 0, 20),
        window(1, 0, 20, devices=("GPU-1",)),
        window(2, 2.5, 4.5, devices=TWO),
    ]
    found = account(tmp_path, windows)
    every = found.curve("c", "GPU-1").events
    assert len(every) > 5
    assert found.use_of(0, ELECTRICITY).events is None
    assert found.use_of(1, ELECTRICITY).events.count('"lost"') == len(every)
    near = [one for one in every if one.start_mono_ns < at(4.5) and one.end_mono_ns > at(2.5)]
    assert len(near) == 2
    assert found.use_of(2, ELECTRICITY).events.count('"lost"') == len(near)
