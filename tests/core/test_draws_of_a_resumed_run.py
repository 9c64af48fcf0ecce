"""What samples, batches and the start of a run draw is the same in a run that was killed and resumed, in every engine."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest

import oarlock as package
from oarlock import Data, commands
from oarlock.feeding import build_feeder
from oarlock.schema import TrainerConfig
from tests.conftest import equal_ends

PARTS = '''
from __future__ import annotations
import os
import numpy as np
from oarlock import Arrays, Batch, Data, InputSpec, component, hookimpl

def rows():
    rng = np.random.default_rng(0)
    inputs = rng.random((320, 8)).astype("float32")
    return inputs, (inputs.sum(1) > 4).astype("int64")

@component
class Noisy:
    """Samples with noise of Paddle's."""

    @hookimpl
    def build_data(self):
        import paddle
        inputs, targets = rows()

        class Samples(paddle.io.Dataset):
            def __len__(self):
                return len(inputs)

            def __getitem__(self, index):
                return inputs[index] + paddle.rand([8]).numpy(), targets[index]

        held_out = Arrays(inputs[:64], targets[:64])
        return Data(Samples(), held_out, class_names=["a", "b"], inputs=InputSpec((8,), "float32"))

@component
class Mixed:
    """Batches with noise of Paddle's."""

    @hookimpl
    def build_data(self):
        import paddle
        inputs, targets = rows()

        def mixed(batch, rng):
            return Batch(batch.inputs + paddle.rand(batch.inputs.shape), batch.targets)

        held_out = Arrays(inputs[:64], targets[:64])
        return Data(Arrays(inputs, targets), held_out, class_names=["a", "b"], transform_batch=mixed)

@component
class Dies:
    """Ends the process after a step."""

    @hookimpl
    def on_step_end(self, run):
        if run.step == int(os.environ.get("DIE_AT", "0")):
            os._exit(9)

@component
class Begins(Dies):
    """Draws when a run begins and after each step, from NumPy's generator and Python's."""

    changes_run = True

    @hookimpl
    def on_run_start(self, run):
        import random
        self.start = np.random.random(3), random.random()

    @hookimpl
    def on_step_end(self, run):
        import paddle, random
        weight = run.model.parameters()[0]
        with paddle.no_grad():
            factor = 1 + 0.01 * np.random.random() + 0.01 * random.random()
            weight.set_value(weight * (factor + 0.01 * self.start[0].sum() + 0.01 * self.start[1]))
        super().on_step_end(run)

@hookimpl
def register_components(register):
    register("data/noisy", Noisy)
    register("data/mixed", Mixed)
    register("callback/dies", Dies)
    register("callback/begins", Begins)
