"""Built-in learning-rate schedules."""

from oarlock import hookimpl
from oarlock_plugins.schedules.constant import Constant
from oarlock_plugins.schedules.cosine import Cosine


@hookimpl
def register_components(register):
    register("schedule/constant", Constant)
    register("schedule/cosine", Cosine)
