"""Start-up of the commands that must not import Paddle, beside `python -c "import hydra"`, interleaved.

A round runs every command once, in turning order; a ratio is taken within a round, and the median of a command's
ratios is what must stay within the bar. Times are wall clock from the start of the process to its end.
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

import machine

BAR = 3.0
OARLOCK = str(Path(sys.executable).with_name("oarlock"))
REFERENCE = "python -c 'import hydra'"
COMMANDS = {
    REFERENCE: [sys.executable, "-c", "import hydra"],
    "oarlock train --help": [OARLOCK, "train", "--help"],
    "oarlock _complete -- train opti": [OARLOCK, "_complete", "--", "train", "opti"],
    "oarlock plugins": [OARLOCK, "plugins"],
    "oarlock show optimizer/adam": [OARLOCK, "show", "optimizer/adam"],
}


def seconds(command, folder):
    """How long a command takes; one that fails or prints nothing where it should ends the benchmark."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    elapsed = time.perf_counter() - started
    if done.returncode != 0 or (command[0] == OARLOCK and not done.stdout.strip()):
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return elapsed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds (%(default)s)")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print(machine.description("oarlock", "hydra-core", "pluggy") + f"; {args.rounds} rounds, median (min..max)")
    names, times = list(COMMANDS), {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:  # the first of each writes byte code and fills the page cache
            seconds(COMMANDS[name], folder)
        for number in range(args.rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                times[name].append(seconds(COMMANDS[name], folder))
    print("\n| command | ms | ratio | bar |\n|---|---|---|---|")
    for name in names:
        milliseconds = [1000 * value for value in times[name]]
        ratios = [mine / reference for mine, reference in zip(times[name], times[REFERENCE], strict=True)]
        bar = "" if name == REFERENCE else f"{'PASS' if statistics.median(ratios) <= BAR else 'MISSED'} (<= {BAR:g})"
        print(f"| {name} | {machine.spread(milliseconds, '{:.0f}')} | {machine.spread(ratios, '{:.2f}')} | {bar} |")


if __name__ == "__main__":
    main()
