"""A group `augmentation` for oarlock, with a hook of its own, and two components that fill it."""

from __future__ import annotations

from dataclasses import replace

from oarlock import UserError, component, hookimpl
from oarlock_augment import hookspecs


class Augmentation:
    """What augmentations inherit: without the callback that calls them they would be ignored silently."""

    @hookimpl
    def on_run_start(self, run):
        if not any(isinstance(chosen, Augment) for chosen in run.components.values()):
            raise UserError("augmentation: nothing applies what is chosen here; add +callback=augment.")


@component
class Noise(Augmentation):
    """Add normal noise to every input.

    Args:
        deviation: its standard deviation, in the units in which the inputs are stored.
    """

    deviation: float = 1.0

    def __post_init__(self):
        if not self.deviation >= 0:
            raise ValueError(f"deviation={self.deviation}: expected at least 0")

    @hookimpl
    def augment(self, batch, rng):
        import paddle

        noise = rng.normal(scale=self.deviation, size=batch.inputs.shape).astype("float32")
        batch.inputs = batch.inputs.astype("float32") + paddle.to_tensor(noise)


@component
class Shift(Augmentation):
    """Move every image, [height, width] or [channels, height, width], by its own offset; what comes in is 0.

    Args:
        pixels: the largest offset along each axis.
    """

    pixels: int = 1

    def __post_init__(self):
        if self.pixels < 0:
            raise ValueError(f"pixels={self.pixels}: expected at least 0")

    @hookimpl
    def augment(self, batch, rng):
        if batch.inputs.ndim not in (3, 4):
            raise UserError(f"augmentation=shift needs images; an input has the shape {list(batch.inputs.shape[1:])}.")
        images = batch.inputs.astype("float32")
        for axis in (-2, -1):
            offsets = rng.integers(-self.pixels, self.pixels, size=batch.size, endpoint=True)
            images = shifted(images, offsets, axis)
        batch.inputs = images


def shifted(images, offsets, axis):
    """Each image moved by its offset along an axis, towards larger indices; what comes in is 0."""
    import numpy as np
    import paddle

    size = images.shape[axis]
    shape = [len(offsets)] + [1] * (images.ndim - 1)
    shape[axis] = size
    source = (np.arange(size) - offsets[:, None]).reshape(shape)
    inside = paddle.to_tensor(((source >= 0) & (source < size)).astype("float32"))
    moved = paddle.take_along_axis(images, paddle.to_tensor(source.clip(0, size - 1)), axis)
    return moved * inside


@component
class Augment:
    """Apply the chosen augmentations to the training batches, after what the data itself does to them."""

    changes_run = True

    @hookimpl(wrapper=True)
    def build_data(self):
        data = yield
        own = data.transform_batch

        def transform_batch(batch, rng):
            if own is not None:
                batch = own(batch, rng)
            self._hook.augment(batch=batch, rng=rng)
            return batch

        return replace(data, transform_batch=transform_batch)

    @hookimpl
    def build_training_step(self, run):
        # The hooks of a run are known from here on, which is before the first batch; the step itself is not ours.
        self._hook = run.hook


@hookimpl
def register_hookspecs(register):
    register(hookspecs)


@hookimpl
def register_components(register):
    register("augmentation/noise", Noise, many=True)
    register("augmentation/shift", Shift, many=True)
    register("callback/augment", Augment)
