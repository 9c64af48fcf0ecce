"""What is wrong is answered with 4xx; nothing is ever answered with 5xx but 503, and the server is as it was."""

from __future__ import annotations

import collections
import gzip
import json
import socket
import threading
from pathlib import Path

import pytest

from tests.plugins.service.server import bundles, malformed
from tests.plugins.service.server.bundles import Network
from tests.plugins.service.server.conftest import request_of

ROWS = Network().rows(1)
# A mutation can leave a request good, and a 404 is right for another path; some bytes are a request of GET.
ALLOWED = {200, 400, 401, 404, 405, 408, 411, 413, 415, 431, 503}


def status_of(answer):
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else None


def send_all(service, requests, timeout=4):
    """Each request on a connection of its own; the statuses by kind."""
    found = collections.defaultdict(collections.Counter)
    for kind, data in requests:
        answer = service.raw(data, timeout)
        status = status_of(answer)
        # A connection may end without an answer where there was no whole request; it may not be left open.
        assert status in ALLOWED or status is None, (kind, data[:300], answer[:300])
        if status is not None and status >= 400:
            assert b"x-request-id: " in answer.lower(), answer
        found[kind][status] += 1
        if kind in ("missing_field", "twice", "no_number", "no_json"):
            assert status == 400, (kind, data[:400], answer)
    return found


def slow(service, data, found):
    """The head of a request, then a byte now and then, and never the end."""
    with socket.create_connection((service.host, service.port), timeout=20) as connection:
        connection.sendall(data)
        connection.settimeout(0.2)
        answer = b""
        for _ in range(60):
            try:
                chunk = connection.recv(4096)
            except TimeoutError:
                try:
                    connection.sendall(b"1")
                except OSError:
                    break
                continue
            except OSError:
                break
            if not chunk:
                break
            answer += chunk
        else:
            answer = b"still open"
        found.append(answer)


def check_slow(service, count):
    """Clients that send slowly, all at once: each is answered with 408, and others are served meanwhile."""
    heads = [malformed.http(body=b"[", length=5000), malformed.http(length="none", headers=[b"Transfer-Encoding: chunked"]) + b"1",
             b"POST /v2/models/toy/infer HTTP/1.1\r\nHost: "]  # fmt: skip
    found = []
    threads = [threading.Thread(target=slow, args=(service, heads[number % 3], found)) for number in range(count)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert service.infer(ROWS)[0] == 200
    for thread in threads:
        thread.join()
    assert collections.Counter(status_of(answer) for answer in found) == {408: count}


def check(serve, models, count, slow_count):
    bundles.publish(models, "toy")
    service = serve(models, "--body-seconds", "1", "--header-seconds", "1").wait("toy")
    requests = malformed.requests(count)
    send_all(service, malformed.requests(min(count, 150), seed=1))  # what Python keeps for later is kept now
    check_slow(service, slow_count)
    before = service.resident()
    found = send_all(service, requests)
    check_slow(service, slow_count)
    assert service.resident() <= 1.05 * before, (service.resident(), before)
    assert sum(sum(kinds.values()) for kinds in found.values()) == count
    assert service.infer(ROWS)[0] == 200
    assert service.metric("oarlock_requests_in_flight") == 0
    assert service.metric("oarlock_body_bytes") == 0
    assert not [line for line in service.log() if line["event"] == "defect"]
    assert service.stop() == 0
    return found


def test_a_sample(serve, models):
    check(serve, models, 120, 6)


@pytest.mark.soak
def test_a_thousand(serve, models):
    found = check(serve, models, 1000, 30)
    print({kind: dict(counts) for kind, counts in found.items()})


def peak(service):
    """The most bytes of memory that it has had."""
    lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def test_what_is_small_packed_takes_no_memory(serve, models):
    bundles.publish(models, "toy")
    service = serve(models).wait("toy")
    good = json.dumps(request_of(ROWS, id="HERE"))
    for data, said in (
        ('"' + "a" * 20_000 + '"' + ',""' * 8000, "or 8 values in a row"),
        ('"' + "a" * 2_000_000 + '"' + ',""' * 7, "expected numbers"),
        ('"1"' + ",0" * 7, "expected numbers"),
        ("[[]," * 5 + "0" + "]" * 5, "nested so or"),
        ('":",' + "[]," * 1_000_000 + "0", "lists, objects and texts"),
        ('":",' + "{}," * 1_000_000 + "0", "lists, objects and texts"),
        ('":",' + '"b",' * 1_000_000 + "0", "lists, objects and texts"),
    ):
        body = gzip.compress(good.replace(json.dumps(ROWS.ravel().tolist()), f"[{data}]").encode())
        before = peak(service)
        status, _, answer = service.ask("POST", "/v2/models/toy/infer", body, {"Content-Encoding": "gzip"})
        assert (status, said in answer.decode()) == (400, True), answer
        assert peak(service) < before + (60 << 20), said


def test_a_key_that_stands_twice_is_found_beside_many_numbers(serve, models):
    bundles.publish(models, "toy")
    service = serve(models).wait("toy")
    text = json.dumps(request_of(Network().rows(1024), id="a:b"))
    assert service.ask("POST", "/v2/models/toy/infer", text)[0] == 200
    status, _, answer = service.ask("POST", "/v2/models/toy/infer", text.replace('"shape"', '"shape": [1, 8], "shape"'))
    assert (status, b"a key stands twice" in answer) == (400, True)
