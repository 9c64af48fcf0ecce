"""What must work on every supported Paddle, the paddlepaddle-gpu wheel included; needs nothing but oarlock and pytest."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

JOB = ["trainer.epochs=2", "model.widths=[32]", "model.dropout=0.2", "schedule=cosine"]

NOISE = """
from oarlock import component, hookimpl

@component
class Noise:
    'Adds noise to the weights after each step.'

    changes_run = True

    @hookimpl
    def on_step_end(self, run):
        import paddle
        weight = run.model.parameters()[0]
        weight.set_value(weight + 0.01 * paddle.randn(weight.shape))

@hookimpl
def register_components(register):
    register("callback/noise", Noise)
"""


def oarlock(*arguments, cwd, env=None, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "oarlock", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def weights(run):
    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    return {name: (newest / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}


@pytest.mark.parametrize("callbacks", ["progress,ema", "progress,noise"])
def test_trains_resumes_bitwise_and_evaluates(tmp_path, callbacks):
    (tmp_path / "noise.py").write_text(NOISE)
    env = {"PYTHONPATH": str(tmp_path), "OARLOCK_PLUGINS": "noise"}
    job = [*JOB, f"callback=[{callbacks}]"]
    oarlock("train", *job, "hydra.run.dir=whole", cwd=tmp_path, env=env)
    # Dies by its own hand at the tenth fsync, in the middle of a save.
    (tmp_path / "sitecustomize.py").write_text(
        "import os\ncount, fsync = [0], os.fsync\n"
        "def counted(file):\n    count[0] += 1\n    count[0] == 16 and os.kill(os.getpid(), 9)\n    fsync(file)\n"
        "os.fsync = counted\n"
    )
    job = [*job, "hydra.run.dir=killed", "trainer.checkpoint.every_steps=10"]
    oarlock("train", *job, cwd=tmp_path, env=env, code=-9)
    (tmp_path / "sitecustomize.py").unlink()
    oarlock("resume", "killed", cwd=tmp_path, env=env)
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    metrics = json.loads(oarlock("evaluate", "whole", "--json", cwd=tmp_path, env=env).stdout)
    record = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert metrics["test/accuracy"] == pytest.approx(record["metrics"]["test/accuracy"])
    assert record["status"] == "completed"


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=sgd", "regularizer=[l1]"],
        ["optimizer=momentum", "regularizer=[l2,clip_global_norm]"],
        ["optimizer=adamw", "trainer.accumulate_steps=2", "regularizer=[clip_global_norm]",
         "regularizer.clip_global_norm.min_norm=0.5"],
    ],
)  # fmt: skip
def test_components_train(tmp_path, overrides):
    oarlock("train", *overrides, "trainer.max_steps=3", cwd=tmp_path)


def test_gpu_and_mixed_precision_are_refused_without_a_gpu(tmp_path):
    import paddle

    if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count():
        pytest.skip("there is a GPU here")
    assert "GPU" in oarlock("train", "device=gpu", cwd=tmp_path, code=2).stderr
    assert "GPU" in oarlock("train", "trainer.precision=bf16", cwd=tmp_path, code=2).stderr
