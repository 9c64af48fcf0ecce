"""SGD against float64."""

import pytest

import oarlock
from tests.plugins.reference import LINEAR, assert_follows, sgd


def test_steps_against_the_gradient(train):
    run = train(*LINEAR, "optimizer=sgd", "optimizer.learning_rate=0.3")
    assert_follows(run, sgd, 0.3)


def test_a_group_multiplies_the_rate(train):
    run = train(
        *LINEAR, "optimizer=sgd", "optimizer.learning_rate=0.3", "callback.groups.rates=[0.5,2]",
        callbacks="trace,groups",
    )  # fmt: skip
    assert_follows(run, sgd, 0.3, multipliers={"0.weight": 0.5, "0.bias": 2.0})


def test_a_negative_rate_is_refused(train):
    with pytest.raises(oarlock.UserError, match=r"optimizer\.learning_rate=-0\.1: expected 0 <= learning_rate"):
        train(*LINEAR, "optimizer=sgd", "optimizer.learning_rate=-0.1")
