"""`oarlock serve` beside a bare ASGI application, LitServe and MLServer, with one network, interleaved.

All servers are up on the first core, one at a time is asked, and load.py asks from the second. A round asks each once, in
turning order; a ratio is taken within a round. The peers' environments are those of environments.py.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import machine
import numpy as np
from serving import FEATURES, Servers, request, start_all

INFER = "/v2/models/mlp/infer"
OURS, UNBATCHED = "oarlock", "oarlock, no batches"
COLUMNS = {"alone": "p50 ms, 1 client", "p50": "p50 ms, 64", "p99": "p99 ms, 64"}
OVERHEAD_MS, PEERS, BATCHING, OVERLOAD, RECOVERY = 0.4, 2.0, 3.0, 10.0, 2.0
WINDOW, RECOVERY_SECONDS = 0.5, 2.0


def measure(servers, rows, args):
    """Each case at saturation and with one client: {case: {column: a value a round}}."""
    cases = {name: (name, request("/predict" if name.startswith("Lit") else INFER, rows)) for name in servers.ports}
    for name in (OURS, UNBATCHED):
        cases[f"{name}, binary"] = (name, request(INFER, rows, binary=True))
    toy = request("/v2/models/toy/infer", rows[:, :8])
    cases["bare, toy"], cases["oarlock, toy"] = ("bare", toy), (OURS, toy)
    for name, content in cases.values():
        servers.wait(name, content)
    found = {case: {key: [] for key in (*COLUMNS, "per_second")} for case in cases}
    names = list(cases)
    for number in range(args.rounds):
        first = number % len(names)
        for case in names[first:] + names[:first]:
            name, content = cases[case]
            found[case]["alone"].append(
                1000 * servers.load(name, content, "--clients", 1, "--seconds", args.seconds)["p50"]
            )
            busy = servers.load(name, content, "--clients", 64, "--seconds", args.seconds)
            found[case]["per_second"].append(busy["per_second"])
            for key in ("p50", "p99"):
                found[case][key].append(1000 * busy[key])
            if busy["broken"] or set(busy["statuses"]) != {"200"}:
                print(f"{case}: {busy['statuses']}, {busy['broken']} broken", file=sys.stderr)
    return found


def bars(found):
    """(what, a value a round, the bar, whether it must be reached)."""

    def each(column, one, other, combine):
        return [combine(a, b) for a, b in zip(found[one][column], found[other][column], strict=True)]

    yield ("p50 over a bare ASGI application, ms",
           each("alone", "oarlock, toy", "bare, toy", lambda ours, bare: ours - bare), OVERHEAD_MS, False)  # fmt: skip
    for peer in ("LitServe", "MLServer"):
        if settings := [values["per_second"] for case, values in found.items() if case.startswith(peer)]:
            best = [max(one) for one in zip(*settings, strict=True)]
            ratios = [ours / other for ours, other in zip(found[OURS]["per_second"], best, strict=True)]
            yield f"throughput / {peer} at its better setting", ratios, PEERS, True
    for kind in ("", ", binary"):
        yield (f"batches / none{kind}", each("per_second", OURS + kind, UNBATCHED + kind, lambda one, other: one / other),
               BATCHING, True)  # fmt: skip


def overload(servers, rows, args):
    """Open loop: half of what saturates, then twice as much, then half again; and its bars."""
    content = request(INFER, np.repeat(rows, 8, axis=0), binary=True)  # the server is busy long before the generator
    most = servers.load(OURS, content, "--clients", 64, "--seconds", args.seconds)["per_second"]
    calm, long = min(15, args.overload), args.overload
    found = servers.load(OURS, content, "--clients", 1024, "--warmup", 0, "--window", WINDOW,
                         "--rate", f"{most / 2}:{calm}", f"{2 * most}:{long}", f"{most / 2}:{calm}")  # fmt: skip
    p99 = {stage: [] for stage in ("before", "during", "after")}
    for number, (_, due, sent) in found["windows"].items():
        at = WINDOW * int(number)
        stage = "before" if at < calm else "during" if at < calm + long else "after"
        if at >= 1 and not calm + long <= at < calm + long + RECOVERY_SECONDS:
            p99[stage].append(1000 * (sent if args.from_sent else due))
    print(
        f"\n{2 * most:.0f}/s offered, twice what saturates, for {long:g} s: {found['statuses']}, {found['broken']} broken, "
        f"{found['unsent']} unsent; the generator itself was late by {1000 * found['late_p99']:.1f} ms at p99"
    )
    before = statistics.median(p99["before"])
    print(f"p99 at half load {machine.spread(p99['before'], '{:.1f}')} ms, by windows of {WINDOW} s")
    other = sum(count for status, count in found["statuses"].items() if status not in ("200", "503")) + found["broken"]
    yield "p99 at twice / at half load", [one / before for one in p99["during"]], OVERLOAD, False
    yield (
        f"p99 from {RECOVERY_SECONDS:g} s after it / before it",
        [one / before for one in p99["after"]],
        RECOVERY,
        False,
    )
    yield "answers other than 200 and 503", [other], 0, False


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="of one measurement (%(default)s)")
    parser.add_argument(
        "--overload", type=float, default=60, help="seconds at twice saturation; 0 leaves it out (%(default)s)"
    )
    parser.add_argument("--peers", default="litserve,mlserver", help="which others take part (%(default)s)")
    parser.add_argument("--from-sent", action="store_true", help="where the generator is late: count from the sending")
    machine.results_argument(parser)
    args = parser.parse_args()
    distributions = ("oarlock", "onnxruntime", "uvicorn", "fastapi", "orjson")
    print(machine.description(*distributions) + f"; {args.rounds} rounds, median (min..max)")
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(folder))
        try:
            start_all(servers, Path(folder), args.peers.split(","))
            rows = np.random.default_rng(0).random((1, FEATURES)).astype("float32")
            found = measure(servers, rows, args)
            judged = [*bars(found), *(overload(servers, rows, args) if args.overload else ())]
        finally:
            servers.close()
    print(f"\n| | {' | '.join(COLUMNS.values())} | answers/s, 64 |\n|---|---|---|---|---|")
    for case, values in found.items():
        cells = [machine.spread(values[key], "{:.2f}") for key in COLUMNS]
        print(f"| {case} | {' | '.join(cells)} | {machine.spread(values['per_second'], '{:.0f}')} |")
    print("\n| | | bar |\n|---|---|---|")
    for what, values, bar, at_least in judged:
        print(
            f"| {what} | {machine.spread(values, '{:.2f}')} | {machine.verdict(statistics.median(values), bar, at_least)} |"
        )
    record = {
        "cases": {case: {key: machine.summary(one) for key, one in values.items()} for case, values in found.items()},
        "bars": {
            what: {**machine.summary(values), "bar": bar, "at_least": at_least}
            for what, values, bar, at_least in judged
        },
    }
    print(f"\nkept in {machine.keep(args.results, 'serve', distributions, record)}")


if __name__ == "__main__":
    main()
