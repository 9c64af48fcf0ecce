"""What it takes to rewrite a program: where operators are made, which are left out.

With `peephole.py` and `flat.py`, which use it, and `private.py`, which says for which versions, this is all that goes beyond
Paddle's documented interface.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

# Operators whose result has the numbers of their first operand in the same order.
RESHAPES = ("pd_op.flatten", "pd_op.unsqueeze", "pd_op.reshape", "pd_op.squeeze")


@contextlib.contextmanager
def editing(program: Any) -> Iterator[Any]:
    """Static mode, in which operators are made in the program where `before` says.

    Yields:
        the block of the program's operators.
    """
    import paddle

    paddle.enable_static()
    try:
        with paddle.static.program_guard(program):
            yield program.global_block()
    finally:
        paddle.disable_static()


def before(op: Any) -> None:
    """Have the next operators made in front of this one."""
    from paddle.base.libpaddle import pir

    pir.set_insertion_point(op)


def at_end(block: Any) -> None:
    """Have the next operators made behind all others."""
    from paddle.base.libpaddle import pir

    pir.set_insertion_point_to_block_end(block)


def into_scope(value: Any, name: str) -> None:
    """Have a result of an operator be a variable of the scope, as soon as there is an executor for the program."""
    import paddle

    value.persistable = True
    paddle._pir_ops.set_persistable_value(value, name)


def results_into_scope(program: Any, results: Sequence[Any]) -> list[str]:
    """Have what a program computes be variables of the scope.

    Returns:
        their names, in the order of the results; none where one of them is there already, as what the program is fed with,
        or is a part of an operator's list, as `split` has one.
    """
    names = [f"oarlock_result_{number}" for number in range(len(results))]
    made_by = [one.get_defining_op() for one in results]
    if any(one.persistable for one in results) or any(
        name_in_scope(op) or op.name().startswith("builtin.") for op in made_by
    ):
        return []
    with editing(program) as block:
        at_end(block)
        for result, name in zip(results, names, strict=True):
            into_scope(result, name)
    return names


def name_in_scope(op: Any) -> str:
    """The variable of the scope that an operator reads or leaves there; '' for one that does neither."""
    attribute = {"builtin.parameter": "parameter_name", "pd_op.data": "name", "builtin.shadow_output": "output_name"}
    return op.attrs()[attribute[op.name()]] if op.name() in attribute else ""


def names_in_scope(program: Any) -> set[str]:
    """The variables of the scope that a program reads or leaves there."""
    return {name_in_scope(op) for op in program.global_block().ops} - {""}


def variable(name: str, shape: Sequence[int], dtype: Any, kept: bool = True) -> Any:
    """A variable that is in the scope when the program runs.

    Args:
        name: its name.
        shape: its shape.
        dtype: its dtype.
        kept: whether it is there from one step to the next, and not fed.
    """
    import paddle

    made = paddle._C_ops.data(name, list(shape), dtype, paddle.base.core.Place())
    if kept:
        made.persistable = True
    return made


@contextlib.contextmanager
def held(program: Any, values: Sequence[Any]) -> Iterator[list[Any]]:
    """While others rewrite the program.

    Yields:
        a list; afterwards it holds what the program computes in the place of the values.
    """
    import paddle

    present: list[Any] = []
    with editing(program):
        ops = [
            paddle._pir_ops.fetch(value, "oarlock_held", number).get_defining_op()
            for number, value in enumerate(values)
        ]
    yield present
    present += [op.operands_source()[0] for op in ops]
    for op in ops:
        program.global_block().remove_op(op)


def drop_duplicates(program: Any) -> None:
    """Drop what a program computes twice; an optimizer writes its constants out for each parameter."""
    from paddle.base.libpaddle.pir import PassManager

    passes = PassManager(2)
    passes.add_pass("common_subexpression_elimination_pass", {})
    passes.run(program)


def enter_reshaped(program: Any, names: Sequence[str]) -> dict[str, list[int]]:
    """Have what is fed come in the shape that the first operator would give it, which is then left out.

    Flattened images and targets with a second axis are the same numbers in the same order.

    Args:
        program: the program.
        names: what it is fed with.

    Returns:
        the new shapes, by the names of the feeds that have another one now.
    """
    found = {}
    with editing(program) as block:
        for feed in [op for op in block.ops if op.name() == "pd_op.data" and op.attrs()["name"] in names]:
            (value,), name = feed.results(), feed.attrs()["name"]
            uses = list(value.all_used_ops())
            if len(uses) != 1 or uses[0].name() not in RESHAPES or min(uses[0].results()[0].shape, default=0) < 1:
                continue
            (use,) = uses
            found[name] = list(use.results()[0].shape)
            before(use)
            use.results()[0].replace_all_uses_with(variable(name, found[name], value.dtype, kept=False))
            axes = [operand.get_defining_op() for operand in use.operands_source()[1:]]
            for op in (use, feed, *(axis for axis in axes if axis is not None)):
                if not any(result.all_used_ops() for result in op.results()):
                    block.remove_op(op)
    return found
