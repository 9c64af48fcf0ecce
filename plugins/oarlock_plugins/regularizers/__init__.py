"""Built-in regularizers: penalties on weights, bounds on gradients."""

from oarlock import hookimpl
from oarlock_plugins.regularizers.clip_global_norm import ClipGlobalNorm
from oarlock_plugins.regularizers.clip_norm import ClipNorm
from oarlock_plugins.regularizers.clip_value import ClipValue
from oarlock_plugins.regularizers.weight_penalty import L1, L2, ElasticNet


@hookimpl
def register_components(register):
    register("regularizer/l1", L1)
    register("regularizer/l2", L2)
    register("regularizer/elastic_net", ElasticNet)
    register("regularizer/clip_global_norm", ClipGlobalNorm)
    register("regularizer/clip_norm", ClipNorm)
    register("regularizer/clip_value", ClipValue)
