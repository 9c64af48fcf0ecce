"""What ten callbacks cost a step of *small*, beside the same run without them, in turns; and the same run once more.

Ten do nothing after each step: what is left is the calls. Ten count steps, epochs and evaluations, and stand beside one hook
that counts the same by hand. Ten look at the run after each step, and say that they change nothing of it, or say nothing, so that
it has to be told from their code. Ten count epochs alone. Beside all stand the default callbacks. Turns are those of
training.py; here the reference takes one before and after each of the others, and there are many rounds, since where a process
happens to have its memory makes up to 3 % of such a step.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import machine
import trainers
from workloads import WORKLOADS, prepare

BAR = 1.02
COUNTING, BY_HAND = "ten-callbacks", "counts-by-hand"
BARRED = ("ten-idle-callbacks", COUNTING, "ten-watching-callbacks", "ten-reading-callbacks")
VARIANTS = ["oarlock-again", *BARRED, BY_HAND, "ten-epoch-callbacks"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=25, help="rounds, of new processes each (%(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="turns of each process in a round (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.4, help="the least that a turn takes (%(default)s)")
    machine.results_argument(parser)
    args = parser.parse_args()
    print(machine.description("oarlock", "paddlepaddle") + f"; {args.rounds} rounds of {args.turns} turns, one thread")
    workload = WORKLOADS["small"]
    with tempfile.TemporaryDirectory() as scratch:
        spec, train, _ = prepare("small", workload, Path(scratch))
        rounds = [
            trainers.run_round(VARIANTS, spec, Path(scratch), 1, args.turns, args.seconds, every=1)
            for _ in range(args.rounds)
        ]
    steps = train // workload.batch_size
    epochs, ratios = trainers.gather(rounds, "epoch"), trainers.gather(rounds, "ratio")
    figures = {
        name: {
            "microseconds_per_step": machine.summary([1e6 * seconds / steps for seconds in epochs[name]]),
            "ratio": machine.summary(ratios[name]),
        }
        for name in epochs
    }  # fmt: skip
    print("\n| small | µs a step | × without | bar |\n|---|---|---|---|")
    for name, figure in figures.items():
        bar = machine.verdict(figure["ratio"]["median"], BAR, at_least=False) if name in BARRED else ""
        step, ratio = figure["microseconds_per_step"], figure["ratio"]
        print(f"| {name} | {step['median']:.1f} ({step['low']:.1f}..{step['high']:.1f}) "
              f"| {ratio['median']:.4f} ({ratio['low']:.4f}..{ratio['high']:.4f}) | {bar} |")  # fmt: skip
    beyond = machine.summary([
        found[COUNTING]["ratio"] / found[BY_HAND]["ratio"] for found, _ in rounds if {COUNTING, BY_HAND} <= set(found)
    ])  # fmt: skip
    print(f"\nTen that count, x the same counted by hand: {beyond['median']:.4f} ({beyond['low']:.4f}..{beyond['high']:.4f}), "
          f"{machine.verdict(beyond['median'], BAR, at_least=False)}")  # fmt: skip
    kept = {
        "rounds": args.rounds,
        "figures": figures,
        "beyond": beyond,
        "bar": BAR,
        "missing": trainers.reasons(rounds),
    }
    print(machine.keep(args.results, "callbacks", ["oarlock", "paddlepaddle"], kept))


if __name__ == "__main__":
    main()
