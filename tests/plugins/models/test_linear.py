"""The linear model against float64."""

import numpy as np
import pytest

import oarlock
from tests.plugins.reference import assert_follows, sgd

LINEAR = ("data=toy", "task=regression", "model=linear", "optimizer=sgd", "optimizer.learning_rate=0.3",
          "trainer.batch_size=12", "trainer.epochs=6")  # fmt: skip


def test_it_is_one_layer(train):
    run = train(*(word.replace("linear", "bn_mlp") for word in LINEAR), "model.widths=[]")
    linear = train(*LINEAR)
    assert_follows(run, sgd, 0.3)
    for step, weights in run.weights.items():
        for path, array in weights.items():
            np.testing.assert_array_equal(linear.weights[step][path], array)


def test_without_a_bias_it_goes_through_the_origin(train):
    model = train(*LINEAR, "model.bias=false").result.model
    assert [path for path, _ in model.named_parameters()] == ["0.weight"]


def test_images_are_flattened_and_whole_numbers_refused(train, tmp_path):
    assert train("model=linear", "trainer.max_steps=2").record["status"] == "completed"
    rows = np.arange(120).reshape(60, 2)
    np.savez(tmp_path / "rows.npz", inputs=rows, targets=np.arange(60) % 2)
    with pytest.raises(oarlock.UserError, match=r"model=linear needs floating-point inputs"):
        train("model=linear", "data=arrays", f"data.path={tmp_path / 'rows.npz'}")
