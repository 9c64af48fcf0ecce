"""Adam against float64."""

import pytest

import oarlock
from tests.plugins.reference import LINEAR, adam, assert_follows

# An epsilon of this size shows where it is added.
OPTIONS = ("optimizer=adam", "optimizer.learning_rate=0.2", "optimizer.beta1=0.8", "optimizer.beta2=0.95",
           "optimizer.epsilon=0.1")  # fmt: skip


def test_follows_algorithm_1(train):
    assert_follows(train(*LINEAR, *OPTIONS), adam(0.8, 0.95, 0.1), 0.2)


def test_the_defaults_are_the_papers(train):
    # float32 knows 1 - 0.999^2 only to 3e-5, which shows in the small moves; beside the weights it is 2e-7.
    assert_follows(train(*LINEAR, "optimizer=adam"), adam(0.9, 0.999, 1e-8), 1e-3, relative=3e-5)


def test_a_group_multiplies_the_rate(train):
    run = train(*LINEAR, *OPTIONS, "callback.groups.rates=[0.5,2]", callbacks="trace,groups")
    assert_follows(run, adam(0.8, 0.95, 0.1), 0.2, multipliers={"0.weight": 0.5, "0.bias": 2.0})


@pytest.mark.parametrize("beta", ["beta1", "beta2"])
def test_a_beta_of_one_is_refused(train, beta):
    with pytest.raises(oarlock.UserError, match=rf"optimizer\.{beta}=1\.0: expected 0 <= {beta} < 1"):
        train(*LINEAR, "optimizer=adam", f"optimizer.{beta}=1")
