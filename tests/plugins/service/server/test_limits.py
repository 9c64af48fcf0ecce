"""How much, how long, and by whom."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.plugins.service.server import bundles
from tests.plugins.service.server.bundles import Network
from tests.plugins.service.server.conftest import receive_all, request_of
from tests.plugins.service.server.malformed import http

ROWS = Network().rows(1)
SLOW = Network((8, 512, 512, 4), repeat=150)


def test_too_large(serve, models):
    bundles.publish(models, "toy")
    service = serve(models, "--max-body-bytes", "20000", "--max-request-rows", "100").wait("toy")
    body = json.dumps(request_of(Network().rows(101)))
    status, answer = service.infer(Network().rows(101))
    assert (status, "101 rows in one request; expected 1 to 100" in answer["error"]) == (400, True)
    assert service.infer(Network().rows(400))[0] == 413
    assert service.ask("POST", "/v2/models/toy/infer", gzip.compress(body.encode() + b" " * 30000),
                       {"Content-Encoding": "gzip"})[0] == 413  # fmt: skip
    chunks = (b"[" * 1000 for _ in range(50))  # of more than three times the limit the server does not hear the rest
    assert service.ask("POST", "/v2/models/toy/infer", chunks)[0] == 413
    assert b" 431 " in service.raw(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20000)
    assert service.infer(ROWS)[0] == 200


def test_too_many_connections(serve, models):
    bundles.publish(models, "toy")
    service = serve(models, "--max-connections", "5").wait("toy")
    time.sleep(0.2)
    held = [socket.create_connection((service.host, service.port)) for _ in range(5)]
    time.sleep(0.2)
    answer = service.raw(http("GET", "/v2"))
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer
    for connection in held:
        connection.close()
    time.sleep(0.2)
    assert service.infer(ROWS)[0] == 200


def test_for_one_more_connection_that_is_closed_which_was_unused_longest(serve, models):
    """As where clients keep pools of them; one that is in the midst of a request stays."""
    bundles.publish(models, "toy")
    service = serve(models, "--max-connections", "4").wait("toy")
    time.sleep(1)  # until the server has seen that those who waited for it have left
    body = json.dumps(request_of(ROWS)).encode()
    predict = http("POST", "/v2/models/toy/infer", body)
    with contextlib.ExitStack() as stack:

        def connected():
            return stack.enter_context(socket.create_connection((service.host, service.port), timeout=10))

        asking = connected()
        asking.sendall(predict[:-5])
        held = [connected() for _ in range(3)]
        for one, request in zip((held[1], held[0], held[2]), (predict, http("GET", "/v2"), predict), strict=True):
            one.sendall(request)
            assert receive_all(one).startswith(b"HTTP/1.1 200")
            time.sleep(0.05)
        for number in (1, 0, 2):
            newcomer = connected()
            newcomer.sendall(predict)
            assert receive_all(newcomer).startswith(b"HTTP/1.1 200")
            assert held[number].recv(1) == b""
            newcomer.close()
            time.sleep(0.5)
            newcomer = connected()  # in its place, and in the midst of a request as well
            newcomer.sendall(predict[:-5])
            time.sleep(0.2)
        assert service.raw(http("GET", "/v2")).startswith(b"HTTP/1.1 503")
        asking.sendall(predict[-5:])
        assert receive_all(asking).startswith(b"HTTP/1.1 200")


def test_a_full_queue_sheds_and_recovers(serve, models):
    """One batch is computed, two requests wait, the rest is told to come again, at once."""
    bundles.publish(models, "slow", SLOW)
    service = serve(models, "--max-queue-requests", "2", "--max-batch-rows", "64").wait("slow")
    rows = SLOW.rows(64)

    def ask():
        started = time.monotonic()
        status, headers, _ = service.ask("POST", "/v2/models/slow/infer", json.dumps(request_of(rows)))
        return status, headers["Retry-After"], time.monotonic() - started

    with ThreadPoolExecutor(12) as pool:
        found = [one.result() for one in [pool.submit(ask) for _ in range(12)]]
    statuses = [status for status, _, _ in found]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 3
    assert all(retry == "1" for status, retry, _ in found if status == 503)
    refused = max(seconds for status, _, seconds in found if status == 503)
    assert refused < max(seconds for status, _, seconds in found if status == 200)
    assert service.metric("oarlock_refused_total", reason="queue_full") == statuses.count(503)
    assert service.infer(rows, name="slow")[0] == 200


@contextlib.contextmanager
def sending(service, requests):
    """Connections that have sent this much, one each."""
    with contextlib.ExitStack() as stack:
        made = []
        for data in requests:
            made.append(stack.enter_context(socket.create_connection((service.host, service.port), timeout=10)))
            made[-1].sendall(data)
        yield made


STALLED = [http(length=500), http(length="none", headers=[b"Transfer-Encoding: chunked"])]


@pytest.mark.parametrize("token", [None, "word"])
def test_who_still_sends_takes_nobodys_place(serve, models, token):
    bundles.publish(models, "toy")
    service = serve(models, env={"OARLOCK_TOKEN": token} if token else None)
    bearer = {"Authorization": f"Bearer {token}"}
    service.until(lambda: service.ask("GET", "/v2/models/toy/ready", headers=bearer)[0] == 200)
    with sending(service, STALLED * 70):
        time.sleep(0.3)
        for _ in range(5):
            assert service.json("POST", "/v2/models/toy/infer", request_of(ROWS), bearer)[0] == 200
            time.sleep(0.05)


def test_bodies_on_their_way_leave_room_for_others(serve, models):
    bundles.publish(models, "toy")
    service = serve(models, "--max-queue-bytes", "2000000", "--max-body-bytes", "1500000").wait("toy")
    with sending(service, [http(length=1_000_000, body=b" " * 999_000)] * 2):
        service.until(lambda: service.metric("oarlock_body_bytes") > 500_000)
        time.sleep(0.3)
        assert service.infer(ROWS)[0] == 200
        assert service.infer(Network().rows(1000))[0] == 200
    service.wait_metric(0, "oarlock_body_bytes")
    body = json.dumps(request_of(ROWS)).encode()
    assert service.ask("POST", "/v2/models/toy/infer", body + b" " * 1_400_000)[0] == 200  # one may have more than half


def test_who_is_refused_and_does_not_send_the_rest_is_not_waited_for(serve, models):
    bundles.publish(models, "slow", SLOW)
    service = serve(models, "--max-batch-rows", "8", "--standing-seconds", "1", "--body-seconds", "0.5").wait("slow")
    path, body = "/v2/models/slow/infer", json.dumps(request_of(SLOW.rows(8))).encode()
    with sending(service, [http(path=path, body=body)] * 450):
        time.sleep(1.2)
        with sending(service, [http(path=path, body=body), http(path=path, length=500)]) as (whole, stalled):
            assert b"requests arrive faster than" in receive_all(whole)
            assert receive_all(stalled).startswith(b"HTTP/1.1 408 ")


def test_deadlines(serve, models):
    """The server's, and a client's own, which is Triton's parameter in microseconds."""
    bundles.publish(models, "slow", SLOW)
    service = serve(models, "--deadline-seconds", "20").wait("slow")
    rows = SLOW.rows(1024)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(service.infer, rows, "slow")
        time.sleep(0.1)
        late = [pool.submit(service.infer, rows, "slow", parameters={"timeout": 1000}) for _ in range(2)]
        assert [one.result()[0] for one in late] == [503, 503]
        assert "deadline" in late[0].result()[1]["error"]
        assert first.result()[0] == 200
    assert service.metric("oarlock_refused_total", reason="deadline") == 2


