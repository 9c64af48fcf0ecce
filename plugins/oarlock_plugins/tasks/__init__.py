"""Built-in tasks."""

from oarlock import hookimpl
from oarlock_plugins.tasks.classification import Classification
from oarlock_plugins.tasks.regression import Regression


@hookimpl
def register_components(register):
    register("task/classification", Classification)
    register("task/regression", Regression)
