"""Calling what takes only some of the arguments that there are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import CodeType, MethodType
from typing import Any

import pluggy


def call(function: Callable[..., Any], **arguments: Any) -> Any:
    """Call an implementation with those of the arguments that it takes."""
    taken, _ = pluggy._hooks.varnames(function)
    return function(*(arguments[name] for name in taken))


def adapt(function: Callable[..., Any], takes: Sequence[str], given: Sequence[str]) -> Callable[..., Any]:
    """The function as one of exactly the `given` positional arguments; itself where that is what it takes."""
    if tuple(takes) == tuple(given):
        return function
    places = [list(given).index(name) for name in takes]
    return lambda *arguments: function(*(arguments[place] for place in places))


def in_order(calls: Sequence[tuple[Callable[..., Any], Sequence[str]]], given: Sequence[str]) -> Callable[..., None]:
    """One function of exactly the `given` positional arguments that makes all calls, each with what it takes.

    Every call has a place of its own in the code, as if somebody had written them one below the other: CPython is quick where
    it meets one function again and again (PEP 659), which it does not in a loop over many. What is called are defaults of
    further arguments, and of a method its function and its object: there CPython finds them with the fewest reads of memory.

    Args:
        calls: the functions, and which of the arguments each takes.
        given: the names of the arguments.
    """
    scope: dict[str, Any] = {}
    lines = []
    for number, (function, takes) in enumerate(calls):
        arguments = list(takes)
        if isinstance(function, MethodType):
            scope[f"object_{number}"] = function.__self__
            arguments.insert(0, f"object_{number}")
            function = function.__func__
        scope[f"call_{number}"] = function
        lines.append(f"    call_{number}({', '.join(arguments)})")
    parameters = [*given, *(f"{name}={name}" for name in scope)]
    source = "\n".join([f"def in_order({', '.join(parameters)}):", *lines, "    return None"])
    exec(_compiled(source), scope)
    made: Callable[..., None] = scope["in_order"]
    return made


@functools.lru_cache(64)
def _compiled(source: str) -> CodeType:
    """The code of a source; each run of a process has the same few."""
    return compile(source, "<hooks in order>", "exec")
