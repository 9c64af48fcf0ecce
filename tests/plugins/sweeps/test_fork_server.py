"""The process that forks the workers: what is forked is a worker like any other, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from oarlock_plugins.sweeps import fork_server

JOB = ["model.widths=[8]"]


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_workers_are_forked(sweeps):
    driver = sweeps.start("train", "-m", *JOB, "trainer.epochs=2000", "seed=0,1", "hydra.sweep.dir=s")
    sweeps.wait_for(lambda: len(list((sweeps.folder / "s").glob("*/run.json"))) == 2)
    by_parent = {pid: parent(pid) for pid in sweeps.processes()}
    (server,) = [pid for pid, above in by_parent.items() if above == driver.pid]
    assert sorted(by_parent.values()) == sorted([os.getpid(), driver.pid, server, server])
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=60)
    assert "stopped by a signal" in errors
    assert not sweeps.processes()


def test_workers_are_spawned_where_there_are_gpus(sweeps):
    sweeps.environment["CUDA_VISIBLE_DEVICES"] = "0"
    driver = sweeps.start("train", "-m", *JOB, "trainer.epochs=2000", "seed=0,1", "device=auto", "hydra.launcher.per_gpu=2",
                          "hydra.sweep.dir=s")  # fmt: skip
    sweeps.wait_for(lambda: len(list((sweeps.folder / "s").glob("*/run.json"))) == 2)
    assert sorted(parent(pid) for pid in sweeps.processes()) == sorted([os.getpid(), driver.pid, driver.pid])
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=60)


def test_the_process_that_forks_is_killed(sweeps):
    """What it has forked goes on; who is needed after that is spawned."""
    hows = "callback.trouble.how=slow,slow/1,kill,slow/2,slow/3,slow/4"
    driver = sweeps.start("train", "-p", "trouble", "-m", *JOB, "callback=[trouble]", hows, "trainer.epochs=6",
                          "hydra.sweep.dir=s")  # fmt: skip
    sweeps.wait_for(lambda: len(list((sweeps.folder / "s").glob("*/run.json"))) == 2)
    (server,) = [pid for pid in sweeps.processes() if parent(pid) == driver.pid]
    os.kill(server, signal.SIGKILL)
    output, errors = driver.communicate(timeout=120)
    assert driver.returncode == 1, errors
    assert "Traceback" not in output + errors
    trials = sweeps.trials()
    assert [trial.status for _, trial in sorted(trials.items())] == ["completed"] * 2 + ["failed"] + ["completed"] * 3
    assert "gone" in trials[2].error  # nobody can know any more what it died of
    assert not sweeps.processes()


def test_the_process_that_forks_is_killed_before_it_has_forked(sweeps):
    driver = sweeps.start("train", "-m", *JOB, "trainer.epochs=2", "seed=range(0,6)", "hydra.sweep.dir=s")

    def server():
        return next((pid for pid in sweeps.processes() if parent(pid) == driver.pid), None)

    sweeps.wait_for(lambda: (sweeps.folder / "s" / "ledger.jsonl").exists())  # workers are asked for soon
    os.kill(server(), signal.SIGSTOP)
    time.sleep(1)
    os.kill(server(), signal.SIGKILL)
    _, errors = driver.communicate(timeout=100)
    assert driver.returncode == 0, errors
    assert {trial.status for trial in sweeps.trials().values()} == {"completed"}
    assert not sweeps.processes()


def test_nobody_is_left_of_a_sweep_that_is_not_valid(sweeps):
    done = sweeps.run("train", "-m", *JOB, "optimizer.lr=1,2", "hydra.sweep.dir=s")
    assert done.returncode == 2
    assert not sweeps.processes()


def test_nobody_is_left_of_a_driver_that_is_killed_at_once(sweeps):
    driver = sweeps.start("train", "-m", *JOB, "seed=0,1", "hydra.sweep.dir=s")
    sweeps.wait_for(lambda: len(sweeps.processes()) == 2)
    driver.kill()
    driver.communicate()
    sweeps.wait_for(lambda: not sweeps.processes(), 2)


def test_what_a_process_ended_with():
    """And that its id is nobody else's until it is given back."""
    server = fork_server.ForkServer(dict(os.environ))
    try:
        process = fork_server.ForkedProcess(server)
        assert process.gone() == ""
        pid = server.pid(1)
        os.kill(pid, signal.SIGABRT)
        deadline = time.monotonic() + 30
        while not process.gone() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.gone() == "killed by SIGABRT"
        assert Path(f"/proc/{pid}").exists()
        process.close()
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not Path(f"/proc/{pid}").exists()
        other = fork_server.ForkedProcess(server)
        other.kill()
        assert other.gone() == "killed by SIGKILL"
        other.connection.close()
        other.close()
    finally:
        server.close()


def test_only_what_decides_on_workers_delays_them(monkeypatch):
    begun = []
    monkeypatch.setattr(fork_server, "ForkServer", begun.append)
    monkeypatch.setattr(fork_server.atexit, "register", lambda function: None)
    monkeypatch.setattr(fork_server, "_begun", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for override in ("hydra/launcher=ray", "hydra.launcher.slots=1", "+hydra/launcher=mine", "hydra/sweeper=basic"):
        fork_server.begin(["seed=1,2", override])
    assert begun == []
    fork_server.begin(["seed=1,2", "hydra.sweep.dir=x"])
    assert len(begun) == 1
