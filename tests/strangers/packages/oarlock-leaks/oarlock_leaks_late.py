"""Fails after it has registered a component and a command."""

from __future__ import annotations

from oarlock import component, hookimpl


@component
class Early:
    """Was fine."""


@hookimpl
def register_components(register):
    register("callback/halfway", Early)


@hookimpl
def register_commands(register):
    register("halfway", help="Never listed.", configure=lambda parser: None, run=lambda args: 0)
    raise OSError("sank")
