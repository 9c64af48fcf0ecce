"""Built-in data."""

from oarlock import hookimpl
from oarlock_plugins.data.digits import Digits
from oarlock_plugins.data.mnist import Mnist


@hookimpl
def register_components(register):
    register("data/digits", Digits)
    register("data/mnist", Mnist)