def test_the_loop_is_free_while_a_model_computes(serve, models):
    bundles.publish(models, "slow", SLOW)
    bundles.publish(models, "toy")
    service = serve(models, "--instances", "2").wait("slow", "toy")
    rows = SLOW.rows(512)
    thread = threading.Thread(target=service.infer, args=(rows, "slow"))
    thread.start()
    time.sleep(0.1)
    started = time.monotonic()
    assert service.infer(ROWS)[0] == 200
    quick = time.monotonic() - started
    assert thread.is_alive(), "the slow model was too quick for this test"
    thread.join()
    assert quick < 0.5


@pytest.mark.parametrize("given", ["variable", "file"])
def test_a_token(serve, models, tmp_path, given):
    bundles.publish(models, "toy")
    (tmp_path / "token").write_text("secret-word\n")
    more = {"env": {"OARLOCK_TOKEN": "secret-word"}} if given == "variable" else {}
    options = ["--token-file", tmp_path / "token"] if given == "file" else []
    service = serve(models, "--host", "0.0.0.0", *options, **more)
    assert service.host == "0.0.0.0"
    for wrong in (
        {},
        {"Authorization": "Bearer secret"},
        {"Authorization": "secret-word"},
        {"Authorization": "Bearer "},
    ):
        for path in ("/v2", "/metrics", "/status", "/v2/models/toy/infer"):
            status, headers, body = service.ask("POST" if "infer" in path else "GET", path, headers=wrong)
            assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
            assert b"secret" not in body
    assert service.ask("GET", "/v2/health/live")[0] == 200
    assert b"<script>" in service.ask("GET", "/")[2]
    right = {"Authorization": "Bearer secret-word"}
    while service.ask("GET", "/v2/models/toy/ready", headers=right)[0] != 200:
        time.sleep(0.05)
    assert service.json("POST", "/v2/models/toy/infer", request_of(ROWS), right)[0] == 200
    assert "secret" not in json.dumps(service.log())


def test_a_value_outside_the_type(serve, models):
    """Whole numbers are not rounded, wrapped or cut."""
    bundles.publish_sums(models)
    service = serve(models).wait("sums")

    def ask(counts, datatype="INT32"):
        request = {"inputs": [{"name": "bias", "shape": [1, 1], "datatype": "FP64", "data": [0]},
                              {"name": "counts", "shape": [1, len(counts)], "datatype": datatype, "data": counts}]}  # fmt: skip
        return service.json("POST", "/v2/models/sums/infer", request)

    assert ask([2**31 - 1, 1])[1]["outputs"][0]["data"] == [2.0**31]
    for counts in ([2**31], [-(2**31) - 1], [2**64], [2**80], [1.0], [True], ["1"], [None], [1, True]):
        assert ask(counts)[0] == 400, counts
    assert "the model takes INT32" in ask([1], "INT64")[1]["error"]
    assert np.isfinite(ask([1])[1]["outputs"][0]["data"]).all()
