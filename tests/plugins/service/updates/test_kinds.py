"""Updates of models that take and give something else than the built-in ones do."""

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
