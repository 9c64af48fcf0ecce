"""Built-in models."""

from oarlock import hookimpl
from oarlock_plugins.models.bn_mlp import BnMlp
from oarlock_plugins.models.lenet import LeNet
from oarlock_plugins.models.linear import Linear
from oarlock_plugins.models.resnet import ResNet


@hookimpl
def register_components(register):
    register("model/bn_mlp", BnMlp)
    register("model/lenet", LeNet)
    register("model/linear", Linear)
    register("model/resnet", ResNet)
