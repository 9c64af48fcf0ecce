"""LeNet: its sizes, and what it says of images that are too small."""

import re

import numpy as np
import paddle
import pytest

import oarlock
from oarlock import InputSpec, ModelSpec
from oarlock_plugins.models.lenet import LeNet


def build(*shape, **options):
    return LeNet(**options).build_model(ModelSpec(InputSpec(shape), num_classes=10))


def test_it_has_the_papers_61706_weights_on_28_x_28():
    model = build(1, 28, 28, batch_norm=False)
    assert sum(int(parameter.size) for parameter in model.parameters()) == 61_706


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 12, 12), (1, 13, 12), (2, 15, 29)])
def test_images_of_any_size_from_12_x_12_on(shape):
    model = build(*shape)
    model.eval()
    assert model(paddle.zeros([2, *shape])).shape == [2, 10]


def test_norms_and_dropout_are_options():
    plain = [type(layer).__name__ for layer in build(1, 28, 28, batch_norm=False)]
    assert plain == ["Conv2D", "ReLU", "MaxPool2D"] * 2 + ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    full = [type(layer).__name__ for layer in build(1, 28, 28, dropout=0.5)]
    assert full == ["Conv2D", "BatchNorm2D", "ReLU", "MaxPool2D"] * 2 + [
        "Flatten", "Linear", "ReLU", "Linear", "ReLU", "Dropout", "Linear",
    ]  # fmt: skip


@pytest.mark.parametrize("shape", ["[1,11,28]", "[1,28,11]", "[1,8,8]"])
def test_small_images_are_an_error_that_says_what_to_do(train, shape):
    shown = re.escape(shape.replace(",", ", "))
    with pytest.raises(oarlock.UserError, match=rf"model=lenet .*12 x 12.*{shown}.*model=bn_mlp"):
        train("data=toy", f"data.shape={shape}", "task=regression", "model=lenet")


def test_images_without_channels_are_an_error(train):
    with pytest.raises(oarlock.UserError, match=r"model=lenet .*\[8, 8\].*model=bn_mlp"):
        train("model=lenet")


def test_a_dropout_of_one_is_refused(train):
    with pytest.raises(oarlock.UserError, match=r"model\.dropout=1\.0: expected 0 <= dropout < 1"):
        train("model=lenet", "model.dropout=1")


@pytest.mark.parametrize("model", ["lenet", "bn_mlp"])
def test_whole_numbers_are_refused_with_the_way_out(train, tmp_path, model):
    images = np.random.default_rng(0).integers(0, 256, (60, 1, 12, 12), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", inputs=images, targets=np.arange(60) % 2)
    data = ["data=arrays", f"data.path={tmp_path / 'images.npz'}", f"model={model}", "trainer.batch_size=8"]
    with pytest.raises(
        oarlock.UserError, match=rf"model={model} needs floating-point inputs; the data has uint8.\n.*scale"
    ):
        train(*data)
    train(*data, "data.scale=255", "trainer.max_steps=1")
