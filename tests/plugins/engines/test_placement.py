"""Wide weights beside the addresses at which MKL reads them slowly: which ones, where they go, and the same numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock_plugins.engines import mkl, peephole, placement
from tests.conftest import equal_ends
from tests.plugins.engines.conftest import AVX2, needs_avx2


def program(rows, weights, dtype="float32", transposed=False, parameter=True, bias=False):
    """A product of rows with weights; with a bias as one operator, as programs are rewritten."""
    paddle.enable_static()
    try:
        main = paddle.static.Program()
        with paddle.static.program_guard(main, paddle.static.Program()):
            left = paddle.static.data("rows", rows, dtype)
            right = (
                paddle.create_parameter(weights, dtype, name="weights")
                if parameter
                else paddle.static.data("weights", weights, dtype)
            )
            product = paddle.matmul(left, right, transpose_y=transposed)
            if bias:
                product + paddle.create_parameter(weights[-1:], dtype, name="bias")
    finally:
        paddle.disable_static()
    if bias:
        peephole.rewrite(main)
        assert "pd_op.matmul" not in [op.name() for op in main.global_block().ops]
    return main


@pytest.mark.parametrize(
    ("found", "arguments"),
    [
        (True, {"rows": [32, 784], "weights": [784, 512]}),
        (True, {"rows": [17, 3], "weights": [3, 1024]}),
        (True, {"rows": [4, 16, 64], "weights": [64, 512]}),  # of sequences, every position is a row
        (True, {"rows": [32, 784], "weights": [784, 512], "bias": True}),
        (True, {"rows": [32, 64], "weights": [64, 512], "bias": True}),
        (False, {"rows": [16, 64], "weights": [64, 512], "bias": True}),
        (False, {"rows": [16, 784], "weights": [784, 512]}),
        (False, {"rows": [65, 784], "weights": [784, 512]}),
        (False, {"rows": [4, 17, 64], "weights": [64, 512]}),
        (False, {"rows": [32, 784], "weights": [784, 500]}),
        (False, {"rows": [32, 784], "weights": [784, 256]}),
        (False, {"rows": [32, 512], "weights": [784, 512], "transposed": True}),
        (False, {"rows": [32, 784], "weights": [784, 512], "dtype": "float64"}),
        (False, {"rows": [32, 784], "weights": [784, 512], "parameter": False}),
        (False, {"rows": [2, 32, 8], "weights": [2, 8, 512]}),  # a product for each of two
    ],
)
def test_which_weights(monkeypatch, found, arguments):
    monkeypatch.setenv(mkl.PATH, mkl.AVX2)
    assert bool(placement.wide_weights(program(**arguments))) == found


@pytest.mark.parametrize("path", ["", "4", "7"])
def test_none_where_it_was_not_measured(monkeypatch, path):
    monkeypatch.setenv(mkl.PATH, path)
    assert placement.wide_weights(program([32, 784], [784, 512])) == []


@settings(max_examples=30, deadline=None)
@given(shape=st.lists(st.integers(1, 40), min_size=1, max_size=2))
def test_what_is_moved_keeps_its_numbers_and_is_moved_once(shape):
    numbers = np.random.default_rng(0).standard_normal(shape, "float32")
    tensor = paddle.to_tensor(numbers)
    placement.lay_beside(tensor)
    where = tensor.data_ptr()
    assert where % placement.ALIGNED
    np.testing.assert_array_equal(tensor.numpy(), numbers)
    placement.lay_beside(tensor)
    assert tensor.data_ptr() == where


PRODUCTS = """
import numpy as np, paddle
from oarlock_plugins.engines import placement

random = np.random.default_rng(0)
for number in range(150):
    rows, depth, width = int(random.integers(1, 90)), int(random.integers(1, 900)), 512 * int(random.integers(1, 4))
    left, weights, gradient = (paddle.to_tensor(random.standard_normal(shape, "float32"), stop_gradient=False)
                               for shape in ([rows, depth], [depth, width], [rows, width]))
    beside = weights.detach().clone()
    beside.stop_gradient = False
    placement.lay_beside(beside)
    assert not weights.data_ptr() % placement.ALIGNED and beside.data_ptr() % placement.ALIGNED
    ends = []
    for one in (weights, beside):
        left.clear_gradient()
        product = left @ one
        product.backward(gradient)
        ends.append([product.numpy(), left.grad.numpy(), one.grad.numpy()])
    for one, other in zip(*ends):
        assert np.array_equal(one, other), (rows, depth, width)
print("the same")
"""


@needs_avx2
def test_products_have_the_same_bits_wherever_the_weights_lie():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRODUCTS], env={**os.environ, **AVX2}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "the same\n"), done.stderr


PART = """
from oarlock import component, hookimpl

@component
class Where:
    changes_run = False

    @hookimpl
    def on_run_end(self, run):
        print("offsets", [tensor.data_ptr() % 64 for tensor in run.model.parameters()])

@hookimpl
def register_components(register):
    register("callback/where", Where)
"""


def offsets(done):
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout.split("offsets ")[1].splitlines()[0])


@needs_avx2
@pytest.mark.parametrize("optimizer", ["momentum", "adam", "sgd"])
def test_a_run_with_wide_weights_is_the_eager_one_to_the_bit(oarlock, plugin, tmp_path, optimizer):
    words = ["model.widths=[1024,512]", f"optimizer={optimizer}", "trainer.epochs=2", "callback=[where]",
             "regularizer=[l2]", "regularizer.l2.coefficient=1e-3"]  # fmt: skip
    env = plugin(PART) | AVX2
    found = {}
    for engine in ("compiled", "eager"):
        done = oarlock("train", *words, f"trainer.engine={engine}", f"hydra.run.dir={engine}", env=env)
        found[engine] = offsets(done)
    assert equal_ends(tmp_path / "compiled", tmp_path / "eager")
    assert (
        sum(offset == placement.BESIDE for offset in found["compiled"]) == 2
    )  # the weights of both hidden layers; small ones lie side by side
    assert placement.BESIDE not in found["eager"]


@needs_avx2
def test_a_run_that_goes_on_later(oarlock, plugin, tmp_path):
    words = ["model.widths=[1024]", "optimizer=momentum", "callback=[where]"]
    env = plugin(PART) | AVX2
    oarlock("train", *words, "trainer.epochs=4", "hydra.run.dir=whole", env=env)
    oarlock("train", *words, "trainer.epochs=2", "hydra.run.dir=parts", env=env)
    done = oarlock("resume", "parts", "trainer.epochs=4", env=env)
    assert placement.BESIDE in offsets(done)
    assert equal_ends(tmp_path / "whole", tmp_path / "parts")
