"""The digits: what they are, and how they are split."""

import hashlib
import random

import numpy as np
import paddle
import pytest

import oarlock
from oarlock_plugins.data.digits import Digits

PARTS = ("train", "valid", "test")


def parts_of(**options):
    data = Digits(**options).build_data()
    return {name: getattr(data, name) for name in PARTS}


def rows_of(part):
    """Each row as bytes; no two of the 1,797 images are the same."""
    return [image.tobytes() + bytes([label]) for image, label in zip(part.inputs, part.targets, strict=True)]


def test_they_are_the_1797_digits_of_the_repository():
    everything = parts_of(valid_fraction=0, test_fraction=0)
    assert everything["valid"] is everything["test"] is None
    images, labels = everything["train"].inputs, everything["train"].targets
    assert images.shape == (1797, 8, 8)
    assert labels.dtype == np.int64
    # The counts and the first rows that the repository's description and scikit-learn's loader show.
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert labels[:10].tolist() == list(range(10))
    assert images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert (images.min(), images.max()) == (0, 16)
    digest = hashlib.sha256(images.astype("uint8").tobytes() + labels.astype("uint8").tobytes()).hexdigest()
    assert digest == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def test_the_shares_are_those_that_were_asked_for():
    assert {name: len(part) for name, part in parts_of().items()} == {"train": 1078, "valid": 360, "test": 359}
    other = parts_of(valid_fraction=0.1, test_fraction=0.5)
    assert {name: len(part) for name, part in other.items()} == {"train": 719, "valid": 180, "test": 898}


def test_the_parts_are_disjoint_and_nothing_is_lost():
    everything = rows_of(parts_of(valid_fraction=0, test_fraction=0)["train"])
    assert len(set(everything)) == 1797
    rows = [row for part in parts_of().values() for row in rows_of(part)]
    assert len(rows) == len(set(rows)) == 1797
    assert set(rows) == set(everything)


def test_every_class_is_in_every_part():
    for part in parts_of().values():
        assert np.bincount(part.targets, minlength=10).min() > 15


def test_the_split_depends_on_its_own_seed_alone():
    first = parts_of()
    np.random.seed(99)
    random.seed(99)
    paddle.seed(99)
    for name, part in parts_of().items():
        assert rows_of(part) == rows_of(first[name])
    for name, part in parts_of(split_seed=1).items():
        assert rows_of(part) != rows_of(first[name])


def test_runs_with_different_seeds_share_their_validation_rows(train):
    """Untrained but for one step of size zero, the two have different weights; a row's own loss shows the rows."""
    runs = [train(f"seed={seed}", "trainer.max_steps=1", "trainer.evaluation_batch_size=1024") for seed in (0, 1)]
    valid = Digits().build_data().valid
    inputs = paddle.to_tensor(valid.inputs.astype("float32") / 16)
    for run in runs:
        right = run.result.model(inputs).numpy().argmax(axis=1) == valid.targets
        assert run.result.metrics["valid/accuracy"] == right.mean()
    assert (runs[0].weights[0]["1.weight"] != runs[1].weights[0]["1.weight"]).any()


def test_pixels_reach_the_model_between_0_and_1():
    data = Digits().build_data()
    scaled = data.preprocess(paddle.to_tensor(data.train.inputs)).numpy()
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, data.train.inputs / 16)


@pytest.mark.parametrize("shares", [("0.5", "0.5"), ("-0.1", "0.2"), ("0.2", "nan")])
def test_shares_that_leave_nothing_to_train_on_are_refused(train, shares):
    with pytest.raises(oarlock.UserError, match=r"valid_fraction, test_fraction: expected two shares"):
        train(f"data.valid_fraction={shares[0]}", f"data.test_fraction={shares[1]}")


@pytest.mark.parametrize("data", ["digits", "mnist", "arrays", "csv"])
def test_a_split_seed_below_0_is_refused(train, data):
    paths = ["data.path=rows", "data.target=y"] if data == "csv" else []
    with pytest.raises(oarlock.UserError, match=r"^data\.split_seed=-1: expected at least 0$"):
        train(f"data={data}", *paths, "data.split_seed=-1")
