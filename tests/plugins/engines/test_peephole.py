"""Programs before and after they are rewritten: the same bits, by other operators."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock_plugins.engines import peephole, private, rewriting
from tests.plugins.engines.conftest import AVX2, AVX512, needs_avx2, needs_avx512

pytestmark = pytest.mark.filterwarnings("ignore:Tensor do not have 'place'")  # Paddle's, of its own gradients
SIZES = st.integers(1, 9)


def program(build, inputs, rewrite):
    """The names of the operators that run, and the results.

    Args:
        build: makes variables of a program from the variables of its inputs.
        inputs: arrays by name.
        rewrite: whether to rewrite it.
    """
    paddle.enable_static()
    try:
        main, scope = paddle.static.Program(), paddle.static.Scope()
        with paddle.static.program_guard(main):
            variables = {
                name: paddle.static.data(name, list(one.shape), str(one.dtype)) for name, one in inputs.items()
            }
            for variable in variables.values():
                variable.stop_gradient = not str(variable.dtype).upper().endswith("FLOAT32")
            results = build(**variables)
    finally:
        paddle.disable_static()
    place = paddle.CPUPlace()
    if rewrite:
        with rewriting.held(main, results) as results:
            for name, value in peephole.rewrite(main).items():
                scope.var(name).get_tensor().set(value, place)
    run = private.Direct(main, scope, place, list(inputs), results, keep=True)
    tensors = [paddle.to_tensor(one) for one in inputs.values()]
    feeds = run.feeds([private.storage(tensor) for tensor in tensors])
    run(feeds)  # what is kept from a run must not show in the next one
    found = [np.array(one) for one in run(feeds)]
    return [op.name().removeprefix("pd_op.") for op in main.global_block().ops], found


def rewritten(build, inputs, only=lambda *results: results):
    """The operators of a program that was rewritten; its results are those of the program as it was.

    Args:
        build: as of `program`.
        inputs: as of `program`.
        only: which of the results have to be the same.
    """
    _, expected = program(build, inputs, rewrite=False)
    operators, found = program(build, inputs, rewrite=True)
    assert len(expected) == len(found)
    for one, other in zip(only(*expected), only(*found), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    return operators


def layers(operators):
    """How many linear layers are one operator."""
    return operators.count("fc") + operators.count("addmm")


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape, "float32")


def gradients(result, *inputs):
    """Of the sum of the result's squares, so that no two elements have the same."""
    return [result, *paddle.static.gradients([(result * result).sum()], list(inputs))]


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(SIZES, min_size=1, max_size=2), inner=SIZES, width=SIZES)
def test_a_linear_layer_is_one_operator(rows, inner, width):
    def layer(inputs, weight, bias):
        return gradients(paddle.nn.functional.linear(inputs, weight, bias), inputs, weight, bias)

    operators = rewritten(
        layer, {"inputs": normal(*rows, inner), "weight": normal(inner, width), "bias": normal(width)}
    )
    assert layers(operators) == 1
    assert "add" not in operators


ODD = st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0]), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(odd=ODD, width=st.sampled_from([3, 8, 20]), data=st.data())
def test_numbers_of_a_run_that_diverges(odd, width, data):
    """What an infinite number gives back alone is another: nothing, where Paddle's ReLU gives what it is given."""

    def network(images, kernel, channels, weight, bias):
        maps = paddle.nn.functional.relu(paddle.nn.functional.conv2d(images, kernel, channels, padding=1))
        result = paddle.nn.functional.relu(paddle.nn.functional.linear(maps.flatten(1), weight, bias))
        return [maps, *gradients(result, weight, bias, channels)]

    inputs = {"images": normal(2, 1, 3, 3), "kernel": normal(4, 1, 3, 3), "channels": normal(4),
              "weight": normal(36, width), "bias": normal(width)}  # fmt: skip
    for number in odd:
        array = inputs[data.draw(st.sampled_from(sorted(inputs)))]
        array.flat[data.draw(st.integers(0, array.size - 1))] = number
    operators = rewritten(network, inputs, only=lambda maps, result, *rest: [maps, result])
    assert {"affine_channel", "hardtanh_grad"} <= set(operators)
    assert layers(operators) == 1
    assert "relu_grad" not in operators
    rewritten(network, inputs, only=lambda *all: all if np.isfinite(all[0]).all() and np.isfinite(all[1]).all() else ())


