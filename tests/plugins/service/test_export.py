"""`oarlock export` publishes what answers as the trained model does, and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from oarlock import Batch, load_run
from oarlock_plugins.service import models
from oarlock_plugins.service.bundle import open_bundle
from oarlock_plugins.service.engines import KINDS, check_reference, open_engine
from oarlock_plugins.service.export.parity import check_parity, first_fault
from oarlock_plugins.service.export.rows import RealRows
from tests.conftest import environment, install
from tests.docs.test_commands import write_mnist
from tests.plugins.service.conftest import ODD, run_command

PAIRS = Path(__file__).parents[2] / "third_party" / "packages" / "oarlock-pairs" / "oarlock_pairs.py"


def made(folder, forks, env, *overrides):
    """A run of one step, exported; the bundle, what the trained model answers to some rows, and these."""
    run_command(forks, folder, "train", *overrides, "trainer.max_steps=2", "callback=[]", "hydra.run.dir=run", env=env)
    run_command(forks, folder, "export", "run", "--to", "bundle", env=env)
    return open_bundle(folder / "bundle")


def agree(bundle, folder, rows):
    """Whether both engines answer as the run that is inside the bundle does."""
    run = load_run(folder / "bundle" / "run")
    output = run.forward(run.model, run.data.prepared(Batch(__import__("paddle").to_tensor(rows))))
    wanted = {name: tensor.numpy() for name, tensor in run.compute_predictions(output).items()}
    for kind in KINDS:
        found = open_engine(bundle, kind)({"inputs": rows})
        assert found.keys() == wanted.keys()
        assert first_fault(found, wanted, 1e-5) is None
    return True


def test_the_bundle_says_what_it_is(exported, trained):
    bundle = open_bundle(exported)
    assert [(one.name, one.dtype, one.shape, one.datatype) for one in bundle.inputs] == [
        ("inputs", "uint8", (8, 8), "UINT8")
    ]
    assert [(one.name, one.dtype, one.shape) for one in bundle.outputs] == [
        ("class", "int64", ()),
        ("probabilities", "float32", (10,)),
    ]
    assert bundle.class_names == tuple("0123456789")
    record = json.loads((trained / "run.json").read_text())
    assert bundle.metrics["valid/accuracy"] == record["best"]["value"]
    assert bundle.metrics["test/accuracy"] == record["metrics"]["test/accuracy"]
    assert (bundle.monitor, bundle.direction) == ("valid/accuracy", "max")
    assert bundle.components["model"]["component"] == "model/bn_mlp"
    assert {"paddle", "onnxruntime", "paddle2onnx"} < bundle.versions.keys()
    assert bundle.parity["rows"] == 256
    assert max(bundle.parity[kind] for kind in KINDS) < 1e-5


def test_engines_answer_as_the_trained_model(exported, digits):
    assert agree(open_bundle(exported), exported.parent, digits)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_holds_in_batches_of_any_size(exported, kind):
    bundle = open_bundle(exported)
    engine = open_engine(bundle, kind)
    assert max(check_reference(bundle, engine).values()) < 1e-5
    inputs, wanted = bundle.reference()
    assert 1 < len(inputs["inputs"]) < 20
    for row in range(len(inputs["inputs"])):
        alone = engine({"inputs": inputs["inputs"][row : row + 1]})
        assert alone["class"] == wanted["class"][row : row + 1]
        np.testing.assert_allclose(alone["probabilities"], wanted["probabilities"][row : row + 1], atol=1e-5)


def test_the_run_inside_can_be_evaluated_and_trained_on(exported, trained, oarlock):
    inside, outside = (json.loads(oarlock("evaluate", run, "--json").stdout) for run in (exported / "run", trained))
    assert inside == outside
    done = oarlock("train", "model.widths=[32]", f"trainer.init_from={exported / 'run'}", "trainer.max_steps=1",
                   "callback=[]")  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_run_inside_is_not_resumed(bundle, tmp_path, oarlock):
    done = oarlock("resume", bundle / "run", "trainer.epochs=4")
    assert done.returncode == 2
    assert (
        "bundle/run: the folder that it is in is sealed, and would be damaged.\nResume a copy of it, or" in done.stderr
    )
    open_bundle(bundle)
    shutil.copytree(bundle / "run", tmp_path / "again")
    done = oarlock("resume", "again", "trainer.epochs=4")
    assert done.returncode == 0, done.stderr
    assert "again from step 99" in done.stdout


@pytest.mark.slow
def test_versions(trained, exported, oarlock, tmp_path):
    models.publish(tmp_path / "models", "digits-bn_mlp", lambda folder: copy_files(exported, folder))
    done = oarlock("export", trained, "--models", "models")
    assert done.stdout.startswith("bundle: models/digits-bn_mlp/2\n"), done.stderr
    assert models.candidates(tmp_path / "models" / "digits-bn_mlp") == [2, 1]
    assert [path.name for path in (tmp_path / "models").glob("**/.*")] == []
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in (tmp_path / "models").glob("**/*"))


def copy_files(bundle, folder):
    shutil.copytree(bundle, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("MANIFEST.json"))
    for path in bundle.glob("run/checkpoints/*/MANIFEST.json"):
        shutil.copyfile(path, folder / path.relative_to(bundle))


@pytest.mark.long
def test_images(tmp_path, forks):
    write_mnist(tmp_path / "mnist")
    bundle = made(tmp_path, forks, None, "data=mnist", "data.root=mnist", "model=lenet")
    assert bundle.inputs[0].shape == (1, 28, 28)
    rows = np.random.default_rng(0).integers(0, 256, (33, 1, 28, 28), np.uint8)
    engines = [open_engine(bundle, kind)({"inputs": rows}) for kind in KINDS]
    assert first_fault(*engines, 1e-5) is None


@pytest.mark.slow
def test_inputs_by_name(tmp_path, forks, plugin, monkeypatch):
    bundle = made(tmp_path, forks, plugin(PAIRS.read_text()), "data=pairs", "model=two_towers", "task=matching")
    assert {one.name: one.shape for one in bundle.inputs} == {"left": (3,), "right": (2,)}
    assert [(one.name, one.shape) for one in bundle.outputs] == [("output", ())]
    assert bundle.class_names is None
    rows = {"right": np.ones((5, 2), "float32"), "left": np.zeros((5, 3), "float32")}
    assert open_engine(bundle)(rows)["output"].shape == (5,)


@pytest.mark.slow
def test_regression_and_a_branch_on_a_tensor(tmp_path, forks, plugin):
    bundle = made(tmp_path, forks, plugin(ODD.read_text()), "data=plain", "data.classes=false", "model=odd",
                  "model.how=branch", "task=regression")  # fmt: skip
    assert [(one.name, one.shape) for one in bundle.outputs] == [("output", (1,))]
    assert bundle.metrics.keys() == {"train/loss"}  # there are no other rows to measure


def test_outputs_of_any_length(each_step, oarlock, tmp_path):
    """A size that follows the inputs' is -1, that of a model for one length is not; a frozen one is refused."""
    trained, env = each_step
    assert [one.shape for one in open_bundle(trained.parent / "bundle").outputs] == [(-1,)]
    config = shutil.copytree(trained, tmp_path / "run") / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("how: any", "how: six"))
    done = oarlock("export", "run", "--to", "six", env=env)
    assert done.returncode == 0, done.stderr
    bundle = open_bundle(tmp_path / "six")
    assert ([one.shape for one in bundle.inputs], [one.shape for one in bundle.outputs]) == ([(-1, 4)], [(6,)])
    config.write_text(text.replace("how: any", "how: frozen"))
    done = oarlock("export", "run", "--to", "frozen", env=env)
    assert done.returncode == 2
    assert (
        "onnxruntime answers otherwise than the trained model: output of row 0 of train with inputs [12, 4]"
        in done.stderr
    )
    assert not (tmp_path / "frozen").exists()


