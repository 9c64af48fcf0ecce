"""RMSProp against float64."""

import pytest

import oarlock
from tests.plugins.reference import LINEAR, assert_follows, rmsprop

# An epsilon of this size shows where it is added.
OPTIONS = (*LINEAR, "optimizer=rmsprop", "optimizer.learning_rate=0.1", "optimizer.rho=0.8", "optimizer.epsilon=0.1")


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_divides_by_the_root_of_the_mean_square(train, centered, momentum):
    run = train(*OPTIONS, f"optimizer.centered={centered}", f"optimizer.momentum={momentum}")
    assert_follows(run, rmsprop(0.8, 0.1, momentum, centered), 0.1)


def test_the_defaults(train):
    assert_follows(train(*LINEAR, "optimizer=rmsprop"), rmsprop(0.95, 1e-6), 1e-3, relative=3e-5)


def test_a_group_multiplies_the_rate(train):
    run = train(*OPTIONS, "callback.groups.rates=[0.5,2]", callbacks="trace,groups")
    assert_follows(run, rmsprop(0.8, 0.1), 0.1, multipliers={"0.weight": 0.5, "0.bias": 2.0})


@pytest.mark.parametrize("option", ["rho", "momentum"])
def test_a_decay_of_one_is_refused(train, option):
    with pytest.raises(oarlock.UserError, match=rf"optimizer\.{option}=1\.0: expected 0 <= {option} < 1"):
        train(*OPTIONS, f"optimizer.{option}=1")
