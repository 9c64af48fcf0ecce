"""Clipping each gradient by its own norm, and by value, against float64."""

import numpy as np
import pytest

import oarlock
from oarlock_plugins.regularizers.clip_norm import ClipNorm
from oarlock_plugins.regularizers.clip_value import ClipValue
from tests.plugins.reference import LINEAR, assert_follows, sgd
from tests.plugins.regularizers.test_clip_global_norm import pairs_of

SGD = (*LINEAR, "optimizer=sgd", "optimizer.learning_rate=0.3")
NORM = (*SGD, "regularizer=[clip_norm]")
VALUE = (*SGD, "regularizer=[clip_value]", "regularizer.clip_value.max_value=0.1")


def each_within(most, least=0.0):
    """Each gradient scaled so that its own norm lies within bounds."""

    def clip(found):
        norms = {path: np.sqrt((gradient**2).sum()) for path, gradient in found.items()}
        return {path: gradient * np.clip(norms[path], least, most) / norms[path] for path, gradient in found.items()}

    return clip


@pytest.mark.parametrize("least", ["null", "0.1"])
def test_each_large_gradient_is_cut_back(train, least):
    run = train(*NORM, "regularizer.clip_norm.max_norm=0.25", f"regularizer.clip_norm.min_norm={least}")
    assert_follows(run, sgd, 0.3, clip=each_within(0.25, 0.1 if least != "null" else 0.0))


def test_each_small_gradient_is_scaled_up(train):
    run = train(*NORM, "regularizer.clip_norm.max_norm=20", "regularizer.clip_norm.min_norm=10")
    assert_follows(run, sgd, 0.3, clip=each_within(20, 10))


def test_each_number_is_cut_back(train):
    run = train(*VALUE)
    assert max(np.abs(gradient).max() for gradient in run.gradients[0].values()) > 0.1
    assert_follows(run, sgd, 0.3, clip=lambda found: {path: np.clip(one, -0.1, 0.1) for path, one in found.items()})


CLIPS = [ClipNorm(1.0), ClipNorm(1.0, 0.5), ClipValue(1.0)]


@pytest.mark.parametrize("clip", CLIPS)
def test_a_gradient_of_zero_stays_zero(clip):
    [(_, gradient)] = clip.build_grad_clip()(pairs_of([0, 0]))
    np.testing.assert_array_equal(gradient.numpy(), 0)


@pytest.mark.parametrize("clip", CLIPS)
def test_a_parameter_that_needs_no_clip_is_left_out(clip):
    (_, clipped), (_, free) = clip.build_grad_clip()(pairs_of([3, 4]) + pairs_of([30, 40], need_clip=False))
    assert np.abs(clipped.numpy()).max() <= 1
    np.testing.assert_array_equal(free.numpy(), [[30, 40]])


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_finite_is_not_hidden(clip, bad):
    [(_, gradient)] = clip.build_grad_clip()(pairs_of([bad, 0.5]))
    assert not np.isfinite(gradient.numpy()).all()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("regularizer.clip_norm.max_norm=inf", r"regularizer\.clip_norm\.max_norm=inf: expected a positive number"),
        ("regularizer.clip_norm.max_norm=0", r"regularizer\.clip_norm\.max_norm=0\.0: expected a positive"),
        ("regularizer.clip_norm.min_norm=2", r"regularizer\.clip_norm\.min_norm=2\.0: expected 0 < min_norm <= max"),
    ],
)
def test_bounds_that_contradict_are_refused(train, override, message):
    with pytest.raises(oarlock.UserError, match=message):
        train(*NORM, override)


@pytest.mark.parametrize("bound", ["0", "-1", "inf", "nan"])
def test_a_value_that_bounds_nothing_is_refused(train, bound):
    with pytest.raises(oarlock.UserError, match=r"regularizer\.clip_value\.max_value=\S+: expected a positive number"):
        train(*VALUE, f"regularizer.clip_value.max_value={bound}")
