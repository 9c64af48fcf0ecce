"""A mistyped hook in the module."""

from oarlock import hookimpl


@hookimpl
def register_component(register):
    raise AssertionError("nobody can call this")
