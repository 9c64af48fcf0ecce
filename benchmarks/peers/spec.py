"""What a trainer is told: the network, the rows and the batches, from a file that every peer's environment can read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

EVALUATION_BATCH = 1024


@dataclass(frozen=True)
class Spec:
    """A workload for all peers.

    Attributes:
        network: `{"kind": "mlp", "sizes": [64, 128, 10]}`, `{"kind": "lenet"}` or
            `{"kind": "transformer", "depth": 4, "width": 64, "heads": 4, "hidden": 128}`.
        optimizer: "momentum" (rate 0.01, momentum 0.9) or "adam" (rate 0.001).
        batch_size: rows of a step; the last ones that make no whole batch are left out of an epoch.
        overrides: what oarlock is told.
        arrays: the folder with train_inputs.npy, train_targets.npy, valid_inputs.npy and valid_targets.npy.
        threads: how many each trainer may use.
        folder: where a trainer may write.
    """

    network: dict[str, Any]
    optimizer: str
    batch_size: int
    overrides: list[str] = field(default_factory=list)
    arrays: str = ""
    threads: int = 1
    folder: str = ""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def read(path: str) -> Spec:
    return Spec(**json.loads(Path(path).read_text(encoding="utf-8")))


def load(spec: Spec) -> dict[str, Any]:
    """The rows: float32 inputs, flat where the network wants them flat, and int64 targets.

    Nothing large is freed here. Once it was, malloc would no longer give a gradient's memory back to the system on each step,
    and whether a process does so would be an accident of how its rows are read.
    """
    import numpy as np

    return {file.stem: np.load(file, allow_pickle=False) for file in Path(spec.arrays).glob("*.npy")}
