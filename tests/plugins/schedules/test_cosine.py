"""Cosine decay against its formula."""

import numpy as np
import pytest

import oarlock
from tests.plugins.reference import LINEAR, assert_follows, sgd

COSINE = (*LINEAR, "optimizer=sgd", "optimizer.learning_rate=0.4", "schedule=cosine")


def cosine(step, total, warmup=0, final=0.0):
    """Loshchilov & Hutter 2017, equation 5, after a linear rise."""
    if step < warmup:
        return 0.4 * (step + 1) / warmup
    angle = np.pi * (step - warmup) / (total - warmup)
    return 0.4 * final + (0.4 - 0.4 * final) * (1 + np.cos(angle)) / 2


def test_half_a_cosine_over_the_run(train):
    run = train(*COSINE)
    assert run.rates == pytest.approx([cosine(step, 6) for step in range(6)], rel=1e-12)
    assert_follows(run, sgd, lambda step: cosine(step, 6))


def test_warm_up_and_a_final_share(train):
    run = train(*COSINE, "schedule.warmup_steps=2", "schedule.final_factor=0.1")
    assert run.rates == pytest.approx([cosine(step, 6, 2, 0.1) for step in range(6)], rel=1e-12)
    assert run.rates[1] == run.rates[2] == 0.4
    assert run.rows[-1]["learning_rate"] == pytest.approx(0.04)  # after the last step
    assert_follows(run, sgd, lambda step: cosine(step, 6, 2, 0.1))


def test_max_steps_are_the_end(train):
    run = train(*COSINE, "trainer.max_steps=3", "trainer.epochs=100")
    assert run.rates == pytest.approx([cosine(step, 3) for step in range(3)], rel=1e-12)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.warmup_steps=6", r"schedule\.warmup_steps=6: the run has 6 steps"),
        ("schedule.warmup_steps=-1", r"schedule\.warmup_steps=-1: expected 0 <= warmup_steps"),
        ("schedule.final_factor=1.5", r"schedule\.final_factor=1\.5: expected 0 <= final_factor < 1"),
        ("data.stream=true", r"schedule=cosine needs an end.*trainer\.max_steps"),
    ],
)
def test_what_does_not_fit_is_refused(train, override, message):
    with pytest.raises(oarlock.UserError, match=message):
        train(*COSINE, override)


def test_data_without_length_needs_only_an_end(train):
    run = train(*COSINE, "data.stream=true", "trainer.max_steps=4")
    assert run.rates == pytest.approx([cosine(step, 4) for step in range(4)], rel=1e-12)
