"""The GPU figures of an attempt, against closed forms, and null where nothing is known."""

import json
import math
from dataclasses import fields

import numpy as np
import pytest

from pytest_smoltrace.electricity import Electricity
from pytest_smoltrace.gpu_use import GpuUse
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


def use_of(directory, cards, seconds, *windows, place=0, electricity=ELECTRICITY, **how):
    write(directory, cards, seconds, **how)
    return account(directory, windows).use_of(place, electricity)


def pair(**changes):
    return [Card(uuid=uuid, load=Constant(300.0), **changes) for uuid in TWO]


def test_two_gpus_at_300_w_for_10_s(tmp_path):
    use = use_of(tmp_path, pair(), 12, window(0, 1, 11, devices=TWO))
    assert use.energy_wh == pytest.approx(6000 / 3600, rel=1e-9)
    assert use.co2_emissions_g == pytest.approx(0.7916666666666666, rel=1e-9)
    assert use.electricity_cost_usd == pytest.approx(0.0002, rel=1e-9)
    assert use.power_avg_w == pytest.approx(600, rel=1e-9)


def test_one_gpu_at_300_w_for_10_s(tmp_path):
    use = use_of(tmp_path, pair()[:1], 12, window(0, 1, 11))
    assert use.energy_wh == pytest.approx(0.8333333333333334, rel=1e-9)
    assert use.co2_emissions_g == pytest.approx(0.3958333333333333, rel=1e-9)
    assert use.electricity_cost_usd == pytest.approx(0.0001, rel=1e-9)


def test_every_field_is_told_of_a_whole_recording(tmp_path):
    use = use_of(tmp_path, pair(), 20, window(0, 5, 15, devices=TWO))
    expected = {
        "energy_wh": pytest.approx(6000 / 3600),
        "energy_setup_wh": 0.0,
        "energy_active_wh": pytest.approx(0.0, abs=1e-9),
        "energy_uncertainty_wh": pytest.approx(0.0, abs=1e-9),
        "energy_source": "counter",
        "attribution": "exclusive",
        "coverage": 1.0,
        "sample_count": 100,
        "missed_ticks": 0,
        "uuids": list(TWO),
        "power_avg_w": pytest.approx(600),
        "power_max_w": pytest.approx(600),
        "utilization_avg": pytest.approx(50),
        "utilization_max": 50.0,
        "memory_avg_mib": pytest.approx(2000),
        "memory_max_mib": 2000.0,
        "temperature_avg": pytest.approx(60),
        "temperature_max": 60.0,
        "co2_emissions_g": pytest.approx(6000 / 3600 * 0.475),
        "co2_intensity_g_per_kwh": 475.0,
        "co2_source": "default",
        "electricity_cost_usd": pytest.approx(0.0002),
        "events": None,
    }
    assert {one.name: getattr(use, one.name) for one in fields(GpuUse)} == expected


def test_intensity_price_and_overhead_are_those_of_the_session(tmp_path):
    electricity = Electricity(
        carbon_g_per_kwh=100.0, source="option", price_usd_per_kwh=0.5, pue=1.2
    )
    use = use_of(tmp_path, pair()[:1], 12, window(0, 0, 12), electricity=electricity)
    assert use.energy_wh == pytest.approx(1.0)
    assert use.co2_emissions_g == pytest.approx(0.12)
    assert use.electricity_cost_usd == pytest.approx(0.0006)
    assert (use.co2_intensity_g_per_kwh, use.co2_source) == (100.0, "option")


# Null rules


def test_an_attempt_without_samples_has_the_defaults(tmp_path):
    write(tmp_path, pair(), 5)
    found = account(
        tmp_path,
        [
            window(1, 1, 2, devices=()),
            window(2, 1, 2, devices=("GPU-7",)),
            window(3, 1, 2, clock="other"),
        ],
    )
    for place in range(4):
        assert found.use_of(place, ELECTRICITY) == GpuUse()


def test_nothing_is_zero_that_is_not_known(tmp_path):
    """Neither energy nor power nor anything else can be read, the device is there though."""
    card = Card(counter=None, has_power=False, utilization=NAN, temperature=NAN, used_mib=NAN)
    use = use_of(tmp_path, [card], 12, window(0, 1, 11), window(0, 11, 12, phase="teardown"))
    known = {"coverage": 1.0, "sample_count": 100, "missed_ticks": 0, "uuids": ["GPU-0"]}
    assert use == GpuUse(**known)


