"""A run that is killed, interrupted or damaged ends bitwise where the run that was left alone ends."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time

import numpy as np
import pytest

from oarlock import checkpoint
from tests.conftest import command, environment, equal_ends

# Everything that has state: dropout, accumulation, EMA, a schedule with warm-up, a clip, early stopping.
JOB = [
    "model.widths=[32,32]",
    "model.dropout=0.3",
    "optimizer=adamw",
    "schedule=cosine",
    "schedule.warmup_steps=7",
    "regularizer=[clip_global_norm]",
    "callback=[progress,early_stopping,ema]",
    "callback.ema.decay=0.9",
    "callback.early_stopping.patience=3",
    "trainer.accumulate_steps=2",
    "trainer.batch_size=16",
    "trainer.epochs=12",
    "trainer.checkpoint.every_steps=7",
]

# Put into the child's path: kills the process at the n-th fsync or rename, that is, inside a save.
KILL_IN_SAVE = """
import os
left = int(os.environ.get("KILL_AT_WRITE", "0"))
if left:
    def counted(function):
        def wrapper(*arguments, **options):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), 9)
            return function(*arguments, **options)
        return wrapper
    os.fsync, os.rename = counted(os.fsync), counted(os.rename)
"""


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The run that nobody disturbs, its duration, and how often it writes."""
    folder = tmp_path_factory.mktemp("reference")
    run = folder / "run"
    started = time.monotonic()
    subprocess.run(
        command("train", *JOB, f"hydra.run.dir={run}"), cwd=folder, env=environment(), check=True, capture_output=True
    )
    record = json.loads((run / "run.json").read_text())
    seconds = record["times"]["ended"] - record["times"]["started"]
    return run, seconds, time.monotonic() - started


def end_state(run):
    """Everything that must be equal: weights, optimizer, components, state, metrics but for the clock."""
    path, files, damaged = checkpoint.newest_intact(run / "checkpoints")
    assert path is not None
    assert not damaged
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["time"]
    record = json.loads((run / "run.json").read_text())
    kept = {key: record[key] for key in ("status", "reason", "metrics", "best", "step", "total_steps")}
    return files, rows, kept


def assert_equal_ends(run, reference):
    mine, theirs = end_state(run), end_state(reference)
    assert mine[1] == theirs[1]
    assert mine[2] == theirs[2]
    assert set(mine[0]) == set(theirs[0])
    for name in theirs[0]:
        if name.endswith(".safetensors"):
            ours, others = (checkpoint.unpack_arrays(files[0][name]) for files in (mine, theirs))
            for key in others:
                np.testing.assert_array_equal(ours[key], others[key], err_msg=f"{name}: {key}")
    assert json.loads(mine[0]["state.json"]) == json.loads(theirs[0]["state.json"])


def resume_to_the_end(run):
    for _ in range(5):
        done = subprocess.run(
            command("resume", run), cwd=run.parent, env=environment(), capture_output=True, text=True, timeout=120
        )
        if done.returncode == 0:
            return
    raise AssertionError(done.stderr)


def kill_while_training(folder, seconds, rng):
    """Start the job and SIGKILL it at a random moment of its training."""
    run = folder / "run"
    child = subprocess.Popen(
        command("train", *JOB, f"hydra.run.dir={run}"),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (run / "run.json").exists():
        assert child.poll() is None
        time.sleep(0.002)
    time.sleep(rng.uniform(0, seconds))
    child.kill()
    child.wait()
    return run


def kill_while_writing(folder, rng):
    """Start the job and have it killed at a random write to the disk."""
    (folder / "sitecustomize.py").write_text(KILL_IN_SAVE)
    run = folder / "run"
    # The first writes make the folder itself; before that there is no run to resume.
    env = environment({"KILL_AT_WRITE": str(rng.randint(6, 200)), "PYTHONPATH": str(folder)})
    subprocess.run(command("train", *JOB, f"hydra.run.dir={run}"), cwd=folder, env=env, capture_output=True)
    return run


def check_kill(tmp_path, reference, seed):
    rng = random.Random(seed)
    run = kill_while_training(tmp_path, reference[1], rng) if seed % 2 else kill_while_writing(tmp_path, rng)
    resume_to_the_end(run)
    assert_equal_ends(run, reference[0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 6))])
