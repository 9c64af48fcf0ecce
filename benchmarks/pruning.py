"""What ASHA costs and saves: the same sweep with and without it, for several seeds of the sampler.

Of each pair it reports the best validation accuracy and the epochs that were trained. Nothing here is timed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import machine

from oarlock_plugins.sweeps.ledger import Replay

OARLOCK = str(Path(sys.executable).with_name("oarlock"))
SPACE = ["optimizer.learning_rate=tag(log,interval(1e-4,1e-1))", "model.widths=[32],[128],[512]",
         "model.dropout=interval(0,0.5)", "trainer.batch_size=16,32,64"]  # fmt: skip
FIXED = ["callback=[]", "trainer.epochs=20", "sweep.sampler=random"]
LOSS, SHARE = 0.005, 0.45


def sweep(folder, trials, seed, pruner):
    """The best accuracy of a sweep, and how many epochs it trained."""
    done = subprocess.run(
        [OARLOCK, "train", "-m", *FIXED, *SPACE, f"sweep.trials={trials}", f"sweep.sampler_seed={seed}",
         f"sweep.pruner={pruner}", f"hydra.sweep.dir={folder}"], capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"the sweep ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    trials = Replay(Path(folder)).trials.values()
    best = max(trial.objective[0] for trial in trials if trial.status == "completed")
    return best, sum(trial.epochs for trial in trials)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=40, help="trials of a sweep (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="sampler seeds (%(default)s)")
    machine.results_argument(parser)
    args = parser.parse_args()
    print(machine.description("oarlock", "paddlepaddle", "optuna") + f"; {args.trials} trials of 20 epochs")
    print(
        "\n| seed | best without | best with ASHA | lost | epochs without | with | share |\n|---|---|---|---|---|---|---|"
    )
    lost, shares = [], []
    with tempfile.TemporaryDirectory() as root:
        for seed in args.seeds:
            plain, all_epochs = sweep(f"{root}/{seed}-none", args.trials, seed, "none")
            pruned, epochs = sweep(f"{root}/{seed}-asha", args.trials, seed, "asha")
            lost.append((plain - pruned) / plain)
            shares.append(epochs / all_epochs)
            print(f"| {seed} | {plain:.4f} | {pruned:.4f} | {lost[-1]:.2%} | {all_epochs} | {epochs} | {shares[-1]:.0%} |",
                  flush=True)  # fmt: skip
    figures = {}
    for name, values, bar in (("lost", lost, LOSS), ("share of the epochs", shares, SHARE)):
        median = statistics.median(values)
        figures[name] = {**machine.summary(values), "bar": bar}
        print(f"median {name}: {median:.2%}, {machine.verdict(median, bar, at_least=False)}")
    kept = {"trials": args.trials, "seeds": args.seeds, "figures": figures}
    print(machine.keep(args.results, "pruning", ["oarlock", "paddlepaddle", "optuna"], kept))


if __name__ == "__main__":
    main()
