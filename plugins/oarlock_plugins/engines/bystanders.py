"""Which callbacks cannot change what makes the steps, as far as their code tells."""

from __future__ import annotations

import dis
import functools
import itertools
from types import CodeType
from typing import Any

# Arguments of hooks that lead to no tensor of the model.
PLAIN = {"metrics", "path", "error"}
# Attributes of a run that lead to none either.
READ = {
    "class_names", "config", "destination", "device", "direction", "directions", "epoch", "folder", "history", "learning_rate",
    "metrics", "monitor", "position", "request_checkpoint", "resolve_monitor", "splits", "status", "step", "stop",
    "stop_reason", "total_steps", "values",
}  # fmt: skip
# What finds a variable without its name in the code.
REFLECTING = {"eval", "exec", "locals", "vars"}

LOADS = {
    "LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW", "STORE_FAST_LOAD_FAST",
}  # fmt: skip


def may_touch(run: Any, hook: str) -> bool:
    """Whether an implementation of a hook may change the weights of a run, or its layers and components."""
    return any(may_change(run, one.plugin) for one in getattr(run.hook, hook).get_hookimpls())


def may_change(run: Any, plugin: Any) -> bool:
    """Whether what is registered may change the weights of a run, or its layers and components.

    It may not if its class says `changes_run = False`. Where that says nothing, what counts is all that its hooks are
    given: numbers, and a run of which they do no more than read what READ names.
    """
    said = getattr(plugin, "changes_run", None)
    if said is not None:
        return bool(said)
    callers = run.manager.get_hookcallers(plugin) or []
    own = [one for caller in callers for one in caller.get_hookimpls() if one.plugin is plugin]
    return not all(name in PLAIN or (name == "run" and only_reads(one.function, name, READ))
                   for one in own for name in one.argnames)  # fmt: skip


def only_reads(function: Any, argument: str, attributes: set[str]) -> bool:
    """Whether a function does nothing with an argument but to read some of its attributes, each where it is used.

    It is told from the bytecode. What is not understood counts as something else.

    Args:
        function: a function or method; one that a decorator has replaced is not understood.
        argument: its name.
        attributes: what it may read.
    """
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None or hasattr(function, "__wrapped__"):
        return False
    return _only_reads(code, argument, frozenset(attributes))


@functools.cache
def _only_reads(code: CodeType, argument: str, attributes: frozenset[str]) -> bool:
    if argument not in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] or REFLECTING & {*code.co_names}:
        return False
    instructions = [*dis.get_instructions(code), None]
    return all(_loads(one, argument) and then is not None and then.opname in ("LOAD_ATTR", "LOAD_METHOD")
               and then.argval in attributes
               for one, then in itertools.pairwise(instructions) if one is not None and argument in _operands(one))  # fmt: skip


def _operands(one: dis.Instruction) -> tuple[Any, ...]:
    """What an instruction is about; some of Python 3.13's are about two variables."""
    return one.argval if isinstance(one.argval, tuple) else (one.argval,)


def _loads(one: dis.Instruction, variable: str) -> bool:
    """Whether an instruction leaves a variable on top of the stack, and does no more with it."""
    *before, last = _operands(one)
    return one.opname in LOADS and last == variable and variable not in before
