"""Ways to make the same trials: oarlock, a shell loop, Hydra's basic launcher and Ray Tune; and what each holds in memory.

A trial is five epochs of *small* for a learning rate and a seed. All but oarlock train it by the loop of peers/trial.py.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import environments
import numpy as np
from trainers import PEERS, environment_variables

OARLOCK = str(Path(sys.executable).with_name("oarlock"))
TRIAL = [
    "data=digits", "model=bn_mlp", "optimizer=momentum", "trainer.batch_size=32", "trainer.drop_last=true",
    "trainer.epochs=5", "trainer.evaluation_batch_size=1024", "callback.early_stopping.patience=1000000",
]  # fmt: skip


class Failed(Exception):
    """A way to make the trials failed, or made too few."""


def points(trials):
    """Learning rates, and how many seeds of each, for so many trials: a power of two."""
    seeds = 2 ** ((trials.bit_length() - 1) // 2)
    rates = [f"{rate:.5g}" for rate in np.geomspace(0.001, 0.1, trials // seeds)]
    assert len(rates) * seeds == trials, f"{trials} trials: expected a power of two"
    return rates, seeds


def oarlock(trials, folder, arrays, width=128):
    rates, seeds = points(trials)
    return [[OARLOCK, "train", "-m", *TRIAL, f"model.widths=[{width}]", f"optimizer.learning_rate={','.join(rates)}",
             f"seed=range(0,{seeds})", f"hydra.sweep.dir={folder}"]]  # fmt: skip


def shell(trials, folder, arrays):
    rates, seeds = points(trials)
    return [[sys.executable, str(PEERS / "trial.py"), arrays, rate, str(seed), "128"]
            for rate in rates for seed in range(seeds)]  # fmt: skip


def hydra_basic(trials, folder, arrays):
    rates, seeds = points(trials)
    return [[sys.executable, str(PEERS / "sweep_hydra.py"), "-m", f"arrays={arrays}", f"learning_rate={','.join(rates)}",
             f"seed=range(0,{seeds})", f"hydra.sweep.dir={folder}"]]  # fmt: skip


def ray_tune(trials, folder, arrays, reuse=False):
    rates, seeds = points(trials)
    return [[environments.python("ray"), str(PEERS / "sweep_ray.py"), arrays, str(folder),
             "reuse" if reuse else "new", ",".join(rates), str(seeds)]]  # fmt: skip


def measure(lines, folder, trials, memory=False):
    """Trials a minute of command lines that follow one another, and their peak memory in MiB where it is asked for.

    Raises:
        Failed: one of them failed, or there are fewer results than trials.
    """
    folder.mkdir(parents=True)
    said, peak = [], 0.0
    started = time.perf_counter()
    for line in lines:
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                line, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=environment_variables(1), text=True,
                start_new_session=True,
            )  # fmt: skip
            watch = MemoryWatch(process.pid) if memory else contextlib.nullcontext()
            try:
                with watch:
                    code = process.wait(900)
            except subprocess.TimeoutExpired as late:
                raise Failed(f"{line[0]} took more than 15 minutes") from late
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            peak = max(peak, watch.peak) if memory else peak
            output.seek(0)
            said.append(output.read())
        if code:
            raise Failed(f"{' '.join(line)[:200]} ended with {code}: {said[-1][-1500:]}")
    seconds = time.perf_counter() - started
    if lines[0][0] == OARLOCK:
        done = completed(folder)
    else:
        done = sum(line.startswith("accuracy ") for text in said for line in text.splitlines())
    if done != trials:
        raise Failed(f"expected {trials} trials, found {done}: {said[-1][-1500:]}")
    return 60 * trials / seconds, peak


def completed(folder):
    """How many trials a sweep's ledger says are completed."""
    from oarlock_plugins.sweeps.ledger import Replay

    return sum(trial.status == "completed" for trial in Replay(folder).trials.values())


class MemoryWatch:
    """Looks five times a second at what a process and its descendants hold together: shared pages count once (PSS).

    Attributes:
        peak: the most, in MiB.
    """

    def __init__(self, pid):
        self._pid, self._over, self.peak = pid, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _look(self):
        while not self._over.wait(0.2):
            self.peak = max(self.peak, sum(map(held, family(self._pid))))


def family(pid):
    """A process and its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def held(pid):
    """The proportional set size of a process in MiB; 0 where it has gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
