"""Trials a minute of one grid, interleaved: oarlock's sweeper, Hydra's launchers, a shell loop of `oarlock train`.

All of them make the same runs through the same trainer: 24 seeds of one epoch on digits, two at a time where they can.
A round runs each once, in turning order, whole commands from their start to their end; a ratio is taken within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import sweeping

OARLOCK = str(Path(sys.executable).with_name("oarlock"))
JOB = ["trainer.epochs=1", "callback=[]"]
HYDRAS = ["hydra/sweeper=basic"]
BARS = {"basic launcher": 1.7, "joblib launcher": 1.3, "shell loop": 3.0}


def commands(trials, folder):
    """Each way to make the runs, as command lines that follow one another."""
    sweep = [OARLOCK, "train", "-m", *JOB, f"seed=range(0,{trials})", f"hydra.sweep.dir={folder}"]
    return {
        "oarlock": [[*sweep, "hydra.launcher.slots=2"]],
        "basic launcher": [[*sweep, *HYDRAS, "hydra/launcher=basic"]],
        "joblib launcher": [[*sweep, *HYDRAS, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]],
        "shell loop": [[OARLOCK, "train", *JOB, f"seed={seed}", f"hydra.run.dir={folder}/{seed}"]
                       for seed in range(trials)],
    }  # fmt: skip


def measure(lines, folder, trials):
    """Trials a minute; ends the benchmark where one of them did not end well."""
    started = time.perf_counter()
    for line in lines:
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(line)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    seconds = time.perf_counter() - started
    if (Path(folder) / "ledger.jsonl").is_file():
        done = sweeping.completed(Path(folder))
    else:
        done = sum(json.loads(path.read_text())["status"] == "completed" for path in Path(folder).glob("*/run.json"))
    if done != trials:
        sys.exit(f"{folder}: expected {trials} completed runs, found {done}")
    return 60 * trials / seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (%(default)s)")
    parser.add_argument("--trials", type=int, default=24, help="trials of a sweep (%(default)s)")
    machine.results_argument(parser)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    versions = ("oarlock", "paddlepaddle", "hydra-core", "hydra-joblib-launcher", "optuna")
    print(machine.description(*versions) + f"; {args.rounds} rounds of {args.trials} trials, median (min..max)")
    rates = {name: [] for name in commands(1, "")}
    with tempfile.TemporaryDirectory() as root:
        for number in range(args.rounds):
            order = list(rates)[number % len(rates) :] + list(rates)[: number % len(rates)]
            for name in order:
                folder = f"{root}/{number}-{name.split()[0]}"
                rates[name].append(measure(commands(args.trials, folder)[name], folder, args.trials))
    figures = {}
    print("\n| | trials a minute | oarlock is | bar |\n|---|---|---|---|")
    for name, found in rates.items():
        ratios = [mine / other for mine, other in zip(rates["oarlock"], found, strict=True)]
        figures[name] = {"trials_per_minute": machine.summary(found), "ratio": machine.summary(ratios)}
        met = machine.verdict(statistics.median(ratios), BARS[name]) if name in BARS else ""
        print(f"| {name} | {machine.spread(found, '{:.0f}')} | {machine.spread(ratios, '{:.2f}')} | {met} |")
    kept = {"rounds": args.rounds, "trials": args.trials, "figures": figures, "bars": BARS}
    print(machine.keep(args.results, "launchers", versions, kept))


if __name__ == "__main__":
    main()
