"""What is not finite among the weights is found, whatever their dtype, and whoever has changed them."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from oarlock.finite_watch import ArrayCopies, TensorCopies

KINDS = pytest.mark.parametrize("copies", [ArrayCopies, TensorCopies])


def weights():
    paddle.seed(1)
    return {
        "weight": paddle.create_parameter([3, 4], "float32"),
        "half": paddle.ones([5], "float16"),
        "double": paddle.ones([], "float64"),
        "steps": paddle.zeros([2], "int64"),
        "mask": paddle.to_tensor([0.0, -np.inf]),
        "none": paddle.zeros([0, 3]),
    }


def numbers(found):
    return {name: np.asarray(value).copy() for name, value in found.items()}


@KINDS
@pytest.mark.parametrize("name", ["weight", "half", "double"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_found_and_the_last_good_ones_are_kept(copies, name, value):
    now = weights()
    watch = copies(now)
    with paddle.no_grad():
        now["weight"].set_value(now["weight"] + 1)
        now["steps"].set_value(now["steps"] + 1)
    assert watch.renew(now) == []
    good = numbers(now)
    bad = now[name].numpy()
    bad.reshape(-1)[-1] = value
    now[name].set_value(bad)
    assert watch.renew(now) == [name]
    for path, array in numbers(watch.good).items():
        np.testing.assert_array_equal(array, good[path])
    now[name].set_value(good[name])
    assert watch.renew(now) == []


@KINDS
def test_numbers_whose_sum_overflows_are_finite(copies):
    now = {"a": paddle.full([4], 3e38), "b": paddle.full([9], 6e4, "float16")}
    assert copies(now).renew(now) == []


@KINDS
def test_other_storage_another_tensor_and_another_shape_are_looked_at(copies):
    now = weights()
    watch = copies(now)
    with paddle.no_grad():
        now["weight"].data = now["weight"] * 2
    assert watch.renew(now) == []
    np.testing.assert_array_equal(np.asarray(watch.good["weight"]), now["weight"].numpy())
    now["weight"] = paddle.full([3, 4], 7.0)
    assert watch.renew(now) == []
    assert np.asarray(watch.good["weight"]).min() == 7
    now["weight"] = paddle.full([2, 2], 9.0)
    assert watch.renew(now) == []
    np.testing.assert_array_equal(np.asarray(watch.good["weight"]), np.full([2, 2], 9.0))
    now["weight"].set_value(paddle.full([2, 2], np.nan))
    assert watch.renew(now) == ["weight"]


@pytest.mark.parametrize("taught", [False, True])
def test_what_numpy_has_no_dtype_for_is_copied_each_time(taught):
    if taught:  # as it is by whoever imports ONNX or JAX
        pytest.importorskip("ml_dtypes", reason="the library that teaches NumPy bfloat16")
    now = {"brain": paddle.ones([3], "bfloat16")}
    watch = ArrayCopies(now)
    now["brain"].set_value(paddle.full([3], 2.0, "bfloat16"))
    assert watch.renew(now) == []
    np.testing.assert_array_equal(watch.good["brain"], now["brain"].numpy())
