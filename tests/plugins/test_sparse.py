"""Embeddings with gradients of the rows that were looked up: what takes them trains, what does not says so first."""

from __future__ import annotations

import json

import pytest

WORDS = """
from oarlock import Arrays, Data, component, hookimpl

@component
class Words:
    \"\"\"Sentences of nine words in two classes.\"\"\"

    @hookimpl
    def build_data(self):
        import numpy as np

        rows = np.random.default_rng(0).integers(0, 50, size=(60, 9))
        return Data(*(Arrays(part, (part.mean(1) > 25).astype("int64")) for part in np.split(rows, 3)), class_names=["a", "b"])

@component
class Bag:
    \"\"\"The mean of a sentence's words.\"\"\"

    @hookimpl
    def build_model(self, spec):
        from paddle import nn

        class Bag(nn.Layer):
            def __init__(self):
                super().__init__()
                self.words, self.out = nn.Embedding(50, 8, sparse=True), nn.Linear(8, spec.num_outputs)

            def forward(self, rows):
                return self.out(self.words(rows).mean(1))

        return Bag()

@hookimpl
def register_components(register):
    register("data/words", Words)
    register("model/bag", Bag)
"""
JOB = ["train", "data=words", "model=bag", "trainer.epochs=1", "trainer.batch_size=5", "hydra.run.dir=run"]


@pytest.mark.parametrize(
    ("words", "who"),
    [
        (["optimizer=adamw"], "optimizer=adamw"),
        (["regularizer=[clip_value]"], "regularizer=clip_value"),
        (["regularizer=[clip_norm]", "regularizer.clip_norm.min_norm=0.1"], "regularizer=clip_norm with min_norm"),
        (["regularizer=[clip_global_norm]", "regularizer.clip_global_norm.min_norm=0.1"],
         "regularizer=clip_global_norm with min_norm"),
    ],
)  # fmt: skip
def test_what_does_not_take_them_says_so_before_the_first_step(oarlock, plugin, tmp_path, words, who):
    done = oarlock(*JOB, *words, env=plugin(WORDS))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {who} does not take the gradients of Embedding(sparse=True), as the model's layer words is.\n"
        "Make it with sparse=False, or choose another.\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["optimizer=momentum"], ["optimizer=adam", "regularizer=[clip_norm]"],
                                   ["optimizer=sgd", "regularizer=[clip_global_norm]"]], ids=" ".join)  # fmt: skip
def test_what_takes_them_trains(oarlock, plugin, tmp_path, words):
    done = oarlock(*JOB, *words, env=plugin(WORDS))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "completed"
