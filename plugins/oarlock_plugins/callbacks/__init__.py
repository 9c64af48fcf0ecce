"""Built-in callbacks."""

from oarlock import hookimpl
from oarlock_plugins.callbacks.early_stopping import EarlyStopping
from oarlock_plugins.callbacks.ema import Ema
from oarlock_plugins.callbacks.frozen_batch_norm import FrozenBatchNorm
from oarlock_plugins.callbacks.progress import Progress


@hookimpl
def register_components(register):
    register("callback/progress", Progress)
    register("callback/early_stopping", EarlyStopping)
    register("callback/ema", Ema)
    register("callback/frozen_batch_norm", FrozenBatchNorm)
