"""Every case is in one shard; each machine finds the same one; shards are equally large or long."""

import random
import subprocess
import sys
from collections import Counter

import pytest

from pytest_smoltrace.sharding import case_key, divide, division_checksum
from tests.unit.run_factory import declared

KEYS = [f"test_it.py::test_case[{n}]" for n in range(203)]


def loads(shard_of, durations, count, unknown=0.0):
    found = [0.0] * count
    for key, shard in shard_of.items():
        found[shard] += durations.get(key, unknown)
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 64, 203, 300])
@pytest.mark.parametrize("timed", [False, True])
def test_every_key_is_in_one_shard_whatever_the_order(count, timed):
    durations = {key: 1.0 + hash(n) % 7 for n, key in enumerate(KEYS)} if timed else None
    one = divide(KEYS, count, durations)
    assert sorted(one) == sorted(KEYS)
    assert set(one.values()) <= set(range(count))
    shuffled = random.Random(count).sample(KEYS, len(KEYS))
    assert divide(shuffled, count, durations) == one


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 64, 203, 300])
def test_shards_are_equally_large(count):
    sizes = Counter(divide(KEYS, count).values())
    assert max(sizes.values()) - min(sizes[shard] for shard in range(count)) <= 1


def test_another_process_finds_the_same_division():
    """It depends on no hash seed."""
    code = (
        "from pytest_smoltrace.sharding import divide\n"
        f"print(sorted(divide({KEYS[:20]!r}, 4).items()))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{sorted(divide(KEYS[:20], 4).items())}\n"}


def test_the_division_stays_what_it_was():
    """Shards of one run may come from machines with different releases."""
    assert divide([f"c{n}" for n in range(8)], 3) == {
        "c0": 2, "c1": 2, "c2": 2, "c3": 1, "c4": 1, "c5": 0, "c6": 1, "c7": 0,
    }  # fmt: skip


@pytest.mark.parametrize("count", [2, 4, 16])
def test_a_new_case_moves_few_others(count):
    before = divide(KEYS, count)
    moved = []
    for n in range(30):
        after = divide([*KEYS, f"new {n}"], count)
        moved.append(sum(before[key] != after[key] for key in KEYS))
    assert sum(moved) / len(moved) < 0.05 * len(KEYS)
    assert max(moved) < 0.15 * len(KEYS)


def test_a_case_twice_is_in_one_shard():
    assert divide(["a", "b", "a"], 2).keys() == {"a", "b"}


def test_nothing_to_divide():
    assert divide([], 4) == {}
    assert divide([], 4, {"a": 1.0}) == {}


def test_durations_balance_what_numbers_do_not():
    source = random.Random(5)
    durations = {key: source.expovariate(1 / 30) for key in KEYS}
    total, longest = sum(durations.values()), max(durations.values())
    for count in (2, 4, 8):
        found = loads(divide(KEYS, count, durations), durations, count)
        # Graham's bound of this rule, over the least that any division takes.
        least = max(total / count, longest)
        assert max(found) <= (4 / 3 - 1 / (3 * count)) * least
        assert max(found) < 1.05 * least
    by_number = loads(divide(KEYS, 4), durations, 4)
    assert max(by_number) > 1.05 * total / 4


def test_one_long_case_has_a_shard_to_itself():
    durations = {"long": 100.0} | {f"c{n}": 1.0 for n in range(30)}
    found = divide(durations, 4, durations)
    assert [key for key, shard in found.items() if shard == found["long"]] == ["long"]
    assert sorted(Counter(found.values()).values()) == [1, 10, 10, 10]


def test_an_unknown_case_counts_as_the_median():
    durations = {"a": 10.0, "b": 1.0, "c": 2.0}
    # x is 2: a alone against b, c and x.
    found = divide([*durations, "x"], 2, durations)
    assert found["b"] == found["c"] == found["x"] != found["a"]
    # x and y are 2 as well: 6 + 2 against 2 + 2 + 2.
    two = divide([*"abc", "x", "y"], 2, {"a": 6.0, "b": 2.0, "c": 2.0})
    assert sorted(Counter(two.values()).values()) == [2, 3]


def test_cases_that_take_no_time_are_divided_by_number():
    durations = {f"a{n}": 1.0 for n in range(6)} | {f"b{n}": 0.0 for n in range(4)}
    assert sorted(Counter(divide(durations, 2, durations).values()).values()) == [5, 5]


def test_durations_of_another_suite_say_nothing():
    assert divide(KEYS, 4, {"other": 3.0}) == divide(KEYS, 4)
    assert divide(KEYS, 4, dict.fromkeys(KEYS, 0.0)) == divide(KEYS, 4)


def test_equal_durations_are_divided_by_number():
    sizes = Counter(divide(KEYS, 4, dict.fromkeys(KEYS, 2.0)).values())
    assert sorted(sizes.values()) == [50, 51, 51, 51]


def test_the_key_of_a_case():
    base = declared("c", model="m", agent_type="tool")
    others = [
        declared("d", model="m", agent_type="tool"),
        declared("c", model="n", agent_type="tool"),
        declared("c", model="m", agent_type="code"),
        declared("c", model="m", agent_type="tool", trial=1),
    ]
    assert len({case_key(case) for case in (base, *others)}) == 5
    assert case_key(declared("c", model=None, agent_type=None))
    assert case_key(base) == case_key(declared("c", nodeid="x", model="m", agent_type="tool"))


def test_the_checksum_tells_divisions_apart():
    one = division_checksum({"a": 0, "b": 1}, 2)
    assert one == division_checksum({"b": 1, "a": 0}, 2)
    others = {
        division_checksum({"a": 1, "b": 0}, 2),
        division_checksum({"a": 0, "b": 0}, 2),
        division_checksum({"a": 0, "b": 1}, 3),
        division_checksum({"a": 0}, 2),
    }
    assert len({one, *others}) == 5
    assert len(one) == 64
