"""Built-in engines: what makes the training steps in the place of the core's eager one."""

from oarlock import hookimpl
from oarlock_plugins.engines.static import Static


@hookimpl
def register_components(register):
    register("engine/static", Static)
