"""Built-in models."""

from oarlock import hookimpl
from oarlock_plugins.models.bn_mlp import BnMlp
from oarlock_plugins.models.lenet import LeNet


@hookimpl
def register_components(register):
    register("model/bn_mlp", BnMlp)
    register("model/lenet", LeNet)
