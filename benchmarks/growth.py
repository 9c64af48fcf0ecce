"""How cost grows: time and memory of a step with width, batch and depth; trials a minute with trials and parameters.

A step's time is an epoch's, with its evaluation, divided by its steps, for perceptrons on the digits. What trains takes
turns as in training.py. Sweeps are whole commands; their memory is what all their processes hold together.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import machine
import sweeping
import trainers
from workloads import WORKLOADS, perceptron, prepare

WIDTH, BATCH = 128, 32
# Of each axis: the points, and the widths and the batch size of one.
AXES = {
    "width": ([32, 128, 512, 2048], lambda value: ([value], BATCH)),
    "batch": ([8, 32, 128, 512], lambda value: ([WIDTH], value)),
    "depth": ([1, 2, 4, 8, 16], lambda value: ([WIDTH] * value, BATCH)),
}
VARIANTS = ["handwritten", "tuned", "jax-scan"]
TRIALS, WIDTHS, TRIALS_OF_WIDTHS = [8, 32, 128, 512], [32, 128, 512, 1024], 32
HYDRA_TRIALS = 32  # at most


def parameters(widths):
    """Of a perceptron on the digits, BatchNorm's running statistics left out."""
    sizes = [64, *widths, 10]
    return sum(a * b + b for a, b in pairwise(sizes)) + 2 * sum(widths)


def steps(args):
    """The figures of each axis: `{axis: [{value, parameters, variant: {microseconds, memory}}]}`."""
    known, axes = {}, {}
    for axis, (values, shape) in AXES.items():
        axes[axis] = []
        for value in values:
            widths, batch = shape(value)
            key = (tuple(widths), batch)
            if key not in known:
                known[key] = step(widths, batch, args)
            axes[axis].append({"value": value, "parameters": parameters(widths), **known[key]})
            print(f"| {axis} {value} | " + " | ".join(
                f"{name} {one['microseconds_per_step']['median']:.1f} µs, {one['memory_mib']:.0f} MiB"
                for name, one in known[key].items()) + " |", flush=True)  # fmt: skip
    return axes


def step(widths, batch, args):
    """The figures of one perceptron: `{variant: {microseconds_per_step, memory_mib}}`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, workload = Path(scratch), perceptron(widths, batch)
        spec, train, _ = prepare("point", workload, folder)
        try:
            rounds = [
                trainers.run_round(VARIANTS, spec, folder, 1, args.turns, args.seconds) for _ in range(args.rounds)
            ]
        except trainers.Failed as reason:
            print(f"FAILED widths {widths}, batch {batch}: {reason}", file=sys.stderr)
            return {}
    epochs, memory = trainers.gather(rounds, "epoch"), trainers.gather(rounds, "memory")
    return {
        name: {
            "microseconds_per_step": machine.summary([1e6 * seconds / (train // batch) for seconds in values]),
            "memory_mib": machine.round4(statistics.median(memory[name])),
        }
        for name, values in epochs.items()
    }  # fmt: skip


def sweeps(args):
    """The figures of sweeps: by trials, and by width."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        spec, _, _ = prepare("small", WORKLOADS["small"], root)

        def rate(name, trials, **options):
            rates, peaks = [], []
            way = sweeping.hydra_basic if name == "hydra" else sweeping.oarlock
            for number in range(args.sweep_rounds):
                folder = root / "-".join(map(str, [name, trials, *options.values(), number]))
                try:
                    lines = way(trials, folder, spec.arrays, **options)
                    found = sweeping.measure(lines, folder, trials, memory=True)
                except sweeping.Failed as reason:
                    print(f"FAILED {name}, {trials} trials, {options}: {reason}", file=sys.stderr)
                    return None
                rates.append(found[0])
                peaks.append(found[1])
            print(f"| {name}, {trials} trials {options or ''} | {machine.spread(rates, '{:.0f}')} a minute "
                  f"| {max(peaks):.0f} MiB |", flush=True)  # fmt: skip
            return {"trials_per_minute": machine.summary(rates), "memory_mib": machine.round4(max(peaks))}

        by_trials = [
            {"value": trials, "oarlock": rate("oarlock", trials),
             "hydra": rate("hydra", trials) if trials <= HYDRA_TRIALS else None}
            for trials in args.trials
        ]  # fmt: skip
        by_parameters = [
            {"value": width, "parameters": parameters([width]), "oarlock": rate("oarlock", TRIALS_OF_WIDTHS, width=width)}
            for width in WIDTHS
        ]  # fmt: skip
    return {"trials": by_trials, "parameters": by_parameters, "trials_of_parameters": TRIALS_OF_WIDTHS}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of new processes each (%(default)s)")
    parser.add_argument("--turns", type=int, default=2, help="turns of each process in a round (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.3, help="the least that a turn takes (%(default)s)")
    parser.add_argument("--sweep-rounds", type=int, default=2, help="sweeps at each point (%(default)s)")
    parser.add_argument("--trials", type=int, nargs="+", default=TRIALS, help="sizes of sweeps (%(default)s)")
    parser.add_argument("--only", choices=("steps", "sweeps"), help="only one half")
    machine.results_argument(parser)
    args = parser.parse_args()
    print(machine.description("oarlock", "paddlepaddle"))
    kept = {"rounds": args.rounds, "sweep_rounds": args.sweep_rounds}
    for part, measure in (("steps", steps), ("sweeps", sweeps)):
        if args.only in (None, part):
            kept["figures"] = measure(args)
            print(machine.keep(args.results, f"growth-{part}", ["oarlock", "paddlepaddle"], kept))


if __name__ == "__main__":
    main()
