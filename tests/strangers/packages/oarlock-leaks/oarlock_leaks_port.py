"""Half of two claims: a component and a command; opens a group for one component."""

from __future__ import annotations

from oarlock import component, hookimpl


@component
class Oar:
    """Port."""


@component
class Rigger:
    """Port."""


@hookimpl
def register_components(register):
    register("optimizer/oar", Oar)
    register("rigger/port", Rigger)


@hookimpl
def register_commands(register):
    register("bail", help="Claimed twice.", configure=lambda parser: None, run=lambda args: 0)
