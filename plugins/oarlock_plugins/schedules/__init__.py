"""Built-in learning-rate schedules."""

from oarlock import hookimpl
from oarlock_plugins.schedules.constant import Constant
from oarlock_plugins.schedules.cosine import Cosine
from oarlock_plugins.schedules.one_cycle import OneCycle
from oarlock_plugins.schedules.reduce_on_plateau import ReduceOnPlateau
from oarlock_plugins.schedules.step import Step


@hookimpl
def register_components(register):
    register("schedule/constant", Constant)
    register("schedule/cosine", Cosine)
    register("schedule/step", Step)
    register("schedule/one_cycle", OneCycle)
    register("schedule/reduce_on_plateau", ReduceOnPlateau)
