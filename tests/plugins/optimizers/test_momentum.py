"""SGD with momentum against float64."""

import pytest

import oarlock
from tests.plugins.reference import LINEAR, assert_follows, momentum


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_velocity_is_polyaks_or_nesterovs(train, nesterov):
    run = train(
        *LINEAR, "optimizer=momentum", "optimizer.learning_rate=0.2", "optimizer.momentum=0.7",
        f"optimizer.nesterov={nesterov}",
    )  # fmt: skip
    assert_follows(run, momentum(0.7, nesterov), 0.2)


def test_a_group_multiplies_the_rate(train):
    run = train(
        *LINEAR, "optimizer=momentum", "optimizer.learning_rate=0.2", "callback.groups.rates=[0.5,2]",
        callbacks="trace,groups",
    )  # fmt: skip
    assert_follows(run, momentum(0.9), 0.2, multipliers={"0.weight": 0.5, "0.bias": 2.0})


def test_a_momentum_of_one_is_refused(train):
    with pytest.raises(oarlock.UserError, match=r"optimizer\.momentum=1\.0: expected 0 <= momentum < 1"):
        train(*LINEAR, "optimizer=momentum", "optimizer.momentum=1")
