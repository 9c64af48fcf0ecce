"""Versions come and go while clients ask: no request fails, and each answer is of the version that it names."""

from __future__ import annotations

import itertools
import json
import random
import resource
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from oarlock import scratch_folder, seal
from oarlock_plugins.service import models as folder_of
from oarlock_plugins.service.bundle import BUNDLE, ONNX, REFERENCE
from tests.plugins.service.server import bundles
from tests.plugins.service.server.bundles import Network, write_network
from tests.plugins.service.server.conftest import request_of

BASE = Network()
ROWS = BASE.rows(2)
PLAIN = BASE(ROWS)  # and version 3 answers with 3 more in every place


class Clients:
    """Threads that ask all the time, and look at every answer."""

    def __init__(self, service, count=4):
        self.wrong, self.answers, self.versions = [], 0, set()
        self._service, self._over = service, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def _ask(self):
        body = json.dumps(request_of(ROWS))
        connection = self._service.connect()
        while not self._over.is_set():
            connection.request("POST", "/v2/models/toy/infer", body)
            answer = connection.getresponse()
            text = answer.read()
            self.answers += 1
            if answer.status != 200:
                self.wrong.append((answer.status, text))
                continue
            found = json.loads(text)
            version = int(found["model_version"])
            self.versions.add(version)
            if not np.allclose(np.reshape(found["outputs"][0]["data"], PLAIN.shape), PLAIN + version, atol=1e-3):
                self.wrong.append((version, found))
        connection.close()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        for thread in self._threads:
            thread.join()


def check_swaps(serve, models, count):
    bundles.publish(models)
    service = serve(models, "--poll-seconds", "0.02").wait("toy")
    with Clients(service) as clients:
        for number in range(2, count + 2):
            assert bundles.publish(models) == number
            service.wait("toy", version=number)
    assert clients.wrong == []
    assert clients.answers > 5 * count
    assert len(clients.versions) > count // 2
    assert service.metric("oarlock_model_swaps_total", model="toy") == count + 1
    assert [line["version"] for line in service.log() if line["event"] == "version_live"] == list(range(1, count + 2))
    assert service.stop() == 0
    return clients


def test_swaps_under_load(serve, models):
    check_swaps(serve, models, 8)


@pytest.mark.soak
def test_a_hundred_swaps_under_load(serve, models):
    clients = check_swaps(serve, models, 100)
    print(f"{clients.answers} answers of {len(clients.versions)} versions")


# --- versions that may never serve: each writes a folder that is wrong in one way, and returns a word of the complaint


def put(models, number, fill):
    """A sealed version, whatever is in it."""
    with scratch_folder(models / "toy") as scratch:
        fill(scratch)
        seal(scratch, models / "toy" / str(number))
    return models / "toy" / str(number)


def corrupt(models, number, draw):
    """A bit of a file is another."""
    folder = put(models, number, lambda scratch: write_network(scratch, Network(shift=number)))
    path = folder / draw.choice([ONNX, REFERENCE, BUNDLE, "MANIFEST.json"])
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    return "damaged"


