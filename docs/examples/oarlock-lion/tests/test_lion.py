"""Lion against NumPy in float64, and what oarlock expects of an optimizer, exact resume included."""

from __future__ import annotations

import numpy as np
import pytest

import oarlock
from oarlock.testing import conformance

test_lion = conformance("optimizer/lion")


@pytest.mark.parametrize("grouped", [False, True], ids=["plain", "groups"])
def test_the_arithmetic_agrees_with_float64(grouped):
    import paddle
    from oarlock_lion.optimizer import LionOptimizer

    rng = np.random.default_rng(0)
    parameters = {"matrix": paddle.create_parameter([5, 3], "float32"), "bias": paddle.create_parameter([3], "float32")}
    factors = {"matrix": 0.5, "bias": 2.0} if grouped else {"matrix": 1.0, "bias": 1.0}
    groups = [{"params": [parameters[name]], "learning_rate": factors[name]} for name in parameters]
    schedule = paddle.optimizer.lr.ExponentialDecay(0.01, 0.9)
    optimizer = LionOptimizer(schedule, 0.9, 0.95, 0.5, groups if grouped else list(parameters.values()))

    expected = {name: parameter.numpy().astype("float64") for name, parameter in parameters.items()}
    momentum = dict.fromkeys(parameters, 0.0)
    for step in range(20):
        for name, parameter in parameters.items():
            gradient = rng.normal(size=parameter.shape).astype("float32")
            (parameter * paddle.to_tensor(gradient)).sum().backward()
            direction = np.sign(0.9 * momentum[name] + 0.1 * gradient)
            decay = 0.5 * expected[name] if name == "matrix" else 0.0
            expected[name] = expected[name] - 0.01 * 0.9**step * factors[name] * (direction + decay)
            momentum[name] = 0.95 * momentum[name] + 0.05 * gradient
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()
    for name, parameter in parameters.items():
        np.testing.assert_allclose(parameter.numpy(), expected[name], rtol=0, atol=1e-6)


def test_it_learns_the_digits(tmp_path):
    options = ["optimizer.learning_rate=0.0003", "schedule=cosine", "trainer.epochs=5"]
    result = oarlock.train(["optimizer=lion", *options, f"hydra.run.dir={tmp_path / 'run'}"])
    assert result.metrics["test/accuracy"] > 0.95


@pytest.mark.parametrize("option", ["beta1=1", "beta2=-0.1", "weight_decay=-1"])
def test_a_value_out_of_range_is_refused(option):
    with pytest.raises(oarlock.UserError, match=f"optimizer.{option.partition('=')[0]}=.*: expected"):
        oarlock.train(["optimizer=lion", f"optimizer.{option}"])
