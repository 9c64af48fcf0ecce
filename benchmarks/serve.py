"""`oarlock serve` beside a bare ASGI application, LitServe and MLServer, with one network, interleaved.

All servers are up on the first core, one at a time is asked, and benchmarks/load.py asks from the second. A round asks
each once, in turning order; a ratio is taken within a round. The peers' environments are those of
environments.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import environments
import machine
import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parent
SERVER_CORE, LOAD_CORE = 0, 1
FEATURES = 784
OVERHEAD_MS, PEERS, BATCHING, OVERLOAD, RECOVERY = 0.4, 2.0, 3.0, 10.0, 2.0


def request(path, rows, binary=False):
    """A whole request, head and body; without `binary` the body is that of the Open Inference Protocol in JSON."""
    given = {"name": "x", "shape": list(rows.shape), "datatype": "FP32"}
    extra, tail = "", b""
    if binary:
        tail = rows.tobytes()
        body = {
            "inputs": [{**given, "parameters": {"binary_data_size": len(tail)}}],
            "parameters": {"binary_data_output": True},
        }
    else:
        body = {"inputs": [{**given, "data": [round(float(value), 6) for value in rows.ravel()]}]}
    text = json.dumps(body, separators=(",", ":")).encode()
    if binary:
        extra = f"Inference-Header-Content-Length: {len(text)}\r\n"
    head = (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{extra}"
            f"Content-Length: {len(text) + len(tail)}\r\n\r\n")  # fmt: skip
    return head.encode() + text + tail


class Servers:
    """The processes, all on one core."""

    def __init__(self, folder):
        self.folder, self.ports, self.processes = folder, {}, []
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(self, name, command):
        """Start a server; {port} in its command is a free port."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = self.ports[name] = free.getsockname()[1]
        command = ["taskset", "-c", str(SERVER_CORE), *(str(word).replace("{port}", str(port)) for word in command)]
        log = (self.folder / f"{name.replace(' ', '-')}.log").open("w")
        self.processes.append(subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log))

    def load(self, name, content, *options):
        """What benchmarks/load.py says of a server under this load."""
        file = self.folder / "request"
        file.write_bytes(content)
        command = [
            sys.executable,
            HERE / "load.py",
            "--port",
            self.ports[name],
            "--request",
            file,
            "--core",
            LOAD_CORE,
            *options,
        ]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def wait(self, name, content):
        """Until a server gives a right answer."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.CalledProcessError):
                if self.load(name, content, "--clients", 1, "--seconds", 0.1, "--warmup", 0)["statuses"].get("200"):
                    return
            time.sleep(0.3)
        sys.exit(f"{name} does not answer:\n{(self.folder / (name.replace(' ', '-') + '.log')).read_text()[-2000:]}")

    def close(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def start_all(servers, folder, peers):
    sys.path.insert(0, str(ROOT))
    from tests.plugins.service.server import bundles

    network = bundles.Network((FEATURES, 1024, 1024, 10))
    bundles.publish(folder / "models", "mlp", network)
    bundles.publish(folder / "models", "toy", bundles.Network())
    onnx = folder / "models" / "mlp" / "1" / "model.onnx"
    oarlock = Path(sys.executable).with_name("oarlock")
    serve = [oarlock, "serve", folder / "models", "--port", "{port}"]
    servers.start("bare", [sys.executable, HERE / "peers" / "bare.py", "{port}"])
    servers.start("oarlock", serve)
    servers.start("oarlock, no batches", [*serve, "--max-batch-rows", "1", "--target-seconds", "10"])
    if "litserve" in peers:
        for size in (1, 64):
            servers.start(
                f"LitServe {size}",
                [environments.python("litserve"), HERE / "peers" / "lit.py", "{port}", onnx, size],
            )
    if "mlserver" in peers:
        for size in (0, 64):
            path = folder / f"mlserver-{size}"
            path.mkdir()
            (path / "model-settings.json").write_text(json.dumps({
                "name": "mlp", "implementation": "ml.Network", "parameters": {"uri": str(onnx)},
                "max_batch_size": size, "max_batch_time": 0.001 if size else 0}))  # fmt: skip
            shutil.copy(HERE / "peers" / "ml.py", path)
            servers.start(f"MLServer {size}", ["env", "MLSERVER_HOST=127.0.0.1", "MLSERVER_HTTP_PORT={port}", "MLSERVER_GRPC_PORT=0",
                "MLSERVER_METRICS_PORT=0", "MLSERVER_PARALLEL_WORKERS=0", "MLSERVER_DEBUG=false", f"PYTHONPATH={path}",
                Path(environments.python("mlserver")).with_name("mlserver"), "start", path])  # fmt: skip
    return network


def verdict(passed):
    return "PASS" if passed else "MISSED"


def compare(servers, rows, args):
    """Each server at saturation and with one client."""
    infer = "/v2/models/mlp/infer"
    asked = {name: request("/predict" if name.startswith("Lit") else infer, rows) for name in servers.ports}
    cases = {name: (name, content) for name, content in asked.items()}
    for name in ("oarlock", "oarlock, no batches"):
        cases[f"{name}, binary"] = (name, request(infer, rows, binary=True))
    toy = request("/v2/models/toy/infer", rows[:, :8])
    cases["bare, toy"], cases["oarlock, toy"] = ("bare", toy), ("oarlock", toy)
    for name, content in cases.values():
        servers.wait(name, content)
    found = {case: {"per_second": [], "p50": [], "p99": [], "alone": []} for case in cases}
    names = list(cases)
    for number in range(args.rounds):
        first = number % len(names)
        for case in names[first:] + names[:first]:
            name, content = cases[case]
            alone = servers.load(name, content, "--clients", 1, "--seconds", args.seconds)
            found[case]["alone"].append(alone["p50"])
            busy = servers.load(name, content, "--clients", 64, "--seconds", args.seconds)
            for key in ("per_second", "p50", "p99"):
                found[case][key].append(busy[key])
            if busy["broken"] or set(busy["statuses"]) != {"200"}:
                print(f"{case}: {busy['statuses']}, {busy['broken']} broken", file=sys.stderr)
    print("\n| | p50 ms, 1 client | p50 ms, 64 | p99 ms, 64 | answers/s, 64 | × oarlock |\n|---|---|---|---|---|---|")
    for case, values in found.items():
        ratios = [one / ours for one, ours in zip(values["per_second"], found["oarlock"]["per_second"], strict=True)]
        cells = [machine.spread([1000 * one for one in values[key]], "{:.2f}") for key in ("alone", "p50", "p99")]
        print(
            f"| {case} | {' | '.join(cells)} | {machine.spread(values['per_second'], '{:.0f}')} | {machine.spread(ratios, '{:.2f}')} |"
        )
    print("\n| bar | ratio or ms | |\n|---|---|---|")
    over = [
        1000 * (ours - bare)
        for ours, bare in zip(found["oarlock, toy"]["alone"], found["bare, toy"]["alone"], strict=True)
    ]
    print(
        f"| p50 over a bare ASGI application, ms (<= {OVERHEAD_MS}) | {machine.spread(over)} | {verdict(statistics.median(over) <= OVERHEAD_MS)} |"
    )
    for peer in ("LitServe", "MLServer"):
        if mine := [values["per_second"] for case, values in found.items() if case.startswith(peer)]:
            ratios = [
                ours / max(best)
                for ours, best in zip(found["oarlock"]["per_second"], zip(*mine, strict=True), strict=True)
            ]
            print(
                f"| throughput against {peer} at its better setting (>= {PEERS}) | {machine.spread(ratios, '{:.2f}')} | {verdict(statistics.median(ratios) >= PEERS)} |"
            )
    for kind in ("", ", binary"):
        ratios = [
            a / b
            for a, b in zip(
                found[f"oarlock{kind}"]["per_second"], found[f"oarlock, no batches{kind}"]["per_second"], strict=True
            )
        ]
        print(
            f"| batches against none{kind} (>= {BATCHING}) | {machine.spread(ratios, '{:.2f}')} | {verdict(statistics.median(ratios) >= BATCHING)} |"
        )


def overload(servers, rows, args):
    """Open loop: half of what saturates, then twice as much, then half again."""
    content = request("/v2/models/mlp/infer", rows, binary=True)
    most = servers.load("oarlock", content, "--clients", 64, "--seconds", args.seconds)["per_second"]
    calm, long = min(15, args.overload), args.overload
    window = 0.5
    found = servers.load("oarlock", content, "--clients", 1024, "--warmup", 0, "--window", window,
                         "--rate", f"{most / 2}:{calm}", f"{2 * most}:{long}", f"{most / 2}:{calm}")  # fmt: skip
    p99 = {stage: [] for stage in ("before", "during", "after")}
    for number, (_, due, sent) in found["windows"].items():
        at = window * int(number)
        stage = "before" if at < calm else "during" if at < calm + long else "after"
        if at >= 1 and not calm + long <= at < calm + long + RECOVERY:
            p99[stage].append(1000 * (sent if args.from_sent else due))
    ratio = statistics.median(p99["during"]) / statistics.median(p99["before"])
    later = statistics.median(p99["after"]) / statistics.median(p99["before"])
    other = {status: count for status, count in found["statuses"].items() if status not in ("200", "503")}
    print(
        f"\n2 × saturation ({2 * most:.0f}/s offered) for {long:g} s: {found['statuses']}, {found['broken']} broken, "
        f"{found['unsent']} unsent; p99 of the generator's own lateness {1000 * found['late_p99']:.1f} ms"
    )
    print("\n| p99 of what was accepted, ms by windows of 0.5 s | | |\n|---|---|---|")
    print(f"| half of saturation | {machine.spread(p99['before'], '{:.1f}')} | |")
    passed = verdict(ratio <= OVERLOAD)
    print(f"| twice (<= {OVERLOAD:g} ×) | {machine.spread(p99['during'], '{:.1f}')}: {ratio:.1f} × | {passed} |")
    passed = verdict(later <= 2)
    print(
        f"| half again, from {RECOVERY:g} s on (<= 2 ×) | {machine.spread(p99['after'], '{:.1f}')}: {later:.1f} × | {passed} |"
    )
    print(f"| answers other than 200 and 503 | {other} | {verdict(not other and not found['broken'])} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="of one measurement (%(default)s)")
    parser.add_argument(
        "--overload", type=float, default=60, help="seconds at twice saturation; 0 leaves it out (%(default)s)"
    )
    parser.add_argument("--peers", default="litserve,mlserver", help="which others take part (%(default)s)")
    parser.add_argument(
        "--from-sent",
        action="store_true",
        help="where the generator is late: latency from the sending, not the due moment",
    )
    args = parser.parse_args()
    print(
        machine.description("oarlock", "onnxruntime", "uvicorn", "fastapi")
        + f"; {args.rounds} rounds, median (min..max)"
    )
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(Path(folder))
        try:
            start_all(servers, Path(folder), args.peers.split(","))
            rows = np.random.default_rng(0).random((1, FEATURES)).astype("float32")
            compare(servers, rows, args)
            if args.overload:
                overload(servers, rows, args)
        finally:
            servers.close()


if __name__ == "__main__":
    main()
