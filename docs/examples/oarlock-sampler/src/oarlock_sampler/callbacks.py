"""What goes on in a run, for its log and its folder."""

from __future__ import annotations

import logging

from oarlock import component, hookimpl

# Below `oarlock`, so that it is in the run's train.log.
log = logging.getLogger("oarlock.sampler")


@component
class GradientNorm:
    """Log the largest global norm of the gradients in each epoch, before they are clipped.

    It reads a number from the device on each step, so it is for finding out what is wrong.
    """

    def __post_init__(self):
        self._largest = 0.0

    @hookimpl
    def on_epoch_start(self, run):
        self._largest = 0.0

    @hookimpl
    def after_backward(self, run):
        squares = [one.grad.square().sum() for one in run.model.parameters() if one.grad is not None]
        self._largest = max(self._largest, float(sum(squares).sqrt()))

    @hookimpl
    def on_epoch_end(self, run):
        log.info("epoch %d: largest gradient norm %.4g", run.epoch + 1, self._largest)

    def state_dict(self):
        return {"largest": self._largest}

    def load_state_dict(self, state):
        self._largest = state["largest"]


@component
class Latest:
    """Keep a link in the run's folder to its newest checkpoint.

    Args:
        name: the link's name.
    """

    name: str = "latest"

    @hookimpl
    def on_checkpoint(self, run, path):
        scratch = run.folder / f".{self.name}"
        scratch.unlink(missing_ok=True)
        scratch.symlink_to(path.relative_to(run.folder))
        scratch.replace(run.folder / self.name)
