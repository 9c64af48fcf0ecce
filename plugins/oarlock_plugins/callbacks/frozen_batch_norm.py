"""BatchNorm with the statistics that it has."""

from __future__ import annotations

from oarlock import component, hookimpl


@component
class FrozenBatchNorm:
    """Normalise by BatchNorm's running mean and variance while training, and leave them as they are.

    For a trained model that learns from few rows, or from rows that are not drawn as the first were: their own
    statistics would replace those of all rows seen so far. Scale and shift are trained on.
    """

    changes_run = True

    @hookimpl
    def prepare_parameters(self, model):
        from paddle import nn

        kinds = (nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D)
        for layer in model.sublayers(include_self=True):
            if isinstance(layer, kinds):
                # Paddle's layers take `use_global_stats` when they are made, and read it in each forward.
                layer._use_global_stats = True
