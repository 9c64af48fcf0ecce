"""Written for an oarlock that is not out yet."""

from oarlock import component, hookimpl

OARLOCK_API = 99


@component
class Future:
    """From later."""


@hookimpl
def register_components(register):
    register("callback/future", Future)
