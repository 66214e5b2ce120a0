"""The energy of one device: closed forms seen through the sensor, faults, uncertainty."""

import math

import numpy as np
import pytest

from pytest_smoltrace.energy import EnergyCurve
from pytest_smoltrace.samples import load
from tests.unit.gpu_recording import WALL, Card, Constant, S, Sine, Steps, at, llm_load, write

NAN = math.nan
WH = 3600.0


def curve(directory, card, seconds, **how):
    loaded = load(write(directory, [card], seconds, **how))
    assert loaded.warnings == ()
    return EnergyCurve.of(loaded.series[0])


def joules(found, start, end):
    return float(found.delta_wh(at(start), at(end))) * WH


def without(*names):
    return lambda t, slot, values: {**values, **dict.fromkeys(names, NAN)}


def happened(found):
    return [
        (one.type, (one.start_mono_ns - at(0)) / S, (one.end_mono_ns - at(0)) / S)
        for one in found.events
    ]


@pytest.mark.parametrize("counter", [0.02, None], ids=["counter", "trapezoid"])
def test_constant_power_is_exact(tmp_path, counter):
    found = curve(tmp_path, Card(load=Constant(300.0), counter=counter), 12)
    assert found.source == ("counter" if counter else "power_instant")
    assert joules(found, 1, 11) / WH == pytest.approx(3000 / WH, rel=1e-9)
    assert float(found.energy_wh(at(0))) == 0.0
    assert found.events == ()


def test_the_curve_is_flat_before_the_first_and_after_the_last_sample(tmp_path):
    found = curve(tmp_path, Card(), 10)
    assert found.energy_wh([at(-5), at(0)]).tolist() == [0.0, 0.0]
    assert joules(found, 10, 99) == 0.0
    assert joules(found, -5, 99) == pytest.approx(3000)
    assert float(found.covered_s(at(-5), at(99))) == 10.0
    assert float(found.counted_s(at(5), at(99))) == 5.0


SENSORS = {
    "20/20, 20": Card(refresh=0.02, window=0.02, counter=0.02),
    "100/100, 100": Card(refresh=0.1, window=0.1, counter=0.1),
    "100/25, 100": Card(refresh=0.1, window=0.025, counter=0.1),
    "100/1000, 100": Card(refresh=0.1, window=1.0, counter=0.1, power="average"),
}
LOADS = {
    "constant": Constant(412.5),
    "sine": Sine(400, 250, 1.7),
    "steps": Steps((-9, 90), (7.03, 650), (7.31, 350), (19.77, 90), (25.5, 600)),
    "llm": llm_load(60, 5),
}


@pytest.mark.parametrize("load_name", LOADS)
@pytest.mark.parametrize("sensor", SENSORS)
def test_a_session_is_within_half_a_percent_of_the_closed_form(tmp_path, sensor, load_name):
    card = SENSORS[sensor]
    known = LOADS[load_name]
    found = curve(tmp_path, Card(**{**vars(card), "load": known}), 40)
    truth = known.joules(39) - known.joules(1)
    assert joules(found, 1, 39) == pytest.approx(truth, rel=0.005)


@pytest.mark.parametrize("sensor", ["20/20, 20", "100/100, 100", "100/1000, 100"])
def test_power_stands_in_for_a_counter(tmp_path, sensor):
    known = llm_load(60, 6)
    card = Card(**{**vars(SENSORS[sensor]), "load": known, "counter": None})
    found = curve(tmp_path, card, 60)
    assert found.source == f"power_{card.power}"
    truth = known.joules(55) - known.joules(5)
    assert joules(found, 5, 55) == pytest.approx(truth, rel=0.02)


def test_an_average_of_the_last_second_is_true_half_a_second_earlier(tmp_path):
    known = Steps((-9, 100), (10, 500))
    card = Card(load=known, counter=None, power="average", refresh=0.1, window=1.0)
    found = curve(tmp_path, card, 20)
    assert joules(found, 5, 10) == pytest.approx(500, rel=0.15)
    assert joules(found, 8, 12) == pytest.approx(known.joules(12) - known.joules(8), rel=0.03)
    assert float(found.covered_s(at(10), at(20))) == pytest.approx(9.45)


