"""Servers on one core, and load for them from the other: what serve.py compares."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import environments

HERE = Path(__file__).parent
ROOT = HERE.parent
SERVER_CORE, LOAD_CORE = 0, 1
FEATURES = 784


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
        self.processes.append(subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log,
                                               start_new_session=True))  # fmt: skip

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
            with contextlib.suppress(ProcessLookupError):  # what it has started and left behind
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


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
