"""Models of somebody's own, whose layers and parameters have what those of the built-in models have not."""

from __future__ import annotations

import json

import pytest

from tests.conftest import equal_ends
from tests.plugins.engines.test_fallbacks import JOB

MODEL = '''
from oarlock import component, hookimpl

@component
class Mine:
    """A model."""

    @hookimpl
    def build_model(self, spec):
        import paddle
        from paddle import ParamAttr, nn

        class Recurrent(nn.Layer):
            def __init__(self):
                super().__init__()
                self.cells, self.out = nn.{kind}(8, 6, num_layers=2, dropout=0.3), nn.Linear(6, spec.num_outputs)

            def forward(self, x):
                return self.out(self.cells(x / 16)[0][:, -1])

        return {made}

@hookimpl
def register_components(register):
    register("model/mine", Mine)
'''


def both_ways(oarlock, plugin, folder, source, words, engine):
    """Train as the engine would have it and eagerly; both must end alike. Returns why it was eager."""
    env = plugin(source)
    for name, choice in (("auto", []), ("eager", ["trainer.engine=eager"])):
        done = oarlock("train", *JOB, *words, *choice, f"hydra.run.dir={name}", env=env)
        assert done.returncode == 0, done.stderr
    assert equal_ends(folder / "auto", folder / "eager")
    record = json.loads((folder / "auto" / "run.json").read_text())
    assert record["engine"] == engine, record["engine_reason"]
    return record["engine_reason"]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_layers_are_compiled(oarlock, plugin, tmp_path, kind):
    """Their buffer for the state of dropout has no numbers on a CPU."""
    source = MODEL.replace("{kind}", kind).replace("{made}", "Recurrent()")
    both_ways(oarlock, plugin, tmp_path, source, ["trainer.accumulate_steps=2"], "compiled")


SLOW_START = ["optimizer=sgd", "schedule.warmup_steps=3000"]


def test_a_parameter_s_own_learning_rate_counts_in_a_program(oarlock, plugin, tmp_path):
    """Also where the first steps are so small that nobody would see it in their weights."""
    made = """nn.Sequential(nn.Flatten(), nn.Linear(64, 8, weight_attr=ParamAttr(learning_rate=0.0)), nn.ReLU(),
                             nn.Linear(8, spec.num_outputs, bias_attr=ParamAttr(learning_rate=3.0)))"""
    source = MODEL.replace("{kind}", "LSTM").replace("{made}", made)
    both_ways(oarlock, plugin, tmp_path, source, SLOW_START, "compiled")


@pytest.mark.parametrize(
    "words", [SLOW_START, [*SLOW_START, "schedule.warmup_steps=3000000"], ["optimizer.learning_rate=1e-6"]]
)
def test_a_hook_on_a_gradient_is_seen_where_steps_are_small(oarlock, plugin, tmp_path, words):
    """No program has it, and nobody sees it but in the weights that it leaves."""
    source = MODEL.replace("{kind}", "LSTM").replace("return {made}", """
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, spec.num_outputs))
        model[1].weight.register_hook(lambda gradient: gradient * 0)
        return model
""")  # fmt: skip
    assert "computes otherwise" in both_ways(oarlock, plugin, tmp_path, source, words, "eager")
