"""A hook on each step that draws random numbers draws the same wherever the run was cut, in every engine."""

from __future__ import annotations

import pytest

from tests.conftest import equal_ends

PARTS = '''
from __future__ import annotations
import os
from oarlock import component, hookimpl

@component
class Noise:
    """Adds noise to the weights now and then, from a step on.

    Args:
        start: the first step after which it does.
        every: how often.
    """

    start: int = 1
    every: int = 1
    changes_run = True

    @hookimpl
    def on_step_end(self, run):
        import paddle
        if run.step >= self.start and run.step % self.every == 0:
            weight = run.model.parameters()[0]
            with paddle.no_grad():
                weight.set_value(weight + 0.01 * paddle.randn(weight.shape))
        if run.step == int(os.environ.get("DIE_AT", "0")):
            os._exit(9)

@hookimpl
def register_components(register):
    register("callback/noise", Noise)
'''


@pytest.mark.parametrize("dropout", ["0", "0.3"])
@pytest.mark.parametrize("words", [[], ["callback.noise.start=38"], ["callback.noise.start=30", "callback.noise.every=7"]],
                         ids=["always", "late", "now-and-then"])  # fmt: skip
def test_noise_is_the_same_wherever_the_run_was_cut(oarlock, plugin, tmp_path, words, dropout):
    env = plugin(PARTS)
    job = ["train", "model.widths=[8]", f"model.dropout={dropout}", "trainer.epochs=2", "callback=[noise]",
           "trainer.checkpoint.every_steps=5", "trainer.drop_last=false", *words]  # fmt: skip
    for engine in ("compiled", "eager"):
        done = oarlock(*job, f"trainer.engine={engine}", f"hydra.run.dir={engine}", env=env)
        assert (done.returncode, done.stderr) == (0, "")
    assert equal_ends(tmp_path / "compiled", tmp_path / "eager")
    for died in ("33", "41", "60"):
        killed = oarlock(*job, "trainer.engine=compiled", f"hydra.run.dir=at{died}", env={**env, "DIE_AT": died})
        assert killed.returncode == 9
        assert oarlock("resume", f"at{died}", env=env).returncode == 0
        assert equal_ends(tmp_path / "compiled", tmp_path / f"at{died}")


def test_a_noise_of_one_step_is_not_that_of_another(oarlock, plugin, tmp_path):
    env = plugin(PARTS.replace("0.01 * paddle.randn", "0.0 * paddle.randn").replace(
        "            weight = ", "            open('drawn', 'a').write(f'{paddle.rand([1]).item()}\\n')\n            weight = "))  # fmt: skip
    assert oarlock("train", "model.widths=[8]", "trainer.epochs=1", "callback=[noise]", env=env).returncode == 0
    drawn = (tmp_path / "drawn").read_text().split()
    assert len(drawn) == len(set(drawn)) > 20