def test_power_of_an_unknown_kind_is_taken_for_an_average(tmp_path):
    assert curve(tmp_path, Card(counter=None, power=None), 5).source == "power_average"


def test_without_counter_and_power_nothing_is_known(tmp_path):
    found = curve(tmp_path, Card(counter=None, has_power=False), 5)
    assert found.source == "none"
    assert float(found.counted_s(at(0), at(5))) == 0.0
    assert float(found.covered_s(at(0), at(5))) == 5.0
    assert np.isnan(found.uncertainty_wh(at(1), at(2)))
    assert found.idle_w(np.array([at(0)]), np.array([at(5)])) is None


@pytest.mark.parametrize("samples", [0, 1])
def test_a_single_sample_is_no_energy(tmp_path, samples):
    found = curve(tmp_path, Card(), 0.0, edit=lambda t, s, v: v if samples else "failed")
    assert found.source == "none"
    assert float(found.energy_wh(at(1))) == 0.0


def test_each_field_that_is_missing_leaves_the_energy_alone(tmp_path):
    known = Sine(400, 100, 2.3)
    for number, names in enumerate(
        [("power_w",), ("energy_mj",), ("power_w", "utilization", "temperature"), ("memory_mib",)]
    ):
        found = curve(tmp_path / str(number), Card(load=known), 23, edit=without(*names))
        expected = "power_instant" if "energy_mj" in names else "counter"
        assert found.source == expected
        truth = known.joules(22) - known.joules(1)
        assert joules(found, 1, 22) == pytest.approx(truth, rel=0.002)


def lost_from_3_to_5(t, slot, values):
    return "failed" if 2.95 < t < 5.05 else values


def test_a_lost_gpu_is_told_by_its_counter(tmp_path):
    found = curve(tmp_path, Card(load=Constant(287.5)), 8, edit=lost_from_3_to_5)
    assert joules(found, 0, 8) == pytest.approx(2300, rel=0.001)
    assert happened(found) == [("lost", pytest.approx(2.9), pytest.approx(5.1))]
    assert float(found.covered_s(at(0), at(8))) == pytest.approx(8 - 2.2)
    assert float(found.counted_s(at(0), at(8))) == pytest.approx(8)
    (event,) = found.events
    assert event.gpu_uuid == "GPU-0"
    assert event.start_unix_ns == event.start_mono_ns + WALL
    assert event.end_unix_ns == event.end_mono_ns + WALL


def test_a_lost_gpu_without_counter_is_bridged_up_to_2_5_s_only(tmp_path):
    def lost(until):
        return lambda t, slot, values: "failed" if 2.95 < t < until else values

    card = Card(load=Constant(287.5), counter=None)
    found = curve(tmp_path / "short", card, 8, edit=lost(5.25))
    assert joules(found, 0, 8) == pytest.approx(2300, rel=1e-9)
    found = curve(tmp_path / "long", card, 8, edit=lost(5.65))
    assert joules(found, 0, 8) == pytest.approx(287.5 * (8 - 2.8), rel=1e-9)
    assert float(found.counted_s(at(0), at(8))) == pytest.approx(5.2)


def test_a_gpu_that_is_lost_for_ever_is_not_extrapolated(tmp_path):
    edit = lambda t, slot, values: "failed" if t > 3.05 else values  # noqa: E731
    found = curve(tmp_path, Card(load=Constant(100.0)), 8, edit=edit)
    assert joules(found, 0, 8) == pytest.approx(300)
    assert happened(found) == [("lost", pytest.approx(3.0), pytest.approx(8.0))]
    assert float(found.covered_s(at(0), at(8))) == pytest.approx(3.0)


def test_a_gpu_that_appears_late_is_not_extrapolated(tmp_path):
    edit = lambda t, slot, values: "failed" if t < 2.95 else values  # noqa: E731
    found = curve(tmp_path, Card(load=Constant(100.0)), 8, edit=edit)
    assert joules(found, 0, 8) == pytest.approx(500)
    assert happened(found) == [("lost", pytest.approx(0.0), pytest.approx(3.0))]


