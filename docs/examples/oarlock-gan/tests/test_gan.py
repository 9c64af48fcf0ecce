"""The distance against closed forms, that it falls, and what oarlock expects of a task, exact resume included."""

from __future__ import annotations

import json

import numpy as np
import pytest
from oarlock_gan.frechet import frechet_distance

import oarlock
from oarlock.testing import conformance

# `evaluate` does what metrics otherwise do; the only one has no more than a direction.
test_gan = conformance("task/gan", "model=gan", "+optimizer@task.discriminator=momentum", skip=["has_sound_metrics"])


def test_the_distance_of_normal_samples_is_the_one_in_closed_form():
    rows = np.random.default_rng(0).normal(size=(20000, 3))
    rows = (rows - rows.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(rows, rowvar=False))).T
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(rows, rows + np.array([1, 2, 0])) == pytest.approx(5)
    # Of covariances that commute: the squared difference of the deviations.
    assert frechet_distance(rows * [1, 2, 3], rows * [2, 2, 5]) == pytest.approx(1 + 0 + 4)


def test_the_distance_falls_while_it_trains(tmp_path):
    options = ["model=gan", "task=gan", "optimizer.beta1=0.5", "callback=[]", "trainer.epochs=20"]
    result = oarlock.train([*options, f"hydra.run.dir={tmp_path / 'run'}"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    distances = [row["valid/frechet_distance"] for row in rows]
    assert np.mean(distances[-5:]) < 0.6 * np.mean(distances[:5])
    assert result.best["value"] == min(distances)
    assert result.metrics["test/frechet_distance"] < 0.6 * distances[0]


def test_both_optimizers_are_checkpointed(tmp_path):
    from safetensors import safe_open

    options = ["model=gan", "task=gan", "+optimizer@task.discriminator=momentum", "callback=[]", "trainer.max_steps=2"]
    oarlock.train([*options, f"hydra.run.dir={tmp_path / 'run'}"])
    (state,) = (tmp_path / "run" / "checkpoints").glob("step-*/optimizer.safetensors")
    with safe_open(state, "numpy") as stored:
        names = list(stored.keys())
    assert any("generator" in name and "moment1" in name for name in names)
    assert any("discriminator" in name and "velocity" in name for name in names)


def test_another_model_is_refused():
    with pytest.raises(oarlock.UserError, match="task=gan needs model=gan"):
        oarlock.train(["task=gan"])
