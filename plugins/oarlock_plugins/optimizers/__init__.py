"""Built-in optimizers."""

from oarlock import hookimpl
from oarlock_plugins.optimizers.adagrad import Adagrad
from oarlock_plugins.optimizers.adam import Adam
from oarlock_plugins.optimizers.adamw import AdamW
from oarlock_plugins.optimizers.lamb import Lamb
from oarlock_plugins.optimizers.momentum import Momentum
from oarlock_plugins.optimizers.rmsprop import RmsProp
from oarlock_plugins.optimizers.sgd import Sgd


@hookimpl
def register_components(register):
    register("optimizer/sgd", Sgd)
    register("optimizer/momentum", Momentum)
    register("optimizer/adam", Adam)
    register("optimizer/adamw", AdamW)
    register("optimizer/rmsprop", RmsProp)
    register("optimizer/adagrad", Adagrad)
    register("optimizer/lamb", Lamb)
