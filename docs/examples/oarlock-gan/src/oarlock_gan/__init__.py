"""A generative adversarial network that learns to draw digits, for oarlock: a task with two optimizers."""

from __future__ import annotations

from typing import Any

from oarlock import Arrays, Batch, UserError, component, hookimpl


@component
class GanModel:
    """A generator, from noise to an image with values in [0, 1], and a discriminator, from an image to a logit.

    Both are perceptrons with two hidden layers.

    Args:
        noise: length of the noise.
        hidden: units of each hidden layer.
    """

    noise: int = 16
    hidden: int = 128

    def __post_init__(self):
        for name in ("noise", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")

    @hookimpl
    def build_model(self, spec):
        from oarlock_gan.networks import Gan

        return Gan(self.noise, self.hidden, spec.input_shape)


@component
class GanTask:
    """Adversarial training (Goodfellow et al. 2014) with the generator's non-saturating loss; needs `model/gan`.

    The loss of a step is the discriminator's. An evaluation measures `frechet_distance`, by the formula of Heusel et
    al. 2017 (FID) on the pixels in the place of a network's features: between the rows of the split and as many
    generated ones, always from the same noise.

    Args:
        discriminator: the discriminator's optimizer; null takes one like the generator's, which is the run's optimizer.
    """

    discriminator: Any = None

    @hookimpl
    def build_training_step(self, run):
        import paddle

        from oarlock_gan.networks import Gan, cross_entropy

        model = run.model
        if not isinstance(model, Gan):
            raise UserError("task=gan needs model=gan.")
        chosen = run.components["optimizer"]
        of_generator = run.build_optimizer(model.generator.parameters(), chosen)
        of_discriminator = run.build_optimizer(model.discriminator.parameters(), self.discriminator or chosen)

        def step(batch):
            made = model.generator(paddle.randn([batch.size, model.noise]))
            real, fake = model.discriminator(batch.inputs), model.discriminator(made.detach())
            loss = cross_entropy(real, 1.0) + cross_entropy(fake, 0.0)
            loss.backward()
            of_discriminator.step()
            of_discriminator.clear_grad()
            cross_entropy(model.discriminator(made), 1.0).backward()
            of_generator.step()
            of_generator.clear_grad()
            of_discriminator.clear_grad()
            return loss.detach()

        return step

    @hookimpl
    def build_metrics(self):
        return {"frechet_distance": FrechetDistance()}

    @hookimpl
    def evaluate(self, run, data):
        import numpy as np
        import paddle

        from oarlock_gan.frechet import frechet_distance

        if not isinstance(data, Arrays):
            raise UserError("task=gan evaluates rows that are in memory (oarlock.Arrays).")
        noise = np.random.default_rng(0).normal(size=(len(data), run.model.noise)).astype("float32")
        with paddle.no_grad():
            real = run.data.prepared(Batch(paddle.to_tensor(data.inputs))).inputs
            made = run.model.generator(paddle.to_tensor(noise))
        return {"frechet_distance": frechet_distance(real.flatten(1).numpy(), made.flatten(1).numpy())}


class FrechetDistance:
    """What `evaluate` measures; less is better."""

    direction = "min"


@hookimpl
def register_components(register):
    register("model/gan", GanModel)
    register("task/gan", GanTask)
