"""Residual networks for small images."""

from __future__ import annotations

from oarlock import component, hookimpl
from oarlock_plugins.models.inputs import require_images


@component
class ResNet:
    """Residual network for small images (He et al. 2016, section 4.2): three stages, 6 * blocks + 2 layers.

    Each stage after the first halves height and width and doubles the channels; where shapes change, the shortcut is a
    1 x 1 convolution. Images are [channels, height, width], of at least 8 x 8.

    Args:
        blocks: residual blocks of a stage; 3 is ResNet-20, 9 is ResNet-56.
        width: channels of the first stage.
    """

    blocks: int = 3
    width: int = 16

    def __post_init__(self):
        for name in ("blocks", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")

    @hookimpl
    def build_model(self, spec):
        from paddle import nn

        from oarlock_plugins.models.residual import Residual, normalised

        images, channels = require_images(spec, "resnet", 8)[0], self.width
        layers = [*normalised(images, channels, 3), nn.ReLU()]
        for stage in range(3):
            for block in range(self.blocks):
                stride = 2 if stage and not block else 1
                layers.append(Residual(channels, self.width << stage, stride))
                channels = self.width << stage
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(channels, spec.num_outputs))
