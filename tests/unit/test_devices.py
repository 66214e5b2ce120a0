"""What CUDA_VISIBLE_DEVICES and its like show, entry by entry, and how it is divided."""

import pytest

from pytest_smoltrace.devices import GpuDevice, MigDevice, Pool, pool
from pytest_smoltrace.errors import ConfigError

A, B, C = "GPU-1a000000-x", "GPU-1b000000-x", "GPU-2c000000-x"
M, N = "MIG-1a000000-x", "MIG-2b000000-x"
PCI = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def gpu(index, uuid, name="H100", mig=None):
    return GpuDevice(index=index, uuid=uuid, name=name, memory_bytes=None, mig=mig)


def part(uuid, place):
    return MigDevice(uuid=uuid, memory_bytes=None, gpu_instance=place, compute_instance=0)


EQUAL = (gpu(0, A), gpu(1, B), gpu(2, C))
MIXED = (gpu(0, A, "T4"), gpu(1, B), gpu(2, C))
PARTED = (gpu(0, A, mig=(part(M, 7), part(N, 9))), gpu(1, B))
EMPTY = (gpu(0, A, mig=()), gpu(1, B))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (A, B, C)),
        ("", ()),
        ("  ", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("none", ()),
        ("1", (B,)),
        ("2,0", (C, A)),
        (" 2 , 0 ", (C, A)),
        ("+1", (B,)),
        ("0,9,1", (A,)),
        ("9,0", ()),
        ("0,-1,1", (A,)),
        ("0,,1", (A,)),
        ("0,1,", (A, B)),
        ("0,0", ()),
        ("0,1,0", ()),
        ("1gpu2,2x", (B, C)),
        (A, (A,)),
        (f"{C},{A}", (C, A)),
        ("GPU-1a", (A,)),
        ("GPU-1a,GPU-2", (A, C)),
        ("GPU-1", ()),  # of two
        ("GPU-2,GPU-1,GPU-1a", (C,)),
        ("GPU-9", ()),
        (f"GPU-1a,{A}", ()),  # the same twice
        ("1a000000-x", (B,)),  # without its prefix it is a number
        (f"0,{C}", (A,)),
        (f"{C},0", (C,)),
        (M, ()),
    ],
)
def test_what_cuda_shows(value, expected):
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    found = pool(environment, EQUAL)
    assert (found.ids, found.variable, found.are_uuids) == (expected, "CUDA_VISIBLE_DEVICES", True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, (M, N, B)),
        (M, (M,)),
        ("MIG-2", (N,)),
        (f"{N},{M}", (N, M)),
        ("MIG-", ()),
        (f"{M},{M}", ()),
        (f"MIG-{A}/9/0", (N,)),
        (f"MIG-{A}/7/0,MIG-{A}/9/0", (M, N)),
        (f"MIG-{A}/8/0", ()),
        (f"{M},{B}", (M,)),
        ("0", (M,)),  # CUDA shows the first instance of a partitioned GPU
        ("0,1", (M, B)),
        (A, (M,)),
    ],
)
def test_partitioned_gpus(value, expected):
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    assert pool(environment, PARTED).ids == expected


def test_a_partitioned_gpu_without_an_instance_is_none():
    assert pool({}, EMPTY).ids == (B,)
    assert pool({"CUDA_VISIBLE_DEVICES": "0,1"}, EMPTY).ids == ()


def test_a_gpu_that_does_not_answer_keeps_its_number():
    assert pool({"CUDA_VISIBLE_DEVICES": "2"}, (EQUAL[0], EQUAL[2])).ids == (C,)
    assert pool({"CUDA_VISIBLE_DEVICES": "1"}, (EQUAL[0], EQUAL[2])).ids == ()


