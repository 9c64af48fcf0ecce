"""Small parameters one after the other in memory, so that one operator makes the updates of many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oarlock_plugins.engines import private
from oarlock_plugins.engines.rewriting import at_end, before, editing, into_scope, name_in_scope, variable

# Numbers of a parameter that is updated together with others; of a larger one the call is a small part of its update.
MOST_NUMBERS = 1 << 15
# Where a parameter may begin, in numbers: at 64 bytes, as memory of its own does.
ALIGNED = 16


@dataclass(frozen=True)
class Update:
    """How an optimizer's operator is called; what it does to one number depends on no other.

    Attributes:
        changed: positions of the parameter and of what the optimizer keeps for it.
        gradient: position of the gradient.
        same: positions of what must be the same variable for all.
        absent: positions of what must not be there.
        attributes: what must be the same for all, in the order of the arguments after the operands.
    """

    changed: tuple[int, ...]
    gradient: int
    same: tuple[int, ...]
    absent: tuple[int, ...]
    attributes: tuple[str, ...]


# Not SGD's: what it makes of a number depends on how many lie side by side, in the last bit.
UPDATES = {
    "momentum_": Update((0, 2), 1, (3,), (4,), ("mu", "use_nesterov", "regularization_method", "regularization_coeff",
                                                "multi_precision", "rescale_grad")),
}  # fmt: skip


@dataclass
class Group:
    """Parameters that one operator updates.

    Attributes:
        members: for each parameter the variables that change with it: its own, and the optimizer's.
        sizes: how many numbers each has.
        wholes: the variables that hold those of all members, in the order of a member's.
        gradients: the variables of the gradients.
        gradient: the variable of all gradients.
    """

    members: list[tuple[str, ...]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    wholes: list[str] = field(default_factory=list)
    gradients: list[str] = field(default_factory=list)
    gradient: str = ""


def places(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where each begins, and the length of the whole."""
    starts, length = [], 0
    for size in sizes:
        starts.append(length)
        length += -(-size // ALIGNED) * ALIGNED
    return starts, length


class FlatMemory:
    """What a run's live tensors lie in, for all of its programs."""

    def __init__(self) -> None:
        # By the tensors' identities: themselves, where their numbers are, and the whole.
        self._wholes: dict[tuple[int, ...], tuple[list[Any], list[int], Any]] = {}

    def fits(self, tensors: Sequence[Any]) -> bool:
        """Whether none of them lies together with others."""
        key = tuple(map(id, tensors))
        return all(other == key or set(other).isdisjoint(key) for other in self._wholes)

    def whole(self, tensors: Sequence[Any]) -> Any:
        """A tensor of all their numbers; they are moved there unless they still lie where they were put.

        Memory that they were moved out of is never written to, since it may be another's by now.
        """
        import paddle

        key = tuple(map(id, tensors))
        _, known, whole = self._wholes.get(key, (None, None, None))
        if known == [tensor.data_ptr() for tensor in tensors]:
            return whole
        starts, length = places([math.prod(tensor.shape) for tensor in tensors])
        whole = paddle.zeros([length], str(tensors[0].dtype).removeprefix("paddle."))
        private.move(tensors, whole, starts)
        self._wholes[key] = list(tensors), [tensor.data_ptr() for tensor in tensors], whole
        return whole


def merge_updates(program: Any, may: Callable[[Sequence[tuple[str, ...]]], bool]) -> list[Group]:
    """Have one operator update all small parameters that are updated alike.

    The new operator is the last one. In the order in which a program with `FLAGS_enable_pir_in_executor_trace_run` is run
    that is after all that reads the parameters, and after the gradients, which lie where it looks for them.

    Args:
        program: the program.
        may: says whether these variables may lie together.

    Returns:
        what lies together.
    """
    import paddle

    groups: list[Group] = []
    with editing(program) as block:
        alike: dict[Any, list[Any]] = {}
        for op in block.ops:
            key = _alike(op)
            if key is not None:
                alike.setdefault(key, []).append(op)
        for (name, *_), ops in alike.items():
            update, number = UPDATES[name], len(groups)
            ops.sort(key=lambda op: _name(op.operands_source()[0]))
            members = [tuple(_name(op.operands_source()[one]) for one in update.changed) for op in ops]
            if len(ops) < 2 or not may(members):
                continue
            sizes = [int(np.prod(op.operands_source()[0].shape)) for op in ops]
            group = Group(members, sizes)
            operands, attributes = list(ops[0].operands_source()), ops[0].attrs()
            dtype, length = operands[0].dtype, places(sizes)[1]
            at_end(block)
            for position in (*update.changed, update.gradient):
                title = f"oarlock_flat_{number}_{position}"
                operands[position] = variable(title, [length], dtype)
                if position == update.gradient:
                    group.gradient = title
                else:
                    group.wholes.append(title)
            for position in update.absent:
                operands[position] = None
            getattr(paddle._C_ops, name)(*operands, *(attributes[one] for one in update.attributes))
            for member, op in enumerate(ops):
                group.gradients.append(f"oarlock_gradient_{number}_{member}")
                before(op)
                into_scope(op.operands_source()[update.gradient], group.gradients[-1])
                block.remove_op(op)
            groups.append(group)
    return groups


def _alike(op: Any) -> Any:
    """What an update shares with those that it may be made together with; None where it stays as it is."""
    name = op.name().removeprefix("pd_op.")
    update = UPDATES.get(name)
    if update is None or any(result.all_used_ops() for result in op.results()):
        return None
    operands, attributes = op.operands_source(), op.attrs()
    parameter, gradient = operands[0], operands[update.gradient]
    if (
        any(operands[one].initialized() for one in update.absent)
        or any(not _name(operands[one]) for one in update.changed)
        or not gradient.is_dense_tensor_type()
        or _name(gradient)
        or sum(use.name() == op.name() for use in gradient.all_used_ops()) > 1
        or gradient.dtype != parameter.dtype
        or list(gradient.shape) != list(parameter.shape)
        or not 0 < np.prod(parameter.shape) <= MOST_NUMBERS
    ):
        return None
    same = tuple(operands[one].get_defining_op().id() for one in update.same)
    return (name, str(parameter.dtype), same, *(attributes[one] for one in update.attributes))


def _name(value: Any) -> str:
    """A variable's name in the scope; '' for what an operator computes."""
    return name_in_scope(value.get_defining_op())
