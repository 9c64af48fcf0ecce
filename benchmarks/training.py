"""Training throughput of oarlock beside a hand-written Paddle loop and `paddle.Model.fit`, interleaved.

Every figure is training rows per second over whole epochs, each with its evaluation: both sides pay for those, and
none for its start, its imports and a first epoch that warms up. All train the same rows with the same network,
optimizer, batch size and drop_last, and evaluate the same rows in batches of 1024.

- oarlock: `oarlock.train` with progress (plain lines: the output is no terminal), early stopping that never stops and
  default checkpoints. Its turns are too short to meet the clock that asks for a checkpoint every 60 seconds, so the
  one at the end of the run is timed, and charged in the proportion in which that clock would ask for it.
- handwritten: the loop that a careful user writes. The rows are scaled, flat where the network wants them flat, and
  resident on the device; the shuffled epoch is gathered once and sliced; the loss is never read between evaluations.
- tuned: the same loop in a process whose MKL and malloc are set up as oarlock sets up its own.
- fit: `paddle.Model.fit` with an accuracy metric, without its bar, and with an evaluation after each epoch.

A round starts one process for each of them, with one thread, and lets them train in turns of about a second
(see turns.py). A ratio compares two turns that came one after the other, so that what else the machine does falls on
both; a round's ratio is the median over its turns, and the median over the rounds is what meets the bar.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import machine
import numpy as np
import turns

REPOSITORY = Path(__file__).resolve().parent.parent
EVALUATION_BATCH = 1024
CHECKPOINT_SECONDS = 60  # the default of trainer.checkpoint.every_seconds
VARIANTS = ("oarlock", "handwritten", "tuned", "fit")


@dataclass(frozen=True)
class Workload:
    """What to train: as oarlock's overrides, and as what the other two need to build the same.

    Attributes:
        sizes: units of each layer of the perceptron; empty for LeNet.
        rows: how many of MNIST's training rows to use; none for the digits that come with oarlock.
        epochs: epochs of a turn.
        bars: what oarlock's throughput must be, as a multiple of another's.
    """

    overrides: tuple[str, ...]
    sizes: tuple[int, ...]
    batch_size: int
    epochs: int
    rows: int
    bars: dict[str, float]


WORKLOADS = {
    "small": Workload(
        ("data=digits", "model=bn_mlp", "model.widths=[128]", "optimizer=momentum"),
        sizes=(64, 128, 10), batch_size=32, epochs=40, rows=0, bars={"handwritten": 5.3, "tuned": 5.0, "fit": 10.0},
    ),
    "seed": Workload(
        ("experiment=seed_mnist",),
        sizes=(784, 512, 10), batch_size=32, epochs=1, rows=10_000, bars={"handwritten": 2.7, "tuned": 1.4, "fit": 4.5},
    ),
    "conv": Workload(
        ("data=mnist", "model=lenet", "optimizer=momentum"),
        sizes=(), batch_size=64, epochs=1, rows=6_000, bars={"handwritten": 1.2, "tuned": 1.0, "fit": 1.25},
    ),
}  # fmt: skip


def network(workload):
    """The network of `model=bn_mlp`, or of `model=lenet`."""
    from paddle import nn

    if workload.sizes:
        inputs, hidden, classes = workload.sizes
        return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.BatchNorm1D(hidden), nn.Linear(hidden, classes))
    return nn.Sequential(
        nn.Conv2D(1, 6, 5, padding=2), nn.BatchNorm2D(6), nn.ReLU(), nn.MaxPool2D(2, 2),
        nn.Conv2D(6, 16, 5), nn.BatchNorm2D(16), nn.ReLU(), nn.MaxPool2D(2, 2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def optimizer_for(name, model):
    from paddle.optimizer import Momentum

    return Momentum(0.01, 0.9, parameters=model.parameters())


def train_oarlock(name, folder, epochs):
    import oarlock

    workload = WORKLOADS[name]
    data = [f"data.root={folder / name}"] if workload.rows else []
    oarlock.train([
        *workload.overrides, *data, "callback=[progress,early_stopping,turns]",
        "callback.early_stopping.patience=1000000", "device=cpu", f"trainer.batch_size={workload.batch_size}",
        "trainer.drop_last=true", f"trainer.epochs={epochs}", f"trainer.evaluation_batch_size={EVALUATION_BATCH}",
        f"hydra.run.dir={folder}/run-{os.getpid()}",
    ])  # fmt: skip


def train_handwritten(name, arrays, epochs):
    import paddle
    from paddle.nn.functional import cross_entropy

    workload, turn = WORKLOADS[name], turns.turn()
    paddle.seed(0)
    inputs, targets = paddle.to_tensor(arrays["train_inputs"]), paddle.to_tensor(arrays["train_targets"])
    valid_inputs, valid_targets = paddle.to_tensor(arrays["valid_inputs"]), paddle.to_tensor(arrays["valid_targets"])
    model = network(workload)
    optimizer = optimizer_for(name, model)
    rows, size = len(inputs), workload.batch_size
    for epoch in range(epochs):
        order = paddle.to_tensor(np.random.default_rng(epoch).permutation(rows))
        epoch_inputs, epoch_targets = paddle.gather(inputs, order), paddle.gather(targets, order)
        model.train()
        for start in range(0, rows - size + 1, size):
            loss = cross_entropy(model(epoch_inputs[start : start + size]), epoch_targets[start : start + size])
            loss.backward()
            optimizer.step()
            optimizer.clear_grad()
        model.eval()
        losses, correct = [], []
        with paddle.no_grad():
            for start in range(0, len(valid_inputs), EVALUATION_BATCH):
                output = model(valid_inputs[start : start + EVALUATION_BATCH])
                labels = valid_targets[start : start + EVALUATION_BATCH]
                losses.append(cross_entropy(output, labels, reduction="sum"))
                correct.append((output.argmax(axis=-1) == labels).sum())
        loss = paddle.add_n(losses).item() / len(valid_inputs)
        accuracy = paddle.add_n(correct).item() / len(valid_inputs)
        print(f"epoch {epoch + 1} loss {loss:.4f} accuracy {accuracy:.4f}", flush=True)
        turn.epoch_ended()
    turn.training_ended(accuracy)


def train_fit(name, arrays, epochs):
    import paddle

    workload, turn = WORKLOADS[name], turns.turn()

    class Rows(paddle.io.Dataset):
        def __init__(self, part):
            super().__init__()
            self.inputs, self.targets = arrays[f"{part}_inputs"], arrays[f"{part}_targets"]

        def __len__(self):
            return len(self.inputs)

        def __getitem__(self, index):
            return self.inputs[index], self.targets[index]

    class TakeTurns(paddle.callbacks.Callback):
        def on_eval_end(self, logs=None):
            self.accuracy = float(logs["acc"])
            turn.epoch_ended()

    paddle.seed(0)
    layer, watch = network(workload), TakeTurns()
    model = paddle.Model(layer)
    model.prepare(optimizer_for(name, layer), paddle.nn.CrossEntropyLoss(), paddle.metric.Accuracy())
    model.fit(
        Rows("train"), paddle.io.DataLoader(Rows("valid"), batch_size=EVALUATION_BATCH), epochs=epochs, verbose=0,
        batch_size=workload.batch_size, drop_last=True, shuffle=True, callbacks=[watch],
    )  # fmt: skip
    turn.training_ended(watch.accuracy)


def work(variant, name, folder, epochs):
    """Train in this process, in turns."""
    # Paddle warns of its own internals; oarlock keeps that from its users.
    warnings.simplefilter("ignore")
    if variant == "oarlock":
        train_oarlock(name, folder, epochs)
        return
    if variant == "tuned":
        from oarlock.runtime import setup_runtime

        setup_runtime(True)
    with np.load(folder / f"{name}.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    (train_fit if variant == "fit" else train_handwritten)(name, arrays, epochs)


class Trainer:
    """A process that trains in turns."""

    def __init__(self, variant, name, folder, turn_count):
        workload = WORKLOADS[name]
        self._what, self._log = f"{variant} on {name}", folder / f"{variant}.log"
        mine, its = os.pipe()
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "2", "PYTHONPATH": str(folder / "plugin"),
            "OARLOCK_BENCH_TURN": f"{its} 1 {workload.epochs}",
        }  # fmt: skip
        epochs = 1 + turn_count * workload.epochs
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__, "--work", variant, name, str(folder), str(epochs)],
                env=environment, cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[its], text=True,
            )  # fmt: skip
        os.close(its)
        self._reports = os.fdopen(mine)

    def wait(self):
        """What the process reports next."""
        line = self._reports.readline()
        if not line:
            code = self._process.wait()
            sys.exit(f"{self._what} ended with {code}:\n{self._log.read_text(encoding='utf-8')[-4000:]}")
        return json.loads(line)

    def go(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def leave(self):
        """Let the process come to its end; returns its last report."""
        self.go()
        last = self.wait()
        if self._process.wait() != 0:
            self.wait()
        self.close()
        return last

    def close(self):
        self._process.stdin.close()
        self._reports.close()
        self._process.wait()


def run_round(name, folder, turn_count):
    """The seconds of each turn, checkpoint seconds and accuracy, for each of them."""
    with contextlib.ExitStack() as stack:
        trainers = {}
        for variant in VARIANTS:
            trainers[variant] = Trainer(variant, name, folder, turn_count)
            stack.callback(trainers[variant].close)
        for trainer in trainers.values():
            trainer.wait()
        seconds = {variant: [] for variant in VARIANTS}
        for number in range(turn_count):
            # The order rotates, so that nobody always comes after the same one.
            first = number % len(VARIANTS)
            for variant in VARIANTS[first:] + VARIANTS[:first]:
                trainers[variant].go()
                seconds[variant].append(trainers[variant].wait())
        results = {variant: trainer.leave() for variant, trainer in trainers.items()}
    for variant, result in results.items():
        share = result["save"] / CHECKPOINT_SECONDS
        result["turns"] = [turn * (1 + share) for turn in seconds[variant]]
    return results


def prepare(name, folder, mnist):
    """Write what the trainers read: IDX files for oarlock, and the rows that it makes of them for the other two."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import paddle  # noqa: F401  its import warns of what nobody here can change
    from oarlock_plugins.data.digits import Digits
    from oarlock_plugins.data.mnist import Mnist

    workload = WORKLOADS[name]
    if workload.rows:
        (folder / name).mkdir()
        for part, rows in (("train", workload.rows), ("t10k", 1000)):
            write_idx(folder / name / f"{part}-images-idx3-ubyte", mnist, (rows, 28, 28), 256)
            write_idx(folder / name / f"{part}-labels-idx1-ubyte", mnist, (rows,), 10)
        data = Mnist(root=str(folder / name)).build_data()
    else:
        data = Digits().build_data()
    arrays = {}
    for part, rows in (("train", data.train), ("valid", data.valid)):
        scaled = rows.inputs.astype("float32") * np.float32(1 / (255 if workload.rows else 16))
        arrays[f"{part}_inputs"] = scaled.reshape(len(scaled), -1) if workload.sizes else scaled
        arrays[f"{part}_targets"] = rows.targets
    np.savez(folder / f"{name}.npz", **arrays)
    return len(data.train), len(data.valid)


