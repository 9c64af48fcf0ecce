"""`hydra/launcher=ray` on a real cluster of two raylets: the same trials, and nothing that dies takes them along."""

from __future__ import annotations

import os
import signal

import pytest
from safetensors.numpy import load_file

from oarlock_plugins.sweeps.processes import processes_of
from tests.plugins.sweeps_ray.conftest import RAY, children, kill, trials, wait_for

# `where` says in a trial's log where it runs and what Ray shows it; with `leisure` an epoch takes a second until a file is
# there, so that no trial ends before a test has done to it what it wants to.
TEACHER = """
import os, time
from oarlock import component, hookimpl

@component
class Where:
    "Says where it is."

    @hookimpl
    def on_run_start(self, run):
        print("raylet", os.getppid(), "gpus", os.environ["CUDA_VISIBLE_DEVICES"], "threads", os.environ["OMP_NUM_THREADS"])

@component
class Leisure:
    "Takes its time until a file is there."

    until: str

    @hookimpl
    def on_epoch_start(self, run):
        if not os.path.exists(self.until):
            time.sleep(1)

@hookimpl
def register_components(register):
    register("callback/where", Where)
    register("callback/leisure", Leisure)
"""


@pytest.fixture
def taught(tmp_path):
    """The environment in which `-p teacher` is found."""
    (tmp_path / "teacher.py").write_text(TEACHER)
    return {**RAY, "PYTHONPATH": str(tmp_path)}


@pytest.fixture
def leisurely(tmp_path):
    """Trials that take half a minute each, until the file `hurry` is there."""
    leisure = ["callback=[progress,leisure]", f"callback.leisure.until={tmp_path / 'hurry'}"]
    return ["-p", "teacher", *leisure, "trainer.epochs=30", "trainer.checkpoint.every_epochs=1"]


def on(nodes, *arguments):
    address = f"hydra.launcher.address={nodes.address}"
    return ["train", "-m", "hydra/launcher=ray", address, "hydra.sweep.dir=s", *arguments]


@pytest.mark.long
def test_one_of_two_raylets_is_killed_and_all_trials_finish(nodes, begin, taught, leisurely, tmp_path):
    doomed = nodes.add(num_cpus=1, resources={"slot": 1})
    nodes.add(num_cpus=1, resources={"slot": 1})
    slots = ["hydra.launcher.resources={slot: 1}", "seed=range(0,12)", "sweep.retries=1"]
    sweep = begin(*on(nodes, *slots, *leisurely), env=taught)
    # Two slots, two trials that have begun: one is the doomed node's.
    wait_for(lambda: len({path.parent for path in (tmp_path / "s").glob("*/checkpoints/*")}) == 2, sweep=sweep)
    for pid in (doomed, *children(doomed)):
        kill(pid)
    (tmp_path / "hurry").touch()
    assert sweep.wait(180) == 0, (tmp_path / "printed").read_text()
    ended = trials(tmp_path / "s")
    assert [trial.status for trial in ended] == ["completed"] * 12
    assert sorted(trial.attempts for trial in ended) == [1] * 11 + [2]
    assert '"error":"' in (tmp_path / "s" / "ledger.jsonl").read_text()
    assert "12 finished, 0 failed" in (tmp_path / "printed").read_text()


def worker_of(raylet):
    """The process of a raylet that trains."""
    for pid in children(raylet):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                if "oarlock_worker" in file.read():
                    return pid
        except OSError:
            continue
    return None


@pytest.mark.long
def test_a_killed_worker_is_one_failed_attempt(nodes, begin, taught, leisurely, tmp_path):
    """Without retries it has failed; the other trials finish, on a new worker too."""
    sweep = begin(*on(nodes, "hydra.launcher.resources={special: 2}", "seed=range(0,3)", *leisurely), env=taught)
    wait_for(lambda: list((tmp_path / "s").glob("0/checkpoints/*")), sweep=sweep)
    kill(worker_of(nodes.second))
    (tmp_path / "hurry").touch()
    assert sweep.wait(180) == 1
    assert sorted(trial.status for trial in trials(tmp_path / "s")) == ["completed", "completed", "failed"]
    assert "failed: s/" in (tmp_path / "printed").read_text()


@pytest.mark.long
def test_trials_run_where_their_resources_are_and_end_bitwise_as_on_this_machine(nodes, oarlock, taught, tmp_path):
    same = ["-p", "teacher", "+callback=where", "seed=range(0,3)", "trainer.epochs=2", "device=cpu"]
    asked = ["hydra.launcher.resources={special: 1}", "hydra.launcher.num_gpus=0.5", "hydra.launcher.num_cpus=0.5"]
    done = oarlock(*on(nodes, *asked, *same), env=taught, timeout=180)
    assert (done.returncode, done.stderr) == (0, "")
    for number in range(3):
        said = (tmp_path / "s" / "logs" / f"{number}.txt").read_text()
        assert f"raylet {nodes.second} gpus 0 threads 1" in said
    local = oarlock("train", "-m", "hydra.sweep.dir=local", *same, timeout=180,
                    env={**taught, "CUDA_VISIBLE_DEVICES": ""})  # fmt: skip
    assert local.returncode == 0, local.stderr
    for number in range(3):
        there, here = (weights(tmp_path / folder / str(number)) for folder in ("s", "local"))
        assert there.keys() == here.keys()
        assert all((there[name] == here[name]).all() for name in here)