@pytest.mark.parametrize(
    ("missing", "columns"),
    [
        ({"has_power": False}, {"power_avg_w", "power_max_w"}),
        ({"utilization": NAN}, {"utilization_avg", "utilization_max"}),
        ({"temperature": NAN}, {"temperature_avg", "temperature_max"}),
        ({"used_mib": NAN}, {"memory_avg_mib", "memory_max_mib"}),
        ({"counter": None}, set()),
    ],
)
def test_a_field_that_is_not_supported_is_null_in_its_columns_only(tmp_path, missing, columns):
    use = use_of(tmp_path, pair(**missing), 20, window(0, 5, 15, devices=TWO))
    null = {one.name for one in fields(GpuUse) if getattr(use, one.name) is None}
    assert null == columns | {"events"}
    assert use.energy_wh == pytest.approx(6000 / 3600, rel=0.005)
    assert use.energy_source == (
        "power_instant" if missing.get("counter", 1) is None else "counter"
    )


def test_a_window_after_the_last_sample_is_not_known(tmp_path):
    use = use_of(tmp_path, pair(), 5, window(0, 6, 8, devices=TWO))
    assert use == GpuUse(coverage=0.0, sample_count=0, missed_ticks=20, uuids=list(TWO))


def test_a_window_in_an_uncounted_gap_is_not_known(tmp_path):
    edit = lambda t, slot, values: None if 3.05 < t < 6.95 else values  # noqa: E731
    card = Card(counter=None)
    use = use_of(tmp_path, [card], 10, window(0, 4, 6), edit=edit)
    assert (use.energy_wh, use.co2_emissions_g, use.energy_source) == (None, None, "none")
    assert (use.coverage, use.sample_count, use.missed_ticks) == (0.0, 0, 20)
    assert use.power_avg_w is None
    assert [one["type"] for one in json.loads(use.events)] == ["gap"]


def test_an_attempt_whose_setup_failed_used_nothing_in_its_call(tmp_path):
    use = use_of(tmp_path, pair()[:1], 20, window(0, 5, 17, phase="setup"))
    assert (use.energy_wh, use.energy_setup_wh) == (0.0, pytest.approx(1.0))
    assert (use.coverage, use.power_avg_w, use.sample_count) == (None, None, 0)
    assert use.co2_emissions_g == pytest.approx(0.475)
    assert use.energy_source == "counter"


def test_a_device_without_samples_costs_coverage(tmp_path):
    use = use_of(tmp_path, pair()[:1], 20, window(0, 5, 15, devices=TWO))
    assert use.energy_wh == pytest.approx(3000 / 3600)
    assert use.coverage == pytest.approx(0.5)
    assert (use.sample_count, use.missed_ticks) == (0, 100)
    assert use.power_avg_w is None
    assert use.uuids == list(TWO)


def test_a_device_that_tells_no_energy_costs_coverage(tmp_path):
    cards = [Card(load=Constant(300.0)), Card(uuid="GPU-1", counter=None, has_power=False)]
    use = use_of(tmp_path, cards, 20, window(0, 5, 15, devices=TWO))
    assert use.energy_wh == pytest.approx(3000 / 3600)
    assert (use.energy_source, use.coverage) == ("counter", pytest.approx(0.5))
    assert (use.power_avg_w, use.utilization_avg) == (None, pytest.approx(50))


# Sources and attribution


def test_the_worst_source_over_the_gpus_is_told(tmp_path):
    cards = [Card(), Card(uuid="GPU-1", counter=None), Card(uuid="GPU-2", counter=None, power=None)]
    write(tmp_path, cards, 10)
    sets = [("GPU-0",), TWO, (*TWO, "GPU-2")]
    windows = [window(k, 2, 8, devices=devices) for k, devices in enumerate(sets)]
    found = account(tmp_path, windows)
    sources = [found.use_of(k, ELECTRICITY).energy_source for k in range(3)]
    assert sources == ["counter", "power_instant", "power_average"]


# Coverage, ticks, events


