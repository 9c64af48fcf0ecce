"""Components with options of every kind pass the kit's checks of options, and say which value is none of theirs."""

from __future__ import annotations

import pytest

from oarlock.testing import Nonconforming, Subject, checks_for
from tests.conftest import install

FIELDS = r'''
from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Tuple
from oarlock import component, hookimpl

@dataclass
class Stage:
    width: int = 8
    note: str = "it's \\d"

@component
class Fields:
    """Options of many kinds.

    Args:
        where: a path.
        places: paths.
        stages: dataclasses.
        rows: lists of lists.
        pair: a tuple.
        pattern: with backslashes.
        ending: with backslashes before quotes and at its end.
        split_seed: the run's.
    """

    where: Path = Path("a folder")
    places: List[Path] = field(default_factory=lambda: [Path("here"), Path("it's there")])
    stages: List[Stage] = field(default_factory=lambda: [Stage(), Stage(4)])
    rows: List[List[int]] = field(default_factory=lambda: [[1], [2, 3]])
    pair: Tuple[int, int] = (1, 2)
    pattern: str = "\\d+\\.\\w\\\\"
    ending: str = "\\'a\\b\\\\'\\"
    split_seed: int = "${seed}"

@hookimpl
def register_components(register):
    register("callback/fields", Fields)
'''

SOUND = """
from oarlock import Arrays, Data, component, hookimpl

@component
class Few:  # one batch of the kit's in an epoch
    @hookimpl
    def build_data(self):
        import numpy as np
        rng = np.random.default_rng(0)
        rows = Arrays(rng.random((100, 4), "float32"), rng.integers(0, 3, 100))
        return Data(rows, rows, class_names=["a", "b", "c"])

@component
class Tells:
    prefix: str = "???"

    @hookimpl
    def on_epoch_end(self, run):
        print(self.prefix)

@component
class Ramp:
    @hookimpl
    def build_schedule(self, learning_rate):
        import paddle
        return paddle.optimizer.lr.LinearWarmup(learning_rate, 5, 0.0, learning_rate)

@component
class Signals:
    @hookimpl
    def build_data(self):
        import numpy as np
        rows = np.random.default_rng(0).normal(size=(300, 4, 6)).astype("float32")
        train, valid = Arrays(rows, rows).split(0.2, 0)
        return Data(train, valid, output_shape=(4, 6))

@component
class Words:
    @hookimpl
    def build_data(self):
        import numpy as np
        rows = np.random.default_rng(0).normal(size=(300, 4, 6)).astype("float32")
        train, valid = Arrays(rows, (rows.sum(2) > 0).astype("int64")).split(0.2, 0)
        return Data(train, valid, class_names=["low", "high"])

@component
class Tagging:
    @hookimpl
    def compute_loss(self, output, batch):
        from paddle.nn import functional
        return functional.cross_entropy(output, batch.targets)

@component
class Places:
    @hookimpl
    def build_model(self, spec):
        from paddle import nn
        return nn.Sequential(nn.Linear(6, 3), nn.Linear(3, spec.num_classes or 6))

@hookimpl
def register_components(register):
    register("schedule/ramp", Ramp)
    register("data/signals", Signals)
    register("data/few", Few)
    register("callback/tells", Tells)
    register("data/words", Words)
    register("task/tagging", Tagging)
    register("model/places", Places)
"""


@pytest.mark.parametrize(
    ("path", "overrides", "check"),
    [
        ("schedule/ramp", (), "trains"),
        ("model/places", ("data=signals", "task=regression"), "gives_the_declared_shape"),
        ("model/places", ("data=words", "task=tagging"), "gives_the_declared_shape"),
        ("callback/tells", ("callback.tells.prefix=hi",), "leaves_the_numbers_alone"),
        ("data/few", (), "trains"),
        ("data/few", (), "resumes_exactly"),
    ],
)
def test_what_is_sound_passes(tmp_path, monkeypatch, path, overrides, check):
    """A rate that begins at 0; an output of the shape of a target, or with a class for each place of it; few rows."""
    monkeypatch.syspath_prepend(str(install(tmp_path / "site", SOUND, "sound")))
    checks_for(path)[check](Subject(path, overrides, tmp_path / "runs"))


def test_options_of_every_kind_pass_the_kit(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(install(tmp_path / "site", FIELDS)))
    subject = Subject("callback/fields", (), tmp_path / "runs")
    checks_for("callback/fields")["takes_its_options_from_the_command_line"](subject)


def test_an_item_of_another_type_in_a_list_of_lists_is_named(ask, plugin):
    line = "train --cfg job callback=[fields] callback.fields.rows="
    good, wrong, alone = ask(plugin(FIELDS), f"{line}[[1],[2,4]]", f"{line}[[1],2]", f"{line}[1,[2]]")
    assert good.code == 0
    for answer, typed in ((wrong, "[[1],2]"), (alone, "[1,[2]]")):
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith(f"error: callback.fields.rows={typed}: ")
        assert "int is not a ListConfig, list or tuple" in answer.err
        assert len(answer.err.splitlines()) == 1


def test_data_with_too_few_rows_for_the_kit_says_so(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(install(tmp_path / "site", SOUND, "sound")))
    subject = Subject("data/few", ("trainer.batch_size=100", "trainer.epochs=1"), tmp_path / "runs")
    with pytest.raises(Nonconforming, match=r"Give smaller batches: conformance\('data/few', 'trainer.batch_size=8'\)"):
        checks_for("data/few")["resumes_exactly"](subject)
