"""BatchNorm with the statistics that it has: they stay, and rows are normalised by them while training."""

import numpy as np
import paddle
import pytest

import oarlock
from oarlock_plugins.callbacks.frozen_batch_norm import FrozenBatchNorm


@pytest.mark.parametrize("kind", ["BatchNorm1D", "BatchNorm"])
def test_rows_are_normalised_by_the_running_statistics(kind):
    layer = getattr(paddle.nn, kind)(2)
    layer._mean.set_value(np.array([1, 2], "float32"))
    layer._variance.set_value(np.array([4, 9], "float32"))
    model = paddle.nn.Sequential(layer)
    FrozenBatchNorm().prepare_parameters(model)
    model.train()
    rows = np.array([[1, 2], [5, 8], [-3, 2]], "float32")
    found = model(paddle.to_tensor(rows)).numpy()
    np.testing.assert_allclose(found, (rows - [1, 2]) / np.sqrt(np.array([4, 9]) + 1e-5), rtol=1e-5)
    np.testing.assert_array_equal(layer._mean.numpy(), [1, 2])
    np.testing.assert_array_equal(layer._variance.numpy(), [4, 9])


def test_a_batch_of_one_row_will_do(train):
    job = ("trainer.max_steps=3", "model.widths=[8]", "trainer.batch_size=1")
    with pytest.raises(oarlock.UserError, match="a batch of one row cannot be normalised by BatchNorm"):
        train(*job)
    assert train(*job, callbacks="trace,frozen_batch_norm").record["step"] == 3


def test_of_images_there_are_many_pixels_in_one_row(train, mnist):
    job = ("data=mnist", f"data.root={mnist}", "model=lenet", "trainer.batch_size=1", "trainer.max_steps=2")
    assert train(*job).record["step"] == 2


def test_a_run_leaves_the_statistics_and_moves_scale_and_shift(train):
    run = train("trainer.max_steps=3", "model.widths=[8]", callbacks="trace,frozen_batch_norm")
    (scale,) = [name for name in run.weights[0] if name.endswith("3.weight")]
    assert (run.weights[3][scale] != run.weights[0][scale]).any()
    state = run.result.model.state_dict()
    np.testing.assert_array_equal(state["3._mean"].numpy(), 0)
    np.testing.assert_array_equal(state["3._variance"].numpy(), 1)
