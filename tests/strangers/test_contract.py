"""What a plugin may rely on: the exported names, the order of calls, wrappers, the moments of a run."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import types

import numpy as np
import pytest

import oarlock as package
from oarlock import checkpoint
from tests.conftest import command, environment

RAMPS = [
    "data=ramps", "data.rows=16", "data.fraction=0.5", "task=regression", "model=bn_mlp", "model.widths=[]",
    "optimizer=sgd", "optimizer.learning_rate=0.001", "trainer.batch_size=8", "trainer.epochs=2",
]  # fmt: skip


def test_the_exported_names_are_exactly_those_of_all():
    eager = {name for name, value in vars(package).items()
             if not name.startswith("_") and not isinstance(value, types.ModuleType)}  # fmt: skip
    eager -= {"annotations", "Any", "TYPE_CHECKING"}
    assert sorted(eager | set(package._LAZY)) == package.__all__ == dir(package)
    assert all(getattr(package, name) is not None for name in package.__all__)
    # What a type checker sees of the lazy names is what an importer gets.
    checked = next(node for node in ast.parse(inspect.getsource(package)).body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in checked.body for alias in node.names}
    assert seen == {name: f"oarlock.{module}" for name, module in package._LAZY.items()}
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        _ = package.Trainer


def moments(folder):
    return (folder / "moments.txt").read_text().splitlines()


@pytest.mark.slow
def test_the_moments_of_a_run_come_in_this_order_and_each_in_list_order(oarlock, stroke, tmp_path):
    done = oarlock(
        "train", *RAMPS, "callback=[late,cox,early,bow]", "trainer.checkpoint.every_epochs=2", "hydra.run.dir=run",
        env=stroke,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = moments(tmp_path)
    both = ["late", "cox", "early", "bow"]
    in_order = ["early", "cox", "bow", "late"]  # tryfirst and trylast move one to the front and to the back

    def each(moment, names=both):
        return [f"{name} {moment}" for name in names]

    evaluation = [*each("evaluation_start"), *each("evaluation_end train/loss valid/loss valid/rmse valid/mae")]
    epochs = [
        [*each(f"epoch_start {epoch}", in_order), *each(f"step {2 * epoch + 1}", in_order),
         *each(f"step {2 * epoch + 2}", in_order), *evaluation, *each(f"epoch_end {epoch}")]
        for epoch in (0, 1)
    ]  # fmt: skip
    saved = each("checkpoint step-00000004") + each("checkpoint step-00000004.1")
    assert said[: len(both)] == each("run_start")
    assert said[len(both) :] == [*epochs[0], *epochs[1], *saved, *each("run_end completed")]


@pytest.mark.slow
def test_a_callback_that_raises_is_told_with_the_others_and_the_run_can_go_on(oarlock, stroke, tmp_path):
    failed = oarlock("train", *RAMPS, "callback=[bow,cox]", "hydra.run.dir=run", env={**stroke, "RAISE_AT": "3"})
    assert failed.returncode == 1
    assert "the run failed: ArithmeticError: caught a crab (at epoch 2, step 3)" in failed.stderr
    assert "Traceback" not in failed.stderr
    # `bow` raised, so `cox` never heard of step 3, but both hear of the failure.
    assert moments(tmp_path)[-3:] == ["bow step 3", "bow failure caught a crab", "cox failure caught a crab"]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


@pytest.mark.slow
def test_batches_get_noise_that_depends_on_seed_epoch_and_number_alone(oarlock, stroke, tmp_path):
    job = [*RAMPS, "callback=[bow]", "seed=5", "trainer.checkpoint.every_steps=1"]
    ends = []
    for name, kill in (("whole", None), ("killed", "3")):
        folder = tmp_path / name
        folder.mkdir()
        env = environment({**stroke, **({"KILL_AT": kill} if kill else {})})
        started = subprocess.run(
            command("train", *job, "hydra.run.dir=run"), cwd=folder, env=env, capture_output=True, text=True
        )
        assert started.returncode == (-9 if kill else 0), started.stderr
        if kill:
            resumed = oarlock("resume", "run", cwd=folder, env=stroke)
            assert resumed.returncode == 0, resumed.stderr
            # The checkpoint of step 2 may have been on its way to the disk still; that of step 1 was there before.
            resumed_from = re.search(r"from step ([12])\n", resumed.stdout)
            assert resumed_from, resumed.stdout
            after = int(resumed_from[1])
        files = checkpoint.newest_intact(folder / "run" / "checkpoints")[1]
        ends.append(checkpoint.unpack_arrays(files["model.safetensors"]))
    expected = [float(np.random.default_rng([5, epoch, number]).normal()) for epoch in (0, 1) for number in (0, 1)]
    drawn = [
        [float(line) for line in (tmp_path / name / "noise.txt").read_text().split()] for name in ("whole", "killed")
    ]
    assert drawn[0] == expected
    # Killed in step 3: what came after the checkpoint is drawn again, and is the same.
    assert drawn[1] == [*expected[:3], *expected[after:]]
    assert ends[0].keys() == ends[1].keys()
    assert all(np.array_equal(ends[0][key], ends[1][key]) for key in ends[0])


@pytest.mark.slow
def test_wrappers_are_fine_where_something_is_built_and_refused_on_each_step(ask, oarlock, stroke):
    zeroed, gradients = ask(
        stroke,
        "check model.widths=[] optimizer=sgd callback=[zeroed]",
        "check model.widths=[] callback=[wraps_gradients]",
    )
    assert zeroed.code == 0, zeroed.err
    # All weights are zero, so that all ten classes are equally likely: the loss is ln 10.
    assert "one step was made: loss 2.3026" in zeroed.out
    assert gradients.code == 2
    assert "callback.wraps_gradients: after_backward is called on each step and cannot be a wrapper" in gradients.err
    steps = oarlock("train", "callback=[wraps_steps]", env=stroke)
    assert steps.returncode == 2
    assert "callback.wraps_steps: on_step_end is called on each step and cannot be a wrapper" in steps.stderr


def test_the_options_of_a_component_are_shown_as_they_can_be_written(ask, stroke):
    shown, listed, refused, missing, absent = ask(
        stroke, "show data/ramps", "show data", "train --cfg job data=ramps data.side=up",
        "train --cfg job data=ramps", "train --cfg job callback=[absent]",
    )  # fmt: skip
    assert shown.out.splitlines() == [
        "data/ramps (oarlock-stroke 2.0); choose it with data=ramps", "",
        "Rows that count up, with noise on each batch.", "",
        "  data.rows=16  (int)", "      how many.",
        "  data.side=null  (port | starboard | null)", "      which.",
        "  data.extra=null  (Any)", "      anything.",
        "  data.fraction=…  (float, needed)", "      no default.",
    ]  # fmt: skip
    assert "  ramps             Rows that count up, with noise on each batch.\n" in listed.out
    assert refused.code == 2
    assert "data.side" in refused.err
    assert missing.code == 2
    assert "data.fraction: a value is needed" in missing.err
    assert absent.code == 0
