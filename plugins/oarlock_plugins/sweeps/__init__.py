"""Sweeps: the options behind `sweep.…`."""

from oarlock import hookimpl
from oarlock_plugins.sweeps.options import Search


@hookimpl
def register_components(register):
    register("sweep/search", Search)


@hookimpl
def on_sweep_requested(overrides):
    from oarlock_plugins.sweeps import fork_server

    fork_server.begin(overrides)
