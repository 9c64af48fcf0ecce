"""A hook of components in the module."""

from oarlock import hookimpl


@hookimpl
def on_step_end(run):
    raise AssertionError("nobody can call this")
