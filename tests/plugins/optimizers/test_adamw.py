"""AdamW against float64, and what decays."""

import numpy as np
import pytest

import oarlock
from tests.plugins.reference import LINEAR, adam, assert_close, assert_follows

OPTIONS = ("optimizer=adamw", "optimizer.learning_rate=0.2", "optimizer.beta1=0.8", "optimizer.beta2=0.95",
           "optimizer.epsilon=0.1", "optimizer.weight_decay=0.4")  # fmt: skip
RULE = adam(0.8, 0.95, 0.1, decay=0.4)


def test_the_decay_is_apart_from_the_gradient_and_spares_the_bias(train):
    assert_follows(train(*LINEAR, *OPTIONS), RULE, 0.2)


def test_the_decay_follows_the_rate_of_the_group_and_of_the_schedule(train):
    run = train(
        *LINEAR, *OPTIONS, "callback.groups.rates=[0.5,2]", "schedule.warmup_steps=3", callbacks="trace,groups"
    )  # fmt: skip
    rate = lambda step: 0.2 * min((step + 1) / 3, 1)  # noqa: E731
    assert_follows(run, RULE, rate, multipliers={"0.weight": 0.5, "0.bias": 2.0})


def test_norms_do_not_decay(train):
    """From one start, one step with and one without decay differ by the decay alone."""
    options = ("model.widths=[8]", "optimizer=adamw", "optimizer.learning_rate=0.1", "trainer.max_steps=1")
    with_decay = train(*options, "optimizer.weight_decay=0.5")
    without = train(*options, "optimizer.weight_decay=0")
    for path, start in with_decay.weights[0].items():
        difference = without.weights[1][path] - with_decay.weights[1][path]
        if start.ndim > 1:
            assert_close(difference, 0.1 * 0.5 * start, relative=1e-4)
        else:
            np.testing.assert_array_equal(difference, 0)
    assert np.abs(with_decay.weights[0]["3.weight"]).min() == 1  # a norm's scale, which a decay would have changed


def test_a_second_claim_names_both(train):
    with pytest.raises(oarlock.UserError, match=r"optimizer.*regularizer\.l2|regularizer\.l2.*optimizer"):
        train(*LINEAR, "optimizer=adamw", "regularizer=[l2]")


def test_without_its_own_decay_it_takes_an_l2_penalty(train):
    run = train(
        *LINEAR, *OPTIONS, "optimizer.weight_decay=0", "regularizer=[l2]", "regularizer.l2.coefficient=0.4"
    )  # fmt: skip
    assert_follows(run, adam(0.8, 0.95, 0.1), 0.2, penalty=lambda weight: 0.4 * weight)


def test_a_group_s_decay_takes_the_place_of_the_optimizers_and_spares_what_it_spares(train):
    run = train(*LINEAR, *OPTIONS, "callback.groups.decay=0.7", callbacks="trace,groups")
    assert_follows(run, adam(0.8, 0.95, 0.1, decay=0.7), 0.2)
