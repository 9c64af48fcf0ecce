"""The augmentations against NumPy, and what oarlock expects of components, exact resume included."""

from __future__ import annotations

import json

import numpy as np
import pytest
from oarlock_augment import Noise, Shift

import oarlock
from oarlock import Batch
from oarlock.testing import conformance

test_shift = conformance("augmentation/shift", "augmentation=[shift,noise]", "callback=[augment]")


def augmented(component, inputs, seed=0):
    import paddle

    batch = Batch(paddle.to_tensor(inputs))
    component.augment(batch, np.random.default_rng(seed))
    return batch.inputs.numpy()


def test_noise_has_its_deviation():
    added = augmented(Noise(deviation=2.0), np.full((1000, 8, 8), 3, "uint8")) - 3
    assert added.mean() == pytest.approx(0, abs=0.05)
    assert added.std() == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("shape", [(50, 6, 7), (50, 3, 6, 7)], ids=["without-channels", "with-channels"])
def test_every_image_is_moved_as_a_whole_and_filled_with_zeros(shape):
    images = np.random.default_rng(1).integers(1, 256, shape).astype("uint8")
    moved = augmented(Shift(pixels=2), images)
    pad = [(0, 0)] * (len(shape) - 3) + [(2, 2), (2, 2)]
    offsets = set()
    for image, found in zip(images, moved, strict=True):
        padded = np.pad(image, pad)
        fits = [(down, right) for down in range(-2, 3) for right in range(-2, 3)
                if np.array_equal(padded[..., 2 - down : 8 - down, 2 - right : 9 - right], found)]  # fmt: skip
        assert len(fits) == 1
        offsets.update(fits)
    assert len(offsets) > 15  # of 25


def test_shift_refuses_what_is_no_image():
    with pytest.raises(oarlock.UserError, match=r"needs images; an input has the shape \[64\]"):
        augmented(Shift(), np.zeros((4, 64), "float32"))


@pytest.fixture
def losses(tmp_path):
    """The losses of a short run."""

    def train(name, *overrides):
        folder = tmp_path / name
        oarlock.train([*overrides, "trainer.epochs=2", f"hydra.run.dir={folder}"])
        return [json.loads(line)["train/loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]

    return train


def test_augmentations_that_change_nothing_change_nothing(losses):
    neutral = ["augmentation.noise.deviation=0", "augmentation.shift.pixels=0"]
    plain = losses("plain")
    assert losses("neutral", "augmentation=[noise,shift]", "+callback=augment", *neutral) == plain
    assert losses("augmented", "augmentation=[noise,shift]", "+callback=augment") != plain


def test_without_the_callback_they_are_refused():
    with pytest.raises(oarlock.UserError, match=r"add \+callback=augment"):
        oarlock.train(["augmentation=noise"])
