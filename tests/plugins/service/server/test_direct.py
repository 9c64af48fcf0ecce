"""The two ways of a prediction, answered by its connection or through ASGI, are one to a client."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from oarlock_plugins.service.server.protocol import InferRequest, Layout
from oarlock_plugins.service.server.responses import write_response
from tests.plugins.service.server import bundles
from tests.plugins.service.server.bundles import Network
from tests.plugins.service.server.conftest import Service, receive_all, request_of

ROWS = Network().rows(2)
PATH = "/v2/models/toy/infer"
LARGE = Network().rows(300)  # more than is worth packing


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    bundles.publish(models)
    log = tmp_path_factory.mktemp("log") / "serve.log"
    made = Service(models, log, "--body-seconds", "0.5", "--log-requests").wait("toy")
    yield made
    assert made.stop() == 0
    assert not [line for line in made.log() if line["event"] == "defect"]


def head(method, path, length, *more):
    """A request's head, its body announced, or in chunks where the length is None."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", framing, *more, "", ""]).encode()


def chunked(body):
    return (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"


def as_json(rows, **more):
    return json.dumps(request_of(rows, **more)).encode(), []


def as_bytes(rows):
    tail = rows.tobytes()
    text = json.dumps({"inputs": [{"name": "x", "shape": list(rows.shape), "datatype": "FP32",
                                   "parameters": {"binary_data_size": len(tail)}}],
                       "parameters": {"binary_data_output": True}}).encode()  # fmt: skip
    return text + tail, [f"Inference-Header-Content-Length: {len(text)}"]


def told(answer):
    """An answer without what differs between any two: its id, its date."""
    lines, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = lines.lower().split(b"\r\n")
    kept = sorted(line for line in headers if not line.startswith((b"x-request-id", b"date", b"content-length")))
    assert any(line.startswith(b"x-request-id: ") for line in headers)
    assert b"content-length: %d" % len(body) in headers
    return status, kept, re.sub(rb'"request_id":"[^"]*"', b"", body)


@pytest.mark.parametrize(
    ("path", "made", "status"),
    [
        (PATH, as_json(ROWS), 200),
        (PATH, as_json(ROWS, id="mine"), 200),
        (PATH, as_bytes(ROWS), 200),
        (PATH + "?", as_json(ROWS), 200),
        ("/v2/models/toy/versions/1/infer", as_json(ROWS), 200),
        ("/v2/models/toy/versions/7/infer", as_json(ROWS), 404),
        ("/v2/models/toi/infer", as_json(ROWS), 404),
        ("/v2/models/toy/more/infer", as_json(ROWS), 404),
        ("/v2/models/%74oy/infer", as_json(ROWS), 200),
        (PATH, (b"{", []), 400),
        (PATH, (b"", []), 400),
        (PATH, (as_bytes(ROWS)[0], []), 400),
        (PATH, (as_json(ROWS)[0], ["Connection: close"]), 200),
        (PATH, (as_json(LARGE)[0], ["Accept-Encoding: gzip"]), 200),
        (PATH, (as_json(ROWS)[0], ["Accept-Encoding: gzip"]), 200),
    ],
)
def test_both_ways_are_one(service, path, made, status):
    body, more = made
    direct = told(service.raw(head("POST", path, len(body), *more) + body))
    asgi = told(service.raw(head("POST", path, None, *more) + chunked(body)))
    assert direct == asgi
    assert int(direct[0].split()[1]) == status


UPGRADE = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAA"]


@pytest.mark.parametrize("pause", [0, 0.05])
@pytest.mark.parametrize("framed", [True, False])
def test_a_wish_for_another_protocol_is_passed_over(service, framed, pause):
    """As Java's client says it in its first request."""
    body, usual = as_json(ROWS)[0], service.raw(head("POST", PATH, len(as_json(ROWS)[0])) + as_json(ROWS)[0], timeout=1)
    sent = body if framed else chunked(body)
    with socket.create_connection((service.host, service.port), timeout=10) as connection:
        for more in (UPGRADE, UPGRADE, []):
            whole = head("POST", PATH, len(body) if framed else None, *more) + sent
            for part in (whole[:40], whole[40:-30], whole[-30:]):
                connection.sendall(part)
                time.sleep(pause)
            received = b""
            while not received.endswith(b"}"):
                received += connection.recv(1 << 16)
            assert told(received) == told(usual)


def test_a_wish_for_another_protocol_among_what_is_pipelined(service):
    body = as_json(ROWS)[0]
    one = head("GET", "/v2/models/toy", 0, *UPGRADE) + head("POST", PATH, len(body), *UPGRADE) + body
    last = head("POST", PATH, len(body), "Connection: close, Upgrade", "Upgrade: h2c") + body
    with socket.create_connection((service.host, service.port), timeout=10) as connection:
        sender = threading.Thread(target=connection.sendall, args=(one * 400 + last,))
        sender.start()
        answers = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        sender.join()
    assert answers.count(b"HTTP/1.1 200") == 801
    # Bytes behind a last request do not come before its answer.
    assert service.raw(last + b"more").startswith(b"HTTP/1.1 200")
    get = head("GET", "/v2/models/toy", 0, "Connection: close, Upgrade", "Upgrade: h2c")
    assert service.raw(get + b"more").startswith(b"HTTP/1.1 200")
    assert service.raw(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n", timeout=1)[:12] in (
        b"", b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 405"
    )  # fmt: skip
    assert service.infer(ROWS)[0] == 200


def test_a_token_is_asked_for_both_ways(serve, models):
    bundles.publish(models)
    right = {"Authorization": "Bearer word"}
    service = serve(models, env={"OARLOCK_TOKEN": "word"})
    service.until(lambda: service.ask("GET", "/v2/models/toy/ready", headers=right)[0] == 200)
    body = as_json(ROWS)[0]
    for framed, sent in ((len(body), body), (None, chunked(body))):
        for given, status in (
            ("Authorization: Bearer word", b"200"),
            ("Authorization: Bearer other", b"401"),
            ("X: y", b"401"),
        ):
            assert service.raw(head("POST", PATH, framed, given) + sent).startswith(b"HTTP/1.1 " + status)


def test_what_is_pipelined_is_answered_in_order(service):
    """Both ways and what is no prediction, in one segment."""
    body = as_json(ROWS)[0]
    direct, asgi = head("POST", PATH, len(body)) + body, head("POST", PATH, None) + chunked(body)
    other = head("GET", "/v2/models/toy", 0)
    kinds = [direct, asgi, other, direct, direct, asgi, asgi, other, other, direct] * 3
    sent = [one.replace(b"Host: x", b"Host: x\r\nX-Request-Id: n%d" % number) for number, one in enumerate(kinds)]
    with socket.create_connection((service.host, service.port), timeout=10) as connection:
        connection.sendall(b"".join(sent))
        received = b""
        while len(re.findall(rb"x-request-id: n\d+", received)) < len(kinds) or not received.endswith(b"}"):
            received += connection.recv(1 << 16)
    assert [int(number) for number in re.findall(rb"x-request-id: n(\d+)", received)] == list(range(len(kinds)))
    assert set(re.findall(rb"HTTP/1\.1 (\d+)", received)) == {b"200"}


def test_a_body_that_comes_in_parts(service):
    body = as_json(ROWS)[0]
    with socket.create_connection((service.host, service.port), timeout=10) as connection:
        sent = head("POST", PATH, len(body)) + body
        for start in range(0, len(sent), 50):
            connection.sendall(sent[start : start + 50])
        assert receive_all(connection).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_does_not_come(service):
    for framing in (100, None):
        answer = service.raw(head("POST", PATH, framing) + b"5\r\n{\r\n")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer.lower()
    service.wait_metric(0, "oarlock_requests_in_flight")


def test_clients_that_leave(service):
    """At every moment: nothing stays counted."""
    body = as_json(ROWS)[0]
    sent = head("POST", PATH, len(body)) + body
    generator = np.random.default_rng(0)
    for stop in [len(sent), *generator.integers(1, len(sent), 50)]:
        with socket.create_connection((service.host, service.port)) as connection:
            connection.sendall(sent[:stop])
            if stop % 2:  # with a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    service.wait_metric(0, "oarlock_requests_in_flight")
    service.wait_metric(0, "oarlock_body_bytes")
    assert service.infer(ROWS)[0] == 200


def test_a_path_that_is_none_is_not_counted_as_in_flight(service):
    for url in (b"/v2/models/\xff/infer", b"http://[/infer", b"http://a:99999999/infer"):
        for _ in range(5):
            answer = service.raw(b"POST " + url + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            assert answer.startswith(b"HTTP/1.1 400 ")
    service.wait_metric(0, "oarlock_requests_in_flight")


@pytest.mark.parametrize(("body", "status"), [(as_json(Network().rows(1000))[0], b"200"), (b" " * (250 << 10), b"400")])
def test_connections_that_stay_open_hold_no_bodies(service, body, status):
    sent = head("POST", PATH, len(body)) + body

    def ask(connection):
        connection.sendall(sent)
        assert receive_all(connection).startswith(b"HTTP/1.1 " + status)

    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection((service.host, service.port))) for _ in range(150)]
        for connection in connections[:20]:
            ask(connection)
        before = service.resident()
        for connection in connections[20:]:
            ask(connection)
        assert service.resident() < before + 130 * len(body) // 4


