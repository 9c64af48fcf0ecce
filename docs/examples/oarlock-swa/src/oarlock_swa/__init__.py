"""Stochastic weight averaging, for oarlock."""

from __future__ import annotations

from oarlock import UserError, component, hookimpl


@component
class Swa:
    """Evaluate, and keep as best, the mean of the weights of the later epochs (Izmailov et al. 2018, algorithm 1).

    One set of weights enters the mean at each evaluation from `start_epoch` on, by default one an epoch; training
    goes on from the trained weights. The paper recomputes BatchNorm's statistics for the averaged weights with a pass
    over the training data. This does not: it evaluates with the running statistics of the trained weights, which fit
    the averaged ones less the farther apart the averaged weights lie.

    Args:
        start_epoch: the first epoch whose weights enter the mean, counted from 1.
    """

    changes_run = True

    start_epoch: int = 10

    def __post_init__(self):
        if self.start_epoch < 1:
            raise ValueError(f"start_epoch={self.start_epoch}: expected at least 1")
        self._count = 0
        self._average = {}
        self._trained = {}

    @hookimpl
    def on_run_start(self, run):
        if "callback.ema" in run.components:
            raise UserError("callback=[swa,ema]: both evaluate weights of their own; choose one of them.")
        self._weights = {path: p for path, p in run.model.named_parameters() if not p.stop_gradient}

    @hookimpl(tryfirst=True)
    def on_evaluation_start(self, run):
        epoch = run.epoch + (run.position > 0)
        if epoch < self.start_epoch:
            return
        self._trained = {path: weight.detach().clone() for path, weight in self._weights.items()}
        self._count += 1
        for path, weight in self._trained.items():
            average = self._average.get(path, weight)
            self._average[path] = average + (weight - average) / self._count
            self._weights[path].set_value(self._average[path])

    @hookimpl(tryfirst=True)
    def on_evaluation_end(self, run):
        for path, weight in self._trained.items():
            self._weights[path].set_value(weight)
        self._trained = {}

    def state_dict(self):
        return {"count": self._count, "average": dict(self._average)}

    def load_state_dict(self, state):
        self._count, self._average = state["count"], dict(state["average"])


@hookimpl
def register_components(register):
    register("callback/swa", Swa)
