"""The mean against NumPy, what is evaluated with it, and what oarlock expects of a callback, exact resume included."""

from __future__ import annotations

import json

import numpy as np
import pytest

import oarlock
from oarlock.testing import conformance

test_swa = conformance("callback/swa", "callback.swa.start_epoch=1")

OPTIONS = ["model.widths=[8]", "optimizer=momentum", "trainer.epochs=4"]


@pytest.fixture
def train(tmp_path):
    """Train with these callbacks; returns the result and the lines of metrics.jsonl."""

    def run(name, callbacks, *overrides):
        folder = tmp_path / name
        result = oarlock.train([*OPTIONS, f"callback=[{callbacks}]", *overrides, f"hydra.run.dir={folder}"])
        return result, [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]

    return run


def weights(result):
    return {path: tensor.numpy() for path, tensor in result.model.state_dict().items()}


def test_the_mean_of_the_epochs_is_evaluated_and_training_does_not_notice(train):
    # The model that a run leaves has its best weights: with one evaluation, those of its last epoch.
    alone = [train(f"until-{epochs}", "", f"trainer.epochs={epochs}", f"trainer.evaluate_every={epochs} epochs")
             for epochs in (2, 3, 4)]  # fmt: skip
    trained = [weights(result) for result, _ in alone]
    (averaged, rows), (_, plain) = train("averaged", "swa", "callback.swa.start_epoch=2"), train("plain", "")
    assert [row["train/loss"] for row in rows] == [row["train/loss"] for row in plain]
    assert [row["valid/loss"] for row in rows[:2]] == [row["valid/loss"] for row in plain[:2]]
    assert all(row["valid/loss"] != other["valid/loss"] for row, other in zip(rows[2:], plain[2:], strict=True))

    count = averaged.best["epoch"] - 1  # of the weights in the mean that was best
    assert count > 1
    for path, found in weights(averaged).items():
        if path.endswith(("_mean", "_variance")):  # BatchNorm's statistics are those of the trained weights
            np.testing.assert_array_equal(found, trained[count - 1][path])
        else:
            mean = np.mean([one[path].astype("float64") for one in trained[:count]], axis=0)
            np.testing.assert_allclose(found, mean, rtol=0, atol=1e-6)


def test_beside_ema_it_is_refused(train):
    with pytest.raises(oarlock.UserError, match="choose one of them"):
        train("both", "swa,ema")


def test_it_must_start_with_an_epoch(train):
    with pytest.raises(oarlock.UserError, match=r"callback\.swa\.start_epoch=0: expected at least 1"):
        train("zero", "swa", "callback.swa.start_epoch=0")
