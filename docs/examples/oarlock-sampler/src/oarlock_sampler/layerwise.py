"""Layer-wise learning rates."""

from __future__ import annotations

from oarlock import component, hookimpl


@component
class Layerwise:
    """Adam whose learning rate falls by a factor with each layer before the last (Howard & Ruder 2018).

    Args:
        learning_rate: step size of the last layer.
        factor: each layer's rate is that of the next one times this.
    """

    learning_rate: float = 1e-3
    factor: float = 0.8

    def __post_init__(self):
        if not 0 < self.factor <= 1:
            raise ValueError(f"factor={self.factor}: expected 0 < factor <= 1")

    @hookimpl
    def build_parameter_groups(self, model):
        layers = {}
        for path, parameter in model.named_parameters():
            if not parameter.stop_gradient:
                layers.setdefault(path.rpartition(".")[0], []).append(parameter)
        last = len(layers) - 1
        return [
            {"params": parameters, "learning_rate": self.factor ** (last - number)}
            for number, parameters in enumerate(layers.values())
        ]

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from paddle.optimizer import Adam

        return Adam(schedule(self.learning_rate), parameters=parameters)
