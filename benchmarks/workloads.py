"""What the benchmarks of training train: four workloads, and any perceptron on the digits for how cost grows."""

from __future__ import annotations

import gzip
import os
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).resolve().parent / "peers"
sys.path.insert(0, str(PEERS))  # the trainers' own modules, which are no packages

from spec import Spec  # noqa: E402

MNIST = Path(os.environ.get("OARLOCK_MNIST", REPOSITORY.parent / "shared" / "data" / "mnist")).absolute()


@dataclass(frozen=True)
class Workload:
    """What to train: as oarlock's overrides, and as what the others need to build the same.

    Attributes:
        overrides: what oarlock is told, beside the batch size.
        network: see peers/spec.py.
        optimizer: see peers/spec.py.
        batch_size: rows of a step.
        rows: how many of MNIST's training rows to use; none for the digits that come with oarlock.
        bars: what oarlock's throughput must be, as a multiple of another's.
    """

    overrides: tuple[str, ...]
    network: dict
    optimizer: str
    batch_size: int
    rows: int
    bars: dict[str, float] = field(default_factory=dict)


WORKLOADS = {
    "small": Workload(
        ("data=digits", "model=bn_mlp", "model.widths=[128]", "optimizer=momentum"),
        {"kind": "mlp", "sizes": [64, 128, 10]}, "momentum", batch_size=32, rows=0,
        bars={"handwritten": 5.3, "tuned": 5.0, "fit": 10.0, "lightning": 10.0, "jax-scan": 0.55},
    ),
    "seed": Workload(
        ("experiment=seed_mnist",),
        {"kind": "mlp", "sizes": [784, 512, 10]}, "momentum", batch_size=32, rows=6_000,
        bars={"handwritten": 2.7, "tuned": 1.4, "fit": 4.5, "lightning": 2.2, "jax-scan": 0.8},
    ),
    "conv": Workload(
        ("data=mnist", "model=lenet", "optimizer=momentum"),
        {"kind": "lenet"}, "momentum", batch_size=64, rows=1_200,
        bars={"handwritten": 1.2, "tuned": 1.0, "fit": 1.25, "jax-scan": 1.0},
    ),
    "transformer": Workload(
        ("data=mnist", "model=transformer", "optimizer=adam", "optimizer.learning_rate=1e-3"),
        {"kind": "transformer", "depth": 4, "width": 64, "heads": 4, "hidden": 128}, "adam", batch_size=32, rows=640,
    ),
}  # fmt: skip


def perceptron(widths, batch_size):
    """A perceptron on the digits."""
    hidden = ",".join(map(str, widths))
    return Workload(
        ("data=digits", "model=bn_mlp", f"model.widths=[{hidden}]", "optimizer=momentum"),
        {"kind": "mlp", "sizes": [64, *widths, 10]}, "momentum", batch_size, rows=0,
    )  # fmt: skip


def prepare(name, workload, folder, mnist=MNIST):
    """Write what the trainers read: IDX files for oarlock, and for the others the rows that it makes of them.

    Returns:
        The spec, and the numbers of training and validation rows.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import paddle  # noqa: F401  its import warns of what nobody here can change
    from oarlock_plugins.data.digits import Digits
    from oarlock_plugins.data.mnist import Mnist

    overrides = list(workload.overrides)
    if workload.rows:
        (folder / name).mkdir()
        for part, rows in (("train", workload.rows), ("t10k", 1000)):
            write_idx(folder / name / f"{part}-images-idx3-ubyte", mnist, (rows, 28, 28), 256)
            write_idx(folder / name / f"{part}-labels-idx1-ubyte", mnist, (rows,), 10)
        data = Mnist(root=str(folder / name)).build_data()
        overrides.append(f"data.root={folder / name}")
    else:
        data = Digits().build_data()
    arrays = folder / f"{name}-arrays"
    arrays.mkdir()
    for part, rows in (("train", data.train), ("valid", data.valid)):
        scaled = rows.inputs.astype("float32") * np.float32(1 / (255 if workload.rows else 16))
        np.save(
            arrays / f"{part}_inputs", scaled.reshape(len(scaled), -1) if workload.network["kind"] == "mlp" else scaled
        )
        np.save(arrays / f"{part}_targets", rows.targets)
    spec = Spec(
        workload.network, workload.optimizer, workload.batch_size, overrides, str(arrays), folder=str(folder),
    )  # fmt: skip
    return spec, len(data.train), len(data.valid)


def write_idx(target, mnist, shape, below):
    """The first rows of one of MNIST's files, or random rows below a bound, as `data=mnist` reads them."""
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
    if not mnist.is_dir():
        values = np.random.default_rng(len(shape)).integers(0, below, shape, dtype=np.uint8).tobytes()
    elif (plain := mnist / target.name).is_file():
        values = plain.read_bytes()[len(header) :]
    else:
        values = gzip.decompress((mnist / f"{target.name}.gz").read_bytes())[len(header) :]
    target.write_bytes(header + values[: int(np.prod(shape))])
