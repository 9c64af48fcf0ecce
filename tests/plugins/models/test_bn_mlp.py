"""The multi-layer perceptron against NumPy: its order of layers, its statistics, its sizes."""

import numpy as np
import paddle
import pytest

import oarlock
from oarlock import InputSpec, ModelSpec
from oarlock_plugins.models.bn_mlp import BnMlp


def build(shape=(3,), outputs=2, **options):
    paddle.seed(5)
    return BnMlp(**options).build_model(ModelSpec(InputSpec(shape), num_classes=outputs))


def layers_of(model):
    return [type(layer).__name__ for layer in model]


def values_of(model):
    return {path: tensor.numpy().astype("float64") for path, tensor in model.state_dict().items()}


def hidden(values, inputs):
    return np.maximum(inputs @ values["0.weight"] + values["0.bias"], 0)


def test_the_order_is_linear_relu_norm_linear():
    assert layers_of(build()) == ["Linear", "ReLU", "BatchNorm1D", "Linear"]
    assert layers_of(build(shape=(1, 4, 4), widths=[5, 6], dropout=0.5)) == [
        "Flatten", "Linear", "ReLU", "BatchNorm1D", "Dropout", "Linear", "ReLU", "BatchNorm1D", "Dropout", "Linear",
    ]  # fmt: skip
    assert layers_of(build(widths=[])) == ["Linear"]


def test_the_seeds_network_has_784_512_10():
    model = build(shape=(1, 28, 28), outputs=10)
    sizes = {path: list(parameter.shape) for path, parameter in model.named_parameters() if not parameter.stop_gradient}
    assert sizes == {
        "1.weight": [784, 512], "1.bias": [512], "3.weight": [512], "3.bias": [512], "4.weight": [512, 10],
        "4.bias": [10],
    }  # fmt: skip
    assert BnMlp().epsilon == 1e-5
    assert (model[3].weight.numpy() == 1).all()
    assert (model[3].bias.numpy() == 0).all()


def test_training_normalises_by_the_batch():
    model = build(widths=[6], epsilon=0.25)  # one that shows
    inputs = np.random.default_rng(0).normal(size=(9, 3)).astype("float32")
    values = values_of(model)
    active = hidden(values, inputs)
    normal = (active - active.mean(axis=0)) / np.sqrt(active.var(axis=0) + 0.25)
    expected = normal @ values["3.weight"] + values["3.bias"]
    np.testing.assert_allclose(model(paddle.to_tensor(inputs)).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_evaluation_normalises_by_the_running_statistics():
    model = build(widths=[6], epsilon=0.25, momentum=0.6)
    inputs = np.random.default_rng(0).normal(size=(9, 3)).astype("float32")
    values = values_of(model)
    active = hidden(values, inputs)
    model(paddle.to_tensor(inputs))
    mean, variance = 0.4 * active.mean(axis=0), 0.6 + 0.4 * active.var(axis=0)
    np.testing.assert_allclose(model[2]._mean.numpy(), mean, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(model[2]._variance.numpy(), variance, rtol=1e-5)

    model.eval()
    other = np.random.default_rng(1).normal(size=(4, 3)).astype("float32")
    normal = (hidden(values, other) - mean) / np.sqrt(variance + 0.25)
    expected = normal @ values["3.weight"] + values["3.bias"]
    np.testing.assert_allclose(model(paddle.to_tensor(other)).numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model[2]._mean.numpy(), model.state_dict()["2._mean"].numpy())


def test_dropout_zeroes_its_share_in_training_only():
    model = build(widths=[400], dropout=0.25)
    paddle.seed(0)
    units = paddle.ones([50, 400])
    dropped = model[3](units).numpy()
    assert (dropped == 0).mean() == pytest.approx(0.25, abs=0.02)
    np.testing.assert_allclose(dropped[dropped != 0], 1 / 0.75, rtol=1e-6)  # what is left keeps the mean
    model.eval()
    np.testing.assert_array_equal(model[3](units).numpy(), 1)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("dropout=1", r"model\.dropout=1\.0: expected 0 <= dropout < 1"),
        ("widths=[8,0]", r"model\.widths=\[8, 0\]: expected positive"),
        ("epsilon=-1", r"model\.epsilon=-1\.0: expected 0 <= epsilon"),
        ("momentum=1", r"model\.momentum=1\.0: expected 0 <= momentum < 1"),
    ],
)
def test_what_cannot_be_built_is_refused(train, option, message):
    with pytest.raises(oarlock.UserError, match=message):
        train(f"model.{option}")


@pytest.mark.parametrize("model", ["bn_mlp", "linear", "lenet", "resnet"])
def test_a_number_a_row_needs_an_axis(train, tmp_path, model):
    np.savez(tmp_path / "rows.npz", inputs=np.ones(60), targets=np.arange(60) % 2)
    with pytest.raises(oarlock.UserError, match=rf"model={model} needs inputs of shape .*has \[rows\]\.\n.*reshape"):
        train("data=arrays", f"data.path={tmp_path / 'rows.npz'}", f"model={model}")
