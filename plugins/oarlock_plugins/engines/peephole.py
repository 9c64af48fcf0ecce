"""Operators in the place of others: they make the same numbers, to the bit, in less time.

These take time on a CPU: each call of an operator, about a microsecond; where Paddle adds a bias along an axis, or sums its
gradient, some 4 ns for each number; a ReLU's gradient, for which it asks of each number whether it is positive. Of what is
here each rule was seen to leave the results as they were, but for what `gate_gradients` says of infinite numbers; the engine
compares every program with the eager step all the same.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oarlock_plugins.engines import mkl
from oarlock_plugins.engines.rewriting import before, editing, variable

# Rows that a product is faster with where it adds the bias itself, and how many numbers it sums for each of its own.
FEW, UNSPLIT = range(2, 65), range(2, 257)
# Numbers of a row from which on it takes less time to add rows up by a product of two rows and to leave one of its results.
WIDE = 512
# Operators that were seen to take their axes from a variable.
AXES_FROM_SCOPE = {"pd_op.sum", "pd_op.mean", "pd_op.mean_grad"}


class Constants:
    """Values that a program finds in its scope.

    Attributes:
        values: by the variables' names.
    """

    def __init__(self) -> None:
        self.values: dict[str, np.ndarray[Any, Any]] = {}

    def add(self, value: np.ndarray[Any, Any], dtype: Any) -> Any:
        """A variable of the program for a value, made where operators are made."""
        name = f"oarlock_constant_{len(self.values)}"
        self.values[name] = value
        return variable(name, value.shape, dtype)


def rewrite(program: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Apply all rules.

    Returns:
        what the program then finds in its scope, by name.
    """
    constants = Constants()
    fuse_linear(program)
    add_by_channel(program, constants)
    sum_gradients(program, constants)
    average(program)
    gate_gradients(program)
    fold_constants(program, constants)
    return constants.values


def fold_constants(program: Any, constants: Constants) -> None:
    """Take out what is the same in each step: axes, and the gradient of a mean, with which the backward pass begins.

    Args:
        program: the program.
        constants: where the values go that are then variables.
    """
    known: dict[int, np.ndarray[Any, Any]] = {}  # by the operator that made them
    with editing(program) as block:
        for op in list(block.ops):
            value = _constant(op, known)
            if value is None:
                continue
            known[op.id()] = value
            result = op.results()[0]
            if op.name() != "pd_op.full" and any(use.name() != "pd_op.mean_grad" for use in result.all_used_ops()):
                before(op)
                result.replace_all_uses_with(constants.add(value, result.dtype))
        for op in reversed(list(block.ops)):
            if op.id() in known and not any(result.all_used_ops() for result in op.results()):
                block.remove_op(op)


