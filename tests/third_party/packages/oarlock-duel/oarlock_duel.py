"""A task with two optimizers, of which a configuration chooses each, and an engine."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from oarlock import component, hookimpl


@component
class Nested:
    """The learning rates of a duel, nested in the task for the sake of types."""

    note: str = "even"


@component
class Duel:
    """A generator makes digits, a discriminator tells them from real ones (Goodfellow et al. 2014).

    Args:
        d_optimizer: the discriminator's optimizer, chosen with +optimizer@task.d_optimizer=NAME.
        size: units of the noise.
    """

    d_optimizer: Any = None
    size: int = 4
    tags: list[str] = field(default_factory=list)

    @hookimpl
    def build_training_step(self, run):
        import paddle
        from paddle.nn.functional import binary_cross_entropy_with_logits as entropy

        model = run.model
        generator = run.build_optimizer(model.generator.parameters(), run.components["optimizer"])
        discriminator = run.build_optimizer(model.discriminator.parameters(), self.d_optimizer)

        def step(batch):
            rows = batch.size
            made = model.generator(paddle.randn([rows, self.size]))
            real, fake = model.discriminator(batch.inputs.flatten(1)), model.discriminator(made.detach())
            loss = entropy(real, paddle.ones_like(real)) + entropy(fake, paddle.zeros_like(fake))
            loss.backward()
            discriminator.step()
            discriminator.clear_grad()
            fooled = model.discriminator(made)
            wish = entropy(fooled, paddle.ones_like(fooled))
            wish.backward()
            generator.step()
            generator.clear_grad()
            discriminator.clear_grad()
            return loss.detach() + wish.detach()

        return step

    @hookimpl
    def compute_loss(self, output, batch):
        return output.mean()

    @hookimpl
    def build_metrics(self):
        return {}

    @hookimpl
    def evaluate(self, run, data):
        return {"size": float(len(data))}


@component
class Rivals:
    """A generator and a discriminator of digits."""

    width: int = 16

    @hookimpl
    def build_model(self, spec):
        import math

        from paddle import nn

        class Both(nn.Layer):
            def __init__(self, width, pixels):
                super().__init__()
                self.generator = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, pixels))
                self.discriminator = nn.Sequential(nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, 1))

        return Both(self.width, math.prod(spec.input_shape))


@component
class Twice:
    """An engine that makes every step twice."""

    @hookimpl
    def build_step(self, run):
        def step(batches):
            for _ in range(2):
                loss = run.compute_loss(run.forward(run.model, batches[0]), batches[0])
                loss.backward()
                run.optimizer.step()
                run.optimizer.clear_grad()
            return loss

        return step


@hookimpl
def register_components(register):
    register("task/duel", Duel)
    register("model/rivals", Rivals)
    register("engine/twice", Twice)
