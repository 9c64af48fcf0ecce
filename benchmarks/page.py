"""Writes docs/benchmarks.md and the plots beside it from the newest figures of each part in benchmarks/results.

python benchmarks/page.py            # write them
python benchmarks/page.py --check    # exit 1 where the page is not what the figures say
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import environments
import machine
import trainers

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = "<!-- Written by benchmarks/page.py from benchmarks/results; run `make bench-page`. -->"
WORKLOADS = {
    "small": "digits, 64-128-10 with BatchNorm, batch 32, momentum",
    "seed": "MNIST, 784-512-10 with BatchNorm, batch 32, momentum",
    "conv": "MNIST, LeNet with BatchNorm, batch 64, momentum",
    "transformer": "MNIST rows as 28 tokens, 4 encoder layers of width 64, batch 32, Adam",
}
METHOD = """\
What oarlock costs and saves, measured side by side with what else one could use. `make bench` measures everything again, in
environments that it makes for the peers; what each of them runs stands in `benchmarks/peers`, one file each.

A ratio compares moments that lie within seconds of each other: the trainers wait for one another and take turns, and oarlock
takes one before and after each few of the others. A figure is the median over rounds with new processes, and in brackets the
range of the rounds. A bar that is missed by the median is missed, wherever the range ends. Whatever is compared trains
the same rows with the same network, optimizer and batch size, leaves out the last partial batch, and evaluates as often.
oarlock runs as it is installed, with its default callbacks and checkpoints.

Evaluations are in batches of 1,024 rows, oarlock's default, but that of `Model.fit`, which by itself takes as many as in training.
Its row with large ones is another case for a second reason: malloc keeps the memory of small tensors once a larger one was freed,
and until then gives that of a large weight's gradient back to the system on each step.
"""


def newest(results, part):
    """The newest figures of a part, or None."""
    files = sorted(results.glob(f"{part}-[0-9]*.json"))
    return json.loads(files[-1].read_text(encoding="utf-8")) if files else None


def figure(value, form="{:,.3g}"):
    """A median with its range."""
    if value["low"] == value["high"]:
        return form.format(value["median"])
    return f"{form.format(value['median'])} ({form.format(value['low'])} to {form.format(value['high'])})"


def short(number):
    """A number with three digits at least."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def times(value):
    return figure(value, "{:.2f}")


def whole(value):
    return figure(value, "{:,.0f}")


def table(head, rows):
    """A Markdown table; none where there are no rows."""
    if not rows:
        return []
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def label(variant):
    return trainers.PEER[variant].label if variant in trainers.PEER else variant


def measured_on(record, more=""):
    versions = {**record["versions"], **record.get("peers", {})}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [f"{record['date']}, {record['processor']}, {record['cores']} cores, Python {record['python']}, {listed}, commit "
            f"{record['commit']}. {more}".rstrip(), ""]  # fmt: skip


def absent(missing):
    return [line for name, reason in missing.items() for line in (f"Missing: {label(name)}: {reason}", "")]


def picture(name, what):
    path = DOCS / "benchmarks" / f"{name}.svg"
    return [f"![{what}](benchmarks/{name}.svg)", ""] if path.is_file() else []


def bars(records):
    """Every bar, as `(what, measured, bar, met)`."""
    for threads in (1, 2):
        record = records[f"training-threads-{threads}"]
        for name, found in (record["workloads"] if record and threads == 1 else {}).items():
            for variant, bar in found.get("bars", {}).items():
                ratio = found["figures"][variant]["ratio"]
                yield f"*{name}*: speed × {label(variant)}", times(ratio), ratio["median"], bar, True
    if record := records["callbacks"]:
        for name in record["barred"]:
            ratio = record["figures"][name]["ratio"]
            yield f"callbacks, {name}: step × without", figure(ratio, "{:.3f}"), ratio["median"], record["bar"], False
    if record := records["memory"]:
        for rows, found in record["rows"].items():
            ratio = found["handwritten"]["ratio"]
            yield f"*seed*, {int(rows):,} rows: memory × by hand", times(ratio), ratio["median"], record["bar"], False
    if record := records["startup"]:
        for name, one in record["figures"].items():
            if "bar" in one:
                what = f"`{name}`: time × {one['to']}"
                yield what, times(one["ratio"]), one["ratio"]["median"], one["bar"], one["at_least"]
    if record := records["sweeps"]:
        for name, bar in record["bars"].items():
            if name in record["figures"]:
                ratio = record["figures"][name]["ratio"]
                yield f"{record['trials']} trials: speed × {name}", times(ratio), ratio["median"], bar, True
        large = record.get("many", {})
        if "trials_per_minute" in large:
            rate = large["trials_per_minute"]
            yield f"{large['trials']} trials: trials a minute", whole(rate), rate["median"], large["bar"], True
        elif large:
            yield f"{large['trials']} trials: trials a minute", f"failed: {large['failed']}", 0.0, large["bar"], True


