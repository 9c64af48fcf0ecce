"""Training throughput of oarlock beside Paddle by hand, `paddle.Model.fit`, torch, Lightning, Keras and JAX, interleaved.

Every figure is training rows per second over whole epochs, each with its evaluation: all pay for those, and none for its
start, its imports, its compilation and a first turn that warms up. All train the same rows with the same network,
optimizer, batch size and drop_last, and evaluate the same rows in batches of 1024. What each of them is stands in the file
of its name below peers/.

A round starts one process for each of them, and lets them train in turns of half a second or an epoch (peers/turns.py).
oarlock takes a turn after every three others, and each of those is compared with the two turns of oarlock around its own,
so that what else the machine does falls on both; a round's ratio is the median over its turns, and the median over the
rounds is what meets a bar. The range of five rounds is given beside it: it holds the true median with 94 % confidence.

Peers that no bar asks for take part in the first three rounds. One whose environment cannot be made is missing, with the
reason.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import environments
import machine
import trainers
from workloads import MNIST, WORKLOADS, prepare

ALWAYS = ["handwritten", "tuned", "fit", "fit-large", "lightning", "jax-scan", "torch", "keras-tuned"]
SOMETIMES = ["fit-tuned", "torch-tuned", "torch-compile", "lightning-tuned", "keras", "jax"]
SOME_ROUNDS = 3


def measure(workload, spec, rows, folder, args):
    """The figures of a workload, to be kept."""
    rounds = []
    for number in range(args.rounds):
        variants = args.variants or [*ALWAYS, *(SOMETIMES if number < SOME_ROUNDS else [])]
        started = time.perf_counter()
        rounds.append(trainers.run_round(variants, spec, folder, args.threads, args.turns, args.seconds))
        print(f"  round {number + 1}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    epochs, ratios = trainers.gather(rounds, "epoch"), trainers.gather(rounds, "ratio")
    memory, accuracies = trainers.gather(rounds, "memory"), trainers.gather(rounds, "accuracy")
    figures = {
        name: {
            "rows_per_second": machine.summary([rows / seconds for seconds in epochs[name]]),
            "microseconds_per_step": machine.summary([1e6 * seconds / (rows / workload.batch_size) for seconds in epochs[name]]),
            "ratio": machine.summary(ratios[name]), "ratios": [machine.round4(one) for one in ratios[name]],
            "accuracy": machine.round4(statistics.median(accuracies[name])),
            "memory_mib": machine.round4(statistics.median(memory[name])),
        }
        for name in epochs
    }  # fmt: skip
    saves = [1000 * one for one in trainers.gather(rounds, "save")[trainers.OARLOCK]]
    bars = {name: bar for name, bar in workload.bars.items() if name in figures}
    return {
        "rows": rows, "batch_size": workload.batch_size, "rounds": args.rounds, "figures": figures, "bars": bars,
        "engines": engines(folder), "checkpoint_ms": machine.summary(saves), "missing": trainers.reasons(rounds),
    }  # fmt: skip


def engines(folder):
    """What made oarlock's steps, and why where it was not what it would have liked."""
    found = set()
    for path in folder.glob("run-*/run.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        found.add(record.get("engine") or "not said")
        path.unlink()  # the next workload's runs lie beside it
    return sorted(found)


def show(name, found):
    """Print a workload's table, and which bars it meets."""
    print(f"\n| {name} | rows/s | oarlock / it | accuracy, epoch 5 | peak MiB | bar |\n|---|---|---|---|---|---|")
    for variant, figure in found["figures"].items():
        rate, ratio = figure["rows_per_second"], figure["ratio"]
        bar = found["bars"].get(variant)
        print(f"| {variant} | {rate['median']:,.0f} ({rate['low']:,.0f}..{rate['high']:,.0f}) "
              f"| {ratio['median']:.3f} ({ratio['low']:.3f}..{ratio['high']:.3f}) | {figure['accuracy']:.3f} "
              f"| {figure['memory_mib']:.0f} | {machine.verdict(ratio['median'], bar) if bar else ''} |")  # fmt: skip
    for variant, reason in found["missing"].items():
        print(f"missing: {variant}: {reason}")
    print(f"oarlock's engine: {', '.join(found['engines'])}. "
          f"A checkpoint took {found['checkpoint_ms']['median']:.0f} ms.", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of new processes each (%(default)s)")
    parser.add_argument("--turns", type=int, default=4, help="turns of each process in a round (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.4, help="the least that a turn takes (%(default)s)")
    parser.add_argument("--threads", type=int, choices=(1, 2), default=1, help="1 pins all to one core (%(default)s)")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    known = [name for name in trainers.PEER if name != trainers.OARLOCK]
    parser.add_argument("--variants", nargs="+", choices=known, help="only these beside oarlock")
    machine.results_argument(parser)
    args = parser.parse_args()
    print(machine.description("oarlock", "paddlepaddle", "numpy"))
    if not MNIST.is_dir():
        print(f"No MNIST in {MNIST}: seed, conv and transformer train on random rows of its shape.")
    print(f"{args.threads} thread(s), {args.rounds} rounds of {args.turns} turns; median (min..max) over the rounds")
    for name in {trainers.PEER[one].environment for one in args.variants or [*ALWAYS, *SOMETIMES]}:
        try:  # before anything is timed
            environments.python(name)
        except environments.Missing as reason:
            print(f"missing: {name}: {reason}")
    kept = {"threads": args.threads, "turns": args.turns, "mnist": MNIST.is_dir()}
    part = f"training-threads-{args.threads}"
    # One workload may be measured after the other.
    kept["workloads"] = machine.kept_today(args.results, part).get("workloads", {})
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in args.workloads:
            workload = WORKLOADS[name]
            spec, train, valid = prepare(name, workload, folder)
            print(f"\n{name}: {train} rows and {valid} to evaluate an epoch, batch {workload.batch_size}, "
                  f"{' '.join(workload.overrides)}", flush=True)  # fmt: skip
            rows = train // workload.batch_size * workload.batch_size
            try:
                kept["workloads"][name] = measure(workload, replace(spec, threads=args.threads), rows, folder, args)
            except trainers.Failed as reason:
                print(f"FAILED {name}: {reason}")
                kept["workloads"][name] = {"failed": str(reason).splitlines()[-1][:300]}
                continue
            finally:
                kept["peers"] = peer_versions()
            show(name, kept["workloads"][name])
            path = machine.keep(args.results, part, ["oarlock", "paddlepaddle"], kept)
    print(f"\n{path}")


def peer_versions():
    """The versions in the environments that are there."""
    found = {}
    for name in ("torch", "jax"):
        try:
            found |= environments.versions(name)
        except environments.Missing:
            continue
    return found


if __name__ == "__main__":
    main()