REFUSED = {
    "nan": ["the trained model answers probabilities of row 0 of valid", "no finite number"],
    "batch": ["of valid depends on which rows come with it"],
    "mode": ["onnxruntime answers otherwise than the trained model", "of valid is off by"],
    "unknown": ["cannot be written as ONNX", "digamma"],
    "python": ["cannot be traced into a program"],
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory, forks):
    """A run of the odd model that is not odd yet, and the environment with its plugin."""
    site = tmp_path_factory.mktemp("odd")
    env = {"PYTHONPATH": str(install(site, ODD.read_text()))}
    run_command(forks, site, "train", "data=plain", "model=odd", "trainer.max_steps=1", "callback=[]",
                "hydra.run.dir=run", env=env)  # fmt: skip
    return site / "run", env


@pytest.mark.slow
@pytest.mark.parametrize("how", sorted(REFUSED))
def test_what_is_refused(plain, tmp_path, oarlock, how):
    trained, env = plain
    config = shutil.copytree(trained, tmp_path / "run") / "config.yaml"
    config.write_text(config.read_text().replace("how: plainly", f"how: {how}"))
    done = oarlock("export", "run", "--to", "bundle", env=env)
    assert done.returncode == 2, done.stdout
    assert all(part in done.stderr for part in REFUSED[how]), done.stderr
    assert 1 <= len(done.stderr.splitlines()) <= 3
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir() if "bundle" in path.name] == []