def test_a_stopped_sampler_is_a_gap_that_the_counter_bridges(tmp_path):
    known = Sine(287.5, 200, 3.1)
    edit = lambda t, slot, values: None if 3.05 < t < 4.95 else values  # noqa: E731
    found = curve(tmp_path / "counter", Card(load=known), 8, edit=edit)
    assert joules(found, 0, 8) == pytest.approx(known.joules(8), rel=0.001)
    assert happened(found) == [("gap", pytest.approx(3.0), pytest.approx(5.0))]
    bridged = curve(tmp_path / "power", Card(load=known, counter=None), 8, edit=edit)
    assert bridged.source == "power_instant"
    assert joules(bridged, 0, 8) != pytest.approx(known.joules(8), rel=0.01)


@pytest.mark.parametrize(("missed", "gap"), [(1, False), (2, True)])
def test_a_gap_begins_above_two_and_a_half_periods(tmp_path, missed, gap):
    edit = lambda t, slot, values: None if 3.05 < t < 3.05 + missed / 10 else values  # noqa: E731
    found = curve(tmp_path, Card(), 8, edit=edit)
    assert [one.type for one in found.events] == ["gap"] * gap
    assert float(found.covered_s(at(0), at(8))) == pytest.approx(8 - (0.1 * (missed + 1)) * gap)


def reset_at(when):
    def edit(t, slot, values):
        return values if t < when else {**values, "energy_mj": values["energy_mj"] - 1e7 - 1e6}

    return edit


def test_a_counter_that_goes_back_is_told_by_power_over_the_seam(tmp_path):
    found = curve(tmp_path, Card(load=Constant(300.0)), 10, edit=reset_at(4.05))
    assert found.source == "counter"
    assert joules(found, 0, 10) == pytest.approx(3000, rel=0.001)
    assert happened(found) == [("reset", pytest.approx(4.0), pytest.approx(4.1))]
    assert (np.diff(found.wh) >= 0).all()


def test_a_seam_that_is_too_long_is_not_counted(tmp_path):
    def edit(t, slot, values):
        return "failed" if 2.95 < t < 6.05 else reset_at(5)(t, slot, values)

    found = curve(tmp_path, Card(load=Constant(300.0)), 10, edit=edit)
    assert joules(found, 0, 10) == pytest.approx(300 * (10 - 3.2), rel=0.001)
    assert float(found.counted_s(at(0), at(10))) == pytest.approx(10 - 3.2)
    assert [one.type for one in found.events] == ["lost", "reset"]


def test_a_reset_without_power_is_not_counted(tmp_path):
    def edit(t, slot, values):
        return {**reset_at(4.05)(t, slot, values), "power_w": NAN}

    found = curve(tmp_path, Card(load=Constant(300.0)), 10, edit=edit)
    assert joules(found, 0, 10) == pytest.approx(300 * 9.9, rel=0.001)


def test_a_counter_that_sticks_gives_way_to_power(tmp_path):
    def edit(t, slot, values):
        return {**values, "energy_mj": min(values["energy_mj"], 1e7 + 1.2e6)}

    found = curve(tmp_path, Card(load=Constant(300.0)), 10, edit=edit)
    assert found.source == "power_instant"
    assert joules(found, 0, 10) == pytest.approx(3000, rel=1e-6)
    assert happened(found) == [("energy_disagreement", pytest.approx(4.0), pytest.approx(10.0))]


def test_a_counter_may_stand_still_for_two_seconds_or_without_power(tmp_path):
    known = Steps((-9, 300), (4, 0), (7, 300))
    found = curve(tmp_path / "idle", Card(load=known), 10)
    assert (found.source, found.events) == ("counter", ())
    assert joules(found, 0, 10) == pytest.approx(2100, rel=0.001)
    found = curve(tmp_path / "slow", Card(load=Constant(300.0), counter=1.9), 10)
    assert (found.source, found.events) == ("counter", ())


def test_a_counter_that_never_moved_tells_nothing(tmp_path):
    edit = lambda t, slot, values: {**values, "energy_mj": 0.0, "power_w": NAN}  # noqa: E731
    assert curve(tmp_path, Card(), 10, edit=edit).source == "none"