def half_copied(models, number, draw):
    """A copy that stopped: some files are missing, the last one is short."""
    with scratch_folder(models, "copied") as scratch:
        put(scratch, 1, lambda inner: write_network(inner, Network(shift=number)))
        files = sorted((scratch / "toy" / "1").iterdir())
        draw.shuffle(files)
        folder = models / "toy" / str(number)
        folder.mkdir()
        kept = files[: draw.randrange(len(files))]
        for path in kept:
            content = path.read_bytes()
            (folder / path.name).write_bytes(content[: len(content) // 2] if path == kept[-1] else content)
    return ""


def other_shape(models, number, draw):
    """A good bundle of another network."""
    widths = draw.choice([(9, 4), (8, 5), (8, 3), (16, 4)])
    put(models, number, lambda scratch: write_network(scratch, Network(widths, shift=number)))
    return "those of version 1 are"


def nan_weights(models, number, draw):
    """Its weights are not numbers, and its reference agrees with them."""
    network = Network(shift=float("nan"))
    put(models, number, lambda scratch: write_network(scratch, network))
    return "its reference inputs give another y"


def other_answers(models, number, draw):
    """Its reference is of another model."""
    put(
        models,
        number,
        lambda scratch: write_network(scratch, Network(shift=number), answers=BASE(BASE.rows(4)) + number + 0.1),
    )
    return "its reference inputs give another y"


def lying_signature(models, number, draw):
    """bundle.json says what the network does not do."""

    def fill(scratch):
        write_network(scratch, Network((9, 4), shift=number))
        text = json.loads((scratch / BUNDLE).read_text())
        text["inputs"] = [{"name": "x", "dtype": "float32", "shape": [8]}]
        (scratch / BUNDLE).write_text(json.dumps(text))
        rows = BASE.rows(4)
        safetensors.numpy.save_file({"input/x": rows, "output/y": BASE(rows) + number}, scratch / REFERENCE)

    put(models, number, fill)
    return ""


def no_onnx(models, number, draw):
    """What should be a network is something else."""

    def fill(scratch):
        write_network(scratch, Network(shift=number))
        (scratch / ONNX).write_bytes(draw.choice([b"", b"no network", draw.randbytes(300)]))

    put(models, number, fill)
    return ""


def no_json(models, number, draw):
    """bundle.json is none, or of a format that is to come."""

    def fill(scratch):
        write_network(scratch, Network(shift=number))
        text = (scratch / BUNDLE).read_text()
        (scratch / BUNDLE).write_text(
            draw.choice(["", "[]", "{}", text[:50], text.replace('"format": 1', '"format": 99')])
        )

    put(models, number, fill)
    return ""


def empty(models, number, draw):
    (models / "toy" / str(number)).mkdir()
    return "not a bundle"


BAD = [corrupt, half_copied, other_shape, nan_weights, other_answers, lying_signature, no_onnx, no_json, empty]


def check_bad(serve, models, count):
    draw = random.Random(0)
    bundles.publish(models)
    service = serve(models, "--poll-seconds", "0.05").wait("toy")
    with Clients(service) as clients:
        for number, make in zip(range(2, count + 2), itertools.cycle(BAD), strict=False):
            word = make(models, number, draw)
            line = service.line(event="version_refused", version=number, serving=1)
            assert word in line["error"], (make.__name__, line)
            assert "Traceback" not in line["error"]
    assert clients.wrong == []
    assert clients.versions == {1}
    assert clients.answers > count
    service.wait_metric(count, "oarlock_bad_versions", model="toy")
    status = service.json("GET", "/status")[1]["models"][0]
    assert status["live"] == 1
    assert [one["state"] for one in status["versions"]] == ["bad"] * count + ["live"]
    assert all(one["reason"] for one in status["versions"][:-1])
    # Looked at once each, but for those that were being written when they were first seen.
    refusals = service.metric("oarlock_version_refusals_total", model="toy")
    assert count <= refusals <= 3 * count
    time.sleep(0.3)
    assert service.metric("oarlock_version_refusals_total", model="toy") == refusals
    index = service.json("POST", "/v2/repository/index")[1]
    assert {(one["version"], one["state"]) for one in index} >= {("1", "READY"), ("2", "UNAVAILABLE")}
    assert [one["version"] for one in service.json("POST", "/v2/repository/index", {"ready": True})[1]] == ["1"]
    # The next good one is served.
    bundles.publish(models, network=Network(shift=count + 2))
    service.wait("toy", version=count + 2)
    assert service.stop() == 0
    return clients


def test_bad_versions(serve, models):
    check_bad(serve, models, len(BAD))


@pytest.mark.soak
def test_fifty_bad_versions(serve, models):
    clients = check_bad(serve, models, 50)
    print(f"{clients.answers} answers beside 50 bad versions")


# --- comings and goings


def test_a_copy_that_becomes_whole_is_served(serve, models, tmp_path):
    bundles.publish(models)
    service = serve(models).wait("toy")
    bundles.publish(tmp_path / "elsewhere", network=Network(shift=2))
    whole = tmp_path / "elsewhere" / "toy" / "1"
    target = models / "toy" / "2"
    target.mkdir()
    for path in sorted(whole.iterdir(), key=lambda path: path.name == BUNDLE, reverse=True):
        time.sleep(0.15)
        shutil.copy(path, target)
    service.wait("toy", version=2)
    assert service.line(event="version_refused", version=2)["serving"] == 1
    assert np.allclose(service.infer(ROWS)[1]["outputs"][0]["data"], (PLAIN + 2).ravel(), atol=1e-3)


def test_a_withdrawn_version_gives_place_to_the_one_before(serve, models):
    for _ in range(3):
        bundles.publish(models)
    service = serve(models).wait("toy", version=3)
    with Clients(service) as clients:
        folder_of.withdraw(models / "toy", 3, "worse")
        service.wait("toy", version=2)
        folder_of.restore(models / "toy", 3)
        service.wait("toy", version=3)
        shutil.rmtree(models / "toy" / "3")
        service.wait("toy", version=2)
    assert clients.wrong == []
    for number in (1, 2):
        folder_of.withdraw(models / "toy", number, "worse")
    service.line(event="no_version")
    status, answer = service.infer(ROWS)
    assert (status, answer["error"]) == (503, "no version of 'toy' can be served now; try again in 1 s")
    assert service.ask("GET", "/v2/health/ready")[0] == 503
    assert service.ask("GET", "/v2/health/live")[0] == 200
    versions = service.json("GET", "/status")[1]["models"][0]["versions"]
    assert versions[0] == {"version": 2, "state": "withdrawn", "reason": "worse"}
    shutil.rmtree(models / "toy")
    deadline = time.monotonic() + 5
    while service.infer(ROWS)[0] != 404:
        assert time.monotonic() < deadline
    bundles.publish(models, network=Network(shift=1))
    service.wait("toy")


def test_a_signature_may_change_only_by_request(serve, models):
    bundles.publish(models)
    put(models, 2, lambda scratch: write_network(scratch, Network((9, 4), shift=2)))
    service = serve(models).wait("toy")
    line = service.line(event="version_refused", version=2)
    assert "its inputs are x FP32 [rows, 9], those of version 1 are x FP32 [rows, 8]" in line["error"]
    assert service.infer(ROWS)[1]["model_version"] == "1"
    other = serve(models, "--any-signature").wait("toy", version=2)
    assert other.infer(Network((9, 4)).rows(1))[0] == 200


def test_a_signature_is_judged_anew_when_the_oldest_version_is_another(serve, models):
    bundles.publish(models)
    put(models, 2, lambda scratch: write_network(scratch, Network((9, 4), shift=2)))
    service = serve(models).wait("toy", version=1)
    service.line(event="version_refused", version=2)
    folder_of.withdraw(models / "toy", 1, "replaced")
    service.wait("toy", version=2)
    folder_of.restore(models / "toy", 1)
    service.wait("toy", version=1)
    assert not [line for line in service.log() if line["event"] == "no_version"]


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="the system cannot limit another process")
def test_a_version_for_which_memory_was_short_is_tried_again(serve, models):
    bundles.publish(models)
    service = serve(models).wait("toy", version=1)
    pages = int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[0])
    before = resource.prlimit(service.process.pid, resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + (256 << 10)
    resource.prlimit(service.process.pid, resource.RLIMIT_AS, (limit, before[1]))
    bundles.publish(models)
    service.line(event="version_refused", version=2, serving=1)
    resource.prlimit(service.process.pid, resource.RLIMIT_AS, before)
    service.wait("toy", version=2)
    service.wait_metric(0, "oarlock_bad_versions", model="toy")


def test_a_folder_that_cannot_be_read_stops_nothing(serve, models):
    bundles.publish(models)
    service = serve(models).wait("toy")
    away = models.with_name("away")
    models.rename(away)
    service.line(event="folder_unreadable")
    assert service.infer(ROWS)[0] == 200
    away.rename(models)
    (models / "toy" / "withdrawn.json").write_text("{")
    service.line(event="model_unreadable")
    assert service.infer(ROWS)[0] == 200
    (models / "toy" / "withdrawn.json").unlink()
    bundles.publish(models)
    service.wait("toy", version=2)