def test_a_lost_gpu_shows_in_coverage_ticks_and_events(tmp_path):
    edit = lambda t, slot, values: "failed" if slot and 2.95 < t < 5.05 else values  # noqa: E731
    write(tmp_path, pair(), 8, edit=edit)
    found = account(
        tmp_path, [window(0, 0, 8, devices=TWO), window(1, 0, 8), window(2, 6, 8, devices=TWO)]
    )
    both, one, later = (found.use_of(place, ELECTRICITY) for place in range(3))
    # Half of 6 s and a third of 2 s of GPU-0, 6 s and half of 2 s of GPU-1.
    assert both.energy_wh * 3600 == pytest.approx(900 + 200 + 1800 + 300, rel=0.001)
    assert both.coverage == pytest.approx((8 + 8 - 2.2) / 16)
    assert (both.sample_count, both.missed_ticks) == (80 - 21, 21)
    assert (one.coverage, one.sample_count, one.missed_ticks, one.events) == (1.0, 80, 0, None)
    assert later.events is None
    assert json.loads(both.events) == [
        {
            "type": "lost",
            "gpu_uuid": "GPU-1",
            "start_unix_nano": WALL + at(2.9),
            "end_unix_nano": WALL + at(5.1),
        }
    ]
    assert both.power_avg_w == pytest.approx(600)


def test_a_gpu_lost_for_ever_is_covered_in_part_and_not_stale(tmp_path):
    edit = lambda t, slot, values: "failed" if t > 3.05 else values  # noqa: E731
    use = use_of(tmp_path, [Card(load=Constant(360.0))], 10, window(0, 0, 10), edit=edit)
    assert use.energy_wh == pytest.approx(0.3)
    assert use.coverage == pytest.approx(0.3)
    assert (use.sample_count, use.missed_ticks) == (31, 69)


def test_a_stopped_sampler_misses_ticks(tmp_path):
    edit = lambda t, slot, values: None if 3.05 < t < 4.95 else values  # noqa: E731
    use = use_of(tmp_path, [Card(load=Constant(287.5))], 8, window(0, 0, 8), edit=edit)
    assert use.energy_wh == pytest.approx(2300 / 3600, rel=0.001)
    assert use.missed_ticks == 19
    assert use.sample_count + use.missed_ticks == 80
    assert use.coverage == pytest.approx(6 / 8)
    assert [one["type"] for one in json.loads(use.events)] == ["gap"]


def test_a_late_tick_is_not_missed(tmp_path):
    late = lambda tick: 0.05 * (tick % 2)  # noqa: E731
    write(tmp_path, [Card()], 10, jitter=late)
    found = account(tmp_path, [window(0, 2, 8), window(1, 2, 7.92)])
    uses = [found.use_of(place, ELECTRICITY) for place in range(2)]
    assert [(use.sample_count, use.missed_ticks) for use in uses] == [(60, 0), (59, 0)]


def test_ticks_go_on_being_due_after_the_sampler_died(tmp_path):
    use = use_of(tmp_path, [Card()], 5, window(0, 4, 8))
    assert use.sample_count == 11
    assert use.missed_ticks == 29
    assert use.coverage == pytest.approx(0.25)


def test_ticks_are_due_from_the_start_of_a_sampler_to_that_of_the_next(tmp_path):
    write(tmp_path, [Card()], 5, name="a", start=2.0)
    write(tmp_path, [Card()], 5, name="b", start=10.0)
    found = account(tmp_path, [window(0, 0, 4), window(1, 6, 11), window(2, 0, 20)])
    uses = [found.use_of(place, ELECTRICITY) for place in range(3)]
    counts = [(use.sample_count, use.missed_ticks) for use in uses]
    assert counts == [(20, 0), (21, 29), (102, 78)]


def test_a_reset_is_an_event_of_its_window(tmp_path):
    def edit(t, slot, values):
        return values if t < 4.05 else {**values, "energy_mj": values["energy_mj"] - 1.1e7}

    write(tmp_path, [Card(load=Constant(360.0))], 10, edit=edit)
    found = account(tmp_path, [window(0, 0, 4), window(1, 4, 8)])
    assert found.use_of(0, ELECTRICITY).events is None
    use = found.use_of(1, ELECTRICITY)
    assert [one["type"] for one in json.loads(use.events)] == ["reset"]
    assert use.energy_wh == pytest.approx(0.4, rel=0.001)
    assert use.energy_source == "counter"


