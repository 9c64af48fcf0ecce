"""Packages that are no part of oarlock fill its hook points; pip installs them, real processes use them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from oarlock import checkpoint
from tests.conftest import command, environment, equal_ends

PACKAGES = Path(__file__).parent / "packages"
PAIRS = ["data=pairs", "model=two_towers", "task=matching", "optimizer=sgd", "trainer.epochs=3"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The environment of a user who has installed all of them."""
    site = tmp_path_factory.mktemp("site")
    sources = [shutil.copytree(package, site.parent / "sources" / package.name) for package in PACKAGES.iterdir()]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site]
    subprocess.run([*install, *sources], check=True, capture_output=True)
    return {"PYTHONPATH": str(site)}


@pytest.fixture
def run(oarlock, installed):
    """`oarlock` for that user; fails when the exit code is another."""

    def call(*arguments, code=0, env=None):
        done = oarlock(*arguments, env={**installed, **(env or {})})
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


def test_they_are_listed_and_shown(run):
    listed = run("plugins").stdout
    for path in ("optimizer/layer_wise", "augmentation/flip", "task/duel", "data/pairs"):
        assert path in listed
    assert "oarlock-rowing 1.2.3" in listed
    shown = run("show", "optimizer/layer_wise").stdout
    assert "optimizer.decay=0.5  (float)" in shown
    assert "factor from a parameter to the one before it" in shown
    assert "down | up" in shown
    assert "augmentation  flip, shift" in " ".join(run("train", "--help").stdout.split("\n")).replace(
        "  ", " "
    ).replace("augmentation ", "augmentation  ")
    assert run("row", "crew").stdout == "ready all, crew\n"


def test_their_options_are_typed(run):
    refused = run("train", "optimizer=layer_wise", "optimizer.decay=much", code=2).stderr
    assert "optimizer.decay" in refused
    assert "Did you mean 'decay'" in run("train", "optimizer=layer_wise", "optimizer.decy=1", code=2).stderr
    assert "expected one of [down, up]" in run("train", "optimizer=layer_wise", "optimizer.sign=left", code=2).stderr
    assert "Did you mean 'layer_wise'" in run("train", "optimizer=layerwise", code=2).stderr


def completed(run, *words):
    return run("_complete", "--", *words).stdout.split()


def test_completion_knows_them(run, installed, tmp_path):
    assert completed(run, "train", "optimizer=lay") == ["optimizer=layer_wise"]
    assert completed(run, "train", "optimizer=layer_wise", "optimizer.d") == ["optimizer.decay="]
    assert completed(run, "train", "augmentation=[flip,s") == ["augmentation=[flip,shift"]
    assert completed(run, "row") == ["row"]
    line = "oarlock train optimizer=lay"
    script = f"""source <({sys.executable} -m oarlock completion bash)
    oarlock() {{ {sys.executable} -m oarlock "$@"; }}
    COMP_LINE='{line}' COMP_POINT={len(line)}; _oarlock; echo "${{COMPREPLY[@]}}\""""
    done = subprocess.run(["bash", "-c", script], env=environment(installed), capture_output=True, text=True)
    assert done.stdout.strip() == "layer_wise", done.stderr