@pytest.mark.parametrize(
    ("environment", "expected", "are_uuids"),
    [
        ({}, (A, B, C), True),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, ("1", "0"), False),
        ({"CUDA_VISIBLE_DEVICES": "1,0", **PCI}, (B, A), True),
        ({"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, ("1",), False),
        ({"CUDA_VISIBLE_DEVICES": "1,9,0"}, ("1",), False),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2"}, (A, B, C), True),  # all, in whatever order
        ({"CUDA_VISIBLE_DEVICES": f"{B},{A}"}, (B, A), True),
        ({"CUDA_VISIBLE_DEVICES": ""}, (), True),
    ],
)
def test_numbers_of_unequal_gpus_are_those_of_cuda(environment, expected, are_uuids):
    found = pool(environment, MIXED)
    assert (found.ids, found.are_uuids) == (expected, are_uuids)
    assert found.is_ambiguous is not are_uuids


@pytest.mark.parametrize(
    ("environment", "variable", "expected"),
    [
        ({}, "CUDA_VISIBLE_DEVICES", ()),
        ({"CUDA_VISIBLE_DEVICES": "3,1"}, "CUDA_VISIBLE_DEVICES", ("3", "1")),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, "CUDA_VISIBLE_DEVICES", ()),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, "CUDA_VISIBLE_DEVICES", ()),
        ({"CUDA_VISIBLE_DEVICES": "1,1"}, "CUDA_VISIBLE_DEVICES", ()),
        ({"CUDA_VISIBLE_DEVICES": f"{A},{B}"}, "CUDA_VISIBLE_DEVICES", (A, B)),
        ({"HIP_VISIBLE_DEVICES": "2,0"}, "HIP_VISIBLE_DEVICES", ("2", "0")),
        ({"ROCR_VISIBLE_DEVICES": "1,GPU-7"}, "ROCR_VISIBLE_DEVICES", ("1", "GPU-7")),
        ({"ROCR_VISIBLE_DEVICES": "1,-1,0"}, "ROCR_VISIBLE_DEVICES", ("1",)),
        (
            {"ROCR_VISIBLE_DEVICES": "4,5", "HIP_VISIBLE_DEVICES": "1,0"},
            "HIP_VISIBLE_DEVICES",
            ("1", "0"),
        ),
        (
            {"CUDA_VISIBLE_DEVICES": "0", "HIP_VISIBLE_DEVICES": "1"},
            "HIP_VISIBLE_DEVICES",
            ("1",),
        ),
    ],
)
def test_entries_stand_as_they_are_without_a_driver(environment, variable, expected):
    found = pool(environment, None)
    assert (found.variable, found.ids, found.are_uuids) == (variable, expected, False)
    assert not found.is_ambiguous


def test_the_list_of_rocm_says_nothing_where_the_driver_of_nvidia_answers():
    assert pool({"HIP_VISIBLE_DEVICES": "0"}, EQUAL).ids == (A, B, C)


@pytest.mark.parametrize(
    ("ids", "size", "expected"),
    [
        ("", 1, []),
        ("ab", 0, []),
        ("a", 1, ["a"]),
        ("abcd", 1, ["a", "b", "c", "d"]),
        ("abcd", 2, ["ab", "cd"]),
        ("abcde", 2, ["ab", "cd"]),  # the fifth makes no group
        ("abc", 3, ["abc"]),
        ("", 3, []),
    ],
)
def test_groups_are_disjoint(ids, size, expected):
    assert Pool(ids=tuple(ids)).groups(size) == tuple(map(tuple, expected))


@pytest.mark.parametrize(
    ("ids", "size", "words"),
    [
        ((A, B), 3, ("--smoltrace-gpus-per-worker=3", "2 GPUs are visible")),
        ((A,), 2, ("--smoltrace-gpus-per-worker=2", "1 GPU is visible")),
        ((M, N), 2, ("--smoltrace-gpus-per-worker=2", "MIG")),
    ],
)
def test_groups_that_cannot_be(ids, size, words):
    with pytest.raises(ConfigError) as caught:
        Pool(ids=ids).groups(size)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("found", "ids", "expected"),
    [
        (Pool(), (A, B), {"CUDA_VISIBLE_DEVICES": f"{A},{B}", **PCI}),
        (Pool(), (), {"CUDA_VISIBLE_DEVICES": ""}),
        (Pool(are_uuids=False), ("1",), {"CUDA_VISIBLE_DEVICES": "1"}),
        (
            Pool(variable="HIP_VISIBLE_DEVICES", are_uuids=False),
            ("1",),
            {"HIP_VISIBLE_DEVICES": "1"},
        ),
        (Pool(variable="HIP_VISIBLE_DEVICES", are_uuids=False), (), {"HIP_VISIBLE_DEVICES": "-1"}),
    ],
)
def test_the_environment_of_a_worker(found, ids, expected):
    assert found.environment(ids) == expected


