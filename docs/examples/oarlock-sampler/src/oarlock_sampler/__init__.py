"""Components that fill the hooks which few need."""

from __future__ import annotations

from oarlock import hookimpl
from oarlock_sampler.callbacks import GradientNorm, Latest
from oarlock_sampler.engine import StaticLoss
from oarlock_sampler.layerwise import Layerwise
from oarlock_sampler.orthogonal import Orthogonal
from oarlock_sampler.reconstruction import Reconstruction


@hookimpl
def register_components(register):
    register("optimizer/layerwise", Layerwise)
    register("regularizer/orthogonal", Orthogonal)
    register("task/reconstruction", Reconstruction)
    register("callback/gradient_norm", GradientNorm)
    register("callback/latest", Latest)
    register("engine/static_loss", StaticLoss)
