"""What is read and what is refused, the augmentation, and what oarlock expects of data, exact resume included."""

from __future__ import annotations

import numpy as np
import pytest
from oarlock_ucr import Ucr

import oarlock
from oarlock.testing import Subject, checks_for


@pytest.fixture
def waves(tmp_path):
    """A data set of sine waves, class -1, and square waves, class 1, with phases and noise from a seed."""
    folder = tmp_path / "Waves"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, rows in (("TRAIN", 500), ("TEST", 200)):
        labels = rng.choice([-1, 1], rows)
        waves = np.sin(np.linspace(0, 12, 60) + rng.uniform(0, 6, (rows, 1)))
        series = np.where(labels[:, None] == 1, np.sign(waves), waves) + rng.normal(0, 0.2, waves.shape)
        np.savetxt(folder / f"Waves_{part}.tsv", np.column_stack([labels, series]), delimiter="\t")
    return folder


@pytest.mark.parametrize("check", checks_for("data/ucr"))
def test_ucr(check, waves, tmp_path):
    checks_for("data/ucr")[check](Subject("data/ucr", [f"data.folder={waves}"], tmp_path))


def test_rows_are_those_of_the_files(waves):
    data = Ucr(str(waves)).build_data()
    stored = np.loadtxt(waves / "Waves_TEST.tsv", delimiter="\t")
    np.testing.assert_allclose(data.test.inputs, stored[:, 1:], rtol=1e-6)
    np.testing.assert_array_equal(data.test.targets, stored[:, 0] == 1)
    assert (len(data.train), len(data.valid), data.class_names) == (400, 100, ["-1", "1"])
    both = np.concatenate([data.train.inputs, data.valid.inputs])
    assert len(np.unique(both, axis=0)) == 500  # no row is in both


def test_a_series_is_scaled_and_jittered(waves):
    transform = Ucr(str(waves), jitter=0.5, scaling=0.2).build_data().transform
    values = np.full(1000, 10, "float32")
    drawn = np.stack([transform((values, 1), np.random.default_rng(seed))[0] for seed in range(400)])
    assert drawn.mean(axis=1).std() == pytest.approx(10 * 0.2, rel=0.1)
    assert drawn.std(axis=1).mean() == pytest.approx(0.5, rel=0.05)
    unchanged, target = (
        Ucr(str(waves), jitter=0, scaling=0).build_data().transform((values, 1), np.random.default_rng(0))
    )
    np.testing.assert_array_equal(unchanged, values)
    assert target == 1


def test_it_can_be_learned(waves, tmp_path):
    run = f"hydra.run.dir={tmp_path / 'run'}"
    result = oarlock.train(["data=ucr", f"data.folder={waves}", "model.widths=[64]", "trainer.epochs=10", run])
    assert result.metrics["test/accuracy"] > 0.9


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(oarlock.UserError, match=r"Nowhere_TRAIN\.tsv"):
        Ucr(str(tmp_path / "Nowhere")).build_data()


@pytest.mark.parametrize(
    ("line", "reason"), [("1\t0.5\tNaN", "all of one length"), ("1\t0.5", "columns"), ("a\t1\t2", "'a'")]
)
def test_a_line_that_is_no_series_is_refused(tmp_path, line, reason):
    folder = tmp_path / "Odd"
    folder.mkdir()
    for part in ("TRAIN", "TEST"):
        (folder / f"Odd_{part}.tsv").write_text(f"1\t0.1\t0.2\n{line}\n")
    with pytest.raises(oarlock.UserError, match=reason):
        Ucr(str(folder)).build_data()
