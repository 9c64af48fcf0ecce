"""A server as a user starts it: a process, asked over its socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import command, environment


class Service:
    """`oarlock serve` in a process of its own.

    Attributes:
        port: that it took.
        answers: statuses of all that was asked through `ask`.
    """

    def __init__(self, models, log, *options, env=None):
        self.models, self._log = models, log
        self._stderr = log.open("w")
        self.process = subprocess.Popen(
            command("serve", models, "--port", "0", "--poll-seconds", "0.1", *options), stdout=subprocess.PIPE,
            stderr=self._stderr, env=environment(env), text=True, cwd=log.parent,
        )  # fmt: skip
        line = self.process.stdout.readline()
        assert "http://" in line, log.read_text()
        self.host, _, port = line.strip().rpartition("http://")[2].rpartition(":")
        self.port = int(port)

    def wait(self, *names, version=None, seconds=30):
        """Until these models answer, with this version."""
        deadline = time.monotonic() + seconds
        for name in names:
            path = f"/v2/models/{name}" + (f"/versions/{version}" if version else "") + "/ready"
            while self.ask("GET", path)[0] != 200:
                assert self.process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.02)
        return self

    def connect(self, timeout=30):
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, body) of one request on a connection of its own."""
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def json(self, method, path, body=None, headers=None):
        """(status, object); what is sent and what comes is JSON."""
        status, _, text = self.ask(method, path, None if body is None else json.dumps(body), headers)
        return status, json.loads(text)

    def infer(self, rows, name="toy", **more):
        return self.json("POST", f"/v2/models/{name}/infer", request_of(rows, **more))

    def raw(self, data, timeout=10):
        """What comes back for these bytes until the connection ends or nothing comes for `timeout` seconds."""
        with socket.create_connection((self.host, self.port), timeout=timeout) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(data)
            return receive_all(connection)

    def log(self):
        """The log's lines; each must be JSON, and none a traceback."""
        text = self._log.read_text()
        assert "Traceback" not in text, text
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def line(self, seconds=5, **fields):
        """The first line of the log with these fields; it may be about to be written."""
        deadline = time.monotonic() + seconds
        while True:
            for line in self.log():
                if fields.items() <= line.items():
                    return line
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)

    def metric(self, name, **labels):
        text = self.ask("GET", "/metrics")[2].decode()
        wanted = "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else ""
        found = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{name}{wanted} ")]
        return float(found[0]) if found else None

    def wait_metric(self, value, name, seconds=5, **labels):
        """Until a metric has this value."""
        self.until(lambda: self.metric(name, **labels) == value, seconds)

    def until(self, what, seconds=30):
        """Until `what()` is true."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)

    def resident(self):
        """Bytes of memory that it has."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self, number=signal.SIGTERM, seconds=30):
        """Its exit code after a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            self.process.stdout.close()
            self._stderr.close()


def request_of(rows, name="x", **more):
    """The request for an array, as JSON."""
    return {"inputs": [{"name": name, "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}],
            **more}  # fmt: skip


def receive_all(connection):
    """What comes until the connection ends, or a whole answer is there."""
    found = b""
    try:
        while chunk := connection.recv(1 << 16):
            found += chunk
            head, whole, body = found.partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if whole and length.isdigit() and len(body) >= int(length):
                break
    except OSError:
        pass
    return found


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def serve(tmp_path):
    """Start a server: `serve(models, "--deadline-seconds", "1")`; it is stopped at the end, and must then exit with 0."""
    with contextlib.ExitStack() as stack:
        started = []

        def start(folder, *options, env=None):
            service = Service(folder, tmp_path / f"serve-{len(started)}.log", *options, env=env)
            started.append(service)
            stack.callback(service.stop, signal.SIGKILL)
            return service

        yield start
        for service in started:
            service.log()
