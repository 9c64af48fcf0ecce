"""A run on other data: the rows are other ones, the classes, the columns and the preprocessing are the run's."""

import json

import numpy as np
import pytest

from oarlock import checkpoint

ROWS = 200


def write(path, rows, seed, middle, names=("cold", "warm")):
    """Rows of which `b` alone decides; a model that was fitted around 20 knows them wherever they lie."""
    rng = np.random.default_rng(seed)
    values = np.stack([rng.normal(0, 1, rows), rng.normal(middle, 5, rows)], axis=1)
    lines = [f"{a:.4f},{b:.4f},{names[int(b > 20)]}" for a, b in values]
    path.write_text("a,b,kind\n" + "\n".join(lines) + "\n")


@pytest.fixture
def trained(tmp_path, oarlock):
    write(tmp_path / "rows.csv", ROWS, 0, 20)
    train(oarlock)
    return tmp_path


def train(oarlock, *options):
    data = ["data=csv", "data.path=rows.csv", "data.target=kind"]
    done = oarlock("train", *data, "callback=[]", "model.widths=[16]", "trainer.batch_size=8", "trainer.epochs=12",
                   "hydra.run.dir=run", *options)  # fmt: skip
    assert done.returncode == 0, done.stderr


def reorder(folder, source, target, **names):
    """The same table with its columns in another order, and other names for them."""
    table = [line.split(",") for line in (folder / source).read_text().splitlines()]
    lines = [",".join((b, kind, a)) for a, b, kind in [[names.get(name, name) for name in table[0]], *table[1:]]]
    (folder / target).write_text("\n".join(lines) + "\n")


