"""Autoencoders."""

from __future__ import annotations

from oarlock import UserError, component, hookimpl


class PeakSignal:
    """Mean squared error as a peak signal-to-noise ratio in dB, for a signal between 0 and 1."""

    direction = "max"

    def __init__(self):
        self.reset()

    def reset(self):
        self._squares, self._numbers = 0.0, 0

    def update(self, output, batch):
        self._squares = self._squares + (output - batch.inputs.reshape(output.shape)).square().sum()
        self._numbers += output.size

    def accumulate(self):
        import math

        return -10 * math.log10(float(self._squares) / self._numbers + 1e-12)


@component
class Reconstruction:
    """The model's outputs, through a sigmoid, are its inputs again; its number of outputs must be theirs.

    Wants data whose `output_shape` is the number of inputs, with values between 0 and 1.
    """

    @hookimpl
    def forward(self, model, batch):
        from paddle.nn.functional import sigmoid

        return sigmoid(model(batch.inputs))

    @hookimpl
    def compute_loss(self, output, batch):
        return (output - batch.inputs.reshape(output.shape)).square().mean()

    @hookimpl
    def build_metrics(self, data):
        if data.class_names is not None:
            raise UserError("task=reconstruction wants data with an output_shape, not with classes.")
        return {"psnr": PeakSignal()}