def write_idx(target, mnist, shape, below):
    """The first rows of one of MNIST's files, or random rows below a bound, as `data=mnist` reads them."""
    header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
    if mnist is None:
        values = np.random.default_rng(len(shape)).integers(0, below, shape, dtype=np.uint8).tobytes()
    elif (plain := mnist / target.name).is_file():
        values = plain.read_bytes()[len(header) :]
    else:
        values = gzip.decompress((mnist / f"{target.name}.gz").read_bytes())[len(header) :]
    target.write_bytes(header + values[: int(np.prod(shape))])


def register_turns(folder):
    """Make turns.py a plugin of oarlock for the trainers, as an installed package would be."""
    info = folder / "plugin" / "oarlock_bench-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: oarlock-bench\nVersion: 0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[oarlock]\nturns = turns\n", encoding="utf-8")


def report(name, rounds, rows):
    """Print the table of a workload as Markdown; returns the lines that say which bars are met."""
    print(f"\n| {name} | rows/s | oarlock / it | valid accuracy |\n|---|---|---|---|")
    verdicts = []
    for variant in VARIANTS:
        rates = [rows / statistics.median(result[variant]["turns"]) for result in rounds]
        ratios = [
            statistics.median(np.divide(result[variant]["turns"], result["oarlock"]["turns"])) for result in rounds
        ]
        accuracies = [result[variant]["accuracy"] for result in rounds]
        shown = "" if variant == "oarlock" else machine.spread(ratios)
        print(f"| {variant} | {machine.spread(rates, '{:,.0f}')} | {shown} | {machine.spread(accuracies)} |")
        bar = WORKLOADS[name].bars.get(variant)
        if bar is not None:
            verdict = "PASS  " if statistics.median(ratios) >= bar else "MISSED"
            verdicts.append(f"{verdict}  {name}: oarlock / {variant} {machine.spread(ratios)}, bar {bar}")
    saves = [1000 * result["oarlock"]["save"] for result in rounds]
    print(f"\nA checkpoint took {machine.spread(saves, '{:.0f}')} ms.", flush=True)
    return verdicts


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of new processes each (%(default)s)")
    parser.add_argument("--turns", type=int, default=9, help="turns of each process in a round (%(default)s)")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument(
        "--mnist", type=Path, default=os.environ.get("OARLOCK_MNIST", REPOSITORY.parent / "shared" / "data" / "mnist"),
        help="folder with the four IDX files of MNIST (environment: OARLOCK_MNIST)",
    )  # fmt: skip
    args = parser.parse_args()
    mnist = args.mnist.absolute()
    print(machine.description("oarlock", "paddlepaddle", "numpy") + ", OMP_NUM_THREADS=1")
    if not mnist.is_dir():
        print(f"No MNIST in {args.mnist}: seed and conv train on random rows of its shape.")
        mnist = None
    print(f"{args.rounds} rounds of {args.turns} turns; median (min..max) over the rounds")
    verdicts = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        register_turns(folder)
        for name in args.workloads:
            workload = WORKLOADS[name]
            train, valid = prepare(name, folder, mnist)
            print(f"\n{name}: {train} rows and {valid} to evaluate an epoch, batch {workload.batch_size}, "
                  f"turns of {workload.epochs} epochs, {' '.join(workload.overrides)}", flush=True)  # fmt: skip
            rounds = [run_round(name, folder, args.turns) for _ in range(args.rounds)]
            rows = train // workload.batch_size * workload.batch_size * workload.epochs
            verdicts += report(name, rounds, rows)
    print("\n" + "\n".join(verdicts))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], sys.argv[3], Path(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
