"""Updates of models that take and give something else than the built-in ones do."""

import re
from pathlib import Path

import numpy as np
import pytest

from oarlock_plugins.service import models
from tests.plugins.service.updates import kinds


@pytest.fixture
def kind(oarlock, plugin, tmp_path):
    """Train and publish a model with some options of `kinds`, and run `oarlock update` on it with arrays."""
    env = plugin(Path(kinds.__file__).read_text())

    def made(*overrides):
        done = oarlock("train", "data=kinds", "model=kinds", "trainer.epochs=1", "trainer.batch_size=20", "callback=[]",
                       "hydra.run.dir=run", *overrides, env=env)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert oarlock("export", "run", "--models", "models", "--name", "kind", env=env).returncode == 0

        def update(*arguments, **arrays):
            np.savez(tmp_path / "new.npz", **arrays)
            return oarlock("update", "kind", "--models", "models", "--data", "new.npz", "trainer.epochs=1",
                           "--allow-loss", "1", "--least-fit", "0", *arguments, env=env)  # fmt: skip

        return update

    return made


@pytest.mark.parametrize("inputs", ["named", "several", "parted", "merged"])
def test_inputs_have_the_names_of_the_raw_rows(kind, tmp_path, inputs):
    update = kind(f"data.inputs={inputs}")
    new, targets = kinds.rows(60, 9)
    arrays = kinds.NAMED.get(inputs, lambda rows: {"inputs": rows})(new)
    done = update(targets=targets, **arrays)
    assert done.returncode == 0, done.stderr
    assert "new rows: 60 of 60 (0 known, 0 held out); rows of before: 80" in done.stdout
    assert models.versions(tmp_path / "models" / "kind") == [1, 2]


@pytest.mark.parametrize("targets", ["column", "bytes", "values"])
def test_targets_are_of_the_kind_that_the_run_learned_from(kind, tmp_path, targets):
    update = kind(f"data.targets={targets}", "task=kinds")
    new, numbers = kinds.rows(60, 9)
    known, of_known = kinds.rows(80, 0)
    done = update(inputs=np.concatenate([new, known]), targets=np.concatenate([numbers, of_known]))
    assert done.returncode == 0, done.stderr
    assert "new rows: 60 of 140 (80 known, 0 held out); rows of before: 80" in done.stdout
    assert models.versions(tmp_path / "models" / "kind") == [1, 2]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("counts", r"row 2: the target is '0\.5'; expected a whole number\."),
        (
            "named",
            r"kind: the rows that it learned from have targets by name \(up, down\); an update takes rows with one",
        ),
    ],
)
def test_targets_that_cannot_be_learned_are_bad_input(kind, targets, message):
    done = kind(f"data.targets={targets}", "task=kinds")(inputs=kinds.rows(3, 9)[0], targets=np.array([0, 1, 0.5]))
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr
    assert done.stderr.count("\n") <= 3


def test_rows_of_another_length_are_not_mixed_with_those_of_before(kind, tmp_path):
    update = kind("data.inputs=any")
    longer, targets = np.random.default_rng(0).normal(size=(60, 5)).astype("float32"), np.arange(60) % 2
    done = update(inputs=longer, targets=targets)
    assert done.returncode == 2
    assert "A row of inputs has the shape [5] in one place and [3] in another" in done.stderr
    assert not (tmp_path / "models" / "kind" / "updates" / "run-1").exists()
    done = update("--replay", "0", inputs=longer, targets=targets)
    assert done.returncode == 0, done.stderr


def test_a_hold_out_need_not_know_its_length(kind):
    new, targets = kinds.rows(60, 9)
    done = kind("data.streamed=true")(inputs=new, targets=targets)
    assert done.returncode == 0, done.stderr
    assert re.search(r"published: kind version 2\naccuracy 0\.\d+, live 0\.\d+ on the rows of test\n", done.stdout)
    assert (
        "warning: kind: its test rows are not in memory, so those of them that are brought are learned." in done.stderr
    )
