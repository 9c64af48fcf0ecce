"""Small parameters that lie side by side: what moves there, what must not, and that a run does not notice."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oarlock
from oarlock import hookimpl
from oarlock_plugins.engines import making, private
from oarlock_plugins.engines.flat import ALIGNED, MOST_NUMBERS, FlatMemory, places
from oarlock_plugins.engines.programs import Program
from tests.conftest import equal_ends

SHAPES = st.lists(st.lists(st.integers(1, 6), max_size=3), min_size=1, max_size=6)


def tensors(shapes):
    generator = np.random.default_rng(0)
    return [paddle.to_tensor(generator.standard_normal(shape, "float32")) for shape in shapes]


@settings(max_examples=50, deadline=None)
@given(shapes=SHAPES)
def test_what_is_moved_keeps_its_numbers_and_is_one_memory(shapes):
    own = tensors(shapes)
    before = [tensor.numpy().copy() for tensor in own]
    whole = FlatMemory().whole(own)
    for tensor, array in zip(own, before, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), array)
        assert tensor.shape == list(array.shape)
        assert tensor.is_contiguous()
    starts, length = places([array.size for array in before])
    assert whole.shape == [length]
    assert all(start % ALIGNED == 0 for start in starts)
    assert all((tensor.data_ptr() - whole.data_ptr()) == 4 * start for tensor, start in zip(own, starts, strict=True))
    whole.set_value(np.arange(length, dtype="float32"))
    for tensor, start, array in zip(own, starts, before, strict=True):
        np.testing.assert_array_equal(tensor.numpy().reshape(-1), np.arange(start, start + array.size))
    for tensor in own:  # and what is set stays there
        tensor.set_value(tensor * 0 - 1)
        tensor.subtract_(paddle.ones_like(tensor))
    assert {float(whole.numpy()[start]) for start in starts} == {-2.0}


def test_what_lies_where_it_was_put_is_not_moved_again():
    memory, own = FlatMemory(), tensors([[3], [2, 2]])
    whole = memory.whole(own)
    assert memory.whole(own) is whole


def test_a_tensor_that_was_given_other_storage_leaves_its_old_memory_to_whoever_has_it_now():
    memory, own = FlatMemory(), tensors([[3], [2, 2]])
    memory.whole(own)
    (other,) = tensors([[3]])
    other.set_value(np.array([7, 8, 9], "float32"))
    first, second = own[0].numpy().copy(), other.numpy().copy()
    # An average and a weight swap storage.
    one, two = paddle.empty([3]), paddle.empty([3])
    private.storage(one)._share_data_with(private.storage(own[0]))
    private.storage(two)._share_data_with(private.storage(other))
    private.storage(own[0])._share_data_with(private.storage(two))
    private.storage(other)._share_data_with(private.storage(one))
    memory.whole(own)
    np.testing.assert_array_equal(own[0].numpy(), second)
    np.testing.assert_array_equal(other.numpy(), first)


def test_a_tensor_lies_in_one_place_only():
    memory, own = FlatMemory(), tensors([[3], [2, 2], [4]])
    memory.whole(own[:2])
    assert memory.fits(own[:2])
    assert memory.fits(own[2:])
    assert not memory.fits(own[1:])
    assert not memory.fits(own[:1])


PARTS = '''
from __future__ import annotations
from oarlock import component, hookimpl

def build(kind):
    import paddle
    from paddle import nn

    class Net(nn.Layer):
        def __init__(self):
            super().__init__()
            dtype = "float64" if kind == "of 64 bits" else "float32"
            self.flat = self.create_parameter([64 * 10], dtype=dtype)
            self.one = self.create_parameter([10], dtype=dtype)
            if kind not in ("reshaped", "of 64 bits"):
                self.other = self.create_parameter([10])
            if kind == "transposed":
                self.matrix = self.create_parameter([10, 10])

        def forward(self, inputs):
            inputs = inputs.flatten(1)
            if kind == "of 64 bits":
                return (inputs.astype("float64") @ self.flat.reshape([64, 10]) + self.one).astype("float32")
            if kind == "reshaped":
                return inputs @ self.flat.reshape([64, 10]) + self.one
            result = inputs @ self.flat.reshape([64, 10]) * 1.0
            if kind == "one gradient for two":
                return result + (self.one + self.other)
            if kind == "its gradient is what comes in":
                return result.sum(0) + self.one + self.other + inputs[:, :10] * 0
            return result @ self.matrix.T + self.one.reshape([1, 10]) - self.other

    return Net()

@component
class Odd:
    """Parameters with gradients of an odd kind.

    Args:
        kind: which.
    """

    kind: str

    @hookimpl
    def build_model(self, spec):
        return build(self.kind)

@component
class Decayed:
    """Momentum that decays the weights itself, and does not look ahead, or does."""

    nesterov: bool = False

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        import paddle

        return paddle.optimizer.Momentum(
            schedule(0.01), 0.9, parameters=parameters, use_nesterov=self.nesterov, weight_decay=0.01
        )

@hookimpl
def register_components(register):
    register("model/odd", Odd)
    register("optimizer/decayed", Decayed)
'''
KINDS = ["reshaped", "one gradient for two", "its gradient is what comes in", "transposed", "of 64 bits"]


def both(command, env, tmp_path, *words):
    for engine in ("compiled", "eager"):
        done = command(
            "train", "trainer.epochs=2", "callback=[]", "trainer.drop_last=false", *words, f"trainer.engine={engine}",
            f"hydra.run.dir={engine}", env=env,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    return equal_ends(tmp_path / "compiled", tmp_path / "eager")


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_odd_kinds(oarlock, plugin, tmp_path, kind):
    assert both(oarlock, plugin(PARTS), tmp_path, "model=odd", f"model.kind='{kind}'", "optimizer=momentum")


@pytest.mark.parametrize("nesterov", ["false", "true"])
@pytest.mark.parametrize("optimizer", ["momentum", "decayed"])
def test_momentum_of_all_kinds(oarlock, plugin, tmp_path, optimizer, nesterov):
    words = ["model.widths=[8,5]", f"optimizer={optimizer}", f"optimizer.nesterov={nesterov}"]
    assert both(oarlock, plugin(PARTS), tmp_path, *words)


class Look:
    """The run, and how many operators make the updates in each of its programs."""

    changes_run = False

    @hookimpl
    def on_epoch_end(self, run):
        self.run = run
        programs = run.training_step._programs.values()
        self.updates = [sum(op.name() == "pd_op.momentum_" for op in one.main.global_block().ops) for one in programs]


def train(folder, *words):
    look = Look()
    result = oarlock.train(
        ["trainer.epochs=2", "optimizer=momentum", "callback=[]", *words, f"hydra.run.dir={folder}"], hooks=[look]
    )
    return look, result


def test_one_operator_updates_all_small_parameters_for_every_shape_of_a_batch(tmp_path):
    look, _ = train(tmp_path / "run", "model.widths=[8,8]", "trainer.drop_last=false")
    assert look.updates == [1, 1]  # of a full batch, and of the last one


def test_large_parameters_have_updates_of_their_own(tmp_path):
    width = MOST_NUMBERS // 64 + 1
    look, _ = train(tmp_path / "run", f"model.widths=[{width}]", "trainer.drop_last=true")
    assert look.updates == [2]


def test_a_later_run_with_the_same_programs_leaves_the_weights_of_an_earlier_one_alone(tmp_path):
    first, _ = train(tmp_path / "first", "seed=1")
    before = {name: tensor.numpy().copy() for name, tensor in first.run.model.state_dict().items()}
    second, _ = train(tmp_path / "second", "seed=2")
    assert second.updates == first.updates == [1] * len(first.updates)
    for name, tensor in first.run.model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name], err_msg=name)
        assert not np.array_equal(second.run.model.state_dict()[name].numpy(), before[name])


def test_a_program_whose_gradients_lie_elsewhere_is_made_without(tmp_path, monkeypatch):
    """As an operator's might that hands on the memory of what it was given; also where three steps do not show it."""
    compare = making.compare
    monkeypatch.setattr(making, "compare", lambda *args, **options: ("", compare(*args, **options)[1]))
    laid = Program._lay_gradients

    def lay_gradients(self, wholes):
        laid(self, wholes)
        for own, _ in self._gradients:
            own._clear()

    monkeypatch.setattr(Program, "_lay_gradients", lay_gradients)
    look, _ = train(tmp_path / "run", "model.widths=[8]", "trainer.drop_last=true")
    assert look.updates == [6]
