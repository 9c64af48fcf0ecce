"""What draws random numbers between the steps draws the same wherever the run was cut, in every engine."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.hook_stream import HookStream
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
    def on_checkpoint(self):
        import paddle
        paddle.rand([1])

@component
class Moments:
    """Adds noise to the weights at every moment beside the steps, and draws while the model is measured."""

    changes_run = True

    def add(self, run):
        import paddle
        weight = run.model.parameters()[0]
        with paddle.no_grad():
            weight.set_value(weight + 0.01 * paddle.randn(weight.shape))

    @hookimpl
    def on_epoch_start(self, run):
        self.add(run)

    @hookimpl
    def on_epoch_end(self, run):
        self.add(run)

    @hookimpl
    def on_run_start(self, run):
        run.model.register_forward_post_hook(shaken)

    @hookimpl
    def on_evaluation_start(self, run):
        self.add(run)

    @hookimpl(wrapper=True)
    def on_evaluation_end(self, run):
        yield
        self.add(run)

def shaken(layer, inputs, output):
    import paddle
    return output if layer.training else output + 0.1 * paddle.randn(output.shape)

@hookimpl
def register_components(register):
    register("callback/noise", Noise)
    register("callback/moments", Moments)
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


@pytest.mark.parametrize("words", [["callback.noise.start=1000"], ["callback.noise.start=1000", "model.dropout=0.3"],
                                   ["callback.noise.every=3"]], ids=["alone", "beside-dropout", "beside-noise"])  # fmt: skip
def test_what_is_drawn_beside_the_steps_is_the_same_wherever_the_run_was_cut(oarlock, plugin, tmp_path, words):
    env = plugin(PARTS)
    job = ["train", "model.widths=[8]", "trainer.epochs=3", "trainer.evaluate_every=7 step", "callback=[moments,noise]",
           "trainer.checkpoint.every_steps=4", "trainer.drop_last=false", *words]  # fmt: skip
    for engine in ("compiled", "eager"):
        done = oarlock(*job, f"trainer.engine={engine}", f"hydra.run.dir={engine}", env=env)
        assert (done.returncode, done.stderr) == (0, "")
    assert equal_ends(tmp_path / "compiled", tmp_path / "eager")
    for died in ("29", "34", "45", "70"):
        killed = oarlock(*job, "trainer.engine=compiled", f"hydra.run.dir=at{died}", env={**env, "DIE_AT": died})
        assert killed.returncode == 9
        assert oarlock("resume", f"at{died}", env=env).returncode == 0
        assert equal_ends(tmp_path / "compiled", tmp_path / f"at{died}")
    rows = [json.loads(line) for line in (tmp_path / "eager" / "metrics.jsonl").read_text().splitlines()]
    assert len({row["valid/loss"] for row in rows}) == len(rows)


# As with Paddle 2.6: then each step is seeded for the hooks, though a compiled one draws nothing itself.
UNSAVED = """
import oarlock.snapshot, oarlock.training
oarlock.snapshot.can_be_saved = oarlock.training.can_be_saved = lambda: False
"""


def test_noise_is_the_same_where_its_state_cannot_be_saved(oarlock, plugin, tmp_path):
    env = plugin(PARTS.replace("import os\n", f"import os\n{UNSAVED}", 1))
    job = ["train", "model.widths=[8]", "trainer.epochs=2", "callback=[noise]", "trainer.checkpoint.every_steps=5",
           "trainer.engine=compiled"]  # fmt: skip
    assert oarlock(*job, "hydra.run.dir=whole", env=env).returncode == 0
    assert oarlock(*job, "hydra.run.dir=killed", env={**env, "DIE_AT": "41"}).returncode == 9
    assert oarlock("resume", "killed", env=env).returncode == 0
    assert equal_ends(tmp_path / "whole", tmp_path / "killed")
    newest = max((tmp_path / "whole" / "checkpoints").glob("step-*"))
    assert json.loads((newest / "state.json").read_text())["hook_stream"] is None


def test_noise_is_the_same_whatever_lies_between_the_steps(oarlock, plugin, tmp_path):
    env = plugin(PARTS)
    job = ["train", "model.widths=[8]", "trainer.epochs=1", "callback=[noise]", "callback.noise.every=3"]
    apart = ["trainer.evaluate_every=2 step", "trainer.checkpoint.every_steps=4"]
    for name, words in (("seldom", []), ("often", apart)):
        assert oarlock(*job, *words, f"hydra.run.dir={name}", env=env).returncode == 0
    ends = [sorted((tmp_path / name / "checkpoints").glob("step-*"))[-1] for name in ("seldom", "often")]
    assert len({(end / "model.safetensors").read_bytes() for end in ends}) == 1


@given(st.lists(st.sampled_from(["draw", "seed", "save"]), max_size=30))
def test_a_stream_goes_on_whatever_else_the_generator_is_used_for(events):
    import paddle

    def drawn(count):
        return paddle.randint(0, 2**31 - 1, [count]).tolist()

    paddle.seed(7)
    expected, found, stream = drawn(len(events)), [], HookStream(7)
    for event in events:
        if event == "draw":
            if stream.away:
                stream.enter()
            found += drawn(1)
        elif event == "seed":
            stream.leave()
            paddle.seed(3)
            drawn(5)
        else:
            saved, stream = json.dumps(stream.state()), HookStream(0)
            stream.load_state(json.loads(saved))
    assert found == expected[: len(found)]


def test_a_noise_of_one_step_is_not_that_of_another(oarlock, plugin, tmp_path):
    env = plugin(PARTS.replace("0.01 * paddle.randn", "0.0 * paddle.randn").replace(
        "            weight = ", "            open('drawn', 'a').write(f'{paddle.rand([1]).item()}\\n')\n            weight = "))  # fmt: skip
    assert oarlock("train", "model.widths=[8]", "trainer.epochs=1", "callback=[noise]", env=env).returncode == 0
    drawn = (tmp_path / "drawn").read_text().split()
    assert len(drawn) == len(set(drawn)) > 20
