"""A schedule as a factor of the step, with linear warm-up."""

from __future__ import annotations

from oarlock import UserError


def steps_after(warmup_steps, total_steps, name):
    """The steps of a run after its warm-up, for a schedule whose shape depends on them.

    Raises:
        UserError: the run has no known end, or ends before its warm-up.
    """
    if total_steps is None:
        raise UserError(f"schedule={name} needs an end: the data has no length, so give trainer.max_steps.")
    if warmup_steps >= total_steps:
        raise UserError(f"schedule.warmup_steps={warmup_steps}: the run has {total_steps} steps in all.")
    return total_steps - warmup_steps


def warmed_up(learning_rate, warmup_steps, factor):
    """`learning_rate * factor(step)`, after a linear rise over `warmup_steps` that reaches it on its last step."""
    from paddle.optimizer.lr import LambdaDecay

    def shape(step):
        return (step + 1) / warmup_steps if step < warmup_steps else factor(step)

    return LambdaDecay(learning_rate, shape)
