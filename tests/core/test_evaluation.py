"""Parts of an evaluation: the model's mode, and losses that are numbers or tensors."""

from __future__ import annotations

import paddle
from hypothesis import given
from hypothesis import strategies as st

from oarlock import read_losses
from oarlock.evaluation import layers_of, set_mode


class Net(paddle.nn.Layer):
    """Layers in layers, one of them twice, and a place for one that is empty."""

    def __init__(self):
        super().__init__()
        self.first = paddle.nn.Sequential(paddle.nn.Linear(2, 2), paddle.nn.Dropout(0.5))
        self.again = self.first[0]
        self.rows = paddle.nn.LayerList([paddle.nn.Sequential(paddle.nn.BatchNorm1D(2)) for _ in range(3)])
        self.none = None
        self.add_sublayer("empty", None)


class Frozen(Net):
    """Keeps its first part in eval mode."""

    def train(self, mode=True):
        super().train(mode)
        self.first.training = False
        return self


def test_all_layers_change_their_mode():
    net = Net()
    assert set(map(id, layers_of(net))) == set(map(id, net.sublayers(include_self=True)))
    assert len(layers_of(net)) == len(net.sublayers(include_self=True))
    for training in (False, True):
        set_mode(layers_of(net), training)
        assert {layer.training for layer in net.sublayers(include_self=True)} == {training}


def test_a_model_with_a_mode_of_its_own_is_asked():
    net = Frozen()
    set_mode(layers_of(net), training=False)
    assert not net.rows.training
    set_mode(layers_of(net), training=True)
    assert net.rows.training
    assert not net.first.training


@given(st.lists(st.tuples(st.floats(-1e6, 1e6, width=32), st.sampled_from([float, "scalar", "row"]))))
def test_losses_are_read_in_their_order(losses):
    def made(value, kind):
        return value if kind is float else paddle.to_tensor(value if kind == "scalar" else [value], "float32")

    assert read_losses([made(*loss) for loss in losses]) == [value for value, _ in losses]
