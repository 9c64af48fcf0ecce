"""Cross-entropy and accuracy against NumPy."""

import numpy as np
import paddle
import pytest

import oarlock
from oarlock import Batch
from oarlock_plugins.data.digits import Digits
from oarlock_plugins.tasks.classification import Accuracy, Classification


def cross_entropy(logits, targets, smoothing=0.0):
    logits = logits.astype("float64")
    shifted = logits - logits.max(axis=1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    wanted = np.eye(logits.shape[1])[targets] * (1 - smoothing) + smoothing / logits.shape[1]
    return -(wanted * logarithms).sum(axis=1).mean()


def rows(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=3, size=(count, 5)).astype("float32"), rng.integers(0, 5, size=count)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("column", [False, True], ids=["[rows]", "[rows, 1]"])
def test_the_loss_is_softmax_cross_entropy(smoothing, column):
    logits, targets = rows(40)
    batch = Batch(None, paddle.to_tensor(targets[:, None] if column else targets))
    loss = Classification(label_smoothing=smoothing).compute_loss(paddle.to_tensor(logits), batch)
    assert loss.item() == pytest.approx(cross_entropy(logits, targets, smoothing), rel=1e-6)


@pytest.mark.parametrize("column", [False, True], ids=["[rows]", "[rows, 1]"])
def test_accuracy_is_over_all_rows_of_batches_of_any_size(column):
    metric = Accuracy()
    right = 0
    for _ in range(2):  # a second time after a reset
        metric.reset()
        right = 0
        for seed, count in enumerate((7, 30, 1)):
            logits, targets = rows(count, seed)
            right += (logits.argmax(axis=1) == targets).sum()
            batch = Batch(paddle.to_tensor(logits), paddle.to_tensor(targets[:, None] if column else targets))
            metric.update(paddle.to_tensor(logits), batch)
    assert 0 < right < 38
    assert metric.accumulate() == right / 38


def test_accuracy_is_over_all_places_where_a_row_has_several():
    rng = np.random.default_rng(0)
    metric, right = Accuracy(), 0
    for count in (4, 3):
        logits, targets = rng.normal(size=(count, 6, 5)).astype("float32"), rng.integers(0, 5, size=(count, 6))
        right += (logits.argmax(axis=-1) == targets).sum()
        metric.update(paddle.to_tensor(logits), Batch(paddle.to_tensor(logits), paddle.to_tensor(targets)))
    assert metric.accumulate() == right / 42


def test_an_evaluation_is_the_mean_over_the_rows(train):
    """In batches of 100, whose last has 60 rows, and with the weights that the run returns."""
    run = train("trainer.max_steps=20", "trainer.evaluation_batch_size=100")
    data = Digits().build_data()
    for name in ("valid", "test"):
        part = getattr(data, name)
        logits = run.result.model(paddle.to_tensor(part.inputs.astype("float32") / 16)).numpy()
        assert len(part) % 100 > 0
        assert run.result.metrics[f"{name}/loss"] == pytest.approx(cross_entropy(logits, part.targets), rel=1e-5)
        assert run.result.metrics[f"{name}/accuracy"] == (logits.argmax(axis=1) == part.targets).mean()


def test_the_first_metric_is_accuracy_and_more_is_better(train):
    run = train("trainer.max_steps=1")
    assert (run.record["monitor"], run.record["direction"]) == ("valid/accuracy", "max")


def test_data_without_classes_is_refused(train):
    with pytest.raises(oarlock.UserError, match=r"task=classification needs data with class_names.*task=regression"):
        train("data=toy")


def test_data_of_one_class_is_refused(train, tmp_path):
    np.savez(tmp_path / "rows.npz", inputs=np.ones((60, 4)), targets=np.zeros(60, int))
    with pytest.raises(oarlock.UserError, match=r"needs two classes or more; the data has \['0'\]\."):
        train("data=arrays", f"data.path={tmp_path / 'rows.npz'}")


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_one_hot_targets_are_refused_with_the_way_out(train, tmp_path, engine):
    np.savez(tmp_path / "rows.npz", inputs=np.ones((60, 4)), targets=np.eye(3, dtype=int)[np.arange(60) % 3])
    with pytest.raises(oarlock.UserError, match=r"one class a row, .* targets \[rows, 3\]\.\nOf one-hot .* argmax"):
        train(
            "data=arrays",
            f"data.path={tmp_path / 'rows.npz'}",
            "trainer.batch_size=8",
            f"trainer.engine={engine}",
            callbacks="",
        )


def test_a_smoothing_of_one_is_refused(train):
    with pytest.raises(oarlock.UserError, match=r"task\.label_smoothing=1\.0: expected 0 <= label_smoothing < 1"):
        train("task.label_smoothing=1")
