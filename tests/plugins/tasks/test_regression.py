"""Squared and absolute errors against NumPy."""

import numpy as np
import paddle
import pytest

import oarlock
from oarlock import Batch, Data
from oarlock_plugins.tasks.regression import Regression
from tests.plugins.reference import LINEAR
from tests.plugins.toys import toy_rows


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 3), (6, 2, 2)])
def test_the_loss_is_the_mean_squared_error_whatever_the_shape(shape):
    rng = np.random.default_rng(0)
    targets, output = (rng.normal(size=shape).astype("float32") for _ in range(2))
    flat = paddle.to_tensor(output.reshape(6, -1))
    loss = Regression().compute_loss(flat, Batch(None, paddle.to_tensor(targets)))
    assert loss.item() == pytest.approx(np.square(output.astype("float64") - targets).mean(), rel=1e-6)


def test_metrics_are_over_all_values_of_batches_of_any_size():
    metrics = Regression().build_metrics(Data(None))
    rng = np.random.default_rng(0)
    errors = []
    for count in (5, 1, 12):
        targets, output = (rng.normal(size=(count, 2)).astype("float32") for _ in range(2))
        errors.append(output.astype("float64") - targets)
        for metric in metrics.values():
            metric.update(paddle.to_tensor(output), Batch(paddle.to_tensor(output), paddle.to_tensor(targets)))
    errors = np.concatenate(errors)
    assert {name: metric.direction for name, metric in metrics.items()} == {"rmse": "min", "mae": "min"}
    assert metrics["rmse"].accumulate() == pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-6)
    assert metrics["mae"].accumulate() == pytest.approx(np.abs(errors).mean(), rel=1e-6)


def test_an_evaluation_is_the_mean_over_the_rows(train):
    """In batches of 4, whose last has 2 rows."""
    run = train(*LINEAR, "optimizer=sgd", "trainer.evaluation_batch_size=4")
    _, valid = toy_rows()
    assert len(valid) == 6
    weights = run.weights[6]
    error = valid.inputs.astype("float64") @ weights["0.weight"] + weights["0.bias"] - valid.targets
    metrics = run.result.metrics
    assert metrics["valid/loss"] == pytest.approx(np.square(error).mean(), rel=1e-5)
    assert metrics["valid/rmse"] == pytest.approx(np.sqrt(np.square(error).mean()), rel=1e-5)
    assert metrics["valid/mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert (run.record["monitor"], run.record["direction"]) == ("valid/rmse", "min")


def test_data_with_classes_is_refused(train):
    with pytest.raises(oarlock.UserError, match=r"task=regression needs .*task=classification"):
        train("task=regression")
