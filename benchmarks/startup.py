"""Time to an answer of the commands that import neither Hydra nor Paddle, beside `python -c "import hydra"`."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "import hydra": ["-c", "import hydra"],
    "train --help": ["-m", "oarlock", "train", "--help"],
    "completion": ["-m", "oarlock", "_complete", "--", "train", "opti"],
    "plugins": ["-m", "oarlock", "plugins"],
    "show": ["-m", "oarlock", "show", "optimizer/adam"],
}
BAR = 3.0


def seconds(arguments: list[str]) -> float:
    """Wall time of one process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    base = statistics.median(times["import hydra"])
    for name, found in times.items():
        middle = statistics.median(found)
        verdict = "" if name == "import hydra" else ("PASS" if middle <= BAR * base else "MISSED")
        print(f"{name:<14} {middle * 1e3:6.0f} ms  ({min(found) * 1e3:.0f} to {max(found) * 1e3:.0f})  "
              f"{middle / base:5.2f} x  {verdict}")  # fmt: skip


if __name__ == "__main__":
    main()
