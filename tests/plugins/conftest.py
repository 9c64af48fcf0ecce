"""Runs in this process, with the components of `toys` installed as a distribution of their own."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import oarlock as package


@pytest.fixture(scope="package", autouse=True)
def toys(tmp_path_factory):
    """`tests.plugins.toys`, found through an entry point as any plugin is."""
    site = tmp_path_factory.mktemp("site")
    info = site / "oarlock_toys-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: oarlock-toys\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[oarlock]\ntoys = tests.plugins.toys\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield


@dataclass
class Trained:
    """A finished run, with what it left in its folder.

    Attributes:
        weights: by number of steps, then by path; `weights[0]` are the initial ones.
        gradients: before any clip, of the step after so many steps.
        rates: the learning rate of each step.
        evaluated: the weights that an evaluation saw.
    """

    result: package.Result
    record: dict
    rows: list[dict]
    weights: dict[int, dict]
    gradients: dict[int, dict]
    rates: list[float]
    evaluated: dict[int, dict]

    @classmethod
    def of(cls, result):
        folder = result.folder
        found = {kind: defaultdict(dict) for kind in ("weights", "gradients", "evaluated")}
        rates = {}
        if (folder / "trace.npz").exists():
            with np.load(folder / "trace.npz") as arrays:
                for key, array in arrays.items():
                    kind, step, *path = key.split("/")
                    if kind == "rate":
                        rates[int(step)] = float(array)
                    else:
                        found[kind][int(step)][path[0]] = array
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        record = json.loads((folder / "run.json").read_text())
        return cls(result, record, rows, rates=[rates[step] for step in sorted(rates)], **found)


@pytest.fixture
def train(tmp_path):
    """Train in this process; no bar, no early stopping, one evaluation at the end unless the overrides say more."""
    number = count(1)

    def run(*overrides, callbacks="trace"):
        folder: Path = tmp_path / f"run-{next(number)}"
        quiet = ["trainer.evaluate_every=100000 steps", f"callback=[{callbacks}]", f"hydra.run.dir={folder}"]
        return Trained.of(package.train([*quiet, *overrides]))

    return run
