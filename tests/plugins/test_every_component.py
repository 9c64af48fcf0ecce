"""Every built-in component composes from the command line's strings and trains two steps; all of it is documented."""

import dataclasses

import numpy as np
import pytest

from oarlock.component import field_docs, summary
from oarlock.plugins import load_host
from oarlock_plugins.data.digits import Digits
from oarlock_plugins.service.updates.store import keep
from tests.plugins.data.test_mnist import small, write

# A sweep is not part of a run: tests/plugins/sweeps is about it.
BUILT_IN = {path: entry for path, entry in load_host().registry.entries.items()
            if entry.plugin.distribution == "oarlock" and entry.group != "sweep"}  # fmt: skip

# With every option set to another value than its default.
OVERRIDES = {
    "callback/early_stopping": (
        "callback.early_stopping.monitor=valid/loss", "callback.early_stopping.form=balance",
        "callback.early_stopping.patience=2", "callback.early_stopping.min_delta=0.1",
        "callback.early_stopping.min_epochs=1", "callback.early_stopping.balance_start=2",
        "callback.early_stopping.balance_limit=9",
    ),
    "callback/ema": ("callback.ema.decay=0.5",),
    "callback/frozen_batch_norm": (),
    "callback/mlflow": (
        "callback.mlflow.tracking_uri=sqlite:///ROOT/mlflow.db", "callback.mlflow.experiment=tried",
        "callback.mlflow.run_name=mine",
    ),
    "callback/progress": ("callback.progress.bar=false", "callback.progress.refresh_seconds=1"),
    "callback/tensorboard": ("callback.tensorboard.directory=ROOT/board",),
    "callback/visualdl": ("callback.visualdl.directory=ROOT/board",),
    "data/arrays": (
        "data=arrays", "data.path=ROOT/rows.npz", "data.inputs=x", "data.targets=y", "data.target_kind=classes",
        "data.several_inputs=[]",
        "data.valid_path=ROOT/valid.npz", "data.test_path=ROOT/valid.npz", "data.valid_fraction=0.3",
        "data.test_fraction=0.1", "data.split_seed=3", "data.class_names=[no,yes,maybe]", "data.scale=2",
    ),
    "data/csv": (
        "data=csv", "data.path=ROOT/rows.csv", "data.target=kind", "data.features=[b,a]", "data.target_kind=classes",
        "data.delimiter=semicolon", "data.valid_path=ROOT/rows.csv", "data.test_path=ROOT/rows.csv",
        "data.valid_fraction=0.3", "data.test_fraction=0.1", "data.split_seed=3", "data.class_names=[1,0]",
        "data.standardise=false",
    ),
    "data/digits": ("data=digits", "data.valid_fraction=0.3", "data.test_fraction=0.1", "data.split_seed=3"),
    "data/mnist": ("data=mnist", "data.root=ROOT", "data.valid_fraction=0.25", "data.split_seed=3"),
    "data/update": (
        "data=update", "+data@data.base=digits", "data.rows=KEPT", "data.earlier=[]", "data.replay=0.1", "data.replay_seed=4", "data.batch_size=20",
    ),
    "engine/static": ("engine=static",),
    "model/bn_mlp": ("model=bn_mlp", "model.widths=[9,8]", "model.epsilon=1e-3", "model.momentum=0.5",
                     "model.dropout=0.1"),
    "model/lenet": ("data=mnist", "data.root=ROOT", "model=lenet", "model.batch_norm=false", "model.dropout=0.1"),
    "model/linear": ("model=linear", "model.bias=false"),
    "model/resnet": ("data=mnist", "data.root=ROOT", "model=resnet", "model.blocks=1", "model.width=4"),
    "optimizer/adagrad": ("optimizer=adagrad", "optimizer.learning_rate=0.02", "optimizer.epsilon=1e-5",
                          "optimizer.initial_accumulator_value=0.1"),
    "optimizer/adam": ("optimizer=adam", "optimizer.learning_rate=0.01", "optimizer.beta1=0.8",
                       "optimizer.beta2=0.9", "optimizer.epsilon=1e-6"),
    "optimizer/adamw": ("optimizer=adamw", "optimizer.learning_rate=0.01", "optimizer.beta1=0.8",
                        "optimizer.beta2=0.9", "optimizer.epsilon=1e-6", "optimizer.weight_decay=0.1"),
    "optimizer/lamb": ("optimizer=lamb", "optimizer.learning_rate=0.01", "optimizer.beta1=0.8",
                       "optimizer.beta2=0.9", "optimizer.epsilon=1e-5", "optimizer.weight_decay=0.1"),
    "optimizer/momentum": ("optimizer=momentum", "optimizer.learning_rate=0.02", "optimizer.momentum=0.5",
                           "optimizer.nesterov=true"),
    "optimizer/rmsprop": ("optimizer=rmsprop", "optimizer.learning_rate=0.01", "optimizer.rho=0.8",
                          "optimizer.momentum=0.5", "optimizer.centered=true", "optimizer.epsilon=1e-5"),
    "optimizer/sgd": ("optimizer=sgd", "optimizer.learning_rate=0.02"),
    "regularizer/clip_global_norm": ("regularizer=[clip_global_norm]", "regularizer.clip_global_norm.max_norm=2",
                                     "regularizer.clip_global_norm.min_norm=0.5"),
    "regularizer/clip_norm": ("regularizer=[clip_norm]", "regularizer.clip_norm.max_norm=2",
                              "regularizer.clip_norm.min_norm=0.5"),
    "regularizer/clip_value": ("regularizer=[clip_value]", "regularizer.clip_value.max_value=0.5"),
    "regularizer/elastic_net": ("regularizer=[elastic_net]", "regularizer.elastic_net.l1=0.01",
                                "regularizer.elastic_net.l2=0.02"),
    "regularizer/l1": ("regularizer=[l1]", "regularizer.l1.coefficient=0.01"),
    "regularizer/l2": ("regularizer=[l2]", "regularizer.l2.coefficient=0.01"),
    "schedule/constant": ("schedule=constant", "schedule.warmup_steps=1"),
    "schedule/cosine": ("schedule=cosine", "schedule.warmup_steps=1", "schedule.final_factor=0.1"),
    "schedule/one_cycle": ("schedule=one_cycle", "schedule.warmup_fraction=0.4", "schedule.start_factor=0.5",
                           "schedule.final_factor=0.01"),
    "schedule/reduce_on_plateau": (
        "schedule=reduce_on_plateau", "schedule.monitor=valid/loss", "schedule.factor=0.5", "schedule.patience=1",
        "schedule.min_delta=0.1", "schedule.cooldown=1", "schedule.min_factor=0.01", "schedule.warmup_steps=1",
    ),
    "schedule/step": ("schedule=step", "schedule.milestones=[0.6]", "schedule.gamma=0.5", "schedule.warmup_steps=1"),
    "task/classification": ("task=classification", "task.label_smoothing=0.1"),
    "task/regression": ("data=toy", "model.widths=[]", "task=regression"),
}  # fmt: skip