def accuracy(oarlock, *arguments):
    done = oarlock("evaluate", "run", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return next(value for name, value in json.loads(done.stdout).items() if name.endswith("/accuracy"))


def test_other_rows_are_measured_by_what_was_trained(trained, oarlock):
    write(trained / "shifted.csv", ROWS, 1, 24)
    assert accuracy(oarlock, "data.path=shifted.csv", "--split", "train") > 0.9
    assert accuracy(oarlock, "data.test_path=shifted.csv", "--split", "test") > 0.9
    # One class alone, and fewer rows than a training step needs.
    write(trained / "warm.csv", 12, 2, 60)
    assert accuracy(oarlock, "data.path=warm.csv", "--split", "train") == 1
    assert accuracy(oarlock, "data.path=warm.csv", "data.class_names=[cold,warm]", "--split", "train") == 1


def test_other_classes_are_refused(trained, oarlock):
    write(trained / "others.csv", ROWS, 1, 20, ("b-cold", "a-warm"))
    done = oarlock("evaluate", "run", "data.path=others.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert "others.csv, line 2: 'a-warm' is no class." in done.stderr
    done = oarlock("evaluate", "run", "data.class_names=[warm,cold]")
    assert (done.returncode, done.stderr) == (
        2, "error: run: it was trained on the classes cold, warm; the data has the classes warm, cold.\n")  # fmt: skip
    done = oarlock("evaluate", "run", "data.standardise=false")
    assert (done.returncode, done.stderr) == (
        2, "error: run: it was trained on preprocessed rows, and the data has no preprocessing now.\n")  # fmt: skip


def test_a_number_that_is_no_class_does_not_renumber_the_others(tmp_path, oarlock):
    write(tmp_path / "rows.csv", ROWS, 0, 20, ("1", "2"))
    train(oarlock, "trainer.epochs=1")
    (tmp_path / "others.csv").write_text("a,b,kind\n0,10,1\n0,30,1\n0,20,0\n")
    done = oarlock("evaluate", "run", "data.path=others.csv", "--split", "train")
    assert (done.returncode, done.stdout, done.stderr) == (
        2, "", "error: data.path=others.csv, line 4: '0' is no class. Valid: 1, 2.\n")  # fmt: skip


def test_a_run_that_begins_with_the_weights_of_other_classes_is_warned(trained, oarlock):
    write(trained / "others.csv", ROWS, 1, 20, ("b-cold", "a-warm"))
    job = ["train", "data=csv", "data.target=kind", "callback=[]", "model.widths=[16]", "trainer.epochs=1",
           "trainer.batch_size=8", "trainer.init_from=run"]  # fmt: skip
    assert oarlock(*job, "data.path=rows.csv").stderr == ""
    done = oarlock(*job, "data.path=others.csv")
    assert done.returncode == 0
    assert done.stderr == ("warning: trainer.init_from=run: it was trained on the classes cold, warm; this data has the "
                           "classes a-warm, b-cold\n")  # fmt: skip


def test_a_run_whose_rows_have_changed_is_not_resumed(trained, oarlock):
    assert oarlock("resume", "run", "trainer.epochs=13").returncode == 0
    write(trained / "rows.csv", ROWS, 0, 24)
    done = oarlock("resume", "run", "trainer.epochs=14")
    assert (done.returncode, done.stderr.splitlines()) == (2, [
        "error: run: its data has changed since it was trained, so it would not go on exactly.",
        "Put the data back, or begin another run with trainer.init_from.",
    ])  # fmt: skip
    write(trained / "rows.csv", ROWS, 0, 20)
    assert oarlock("resume", "run", "trainer.epochs=14").returncode == 0


def test_columns_are_found_by_name(trained, oarlock):
    reorder(trained, "rows.csv", "reordered.csv")
    for split in ("valid", "test"):
        assert accuracy(oarlock, "data.path=reordered.csv", "--split", split) == accuracy(oarlock, "--split", split)
    reorder(trained, "rows.csv", "others.csv", b="c")
    done = oarlock("evaluate", "run", "data.path=others.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: data.features=b: data.path=others.csv has no such column. Valid: a, c, kind.\n"
    done = oarlock("evaluate", "run", "data.features=[b,a]")
    assert (done.returncode, done.stderr) == (
        2, "error: run: it was trained on data whose column 1 was a; in this data it is b.\n")  # fmt: skip
    reorder(trained, "rows.csv", "rows.csv")  # in its place
    assert accuracy(oarlock, "--split", "test") == accuracy(oarlock, "data.path=reordered.csv", "--split", "test")


def test_a_run_whose_columns_have_changed_is_not_gone_on_from(trained, oarlock):
    job = ["train", "data=csv", "data.path=rows.csv", "data.target=kind", "callback=[]", "model.widths=[16]",
           "data.standardise=false", "trainer.epochs=1", "trainer.batch_size=8"]  # fmt: skip
    assert oarlock(*job, "hydra.run.dir=plain").returncode == 0
    reorder(trained, "rows.csv", "rows.csv")
    done = oarlock("resume", "plain", "trainer.epochs=2")
    assert (done.returncode, done.stderr.splitlines()) == (2, [
        "error: plain: its data has changed since it was trained, so it would not go on exactly.",
        "Put the data back, or begin another run with trainer.init_from.",
    ])  # fmt: skip
    done = oarlock(*job, "trainer.init_from=plain")
    assert (done.returncode, done.stderr.splitlines()) == (2, [
        "error: trainer.init_from=plain: it was trained on data whose column 1 was a; in this data it is b.",
        "Its weights belong to a column each: give the same columns in the same order.",
    ])  # fmt: skip
    assert oarlock(*job, "trainer.init_from=plain", "data.features=[a,b]").returncode == 0


def test_a_checkpoint_without_the_names_of_its_columns_is_read(trained, oarlock):
    before = accuracy(oarlock, "--split", "test")
    files, path = checkpoint.intact(trained / "run")
    state = json.loads(files[checkpoint.STATE])
    state.pop("columns", None)
    checkpoint.write(path.parent, state["step"], {**files, checkpoint.STATE: json.dumps(state).encode()}, 1)
    assert accuracy(oarlock, "data.path=rows.csv", "--split", "test") == before
    assert oarlock("resume", "run", "trainer.epochs=13").returncode == 0


def test_a_run_whose_data_would_ask_now_has_its_classes_from_its_checkpoint(tmp_path, oarlock):
    np.savez(tmp_path / "rows.npz", inputs=np.ones((200, 2), "float32"), targets=np.arange(200))
    job = ["data=arrays", "data.path=rows.npz", "model=linear", "trainer.epochs=1", "hydra.run.dir=many"]
    assert oarlock("train", *job).returncode == 2
    assert oarlock("train", *job, "data.target_kind=classes").returncode == 0
    config = tmp_path / "many" / "config.yaml"
    config.write_text(config.read_text().replace("target_kind: classes\n", "target_kind: auto\n"))
    assert oarlock("evaluate", "many").returncode == 0


def test_data_without_rows_to_measure_on_says_so_and_takes_others_in_any_order_of_words(tmp_path, oarlock):
    rng = np.random.default_rng(0)
    for name in ("rows", "others"):
        np.savez(tmp_path / f"{name}.npz", inputs=rng.random((64, 2), "float32"), targets=np.arange(64) % 2)
    job = ["data=arrays", "data.path=rows.npz", "data.valid_fraction=0", "data.test_fraction=0", "model=linear",
           "trainer.epochs=1", "hydra.run.dir=run"]  # fmt: skip
    assert oarlock("train", *job).returncode == 0
    done = oarlock("evaluate", "run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("error: evaluate run: its data has neither validation nor test rows. Choose --split train, or name "
                           "rows of your own, as with data.test_path=FILE.\n")  # fmt: skip
    found = [oarlock("evaluate", "run", *words, "--split", "test", "--json").stdout for words in
             (["data.test_path=others.npz"], ["data=arrays", "data.path=rows.npz", "data.test_path=others.npz"],
              ["data.path=rows.npz", "data.test_path=others.npz", "data=arrays"])]  # fmt: skip
    assert len(set(found)) == 1
    assert json.loads(found[0]).keys() == {"test/loss", "test/accuracy"}
    done = oarlock("evaluate", "run", "data@data.base=arrays")
    assert (done.returncode, done.stderr) == (
        2, "error: data@data.base=arrays: here only key=value and group=option can be changed.\n")  # fmt: skip