def test_nothing_goes_back_through_an_infinite_number():
    """As the engine's decision says; Paddle's own ReLU gives back what it is given."""

    def relu(one, factor):
        result = paddle.nn.functional.relu(one)
        return paddle.static.gradients([(result * factor).sum()], [one])

    inputs = {"one": np.float32([-1, 0, 1, 3.4e38, np.inf]), "factor": np.float32([2, 3, 4, 5, 6])}
    assert program(relu, inputs, rewrite=False)[1][0].tolist() == [0, 0, 4, 5, 6]
    assert program(relu, inputs, rewrite=True)[1][0].tolist() == [0, 0, 4, 5, 0]


@pytest.mark.parametrize(
    "layer",
    [
        lambda inputs, weight, bias: [product := inputs @ weight, product + bias],
        lambda inputs, weight, bias: [paddle.matmul(inputs.T, weight, transpose_x=True) + bias],
        lambda inputs, weight, bias: [bias - (inputs @ weight)],
    ],
    ids=["its product is wanted", "transposed", "subtracted"],
)
def test_what_is_no_linear_layer_stays_as_it_is(layer):
    operators = rewritten(layer, {"inputs": normal(4, 3), "weight": normal(3, 5), "bias": normal(5)})
    assert layers(operators) == 0


@settings(max_examples=25, deadline=None)
@given(rows=SIZES, channels=SIZES, height=SIZES, width=SIZES)
def test_the_bias_of_a_convolution(rows, channels, height, width):
    def convolution(images, weight, bias):
        return gradients(paddle.nn.functional.conv2d(images, weight, bias, padding=1), images, weight, bias)

    shapes = {"images": normal(rows, 2, height, width), "weight": normal(channels, 2, 3, 3), "bias": normal(channels)}
    operators = rewritten(convolution, shapes)
    assert operators.count("affine_channel") == 1
    assert "add" not in operators
    if channels > 1 and rows * height * width > 1:
        assert "add_grad" not in operators


@settings(max_examples=60, deadline=None)
@given(shape=st.lists(SIZES, min_size=1, max_size=4), data=st.data())
def test_the_gradient_of_what_is_added_along_axes(shape, data):
    kept = data.draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
    added = [size if keep else 1 for size, keep in zip(shape, kept, strict=True)]
    added = added[data.draw(st.integers(0, next((axis for axis, size in enumerate(added) if size > 1), 0))) :]

    def both(one, other):
        return gradients(one + other, one, other)

    operators = rewritten(both, {"one": normal(*shape), "other": normal(*added)})
    around = peephole._around(added, shape)
    assert (around is None) == ("add_grad" in operators)


def test_large_gradients_are_summed_in_the_same_order():
    """Of 32 rows and 512 numbers Paddle sums one after the other, of some other shapes several at once."""
    for shape in ((32, 512), (500, 128), (1000, 3), (7, 1000), (32, 28, 64)):
        inputs = {"one": normal(*shape), "other": normal(shape[-1])}
        assert "add_grad" not in rewritten(lambda one, other: gradients(one + other, one, other), inputs)


