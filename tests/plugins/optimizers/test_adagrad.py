"""Adagrad against float64."""

import pytest

import oarlock
from tests.plugins.reference import LINEAR, adagrad, assert_follows

OPTIONS = (*LINEAR, "optimizer=adagrad", "optimizer.learning_rate=0.2", "optimizer.epsilon=0.1")


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_divides_by_the_root_of_the_sum_of_squares(train, start):
    assert_follows(train(*OPTIONS, f"optimizer.initial_accumulator_value={start}"), adagrad(0.1, start), 0.2)


def test_the_defaults(train):
    assert_follows(train(*LINEAR, "optimizer=adagrad"), adagrad(1e-6), 0.01)


def test_a_group_multiplies_the_rate(train):
    run = train(*OPTIONS, "callback.groups.rates=[0.5,2]", callbacks="trace,groups")
    assert_follows(run, adagrad(0.1), 0.2, multipliers={"0.weight": 0.5, "0.bias": 2.0})


def test_a_negative_sum_is_refused(train):
    with pytest.raises(oarlock.UserError, match=r"optimizer\.initial_accumulator_value=-1\.0: expected 0 <= initial"):
        train(*OPTIONS, "optimizer.initial_accumulator_value=-1")
