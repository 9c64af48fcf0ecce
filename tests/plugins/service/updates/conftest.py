"""A model that learned from 100 digits and is published once; every test has a folder of models of its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import oarlock as package
from oarlock_plugins.data.digits import Digits
from oarlock_plugins.service import models
from oarlock_plugins.service.bundle import open_bundle
from oarlock_plugins.service.engines import open_engine
from oarlock_plugins.service.export.writing import write_bundle

FIRST = 100


def write(path, inputs, targets):
    np.savez(path, inputs=inputs.astype("uint8"), targets=targets)
    return path


@dataclass
class Digit:
    """The files, and a folder with version 1.

    Attributes:
        files: all rows, in .npz files: first, valid, test, good (500 rows more), more (the rest), poison (good, shuffled).
        models: the folder of models.
    """

    files: Path
    models: Path

    @property
    def model(self):
        return self.models / "digits"

    def accuracy(self, version):
        """The share of test rows that a version's ONNX file answers rightly."""
        with np.load(self.files / "test.npz") as test:
            answers = open_engine(open_bundle(self.model / str(version)))({"inputs": test["inputs"]})
            return float((answers["class"] == test["targets"]).mean())

    def record(self, number):
        return json.loads((self.model / "updates" / f"run-{number}" / "update.json").read_text())


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """The files, and version 1 in a folder of models that no test changes."""
    folder = tmp_path_factory.mktemp("digits")
    data = Digits().build_data()
    inputs, targets = data.train.inputs, data.train.targets
    for name, part in (("valid", data.valid), ("test", data.test)):
        write(folder / f"{name}.npz", part.inputs, part.targets)
    for name, rows in (("first", slice(0, FIRST)), ("good", slice(FIRST, 600)), ("more", slice(600, None))):
        write(folder / f"{name}.npz", inputs[rows], targets[rows])
    write(folder / "poison.npz", inputs[FIRST:600], np.random.default_rng(0).permutation(targets[FIRST:600]))
    run = package.train([
        "data=arrays", *(f"data.{key}={folder / name}.npz" for key, name in
                         (("path", "first"), ("valid_path", "valid"), ("test_path", "test"))),
        "data.scale=16", "model.widths=[256]", "trainer.batch_size=20", "trainer.epochs=20", "trainer.engine=eager",
        "callback=[]",
        f"hydra.run.dir={folder / 'run'}",
    ])  # fmt: skip
    models.publish(folder / "models", "digits", lambda scratch: write_bundle(run.folder, scratch, 1e-5))
    return folder


@pytest.fixture
def digits(published, tmp_path):
    shutil.copytree(published / "models", tmp_path / "models")
    return Digit(published, tmp_path / "models")


@pytest.fixture
def update(oarlock, digits):
    """Run `oarlock update digits --data …`."""

    def run(*arguments):
        first, *more = arguments
        path = first if Path(first).exists() else digits.files / f"{first}.npz"
        return oarlock("update", "digits", "--models", digits.models, "--data", path, *more)

    return run