def page(records):
    """The page's text."""
    lines = ["# Benchmarks", "", NOTE, "", *METHOD.splitlines(), ""]
    if not any(records.values()):
        return "\n".join([*lines, "No figures are kept yet."]) + "\n"
    lines += ["## The bars", ""]
    lines += table(["what", "measured", "bar", ""], [
        [what, shown, f"{'≥' if at_least else '≤'} {bar:g}",
         "met" if (median >= bar if at_least else median <= bar) else "**missed**"]
        for what, shown, median, bar, at_least in bars(records)
    ])  # fmt: skip
    for threads in (1, 2):
        lines += training(records[f"training-threads-{threads}"], threads)
    for part, section in SECTIONS.items():
        if records[part]:
            lines += section(records[part])
    return "\n".join(lines).rstrip() + "\n"


def training(record, threads):
    """The section of training with so many threads."""
    if record is None:
        return []
    pinned = "All are pinned to one core." if threads == 1 else "Each may use two cores."
    lines = [f"## Training, {'one thread' if threads == 1 else 'two threads'}", ""]
    lines += measured_on(
        record, pinned + ("" if record["mnist"] else " MNIST was not there: random rows of its shape.")
    )
    lines += picture(f"training-threads-{threads}", "Speed of oarlock as a multiple of each peer's, by workload")
    for name, found in record["workloads"].items():
        lines += [f"### {name}, {'one thread' if threads == 1 else 'two threads'}", "", f"{WORKLOADS[name]}.", ""]
        if "failed" in found:
            lines += [f"Failed: {found['failed']}", ""]
            continue
        lines += table(["", "rows a second", "µs a step", "oarlock is × as fast", "accuracy", "peak MiB"], [
            [label(variant), whole(one["rows_per_second"]), f"{one['microseconds_per_step']['median']:,.0f}",
             "" if variant == trainers.OARLOCK else times(one["ratio"]), f"{one['accuracy']:.3f}",
             f"{one['memory_mib']:,.0f}"]
            for variant, one in found["figures"].items()
        ])  # fmt: skip
        lines += [f"{found['rounds']} {'round' if found['rounds'] == 1 else 'rounds'}; oarlock's engine: "
                  f"{', '.join(found['engines'])}. A step's time holds its share of the evaluation. Accuracy is that of the "
                  "validation rows after the same epoch; it says that all train alike.", ""]  # fmt: skip
        lines += absent(found["missing"])
    return lines


def callbacks(record):
    rows = [[name, figure(one["microseconds_per_step"], "{:.1f}"), figure(one["ratio"], "{:.3f}"),
             figure(one["ratio_of_medians"], "{:.3f}")] for name, one in record["figures"].items()]  # fmt: skip
    return [
        "## Callbacks", "",
        *measured_on(record, f"*small*, one thread, {record['rounds']} processes, of each the lower quartile of its epochs. Ten "
                             "count steps, epochs and evaluations; by hand, one hook counts the same, without a call for each."),
        *table(["", "µs a step", "× without", "medians, × without"], rows),
        f"Ten that count take {figure(record['beyond'], '{:.3f}')} × the time of the same counted by hand.", "",
    ]  # fmt: skip


def memory(record):
    lines = ["## Memory", "", *measured_on(record, "*seed*, two epochs, whole processes, one thread.")]
    for rows, found in record["rows"].items():
        lines += [f"{int(rows):,} rows:", "", *table(["", "peak MiB", "oarlock takes ×"], [
            [label(name), whole(one["memory_mib"]), times(one["ratio"])] for name, one in found.items()
        ])]  # fmt: skip
    return lines


def startup(record):
    return ["## Start-up", "", *measured_on(record, f"{record['rounds']} rounds, one thread."), *table(
        ["", "ms", "×", "of"],
        [[f"`{name}`", whole(one["milliseconds"]), times(one["ratio"]) if "ratio" in one else "", one.get("to", "")]
         for name, one in record["figures"].items()],
    ), *absent(record["missing"])]  # fmt: skip


def many_plugins(record):
    return [f"## With {record['plugins']} plugins installed", "", *measured_on(record), *table(
        ["", "none, ms", f"{record['plugins']}, ms", "ratio"],
        [[f"`{name}`", whole(one["none_ms"]), whole(one["many_ms"]), times(one["ratio"])]
         for name, one in record["figures"].items()],
    )]  # fmt: skip


def sweeps(record):
    lines = ["## Sweeps", "", *measured_on(record, f"{record['trials']} trials of five epochs of *small*, cold.")]
    lines += picture("sweeps", "Trials a minute")
    lines += table(["", "trials a minute", "oarlock is × as fast"], [
        [name, whole(one["trials_per_minute"]), "" if name == "oarlock" else times(one["ratio"])]
        for name, one in record["figures"].items()
    ])  # fmt: skip
    lines += [f"All but oarlock train a hand-written loop. The shell loop starts a script for each trial; {record['shell_trials']} "
              f"of them tell its rate. It and Ray Tune took part in {min(record['rounds'], record['slow_rounds'])} of "
              f"{record['rounds']} rounds.", ""]  # fmt: skip
    if "trials_per_minute" in record.get("many", {}):
        large = record["many"]
        lines += [
            f"{large['trials']:,} trials: {whole(large['trials_per_minute'])} a minute, with start-up and a row each.",
            "",
        ]
    return [*lines, *absent(record["missing"])]


