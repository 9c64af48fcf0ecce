"""A schedule as a factor of the step, with linear warm-up: a pure function, so that it resumes exactly."""

from __future__ import annotations


def warmed_up(learning_rate, warmup_steps, factor):
    """`learning_rate * factor(step)`, after a linear rise over `warmup_steps` that reaches it on its last step."""
    from paddle.optimizer.lr import LambdaDecay

    def shape(step):
        return (step + 1) / warmup_steps if step < warmup_steps else factor(step)

    return LambdaDecay(learning_rate, shape)
