"""The network ConvMixer, for oarlock."""

from __future__ import annotations

from oarlock import UserError, component, hookimpl


@component
class ConvMixer:
    """ConvMixer (Trockman & Kolter 2022): patches, then convolutions that mix either places or channels.

    For images [channels, height, width], or [height, width] with one channel.

    Args:
        dim: channels of every layer.
        depth: how many times places and channels are mixed.
        patch_size: side of the squares that the image is cut into.
        kernel_size: side of the depthwise convolutions.
    """

    dim: int = 32
    depth: int = 4
    patch_size: int = 1
    kernel_size: int = 5

    def __post_init__(self):
        for name in ("dim", "depth", "patch_size", "kernel_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")

    @hookimpl
    def build_model(self, spec):
        from oarlock_convmixer.network import conv_mixer

        shape = (1, *spec.input_shape) if len(spec.input_shape) == 2 else spec.input_shape
        if len(shape) != 3 or min(shape[1:]) < self.patch_size:
            raise UserError(
                f"model=convmixer needs images [channels, height, width] or [height, width] of at least "
                f"{self.patch_size} x {self.patch_size}; the data has {list(spec.input_shape)}."
            )
        return conv_mixer(shape, spec.num_outputs, self.dim, self.depth, self.patch_size, self.kernel_size)


@hookimpl
def register_components(register):
    register("model/convmixer", ConvMixer)
