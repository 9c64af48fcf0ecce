"""JAX by hand: a jitted step called from Python, and a whole epoch as one `scan`, the limit of what can be had.

- jax: the shuffled epoch is gathered once, each batch a slice of it, one call of the jitted step a batch.
- jax-scan: the epoch's steps are one program; nothing happens between them, so no framework can do that with callbacks.
"""

from __future__ import annotations

import sys
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import spec as specs
import turns
from jax import lax


def batch_norm(parameters, statistics, inputs, axes, training):
    """Normalised inputs and the new running statistics (momentum 0.9, epsilon 1e-5, as Paddle's)."""
    scale, shift = parameters
    if training:
        mean, variance = inputs.mean(axes), inputs.var(axes)
        statistics = tuple(0.9 * old + 0.1 * new for old, new in zip(statistics, (mean, variance), strict=True))
    else:
        mean, variance = statistics
    shape = [1 if axis in axes else -1 for axis in range(inputs.ndim)]
    normal = (inputs - mean.reshape(shape)) * lax.rsqrt(variance.reshape(shape) + 1e-5)
    return normal * scale.reshape(shape) + shift.reshape(shape), statistics


def layer_norm(parameters, inputs):
    mean, variance = inputs.mean(-1, keepdims=True), inputs.var(-1, keepdims=True)
    return (inputs - mean) * lax.rsqrt(variance + 1e-5) * parameters[0] + parameters[1]


def linear(parameters, inputs):
    return inputs @ parameters[0] + parameters[1]


class Maker:
    """Makes parameters: uniform as Glorot & Bengio 2010, one key after the other."""

    def __init__(self, seed=0):
        self._random = np.random.default_rng(seed)

    def uniform(self, shape, fan_in, fan_out):
        limit = (6 / (fan_in + fan_out)) ** 0.5
        return jnp.asarray(self._random.uniform(-limit, limit, shape).astype("float32"))

    def linear(self, size, width):
        return [self.uniform((size, width), size, width), jnp.zeros(width)]

    def convolution(self, size, width, window):
        return [self.uniform((width, size, window, window), size * window**2, width * window**2), jnp.zeros(width)]

    @staticmethod
    def norm(width):
        return [jnp.ones(width), jnp.zeros(width)]

    @staticmethod
    def statistics(width):
        return (jnp.zeros(width), jnp.ones(width))


def make_mlp(make, sizes):
    *hidden, (last, outputs) = pairwise(sizes)
    parameters = [[make.linear(size, width), make.norm(width)] for size, width in hidden] + [make.linear(last, outputs)]
    return parameters, [make.statistics(width) for _, width in hidden]


def mlp(parameters, statistics, inputs, training, network):
    after = []
    for (weights, norm), old in zip(parameters[:-1], statistics, strict=True):
        inputs, new = batch_norm(norm, old, jax.nn.relu(linear(weights, inputs)), (0,), training)
        after.append(new)
    return linear(parameters[-1], inputs), after


def make_lenet(make):
    parameters = [
        make.convolution(1, 6, 5), make.norm(6), make.convolution(6, 16, 5), make.norm(16),
        make.linear(400, 120), make.linear(120, 84), make.linear(84, 10),
    ]  # fmt: skip
    return parameters, [make.statistics(6), make.statistics(16)]


def convolve(parameters, inputs, padding):
    weights, bias = parameters
    images = lax.conv_general_dilated(inputs, weights, (1, 1), [(padding, padding)] * 2)
    return images + bias.reshape(1, -1, 1, 1)