def test_an_unused_connection_is_closed_and_a_used_one_is_not(serve, models):
    """Used in both ways, also where the one timer was begun by the other."""
    bundles.publish(models)
    idle = 3
    service = serve(models, "--idle-seconds", str(idle)).wait("toy")
    body = as_json(ROWS)[0]
    direct, asgi = head("POST", PATH, len(body)) + body, head("GET", "/v2/models/toy", 0)
    uses = {"direct": [direct] * 3, "mixed": [direct, asgi, direct], "asgi": [asgi, direct, asgi]}
    with contextlib.ExitStack() as stack:
        connections = {name: stack.enter_context(socket.create_connection((service.host, service.port), timeout=4 * idle))
                       for name in uses}  # fmt: skip
        for turn in range(3):
            time.sleep(0.6 * idle if turn else 0)
            for name, connection in connections.items():
                connection.sendall(uses[name][turn])
                assert receive_all(connection).startswith(b"HTTP/1.1 200 "), (name, turn)
        for connection in connections.values():
            assert connection.recv(1) == b""


def test_the_remembered_json_of_an_answer_is_of_its_shapes():
    """A request whose JSON is known, answered with more rows, with fewer, and the same again."""
    request = InferRequest({"x": ROWS}, 2, "mine", [("y", True)], None)
    request.layout = Layout(request)
    signature = SimpleNamespace(outputs={"y": SimpleNamespace(datatype="FP32")})
    for rows in (2, 3, 3, 1, 2):
        values = np.arange(2 * rows, dtype="<f4").reshape(rows, 2)
        answer, length = write_response(request, {"y": values}, signature, "toy", "1")
        entry = {"name": "y", "datatype": "FP32", "shape": [rows, 2], "parameters": {"binary_data_size": 8 * rows}}
        assert json.loads(answer[:length]) == {
            "model_name": "toy", "model_version": "1", "id": "mine", "outputs": [entry],
        }  # fmt: skip
        assert answer[length:] == values.tobytes()