def _constant(op: Any, known: dict[int, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any] | None:
    """The value of an operator's result where no run of the program has another one."""

    def operand(number: int) -> np.ndarray[Any, Any] | None:
        made = op.operands_source()[number].get_defining_op()
        return None if made is None else known.get(made.id())

    if op.name() == "pd_op.full_int_array":
        users = {use.name() for result in op.results() for use in result.all_used_ops()}
        return np.array(op.attrs()["value"], np.int64) if users <= AXES_FROM_SCOPE else None
    if op.name() not in ("pd_op.full", "pd_op.full_like", "pd_op.mean_grad"):
        return None
    shape = tuple(op.results()[0].shape)
    if min(shape, default=0) < 0 or not _is_float32(op.results()[0]):
        return None
    if op.name() == "pd_op.full":
        return np.full(shape, op.attrs()["value"], np.float32)
    given = operand(1)
    if given is None or given.size != 1:
        return None
    number = given.reshape(())
    return np.full(shape, number if op.name() == "pd_op.full_like" else number / np.float32(np.prod(shape)), np.float32)


def fuse_linear(program: Any) -> None:
    """Let one operator make a product and add the bias.

    It could apply a ReLU too, but keeps a NaN there, of which Paddle's own makes 0. A few rows are added to the bias by MKL
    itself, which on its AVX2 path has the same bits where it does not split the sums.
    """
    import paddle

    with editing(program) as block:
        for product in [op for op in block.ops if op.name() == "pd_op.matmul"]:
            inputs, weight = product.operands_source()
            attributes, (multiplied,) = product.attrs(), product.results()
            if attributes["transpose_x"] or attributes["transpose_y"] or len(weight.shape) != 2:
                continue
            add = _only_use(multiplied, "pd_op.add")
            if add is None or len(inputs.shape) < 2 or min(inputs.shape) < 1 or not _is_float32(weight):
                continue
            left, bias = add.operands_source()
            if not left.is_same(multiplied) or list(bias.shape) != [weight.shape[1]]:
                continue
            before(add)
            if mkl.takes(mkl.AVX2) and len(inputs.shape) == 2 and inputs.shape[0] in FEW and inputs.shape[1] in UNSPLIT:
                made = paddle._C_ops.addmm(bias, inputs, weight, 1.0, 1.0)
            else:
                made = paddle._C_ops.fc(inputs, weight, bias, len(inputs.shape) - 1, "", False)
            made.stop_gradient = False
            for op in (add, product):
                op.results()[0].replace_all_uses_with(made)
            for op in (add, product):
                block.remove_op(op)


def add_by_channel(program: Any, constants: Constants) -> None:
    """Add a convolution's bias by an operator that goes along the pixels of a channel."""
    import paddle

    with editing(program) as block:
        for add in [op for op in block.ops if op.name() == "pd_op.add"]:
            images, added = add.operands_source()
            reshape = added.get_defining_op()
            if reshape is None or reshape.name() != "pd_op.reshape" or not _is_float32(images):
                continue
            bias, shape = reshape.operands_source()[0], list(images.shape)
            if len(shape) != 4 or min(shape) < 1 or list(added.shape) != [1, shape[1], 1, 1]:
                continue
            if list(bias.shape) != [shape[1]]:
                continue
            before(add)
            ones = constants.add(np.ones(shape[1], np.float32), bias.dtype)
            made = paddle._C_ops.affine_channel(images, ones, bias, "NCHW")
            made.stop_gradient = False
            add.results()[0].replace_all_uses_with(made)
            block.remove_op(add)
            if not any(result.all_used_ops() for result in reshape.results()):
                block.remove_op(reshape)


def sum_gradients(program: Any, constants: Constants) -> None:
    """Sum the gradient of what is added along some axes, rows first, in the order in which Paddle does it.

    MKL's AVX2 path adds up in that order, too, and in a tenth of the time, where it multiplies with ones. Its AVX-512 path
    does where it does not split the sums and there are two rows of ones; for one it has a way of its own.
    """
    import paddle

    with editing(program) as block:
        for op in [op for op in block.ops if op.name() == "pd_op.add_grad"]:
            given, added, gradient = op.operands_source()
            to_given, to_added = op.results()
            shape = list(gradient.shape)
            parts = _around(list(added.shape), shape)
            if parts is None or list(given.shape) != shape or not _is_float32(gradient) or not to_added.initialized():
                continue
            outer, length, inner = parts
            before(op)
            rows = gradient
            if inner > 1:
                rows = paddle._C_ops.transpose(paddle._C_ops.reshape(rows, [outer, length, inner]), [0, 2, 1])
            if len(rows.shape) != 2 or rows.shape[1] != length:
                rows = paddle._C_ops.reshape(rows, [outer * inner, length])
            if mkl.takes(mkl.AVX2):
                ones = constants.add(np.ones(outer * inner, np.float32), rows.dtype)
                summed = paddle._C_ops.matmul(ones, rows, False, False)
            elif mkl.takes(mkl.AVX512) and outer * inner in UNSPLIT and length >= WIDE:
                ones = constants.add(np.ones((2, outer * inner), np.float32), rows.dtype)
                twice = paddle._C_ops.matmul(ones, rows, False, False)
                summed = paddle._C_ops.slice(twice, [0], [0], [1], [1], [0])
            else:
                summed = paddle._C_ops.sum(rows, [0], None, False)
            if list(added.shape) != [length]:
                summed = paddle._C_ops.reshape(summed, list(added.shape))
            summed.stop_gradient = False
            to_added.replace_all_uses_with(summed)
            if to_given.initialized():
                to_given.replace_all_uses_with(gradient)
            block.remove_op(op)


def average(program: Any) -> None:
    """Take a mean of all numbers by the operator that does nothing else."""
    import paddle

    with editing(program) as block:
        for op in [op for op in block.ops if op.name() == "pd_op.mean"]:
            (value,) = op.results()
            if not list(value.shape) and _is_float32(value):
                before(op)
                _exchange(block, op, paddle._C_ops.mean_all(op.operands_source()[0]))


def gate_gradients(program: Any) -> None:
    """Make the gradient of a ReLU as that of what is cut off below 0 and at infinity, which takes half of the time.

    So nothing goes back through a number that is infinite. There a loss either is not finite, which ends the run, or does
    not depend on it.
    """
    import paddle

    with editing(program) as block:
        for op in [op for op in block.ops if op.name() == "pd_op.relu_grad"]:
            output, gradient = op.operands_source()
            if _is_float32(output):
                before(op)
                _exchange(block, op, paddle._C_ops.hardtanh_grad(output, gradient, 0.0, math.inf))


def _exchange(block: Any, op: Any, made: Any) -> None:
    """Let what was made be there in the place of an operator's one result."""
    (value,) = op.results()
    made.stop_gradient = value.stop_gradient
    value.replace_all_uses_with(made)
    block.remove_op(op)


def _around(added: list[int], shape: list[int]) -> tuple[int, int, int] | None:
    """How many numbers of a shape lie before, in and behind the axes along which a smaller one is added.

    None where these are not side by side, or where nothing is summed.
    """
    if min(shape, default=0) < 1 or len(added) > len(shape):
        return None
    full = [1] * (len(shape) - len(added)) + added
    own = [axis for axis, size in enumerate(full) if size != 1]
    if not own or own != list(range(own[0], own[-1] + 1)) or any(full[axis] != shape[axis] for axis in own):
        return None
    first, last = own[0], own[-1] + 1
    outer, length, inner = (math.prod(part) for part in (shape[:first], shape[first:last], shape[last:]))
    return (outer, length, inner) if outer * inner > 1 else None


def _only_use(value: Any, name: str) -> Any:
    """The operator of this name that alone reads a value's numbers; None where there is another one.

    Gradients may ask for its shape.
    """
    uses = [op for op in value.all_used_ops() if not _reads_shape_only(op, value)]
    return uses[0] if len(uses) == 1 and uses[0].name() == name else None


def _reads_shape_only(op: Any, value: Any) -> bool:
    return all(op.is_no_need_buffer(one) for one in op.operands_source() if one.is_same(value))


def _is_float32(value: Any) -> bool:
    return str(value.dtype).upper().endswith("FLOAT32")