def launchers(record):
    return ["## Launchers", "", *measured_on(record, f"{record['trials']} runs of one epoch on digits, all by oarlock's own "
                                             "trainer."), *table(
        ["", "trials a minute", "oarlock's own is × as fast"],
        [[name, whole(one["trials_per_minute"]), "" if name == "oarlock" else times(one["ratio"])]
         for name, one in record["figures"].items()],
    )]  # fmt: skip


def pruning(record):
    return ["## Pruning", "", *measured_on(record, f"{record['trials']} trials of 20 epochs with ASHA and without, for "
                                           f"{len(record['seeds'])} seeds."), *table(
        ["", "share", "at most"],
        [[name, figure(one, "{:.1%}"), f"{one['bar']:.1%}"] for name, one in record["figures"].items()],
    )]  # fmt: skip


def growth_steps(record):
    lines = ["## How a step's cost grows", "", *measured_on(record, "Perceptrons on digits, one thread.")]
    lines += picture("growth-steps", "Microseconds a step and MiB by width, batch and depth")
    for axis, points in record["figures"].items():
        names = list(dict.fromkeys(name for point in points for name in point if name not in ("value", "parameters")))
        rows = [[f"{point['value']:,}", f"{point['parameters']:,}", *(
            f"{short(point[name]['microseconds_per_step']['median'])} µs, {point[name]['memory_mib']:,.0f} MiB"
            if name in point else "" for name in names)] for point in points]  # fmt: skip
        lines += table([axis, "parameters", *map(label, names)], rows)
    return lines


def growth_sweeps(record):
    lines = ["## How a sweep's cost grows", "", *measured_on(record, "Trials of five epochs of *small*; memory is what all "
             "processes of the sweep hold together, shared pages counted once.")]  # fmt: skip
    lines += picture("growth-sweeps", "Trials a minute and MiB by trials and by parameters")

    def shown(one):
        return f"{whole(one['trials_per_minute'])}, {one['memory_mib']:,.0f} MiB" if one else ""

    found = record["figures"]
    lines += table(["trials", "oarlock", "Hydra, basic launcher"], [
        [f"{point['value']:,}", shown(point["oarlock"]), shown(point["hydra"])] for point in found["trials"]
    ])  # fmt: skip
    lines += table(["width", "parameters", f"oarlock, {found['trials_of_parameters']} trials"], [
        [f"{point['value']:,}", f"{point['parameters']:,}", shown(point["oarlock"])] for point in found["parameters"]
    ])  # fmt: skip
    return lines


def serve(record):
    lines = ["## Predictions over HTTP", "", *measured_on(record, "One row a request; the server on one core, the clients on the "
             "other. *toy* is a network that costs next to nothing, the others are 784-1024-1024-10.")]  # fmt: skip
    lines += table(["", "median with 1 client, ms", "with 64, ms", "99th percentile, ms", "answers a second"], [
        [name, *(figure(one[key], "{:.2f}") for key in ("alone", "p50", "p99")), whole(one["per_second"])]
        for name, one in record["cases"].items()
    ])  # fmt: skip
    return lines + table(["", "measured", "bar"], [
        [name, figure(one, "{:.2f}"), f"{'at least' if one['at_least'] else 'at most'} {one['bar']:g}"]
        for name, one in record["bars"].items()
    ])  # fmt: skip


SECTIONS = {
    "callbacks": callbacks, "memory": memory, "startup": startup, "many-plugins": many_plugins, "sweeps": sweeps,
    "launchers": launchers, "pruning": pruning, "growth-steps": growth_steps, "growth-sweeps": growth_sweeps,
    "serve": serve,
}  # fmt: skip
PARTS = ["training-threads-1", "training-threads-2", *SECTIONS]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the page is what the figures say")
    machine.results_argument(parser)
    args = parser.parse_args()
    target = DOCS / "benchmarks.md"
    records = {part: newest(args.results, part) for part in PARTS}
    if not args.check and any(records.values()):
        try:
            plots = [environments.python("plots"), str(Path(__file__).with_name("plots.py")), str(DOCS / "benchmarks")]
            subprocess.run(plots, input=json.dumps(records), text=True, check=True)
        except environments.Missing as reason:
            print(f"the plots are left as they were: {reason}", file=sys.stderr)
    text = page(records)
    if not args.check:
        target.write_text(text, encoding="utf-8")
    elif not target.is_file() or target.read_text(encoding="utf-8") != text:
        sys.exit(f"{target} is not what benchmarks/results says; run python benchmarks/page.py")


if __name__ == "__main__":
    main()