def test_nothing_of_this_imports_paddle(installed):
    code = (
        "import sys; from oarlock.cli import main\n"
        "for line in (['train', '--help'], ['plugins'], ['show', 'optimizer/layer_wise'], ['_complete', '--', 'train', 'o'],\n"
        "             ['train', '--cfg', 'job', 'optimizer=layer_wise']):\n"
        "    try:\n        assert main(line) == 0, line\n"
        "    except SystemExit as done:\n        assert not done.code\n"
        "    assert 'paddle' not in sys.modules, line\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(installed), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_they_train_in_the_order_of_the_lists(run, tmp_path):
    run(
        "train", "optimizer=layer_wise", "schedule=halving", "regularizer=[outputs]", "callback=[second,first]",
        "augmentation=[shift,flip]", "+callback=apply", "augmentation.shift.by=2", "trainer.max_steps=2",
        "hydra.run.dir=run", code=2,
    )  # fmt: skip
    run(
        "train", "optimizer=layer_wise", "schedule=halving", "regularizer=[outputs]", "callback=[second,first,apply]",
        "augmentation=[shift,flip]", "augmentation.shift.by=2", "trainer.max_steps=2", "hydra.run.dir=run",
    )  # fmt: skip
    said = (tmp_path / "said.txt").read_text().splitlines()
    # Gradients of step 1 come before its end; `second` was named before `first`.
    assert said == [
        "Second gradients 0", "Second step 1", "First step 1", "Second gradients 1", "Second step 2", "First step 2",
        "First checkpoint step-00000002 2", "First end 2",
    ]  # fmt: skip
    # Shifted by 2, then flipped: no input is above -2.
    assert {float(line) for line in (tmp_path / "augmented.txt").read_text().split()} == {-2.0}
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["components"]["augmentation.flip"]["distribution"] == "oarlock-rowing"


@pytest.mark.slow
def test_a_clip_acts_on_every_gradient(run, tmp_path):
    job = ["train", "optimizer=layer_wise", "model.widths=[8]", "callback=[]", "trainer.max_steps=1"]
    run(*job, "regularizer=[zero]", "hydra.run.dir=still")
    run(*job, "regularizer=[zero]", "optimizer.learning_rate=9", "hydra.run.dir=still2")
    weights = [
        checkpoint.unpack_arrays(checkpoint.newest_intact(tmp_path / name / "checkpoints")[1]["model.safetensors"])
        for name in ("still", "still2")
    ]
    assert all(np.array_equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "job",
    [
        PAIRS,
        [*PAIRS[1:], "data=streamed"],
        [*PAIRS[1:], "data=streamed", "data.stateful=true"],
        ["task=duel", "model=rivals", "optimizer=adam", "+optimizer@task.d_optimizer=momentum",
         "task.d_optimizer.learning_rate=0.05", "trainer.monitor=train/loss", "trainer.max_steps=30"],
    ],
    ids=["dataset", "stream", "stateful-stream", "two-optimizers"],
)  # fmt: skip
def test_killed_runs_of_theirs_resume_bitwise(run, tmp_path, installed, job):
    job = [*job, "callback=[progress,memory]", "trainer.checkpoint.every_steps=4", "trainer.batch_size=32"]
    run("train", *job, "hydra.run.dir=whole")
    killed = subprocess.run(
        command("train", *job, "hydra.run.dir=killed"),
        cwd=tmp_path, env=environment({**installed, "KILL_AT": "15"}), capture_output=True,
    )  # fmt: skip
    assert killed.returncode == -9
    resumed = run("resume", "killed")
    # That of step 12 may have been on its way to the disk.
    assert re.search(r"from step (8|12)\b", resumed.stdout)
    assert equal_ends(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_an_engine_replaces_the_step(run, tmp_path):
    run("train", "engine=twice", "trainer.max_steps=2", "callback=[]", "hydra.run.dir=run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["engine"] == "engine/twice"


@pytest.mark.long
def test_they_are_swept_over_with_the_built_ins_and_their_numbers(run, tmp_path):
    done = run(
        "train", "-m", "model=bn_mlp,shell", "model.blocks=1,2", "optimizer=sgd,layer_wise", "optimizer.decay=0.5,0.8",
        "callback=[]", "trainer.epochs=1", "hydra.sweep.dir=s",
    )  # fmt: skip
    assert done.stdout.endswith("sweep: s, 9 finished, 0 failed\n")
    trials = json.loads(run("report", "s", "--json").stdout)["trials"]
    chosen = {
        (record["components"]["model"]["component"], config["model"].get("blocks"), record["components"]["optimizer"]["component"],
         config["optimizer"].get("decay"))
        for record, config in (
            (json.loads((tmp_path / trial["folder"] / "run.json").read_text()),
             yaml.safe_load((tmp_path / trial["folder"] / "config.yaml").read_text()))
            for trial in trials
        )
    }  # fmt: skip
    assert chosen == {
        (model, blocks, optimizer, decay)
        for model, blocks in [("model/bn_mlp", None), ("model/shell", 1), ("model/shell", 2)]
        for optimizer, decay in [("optimizer/sgd", None), ("optimizer/layer_wise", 0.5), ("optimizer/layer_wise", 0.8)]
    }
    # What a sweep made of them is what a run of their own makes.
    one = next(
        trial
        for trial in trials
        if "model.blocks=2" in trial["overrides"] and "optimizer.decay=0.8" in trial["overrides"]
    )
    run("train", *one["overrides"], "hydra.run.dir=alone")
    assert equal_ends(tmp_path / "alone", tmp_path / one["folder"])
    run("train", "-m", "model=shell", "model.width=interval(4,16)", "optimizer=layer_wise", "callback=[]",
        "optimizer.decay=tag(log,interval(0.1,1))", "trainer.epochs=1", "sweep.trials=4", "hydra.sweep.dir=space")  # fmt: skip
    widths = [yaml.safe_load(path.read_text())["model"]["width"] for path in tmp_path.glob("space/*/config.yaml")]
    assert len(widths) == 4
    assert all(isinstance(width, int) and 4 <= width <= 16 for width in widths)


BROKEN = {
    "raises": ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "exits": ("import sys\nsys.exit(3)", "SystemExit: 3"),
    "mistyped": (
        "from oarlock import hookimpl\n@hookimpl\ndef register_component(register):\n    pass\n",
        "Did you mean 'register_components'",
    ),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_plugin_is_listed_with_its_reason_and_harms_nobody(oarlock, plugin, name):
    source, reason = BROKEN[name]
    env = plugin(source, name)
    listed = oarlock("plugins", env=env)
    assert listed.returncode == 0
    assert f"broken: '{name}' of oarlock-{name} 1.0" in listed.stdout
    assert reason in listed.stdout
    assert oarlock("train", "--cfg", "job", env=env).returncode == 0
    chosen = oarlock("train", f"optimizer={name}", env=env)
    assert chosen.returncode == 2
    assert f"oarlock-{name} 1.0" in chosen.stderr


def claimant(site, distribution, name, source):
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{distribution.replace('-', '_')}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[oarlock]\n{name} = {distribution.replace('-', '_')}\n")


SGD = (
    "from oarlock import component, hookimpl\n@component\nclass A:\n    '''A.'''\n"
    "@hookimpl\ndef register_components(register):\n    register('optimizer/{}', A)\n"
)


def test_neither_of_two_that_claim_one_name_wins(oarlock, tmp_path):
    env = {"PYTHONPATH": str(tmp_path / "site")}
    claimant(tmp_path / "site", "one-oar", "oar", SGD.format("x"))
    claimant(tmp_path / "site", "two-oar", "oar", SGD.format("y"))
    listed = oarlock("plugins", env=env).stdout
    assert "claimed by one-oar 1.0 and by two-oar 1.0" in listed
    assert "optimizer/x" not in listed
    chosen = oarlock("train", "optimizer=x", env=env)
    assert chosen.returncode == 2
    assert "one-oar 1.0" in chosen.stderr


def test_neither_of_two_that_register_one_component_wins(oarlock, tmp_path):
    env = {"PYTHONPATH": str(tmp_path / "site")}
    claimant(tmp_path / "site", "one-oar", "one", SGD.format("x"))
    claimant(tmp_path / "site", "two-oar", "two", SGD.format("x"))
    chosen = oarlock("train", "optimizer=x", env=env)
    assert chosen.returncode == 2
    assert "one-oar 1.0" in chosen.stderr
    assert "two-oar 1.0" in chosen.stderr
    assert oarlock("train", "--cfg", "job", "optimizer=sgd", env=env).returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_one_that_its_shell_reads(oarlock, shell):
    script = oarlock("completion", shell).stdout
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
