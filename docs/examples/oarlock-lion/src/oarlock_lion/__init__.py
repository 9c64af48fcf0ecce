"""The optimizer Lion, for oarlock."""

from __future__ import annotations

from oarlock import component, decays, hookimpl


@component
class Lion:
    """Lion (Chen et al. 2023, arXiv 2302.06675): a step is the sign of an interpolated momentum.

    Weight decay is decoupled, w <- w - lr c w; biases and the scales of norms do not decay. The paper recommends a
    learning rate 3 to 10 times smaller than AdamW's, and a weight decay that much larger.

    Args:
        learning_rate: step size.
        beta1: share of the momentum in the direction of a step.
        beta2: decay of the momentum.
        weight_decay: the coefficient c.
    """

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.1

    def __post_init__(self):
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected 0 <= {name} < 1")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay={self.weight_decay}: expected at least 0")

    @hookimpl
    def prepare_parameters(self, model):
        return [parameter for parameter in model.parameters() if decays(parameter)] if self.weight_decay else []

    @hookimpl
    def build_optimizer(self, parameters, schedule):
        from oarlock_lion.optimizer import LionOptimizer

        return LionOptimizer(schedule(self.learning_rate), self.beta1, self.beta2, self.weight_decay, parameters)


@hookimpl
def register_components(register):
    register("optimizer/lion", Lion)
