"""The plots of docs/benchmarks.md: python plots.py FOLDER, with the figures of page.py on the standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# The same figures give the same file, and letters stay letters.
plt.rcParams |= {
    "svg.hashsalt": "oarlock",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
COLORS = {"oarlock": "#c2410c", "handwritten": "#1d4ed8", "tuned": "#0e7490", "jax-scan": "#6b7280", "hydra": "#6b7280"}
NAMES = {"handwritten": "Paddle by hand", "tuned": "by hand, tuned", "jax-scan": "JAX scan", "hydra": "Hydra, basic"}


def save(figure, folder, name):
    figure.set_layout_engine("constrained")
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def logarithmic(axis, at=None):
    """A logarithmic axis with plain numbers: at the points that are given, else at 1, 2, 5, 10, 20 …"""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_minor_formatter(NullFormatter())
    if at is None:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        axis.set_ticks(at)
        axis.set_ticks([], minor=True)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))


def legend(figure, axes):
    """One for all, above them."""
    lines, names = axes[0][0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside upper center", ncols=len(names), frameon=False)


def errors(summaries):
    """Distances from the medians to the ends of the ranges."""
    return [[one["median"] - one["low"] for one in summaries], [one["high"] - one["median"] for one in summaries]]


def training(record, folder, name):
    """How many times as fast as each peer oarlock is, by workload, with the bars."""
    found = {key: value for key, value in record["workloads"].items() if "figures" in value}
    figure, axes = plt.subplots(1, len(found), figsize=(3 * len(found) + 1.5, 4), sharey=True, squeeze=False)
    variants = list(dict.fromkeys(one for value in found.values() for one in value["figures"] if one != "oarlock"))
    for axis, (workload, value) in zip(axes[0], found.items(), strict=True):
        there = [one for one in variants if one in value["figures"]]
        ratios = [value["figures"][one]["ratio"] for one in there]
        places = [variants.index(one) for one in there]
        axis.errorbar(
            [one["median"] for one in ratios], places, xerr=errors(ratios), color=COLORS["oarlock"], fmt="o", ms=5
        )
        for variant, bar in value["bars"].items():
            place = variants.index(variant)
            axis.plot([bar, bar], [place - 0.45, place + 0.45], color="black")
        axis.axvline(1, color="gray", linewidth=1)
        axis.set(title=workload, xlabel="oarlock is × as fast (line: the bar)")
        logarithmic(axis.xaxis)
        axis.set_yticks(range(len(variants)), variants)
    axes[0][0].invert_yaxis()
    save(figure, folder, name)


def sweeps(record, folder):
    """Trials a minute of each way."""
    names = list(record["figures"])
    rates = [record["figures"][name]["trials_per_minute"] for name in names]
    if "trials_per_minute" in record.get("many", {}):
        names.append(f"oarlock, {record['many']['trials']:,} trials")
        rates.append(record["many"]["trials_per_minute"])
    figure, axis = plt.subplots(figsize=(7, 2.8))
    colors = [COLORS["oarlock"] if name.startswith("oarlock") else COLORS["jax-scan"] for name in names]
    axis.barh(names, [one["median"] for one in rates], xerr=errors(rates), color=colors, height=0.6)
    axis.set(xlabel=f"trials a minute, {record['trials']} trials")
    logarithmic(axis.xaxis)
    axis.set_xlim(left=1)
    axis.invert_yaxis()
    save(figure, folder, "sweeps")


def lines(axis, points, key, variants):
    """A line for each of those who were measured; `key` takes a number or a summary from their figures."""
    for variant in variants:
        there = [point for point in points if point.get(variant)]
        values = [point[variant][key] for point in there]
        at, color, name = [point["value"] for point in there], COLORS[variant], NAMES.get(variant, variant)
        if values and isinstance(values[0], dict):
            axis.errorbar(
                at, [one["median"] for one in values], errors(values), color=color, label=name, marker="o", ms=3
            )
        else:
            axis.plot(at, values, color=color, label=name, marker="o", ms=3)


def finish(axis, name, unit, at, log):
    """Labels and scales of a plot of growth."""
    axis.set(xlabel=name, ylabel=unit)
    logarithmic(axis.xaxis, at)
    if log:
        logarithmic(axis.yaxis)
    else:
        axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
        axis.yaxis.set_major_formatter("{x:,.0f}")


def growth_steps(record, folder):
    found = record["figures"]
    figure, axes = plt.subplots(2, len(found), figsize=(10, 5.5), squeeze=False)
    for column, (name, points) in enumerate(found.items()):
        variants = [one for one in COLORS if any(one in point for point in points)]
        for row, (key, unit) in enumerate((("microseconds_per_step", "µs a step"), ("memory_mib", "peak MiB"))):
            lines(axes[row][column], points, key, variants)
            finish(axes[row][column], name, unit, [point["value"] for point in points], row == 0)
    legend(figure, axes)
    save(figure, folder, "growth-steps")


def growth_sweeps(record, folder):
    found = record["figures"]
    figure, axes = plt.subplots(2, 2, figsize=(8, 5.5))
    of_width = [{**point, "value": point["parameters"]} for point in found["parameters"]]
    for column, (name, points) in enumerate((("trials", found["trials"]), ("parameters", of_width))):
        for row, (key, unit) in enumerate((("trials_per_minute", "trials a minute"), ("memory_mib", "peak MiB"))):
            lines(axes[row][column], points, key, ["oarlock", "hydra"])
            wide = row == 0 and name == "trials"
            finish(axes[row][column], name, unit, [point["value"] for point in points], wide)
    legend(figure, axes)
    save(figure, folder, "growth-sweeps")


def main():
    folder, records = Path(sys.argv[1]), json.load(sys.stdin)
    folder.mkdir(parents=True, exist_ok=True)
    for threads in (1, 2):
        name = f"training-threads-{threads}"
        if records[name] and any("figures" in one for one in records[name]["workloads"].values()):
            training(records[name], folder, name)
    for name, draw in (("sweeps", sweeps), ("growth-steps", growth_steps), ("growth-sweeps", growth_sweeps)):
        if records[name]:
            draw(records[name], folder)


if __name__ == "__main__":
    main()