def test_killed_run_resumes_bitwise(tmp_path, reference, seed):
    check_kill(tmp_path, reference, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 150))
def test_killed_run_resumes_bitwise_often(tmp_path, reference, seed):
    check_kill(tmp_path, reference, seed)


def check_signal(tmp_path, reference, number, seed):
    run = tmp_path / "run"
    child = subprocess.Popen(
        command("train", *JOB, f"hydra.run.dir={run}"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (run / "run.json").exists():
        assert child.poll() is None
        time.sleep(0.002)
    # By the run's own progress, not by the clock: a busy machine must not let the signal come after the end.
    evaluations = random.Random(seed).randrange(len(end_state(reference[0])[1]) // 2)
    while len((run / "metrics.jsonl").read_text().splitlines()) < evaluations:
        assert child.poll() is None
        time.sleep(0.002)
    os.kill(child.pid, number)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 75, errors
    assert "Traceback" not in errors
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    resume_to_the_end(run)
    assert_equal_ends(run, reference[0])


SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_signal_saves_and_resumes_bitwise(tmp_path, reference, number):
    check_signal(tmp_path, reference, number, seed=number)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_signal_saves_and_resumes_bitwise_often(tmp_path, reference, seed):
    check_signal(tmp_path, reference, SIGNALS[seed % 3], seed)


# Rows of every kind, and a signal after a given step.
ENDS = '''
import os, signal
import numpy as np
from oarlock import Arrays, Data, InputSpec, component, hookimpl

ROWS = np.random.default_rng(7).normal(size=(14, 3)).astype("float32")

class Samples:
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return ROWS[index], ROWS[index, :2]

class Stream:
    def __iter__(self):
        return iter([(row, row[:2]) for row in ROWS[:12]])

class StatefulStream:
    at = 0

    def __iter__(self):
        while self.at < 12:
            self.at += 1
            yield ROWS[self.at - 1], ROWS[self.at - 1, :2]
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]

ARRAYS = Arrays(ROWS[:12], ROWS[:12, :2])
KINDS = {"arrays": ARRAYS, "samples": Samples(), "stream": Stream(), "stateful": StatefulStream()}

@component
class Kinds:
    """Twelve rows."""

    kind: str = "arrays"

    @hookimpl
    def build_data(self):
        valid = Arrays(ROWS[12:], ROWS[12:, :2])
        return Data(KINDS[self.kind], valid, inputs=InputSpec((3,)), output_shape=(2,))

@component
class Stops:
    """Has the run stopped after a step."""

    @hookimpl
    def on_step_end(self, run):
        if run.step == int(os.environ.get("STOP_AT", 0)):
            os.kill(os.getpid(), signal.SIGTERM)

@hookimpl
def register_components(register):
    register("data/kinds", Kinds)
    register("callback/stops", Stops)
'''


AHEAD = ["trainer.resident_share=0"]


@pytest.mark.parametrize(("kind", "step", "words"), [("arrays", 3, []), ("arrays", 3, AHEAD), ("arrays", 6, AHEAD),
                                                     ("samples", 3, []), ("stream", 3, []), ("stateful", 3, [])])  # fmt: skip
def test_a_run_that_was_stopped_after_the_last_step_of_an_epoch_resumes_bitwise(
    oarlock, plugin, tmp_path, kind, step, words
):
    env = plugin(ENDS)
    job = ["train", "data=kinds", f"data.kind={kind}", "task=regression", "model.widths=[8]", "model.dropout=0.3",
           "callback=[stops]", "trainer.epochs=2", "trainer.batch_size=4", *words]  # fmt: skip
    assert oarlock(*job, "hydra.run.dir=whole", env=env).returncode == 0
    assert oarlock(*job, "hydra.run.dir=run", env={**env, "STOP_AT": str(step)}).returncode == 75
    done = oarlock("resume", "run", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert equal_ends(tmp_path / "whole", tmp_path / "run")


CARRIED = ENDS.replace(
    "@hookimpl\ndef register",
    '''
@component
class Centred:
    """A model that subtracts a running mean, which is no part of its state dict."""

    @hookimpl
    def build_model(self, spec):
        import paddle

        class Centred(paddle.nn.Layer):
            def __init__(self):
                super().__init__()
                self.hidden, self.out = paddle.nn.Linear(3, 8), paddle.nn.Linear(8, 2)
                self.register_buffer("mean", paddle.zeros([8]), persistable=False)

            def forward(self, x):
                hidden = self.hidden(x)
                outputs = self.out(hidden - self.mean)
                if self.training:
                    with paddle.no_grad():
                        paddle.assign(0.9 * self.mean + 0.1 * hidden.mean(0), self.mean)
                return outputs

        return Centred()

@component
class Restarts:
    """Warm restarts (Loshchilov & Hutter 2017), alone or after a warm-up."""

    warmup: int = 0

    @hookimpl
    def build_schedule(self, learning_rate):
        from paddle.optimizer import lr

        restarts = lr.CosineAnnealingWarmRestarts(learning_rate, 2, 2)
        return lr.LinearWarmup(restarts, self.warmup, 0.0, learning_rate) if self.warmup else restarts

@hookimpl
def register''',
).replace(
    '    register("callback/stops", Stops)',
    """    register("callback/stops", Stops)
    register("model/centred", Centred)
    register("schedule/restarts", Restarts)""",
)


@pytest.mark.parametrize("words", [["model=centred"], ["model=centred", "trainer.engine=eager"], ["schedule=restarts"],
                                   ["schedule=restarts", "schedule.warmup=2"]], ids=" ".join)  # fmt: skip
def test_what_paddle_s_state_dicts_leave_out_is_carried_on(oarlock, plugin, tmp_path, words):
    """Buffers that are not persistable, and where a schedule with restarts stands."""
    env = plugin(CARRIED)
    job = [
        "train",
        "data=kinds",
        "task=regression",
        "callback=[stops]",
        "trainer.epochs=6",
        "trainer.batch_size=4",
        *words,
    ]
    assert oarlock(*job, "hydra.run.dir=whole", env=env).returncode == 0
    assert oarlock(*job, "hydra.run.dir=run", env={**env, "STOP_AT": "11"}).returncode == 75
    assert oarlock("resume", "run", env=env).returncode == 0
    assert equal_ends(tmp_path / "whole", tmp_path / "run")


REMEMBERING = """
from oarlock import component, hookimpl

@component
class Remembers:
    odd: bool = False

    @hookimpl
    def build_schedule(self, learning_rate):
        import numpy as np
        import paddle

        odd = self.odd

        class Rate(paddle.optimizer.lr.LRScheduler):
            def __init__(self):
                self.memory, self.seen = np.ones(3), {1} if odd else [1]
                super().__init__(learning_rate)

            def state_keys(self):
                self.keys = ["last_epoch", "last_lr", "memory", "seen"]

            def get_lr(self):
                self.memory = np.roll(self.memory * 0.9, 1) + [0.1, 0, 0]
                return learning_rate * float(self.memory.mean())

        return Rate()

@hookimpl
def register_components(register):
    register("schedule/remembers", Remembers)
"""


def test_arrays_that_a_schedule_remembers_are_saved(oarlock, plugin, tmp_path):
    env = plugin(REMEMBERING)
    job = ["train", "schedule=remembers", "callback=[]", "trainer.evaluate_every=10 steps"]
    assert oarlock(*job, "trainer.max_steps=20", "hydra.run.dir=whole", env=env).returncode == 0
    assert oarlock(*job, "trainer.max_steps=10", "hydra.run.dir=cut", env=env).returncode == 0
    assert oarlock("resume", "cut", "trainer.max_steps=20", env=env).returncode == 0
    assert equal_ends(tmp_path / "whole", tmp_path / "cut")
    odd = oarlock(*job, "schedule.odd=true", "trainer.max_steps=1", env=env)
    assert odd.returncode == 1
    assert "schedules/0/0/seen: state_dict() has a set; it can have numbers, strings and tensors" in odd.stderr