SUMS = """
import numpy as np
from oarlock_plugins.engines import mkl
from tests.plugins.engines.test_peephole import gradients, normal, rewritten

random = np.random.default_rng(0)
shapes = [[int(random.choice([1, 2, 7, 16, 32, 33, 64, 100, 257, 500, 1000, 5000])), int(random.integers(2, 1100))]
          for _ in range(60)] + [[32, 512], [256, 3_000], [2, 777], [12_800, 16], [50_176, 6], [32, 28, 64], [3, 1]]
for shape in shapes:
    spread = normal(*shape) * np.exp(2 * normal(*shape))  # so that the order of a sum shows in its last bits
    operators = rewritten(lambda one, other: gradients(one + other, one, other), {"one": spread, "other": normal(shape[-1])})
    rows, width = np.prod(shape[:-1]), shape[-1]
    assert ("matmul" in operators) == (rows > 1 and width > 1 if mkl.takes(mkl.AVX2) else 2 <= rows <= 256 and width >= 512), shape
print("the same")
"""


LAYERS = """
import numpy as np, paddle
from tests.plugins.engines.test_peephole import normal, rewritten

random = np.random.default_rng(0)
shapes = [[int(random.integers(1, 80)), int(random.integers(1, 300)), int(random.integers(1, 600))] for _ in range(150)]
for rows, depth, width in [*shapes, (32, 64, 128), (32, 128, 10), (2, 256, 512), (64, 256, 1000)]:
    inputs = {"inputs": normal(rows, depth), "weight": normal(depth, width), "bias": normal(width)}
    operators = rewritten(lambda inputs, weight, bias: [paddle.nn.functional.linear(inputs, weight, bias)], inputs)
    assert ("addmm" in operators) == (2 <= rows <= 64 and 2 <= depth <= 256), (rows, depth, width, operators)
print("the same")
"""


@needs_avx2
@pytest.mark.parametrize("script", [SUMS, LAYERS], ids=["gradients are summed by a product", "a product adds a bias"])
def test_on_the_avx2_path_of_mkl(script):
    same(script, AVX2)


@needs_avx512
def test_on_its_avx512_path_gradients_of_wide_rows_are_summed_by_a_product():
    same(SUMS, AVX512)


def same(script, path):
    """Run it in a process that takes a path of MKL's; it says whether all bits were the same."""
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, env={**os.environ, **path}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "the same\n"), done.stderr


@settings(max_examples=25, deadline=None)
@given(shape=st.lists(SIZES, min_size=1, max_size=4))
def test_a_mean_of_all_numbers(shape):
    def mean(one):
        value = one.mean()
        return [value, *paddle.static.gradients([value * value], [one])]

    assert "mean_all" in rewritten(mean, {"one": normal(*shape)})


@pytest.mark.parametrize("mean", [lambda one: one.mean(0), lambda one: one.mean(keepdim=True)])
def test_a_mean_that_has_axes_stays(mean):
    assert "mean" in rewritten(lambda one: [mean(one)], {"one": normal(6, 5)})


@pytest.mark.parametrize("rows", [1, 3, 7, 32, 100])
def test_the_first_gradient_is_a_constant(rows):
    def loss(logits, targets):
        value = paddle.nn.functional.cross_entropy(logits, targets)
        return [value, *paddle.static.gradients([value], [logits])]

    targets = np.arange(rows, dtype="int64").reshape(-1, 1) % 5
    operators = rewritten(loss, {"logits": normal(rows, 5), "targets": targets})
    assert not {"full", "full_like", "mean_grad", "full_int_array"} & set(operators)


def test_a_mean_over_some_axes_keeps_its_gradient():
    def loss(one):
        value = one.mean(0)
        return [value, *paddle.static.gradients([value], [one])]

    assert "mean_grad" in rewritten(loss, {"one": normal(6, 5)})


def test_what_is_returned_may_be_what_was_rewritten():
    def layer(inputs, weight, bias):
        result = paddle.nn.functional.linear(inputs, weight, bias)
        return [result, result, paddle.nn.functional.linear(inputs, weight, bias)]

    operators = rewritten(layer, {"inputs": normal(4, 3), "weight": normal(3, 5), "bias": normal(5)})
    assert layers(operators) == 2
