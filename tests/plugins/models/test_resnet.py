"""The residual network: its sizes, what a block computes, and what it says of images that are too small."""

import re

import numpy as np
import paddle
import pytest

import oarlock
from oarlock import InputSpec, ModelSpec
from oarlock_plugins.models.residual import Residual
from oarlock_plugins.models.resnet import ResNet


def build(*shape, **options):
    return ResNet(**options).build_model(ModelSpec(InputSpec(shape), num_classes=10))


@pytest.mark.parametrize(("blocks", "layers"), [(3, 20), (5, 32)])
def test_it_has_the_papers_layers_and_weights_on_32_x_32(blocks, layers):
    model = build(3, 32, 32, blocks=blocks)
    convolutions = [layer for layer in model.sublayers() if isinstance(layer, paddle.nn.Conv2D)]
    shortcuts = [layer for layer in convolutions if layer.weight.shape[2:] == [1, 1]]
    assert len(convolutions) - len(shortcuts) + 1 == layers  # and one linear layer
    # The paper's table 6 says 0.27 and 0.46 million; a shortcut that is a convolution has 512 + 2,048 weights and a norm.
    weights = sum(int(one.size) for one in model.parameters() if not one.stop_gradient)
    assert weights == {20: 269_722, 32: 464_154}[layers] + 512 + 64 + 2_048 + 128


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8), (2, 15, 29)])
def test_images_of_any_size_from_8_x_8_on(shape):
    model = build(*shape, blocks=1, width=4)
    model.eval()
    assert model(paddle.zeros([2, *shape])).shape == [2, 10]


@pytest.mark.parametrize(("outputs", "stride"), [(3, 1), (6, 2)])
def test_a_block_adds_its_input(outputs, stride):
    block = Residual(3, outputs, stride)
    norm = list(block.residual)[-1]
    norm.weight.set_value(paddle.zeros([outputs]))  # so that the convolutions add nothing but the shift
    norm.bias.set_value(paddle.full([outputs], 0.25))
    block.eval()
    images = paddle.randn([2, 3, 8, 8])
    found = block(images).numpy()
    if stride == 1:
        expected = images.numpy()
    else:
        kernel = block.shortcut[0].weight.numpy()[:, :, 0, 0]
        expected = np.einsum("oi,nihw->nohw", kernel, images.numpy()[:, :, ::2, ::2]) / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(found, np.maximum(expected + 0.25, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", ["[1,7,28]", "[1,28,7]"])
def test_small_images_are_an_error_that_says_what_to_do(train, shape):
    shown = re.escape(shape.replace(",", ", "))
    with pytest.raises(oarlock.UserError, match=rf"model=resnet .*8 x 8.*{shown}.*model=bn_mlp"):
        train("data=toy", f"data.shape={shape}", "task=regression", "model=resnet")


@pytest.mark.parametrize("option", ["blocks", "width"])
def test_nothing_is_refused(train, option):
    with pytest.raises(oarlock.UserError, match=rf"model\.{option}=0: expected at least 1"):
        train("model=resnet", f"model.{option}=0")


def test_it_learns(train):
    run = train("data=toy", "data.shape=[1,8,8]", "data.rows=64", "task=regression", "model=resnet", "model.blocks=1",
                "model.width=4", "optimizer=adam", "optimizer.learning_rate=0.01", "trainer.batch_size=16",
                "trainer.epochs=20", "trainer.evaluate_every=1 epochs")  # fmt: skip
    assert run.rows[-1]["train/loss"] < run.rows[0]["train/loss"] / 2
