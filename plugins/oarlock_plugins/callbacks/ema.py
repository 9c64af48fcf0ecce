"""Exponential moving average of the weights."""

from __future__ import annotations

from oarlock import component, hookimpl


@component
class Ema:
    """Evaluate, and keep as best, an exponential moving average of the weights (Polyak & Juditsky 1992).

    s <- d s + (1 - d) w after step t, where d is the decay, and (1 + t) / (10 + t) as long as that is less: a young
    average would otherwise consist of the initial weights. BatchNorm's statistics are taken as they are.

    Args:
        decay: the share of the average that a step keeps, once it is not young.
    """

    changes_run = True

    decay: float = 0.999

    def __post_init__(self):
        if not 0 < self.decay < 1:
            raise ValueError(f"decay={self.decay}: expected 0 < decay < 1")
        self._average = {}
        self._trained = {}

    @hookimpl
    def on_run_start(self, run):
        import paddle

        # Also what is frozen now and will be trained later, so that it does not matter when the run was resumed.
        moved = {parameter.name for built in run.optimizers for parameter in built.parameters}
        self._weights = {path: parameter for path, parameter in run.model.named_parameters()
                         if not parameter.stop_gradient or parameter.name in moved}  # fmt: skip
        with paddle.no_grad():
            for path, weight in self._weights.items():
                self._average.setdefault(path, weight.clone())

    @hookimpl
    def on_step_end(self, run):
        import paddle

        decay = min(self.decay, (1 + run.step) / (10 + run.step))
        with paddle.no_grad():
            for path, weight in self._weights.items():
                self._average[path].scale_(decay).add_(weight * (1 - decay))

    @hookimpl(tryfirst=True)
    def on_evaluation_start(self, run):
        self._trained = {path: weight.clone() for path, weight in self._weights.items()}
        for path, weight in self._weights.items():
            weight.set_value(self._average[path])

    @hookimpl(tryfirst=True)
    def on_evaluation_end(self, run):
        for path, weight in self._weights.items():
            weight.set_value(self._trained[path])
        self._trained = {}

    def state_dict(self):
        return dict(self._average)

    def load_state_dict(self, state):
        self._average = dict(state)
