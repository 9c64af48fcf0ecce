"""Our own components pass the kit that others are measured by, every one of them."""

from __future__ import annotations

import pytest

from oarlock.plugins import load_host
from oarlock.testing import Subject, checks_for
from oarlock_plugins.data.digits import Digits
from oarlock_plugins.service.updates.store import keep
from tests.plugins.data.test_mnist import small, write
from tests.plugins.test_every_component import write_rows

# The kit tries components in a run, and a sweep is not part of one.
OWN = sorted(path for path, entry in load_host().registry.entries.items()
             if entry.plugin.distribution == "oarlock" and entry.group != "sweep")  # fmt: skip

# What they need beside them.
NEEDS = {
    "data/arrays": ["data.path=IDX/rows.npz", "data.inputs=x", "data.targets=y"],
    "data/csv": ["data.path=IDX/rows.csv", "data.target=kind", "data.delimiter=semicolon"],
    "data/update": ["+data@data.base=digits", "data.rows=KEPT", "data.replay=0.5"],
    "data/mnist": ["data.root=IDX", "trainer.batch_size=4", "trainer.evaluate_every=5 steps"],
    "model/lenet": ["data=mnist", "data.root=IDX", "trainer.batch_size=4"],
    "model/resnet": ["data=mnist", "data.root=IDX", "trainer.batch_size=4", "model.blocks=1", "model.width=4"],
    "task/regression": ["data=curve", "model.widths=[8]"],
}

CURVE = '''
import numpy as np
from oarlock import Arrays, Data, component, hookimpl

@component
class Curve:
    """A sine, as rows of one number."""

    @hookimpl
    def build_data(self):
        inputs = np.linspace(-3, 3, 1200, dtype="float32").reshape(-1, 1)
        parts = [Arrays(inputs[first::3], np.sin(inputs[first::3])) for first in range(3)]
        return Data(train=parts[0], valid=parts[1], test=parts[2], output_shape=(1,))

@hookimpl
def register_components(register):
    register("data/curve", Curve)
'''


# Two at once, the others among the tests that take minutes.
FIRST = ("optimizer/adam", "callback/early_stopping")


@pytest.mark.filterwarnings("ignore")  # of what trackers import
@pytest.mark.parametrize(
    "path", [path if path in FIRST else pytest.param(path, marks=pytest.mark.long) for path in OWN]
)
def test_it_conforms(tmp_path, plugin, monkeypatch, path):
    monkeypatch.syspath_prepend(plugin(CURVE, "curve")["PYTHONPATH"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    write(tmp_path / "idx", *small(rows=120, height=12, width=12))
    write_rows(tmp_path / "idx")
    kept = keep(tmp_path, Digits().build_data().train.take(slice(0, 400)))
    needs = [word.replace("IDX", str(tmp_path / "idx")).replace("KEPT", str(kept)) for word in NEEDS.get(path, [])]
    subject = Subject(path, needs, tmp_path)
    for name, check in checks_for(path).items():
        subject.scratch = tmp_path / name
        check(subject)
