"""The other half, and says that the group takes several."""

from __future__ import annotations

from oarlock import component, hookimpl


@component
class Oar:
    """Starboard."""


@component
class Rigger:
    """Starboard."""


@hookimpl
def register_components(register):
    register("optimizer/oar", Oar)
    register("rigger/starboard", Rigger, many=True)


@hookimpl
def register_commands(register):
    register("bail", help="Claimed twice.", configure=lambda parser: None, run=lambda args: 0)
