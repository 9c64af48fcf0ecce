"""Start-up, interleaved: of commands that must not import Paddle, and of `oarlock train` to its first step.

A round runs every command once, in turning order; a ratio is taken within a round, and the median of a command's ratios is
what must stay within its bar. Times are wall clock from the start of the process to its end; of the first training step, to
the moment when it has been made.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import environments
import machine
from trainers import PEERS

OARLOCK = str(Path(sys.executable).with_name("oarlock"))
HYDRA, PADDLE = "python -c 'import hydra'", "python -c 'import paddle'"
HELP, FIRST_STEP, CLI = "oarlock --help", "oarlock train, first step", "LightningCLI app --help"
FIRST_STEP_CALLBACK = "+callback=first_step"
COMMANDS = {
    HYDRA: [sys.executable, "-c", "import hydra"],
    "oarlock train --help": [OARLOCK, "train", "--help"],
    "oarlock _complete -- train opti": [OARLOCK, "_complete", "--", "train", "opti"],
    "oarlock plugins": [OARLOCK, "plugins"],
    "oarlock show optimizer/adam": [OARLOCK, "show", "optimizer/adam"],
    HELP: [OARLOCK, "--help"],
    PADDLE: [sys.executable, "-c", "import paddle"],
    FIRST_STEP: [OARLOCK, "train", "-p", "oarlock_bench", FIRST_STEP_CALLBACK],
}
# Of each: what it is compared with, the bar, and whether the ratio must reach it or stay below it.
BARS = {
    "oarlock train --help": (HYDRA, 3.0, False),
    "oarlock _complete -- train opti": (HYDRA, 3.0, False),
    "oarlock plugins": (HYDRA, 3.0, False),
    "oarlock show optimizer/adam": (HYDRA, 3.0, False),
    FIRST_STEP: (PADDLE, 1.6, False),
    CLI: (HELP, 10.0, True),
}


def seconds(command, folder):
    """How long a command takes; one that fails or prints nothing where it should ends the benchmark."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    elapsed = time.perf_counter() - started
    if done.returncode != 0 or (
        command[0] == OARLOCK and FIRST_STEP_CALLBACK not in command and not done.stdout.strip()
    ):
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return elapsed


def first_step_seconds(folder):
    """From the start of `oarlock train` to the end of its first step; the clock is the system's, not the process's."""
    written = Path(os.environ["OARLOCK_BENCH_FIRST_STEP"])
    written.unlink(missing_ok=True)
    started = time.perf_counter()
    seconds([*COMMANDS[FIRST_STEP], f"hydra.run.dir={folder}/run-{time.monotonic_ns()}"], folder)
    return float(written.read_text()) - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds (%(default)s)")
    machine.results_argument(parser)
    args = parser.parse_args()
    commands, missing = dict(COMMANDS), {}
    try:
        commands[CLI] = [environments.python("torch"), str(PEERS / "lightning_app.py"), "--help"]
    except environments.Missing as reason:
        missing[CLI] = str(reason)
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PEERS)}
    print(machine.description("oarlock", "hydra-core", "pluggy") + f"; {args.rounds} rounds, median (min..max)")
    names, times = list(commands), {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OARLOCK_BENCH_FIRST_STEP"] = f"{folder}/first-step"

        def measure(name):
            return first_step_seconds(folder) if name == FIRST_STEP else seconds(commands[name], folder)

        for name in names:  # the first of each writes byte code and fills the page cache
            measure(name)
        for number in range(args.rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                times[name].append(measure(name))
    figures = {}
    print("\n| command | ms | ratio | to | bar |\n|---|---|---|---|---|")
    for name in names:
        milliseconds = [1000 * value for value in times[name]]
        figures[name] = {"milliseconds": machine.summary(milliseconds)}
        shown = "| | |"
        if name in BARS:
            reference, bar, at_least = BARS[name]
            ratios = [mine / other for mine, other in zip(times[name], times[reference], strict=True)]
            figures[name] |= {"to": reference, "ratio": machine.summary(ratios), "bar": bar, "at_least": at_least}
            met = machine.verdict(statistics.median(ratios), bar, at_least)
            shown = f"{machine.spread(ratios, '{:.2f}')} | {reference} | {met} |"
        print(f"| {name} | {machine.spread(milliseconds, '{:.0f}')} | {shown}")
    for name, reason in missing.items():
        print(f"missing: {name}: {reason}")
    kept = {"rounds": args.rounds, "figures": figures, "missing": missing}
    print(machine.keep(args.results, "startup", ["oarlock", "paddlepaddle", "hydra-core", "pluggy"], kept))


if __name__ == "__main__":
    main()
