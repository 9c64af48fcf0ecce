"""A prediction over HTTP: in JSON, in bytes, with a public client; the same numbers as the network's own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from tests.plugins.service.server import bundles
from tests.plugins.service.server.bundles import Network
from tests.plugins.service.server.conftest import Service, request_of

NETWORK = Network(shift=1)
ROWS = NETWORK.rows(3)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    bundles.publish(folder, "toy", NETWORK)
    bundles.publish_sums(folder, "sums")
    made = Service(folder, tmp_path_factory.mktemp("log") / "serve.log").wait("toy", "sums")
    yield made
    assert made.stop() == 0
    made.log()


def test_json(service):
    status, answer = service.infer(ROWS, id="mine")
    assert status == 200
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("toy", "1", "mine")
    output = answer["outputs"][0]
    assert (output["name"], output["datatype"], output["shape"]) == ("y", "FP32", [3, 4])
    np.testing.assert_allclose(np.reshape(output["data"], (3, 4)), NETWORK(ROWS), rtol=1e-5)


def test_nested_data_is_the_same(service):
    request = request_of(ROWS)
    flat = service.json("POST", "/v2/models/toy/infer", request)[1]["outputs"]
    request["inputs"][0]["data"] = ROWS.tolist()
    assert service.json("POST", "/v2/models/toy/versions/1/infer", request)[1]["outputs"] == flat


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tritonclient(service, binary, compression):
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("toy")
        assert client.is_model_ready("toy", "1")
        assert client.get_server_metadata()["name"] == "oarlock"
        metadata = client.get_model_metadata("toy")
        assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 8]}]
        states = {(one["name"], one["version"]): one["state"] for one in client.get_model_repository_index()}
        assert states == {("toy", "1"): "READY", ("sums", "1"): "READY"}
        given = triton.InferInput("x", [3, 8], "FP32")
        given.set_data_from_numpy(ROWS, binary_data=binary)
        wanted = triton.InferRequestedOutput("y", binary_data=binary)
        answer = client.infer("toy", [given], outputs=[wanted], request_id="mine", request_compression_algorithm=compression,
                              response_compression_algorithm=compression)  # fmt: skip
        np.testing.assert_allclose(answer.as_numpy("y"), NETWORK(ROWS), rtol=1e-5)
        assert answer.get_response()["id"] == "mine"
        # Without outputs the client asks for all of them in bytes.
        np.testing.assert_array_equal(client.infer("toy", [given]).as_numpy("y"), answer.as_numpy("y"))


def test_several_inputs_and_types(service):
    """`sums` adds an INT32 of any length and a FP64, in one tensor each, and says whether the sum is positive."""
    counts, bias = np.array([[1, 2, 3], [-4, -5, -6]], "int32"), np.array([[0.5], [1.5]])
    request = {
        "inputs": [{"name": "bias", "shape": [2, 1], "datatype": "FP64", "data": bias.ravel().tolist()},
                   {"name": "counts", "shape": [2, 3], "datatype": "INT32", "data": counts.tolist()}],
        "outputs": [{"name": "positive"}, {"name": "sum"}],
    }  # fmt: skip
    status, answer = service.json("POST", "/v2/models/sums/infer", request)
    assert status == 200
    assert answer["outputs"] == [
        {"name": "positive", "datatype": "BOOL", "shape": [2, 1], "data": [True, False]},
        {"name": "sum", "datatype": "FP64", "shape": [2, 1], "data": [6.5, -13.5]},
    ]
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        given = [triton.InferInput("counts", [2, 3], "INT32"), triton.InferInput("bias", [2, 1], "FP64")]
        given[0].set_data_from_numpy(counts)
        given[1].set_data_from_numpy(bias, binary_data=False)
        answer = client.infer("sums", given)
        assert answer.as_numpy("positive").tolist() == [[True], [False]]
        assert answer.as_numpy("sum").tolist() == [[6.5], [-13.5]]


def test_requests_of_different_lengths_are_not_mixed(service):
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}", concurrency=16) as client:
        pending = []
        for length in [1, 2, 3, 5] * 25:
            given = [triton.InferInput("counts", [1, length], "INT32"), triton.InferInput("bias", [1, 1], "FP64")]
            given[0].set_data_from_numpy(np.full((1, length), 2, "int32"))
            given[1].set_data_from_numpy(np.array([[0.5]]))
            pending.append((length, client.async_infer("sums", given)))
        for length, one in pending:
            assert one.get_result().as_numpy("sum").tolist() == [[2 * length + 0.5]]


def test_the_id_of_a_request_is_in_its_answer_and_its_log_line(service):
    _, headers, _ = service.ask("POST", "/v2/models/toy/infer", b"{", {"X-Request-Id": "trace-me.1"})
    assert headers["X-Request-Id"] == "trace-me.1"
    line = service.line(request_id="trace-me.1")
    assert (line["status"], line["model"]) == (400, "toy")
    assert "not JSON" in line["error"]
    status, headers, body = service.ask("GET", "/v2/models/tyo", headers={"X-Request-Id": "two words"})
    made = headers["X-Request-Id"]
    assert status == 404
    assert json.loads(body) == {"error": "there is no model 'tyo'. Did you mean 'toy'?", "request_id": made}
    assert service.line(request_id=made)["status"] == 404


def test_a_large_answer_is_packed_for_who_asks(service):
    body = json.dumps(request_of(NETWORK.rows(500)))
    plain = service.ask("POST", "/v2/models/toy/infer", body)
    packed = service.ask("POST", "/v2/models/toy/infer", gzip.compress(body.encode()),
                         {"Content-Encoding": "gzip", "Accept-Encoding": "br, gzip;q=0.5"})  # fmt: skip
    assert packed[1]["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed[2]) == plain[2]
    refused = service.ask("POST", "/v2/models/toy/infer", body, {"Accept-Encoding": "gzip;q=0"})
    assert refused[1]["Content-Encoding"] is None


def test_what_a_model_cannot_compute_fails_alone(service):
    """A value that is not finite has no form in JSON, and the others of its batch have their answers."""
    status, answer = service.infer(np.full((1, 8), 3e38, "float32"))
    assert status == 400
    assert "not finite" in answer["error"]
    assert service.infer(ROWS)[0] == 200


def test_metrics(service):
    before = service.metric("oarlock_request_seconds_count", model="toy")
    for _ in range(5):
        service.infer(ROWS)
    assert service.metric("oarlock_request_seconds_count", model="toy") == before + 5
    assert service.metric("oarlock_model_version", model="toy") == 1
    assert service.metric("oarlock_batch_rows_sum", model="toy") >= 15
    assert service.metric("oarlock_answers_total", status="200") > 5
    assert service.metric("oarlock_requests_in_flight") == 0


def test_head_answers_as_get_does_without_the_body(service):
    connection = service.connect()
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/toy", "/v2/models/none", "/"):
        answers = []
        for method in ("HEAD", "GET"):  # on one connection: a body too many would be taken for the next answer
            connection.request(method, path)
            answer = connection.getresponse()
            answers.append((answer.status, answer.getheader("content-type")))
            assert bool(answer.read()) == (method == "GET")
        assert answers[0] == answers[1]
    connection.request("HEAD", "/v2/models/toy/infer")
    assert connection.getresponse().status == 405
    connection.close()


def test_it_imports_no_paddle(service):
    maps = Path(f"/proc/{service.process.pid}/maps").read_text()
    assert "onnxruntime" in maps
    assert "paddle" not in maps