def test_a_stuck_counter_is_an_event_and_power_is_used(tmp_path):
    edit = lambda t, slot, values: {**values, "energy_mj": 5.0}  # noqa: E731
    use = use_of(tmp_path, [Card(load=Constant(360.0))], 10, window(0, 0, 10), edit=edit)
    assert use.energy_wh == pytest.approx(1.0)
    assert use.energy_source == "power_instant"
    assert [one["type"] for one in json.loads(use.events)] == ["energy_disagreement"]


# Energy above idle, uncertainty


def test_energy_above_idle_is_what_the_test_added(tmp_path):
    load = Steps((-9, 60), (5.0, 360), (15.0, 60))
    use = use_of(tmp_path, [Card(load=load)], 20, window(0, 5, 15))
    assert use.energy_wh == pytest.approx(1.0, rel=0.01)
    assert use.energy_active_wh == pytest.approx(3000 / 3600, rel=0.01)


def test_idle_energy_is_shared_like_time(tmp_path):
    load = Steps((-9, 60), (5.0, 360), (15.0, 60))
    write(tmp_path, [Card(load=load)], 20)
    found = account(tmp_path, [window(0, 5, 15), window(1, 10, 15)])
    first, second = (found.use_of(place, ELECTRICITY) for place in range(2))
    assert first.energy_active_wh == pytest.approx((2700 - 60 * 7.5) / 3600, rel=0.01)
    assert second.energy_active_wh == pytest.approx((900 - 60 * 2.5) / 3600, rel=0.01)


def test_idle_energy_is_not_taken_off_where_none_was_counted(tmp_path):
    load = Steps((-9, 60), (5.0, 360))
    edit = lambda t, slot, values: "failed" if t > 10.05 else values  # noqa: E731
    use = use_of(tmp_path, [Card(load=load)], 20, window(0, 5, 15), edit=edit)
    assert use.energy_wh == pytest.approx(0.5, rel=0.01)
    assert use.energy_active_wh == pytest.approx(300 * 5 / 3600, rel=0.01)


def test_energy_above_idle_needs_two_seconds_without_tests(tmp_path):
    write(tmp_path, pair(), 10)
    enough = [window(0, 1, 9, devices=TWO)]
    assert account(tmp_path, enough).use_of(0, ELECTRICITY).energy_active_wh is not None
    short = [window(0, 1, 9.5, devices=TWO)]
    assert account(tmp_path, short).use_of(0, ELECTRICITY).energy_active_wh is None
    one = [window(0, 1, 9, devices=TWO), window(1, 0, 1)]
    assert account(tmp_path, one).use_of(0, ELECTRICITY).energy_active_wh is None


def test_energy_above_idle_is_never_negative(tmp_path):
    load = Steps((-9, 360), (5.0, 60), (15.0, 360))
    use = use_of(tmp_path, [Card(load=load)], 20, window(0, 5, 15))
    assert use.energy_active_wh == 0.0


def test_uncertainties_of_gpus_add_in_squares(tmp_path):
    load = Steps((-9, 100), (2.0, 400), (6.0, 900))
    cards = [Card(uuid=uuid, load=load, counter=0.1) for uuid in TWO]
    use = use_of(tmp_path, cards, 10, window(0, 2.05, 6.05, devices=TWO))
    one = 0.15 * math.hypot(300, 500) / 3600
    assert use.energy_uncertainty_wh == pytest.approx(math.sqrt(2) * one, rel=1e-6)


# Averages over time and maxima over ticks


def test_gpus_are_combined_for_each_tick_first(tmp_path):
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
    use = use_of(tmp_path, cards, 10, window(0, 0, 10, devices=TWO))
    assert use.power_max_w == pytest.approx(500)
    assert use.power_avg_w == pytest.approx(450, rel=0.01)
    assert (use.utilization_avg, use.utilization_max) == (pytest.approx(40), 40)
    assert (use.memory_avg_mib, use.memory_max_mib) == (pytest.approx(40), 40)
    assert (use.temperature_avg, use.temperature_max) == (pytest.approx(70), 70)


