"""Compiled steps beside eager ones: the same weights, the same state of the optimizer, the same record."""

from __future__ import annotations

import itertools
import json
import shutil

import numpy as np
import pytest

import oarlock
from oarlock import checkpoint
from tests.plugins.data.test_mnist import small, write

STEPS = 50
IMAGES = ["data=mnist", "data.root=IDX", "trainer.batch_size=8"]
MODELS = {
    "bn_mlp": ["model.widths=[16]"],
    "bn_mlp with dropout": ["model.widths=[16,8]", "model.dropout=0.3"],
    "linear": ["model=linear"],
    "lenet": ["model=lenet", *IMAGES],
    "resnet": ["model=resnet", "model.blocks=1", "model.width=4", *IMAGES],
}
# Those that decay by themselves come last, so that the others meet every model and schedule with every penalty.
OPTIMIZERS = ["sgd", "momentum", "adam", "rmsprop", "adagrad", "adamw", "lamb"]
REGULARIZERS = {
    "none": [],
    "l1": ["regularizer=[l1]"],
    "l2": ["regularizer=[l2]"],
    "elastic net": ["regularizer=[elastic_net]"],
    "clip": ["regularizer=[clip_global_norm]", "regularizer.clip_global_norm.max_norm=0.5"],
    "clip from below": ["regularizer=[clip_global_norm]", "regularizer.clip_global_norm.min_norm=0.9"],
    "clip each": ["regularizer=[clip_norm]", "regularizer.clip_norm.max_norm=0.2"],
    "clip each from below": ["regularizer=[clip_norm]", "regularizer.clip_norm.min_norm=0.1"],
    "clip values": ["regularizer=[clip_value]", "regularizer.clip_value.max_value=0.01"],
    "l2 and clip": ["regularizer=[l2,clip_global_norm]", "regularizer.clip_global_norm.max_norm=0.5"],
}
SCHEDULES = ["constant", "cosine", "step", "one_cycle", "reduce_on_plateau"]


def decays_twice(optimizer, regularizer):
    """Whether both would decay the weights, which is refused."""
    return optimizer in ("adamw", "lamb") and regularizer.startswith(("l1", "l2", "elastic"))


ALL = [one for one in itertools.product(MODELS, OPTIMIZERS, REGULARIZERS, SCHEDULES)
       if not decays_twice(one[1], one[2])]  # fmt: skip
# Every two values of two groups together, in as few runs as optimizers and regularizers need; `make soak` runs them all.
PAIRS = [(list(MODELS)[(one + other) % len(MODELS)], optimizer, regularizer, SCHEDULES[(one + 2 * other) % len(SCHEDULES)])
         for (one, optimizer), (other, regularizer) in itertools.product(enumerate(OPTIMIZERS), enumerate(REGULARIZERS))
         if not decays_twice(optimizer, regularizer)]  # fmt: skip
SAMPLE = [one for one in PAIRS if one[0] not in ("lenet", "resnet")][::4]


def trained(folder, overrides, engine):
    """The last checkpoint's arrays and the record's rows of a run."""
    result = oarlock.train([*overrides, f"trainer.engine={engine}", f"hydra.run.dir={folder / engine}"])
    record = json.loads((result.folder / "run.json").read_text())
    files = checkpoint.newest_intact(result.folder / "checkpoints")[1]
    arrays = {(file, name): array for file in ("model.safetensors", "optimizer.safetensors", "components.safetensors")
              for name, array in checkpoint.unpack_arrays(files[file]).items()}  # fmt: skip
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["time"]
    return record, arrays, rows


def compare(folder, overrides):
    """Train both ways; everything that they leave is the same to the bit."""
    eager, expected, expected_rows = trained(folder, overrides, "eager")
    compiled, found, rows = trained(folder, overrides, "compiled")
    assert (eager["engine"], compiled["engine"]) == ("eager", "compiled")
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=str(name))
    assert rows == expected_rows


@pytest.fixture
def idx(tmp_path):
    write(tmp_path / "idx", *small(rows=120, height=12, width=12))
    return tmp_path / "idx"


def test_the_pairs_are_all_pairs():
    for first, second in itertools.combinations(range(4), 2):
        assert {(one[first], one[second]) for one in PAIRS} == {(one[first], one[second]) for one in ALL}


def agrees(folder, idx, model, optimizer, regularizer, schedule):
    compare(folder, [
        *(word.replace("IDX", str(idx)) for word in MODELS[model]), f"optimizer={optimizer}", f"schedule={schedule}",
        *REGULARIZERS[regularizer], "callback=[]", f"trainer.max_steps={STEPS}", "trainer.epochs=50",
        "trainer.evaluate_every=20 steps", "trainer.drop_last=false",
    ])  # fmt: skip


@pytest.mark.parametrize(
    "pair", [pytest.param(one, marks=() if one in SAMPLE else pytest.mark.long) for one in PAIRS], ids=" ".join
)
def test_built_ins_agree(tmp_path, idx, pair):
    agrees(tmp_path, idx, *pair)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_all_of_them_agree(tmp_path, idx, optimizer):
    for number, one in enumerate(one for one in ALL if one[1] == optimizer):
        agrees(tmp_path / str(number), idx, *one)
        shutil.rmtree(tmp_path / str(number))


@pytest.mark.parametrize(
    "overrides",
    [
        ["callback=[ema]", "callback.ema.decay=0.9"],
        ["callback=[ema,early_stopping]", "callback.early_stopping.patience=1"],
        ["callback=[]", "task.label_smoothing=0.1"],
        [
            "callback=[]",
            "trainer.check_finite_every=7",
            "trainer.evaluate_every=11 steps",
            "trainer.evaluation_batch_size=50",
        ],
    ],
    ids=["ema", "ema-stopped", "smoothed", "looked-at-often"],
)
def test_what_looks_at_the_run_between_its_steps_sees_the_same(tmp_path, overrides):
    compare(
        tmp_path, ["model.widths=[16]", "optimizer=momentum", "trainer.epochs=3", "trainer.drop_last=false", *overrides]
    )


def test_accumulated_gradients_agree(tmp_path):
    compare(tmp_path, ["model.widths=[16]", "optimizer=momentum", "callback=[]", "trainer.accumulate_steps=3",
                       "trainer.epochs=3", "trainer.drop_last=false"])  # fmt: skip
