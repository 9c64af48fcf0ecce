"""Peak memory of oarlock beside the hand-written loop on *seed*: whole processes, two epochs, one after the other.

The peak is the largest resident set of a process from its start to its end, imports and loading included. The hand-written
loop gives the arrays back that it has copied to tensors. 60,000 rows are what `experiment=seed_mnist` trains on; 6,000 are
what training.py uses. Memory of the other peers stands in the figures of training.py.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import environments
import machine
import trainers
from workloads import MNIST, WORKLOADS, prepare

BAR, EPOCHS = 1.25, 2
VARIANTS = ["oarlock", "oarlock-eager", "handwritten", "tuned"]


def peak(variant, spec, folder):
    """The largest resident set of a process that trains, in MiB."""
    peer = trainers.PEER[variant]
    command = [environments.python(peer.environment), str(trainers.PEERS / peer.script), variant, str(spec)]
    variables = {**trainers.environment_variables(1), "OARLOCK_BENCH_TURN": f"- {EPOCHS}"}
    log = folder / f"{variant}.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=variables, cwd=folder, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{variant} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
    return usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (%(default)s)")
    parser.add_argument("--rows", type=int, nargs="+", default=[6_000, 60_000], help="rows of MNIST (%(default)s)")
    machine.results_argument(parser)
    args = parser.parse_args()
    print(machine.description("oarlock", "paddlepaddle") + f"; {args.rounds} rounds, one thread")
    kept = {"rounds": args.rounds, "bar": BAR, "mnist": MNIST.is_dir(), "rows": {}}
    with tempfile.TemporaryDirectory() as scratch:
        for rows in args.rows:
            folder = Path(scratch) / str(rows)
            folder.mkdir()
            # In a process of its own: a child counts what its parent held when it was forked.
            subprocess.run([sys.executable, __file__, "--prepare", str(folder), str(rows)], check=True)
            peaks = {variant: [] for variant in VARIANTS}
            for number in range(args.rounds):
                for variant in VARIANTS if number % 2 else VARIANTS[::-1]:
                    peaks[variant].append(peak(variant, folder / "spec.json", folder))
            print(f"\n| seed, {rows} rows | peak MiB | oarlock / it | bar |\n|---|---|---|---|")
            figures = {}
            for variant, values in peaks.items():
                ratios = [mine / other for mine, other in zip(peaks["oarlock"], values, strict=True)]
                figures[variant] = {"memory_mib": machine.summary(values), "ratio": machine.summary(ratios)}
                bar = machine.verdict(statistics.median(ratios), BAR, False) if variant == "handwritten" else ""
                print(
                    f"| {variant} | {machine.spread(values, '{:.0f}')} | {machine.spread(ratios, '{:.3f}')} | {bar} |"
                )
            kept["rows"][str(rows)] = figures
    print(machine.keep(args.results, "memory", ["oarlock", "paddlepaddle"], kept))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--prepare"]:
        target = Path(sys.argv[2])
        prepared, _, _ = prepare("seed", replace(WORKLOADS["seed"], rows=int(sys.argv[3])), target)
        prepared.write(target / "spec.json")
    else:
        main()
