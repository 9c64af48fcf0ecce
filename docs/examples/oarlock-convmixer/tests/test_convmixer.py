"""Its size by hand, what it learns, and what oarlock expects of a model, exact resume included."""

from __future__ import annotations

import pytest
from oarlock_convmixer import ConvMixer

import oarlock
from oarlock import InputSpec, ModelSpec
from oarlock.testing import conformance

test_convmixer = conformance("model/convmixer", "model.dim=8", "model.depth=1")


@pytest.mark.parametrize(("shape", "channels"), [((8, 8), 1), ((3, 12, 9), 3)])
def test_it_has_as_many_parameters_as_counted_by_hand(shape, channels):
    """Every convolution has a bias, every BatchNorm a scale and a shift."""
    import paddle

    dim, depth, patch, kernel, classes = 16, 3, 2, 5, 10
    component = ConvMixer(dim=dim, depth=depth, patch_size=patch, kernel_size=kernel)
    model = component.build_model(ModelSpec(InputSpec(shape), num_classes=classes))
    found = sum(parameter.size for parameter in model.parameters() if not parameter.stop_gradient)
    patches = dim * (channels * patch**2 + 1 + 2)
    places, mixed_channels = dim * (kernel**2 + 1 + 2), dim * (dim + 1 + 2)
    assert found == patches + depth * (places + mixed_channels) + classes * (dim + 1)
    assert list(model(paddle.zeros([2, *shape])).shape) == [2, classes]


def test_it_learns_the_digits(tmp_path):
    options = ["optimizer.learning_rate=0.01", "trainer.epochs=3"]
    result = oarlock.train(["model=convmixer", "model.depth=2", *options, f"hydra.run.dir={tmp_path / 'run'}"])
    assert result.metrics["test/accuracy"] > 0.95


@pytest.mark.parametrize("shape", [(64,), (2, 3, 8, 8), (1, 8, 3)])
def test_other_inputs_are_refused(shape):
    with pytest.raises(oarlock.UserError, match=r"needs images .* of at least 4 x 4; the data has"):
        ConvMixer(patch_size=4).build_model(ModelSpec(InputSpec(shape), num_classes=2))
