"""What the comparison of a program with eager steps lets pass, and what it does not."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from oarlock_plugins.engines.probe import compare

# One unit in the last place of float32 just above 1, and what a step below makes of it.
LAST_BIT = float(np.spacing(np.float32(1)))
SCALE = 1e6


def compared(rounding=0.0, result=0.0, loss=0.0, nudged=True, beside=0.0):
    """Eager and compiled steps that differ so; all tensors must be as before afterwards.

    A weight's last bit is scaled up into `rounding`, as Adam does it; `result` does not depend on that bit.
    `beside` is a second number of the same tensor, which both make alike.
    """
    weight, scaled, plain = (paddle.to_tensor(value, "float32") for value in ([1.5], [0.0, 0.0], [0.0]))
    tensors = {"weight": weight, "scaled": scaled, "plain": plain}
    for name, tensor in tensors.items():
        tensor.name = f"test_probe_{name}"

    def step(more_scaled, more_plain, more_loss):
        def make():
            scaled.set_value(np.array([(weight.item() - 1.5) * SCALE + more_scaled, beside], "float32"))
            plain.set_value(paddle.to_tensor([1.0 + more_plain], "float32"))
            return 2.0 + more_loss

        return make

    before = {name: tensor.numpy().copy() for name, tensor in tensors.items()}
    differs, draws = compare(
        step(0.0, 0.0, 0.0), step(rounding, result, loss), list(tensors.values()), paddle.seed,
        nudged=[weight] if nudged else [],
    )  # fmt: skip
    assert not draws
    assert all(tensor.numpy().tobytes() == before[name].tobytes() for name, tensor in tensors.items())
    return differs


@pytest.mark.parametrize("times", [1, 9])
def test_rounding_that_is_scaled_up_is_let_pass(times):
    assert compared(rounding=times * SCALE * LAST_BIT) == ""


def test_more_than_ten_times_of_it_is_not():
    assert "other numbers in test_probe_scaled" in compared(rounding=11 * SCALE * LAST_BIT)


def test_without_weights_to_nudge_nothing_is_let_pass():
    assert "other numbers in test_probe_scaled" in compared(rounding=SCALE * LAST_BIT, nudged=False)


def test_what_one_tensor_may_be_off_another_may_not():
    assert "other numbers in test_probe_plain" in compared(rounding=SCALE * LAST_BIT, result=0.001)


def test_nor_the_loss():
    assert compared(rounding=SCALE * LAST_BIT, loss=0.001) == "its losses are 2.001, 2.001, 2.001, eager's 2, 2, 2"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_lets_nothing_pass(value):
    assert "other numbers in test_probe_scaled" in compared(rounding=value)
    assert "other numbers in test_probe_scaled" in compared(rounding=SCALE * LAST_BIT, beside=value)
    assert compared(beside=value) == ""
