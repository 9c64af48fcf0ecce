"""A default that all instances would share; Python refuses it while the module is loaded."""

from oarlock import component, hookimpl


@component
class Mutable:
    """Shares a list."""

    names: list[str] = []


@hookimpl
def register_components(register):
    register("callback/mutable", Mutable)