def test_a_forward_that_needs_targets(tmp_path, oarlock, plugin):
    env = plugin(ODD.read_text())
    oarlock("train", "data=plain", "data.classes=false", "model=odd", "task=peeking", "trainer.max_steps=1",
            "callback=[]", "hydra.run.dir=run", env=env)  # fmt: skip
    done = oarlock("export", "run", "--to", "bundle", env=env)
    assert done.returncode == 2
    assert "the model does not answer rows without targets: TypeError" in done.stderr


def test_an_engine_that_is_off_is_named_with_its_output_and_row(exported, digits, answers):
    bundle = open_bundle(exported)
    rows = RealRows({"inputs": digits}, np.arange(len(digits)) * 3, "valid", True)
    honest, asked = open_engine(bundle), []

    def wrong(inputs):
        found = honest(inputs)
        for place in range(len(inputs["inputs"])):
            if len(asked) == 100:
                found["probabilities"][place, 4] += 0.01
            asked.append(place)
        return found

    assert check_parity("honest", honest, rows, answers, 1e-5) < 1e-5
    with pytest.raises(
        Exception, match=r"wrong answers otherwise .*: probabilities of row 300 of valid is off by 0\.01"
    ):
        check_parity("wrong", wrong, rows, answers, 1e-5)


def test_a_class_may_differ_only_where_two_are_as_good():
    scores = np.array([[0.5, 0.5 - 1e-6, 0.1], [0.6, 0.3, 0.1]], "float32")
    expected = {"class": np.array([0, 0]), "probabilities": scores}
    assert first_fault({**expected, "class": np.array([1, 0])}, expected, 1e-5) is None
    assert first_fault({**expected, "class": np.array([2, 0])}, expected, 1e-5)[:2] == ("class", 0)
    assert first_fault({**expected, "class": np.array([0, 1])}, expected, 1e-5)[:2] == ("class", 1)
    assert first_fault({**expected, "probabilities": scores * np.nan}, expected, 1e-5)[:2] == ("probabilities", 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing", "--to", "new"], "nothing: not a run's folder"),
        (["{bundle}", "--to", "new"], "The newest run in it is"),
        (["{run}", "--to", "."], "it exists already"),
        (["{run}", "--to", "new", "--tolerance", "-1"], "expected a number between 0 and 1"),
        (["{run}", "--to", "new", "--name", "x"], "--name x: a name is for --models"),
        (["{run}", "--models", "m", "--name", "a/b"], "a/b: expected a model's name"),
        (["{run}"], "one of the arguments --to --models is required"),
    ],
)
def test_mistakes(trained, exported, oarlock, tmp_path, arguments, said):
    done = oarlock("export", *(word.format(run=trained, bundle=exported) for word in arguments))
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_no_model(trained, oarlock, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    for checkpoint in run.glob("checkpoints/step-*"):
        (checkpoint / "state.json").write_text("{}")
    done = oarlock("export", run, "--to", "new")
    assert done.returncode == 2
    assert "error: run: it has no intact checkpoint.\n" in done.stderr
    assert not (tmp_path / "new").exists()
    assert oarlock("export", run, "--models", "models", "--name", "digits").returncode == 2
    assert list((tmp_path / "models").iterdir()) == []


def test_without_the_converter(trained):
    code = ("import sys; sys.modules['paddle2onnx'] = None; from oarlock.cli import main\n"
            f"sys.exit(main(['export', {str(trained)!r}, '--to', 'new']))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == (
        "error: oarlock export needs paddle2onnx, which is not installed.\npip install 'oarlock[export]'\n"
    )
