"""The moving average against NumPy, and what it is used for."""

import numpy as np
import pytest

import oarlock
from tests.plugins.reference import LINEAR, assert_close
from tests.plugins.toys import toy_rows

OPTIONS = (*LINEAR, "optimizer=momentum", "optimizer.learning_rate=0.1", "trainer.evaluate_every=1 epoch")
EMA = (*OPTIONS, "callback.ema.decay=0.3")


def average(weights, path, steps, decay=0.3):
    """s_0 = w_0; s_t = d s_(t-1) + (1 - d) w_t with d = min(decay, (1 + t) / (10 + t))."""
    value = weights[0][path].astype("float64")
    for step in range(1, steps + 1):
        kept = min(decay, (1 + step) / (10 + step))
        value = kept * value + (1 - kept) * weights[step][path]
    return value


def root_mean_squared_error(weights, paths=("0.weight", "0.bias")):
    _, valid = toy_rows()
    error = valid.inputs.astype("float64") @ weights[paths[0]] + weights[paths[1]] - valid.targets
    return np.sqrt(np.square(error).mean())


def test_the_average_is_evaluated_and_training_goes_on_from_the_raw_weights(train):
    averaged, plain = train(*EMA, callbacks="trace,ema"), train(*OPTIONS)
    for step in range(7):
        for path, weight in plain.weights[step].items():
            np.testing.assert_array_equal(averaged.weights[step][path], weight)
    for step in range(1, 7):
        expected = {path: average(plain.weights, path, step) for path in plain.weights[0]}
        for path, value in expected.items():
            assert_close(averaged.evaluated[step][path], value, plain.weights[0][path])
        assert averaged.rows[step - 1]["valid/rmse"] == pytest.approx(root_mean_squared_error(expected), rel=1e-5)
        assert averaged.rows[step - 1]["valid/rmse"] != pytest.approx(plain.rows[step - 1]["valid/rmse"], rel=1e-3)


def test_the_average_is_kept_as_best(train):
    run = train(*EMA, callbacks="trace,ema")
    best = run.result.best
    assert best["value"] == min(row["valid/rmse"] for row in run.rows)
    for path, weight in run.result.model.named_parameters():
        np.testing.assert_array_equal(weight.numpy(), run.evaluated[best["step"]][path])


def test_a_short_run_is_not_measured_by_its_initial_weights(tmp_path):
    short = [f"hydra.run.dir={tmp_path}/run", "trainer.epochs=3", "optimizer=sgd", "schedule=cosine", "callback=[ema]"]
    assert oarlock.train(short).metrics["valid/accuracy"] > 0.9


def test_the_statistics_of_batch_norm_are_taken_as_they_are(train):
    options = (*EMA, "model.widths=[4]", "trainer.epochs=2")
    run = train(*options, callbacks="trace,ema")
    for path in ("2._mean", "2._variance"):
        np.testing.assert_array_equal(run.evaluated[2][path], run.weights[2][path])
    assert_close(run.evaluated[2]["3.weight"], average(run.weights, "3.weight", 2), run.weights[0]["3.weight"])


def test_what_is_frozen_at_first_is_averaged_too(train):
    """Whether the callback that freezes it comes before or behind, and so in a run that is resumed after it."""
    for order in ("trace,thaw,ema", "trace,ema,thaw"):
        run = train(*EMA, callbacks=order)
        assert list(run.gradients[5]) == ["0.weight", "0.bias"]
        for path in run.weights[0]:
            assert_close(run.evaluated[6][path], average(run.weights, path, 6), run.weights[0][path])


def test_its_place_beside_early_stopping_does_not_matter(train):
    stop = ("callback.early_stopping.patience=2", "callback.early_stopping.min_delta=0.2", "trainer.epochs=40")
    first, last = (
        train(*EMA, *stop, callbacks=order) for order in ("trace,ema,early_stopping", "trace,early_stopping,ema")
    )
    assert first.result.status == last.result.status == "early_stopped"
    assert first.record["reason"] == last.record["reason"]
    assert first.record["step"] == last.record["step"] < 40
    for one, other in zip(first.rows, last.rows, strict=True):
        assert {**one, "time": 0} == {**other, "time": 0}
    for (path, one), (_, other) in zip(
        first.result.model.named_parameters(), last.result.model.named_parameters(), strict=True
    ):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=path)


@pytest.mark.parametrize("decay", ["0", "1", "nan"])
def test_a_decay_that_is_none_is_refused(train, decay):
    with pytest.raises(oarlock.UserError, match=r"callback\.ema\.decay=.*: expected 0 < decay < 1"):
        train(*OPTIONS, f"callback.ema.decay={decay}", callbacks="ema")
