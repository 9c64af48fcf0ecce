"""What ten callbacks cost a step of *small*, beside runs without them, in turns; and runs without once more.

Ten do nothing after each step: what is left is the calls. Ten look at the run after each step, and say that they change
nothing of it, or say nothing, so that it has to be told from their code. Ten count steps, epochs and evaluations, and stand
beside one hook that counts the same by hand. Ten count epochs alone. Beside all stand the default callbacks.

A round is a process of its own that makes short runs in random order (peers/ten_callbacks.py). Of a round, a variant's figure
is the lower quartile of its epochs: what else goes on in the machine makes an epoch longer and never shorter, and on a shared
one it is many times what is measured here. The ratio of the medians is kept beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
import numpy as np
import trainers

BAR = 1.02
WITHOUT, COUNTING, BY_HAND = "without", "ten count", "counted by hand"
BARRED = ("ten do nothing", "ten look at the run", "ten look and say so", COUNTING)
STEPS = 33  # of an epoch: 1,077 rows of digits to train on, in batches of 32


def round_of(seconds):
    """The seconds of each epoch of each variant, in a new process."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        core = max(os.sched_getaffinity(0))
        done = subprocess.run(
            [sys.executable, str(trainers.PEERS / "ten_callbacks.py"), str(seconds), str(report)], cwd=scratch,
            env=trainers.environment_variables(1), capture_output=True, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"ten_callbacks.py ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return json.loads(report.read_text(encoding="utf-8"))


def ratios(found, other, share):
    """A quantile of the epochs of each variant, as a multiple of another's."""
    quantiles = {name: np.quantile(epochs, share) for name, epochs in found.items()}
    return {name: float(value / quantiles[other]) for name, value in quantiles.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="rounds, of a new process each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="how long a round measures (%(default)s)")
    machine.results_argument(parser)
    args = parser.parse_args()
    print(machine.description("oarlock", "paddlepaddle") + f"; {args.rounds} rounds of {args.seconds:g} s, one thread")
    rounds = [round_of(args.seconds) for _ in range(args.rounds)]
    quartiles, medians = ([ratios(found, WITHOUT, share) for found in rounds] for share in (0.25, 0.5))
    figures = {
        name: {
            "microseconds_per_step": machine.summary([1e6 * np.quantile(found[name], 0.25) / STEPS for found in rounds]),
            "ratio": machine.summary([one[name] for one in quartiles]),
            "ratio_of_medians": machine.summary([one[name] for one in medians]),
        }
        for name in rounds[0]
    }  # fmt: skip
    print("\n| small | µs a step | × without | bar | medians × without |\n|---|---|---|---|---|")
    for name, figure in figures.items():
        bar = machine.verdict(figure["ratio"]["median"], BAR, at_least=False) if name in BARRED else ""
        step, ratio, other = figure["microseconds_per_step"], figure["ratio"], figure["ratio_of_medians"]
        print(f"| {name} | {step['median']:.1f} ({step['low']:.1f}..{step['high']:.1f}) "
              f"| {ratio['median']:.4f} ({ratio['low']:.4f}..{ratio['high']:.4f}) | {bar} "
              f"| {other['median']:.4f} ({other['low']:.4f}..{other['high']:.4f}) |")  # fmt: skip
    beyond = [ratios(found, BY_HAND, 0.25)[COUNTING] for found in rounds]
    print(f"\nTen that count, × the same counted by hand: {machine.spread(beyond, '{:.4f}')}")
    beyond = machine.summary(beyond)
    kept = {"rounds": args.rounds, "figures": figures, "beyond": beyond, "bar": BAR, "barred": BARRED}
    print(machine.keep(args.results, "callbacks", ["oarlock", "paddlepaddle"], kept))


if __name__ == "__main__":
    main()
