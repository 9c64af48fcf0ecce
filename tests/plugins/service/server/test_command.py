"""`oarlock serve`: what is refused before anything starts, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import environment
from tests.plugins.service.server import bundles
from tests.plugins.service.server.bundles import Network
from tests.plugins.service.server.conftest import Service, request_of

ROWS = Network().rows(1)
SLOW = Network((8, 512, 512, 4), repeat=150)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nowhere"], "nowhere: not a folder of models: No such file or directory."),
        (
            ["models/toy"],
            "models/toy is the folder of one model, its versions are 1.\nName the folder that it is in: ",
        ),
        (
            ["runs"],
            "serve: runs/first is a run; expected a folder of models, MODELS_DIR/NAME/VERSION.\nMake a model of it",
        ),
        (["runs/first"], "with: oarlock export runs/first --models MODELS_DIR\n"),
        (["models/toy/1"], "is a bundle itself; expected a folder MODELS_DIR/NAME/VERSION."),
        (
            ["models", "--engine", "onnxrutime"],
            "--engine onnxrutime: there is no such engine. Did you mean 'onnxruntime'?",
        ),
        (["models", "--replicas", "4"], "serve: --replicas 4 is for --on ray; here --instances N"),
        (["models", "--address", "0.0.0.0:8000"], "--on ray; this process listens at --host and --port"),
        (["models", "--device", "cuda:0"], "serve: --device cuda:0: expected cpu, gpu or gpu:N."),
        (["models", "--device", "gup:0"], "expected cpu, gpu or gpu:N. Did you mean 'gpu:0'?"),
        (["models", "--device", "gpu:x"], "serve: --device gpu:x: expected cpu, gpu or gpu:N."),
        (
            ["models", "--device", "gpu:0"],
            "serve: --device gpu:0: the onnxruntime that is installed computes on the CPU alone.\n",
        ),
        (["models", "--device", "gpu:7", "--engine", "paddle"], "serve: --device gpu:7: Paddle sees 0 GPUs here"),
        (["models", "--prot", "1"], "unrecognized arguments: --prot 1. Did you mean '--port'?"),
        (["models", "--port", "99999"], "cannot listen on 127.0.0.1:99999: bind(): port must be 0-65535.\n"),
        (["models", "--port", "-1"], "--port -1: expected a number from 0 on."),
        (["models", "--max-batch-rows", "0"], "--max-batch-rows 0: expected a number from 1 on."),
        (["models", "--deadline-seconds", "nan"], "--deadline-seconds nan: expected a number from 0.001 on."),
        (["models", "--host", "0.0.0.0"], "set a token in OARLOCK_TOKEN or --token-file FILE,\nor say --no-token"),
        (["models", "--host", "::"], "set a token in OARLOCK_TOKEN"),
        (["models", "--host", "no.such.host.example", "--no-token"], "cannot listen on no.such.host.example:8000"),
        (["models", "--token-file", "nowhere"], "--token-file nowhere cannot be read: No such file or directory."),
        (["models", "--token-file", "empty"], "the token must be a word of visible ASCII characters."),
    ],
)
def test_what_is_refused(oarlock, tmp_path, options, said):
    bundles.publish(tmp_path / "models")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "run.json").write_text("{}")
    done = oarlock("serve", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(oarlock, tmp_path):
    bundles.publish(tmp_path / "models")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = oarlock("serve", "models", "--port", port)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use.\nChoose another" in done.stderr


def test_without_its_packages(tmp_path):
    """In an environment without the extra: which command installs it."""
    bundles.publish(tmp_path / "models")
    hidden = ("import sys; sys.modules['uvicorn'] = None\n"
              "from oarlock.cli import main; sys.exit(main(['serve', 'models']))")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", hidden], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "error: serve needs uvicorn, which is not installed.\npip install 'oarlock[serve]'\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_drains(serve, models, number):
    """What is in flight is answered, nothing new is taken, `ready` is false at once, and the exit code is 0."""
    bundles.publish(models, "slow", SLOW)
    service = serve(models, "--drain-delay", "0.3").wait("slow")
    with ThreadPoolExecutor(3) as pool:
        pending = [pool.submit(service.infer, SLOW.rows(128, seed=seed), "slow") for seed in range(3)]
        time.sleep(0.1)
        service.process.send_signal(number)
        service.line(event="stopping", signal=signal.Signals(number).name)
        assert service.ask("GET", "/v2/health/ready")[0] == 503
        assert service.ask("GET", "/v2/health/live")[0] == 200
        assert [one.result()[0] for one in pending] == [200, 200, 200]
    assert service.process.wait(20) == 0
    with pytest.raises(ConnectionRefusedError):
        service.ask("GET", "/v2")


@pytest.mark.parametrize("kept", [False, True], ids=["a connection each", "connections that are kept"])
def test_a_signal_loses_no_request(serve, models, kept):
    """Whoever could connect is answered; after that, nobody can connect.

    But for who connects between the server's last look and the closing of its socket, a matter of microseconds.
    """
    bundles.publish(models)
    lost = 0
    for _ in range(4):
        service = serve(models).wait("toy")
        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask_on, service, kept) for _ in range(4)]
            time.sleep(0.3)
            assert service.stop() == 0
            ended = [one.result() for one in asking]
        assert {status for statuses, _ in ended for status in statuses} == {200}
        lost += sum(not isinstance(error, ConnectionRefusedError) for _, error in ended)
    assert lost <= 1


def ask_on(service, kept):
    """Ask until there is an error; the statuses before it, and the error."""
    body, statuses, connection = json.dumps(request_of(ROWS)), [], None
    try:
        while True:
            connection = connection or service.connect(timeout=10)
            connection.request("POST", "/v2/models/toy/infer", body)
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
            if not kept or answer.getheader("connection") == "close":
                connection.close()
                connection = None
    except Exception as error:
        return statuses, error


def test_what_does_not_end_is_left_after_the_grace(serve, models):
    """A client that keeps its request open for ever does not keep the server."""
    bundles.publish(models)
    service = serve(models, "--grace", "1", "--body-seconds", "60").wait("toy")
    with socket.create_connection((service.host, service.port)) as client:
        client.sendall(b"POST /v2/models/toy/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
        time.sleep(0.2)
        started = time.monotonic()
        assert service.stop() == 0
    assert 0.5 < time.monotonic() - started < 8


def test_a_second_signal_ends_at_once(serve, models):
    bundles.publish(models)
    service = serve(models, "--drain-delay", "60").wait("toy")
    service.process.send_signal(signal.SIGTERM)
    service.line(event="stopping")
    assert service.stop(signal.SIGTERM, seconds=10) == 0


def test_a_log_that_nobody_reads_blocks_nobody(models):
    """Standard error is a pipe that is full: requests are answered all the same."""
    bundles.publish(models)
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "oarlock", "serve", str(models), "--port", "0", "--log-requests"], stdout=subprocess.PIPE,
        stderr=writing, env=environment(), text=True,
    )  # fmt: skip
    os.close(writing)
    try:
        service = object.__new__(Service)
        service.host, service.port = "127.0.0.1", int(process.stdout.readline().rpartition(":")[2])
        service.process, service._log = process, models / "none"
        service.wait("toy")
        body = json.dumps(request_of(ROWS, id="x" * 2000))
        statuses = set()

        def ask():
            with contextlib.closing(service.connect(timeout=10)) as connection:
                for _ in range(150):
                    connection.request("POST", "/v2/models/toy/infer", body, {"X-Request-Id": "y" * 120})
                    answer = connection.getresponse()
                    answer.read()
                    statuses.add(answer.status)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == {200}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        process.stdout.close()
        os.close(reading)


def test_the_log_as_text(serve, models):
    bundles.publish(models)
    service = serve(models, "--log-format", "text", "--log-requests").wait("toy")
    service.ask("POST", "/v2/models/toy/infer", json.dumps(request_of(ROWS)), {"X-Request-Id": "abc"})
    deadline = time.monotonic() + 5
    while 'request request_id="abc" status=200' not in service._log.read_text():
        assert time.monotonic() < deadline
    assert "info    version_live" in service._log.read_text()


def test_the_log_says_how_many_lines_were_left_out(serve, models):
    """When the second is over, and at the end."""
    bundles.publish(models)
    service = serve(models).wait("toy")
    before = refused(service)

    def ask(count):
        with contextlib.closing(service.connect()) as connection:
            for _ in range(count):
                connection.request("POST", "/v2/models/toy/infer", b"{")
                assert connection.getresponse().read()

    ask(300)
    service.until(lambda: refused(service) == before + 300, seconds=5)
    assert len([line for line in service.log() if line.get("status") == 400]) < 300
    ask(200)
    assert service.stop() == 0
    assert refused(service) == before + 500


def refused(service):
    """How many lines with status 400 there are or were left out."""
    return sum(line.get("left_out", 1) for line in service.log() if line.get("status") == 400)


def test_less_than_a_second_is_not_none(serve, models):
    """Of what a connection may be idle, and a request take after the signal."""
    bundles.publish(models, "slow", SLOW)
    service = serve(models, "--idle-seconds", "0.9", "--grace", "0.9").wait("slow")
    with socket.create_connection((service.host, service.port)) as client:
        client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        started = time.monotonic()
        while client.recv(1 << 16):
            pass
        assert time.monotonic() - started > 0.6
    with socket.create_connection((service.host, service.port)) as client:
        client.sendall(b"POST /v2/models/slow/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1")
        time.sleep(0.2)
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started > 1
