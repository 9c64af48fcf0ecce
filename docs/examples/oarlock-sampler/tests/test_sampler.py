"""Each of them does what oarlock expects of its kind, and what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest

import oarlock
from oarlock.testing import conformance

test_layerwise = conformance("optimizer/layerwise")
test_orthogonal = conformance("regularizer/orthogonal")
test_gradient_norm = conformance("callback/gradient_norm")
test_latest = conformance("callback/latest")
test_static_loss = conformance("engine/static_loss")

QUICK = ["model.widths=[8]", "trainer.epochs=2"]


@pytest.fixture
def train(tmp_path):
    return lambda *overrides: oarlock.train([*QUICK, f"hydra.run.dir={tmp_path / 'run'}", *overrides])


def test_rates_fall_from_the_last_layer_to_the_first():
    import paddle
    from oarlock_sampler.layerwise import Layerwise

    model = paddle.nn.Sequential(paddle.nn.Linear(4, 3), paddle.nn.Tanh(), paddle.nn.Linear(3, 2))
    groups = Layerwise(factor=0.5).build_parameter_groups(model)
    assert [group["learning_rate"] for group in groups] == [0.5, 1.0]
    assert [len(group["params"]) for group in groups] == [2, 2]


def test_orthogonal_columns_cost_nothing():
    import paddle
    from oarlock_sampler.orthogonal import Orthogonal

    layer = paddle.nn.Linear(4, 3, bias_attr=False)
    matrix = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 3)))[0]
    layer.weight.set_value((5 * matrix).astype("float32"))
    assert float(Orthogonal(1.0).compute_penalty(layer)) == pytest.approx(0, abs=1e-5)
    layer.weight.set_value(np.ones((4, 3), "float32"))
    assert float(Orthogonal(1.0).compute_penalty(layer)) == pytest.approx(6, rel=1e-5)  # three pairs, both ways


def test_the_norm_is_in_the_log(train):
    result = train("callback=[gradient_norm]")
    lines = [line for line in (result.folder / "train.log").read_text().splitlines() if "gradient norm" in line]
    assert len(lines) == 2
    assert all(float(line.split()[-1]) > 0 for line in lines)


def test_the_link_leads_to_the_newest_checkpoint(train):
    result = train("callback=[latest]", "trainer.checkpoint.every_epochs=1")
    assert json.loads((result.folder / "latest" / "state.json").read_text())["step"] == 66


def test_the_engine_trains_as_the_eager_step_does(train, tmp_path):
    static = train("engine=static_loss", "callback=[]")
    eager = oarlock.train([*QUICK, "callback=[]", f"hydra.run.dir={tmp_path / 'eager'}"])
    record = json.loads((static.folder / "run.json").read_text())
    assert record["engine"] == "engine/static_loss"
    for name, value in eager.metrics.items():
        assert static.metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-3)
    with pytest.raises(oarlock.UserError, match="engine=static_loss knows no penalties"):
        train("engine=static_loss", "regularizer=[orthogonal]")
