"""The environment of each slot, by hand."""

from __future__ import annotations

import pytest

from oarlock import UserError
from oarlock_plugins.sweeps.slots import plan_slots, refuse_hidden_gpu, visible_gpus


def plan(slots=None, threads=None, per_gpu=1, gpus=(), cores=8, environment=None):
    return plan_slots(slots, threads, per_gpu, gpus, cores, environment or {})


def on(threads, *gpus):
    """Slots with so many threads each, on these GPUs."""
    share = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return [share | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in gpus]


FOUR = ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("given", "planned"),
    [
        # On the CPU: one a core, or as many as the threads leave room for.
        ({}, on(1, *[None] * 8)),
        ({"cores": 1}, on(1, None)),
        ({"threads": 2}, on(2, *[None] * 4)),
        ({"threads": 3}, on(3, None, None)),
        ({"threads": 16}, on(16, None)),
        ({"slots": 2}, on(4, None, None)),
        ({"slots": 3}, on(2, None, None, None)),
        ({"slots": 16}, on(1, *[None] * 16)),
        ({"slots": 2, "threads": 1}, on(1, None, None)),
        ({"per_gpu": 2, "cores": 2}, on(1, None, None)),
        # One GPU.
        ({"gpus": ["0"]}, on(8, "0")),
        ({"gpus": ["0"], "per_gpu": 2}, on(4, "0", "0")),
        ({"gpus": ["0"], "slots": 3}, on(2, "0", "0", "0")),
        ({"gpus": ["0"], "threads": 2}, on(2, "0")),
        # Four.
        ({"gpus": FOUR}, on(2, "0", "1", "2", "3")),
        ({"gpus": FOUR, "per_gpu": 2}, on(1, "0", "1", "2", "3", "0", "1", "2", "3")),
        ({"gpus": FOUR, "per_gpu": 2, "threads": 3}, on(3, "0", "1", "2", "3", "0", "1", "2", "3")),
        ({"gpus": FOUR, "slots": 2}, on(4, "0", "1")),
        ({"gpus": FOUR, "slots": 6, "per_gpu": 2}, on(1, "0", "1", "2", "3", "0", "1")),
        ({"gpus": ["2", "GPU-8a"]}, on(4, "2", "GPU-8a")),
    ],
)
def test_slots(given, planned):
    assert plan(**given) == planned


@pytest.mark.parametrize(("gpus", "expected"), [((), {}), (("1",), {"CUDA_VISIBLE_DEVICES": "1"})])
def test_who_has_set_the_threads_has_decided(gpus, expected):
    assert plan(slots=1, gpus=gpus, environment={"OMP_NUM_THREADS": "3"}) == [expected]
    assert plan(slots=1, threads=2, gpus=gpus, environment={"OMP_NUM_THREADS": "3"}) == on(2, *(gpus or [None]))


@pytest.mark.parametrize(
    ("named", "gpus"),
    [
        ("", []),
        ("-1", []),
        ("0,-1,2", ["0"]),  # CUDA hides what stands after it
        ("0,2", ["0", "2"]),
        (" 3 , 1 ", ["3", "1"]),
        ("GPU-8a5f-11,GPU-9b", ["GPU-8a5f-11", "GPU-9b"]),
        ("MIG-7c", ["MIG-7c"]),
        ("0,", ["0"]),
    ],
)
def test_the_gpus_are_those_that_the_environment_names(tmp_path, named, gpus):
    (tmp_path / "0000:01:00.0").mkdir()
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": named}, tmp_path) == gpus


def test_the_gpus_are_those_of_the_driver_when_nobody_names_any(tmp_path):
    assert visible_gpus({}, tmp_path) == visible_gpus({}, tmp_path / "nowhere") == []
    for number in range(3):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
    assert visible_gpus({}, tmp_path) == ["0", "1", "2"]


@pytest.mark.parametrize(("device", "seen"), [("cpu", 0), ("auto", 0), ("gpu", 1), ("gpu:0", 0), ("gpu:1", 2)])
def test_a_device_that_a_trial_sees(device, seen):
    refuse_hidden_gpu(device, seen)


@pytest.mark.parametrize(("device", "seen"), [("gpu:1", 0), ("gpu:1", 1), ("gpu:2", 2)])
def test_a_gpu_that_no_trial_sees(device, seen):
    with pytest.raises(UserError, match=f"device={device}"):
        refuse_hidden_gpu(device, seen)
