"""An update while a server runs: the next version answers in the same process, and no request fails meanwhile."""

from __future__ import annotations

import signal
import threading
import time

import numpy as np
import pytest

from tests.plugins.service.server.conftest import Service


def ask(service, inputs):
    """(version, classes) of the model digits; any answer but 200 is a failure."""
    body = {"inputs": [{"name": "inputs", "shape": list(inputs.shape), "datatype": "UINT8",
                        "data": inputs.ravel().tolist()}]}  # fmt: skip
    status, answer = service.json("POST", "/v2/models/digits/infer", body)
    assert status == 200, answer
    (classes,) = [output["data"] for output in answer["outputs"] if output["name"] == "class"]
    return int(answer["model_version"]), np.array(classes)


def wait_for(service, inputs, version):
    deadline = time.monotonic() + 30
    while ask(service, inputs[:1])[0] != version:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def service(digits, tmp_path):
    service = Service(digits.models, tmp_path / "serve.log").wait("digits")
    yield service
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(30) == 0
    service.process.stdout.close()
    service._stderr.close()


def test_what_is_published_is_served_what_is_refused_is_not(digits, update, oarlock, service):
    with np.load(digits.files / "test.npz") as test:
        inputs, targets = test["inputs"], test["targets"]
    version, classes = ask(service, inputs)
    assert version == 1
    before = (classes == targets).mean()

    failures, seen, done = [], [], threading.Event()

    def load():
        while not done.is_set():
            try:
                seen.append(ask(service, inputs[:8])[0])
            except (AssertionError, OSError) as error:
                failures.append(error)
            time.sleep(0.01)

    asking = threading.Thread(target=load)
    asking.start()
    try:
        assert update("poison").returncode == 3
        assert set(seen) == {1}
        assert update("good").returncode == 0
        wait_for(service, inputs, 2)
        after = (ask(service, inputs)[1] == targets).mean()
        assert oarlock("rollback", "digits", "--models", digits.models).returncode == 0
        wait_for(service, inputs, 1)
    finally:
        done.set()
        asking.join()
    assert failures == []
    assert set(seen) == {1, 2}
    assert after > before + 0.05
    assert service.process.poll() is None  # the same process all the time
