"""The training of a linear model in float64 NumPy, from the published formulas alone."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tests.plugins.toys import toy_rows

# `Linear` alone, all rows in one batch, so that the order of the rows does not matter.
LINEAR = ("data=toy", "task=regression", "model.widths=[]", "trainer.batch_size=12", "trainer.epochs=6")


def gradients(weights, target_scale=1.0):
    """Of the mean squared error over the rows of `data=toy`."""
    rows, _ = toy_rows(target_scale=target_scale)
    inputs, targets = rows.inputs.astype("float64"), rows.targets.astype("float64")
    error = inputs @ weights["0.weight"] + weights["0.bias"] - targets
    return {"0.weight": 2 * inputs.T @ error / error.size, "0.bias": 2 * error.sum(axis=0) / error.size}


def global_norm(tensors):
    """The L2 norm of all values of all tensors."""
    return np.sqrt(sum(np.square(tensor, dtype="float64").sum() for tensor in tensors.values()))


def assert_follows(run, rule, rate, *, penalty=None, clip=None, multipliers=None, target_scale=1.0, relative=1e-5):
    """Every step of a linear run agrees with float64, by the way it has gone from the initial weights.

    Args:
        run: the run.
        rule: `(memory, weight, gradient, rate, step) -> weight`; `memory` is the parameter's own, step counts from 1.
        rate: the learning rate, or a function of the step, counted from 0.
        penalty: `weight -> gradient`, for the matrix and not for the bias.
        clip: `{path: gradient} -> {path: gradient}`.
        multipliers: of the learning rate, by path.
        target_scale: of `data=toy`.
        relative: the tolerance.
    """
    weights = {path: array.astype("float64") for path, array in run.weights[0].items()}
    memories = defaultdict(dict)
    assert len(run.weights) == 7
    for step in range(6):
        found = gradients(weights, target_scale)
        if clip is not None:
            found = clip(found)
        if penalty is not None:
            found["0.weight"] = found["0.weight"] + penalty(weights["0.weight"])
        present = rate(step) if callable(rate) else rate
        for path in weights:
            own = present * (multipliers[path] if multipliers else 1.0)
            weights[path] = rule(memories[path], weights[path], found[path], own, step + 1)
            assert_close(run.weights[step + 1][path], weights[path], run.weights[0][path], relative)


def assert_close(found, expected, start=0.0, relative=1e-5):
    """The largest difference is small beside the largest move away from `start`."""
    moved = np.abs(expected - start).max()
    assert moved > 0
    apart = np.abs(found - expected).max() / moved
    assert apart <= relative, f"apart by {apart:.2g} of the largest move, {relative:g} is allowed"


def sgd(memory, weight, gradient, rate, step):
    """Robbins & Monro 1951."""
    return weight - rate * gradient


def momentum(decay, nesterov=False):
    """Polyak 1964; with `nesterov`, Sutskever et al. 2013."""

    def rule(memory, weight, gradient, rate, step):
        memory["velocity"] = decay * memory.get("velocity", 0.0) + gradient
        ahead = gradient + decay * memory["velocity"] if nesterov else memory["velocity"]
        return weight - rate * ahead

    return rule


def adam(beta1, beta2, epsilon, decay=0.0, decays=lambda weight: weight.ndim > 1):
    """Kingma & Ba 2015, algorithm 1; with `decay`, Loshchilov & Hutter 2019, algorithm 2."""

    def rule(memory, weight, gradient, rate, step):
        memory["first"] = beta1 * memory.get("first", 0.0) + (1 - beta1) * gradient
        memory["second"] = beta2 * memory.get("second", 0.0) + (1 - beta2) * gradient**2
        first, second = memory["first"] / (1 - beta1**step), memory["second"] / (1 - beta2**step)
        decayed = weight - rate * decay * weight if decays(weight) else weight
        return decayed - rate * first / (np.sqrt(second) + epsilon)

    return rule


def rmsprop(rho, epsilon, decay=0.0, centered=False):
    """Tieleman & Hinton 2012 with momentum; centered, Graves 2013, equations 38 to 41."""

    def rule(memory, weight, gradient, rate, step):
        memory["square"] = rho * memory.get("square", 0.0) + (1 - rho) * gradient**2
        memory["mean"] = rho * memory.get("mean", 0.0) + (1 - rho) * gradient
        variance = memory["square"] - (memory["mean"] ** 2 if centered else 0.0)
        memory["velocity"] = decay * memory.get("velocity", 0.0) + rate * gradient / np.sqrt(variance + epsilon)
        return weight - memory["velocity"]

    return rule


def adagrad(epsilon, start=0.0):
    """Duchi et al. 2011, with the diagonal of the outer products."""

    def rule(memory, weight, gradient, rate, step):
        memory["sum"] = memory.get("sum", start) + gradient**2
        return weight - rate * gradient / (np.sqrt(memory["sum"]) + epsilon)

    return rule


def lamb(beta1, beta2, epsilon, decay, decays=lambda weight: weight.ndim > 1):
    """You et al. 2020, algorithm 2, with the identity as their phi; what does not decay is not scaled either."""
    plain = adam(beta1, beta2, epsilon)

    def rule(memory, weight, gradient, rate, step):
        direction = -plain(memory, np.zeros_like(weight), gradient, 1.0, step)
        if not decay or not decays(weight):
            return weight - rate * direction
        direction = direction + decay * weight
        return weight - rate * np.sqrt((weight**2).sum() / (direction**2).sum()) * direction

    return rule
