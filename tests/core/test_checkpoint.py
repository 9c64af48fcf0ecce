"""A damaged checkpoint is noticed, named and passed over; one that cannot be written harms no earlier one."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

import oarlock
from oarlock import checkpoint
from oarlock.errors import Damaged, RunFailed
from oarlock.sealed import entry_of, manifest_text
from tests.conftest import can_mount, command, environment


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run with two checkpoints."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    oarlock.train(
        ["trainer.epochs=2", "trainer.checkpoint.every_epochs=1", "model.widths=[8]", "optimizer=adam",
         "callback=[ema]", f"hydra.run.dir={folder}"]
    )  # fmt: skip
    assert len(list(checkpoint.newest_first(folder / "checkpoints"))) == 2
    return folder


def damage(path: Path, kind: str, rng: random.Random):
    """Flip one bit, cut the end off, or delete."""
    content = bytearray(path.read_bytes())
    if kind == "flip":
        position = rng.randrange(len(content))
        content[position] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    elif kind == "truncate":
        path.write_bytes(content[: rng.randrange(len(content))])
    else:
        path.unlink()


def test_every_damage_is_noticed_and_named_and_the_one_before_is_used(trained):
    newest, before = checkpoint.newest_first(trained / "checkpoints")
    expected = checkpoint.read(before)
    files = sorted(newest.iterdir())
    assert len(files) == 6
    rng = random.Random(1)
    for number in range(600):
        path = files[number % len(files)]
        kind = "flip" if number < 300 else rng.choice(["truncate", "delete"])
        original = path.read_bytes()
        damage(path, kind, rng)
        used, content, damaged = checkpoint.newest_intact(trained / "checkpoints")
        assert used == before, (number, kind, path)
        assert content == expected
        assert len(damaged) == 1
        assert newest.name in str(damaged[0])
        assert path.name in str(damaged[0]), (kind, path.name, str(damaged[0]))
        path.write_bytes(original)
    assert checkpoint.newest_intact(trained / "checkpoints")[0] == newest


def test_a_file_that_the_manifest_does_not_know_is_no_part_of_a_checkpoint(trained, tmp_path):
    copy = shutil.copytree(next(checkpoint.newest_first(trained / "checkpoints")), tmp_path / "step-00000001")
    manifest = json.loads((copy / "MANIFEST.json").read_text())
    manifest["files"]["../run.json"] = {"bytes": 1, "sha256": "0"}
    (copy / "MANIFEST.json").write_text(json.dumps(manifest, sort_keys=True))
    with pytest.raises(Damaged, match=r"MANIFEST|run\.json"):
        checkpoint.read(copy)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "MANIFEST.json"])
def test_resume_names_the_damaged_file_and_ends_where_the_whole_run_ends(trained, tmp_path, name):
    run = shutil.copytree(trained, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "running"}))
    newest, before = checkpoint.newest_first(run / "checkpoints")
    expected = checkpoint.read(newest)
    damage(newest / name, "flip", random.Random(3))
    done = subprocess.run(command("resume", run), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{newest.name}: {name}" in done.stderr
    assert f"using {before.name}" in done.stderr
    again = checkpoint.read(next(checkpoint.newest_first(run / "checkpoints")))
    for file in ("model.safetensors", "optimizer.safetensors", "best.safetensors", "components.safetensors"):
        ours, theirs = checkpoint.unpack_arrays(again[file]), checkpoint.unpack_arrays(expected[file])
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)
    assert list((run / "checkpoints").glob(f"damaged-{newest.name}-*")), "kept for whoever wants to look"


NAMESPACE = """
import pathlib, subprocess, sys, time
kind, root = sys.argv[1], pathlib.Path(sys.argv[2])
command = sys.argv[3:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", root], check=True)
child = subprocess.Popen([*command, f"hydra.run.dir={root}/run"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
checkpoints = root / "run" / "checkpoints"
while not list(checkpoints.glob("step-*")):
    assert child.poll() is None, child.stderr.read()
    time.sleep(0.01)
if kind == "full":
    with open(root / "filler", "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"x" * 4096)
        except OSError:
            pass
else:
    subprocess.run(["mount", "--bind", checkpoints, checkpoints], check=True)
    while subprocess.run(["mount", "-o", "remount,ro,bind", checkpoints], capture_output=True).returncode:
        time.sleep(0.001)  # busy as long as a file in it is open for writing
_, errors = child.communicate(timeout=60)
print("code", child.returncode)
print(errors)
if kind == "full":
    (root / "filler").unlink()
else:
    subprocess.run(["umount", checkpoints], check=True)
from oarlock import checkpoint
path, files, damaged = checkpoint.newest_intact(checkpoints)
print("intact", path.name, "damaged", len(damaged))
step = int(path.name[5:13])
again = subprocess.run([sys.executable, "-m", "oarlock", "resume", root / "run", f"trainer.max_steps={step + 3}"],
                       capture_output=True, text=True)
print("resumed", again.returncode, again.stdout, again.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "reason"), [("full", "No space left"), ("read-only", "Read-only file system")])
def test_a_disk_that_cannot_be_written_is_loud_and_costs_nothing(tmp_path, kind, reason):
    if not can_mount():
        pytest.skip("mounting a tmpfs in a namespace needs privileges")
    (tmp_path / "disk").mkdir()
    job = [
        "train",
        "trainer.epochs=1000",
        "callback=[progress]",
        "model.widths=[64]",
        "trainer.checkpoint.every_steps=10",
    ]
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", NAMESPACE, kind, tmp_path / "disk", *command(*job)],
        env=environment(), capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "code 1" in done.stdout
    assert reason in done.stdout
    assert "damaged 0" in done.stdout
    assert "resumed 0" in done.stdout, done.stdout


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)
ARRAYS = st_numpy.arrays(
    st.sampled_from(["float32", "float64", "int64", "int32", "uint8", "bool", "float16"]),
    st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), JSON | ARRAYS, max_size=4))
def test_a_component_s_state_survives(state):
    tensors = {}
    stored = json.dumps(checkpoint.split_state(state, "callback.x", tensors))
    restored = checkpoint.join_state(json.loads(stored), checkpoint.unpack_arrays(checkpoint.pack_tensors(tensors)))

    def same(a, b):
        if isinstance(a, np.ndarray):
            return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        if isinstance(a, list):
            return len(a) == len(b) and all(map(same, a, b))
        return a == b

    assert same(state, restored)


@pytest.mark.parametrize("state", [{"x": object()}, {1: 2}, {"x": {2.0}}])
def test_a_state_that_would_not_survive_is_refused_by_name(state):
    with pytest.raises(RunFailed, match=r"callback\.x"):
        checkpoint.split_state(state, "callback.x", {})


@given(
    st.dictionaries(st.text("abc.", min_size=1, max_size=5), st.binary(max_size=50), min_size=1, max_size=4), st.data()
)
def test_no_two_contents_have_one_manifest(files, data):
    name = data.draw(st.sampled_from(sorted(files)))
    other = {**files, name: data.draw(st.binary(max_size=50))}
    texts = [manifest_text({name: entry_of(content) for name, content in one.items()}) for one in (files, other)]
    assert (texts[0] == texts[1]) == (files == other)