def write_rows(folder):
    """Small files for the data that comes from files."""
    rng = np.random.default_rng(0)
    for name in ("rows", "valid"):
        inputs = rng.normal(size=(600, 2))
        np.savez(folder / f"{name}.npz", x=inputs, y=(inputs.sum(axis=1) > 0).astype(int))
    lines = [f"{a};{b};{int(a > b)}\n" for a, b in rng.normal(size=(600, 2))]
    (folder / "rows.csv").write_text("a;b;kind\n" + "".join(lines))


def test_all_are_tried():
    assert set(OVERRIDES) == set(BUILT_IN)


@pytest.mark.filterwarnings("ignore")  # of what trackers import
@pytest.mark.parametrize("path", sorted(BUILT_IN))
def test_composes_and_trains_two_steps(train, tmp_path, path):
    write(tmp_path / "idx", *small(rows=20, height=12, width=12))
    write_rows(tmp_path / "idx")
    group, _, name = path.partition("/")
    many = group in ("callback", "regularizer")
    kept = keep(tmp_path, Digits().build_data().train.take(slice(0, 60)))
    overrides = [
        override.replace("ROOT", str(tmp_path / "idx")).replace("KEPT", str(kept)) for override in OVERRIDES[path]
    ]
    callbacks = f"trace,{name}" if group == "callback" else "trace"
    run = train(*overrides, "trainer.max_steps=2", "trainer.batch_size=5", callbacks=callbacks)

    place = f"{group}.{name}" if many else group
    assert run.record["components"][place]["component"] == path
    assert run.record["step"] == 2
    for before, after in ((0, 1), (1, 2)):
        assert any((run.weights[after][key] != run.weights[before][key]).any() for key in run.weights[0])
    assert all(np.isfinite(value) for value in run.result.metrics.values())
    config = (run.result.folder / "config.yaml").read_text()
    for field in dataclasses.fields(BUILT_IN[path].cls):
        assert any(f".{field.name}=" in override for override in overrides), f"{path}.{field.name} is not tried"
        assert f"{field.name}:" in config


@pytest.mark.parametrize("path", sorted(BUILT_IN))
def test_says_what_it_does_and_what_every_option_is(path):
    cls = BUILT_IN[path].cls
    assert len(summary(cls)) > 20
    documented = field_docs(cls)
    assert list(documented) == [field.name for field in dataclasses.fields(cls)]
    assert all(len(text) > 5 for text in documented.values())
