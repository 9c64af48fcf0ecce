"""Gradients that are accumulated over micro-batches are those of the whole batch."""

import pytest

from tests.plugins.reference import global_norm

MLP = ("data=toy", "model.widths=[]")
CONVOLUTIONS = ("data=toy", "data.shape=[1,12,12]", "model=lenet", "model.batch_norm=false")


def distance(found, expected):
    """The relative difference of all tensors together."""
    difference = {path: found[path].astype("float64") - expected[path] for path in expected}
    return global_norm(difference) / global_norm(expected)


@pytest.mark.parametrize(
    ("model", "rows", "micro"),
    [(MLP, 16, 4), (MLP, 14, 4), (MLP, 13, 4), (CONVOLUTIONS, 14, 4)],
    ids=["full", "ragged", "one-row", "lenet-ragged"],
)
def test_four_micro_batches_equal_the_whole(train, model, rows, micro):
    shared = (*model, "task=regression", "optimizer=momentum", f"data.rows={rows}", "trainer.max_steps=2",
              "trainer.drop_last=false")  # fmt: skip
    whole = train(*shared, f"trainer.batch_size={rows}")
    parts = train(*shared, f"trainer.batch_size={micro}", "trainer.accumulate_steps=4")
    for step in (0, 1):
        assert distance(parts.gradients[step], whole.gradients[step]) < 1e-6
        assert distance(parts.weights[step + 1], whole.weights[step + 1]) < 1e-6


def test_a_step_at_the_end_with_fewer_micro_batches_is_averaged_too(train):
    """22 rows in fours, four a step: the second step has 4 and 2 rows, each of equal weight."""
    shared = (
        *MLP,
        "task=regression",
        "optimizer=sgd",
        "data.rows=22",
        "trainer.drop_last=false",
        "trainer.max_steps=2",
    )
    whole = train(*shared, "trainer.batch_size=16")
    parts = train(*shared, "trainer.batch_size=4", "trainer.accumulate_steps=4")
    assert distance(parts.gradients[1], whole.gradients[1]) < 1e-6


def test_a_schedule_counts_optimizer_steps(train):
    run = train(
        *MLP, "task=regression", "optimizer=sgd", "optimizer.learning_rate=0.4", "schedule.warmup_steps=4",
        "trainer.batch_size=2", "trainer.accumulate_steps=3", "trainer.epochs=3",
    )  # fmt: skip
    assert run.rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])
