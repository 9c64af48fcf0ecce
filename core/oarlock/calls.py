"""Calling what takes only some of the arguments that there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    it meets one function again and again (PEP 659), which it does not in a loop over many.

    Args:
        calls: the functions, and which of the arguments each takes.
        given: the names of the arguments.
    """
    scope: dict[str, Any] = {f"call_{number}": function for number, (function, _) in enumerate(calls)}
    lines = [f"    call_{number}({', '.join(takes)})" for number, (_, takes) in enumerate(calls)]
    source = "\n".join([f"def in_order({', '.join(given)}):", *lines, "    return None"])
    exec(compile(source, "<hooks in order>", "exec"), scope)
    made: Callable[..., None] = scope["in_order"]
    return made
