"""Help and completion with 50 plugins of 4 components each installed, beside none, interleaved.

Each plugin is a package with an entry point and a module of four documented components with five options. A round runs
every command with and without them; the ratio is taken within a round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import machine
from startup import OARLOCK, seconds

PLUGINS, BAR = 50, 1.5
COMMANDS = {
    "oarlock train --help": [OARLOCK, "train", "--help"],
    "oarlock _complete -- train opti": [OARLOCK, "_complete", "--", "train", "opti"],
    "oarlock _complete -- train optimizer.": [OARLOCK, "_complete", "--", "train", "optimizer."],
}
HOOKS = {
    "optimizer": "build_optimizer(self, parameters, schedule)",
    "model": "build_model(self, spec)",
    "callback": "on_evaluation_end(self, run, metrics)",
    "regularizer": "compute_penalty(self, model)",
}
COMPONENT = '''
@component
class {cls}:
    """The {group} number {number}.

    Args:
        rate: a number.
        size: an integer.
        name: a word.
        flag: a switch.
        steps: a list.
    """

    rate: float = 0.1
    size: int = 8
    name: str = "a"
    flag: bool = True
    steps: list[int] = field(default_factory=lambda: [1, 2])

    @hookimpl
    def {hook}:
        return None
'''


def install(site):
    """Write the packages."""
    for number in range(PLUGINS):
        module = f"oarlock_many_{number}"
        source = ["from dataclasses import field", "from oarlock import component, hookimpl"]
        register = ["@hookimpl", "def register_components(register):"]
        for group, hook in HOOKS.items():
            cls = f"{group.capitalize()}{number}"
            source.append(COMPONENT.format(cls=cls, group=group, number=number, hook=hook))
            register.append(f'    register("{group}/many_{number}", {cls})')
        (site / f"{module}.py").write_text("\n".join([*source, *register]) + "\n", encoding="utf-8")
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[oarlock]\nmany_{number} = {module}\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds (%(default)s)")
    machine.results_argument(parser)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print(machine.description("oarlock", "hydra-core", "pluggy") + f"; {args.rounds} rounds, median (min..max)")
    times = {(name, many): [] for name in COMMANDS for many in (False, True)}
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        site.mkdir()
        install(site)
        before = os.environ.get("PYTHONPATH", "")
        for number in range(-1, args.rounds):
            for name, command in COMMANDS.items():
                for many in (False, True) if number % 2 else (True, False):
                    os.environ["PYTHONPATH"] = f"{site}{os.pathsep}{before}" if many else before
                    elapsed = seconds(command, folder)
                    if number >= 0:  # the first writes byte code and fills the page cache
                        times[name, many].append(elapsed)
    print(f"\n| command | none, ms | {PLUGINS} plugins, ms | ratio | bar |\n|---|---|---|---|---|")
    figures = {}
    for name in COMMANDS:
        none, many = times[name, False], times[name, True]
        ratios = [mine / reference for mine, reference in zip(many, none, strict=True)]
        shown = [machine.spread([1000 * value for value in values], "{:.0f}") for values in (none, many)]
        figures[name] = {
            "none_ms": machine.summary([1000 * one for one in none]), "ratio": machine.summary(ratios),
            "many_ms": machine.summary([1000 * one for one in many]),
        }  # fmt: skip
        met = machine.verdict(statistics.median(ratios), BAR, at_least=False)
        print(f"| {name} | {shown[0]} | {shown[1]} | {machine.spread(ratios, '{:.2f}')} | {met} |")
    kept = {"rounds": args.rounds, "plugins": PLUGINS, "figures": figures, "bar": BAR}
    print(machine.keep(args.results, "many-plugins", ["oarlock", "hydra-core", "pluggy"], kept))


if __name__ == "__main__":
    main()
