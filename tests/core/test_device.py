"""Device, precision and flags are decided by pure functions, whatever machine this is."""

from __future__ import annotations

import pytest

from oarlock.device import (
    PrecisionPolicy,
    deterministic_flags,
    precision_policy,
    resolve_device,
    setup_device,
    unusable,
)
from oarlock.errors import UserError
from oarlock.schema import Precision


@pytest.mark.parametrize(
    ("requested", "gpus", "device"),
    [
        ("auto", 0, "cpu"),
        ("auto", 1, "gpu:0"),
        ("auto", 8, "gpu:0"),
        ("cpu", 4, "cpu"),
        ("gpu", 2, "gpu:0"),
        ("gpu:1", 2, "gpu:1"),
    ],
)
def test_device(requested, gpus, device):
    assert resolve_device(requested, gpus, "3.3.1") == device


@pytest.mark.parametrize(("requested", "gpus"), [("gpu", 0), ("gpu:0", 0), ("gpu:2", 2)])
def test_a_gpu_that_is_not_there_is_an_error(requested, gpus):
    with pytest.raises(UserError, match=f"device={requested}"):
        resolve_device(requested, gpus, "3.3.1")


def test_precision_on_gpu():
    assert precision_policy(Precision.fp32, "gpu:0") == PrecisionPolicy(False, "float32", scaler=False)
    assert precision_policy(Precision.bf16, "gpu:0") == PrecisionPolicy(True, "bfloat16", scaler=False)
    assert precision_policy(Precision.fp16, "gpu:1") == PrecisionPolicy(True, "float16", scaler=True)


def test_precision_on_cpu():
    assert not precision_policy(Precision.fp32, "cpu").enabled
    for precision in (Precision.bf16, Precision.fp16):
        with pytest.raises(UserError, match=precision.name):
            precision_policy(precision, "cpu")


def test_deterministic_flags():
    assert deterministic_flags(True, "cpu") == {}
    assert deterministic_flags(False, "gpu:0") == {}
    assert deterministic_flags(True, "gpu:0")["FLAGS_cudnn_deterministic"] is True


def test_a_device_that_cannot_compute_says_why_in_one_line():
    import paddle

    assert unusable(lambda: paddle.ones([2, 3]) @ paddle.ones([3, 2])) == ""
    reason = unusable(lambda: paddle.ones([2, 3]) @ paddle.ones([2, 3]))
    assert "Error" in reason
    assert "\n" not in reason

    def fail():
        raise OSError(
            "(External) CUDA error(209), no kernel image is available for execution on the device.\n  [Hint: ...]"
        )

    assert unusable(fail).startswith("(External) CUDA error(209), no kernel image")


def test_a_failure_without_words_has_its_kind():
    def fail():
        raise MemoryError

    assert unusable(fail) == "MemoryError"


def test_a_gpu_that_paddle_sees_and_cannot_use_is_an_error_of_two_lines(monkeypatch):
    """Stands in for a GPU, of which this machine has none: what Paddle says of one that it has no code for."""
    import paddle

    monkeypatch.setattr("oarlock.device.gpu_count", lambda: 1)
    monkeypatch.setattr("oarlock.device.try_device", lambda device: "CUDA error(209), no kernel image is available")
    monkeypatch.setattr(paddle, "set_device", lambda device: None)
    monkeypatch.setattr(paddle.device.cuda, "get_device_name", lambda number: f"NVIDIA H{number}00")
    for requested in ("auto", "gpu:0"):
        with pytest.raises(UserError) as error:
            setup_device(requested, deterministic=False)
        first, second = str(error.value).splitlines()
        assert first.startswith(
            f"device={requested}: Paddle {paddle.__version__} cannot compute on gpu:0, NVIDIA H000: "
        )
        assert first.endswith("CUDA error(209), no kernel image is available")
        assert "device=cpu" in second
    assert setup_device("cpu", deterministic=False) == "cpu"
