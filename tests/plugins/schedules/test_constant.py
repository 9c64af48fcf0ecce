"""The constant schedule, with and without warm-up."""

import pytest

import oarlock
from tests.plugins.reference import LINEAR, assert_follows, sgd

SGD = (*LINEAR, "optimizer=sgd", "optimizer.learning_rate=0.3")


def test_every_step_has_the_optimizers_rate(train):
    run = train(*SGD, "schedule=constant")
    assert run.rates == [0.3] * 6
    assert_follows(run, sgd, 0.3)


def test_the_warm_up_reaches_the_rate_on_its_last_step(train):
    run = train(*SGD, "schedule=constant", "schedule.warmup_steps=4")
    assert run.rates == pytest.approx([0.075, 0.15, 0.225, 0.3, 0.3, 0.3], rel=1e-12)
    assert_follows(run, sgd, lambda step: 0.3 * min((step + 1) / 4, 1))


def test_a_negative_warm_up_is_refused(train):
    with pytest.raises(oarlock.UserError, match=r"schedule\.warmup_steps=-1: expected 0 <= warmup_steps"):
        train(*SGD, "schedule.warmup_steps=-1")
