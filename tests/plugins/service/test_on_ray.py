"""The server on Ray: a real cluster of this machine, replicas, versions swapped in all of them, and its end."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request

import numpy as np
import pytest

from oarlock_plugins.service import models
from oarlock_plugins.sweeps.processes import processes_of
from oarlock_plugins.sweeps.slots import cores
from tests.conftest import command, environment
from tests.plugins.service.server.bundles import Network, publish


@pytest.fixture
def service(tmp_path):
    """Start `oarlock serve --on ray`; returns its process and its address."""
    started = []

    def start(*options):
        with (tmp_path / "err").open("w") as errors:
            process = subprocess.Popen(
                command("serve", tmp_path / "models", "--on", "ray", "--port", "0", "--poll-seconds", "0.1", *options),
                stdout=subprocess.PIPE, stderr=errors, text=True, cwd=tmp_path,
                env=environment({"RAY_USAGE_STATS_ENABLED": "0"}), start_new_session=True,
            )  # fmt: skip
        started.append(process)
        line = process.stdout.readline()
        assert "http://" in line, (tmp_path / "err").read_text()
        return process, line.strip().partition("http://")[2].partition(",")[0]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def infer(address, rows):
    """(version, answers) of the model toy."""
    body = {"inputs": [{"name": "x", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}]}
    request = urllib.request.Request(f"http://{address}/v2/models/toy/infer", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = json.load(answer)
    return int(found["model_version"]), np.array(found["outputs"][0]["data"], "float32").reshape(len(rows), -1)


@pytest.mark.long
def test_replicas_answer_swap_versions_and_end(service, tmp_path):
    networks = {version: Network(shift=version) for version in (1, 2)}
    publish(tmp_path / "models", network=networks[1])
    process, address = service("--replicas", "2")
    rows = networks[1].rows(3)
    for _ in range(20):
        version, answers = infer(address, rows)
        assert version == 1
        np.testing.assert_allclose(answers, networks[1](rows), rtol=1e-5)

    publish(tmp_path / "models", network=networks[2])
    seen, deadline = [], time.monotonic() + 30
    while seen[-20:] != [2] * 20:  # both replicas look for themselves, so for a moment either version answers
        assert time.monotonic() < deadline, seen
        version, answers = infer(address, rows)
        np.testing.assert_allclose(answers, networks[version](rows), rtol=1e-5)
        seen.append(version)
    models.withdraw(tmp_path / "models" / "toy", 2, "")
    while infer(address, rows)[0] != 1:
        assert time.monotonic() < deadline

    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert processes_of(process.pid) == []
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://{address}/v2/health/live", timeout=5)


def test_refusals_before_anything_is_started(oarlock, tmp_path):
    publish(tmp_path / "models")

    def refused(*options):
        done = oarlock("serve", "models", "--on", "ray", "--port", "0", *options)
        assert done.returncode == 2
        return done.stderr

    assert "--max-replicas 1: expected at least --replicas, 2" in refused("--replicas", "2", "--max-replicas", "1")
    assert "serve: --address 127.0.0.1:1: nobody answers there" in refused("--address", "127.0.0.1:1")
    assert "--host 0.0.0.0 can be reached from other machines" in refused("--host", "0.0.0.0")
    assert "--replicas 0: expected a number from 1 on" in refused("--replicas", "0")


@pytest.mark.filterwarnings("ignore")  # Ray defines its models in a way that pydantic calls old
def test_more_replicas_under_load_are_an_option(tmp_path):
    from oarlock_plugins.service.on_ray import deployment
    from oarlock_plugins.service.server.settings import Settings

    settings = Settings(tmp_path, threads=2, instances=3)
    fixed = deployment(settings, 2, None, 16)._bound_deployment
    assert (fixed.num_replicas, fixed.ray_actor_options["num_cpus"]) == (2, 6)
    growing = deployment(settings, 1, 4, 8)._bound_deployment._deployment_config.autoscaling_config
    assert (growing.min_replicas, growing.max_replicas, growing.target_ongoing_requests) == (1, 4, 8)


def test_more_replicas_than_there_is_room_for_are_refused(oarlock, tmp_path):
    """Ray would wait for it, without a word."""
    publish(tmp_path / "models")
    many = cores() + 1
    done = oarlock("serve", "models", "--on", "ray", "--replicas", many, "--port", 0)
    assert done.returncode == 2
    assert (
        f"serve: --replicas {many} of 1 core each (--threads, --instances): this machine has {cores()}." in done.stderr
    )
    done = oarlock("serve", "models", "--on", "ray", "--device", "gpu", "--port", 0, env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 2
    assert "--device gpu --replicas 1: each takes a GPU, and this machine has 0." in done.stderr