'''
JOB = ["train", "model.widths=[8]", "model.dropout=0.3", "trainer.epochs=3", "trainer.checkpoint.every_steps=4"]


@pytest.mark.parametrize(
    "words",
    [
        ["data=noisy", "trainer.num_workers=2", "callback=[dies]"],
        ["data=noisy", "callback=[dies]"],
        ["data=mixed", "callback=[dies]"],
        ["data=mixed", "callback=[dies]", "trainer.engine=eager"],
        ["data=mixed", "callback=[dies]", "trainer.drop_last=false", "trainer.batch_size=48"],
        ["callback=[begins]"],
    ],
    ids=["loader", "samples", "batches", "batches, eager", "last batch", "at the start"],
)
def test_they_are_the_same_where_it_is_cut_in_an_epoch(oarlock, plugin, tmp_path, words):
    env = plugin(PARTS)
    assert oarlock(*JOB, *words, "hydra.run.dir=whole", env=env).returncode == 0
    assert oarlock(*JOB, *words, "hydra.run.dir=cut", env={**env, "DIE_AT": "15"}).returncode == 9
    done = oarlock("resume", "cut", env=env)
    assert done.returncode == 0, done.stderr
    assert equal_ends(tmp_path / "whole", tmp_path / "cut")


def test_a_run_that_was_made_longer_and_cut_again_at_once_draws_the_same(oarlock, plugin, tmp_path):
    """What the change is saved with, before the first step, is where the generators stood."""
    env, words = plugin(PARTS), ["callback=[begins]"]
    assert oarlock(*JOB, *words, "trainer.epochs=4", "hydra.run.dir=whole", env=env).returncode == 0
    assert oarlock(*JOB, *words, "hydra.run.dir=cut", env={**env, "DIE_AT": "15"}).returncode == 9
    assert oarlock("resume", "cut", "trainer.epochs=4", env={**env, "DIE_AT": "13"}).returncode == 9
    assert oarlock("resume", "cut", env=env).returncode == 0
    assert equal_ends(tmp_path / "whole", tmp_path / "cut")


def test_a_run_goes_on_with_another_number_of_loader_processes(oarlock, plugin, tmp_path):
    env, words = plugin(PARTS), ["data=noisy", "callback=[dies]"]
    assert oarlock(*JOB, *words, "hydra.run.dir=whole", env=env).returncode == 0
    assert oarlock(*JOB, *words, "hydra.run.dir=cut", env={**env, "DIE_AT": "15"}).returncode == 9
    assert oarlock("resume", "cut", "trainer.num_workers=2", env=env).returncode == 0
    assert equal_ends(tmp_path / "whole", tmp_path / "cut")


class Drawn(paddle.io.Dataset):
    """Each sample is a number of Paddle's generator."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return paddle.rand([1]).numpy(), np.int64(index)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_sample_draws_depends_on_seed_epoch_and_index_alone(workers):
    def drawn(seed, epoch, start=0, workers=workers):
        feeder = build_feeder(Data(Drawn()), TrainerConfig(batch_size=3, num_workers=workers), seed)
        return {int(index): float(number) for step in feeder.epoch(epoch, start) for batch in step
                for number, index in zip(batch.inputs.numpy().ravel(), batch.targets.numpy(), strict=True)}  # fmt: skip

    paddle.seed(5)
    expected = paddle.rand([1]).item()
    paddle.seed(5)
    first = drawn(0, 0)
    assert paddle.rand([1]).item() == expected  # who draws next draws as if there had been no sample
    assert len(set(first.values())) == 12
    assert drawn(0, 0, workers=2 - workers) == first
    assert drawn(0, 0, start=2) == dict(list(first.items())[6:])
    assert not set(first.values()) & {*drawn(0, 1).values(), *drawn(1, 0).values()}


STREAM = '''
from __future__ import annotations
import numpy as np
from oarlock import Data, InputSpec, component, hookimpl

class Points:
    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        rng = np.random.default_rng(0)
        for _ in range(self.rows):
            point = rng.normal(size=2).astype("float32")
            yield point, np.int64(point.sum() > 0)

@component
class Stream:
    """Rows without a length.

    Args:
        rows: how many.
        valid: whether there are rows for validation.
    """

    rows: int = 1000
    valid: bool = False

    @hookimpl
    def build_data(self):
        return Data(Points(self.rows), Points(100) if self.valid else None, class_names=["a", "b"],
                    inputs=InputSpec((2,), "float32"))

@hookimpl
def register_components(register):
    register("data/stream", Stream)
'''


@pytest.mark.parametrize("valid", ["true", "false"])
def test_a_stream_s_run_that_ended_with_a_pass_is_made_longer(oarlock, plugin, tmp_path, valid):
    env, job = plugin(STREAM), ["train", "data=stream", f"data.valid={valid}", "model.widths=[4]"]
    assert oarlock(*job, "trainer.max_steps=62", "hydra.run.dir=cut", env=env).returncode == 0
    done = oarlock("resume", "cut", "trainer.max_steps=124", env=env)
    assert done.returncode == 0, done.stderr
    assert oarlock(*job, "trainer.max_steps=124", "hydra.run.dir=whole", env=env).returncode == 0
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [31, 62, 93, 124]
    assert equal_ends(tmp_path / "whole", tmp_path / "cut")


def test_a_stream_with_fewer_rows_than_a_step_says_so(oarlock, plugin):
    done = oarlock("train", "data=stream", "data.rows=20", env=plugin(STREAM))
    assert done.returncode == 1
    assert ("epoch 1 has no training batch; its data gave no rows, and trainer.drop_last=true leaves out fewer than 32"
            in done.stderr)  # fmt: skip


def test_a_longer_run_whose_checkpoint_could_not_be_written_is_asked_for_again(tmp_path, monkeypatch):
    job = ["model.widths=[4]", "trainer.epochs=30", "callback.early_stopping.patience=1", "callback=[early_stopping]",
           "callback.early_stopping.min_delta=0.5"]  # fmt: skip
    folder = package.train([*job, f"hydra.run.dir={tmp_path}/run"]).folder
    ended = json.loads((folder / "run.json").read_text())
    assert ended["status"] == "early_stopped"

    def full(*arguments):
        raise package.RunFailed("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(commands.checkpoint, "write", full)
        with pytest.raises(package.RunFailed, match="the disk is full"):
            commands.resume(folder, ["trainer.epochs=31"])
    run = commands.resume(folder, ["trainer.epochs=31"])
    assert run is not None
    assert run.step > ended["step"]
