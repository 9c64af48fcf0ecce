"""Programs that are run without Paddle's `Executor.run`: their results, until the next run or taken."""

from __future__ import annotations

import sys

import numpy as np
import paddle
import pytest

from oarlock_plugins.engines import private, rewriting

INPUT = np.arange(-4, 8, dtype="float32").reshape(3, 4)


def direct(build, keep=True):
    """A program of one input that is ready to run."""
    paddle.enable_static()
    try:
        main = paddle.static.Program()
        with paddle.static.program_guard(main):
            results = build(paddle.static.data("x", INPUT.shape, "float32"))
    finally:
        paddle.disable_static()
    scope, place = paddle.static.Scope(), paddle.CPUPlace()
    return private.Direct(main, scope, place, ["x"], results, keep), main


def given(factor):
    """An input, and the tensor that has to live as long as a program is fed with it."""
    array = INPUT * np.float32(factor)
    return array, paddle.to_tensor(array)


PROGRAMS = {
    "a number": lambda x: [(x * 2).mean()],
    "two results": lambda x: [x + 1, (x * x).sum()],
    "one that is computed with, too": lambda x: [y := x.exp(), y.mean()],
    "a part of a list": lambda x: [paddle.split(x, 2, axis=1)[1], x.sum()],
    "what it is fed with": lambda x: [x, x.mean()],
}


@pytest.mark.parametrize("build", PROGRAMS.values(), ids=PROGRAMS)
def test_each_run_has_results_of_its_own_feeds(build):
    run, _ = direct(build)
    for array, tensor in map(given, (1, -3, 0.5)):
        expected = [one.numpy() for one in build(paddle.to_tensor(array))]
        found = run(run.feeds([private.storage(tensor)]))
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, np.asarray(other))


def test_results_are_left_where_they_are_computed():
    assert rewriting.names_in_scope(direct(PROGRAMS["two results"])[1]) == {"x", "oarlock_result_0", "oarlock_result_1"}
    assert rewriting.names_in_scope(direct(PROGRAMS["what it is fed with"])[1]) == {"x"}


@pytest.mark.parametrize("build", [
    lambda x: [x.reshape([12]), x.mean()], lambda x: [paddle.nn.functional.relu(x + 0), x.sum()],
    lambda x: [(x + 1).reshape([4, 3]), x.sum()], lambda x: [x, x.sum()], lambda x: [x.detach(), x.sum()],
    lambda x: [paddle.split(x, 2, axis=1)[0], x.sum()],
])  # fmt: skip
@pytest.mark.parametrize("keep", [True, False])
def test_no_later_run_touches_results_that_were_taken(build, keep):
    """Nor is anything taken where it lay in the run before: what is not kept lies elsewhere each time."""
    run, _ = direct(build, keep)
    copies = [private.copier(result) for result in run.results]
    fed = [given(factor) for factor in (1, -3, 0.5)]
    taken = []
    for _, tensor in fed:
        run(run.feeds([private.storage(tensor)]))
        taken.append([copy() for copy in copies])
    for found, (array, _) in zip(taken, fed, strict=True):
        for one, other in zip(build(paddle.to_tensor(array)), found, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_scalar_is_read_as_the_number_that_it_is(dtype):
    run, _ = direct(lambda x: [x.astype(dtype).exp().mean()])
    read = private.reader(run.results[0], run.dtypes[0], paddle.CPUPlace())
    assert run.dtypes == [dtype]
    for factor in (1, -3):
        array, tensor = given(factor)
        run(run.feeds([private.storage(tensor)]))
        expected = paddle.to_tensor(array).astype(dtype).exp().mean().item()
        assert read() == expected


@pytest.mark.parametrize("limit", [None, 7])
def test_what_python_shows_of_an_error_is_what_it_was_after_tracing(monkeypatch, limit):
    """Also where a component's code failed in it."""
    monkeypatch.delattr(sys, "tracebacklimit", raising=False)
    if limit is not None:
        monkeypatch.setattr(sys, "tracebacklimit", limit, raising=False)

    class Failing(paddle.nn.Layer):
        def forward(self, x):
            assert sys.tracebacklimit == 0
            return 1 / 0

    layer = Failing()
    with pytest.raises(ZeroDivisionError), private.tracing(paddle.static.Program(), paddle.static.Program(), layer):
        layer(INPUT)
    assert getattr(sys, "tracebacklimit", None) == limit
    assert paddle.in_dynamic_mode()