X, Y, Z = "GPU-1a00000000000001", "GPU-1b00000000000002", "GPU-2c00000000000003"
W = "01ff73bf-0000-1000-8000-000000000000"
"""What AMD calls a GPU of which HIP knows no UUID."""
ROCM = (gpu(1, Y, "MI300X"), gpu(0, X, "MI300X"), gpu(2, Z, "W7900"), gpu(3, W, "RX 580"))


@pytest.mark.parametrize(
    ("rocr", "hip", "cuda", "expected", "names"),
    [
        (None, None, None, (X, Y, Z, W), "0123"),
        ("", None, None, (), ""),
        ("-1", None, None, (), ""),
        ("2,0", None, None, (Z, X), "01"),
        (" 2 , 0 ", None, None, (Z, X), "01"),
        ("0x2,+0", None, None, (Z, X), "01"),
        ("0,9,1", None, None, (X,), "0"),
        ("0,1,0,2", None, None, (X, Y), "01"),  # the same again ends the list
        ("0,,1", None, None, (X,), "0"),
        ("1x,0", None, None, (), ""),
        (f"{Z},0", None, None, (Z, X), "01"),
        ("gpu-2C,GPU-1a", None, None, (Z, X), "01"),
        ("GPU-1,0", None, None, (), ""),  # of two
        ("GPU-,0", None, None, (), ""),
        (W, None, None, (), ""),
        (None, "", None, (X, Y, Z, W), "0123"),  # HIP takes an empty list for none given
        (None, "-1", None, (), ""),
        (None, "2,0", None, (Z, X), "20"),
        (None, "2,0,2,1", None, (Z, X, Y), "201"),
        (None, "2, 0", None, (Z,), "2"),
        (None, "01", None, (), ""),
        (None, "0,7,1", None, (X,), "0"),
        (None, f"{Z},0", None, (Z, X), "20"),
        (None, Z.upper(), None, (), ""),
        (None, "3", None, (W,), "3"),
        ("2,0", "1", None, (X,), "1"),  # HIP counts within ROCr's list
        ("2,0", "2", None, (), ""),
        ("2,0", X, None, (X,), "1"),
        ("2,0", Y, None, (), ""),
        (None, None, "1", (Y,), "1"),
        (None, "", "1", (Y,), "1"),
        (None, "2", "1", (Z,), "2"),
        ("2,0", None, "1", (X,), "1"),
        (None, None, "", (X, Y, Z, W), "0123"),
    ],
)
def test_what_hip_shows(rocr, hip, cuda, expected, names):
    values = {
        "ROCR_VISIBLE_DEVICES": rocr,
        "HIP_VISIBLE_DEVICES": hip,
        "CUDA_VISIBLE_DEVICES": cuda,
    }
    found = pool({key: value for key, value in values.items() if value is not None}, ROCM, "amd")
    assert (found.ids, "".join(found.names), found.are_uuids) == (expected, names, True)


def test_a_gpu_of_amd_that_does_not_answer_keeps_its_number():
    assert pool({}, (ROCM[0], ROCM[2]), "amd").names == ("1", "2")
    assert pool({"HIP_VISIBLE_DEVICES": "0"}, (ROCM[0], ROCM[2]), "amd").ids == ()


def test_workers_are_restricted_by_the_numbers_of_hip():
    found = pool({"ROCR_VISIBLE_DEVICES": "2,0,3"}, ROCM, "amd")
    assert found.groups(2) == ((Z, X),)
    assert found.environment((W, X)) == {"HIP_VISIBLE_DEVICES": "2,1"}
    assert found.environment(()) == {"HIP_VISIBLE_DEVICES": "-1"}
    again = pool({"ROCR_VISIBLE_DEVICES": "2,0,3", **found.environment((W, X))}, ROCM, "amd")
    assert again.ids == (W, X)