@pytest.mark.parametrize(
    ("gain", "flagged"), [(0.79, True), (0.81, False), (1.24, False), (1.26, True)]
)
def test_a_counter_that_disagrees_with_power_is_flagged_and_kept(tmp_path, gain, flagged):
    edit = lambda t, slot, values: {**values, "power_w": values["power_w"] / gain}  # noqa: E731
    found = curve(tmp_path, Card(load=Constant(300.0)), 10, edit=edit)
    assert found.source == "counter"
    assert joules(found, 0, 10) == pytest.approx(3000, rel=1e-6)
    assert [one.type for one in found.events] == ["energy_disagreement"] * flagged


def test_less_than_ten_seconds_are_not_compared(tmp_path):
    edit = lambda t, slot, values: {**values, "power_w": values["power_w"] * 2}  # noqa: E731
    assert curve(tmp_path, Card(), 9.9, edit=edit).events == ()


def test_an_average_that_lags_is_no_disagreement(tmp_path):
    known = Steps((-9, 50), (10.5, 700))
    card = Card(load=known, power="average", refresh=0.1, window=1.0, counter=0.1)
    assert curve(tmp_path, card, 11).events == ()


def test_power_goes_on_when_the_counter_stops_being_read(tmp_path):
    edit = lambda t, slot, values: {**values, "energy_mj": NAN} if t > 4.05 else values  # noqa: E731
    found = curve(tmp_path, Card(load=Constant(300.0)), 10, edit=edit)
    assert joules(found, 0, 10) == pytest.approx(3000, rel=1e-6)
    starts, ends = [at(0), at(1), at(5)], [at(3), at(5), at(6)]
    assert found.source_rank(starts, ends).tolist() == [0, 1, 1]


def test_nothing_bridges_two_files(tmp_path):
    card = Card(load=Constant(300.0))
    write(tmp_path, [card], 5, name="a")
    found = curve(tmp_path, card, 5, name="b", start=7.0)
    assert joules(found, 0, 12) == pytest.approx(3000, rel=1e-6)
    assert joules(found, 5, 7) == 0.0
    assert float(found.covered_s(at(0), at(12))) == 10.0
    assert found.events == ()


def test_a_file_without_energy_does_not_spoil_the_others(tmp_path):
    card = Card(load=Constant(300.0))
    write(tmp_path, [card], 5, name="a")
    found = curve(tmp_path, card, 5, name="b", start=7.0, edit=without("power_w", "energy_mj"))
    assert found.source == "counter"
    assert float(found.covered_s(at(7), at(12))) == 0.0
    assert float(found.counted_s(at(0), at(12))) == 5.0


def test_the_worst_source_of_two_files_is_told_where_it_was_used(tmp_path):
    card = Card(load=Constant(300.0))
    write(tmp_path, [card], 5, name="a")
    found = curve(tmp_path, card, 5, name="b", start=7.0, edit=without("energy_mj"))
    assert found.source == "power_instant"
    assert found.source_rank([at(1), at(8), at(4)], [at(2), at(9), at(8)]).tolist() == [0, 1, 1]


# Uncertainty


def test_constant_power_has_no_uncertainty(tmp_path):
    found = curve(tmp_path, Card(load=Constant(300.0)), 10)
    assert float(found.uncertainty_wh(at(2), at(3))) == pytest.approx(0.0, abs=1e-9)


def test_uncertainty_follows_its_formula(tmp_path):
    known = Steps((-9, 100), (2.0, 400), (6.0, 900))
    found = curve(tmp_path, Card(load=known, counter=0.1), 10)
    # h = 0.1 s and the counter moves at each sample; the ranges are 300 W and 500 W.
    expected = (0.5 * 0.1 + 0.1) * math.hypot(300, 500) / WH
    assert float(found.uncertainty_wh(at(2.05), at(6.05))) == pytest.approx(expected, rel=1e-6)
    assert float(found.uncertainty_wh(at(4), at(8))) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("refresh", "expected"), [(0.02, 0.1), (0.1, 0.1), (0.5, 0.5), (1.0, 1.0)])
def test_the_update_period_is_estimated_from_the_counter(tmp_path, refresh, expected):
    found = curve(tmp_path, Card(counter=refresh), 20)
    assert found.power.update_s == pytest.approx(expected, rel=0.01)


