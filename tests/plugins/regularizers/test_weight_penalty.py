"""L1 and L2 against float64: what is added to the gradient, and to whose."""

import numpy as np
import pytest

import oarlock
from tests.plugins.reference import LINEAR, adam, assert_close, assert_follows, momentum, sgd

PENALTIES = {
    "l1": lambda weight: 0.2 * np.sign(weight),
    "l2": lambda weight: 0.2 * weight,
    "elastic_net": lambda weight: 0.1 * np.sign(weight) + 0.3 * weight,
}
OPTIONS = {
    "l1": ["regularizer.l1.coefficient=0.2"],
    "l2": ["regularizer.l2.coefficient=0.2"],
    "elastic_net": ["regularizer.elastic_net.l1=0.1", "regularizer.elastic_net.l2=0.3"],
}
OPTIMIZERS = {
    "sgd": (sgd, 0.3, ()),
    "momentum": (momentum(0.9), 0.1, ()),
    "adam": (adam(0.9, 0.95, 0.1), 0.2, ("optimizer.beta2=0.95", "optimizer.epsilon=0.1")),
}


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_penalty_joins_the_gradient_of_weights_and_not_of_biases(train, penalty, optimizer):
    rule, rate, options = OPTIMIZERS[optimizer]
    run = train(
        *LINEAR, f"optimizer={optimizer}", f"optimizer.learning_rate={rate}", *options,
        f"regularizer=[{penalty}]", *OPTIONS[penalty],
    )  # fmt: skip
    assert_follows(run, rule, rate, penalty=PENALTIES[penalty])


@pytest.mark.parametrize("penalty", PENALTIES)
def test_groups_are_penalised_once(train, penalty):
    run = train(
        *LINEAR, "optimizer=sgd", "optimizer.learning_rate=0.3", f"regularizer=[{penalty}]",
        *OPTIONS[penalty], "callback.groups.rates=[0.5,2]", callbacks="trace,groups",
    )  # fmt: skip
    assert_follows(run, sgd, 0.3, penalty=PENALTIES[penalty], multipliers={"0.weight": 0.5, "0.bias": 2.0})


@pytest.mark.parametrize("penalty", PENALTIES)
def test_norms_are_spared(train, penalty):
    """From one start, one step with and one without the penalty differ by the penalty alone."""
    options = ("model.widths=[8]", "optimizer=sgd", "optimizer.learning_rate=0.1", "trainer.max_steps=1")
    with_penalty = train(*options, f"regularizer=[{penalty}]", *OPTIONS[penalty])
    without = train(*options)
    for path, start in with_penalty.weights[0].items():
        difference = without.weights[1][path] - with_penalty.weights[1][path]
        if start.ndim > 1:
            assert_close(difference, 0.1 * PENALTIES[penalty](start), relative=1e-4)
        else:
            np.testing.assert_array_equal(difference, 0)
    assert with_penalty.weights[0]["3.weight"].min() == 1  # a norm's scale, which a penalty would have changed


def test_two_penalties_on_one_weight_name_both(train):
    with pytest.raises(oarlock.UserError, match=r"regularizer\.l1 and regularizer\.l2 both decay '0\.weight'"):
        train(*LINEAR, "optimizer=sgd", "regularizer=[l1,l2]")


def test_a_coefficient_of_zero_claims_nothing(train):
    run = train(
        *LINEAR, "optimizer=sgd", "optimizer.learning_rate=0.3", "regularizer=[l1,l2]", "regularizer.l1.coefficient=0",
        "regularizer.l2.coefficient=0.2",
    )  # fmt: skip
    assert_follows(run, sgd, 0.3, penalty=PENALTIES["l2"])


@pytest.mark.parametrize("option", ["l1.coefficient", "l2.coefficient", "elastic_net.l1", "elastic_net.l2"])
def test_a_negative_coefficient_is_refused(train, option):
    penalty, _, field = option.partition(".")
    with pytest.raises(oarlock.UserError, match=rf"regularizer\.{penalty}\.{field}=-1\.0: expected 0 <= {field}"):
        train(*LINEAR, f"regularizer=[{penalty}]", f"regularizer.{option}=-1")


@pytest.mark.parametrize("part", ["l1", "l2"])
def test_an_elastic_net_with_one_coefficient_is_that_penalty(train, part):
    other = {"l1": "l2", "l2": "l1"}[part]
    run = train(
        *LINEAR, "optimizer=sgd", "optimizer.learning_rate=0.3", "regularizer=[elastic_net]",
        f"regularizer.elastic_net.{part}=0.2", f"regularizer.elastic_net.{other}=0",
    )  # fmt: skip
    assert_follows(run, sgd, 0.3, penalty=PENALTIES[part])
