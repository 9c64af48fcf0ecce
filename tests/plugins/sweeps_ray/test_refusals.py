"""What `hydra/launcher=ray` refuses without any cluster, and who may come in at its door."""

from __future__ import annotations

import multiprocessing
import socket
import threading
import time
from multiprocessing.connection import Client, Connection, answer_challenge, deliver_challenge

import pytest

from oarlock import UserError
from oarlock_plugins.sweeps import ray_cluster
from oarlock_plugins.sweeps.ray_cluster import Demand, check_address
from oarlock_plugins.sweeps.ray_pool import Door

RAY = "train -m hydra/launcher=ray seed=1,2 hydra.sweep.dir=s "


def test_bad_options_are_refused_in_one_or_two_lines(ask):
    """In one process: none of these starts anything."""
    expected = {
        "hydra.launcher.num_cpus=-1": "hydra.launcher.num_cpus=-1: expected more than 0",
        "hydra.launcher.num_cpus=4096": "hydra.launcher.num_cpus=4096: no node of the Ray cluster has that",
        "hydra.launcher.num_gpus=1.5": "hydra.launcher.num_gpus=1.5: expected 0, a part of one such as 0.5",
        "hydra.launcher.num_gpus=-1": "hydra.launcher.num_gpus=-1: expected",
        "hydra.launcher.num_gpus=64": "hydra.launcher.num_gpus=64: no node of the Ray cluster has that",
        "hydra.launcher.resources={GPU:1}": "hydra.launcher.resources.GPU=1: write hydra.launcher.num_gpus=1",
        "hydra.launcher.resources={memory:1}": "hydra.launcher.resources.memory=1: expected a resource that",
        "hydra.launcher.resources={tpu:0}": "hydra.launcher.resources.tpu=0: expected more than 0",
        "hydra.launcher.resources={tpu:1}": "hydra.launcher.resources.tpu=1: no node of the Ray cluster has that",
        "hydra.launcher.slots=0": "hydra.launcher.slots=0: expected at least 1",
        "device=gpu": "device=gpu: Ray shows a trial no GPU that it does not ask for.",
        "hydra.launcher.address=here": "hydra.launcher.address=here: expected HOST:PORT, or auto.",
        "hydra.launcher.address=ray://here:10001": "hydra.launcher.address=ray://here:10001: expected HOST:PORT",
        "hydra.launcher.address=127.0.0.1:1": "hydra.launcher.address=127.0.0.1:1: nobody answers there",
    }
    for option, answer in zip(expected, ask(None, *[RAY + option for option in expected]), strict=True):
        assert answer.code == 2, (option, answer)
        assert answer.err.startswith(f"error: {expected[option]}"), answer.err
        assert answer.err.count("\n") <= 2


def test_without_ray_it_says_what_to_install(plugin, oarlock, tmp_path):
    hidden = "import importlib.util as i\nfound = i.find_spec\n" \
             "i.find_spec = lambda name, *more: None if name == 'ray' else found(name, *more)\n"  # fmt: skip
    done = oarlock(*RAY.split(), env=plugin(hidden))
    assert (done.returncode, done.stderr) == (2, "error: Ray is not installed: pip install 'oarlock[ray]'.\n")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_an_address_that_is_no_ray_is_refused(answer):
    def serve():
        with server.accept()[0] as line:
            line.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=f"^hydra.launcher.address={address}: nobody answers there: .*\n"):
            check_address(address)
        thread.join()


def test_an_address_that_says_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(ray_cluster, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=f"{address}: nobody answers there: timed out"):
            check_address(address)


@pytest.mark.parametrize(
    ("demand", "nodes", "places"),
    [
        (Demand(1, 0, {}), [{"CPU": 2}, {"CPU": 3}], 5),
        (Demand(2, 0, {}), [{"CPU": 3}, {"CPU": 1}], 1),
        (Demand(0.1, 0, {}), [{"CPU": 1}], 10),
        (Demand(1, 0.25, {}), [{"CPU": 8, "GPU": 1}, {"CPU": 3, "GPU": 1}, {"CPU": 8}], 7),
        (Demand(1, 0, {"special": 1}), [{"CPU": 4}, {"CPU": 4, "special": 2}], 2),
    ],
)
def test_places(demand, nodes, places):
    assert demand.places(nodes) == places


def test_what_only_several_nodes_have_together_is_named_together():
    with pytest.raises(UserError, match=r"num_cpus=2, hydra\.launcher\.num_gpus=1: no node .*\n.*1 CPU, 1 GPU; 4 CPU"):
        Demand(2, 1, {}).places([{"CPU": 4}, {"CPU": 1, "GPU": 1}])


def test_auto_is_what_ray_start_has_left(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(UserError, match="address=auto: this machine is part of no Ray cluster"):
        check_address("auto")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    with pytest.raises(UserError, match=r"address=auto \(127\.0\.0\.1:1\): nobody answers there"):
        check_address("auto")


def test_an_address_may_be_of_the_sixth_version():
    with pytest.raises(UserError, match="nobody answers"):
        check_address("[::1]:1")


@pytest.fixture
def door():
    found = Door("127.0.0.1")
    yield found
    found.close()


def test_strangers_at_the_door_hold_up_nobody(door):
    silent = [socket.create_connection(door.address) for _ in range(20)]
    with socket.create_connection(door.address) as babbler:
        babbler.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises((multiprocessing.AuthenticationError, EOFError, OSError)):
        Client(door.address, authkey=b"wrong")
    begun = time.monotonic()
    with Client(door.address, authkey=door.key) as worker:
        worker.send_bytes(b"token")
        assert door.bell.poll(5)
        token, connection = door.arrived()
        assert time.monotonic() - begun < 5
        assert token == "token"
        worker.send_bytes(b"hello")
        assert connection.recv_bytes() == b"hello"
        connection.close()
    assert not door.bell.poll(0.1)
    for one in silent:
        one.close()


def test_the_driver_proves_itself_too(door):
    """A worker never trains for a driver that does not know the key."""
    with socket.create_server(("127.0.0.1", 0)) as imposter:
        knocking = socket.create_connection(imposter.getsockname())
        accepted, _ = imposter.accept()
        with Connection(knocking.detach()) as worker, Connection(accepted.detach()) as driver:
            for message in (b"#CHALLENGE#{sha256}" + b"0" * 20, b"#WELCOME#", b"anything"):
                driver.send_bytes(message)
            answer_challenge(worker, door.key)
            with pytest.raises(multiprocessing.AuthenticationError):
                deliver_challenge(worker, door.key)