def test_a_gap_at_an_edge_makes_the_energy_less_certain(tmp_path):
    known = Steps((-9, 100), (5, 400))
    edit = lambda t, slot, values: None if 4.05 < t < 5.95 else values  # noqa: E731
    found = curve(tmp_path, Card(load=known, counter=0.1), 10, edit=edit)
    expected = (0.5 * 2.0 + 0.1) * 300 / WH
    assert float(found.uncertainty_wh(at(2), at(4.5))) == pytest.approx(expected, rel=1e-6)


def test_a_counter_alone_tells_an_uncertainty(tmp_path):
    found = curve(tmp_path, Card(load=Steps((-9, 100), (5, 400)), has_power=False), 10)
    assert float(found.uncertainty_wh(at(2), at(5.05))) * WH == pytest.approx(45, rel=0.2)


# Windows of a load like that of a language model, see the error bars of the design


def errors(found, known, width, seconds, seed):
    rng = np.random.default_rng(seed)
    starts = rng.uniform(2, seconds - width - 2, 800)
    truth = np.array([known.joules(s + width) - known.joules(s) for s in starts])
    edges = [at(s) for s in starts], [at(s + width) for s in starts]
    return found.delta_wh(*edges) * WH - truth, truth, found.uncertainty_wh(*edges) * WH


BARS = {1: (0.05, 0.18), 3: (0.015, 0.045), 10: (0.004, 0.015), 30: (0.0015, 0.005)}
"""Width of windows in s -> 95th percentile of the relative error with 20 and 100 ms counters."""


@pytest.mark.parametrize(("counter", "place"), [(0.0203, 0), (0.1013, 1)])
def test_windows_are_as_exact_as_the_counter_allows(tmp_path, counter, place):
    known = llm_load(400, 11)
    card = Card(load=known, counter=counter, refresh=0.1013, window=0.1)
    found = curve(tmp_path, card, 400, jitter=lambda tick: 0.0137 + 0.002 * (tick * 7919 % 11) / 11)
    for width, bars in BARS.items():
        error, truth, uncertainty = errors(found, known, width, 400, width)
        p95 = float(np.percentile(np.abs(error) / truth, 95))
        assert p95 <= bars[place], (width, p95)
        assert p95 > 0
        if width == 1:
            assert float((np.abs(error) <= uncertainty).mean()) >= 0.85


@pytest.mark.parametrize(
    ("window", "bar"), [(0.1, 0.02), (0.025, 0.03)], ids=["100/100", "25 of 100"]
)
def test_windows_without_a_counter(tmp_path, window, bar):
    known = llm_load(400, 12)
    card = Card(load=known, counter=None, refresh=0.1013, window=window)
    found = curve(tmp_path, card, 400, jitter=lambda tick: 0.002 * (tick * 7919 % 11) / 11)
    assert found.source == "power_instant"
    error, truth, _ = errors(found, known, 10, 400, 3)
    assert float(np.percentile(np.abs(error) / truth, 95)) <= bar


# Idle power


def test_idle_power_is_the_lowest_outside_of_tests(tmp_path):
    known = Steps((-9, 60), (4, 500), (8, 60))
    found = curve(tmp_path, Card(load=known), 12)
    starts, ends = np.array([at(0), at(8)]), np.array([at(4), at(12)])
    assert found.idle_w(starts, ends) == pytest.approx(60)
    assert found.idle_w(starts[:1], starts[:1] + 1_900_000_000) is None
    assert found.idle_w(starts[:1], starts[:1] + 2_000_000_000) == pytest.approx(60)
    assert found.idle_w(np.array([at(4.05)]), np.array([at(8)])) == pytest.approx(500)


def test_idle_power_is_told_by_a_counter_alone(tmp_path):
    known = Steps((-9, 60), (6, 500), (8, 60))
    found = curve(tmp_path, Card(load=known, has_power=False, counter=0.1), 12)
    starts, ends = np.array([at(0), at(8)]), np.array([at(6), at(12)])
    assert found.idle_w(starts, ends) == pytest.approx(60, rel=0.02)


def test_the_idle_percentile_interpolates(tmp_path):
    found = curve(tmp_path, Card(load=Sine(100, 50, 1.7)), 12)
    power = found.power.power_w[: 12 * 10 + 1]
    expected = float(np.percentile(power, 5))
    assert found.idle_w(np.array([at(0)]), np.array([at(12) + 1])) == pytest.approx(expected)