def pool(inputs):
    return lax.reduce_window(inputs, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def lenet(parameters, statistics, inputs, training, network):
    first, first_norm, second, second_norm, *dense = parameters
    inputs, one = batch_norm(first_norm, statistics[0], convolve(first, inputs, 2), (0, 2, 3), training)
    inputs = pool(jax.nn.relu(inputs))
    inputs, two = batch_norm(second_norm, statistics[1], convolve(second, inputs, 0), (0, 2, 3), training)
    inputs = pool(jax.nn.relu(inputs)).reshape(len(inputs), -1)
    for weights in dense[:-1]:
        inputs = jax.nn.relu(linear(weights, inputs))
    return linear(dense[-1], inputs), [one, two]


def make_transformer(make, depth, width, heads, hidden):
    def layer():
        return {
            "attention": [make.linear(width, width) for _ in range(4)], "norms": [make.norm(width), make.norm(width)],
            "first": make.linear(width, hidden), "second": make.linear(hidden, width),
        }  # fmt: skip

    return {
        "embedding": make.linear(28, width), "position": make.uniform((1, 28, width), 28, width),
        "layers": [layer() for _ in range(depth)], "output": make.linear(width, 10),
    }, []  # fmt: skip


def transformer(parameters, statistics, inputs, training, network):
    heads = network["heads"]
    tokens = linear(parameters["embedding"], inputs.reshape(len(inputs), 28, 28)) + parameters["position"]
    for layer in parameters["layers"]:
        query, key, value = (
            linear(weights, tokens).reshape(*tokens.shape[:2], heads, -1).transpose(0, 2, 1, 3)
            for weights in layer["attention"][:3]
        )
        scores = jax.nn.softmax(query @ key.transpose(0, 1, 3, 2) / query.shape[-1] ** 0.5)
        attended = linear(layer["attention"][3], (scores @ value).transpose(0, 2, 1, 3).reshape(tokens.shape))
        tokens = layer_norm(layer["norms"][0], tokens + attended)
        dense = linear(layer["second"], jax.nn.relu(linear(layer["first"], tokens)))
        tokens = layer_norm(layer["norms"][1], tokens + dense)
    return linear(parameters["output"], tokens.mean(1)), statistics


NETWORKS = {"mlp": (make_mlp, mlp), "lenet": (make_lenet, lenet), "transformer": (make_transformer, transformer)}


def make_optimizer(name):
    """Functions that make the optimizer's state and that make an update."""
    zeros = lambda parameters: jax.tree.map(jnp.zeros_like, parameters)  # noqa: E731
    if name == "momentum":

        def momentum(parameters, gradients, velocity):
            velocity = jax.tree.map(lambda old, gradient: 0.9 * old + gradient, velocity, gradients)
            return jax.tree.map(lambda old, step: old - 0.01 * step, parameters, velocity), velocity

        return zeros, momentum

    def adam(parameters, gradients, state):
        count, first, second = state
        count += 1
        first = jax.tree.map(lambda old, gradient: 0.9 * old + 0.1 * gradient, first, gradients)
        second = jax.tree.map(lambda old, gradient: 0.999 * old + 0.001 * gradient**2, second, gradients)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        update = lambda old, m, v: old - rate * m / (jnp.sqrt(v) + 1e-8)  # noqa: E731
        return jax.tree.map(update, parameters, first, second), (count, first, second)

    return lambda parameters: (jnp.zeros(()), zeros(parameters), zeros(parameters)), adam


def cross_entropy(output, targets):
    return -jnp.take_along_axis(jax.nn.log_softmax(output), targets[:, None], 1).mean()


def main(variant, spec):
    turn, arrays = turns.turn(), specs.load(spec)
    options = dict(spec.network)
    make, forward = NETWORKS[options.pop("kind")]
    parameters, statistics = make(Maker(), **options)
    start, update = make_optimizer(spec.optimizer)
    inputs, targets = jnp.asarray(arrays["train_inputs"]), jnp.asarray(arrays["train_targets"].astype("int32"))
    valid = jnp.asarray(arrays["valid_inputs"]), jnp.asarray(arrays["valid_targets"].astype("int32"))
    size = spec.batch_size
    steps = len(inputs) // size

    def compute_loss(parameters, statistics, batch, labels):
        output, statistics = forward(parameters, statistics, batch, True, spec.network)
        return cross_entropy(output, labels), statistics

    def step(state, batch):
        parameters, statistics, moments = state
        (loss, statistics), gradients = jax.value_and_grad(compute_loss, has_aux=True)(parameters, statistics, *batch)
        parameters, moments = update(parameters, gradients, moments)
        return (parameters, statistics, moments), loss

    @jax.jit
    def gather(order):
        return inputs[order], targets[order]

    def scan_epoch(state, order):
        batches = inputs[order].reshape(steps, size, *inputs.shape[1:]), targets[order].reshape(steps, size)
        return lax.scan(step, state, batches)

    @jax.jit
    def evaluate(state):
        output, _ = forward(state[0], state[1], valid[0], False, spec.network)
        return cross_entropy(output, valid[1]), (output.argmax(-1) == valid[1]).mean()

    jitted_step, jitted_epoch = jax.jit(step, donate_argnums=0), jax.jit(scan_epoch, donate_argnums=0)
    state, epoch, over = (parameters, statistics, start(parameters)), 0, False
    while not over:
        order = np.random.default_rng(epoch).permutation(len(inputs))
        if variant == "jax-scan":
            state, _ = jitted_epoch(state, order[: steps * size])
        else:
            epoch_inputs, epoch_targets = gather(order)
            for number in range(steps):
                part = slice(number * size, (number + 1) * size)
                state, _ = jitted_step(state, (epoch_inputs[part], epoch_targets[part]))
        loss, accuracy = evaluate(state)
        epoch += 1
        print(f"epoch {epoch} loss {float(loss):.4f} accuracy {float(accuracy):.4f}", flush=True)
        over = turn.epoch_ended(float(accuracy))
    turn.training_ended()


if __name__ == "__main__":
    main(sys.argv[1], specs.read(sys.argv[2]))
