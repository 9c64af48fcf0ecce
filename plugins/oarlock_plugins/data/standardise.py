"""Columns of different scales, brought to one."""

from __future__ import annotations


def standardise(rows):
    """A layer: each column less its mean, over its standard deviation; those of `rows` [rows, columns].

    It learns nothing, and is exported with the model. A column that never changes is only shifted, as is one that changes
    by so little that its factor is beyond single precision.
    """
    import numpy as np
    import paddle
    from paddle import nn

    mean, deviation = rows.mean(axis=0, dtype="float64"), rows.std(axis=0, dtype="float64")
    changes = (rows != rows[:1]).any(axis=0) & (deviation > np.finfo("float32").tiny)
    deviation = np.where(changes, deviation, 1)

    class Standardise(nn.Layer):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", paddle.to_tensor(mean.astype("float32")))
            self.register_buffer("factor", paddle.to_tensor((1 / deviation).astype("float32")))

        def forward(self, inputs):
            return (inputs - self.mean) * self.factor

    return Standardise()
