"""Trials a minute, cold: oarlock beside a shell loop, Hydra's basic launcher and Ray Tune on a hand-written loop.

32 trials of five epochs of *small*, whole commands from their start to their end, interleaved; a ratio is taken within a
round. The shell loop pays the same for each trial, so that some of the 32 tell its rate; it and Ray Tune, the slow ones,
take part in the first rounds only. Then 1,024 trials by oarlock alone, start-up and a record of each trial included.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import environments
import machine
import sweeping
from workloads import WORKLOADS, prepare

BARS = {"shell loop": 20.0, "Hydra, basic launcher": 3.5, "Ray Tune": 20.0}
MANY, MANY_BAR = 1024, 2500.0
SLOW_ROUNDS = 2
FEW_ENOUGH = 60  # seconds; a sweep of 1,024 that takes longer is not repeated
WAYS = {
    "oarlock": sweeping.oarlock,
    "Hydra, basic launcher": sweeping.hydra_basic,
    "shell loop": sweeping.shell,
    "Ray Tune": sweeping.ray_tune,
    "Ray Tune, workers kept": partial(sweeping.ray_tune, reuse=True),
}
SLOW = ("shell loop", "Ray Tune", "Ray Tune, workers kept")


def compare(args, arrays, root, missing):
    """Trials a minute of each way, by round."""
    rates = {name: {} for name in WAYS}
    for number in range(args.rounds):
        names = [name for name in WAYS if name not in missing and (name not in SLOW or number < SLOW_ROUNDS)]
        for name in names[number % len(names) :] + names[: number % len(names)]:
            trials = args.shell_trials if name == "shell loop" else args.trials
            # Hydra reads a comma as a list.
            folder = root / f"{number}-{name.replace(' ', '-').replace(',', '')}"
            try:
                rates[name][number], _ = sweeping.measure(WAYS[name](trials, folder, arrays), folder, trials)
            except (sweeping.Failed, environments.Missing) as reason:
                print(f"missing: {name}: {reason}")
                missing[name] = str(reason)[:300]
    return {name: found for name, found in rates.items() if found}


def many(args, arrays, root):
    """Trials a minute of oarlock's large sweep."""
    rates = []
    for number in range(args.many_rounds):
        started = time.perf_counter()
        folder = root / f"many-{number}"
        rates.append(sweeping.measure(sweeping.oarlock(args.many, folder, arrays), folder, args.many)[0])
        if time.perf_counter() - started > FEW_ENOUGH:
            break
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (%(default)s)")
    parser.add_argument("--trials", type=int, default=32, help="trials of a sweep, a power of two (%(default)s)")
    parser.add_argument("--shell-trials", type=int, default=8, help="trials of the shell loop (%(default)s)")
    parser.add_argument(
        "--many", type=int, default=MANY, help="trials of the large sweep; 0 leaves it out (%(default)s)"
    )
    parser.add_argument("--many-rounds", type=int, default=3, help="how often that is repeated (%(default)s)")
    machine.results_argument(parser)
    args = parser.parse_args()
    print(
        machine.description("oarlock", "paddlepaddle", "hydra-core") + f"; {args.rounds} rounds of {args.trials} trials"
    )
    missing, failed = {}, ""
    try:
        environments.python("ray")
    except environments.Missing as reason:
        missing = {name: str(reason) for name in SLOW[1:]}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        spec, _, _ = prepare("small", WORKLOADS["small"], root)
        rates = compare(args, spec.arrays, root, missing)
        if "oarlock" not in rates:
            raise SystemExit(f"oarlock: {missing['oarlock']}")
        try:
            large = many(args, spec.arrays, root) if args.many else []
        except sweeping.Failed as reason:
            large, failed = [], str(reason)[:300]
    figures = {}
    print("\n| | trials a minute | oarlock is | bar |\n|---|---|---|---|")
    for name, found in rates.items():
        ratios = [rates["oarlock"][number] / rate for number, rate in found.items() if number in rates["oarlock"]]
        figures[name] = {"trials_per_minute": machine.summary(list(found.values())), "ratio": machine.summary(ratios)}
        met = machine.verdict(statistics.median(ratios), BARS[name]) if name in BARS else ""
        print(
            f"| {name} | {machine.spread(list(found.values()), '{:.0f}')} | {machine.spread(ratios, '{:.2f}')} | {met} |"
        )
    kept = {
        "rounds": args.rounds, "slow_rounds": SLOW_ROUNDS, "trials": args.trials, "shell_trials": args.shell_trials,
        "figures": figures, "bars": BARS, "missing": missing,
    }  # fmt: skip
    if large:
        met = machine.verdict(statistics.median(large), MANY_BAR)
        print(f"\n{args.many} trials: {machine.spread(large, '{:.0f}')} a minute, {met}")
        kept["many"] = {"trials": args.many, "trials_per_minute": machine.summary(large), "bar": MANY_BAR}
    elif failed:
        print(f"\n{args.many} trials: FAILED: {failed}")
        kept["many"] = {"trials": args.many, "failed": failed, "bar": MANY_BAR}
    for name, reason in missing.items():
        print(f"missing: {name}: {reason}")
    print(machine.keep(args.results, "sweeps", ["oarlock", "paddlepaddle", "hydra-core", "optuna"], kept))


if __name__ == "__main__":
    main()
