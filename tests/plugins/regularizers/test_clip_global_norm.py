"""Clipping by the global norm against float64, from above and from below."""

import numpy as np
import paddle
import pytest

import oarlock
from oarlock_plugins.regularizers.clip_global_norm import ClipGlobalNorm
from tests.plugins.reference import LINEAR, adam, assert_follows, global_norm, momentum, sgd

SGD = (*LINEAR, "optimizer=sgd", "optimizer.learning_rate=0.3", "regularizer=[clip_global_norm]")
CUT = ("regularizer.clip_global_norm.max_norm=0.25",)
BOTH = (*CUT, "regularizer.clip_global_norm.min_norm=0.2")


def within(most, least=0.0):
    """One factor for all gradients, so that their norm lies within bounds."""

    def clip(found):
        factor = np.clip(global_norm(found), least, most) / global_norm(found)
        return {path: factor * gradient for path, gradient in found.items()}

    return clip


@pytest.mark.parametrize("bounds", [CUT, BOTH], ids=["max", "max-and-min"])
def test_a_large_gradient_is_cut_back(train, bounds):
    run = train(*SGD, *bounds)
    assert all(global_norm(gradient) > 0.25 for gradient in run.gradients.values())
    assert_follows(run, sgd, 0.3, clip=within(0.25))


def test_a_small_gradient_is_scaled_up(train):
    run = train(
        *SGD, "regularizer.clip_global_norm.max_norm=20", "regularizer.clip_global_norm.min_norm=15"
    )  # fmt: skip
    assert global_norm(run.gradients[0]) < 15
    assert_follows(run, sgd, 0.3, clip=within(20, 15))


def test_a_gradient_within_bounds_stays(train):
    run = train(*SGD, "regularizer.clip_global_norm.max_norm=100", "regularizer.clip_global_norm.min_norm=1e-6")
    assert_follows(run, sgd, 0.3)


@pytest.mark.parametrize("bounds", [CUT, BOTH], ids=["max", "max-and-min"])
def test_groups_share_one_norm(train, bounds):
    run = train(*SGD, *bounds, "callback.groups.rates=[0.5,2]", callbacks="trace,groups")
    assert_follows(run, sgd, 0.3, clip=within(0.25), multipliers={"0.weight": 0.5, "0.bias": 2.0})


@pytest.mark.parametrize("order", ["l2,clip_global_norm", "clip_global_norm,l2"])
def test_an_l2_penalty_comes_after_the_clip_whatever_the_order(train, order):
    run = train(
        *LINEAR, "optimizer=sgd", "optimizer.learning_rate=0.3", f"regularizer=[{order}]", *CUT,
        "regularizer.l2.coefficient=0.5",
    )  # fmt: skip
    assert_follows(run, sgd, 0.3, clip=within(0.25), penalty=lambda weight: 0.5 * weight)


def test_clip_l2_momentum_and_groups_together(train):
    run = train(
        *LINEAR, "optimizer=momentum", "optimizer.learning_rate=0.3", "optimizer.nesterov=true",
        "regularizer=[clip_global_norm,l2]", *BOTH, "regularizer.l2.coefficient=0.5",
        "callback.groups.rates=[0.5,2]", callbacks="trace,groups",
    )  # fmt: skip
    assert_follows(
        run, momentum(0.9, nesterov=True), 0.3, clip=within(0.25, 0.2), penalty=lambda weight: 0.5 * weight,
        multipliers={"0.weight": 0.5, "0.bias": 2.0},
    )  # fmt: skip


def test_adamw_decays_by_what_is_not_clipped(train):
    run = train(
        *LINEAR, "optimizer=adamw", "optimizer.learning_rate=0.2", "optimizer.beta2=0.95", "optimizer.epsilon=0.1",
        "optimizer.weight_decay=0.4", "regularizer=[clip_global_norm]", *CUT,
    )  # fmt: skip
    assert_follows(run, adam(0.9, 0.95, 0.1, decay=0.4), 0.2, clip=within(0.25))


def test_accumulated_gradients_are_clipped_once(train):
    run = train(*SGD, *CUT, "trainer.batch_size=3", "trainer.accumulate_steps=4")
    assert_follows(run, sgd, 0.3, clip=within(0.25))


def pairs_of(values, need_clip=True):
    layer = paddle.nn.Linear(1, len(values), paddle.ParamAttr(need_clip=need_clip), bias_attr=False)
    return [(layer.weight, paddle.to_tensor([values], dtype="float32"))]


@pytest.mark.parametrize("min_norm", [None, 0.5])
def test_a_gradient_of_zero_stays_zero(min_norm):
    [(_, gradient)] = ClipGlobalNorm(1.0, min_norm).build_grad_clip()(pairs_of([0, 0]))
    np.testing.assert_array_equal(gradient.numpy(), 0)


@pytest.mark.parametrize("min_norm", [None, 0.5])
def test_a_parameter_that_needs_no_clip_is_left_out(min_norm):
    pairs = pairs_of([3, 4]) + pairs_of([30, 40], need_clip=False)
    (_, clipped), (_, free) = ClipGlobalNorm(1.0, min_norm).build_grad_clip()(pairs)
    np.testing.assert_allclose(clipped.numpy(), [[0.6, 0.8]], rtol=1e-6)
    np.testing.assert_array_equal(free.numpy(), [[30, 40]])


@pytest.mark.parametrize("min_norm", [None, 0.5])
def test_what_is_not_finite_is_not_hidden(min_norm):
    [(_, gradient)] = ClipGlobalNorm(1.0, min_norm).build_grad_clip()(pairs_of([float("inf"), 1]))
    assert not np.isfinite(gradient.numpy()).all()


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ("max_norm=0", r"max_norm=0\.0: expected a positive"),
        ("min_norm=0", r"min_norm=0\.0: expected 0 < min_norm <= max_norm=1\.0"),
        ("min_norm=2", r"min_norm=2\.0: expected 0 < min_norm <= max_norm=1\.0"),
        ("max_norm=nan", r"max_norm=nan: expected a positive"),
    ],
)
def test_bounds_that_contradict_are_refused(train, bounds, message):
    with pytest.raises(oarlock.UserError, match=r"regularizer\.clip_global_norm\." + message):
        train(*SGD, f"regularizer.clip_global_norm.{bounds}")
