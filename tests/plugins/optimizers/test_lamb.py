"""LAMB against float64."""

import pytest

import oarlock
from tests.plugins.reference import LINEAR, adam, assert_follows, lamb

OPTIONS = (*LINEAR, "optimizer=lamb", "optimizer.learning_rate=0.1", "optimizer.beta1=0.8", "optimizer.beta2=0.95",
           "optimizer.epsilon=0.1")  # fmt: skip


@pytest.mark.parametrize("decay", [0.01, 0.4])
def test_scales_the_step_to_the_norm_of_the_weights(train, decay):
    assert_follows(train(*OPTIONS, f"optimizer.weight_decay={decay}"), lamb(0.8, 0.95, 0.1, decay), 0.1)


def test_without_a_decay_it_is_adam_and_takes_an_l2_penalty(train):
    run = train(*OPTIONS, "optimizer.weight_decay=0", "regularizer=[l2]", "regularizer.l2.coefficient=0.4")
    assert_follows(run, adam(0.8, 0.95, 0.1), 0.1, penalty=lambda weight: 0.4 * weight)


def test_a_second_claim_names_both(train):
    with pytest.raises(oarlock.UserError, match=r"optimizer.*regularizer\.l2|regularizer\.l2.*optimizer"):
        train(*LINEAR, "optimizer=lamb", "regularizer=[l2]")


def test_a_group_multiplies_the_rate(train):
    run = train(*OPTIONS, "callback.groups.rates=[0.5,2]", callbacks="trace,groups")
    assert_follows(run, lamb(0.8, 0.95, 0.1, 0.01), 0.1, multipliers={"0.weight": 0.5, "0.bias": 2.0})


def test_a_group_s_decay_takes_the_place_of_the_optimizers(train):
    run = train(*OPTIONS, "callback.groups.decay=0.4", callbacks="trace,groups")
    assert_follows(run, lamb(0.8, 0.95, 0.1, 0.4), 0.1)