def weights(run):
    return load_file(sorted((run / "checkpoints").iterdir())[-1] / "model.safetensors")


@pytest.mark.long
def test_trials_are_pruned_and_one_that_fails_is_listed(nodes, oarlock, tmp_path):
    rates = "optimizer.learning_rate=0.1,0.05,1e-9,1e-8,1e30"
    halving = ["sweep.pruner=asha", "sweep.reduction_factor=2", "hydra.launcher.slots=1"]
    done = oarlock(*on(nodes, "optimizer=sgd", rates, "trainer.epochs=4", *halving), env=RAY, timeout=180)
    status = [trial.status for trial in trials(tmp_path / "s")]
    assert done.returncode == 1, done.stderr
    assert (status[0], status[2:]) == ("completed", ["pruned", "pruned", "failed"])
    assert "failed: s/4: " in done.stdout


@pytest.mark.long
def test_a_signal_saves_the_trials_and_resume_finishes_them(nodes, begin, oarlock, taught, leisurely, tmp_path):
    sweep = begin(*on(nodes, "seed=range(0,3)", *leisurely), env=taught)
    wait_for(lambda: list((tmp_path / "s").glob("*/checkpoints/*")), sweep=sweep)
    sweep.send_signal(signal.SIGTERM)
    assert sweep.wait(60) == 75
    assert "stopped by a signal; 'oarlock resume -p teacher s' continues it" in (tmp_path / "printed").read_text()
    before = {trial.number: trial.attempts for trial in trials(tmp_path / "s")}
    assert worker_of(nodes.head) is None
    (tmp_path / "hurry").touch()
    done = oarlock(
        "resume", "-p", "teacher", "s", env=taught, timeout=180
    )  # the cluster is still there, and its address recorded
    assert done.returncode == 0, done.stderr
    assert [trial.status for trial in trials(tmp_path / "s")] == ["completed"] * 3
    assert max(before.values()) <= 1
    assert "resuming s/" in "".join(path.read_text() for path in (tmp_path / "s" / "logs").iterdir())


@pytest.mark.long
def test_a_node_that_comes_later_is_used(nodes, begin, taught, leisurely, tmp_path):
    nodes.add(num_cpus=1, resources={"late": 1})
    sweep = begin(*on(nodes, "hydra.launcher.resources={late: 1}", "seed=range(0,8)", *leisurely), env=taught)
    wait_for(lambda: list((tmp_path / "s").glob("*/checkpoints/*")), sweep=sweep)
    second = nodes.add(num_cpus=1, resources={"late": 1})
    wait_for(lambda: worker_of(second), sweep=sweep)
    sweep.send_signal(signal.SIGTERM)
    assert sweep.wait(60) == 75


@pytest.mark.long
def test_a_cluster_of_its_own_ends_with_a_driver_that_is_killed(begin, oarlock, taught, leisurely, tmp_path):
    sweep = begin("train", "-m", "hydra/launcher=ray", "hydra.sweep.dir=s", "seed=range(0,3)", *leisurely, env=taught)
    wait_for(lambda: list((tmp_path / "s").glob("*/checkpoints/*")), sweep=sweep)
    sessions = {os.getsid(pid) for pid in children(sweep.pid)} - {os.getsid(sweep.pid)}
    assert sessions
    sweep.kill()
    sweep.wait()
    wait_for(lambda: not any(living(session) for session in sessions), 20)
    (tmp_path / "hurry").touch()
    done = oarlock("resume", "-p", "teacher", "s", "hydra/launcher=local", env=taught, timeout=180)
    assert done.returncode == 0, done.stderr
    assert [trial.status for trial in trials(tmp_path / "s")] == ["completed"] * 3


def living(session):
    """The processes of a session that are more than an entry in the table."""
    found = []
    for pid in processes_of(session):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                if file.read().rpartition(")")[2].split()[0] not in "ZX":
                    found.append(pid)
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_what_no_node_has_is_refused_before_there_is_a_folder(nodes, oarlock, tmp_path):
    done = oarlock(*on(nodes, "hydra.launcher.resources={nowhere: 1}", "seed=1,2"), env=RAY)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0] == "error: hydra.launcher.resources.nowhere=1: no node of the Ray cluster has that for one trial."
    assert "1 CPU, 1 GPU, 2 special" in lines[1]
    assert len(lines) == 2
    assert not (tmp_path / "s").exists()