def test_averages_are_weighted_by_time_and_leave_gaps_out(tmp_path):
    def edit(t, slot, values):
        if 3.05 < t < 5.95:
            return None
        return {**values, "temperature": t * t, "utilization": 100.0 if t > 5.95 else 0.0}

    use = use_of(tmp_path, [Card()], 10, window(0, 1, 8), edit=edit)
    # 1 to 3 s and 6 to 8 s are covered.
    assert use.temperature_avg == pytest.approx((27 - 1 + 512 - 216) / 3 / 4, rel=0.001)
    assert use.temperature_max == pytest.approx(64)
    assert use.utilization_avg == pytest.approx(50)


def test_ticks_of_uneven_distance_are_weighted(tmp_path):
    """The same witness as numpy's: the trapezoid over the samples of the window."""
    rng = np.random.default_rng(5)
    late = rng.uniform(0, 0.09, 101)
    use = use_of(
        tmp_path,
        [Card(load=llm_load(10, 2), refresh=0.01, window=0.05)],
        10,
        window(0, 2, 8),
        jitter=lambda tick: late[tick],
    )
    times = [k / 10 + late[k] for k in range(101) if 2 <= k / 10 + late[k] <= 8]
    power = [
        Card(load=llm_load(10, 2), refresh=0.01, window=0.05).read(t)["power_w"] for t in times
    ]
    expected = np.trapezoid(power, times) / (times[-1] - times[0])
    assert use.power_avg_w == pytest.approx(expected, rel=1e-6)
    assert use.power_max_w == pytest.approx(max(power), rel=1e-9)


def test_fields_that_are_read_less_often_have_no_gaps(tmp_path):
    def edit(t, slot, values):
        if 4.2 < t < 5.8 and round(t * 10) % 5 == 0:
            return None
        return {**values, "utilization": t * t if round(t * 10) % 5 == 0 else NAN}

    use = use_of(tmp_path, [Card()], 10, window(0, 1.2, 8.8), edit=edit)
    # 1.5 to 4 s and 6 to 8.5 s; the integral of t * t, by trapezoids of half a second.
    areas = [(a * a + (a + 0.5) ** 2) / 4 for a in (1.5, 2, 2.5, 3, 3.5, 6, 6.5, 7, 7.5, 8)]
    assert use.utilization_avg == pytest.approx(sum(areas) / 5)
    assert use.sample_count == 73


def test_a_window_with_one_tick_has_its_value(tmp_path):
    load = Steps((-9, 100), (4.0, 500))
    use = use_of(tmp_path, [Card(load=load)], 10, window(0, 4.06, 4.14))
    assert (use.power_avg_w, use.power_max_w, use.sample_count) == (
        pytest.approx(500),
        pytest.approx(500),
        1,
    )


def test_a_window_between_two_ticks_has_energy_and_no_reading(tmp_path):
    use = use_of(tmp_path, [Card(load=Constant(360.0))], 10, window(0, 4.02, 4.07))
    assert use.energy_wh == pytest.approx(360 * 0.05 / 3600, rel=1e-6)
    assert (use.power_avg_w, use.power_max_w, use.sample_count) == (None, None, 0)
    assert use.coverage == 1.0


def test_each_tests_power_is_the_plateau_that_it_made(tmp_path):
    """A step curve that changes exactly where tests do."""
    levels = [120, 650, 300, 90, 480]
    load = Steps((-9, 60), *((2 + 3 * k, watts) for k, watts in enumerate(levels)), (17, 60))
    write(tmp_path, [Card(load=load)], 20, jitter=lambda tick: 0.003)
    found = account(tmp_path, [window(k, 2 + 3 * k, 5 + 3 * k) for k in range(5)])
    for place, watts in enumerate(levels):
        use = found.use_of(place, ELECTRICITY)
        # The first reading of a test still tells what was before it.
        assert use.power_avg_w == pytest.approx(watts, abs=560 / 29 / 2 + 1e-6)
        assert use.energy_wh * 3600 / 3 == pytest.approx(watts, rel=0.02)


def test_the_average_power_times_the_time_is_about_the_energy(tmp_path):
    card = Card(load=Sine(400, 250, 1.7), refresh=0.02)
    use = use_of(tmp_path, [card], 40, window(0, 3, 37))
    assert use.power_avg_w * 34 / 3600 == pytest.approx(use.energy_wh, rel=0.005)
